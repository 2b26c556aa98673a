//! The gateway's own softphone page in Chromium: connects, dials, records what the page hears, and tells what it saw.
//!
//! [`SoftphonePage::connect`] and [`SoftphonePage::dial`] use the page's SDK, not its buttons; whoever clicks does so by scripts.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};
use server::call::{CallEvent, EventType};

use crate::audio::Audio;
use crate::chromium::{Chromium, ChromiumError, Page};
use crate::gateway::Gateway;

/// The page's own part.
const SCRIPT: &str = include_str!("softphone_page.js");
/// The microphone's permission, signalling, ICE and DTLS together, on a busy machine.
const CONNECT_WITHIN: Duration = Duration::from_secs(20);
/// What the page answers at once.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What `getStats` said about a connection.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransportStats {
    /// `FEFD` is DTLS 1.2, `FEFC` is DTLS 1.3.
    pub tls_version: String,
    /// The name of the SRTP profile.
    pub srtp_cipher: String,
    /// What the page sends, such as `audio/opus`.
    pub outbound_codec: String,
    /// What it receives.
    pub inbound_codec: String,
    /// RTP packets sent.
    pub packets_sent: u64,
    /// RTP packets received.
    pub packets_received: u64,
    /// Of them lost on the way.
    pub packets_lost: i64,
    /// Samples that the page heard, made up or not.
    pub total_samples_received: u64,
    /// Those that it made up, because packets came late or never.
    pub concealed_samples: u64,
    /// Those that it inserted to wait for late packets.
    pub inserted_samples_for_deceleration: u64,
    /// Those that it left out to catch up.
    pub removed_samples_for_acceleration: u64,
    /// Bits per second that the path takes, as transport-wide congestion control found out.
    pub available_outgoing_bitrate: Option<f64>,
    /// The page's end of the selected pair: `host`, `srflx`, `prflx` or `relay`.
    pub local_candidate_type: Option<String>,
}

/// A browser that shows the gateway's page.
pub struct SoftphonePage {
    page: Page,
    version: String,
    // Held so that the browser ends after its page, and the microphone's file after the browser.
    _browser: Chromium,
    _microphone: tempfile::TempDir,
}

impl SoftphonePage {
    /// Starts a browser that hears `microphone` in a loop, and opens the page of `gateway` with this fragment in its URL.
    ///
    /// # Errors
    /// Chromium does not start, or the page does not load.
    pub fn open(
        gateway: &Gateway,
        microphone: &Audio,
        fragment: &str,
    ) -> Result<Self, ChromiumError> {
        Self::open_at(&gateway.page_origin(), microphone, fragment)
    }

    /// The same, for a page that something stands before.
    ///
    /// # Errors
    /// As [`SoftphonePage::open`].
    pub fn open_at(
        origin: &str,
        microphone: &Audio,
        fragment: &str,
    ) -> Result<Self, ChromiumError> {
        let failed = |error: String| ChromiumError::Connection(error);
        let directory = tempfile::tempdir().map_err(|error| failed(error.to_string()))?;
        let file = directory.path().join("microphone.wav");
        microphone
            .write_wav(&file)
            .map_err(|error| failed(error.to_string()))?;
        let browser = Chromium::launch(&file)?;
        let version = browser.version()?;
        let mut page = browser.open(&format!("{origin}/#{fragment}"))?;
        page.evaluate(SCRIPT, ANSWER_WITHIN)?;
        Ok(Self {
            page,
            version,
            _browser: browser,
            _microphone: directory,
        })
    }

    /// Name and version of the browser.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The page, for scripts; its call is `phone`.
    pub fn page(&mut self) -> &mut Page {
        &mut self.page
    }

    /// Opens a session of `tenant`, and the audio path to the gateway or to a relay on this port of loopback. Returns how
    /// long ICE and DTLS took from the answer on.
    ///
    /// # Errors
    /// The gateway refuses, or no path comes up.
    pub fn connect(
        &mut self,
        tenant: &str,
        token: &str,
        relay_port: Option<u16>,
    ) -> Result<Duration, ChromiumError> {
        let options = json!({ "tenantId": tenant, "token": token, "relayPort": relay_port });
        self.connect_with(&options)
    }

    /// As [`SoftphonePage::connect`], through a TURN server only: no other candidate of the page is used.
    ///
    /// # Errors
    /// The gateway refuses, or no path comes up.
    pub fn connect_by_turn(
        &mut self,
        tenant: &str,
        token: &str,
    ) -> Result<Duration, ChromiumError> {
        let options = json!({ "tenantId": tenant, "token": token, "iceTransportPolicy": "relay" });
        self.connect_with(&options)
    }

    fn connect_with(&mut self, options: &Value) -> Result<Duration, ChromiumError> {
        let took_ms = self
            .page
            .evaluate(&format!("connectPhone({options})"), CONNECT_WITHIN)?;
        Ok(Duration::from_secs_f64(
            took_ms.as_f64().unwrap_or_default() / 1000.0,
        ))
    }

    /// Dials `trunk` and waits until the call is answered.
    ///
    /// # Errors
    /// It is not answered.
    pub fn dial(&mut self, trunk: &str) -> Result<(), ChromiumError> {
        let options = json!({ "to": "+15550100", "trunkId": trunk, "clientId": "page" });
        self.run(&format!("phone.dial({options})"))?;
        self.wait_for_state("in call")
    }

    /// Waits until the phone is in this state.
    ///
    /// # Errors
    /// It is not, in time.
    pub fn wait_for_state(&mut self, state: &str) -> Result<(), ChromiumError> {
        self.wait_for(&format!("phone.state === {}", json!(state)))
    }

    /// Waits until a condition of the page holds.
    ///
    /// # Errors
    /// It does not, in time.
    pub fn wait_for(&mut self, condition: &str) -> Result<(), ChromiumError> {
        self.page.wait_for(condition, ANSWER_WITHIN)
    }

    /// Evaluates a script and waits for its promise.
    ///
    /// # Errors
    /// It throws.
    pub fn run(&mut self, script: &str) -> Result<Value, ChromiumError> {
        self.page.evaluate(script, ANSWER_WITHIN)
    }

    /// Records so many seconds of what the page hears, once its jitter buffer is filled.
    ///
    /// # Errors
    /// The page hears no stream.
    pub fn record(&mut self, seconds: u32) -> Result<Audio, ChromiumError> {
        let within = Duration::from_secs(u64::from(seconds)) + ANSWER_WITHIN;
        let script = format!("record({seconds}, {})", within.as_millis());
        let sample_rate_hz = self.page.evaluate(&script, within + ANSWER_WITHIN)?;
        let mut samples = Vec::new();
        loop {
            let chunk = self.run("takeRecorded()")?;
            let bytes = BASE64
                .decode(chunk.as_str().unwrap_or_default())
                .map_err(|error| ChromiumError::Connection(error.to_string()))?;
            if bytes.is_empty() {
                break;
            }
            let (pairs, _) = bytes.as_chunks();
            samples.extend(pairs.iter().map(|pair| i16::from_le_bytes(*pair)));
        }
        Ok(Audio {
            sample_rate_hz: sample_rate_hz.as_u64().unwrap_or_default() as u32,
            samples,
        })
    }

    /// What the connection reports about itself.
    ///
    /// # Errors
    /// It lacks what every connection has.
    pub fn transport_stats(&mut self) -> Result<TransportStats, ChromiumError> {
        read(self.run("transportStats()")?)
    }

    /// Every CallEvent that the page was told, in order.
    ///
    /// # Errors
    /// One of them is no CallEvent.
    pub fn events(&mut self) -> Result<Vec<CallEvent>, ChromiumError> {
        read(self.run("phone.events")?)
    }

    /// Their types.
    ///
    /// # Errors
    /// As [`SoftphonePage::events`].
    pub fn event_types(&mut self) -> Result<Vec<EventType>, ChromiumError> {
        let events = self.events()?;
        Ok(events.iter().map(|event| event.event_type).collect())
    }
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, ChromiumError> {
    let text = value.to_string();
    serde_json::from_value(value)
        .map_err(|error| ChromiumError::Script(format!("{error} in {text}")))
}
