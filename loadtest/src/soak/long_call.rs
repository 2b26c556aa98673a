//! One long call over a SIP trunk, of a browser with a far end that talks all the time, with session timers at their shortest:
//! what carriers cut after 30 minutes, and what wraps round, shows here.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::gateway::{Gateway, GatewayError, GatewaySetup};
use crate::judge::Playback;
use crate::media::AudioCodec;
use crate::rtp_peer::RtpPeerConfig;
use crate::sip_peer::{CallState, SessionTimer, SipPeer, SipPeerConfig, SipPeerError};
use crate::speech;
use crate::webrtc_client::{CallError, WebRtcCall};

/// The shortest interval that RFC 4028 allows; it is refreshed at half of it.
const SESSION_EXPIRES_S: u32 = 90;
/// How often the progress is told.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// For each step besides the talking.
const STEP: Duration = Duration::from_secs(10);

/// Why there was no long call.
#[derive(Debug, Error)]
pub enum LongCallError {
    /// The gateway.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The far end.
    #[error(transparent)]
    FarEnd(#[from] SipPeerError),
    /// The caller.
    #[error(transparent)]
    Caller(#[from] CallError),
    /// The record of the call.
    #[error("the record of the call: {0}")]
    Record(String),
}

/// What became of it.
#[derive(Debug, Clone)]
pub struct LongCall {
    /// How long it was up.
    pub lasted: Duration,
    /// Refreshes of the session that the far end saw.
    pub refreshes: u32,
    /// Packets that the far end sent, as the gateway counted them, and of them lost.
    pub from_far_end: (u64, u64),
    /// What was wrong; empty: nothing.
    pub failures: Vec<String>,
}

/// Makes one call of `lasts`; `look` hears every second how long it is up.
///
/// # Errors
/// There was no call.
pub fn long_call(lasts: Duration, look: impl Fn(Duration)) -> Result<LongCall, LongCallError> {
    let mut media = RtpPeerConfig::new(Ipv4Addr::LOCALHOST.into(), AudioCodec::Pcmu);
    media.speech = Some((speech::bravo(), Playback::Looped));
    let mut config = SipPeerConfig::new(Ipv4Addr::LOCALHOST.into(), AudioCodec::Pcmu);
    config.media = vec![media];
    config.session_timer = Some(SessionTimer {
        expires_s: SESSION_EXPIRES_S,
        min_s: SESSION_EXPIRES_S,
        refreshes: false,
        by_update: true,
    });
    let peer = SipPeer::start(config)?;
    let gateway = Gateway::start(&setup(&peer))?;
    let call = WebRtcCall::dial(&gateway.call_plan("acme")?)?;
    call.speak(&speech::alpha(), Playback::Looped);
    let began = Instant::now();
    let at_peer = peer.wait_for_incoming(0, began + STEP)?;
    let is_up = || peer.view(at_peer).state == CallState::Answered;
    peer.wait_for_state(at_peer, CallState::Answered, began + STEP)?;
    while began.elapsed() < lasts && is_up() {
        std::thread::sleep(LOOK_EVERY.min(lasts.saturating_sub(began.elapsed())));
        look(began.elapsed());
    }
    let lasted = began.elapsed();
    let mut failures = Vec::new();
    if !is_up() {
        failures.push(format!("the call ended after {} s", lasted.as_secs()));
    }
    let refreshes = peer.view(at_peer).refreshes_received;
    let due = (lasted.as_secs() / u64::from(SESSION_EXPIRES_S / 2)).saturating_sub(1);
    if u64::from(refreshes) < due {
        failures.push(format!("{refreshes} refreshes of the session, not {due}"));
    }
    let report = call.hang_up()?;
    let from_far_end = packets(&gateway, &report.call_sid)?;
    let wanted = lasted.as_millis() as u64 / 20;
    // A busy machine sends a little less than 50 a second.
    if from_far_end.0 < wanted * 98 / 100 {
        failures.push(format!(
            "{} packets of the far end, not {wanted}",
            from_far_end.0
        ));
    }
    if let Err(error) = gateway.wait_drained() {
        failures.push(error.to_string());
    }
    Ok(LongCall {
        lasted,
        refreshes,
        from_far_end,
        failures,
    })
}

fn setup(peer: &SipPeer) -> GatewaySetup {
    GatewaySetup::new(&format!(
        r#"
[[tenants]]
tenant_id = "acme"
[tenants.browser]
[[tenants.routes]]
vendor = "browser"
trunk_id = "carrier"
to = "+15550100"
[[trunks]]
trunk_id = "carrier"
tenant_id = "acme"
kind = "sip"
gateway_ip = "127.0.0.1"
destination_sbc_port = {}
source_pbx_port = {}
session_expires_s = {SESSION_EXPIRES_S}
codec_preferences = ["PCMU"]
rtp_start_port = 9000
rtp_end_port = 9007
"#,
        peer.local_addr().port(),
        // Below the media ports, and seldom taken.
        8_000 + std::process::id() % 900,
    ))
}

/// What the far end sent, and what of it was lost, by the record.
fn packets(gateway: &Gateway, call_sid: &str) -> Result<(u64, u64), LongCallError> {
    let wrong = |what: String| LongCallError::Record(what);
    let deadline = Instant::now() + STEP;
    loop {
        let answer = gateway
            .admin("GET", &format!("/v1/calls/{call_sid}"))
            .map_err(|error| wrong(error.to_string()))?;
        let shown: serde_json::Value =
            serde_json::from_str(&answer.body).map_err(|error| wrong(error.to_string()))?;
        let event = &shown["record"]["event"];
        let count = |name: &str| event[name].as_u64();
        if let (Some(received), Some(lost)) = (count("packets_received"), count("packets_lost")) {
            return Ok((received, lost));
        }
        if Instant::now() > deadline {
            return Err(wrong(format!("no counts in {}", answer.body)));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
