//! What the tests of Twilio, Vapi and AI agents share: a tenant with all of them, the vendors' sides, and what both ends of a
//! call hear.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap is a failed test"
)]

use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use loadtest::audio::Audio;
use loadtest::gateway::{Gateway, GatewayError, GatewaySetup};
use loadtest::judge::{Bar, Playback, Question, Verdict, judge};
use loadtest::media::Recording;
use loadtest::rtp_peer::RtpPeer;
use loadtest::sip_peer::{CallId, CallState, SipPeer};
use loadtest::stream_peer::{
    AudioWire, PcmFormat, StreamConnect, StreamPeer, StreamPeerError, TwilioIds,
};
use serde_json::Value;
use server::call::{CallEvent, EventType};

use crate::rtp_trunk::{WHOLE_CALL, free_port_pairs, in_time, record};

/// Of the tenant at Twilio.
pub(crate) const ACCOUNT_SID: &str = "AC00000000000000000000000000000001";
pub(crate) const AUTH_TOKEN: &str = "12345678901234567890123456789012";
/// What a relay shows at `/signal/vapi/acme`.
pub(crate) const RELAY_TOKEN: &str = "relay-0123456789abcdef0123456789abcdef";
/// The last words travel so long at most.
pub(crate) const TAIL: Duration = Duration::from_millis(700);
const STEP: Duration = Duration::from_secs(10);
/// The call that the tenant's routes lead to.
pub(crate) const NUMBER: &str = "+15550100";

/// A gateway whose tenant `acme` has a SIP trunk `carrier`, which takes the calls of Twilio and of relays.
pub(crate) struct StreamSetup {
    secrets: tempfile::TempDir,
    /// Where the gateway listens for SIP.
    pub(crate) sip_port: u16,
    far_end_port: u16,
    /// Further lines of `[tenants.twilio]`.
    pub(crate) twilio_lines: String,
    /// Further lines of `[tenants.vapi]`.
    pub(crate) vapi_lines: String,
    /// Who takes the calls of the vendors.
    pub(crate) route_trunk_id: String,
    /// Inbound routes, as TOML.
    pub(crate) inbound: String,
    /// Further lines of the carrier.
    pub(crate) carrier_lines: String,
    /// Its codecs.
    pub(crate) codecs: String,
    /// More trunks, as TOML.
    pub(crate) trunks: String,
    /// More of `[server]`.
    pub(crate) server_lines: String,
}

impl StreamSetup {
    pub(crate) fn new(peer: &SipPeer) -> Self {
        let setup = Self {
            secrets: tempfile::tempdir().unwrap(),
            sip_port: free_port_pairs(1).0,
            far_end_port: peer.local_addr().port(),
            twilio_lines: String::new(),
            vapi_lines: String::new(),
            route_trunk_id: "carrier".to_owned(),
            inbound: String::new(),
            carrier_lines: String::new(),
            codecs: "\"PCMU\"".to_owned(),
            trunks: String::new(),
            server_lines: String::new(),
        };
        setup.secret("auth-token", AUTH_TOKEN);
        setup.secret("relay-token", RELAY_TOKEN);
        setup
    }

    /// Writes a secret; the file's path.
    pub(crate) fn secret(&self, name: &str, secret: &str) -> PathBuf {
        let path = self.secrets.path().join(name);
        write_private(&path, secret);
        path
    }

    /// A trunk `agent` of kind "websocket", and the vendors' calls go to it.
    pub(crate) fn route_to_agent(&mut self, url: &str, lines: &str) {
        self.route_trunk_id = "agent".to_owned();
        self.add_agent(url, lines);
    }

    /// A trunk `agent` of kind "websocket".
    pub(crate) fn add_agent(&mut self, url: &str, lines: &str) {
        self.trunks.push_str(&format!(
            "[[trunks]]\ntrunk_id = \"agent\"\ntenant_id = \"acme\"\nkind = \"websocket\"\nchannel_limit = 50\n\
             inbound_ai_websocket_url = \"{url}\"\n{lines}\n"
        ));
    }

    fn toml(&self) -> String {
        let ports = free_port_pairs(4);
        let file = |name: &str| self.secrets.path().join(name).display().to_string();
        let vendor_routes: String = ["browser", "twilio", "vapi"]
            .iter()
            .map(|vendor| {
                format!(
                    "[[tenants.routes]]\nvendor = \"{vendor}\"\ntrunk_id = \"{}\"\nto = \"{NUMBER}\"\n",
                    self.route_trunk_id
                )
            })
            .collect();
        format!(
            r#"
[[tenants]]
tenant_id = "acme"
max_calls = 200
setups_per_s = 100
outbound_hosts = ["127.0.0.1", "localhost"]
[tenants.browser]
origins = ["https://app.example.com"]
[tenants.twilio]
trunk_id = "carrier"
account_sid = "{ACCOUNT_SID}"
{twilio_lines}
[tenants.vapi]
bearer_token_file = "{relay_token}"
{vapi_lines}
{vendor_routes}
{inbound}
[[trunks]]
trunk_id = "carrier"
tenant_id = "acme"
kind = "sip"
api_bearer_token_file = "{auth_token}"
gateway_ip = "127.0.0.1"
destination_sbc_port = {far_end_port}
source_pbx_port = {sip_port}
reject_incoming_calls = false
channel_limit = 50
codec_preferences = [{codecs}]
rtp_start_port = {first}
rtp_end_port = {last}
{carrier_lines}
{trunks}
"#,
            twilio_lines = self.twilio_lines,
            relay_token = file("relay-token"),
            vapi_lines = self.vapi_lines,
            inbound = self.inbound,
            auth_token = file("auth-token"),
            far_end_port = self.far_end_port,
            sip_port = self.sip_port,
            codecs = self.codecs,
            first = ports.0,
            last = ports.1,
            carrier_lines = self.carrier_lines,
            trunks = self.trunks,
        )
    }

    pub(crate) fn start(&self) -> Gateway {
        self.try_start().unwrap()
    }

    pub(crate) fn try_start(&self) -> Result<Gateway, GatewayError> {
        let mut setup = GatewaySetup::new(&self.toml());
        setup.server_lines.clone_from(&self.server_lines);
        Gateway::start(&setup)
    }

    /// The URI of a number at the gateway.
    pub(crate) fn uri(&self, number: &str) -> String {
        format!("sip:{number}@127.0.0.1:{}", self.sip_port)
    }
}

fn write_private(path: &Path, secret: &str) {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = file.open(path).unwrap();
    std::io::Write::write_all(&mut file, secret.as_bytes()).unwrap();
    drop(file);
}

/// `X-Twilio-Signature` of an upgrade, as Twilio computes it: the tests of signatures have Twilio's own library do it.
pub(crate) fn signature(auth_token: &str, url: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth_token.as_bytes());
    BASE64.encode(hmac::sign(&key, url.as_bytes()))
}

/// The URL that Twilio dials.
pub(crate) fn twilio_url(gateway: &Gateway) -> String {
    format!("{}/signal/twilio/acme", gateway.url())
}

/// Twilio's side of a call.
pub(crate) struct Twilio {
    pub(crate) peer: StreamPeer,
    pub(crate) ids: TwilioIds,
}

impl Twilio {
    /// The upgrade alone, with these headers.
    pub(crate) fn dial(
        gateway: &Gateway,
        path: &str,
        headers: &[(&str, String)],
    ) -> Result<Self, StreamPeerError> {
        let ids = TwilioIds::new(ACCOUNT_SID);
        let headers = headers.iter();
        let connect = StreamConnect {
            url: format!("{}{path}", gateway.url()),
            trust: gateway.trust(),
            headers: headers
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
        };
        let peer = StreamPeer::connect(&connect, AudioWire::Twilio(ids.clone()))?;
        Ok(Self { peer, ids })
    }

    /// A signed upgrade, and nothing said.
    pub(crate) fn connect(gateway: &Gateway) -> Self {
        let signature = signature(AUTH_TOKEN, &twilio_url(gateway));
        let headers = [("X-Twilio-Signature", signature)];
        Self::dial(gateway, "/signal/twilio/acme", &headers).unwrap()
    }

    /// `connected` and `start`, then sound.
    pub(crate) fn start(gateway: &Gateway, custom_parameters: &[(&str, &str)]) -> Self {
        let twilio = Self::connect(gateway);
        twilio.say_start(custom_parameters);
        twilio.peer.set_sending(true);
        twilio
    }

    pub(crate) fn say_start(&self, custom_parameters: &[(&str, &str)]) {
        self.peer.send(&TwilioIds::connected());
        self.peer.send(&self.ids.start(custom_parameters));
    }
}

/// A relay in front of Vapi, connected with its token.
pub(crate) fn relay(
    gateway: &Gateway,
    token: &str,
    format: PcmFormat,
) -> Result<StreamPeer, StreamPeerError> {
    let connect = StreamConnect {
        url: format!("{}/signal/vapi/acme", gateway.url()),
        trust: gateway.trust(),
        headers: vec![("Authorization".to_owned(), format!("Bearer {token}"))],
    };
    StreamPeer::connect(&connect, AudioWire::Binary(format))
}

/// The `number`th call that the carrier got, answered; where its media comes from.
pub(crate) fn answered(peer: &SipPeer, number: usize) -> (CallId, SocketAddr) {
    let call = peer.wait_for_incoming(number, in_time()).unwrap();
    peer.wait_for_state(call, CallState::Answered, in_time())
        .unwrap();
    let source = peer.wait_for(call, "the gateway's SDP", in_time(), |call| call.remote_rtp);
    let source = source.unwrap();
    peer.rtp().wait_for_source(0, in_time()).unwrap();
    (call, source)
}

/// Both ends of a call whose one end is a stream and whose other is plain RTP.
pub(crate) struct Ends<'a> {
    pub(crate) stream: &'a StreamPeer,
    pub(crate) rtp: &'a RtpPeer,
    pub(crate) source: SocketAddr,
}

impl Ends<'_> {
    /// Both talk at once, to the end of what they have to say; what each heard of the other is judged: at the far end, at the
    /// stream.
    pub(crate) fn talk(&self, from_stream: &Audio, from_far_end: &Audio, bar: Bar) -> [Verdict; 2] {
        self.stream.speak(from_stream);
        let spoken = self.rtp.speak(self.source, from_far_end, Playback::Once);
        spoken.unwrap();
        let longest_ms = from_stream.duration_ms().max(from_far_end.duration_ms());
        let end = Instant::now() + Duration::from_millis(longest_ms as u64);
        self.stream.wait_until_spoken(end + STEP).unwrap();
        std::thread::sleep(end.saturating_duration_since(Instant::now()) + TAIL);
        let at_far_end = self.rtp.recording(self.source).unwrap();
        let at_far_end = verdict(from_stream, self.stream.spoken_at(), &at_far_end, bar);
        let spoken_at = self.rtp.spoken_at(self.source).unwrap();
        let at_stream = verdict(from_far_end, spoken_at, &self.stream.recording(), bar);
        println!("at the far end: {at_far_end}");
        println!("at the stream: {at_stream}");
        assert!(at_far_end.pass, "at the far end: {at_far_end}");
        assert!(at_stream.pass, "at the stream: {at_stream}");
        [at_far_end, at_stream]
    }
}

/// How good what was heard is; `spoken_at` by the speaker's clock, which is ours too.
pub(crate) fn verdict(
    spoken: &Audio,
    spoken_at: Option<Instant>,
    heard: &Recording,
    bar: Bar,
) -> Verdict {
    let mut question = Question::new(bar);
    if let Some(spoken_at) = spoken_at {
        question = question.spoken_at_ms(heard.at_ms(spoken_at));
    }
    judge(spoken, &heard.audio, &question).unwrap()
}

/// Waits for the end of the `number`th call (from 0): its final event, and its record.
pub(crate) fn ended(gateway: &Gateway, number: usize) -> (CallEvent, Value) {
    let found = gateway.wait_for_events(in_time(), |events| {
        let mut ends = events
            .iter()
            .filter(|event| event.event_type == EventType::ChannelHangupComplete);
        ends.nth(number).cloned()
    });
    let end = found.expect("a final event");
    let record = record(gateway, end.call_sid.as_str());
    (end, record)
}

/// The end of the only call, which was answered: its final event and its record.
pub(crate) fn whole_call(gateway: &Gateway) -> (CallEvent, Value) {
    let (end, record) = ended(gateway, 0);
    let types = gateway.event_types(end.call_sid.as_str());
    assert_eq!(types, WHOLE_CALL, "{record:#}");
    (end, record)
}

/// The plans of both directions, from the vendor's leg and from the trunk's.
pub(crate) fn plans(record: &Value) -> [String; 2] {
    let directions = record["directions"].as_array().unwrap();
    [0, 1].map(|from| {
        let direction = directions.iter().find(|known| known["from"] == from);
        direction.unwrap()["plan"].as_str().unwrap().to_owned()
    })
}

/// The samples of a recording between two times.
pub(crate) fn between(heard: &Recording, from: Instant, to: Instant) -> Audio {
    let rate_hz = heard.audio.sample_rate_hz;
    let at = |time: Instant| (heard.at_ms(time).max(0.0) * f64::from(rate_hz) / 1000.0) as usize;
    let samples = &heard.audio.samples;
    let (from, to) = (at(from).min(samples.len()), at(to).min(samples.len()));
    Audio {
        sample_rate_hz: rate_hz,
        samples: samples[from..to].to_vec(),
    }
}

/// When the last sound was heard that is no silence.
pub(crate) fn last_sound(heard: &Recording) -> Option<Instant> {
    let samples = &heard.audio.samples;
    let last = samples
        .iter()
        .rposition(|sample| sample.unsigned_abs() > 300)?;
    let after = Duration::from_secs_f64(last as f64 / f64::from(heard.audio.sample_rate_hz));
    Some(heard.begin + after)
}
