//! SDPs in the style of SIP equipment, whole dialogs, and arbitrary ones.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bounds;
mod dialog;
mod equipment;
mod hold;
mod keys;
mod properties;

use std::net::SocketAddr;

use super::*;
use crate::bridge::{Codec, TelephoneEventFormat};
use crate::config::CodecName;
use crate::rtp::{PayloadType, StreamDirection};

const ASTERISK: &str = include_str!("tests/asterisk.sdp");
const BARESIP: &str = include_str!("tests/baresip.sdp");
const CISCO: &str = include_str!("tests/cisco.sdp");
const FREESWITCH: &str = include_str!("tests/freeswitch.sdp");
const RTPENGINE: &str = include_str!("tests/rtpengine.sdp");
const SIPP: &str = include_str!("tests/sipp.sdp");
const SLOPPY: &str = include_str!("tests/sloppy.sdp");
const TWILIO: &str = include_str!("tests/twilio.sdp");

/// Opus first, everything taken.
fn config() -> NegotiationConfig {
    NegotiationConfig {
        codecs: vec![
            CodecName::Opus,
            CodecName::Pcmu,
            CodecName::Pcma,
            CodecName::L16,
        ],
        ptime_ms: PTIME_DEFAULT_MS,
        srtp: false,
        local: address("192.0.2.1:20000"),
        offers_rtcp_mux: true,
        media_ip_cidrs: Vec::new(),
    }
}

fn with_codecs(codecs: &[CodecName]) -> NegotiationConfig {
    NegotiationConfig {
        codecs: codecs.to_vec(),
        ..config()
    }
}

fn with_srtp() -> NegotiationConfig {
    NegotiationConfig {
        srtp: true,
        ..config()
    }
}

fn dialog(config: NegotiationConfig) -> OfferAnswer {
    OfferAnswer::new(config, [9; OfferAnswer::ENTROPY_LEN])
}

/// An SDP of a fixture or one written in a test, with the line ends of the RFC.
fn remote(sdp: &str) -> RemoteDescription {
    RemoteDescription::parse(sdp.replace('\n', "\r\n")).unwrap()
}

/// A short SDP of a far end: its audio m-line and attributes, one per line.
fn audio(media: &str) -> RemoteDescription {
    remote(&format!(
        "v=0\no=- 1 1 IN IP4 203.0.113.1\ns=-\nc=IN IP4 203.0.113.1\nt=0 0\n{media}\n"
    ))
}

fn answer(offer: &RemoteDescription, config: NegotiationConfig) -> Result<LocalAnswer, SdpError> {
    dialog(config).offer_received(offer)
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// `o=`'s version.
fn version(sdp: &LocalSdp) -> u64 {
    let origin = sdp.as_str().lines().nth(1).unwrap();
    origin.split(' ').nth(2).unwrap().parse().unwrap()
}

fn lines_with<'a>(sdp: &'a LocalSdp, beginning: &str) -> Vec<&'a str> {
    let lines = sdp.as_str().lines();
    lines.filter(|line| line.starts_with(beginning)).collect()
}

fn event(payload_type: u8, clock_rate_hz: u32) -> Option<TelephoneEventFormat> {
    Some(TelephoneEventFormat {
        payload_type: PayloadType(payload_type),
        clock_rate_hz,
    })
}
