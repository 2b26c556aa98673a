//! A SIP trunk: our own WebRTC client and [`SipPeer`], a carrier of our own, call each other through the gateway. Here: what both
//! sides hear in every pair of codecs, whoever calls. The rest by subject.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap is a failed test"
)]

mod changes;
mod digits;
mod endings;
pub(crate) mod incoming;
mod load;
mod offers;
mod programs;
mod registration;
mod routes;
mod session_timers;

use std::net::Ipv4Addr;

use loadtest::gateway::{Gateway, GatewaySetup};
use loadtest::judge::Bar;
use loadtest::media::AudioCodec;
use loadtest::sip_peer::{CallId, CallState, OutgoingCall, SipPeer, SipPeerConfig};
use loadtest::speech;
use loadtest::webrtc_client::{CallPlan, WebRtcCall};

use crate::rtp_trunk::{
    OPENING_S, WHOLE_CALL, assert_events, end, free_port_pairs, in_time, opening, record, talk,
};

/// A gateway whose tenant `acme` has one trunk, `carrier`, which is `peer`.
pub(crate) struct SipSetup {
    /// Where the gateway listens for SIP.
    pub(crate) sip_port: u16,
    far_end_port: u16,
    /// `codec_preferences`
    pub(crate) codecs: Vec<AudioCodec>,
    /// More keys of the trunk.
    pub(crate) trunk_lines: String,
    /// Whose pages may call.
    pub(crate) origin: String,
    /// Inbound routes, as TOML.
    pub(crate) inbound: String,
    /// RTP port pairs of the trunk.
    pub(crate) media_pairs: u16,
    pub(crate) channel_limit: u32,
    /// The gateway's shards.
    pub(crate) cores: Vec<usize>,
    /// More of `shards.toml`.
    pub(crate) shards_lines: String,
    /// More of `[server]`.
    pub(crate) server_lines: String,
}

impl SipSetup {
    pub(crate) fn new(peer: &SipPeer, codec: AudioCodec) -> Self {
        Self::towards(peer.local_addr().port(), codec)
    }

    /// To another far end than ours.
    fn towards(far_end_port: u16, codec: AudioCodec) -> Self {
        Self {
            sip_port: free_port_pairs(1).0,
            far_end_port,
            codecs: vec![codec],
            trunk_lines: String::new(),
            origin: "https://app.example.com".to_owned(),
            inbound: String::new(),
            media_pairs: 4,
            channel_limit: 50,
            cores: vec![0],
            shards_lines: String::new(),
            server_lines: String::new(),
        }
    }

    pub(crate) fn start(&self) -> Gateway {
        let ports = free_port_pairs(self.media_pairs);
        let names = self.codecs.iter().map(|codec| codec.name().to_uppercase());
        let codecs: Vec<String> = names.collect();
        let mut setup = GatewaySetup::new(&format!(
            r#"
[[tenants]]
tenant_id = "acme"
max_calls = 2000
setups_per_s = 1000
[tenants.browser]
origins = ["{origin}"]
[[tenants.routes]]
vendor = "browser"
trunk_id = "carrier"
{inbound}
[[trunks]]
trunk_id = "carrier"
tenant_id = "acme"
kind = "sip"
gateway_ip = "127.0.0.1"
destination_sbc_port = {far_end_port}
source_pbx_port = {sip_port}
reject_incoming_calls = false
channel_limit = {channel_limit}
codec_preferences = {codecs:?}
rtp_start_port = {first}
rtp_end_port = {last}
{trunk_lines}
"#,
            origin = self.origin,
            inbound = self.inbound,
            far_end_port = self.far_end_port,
            sip_port = self.sip_port,
            channel_limit = self.channel_limit,
            first = ports.0,
            last = ports.1,
            trunk_lines = self.trunk_lines,
        ));
        setup.webrtc_lines = "advertised_ips = [\"127.0.0.1\"]\n".to_owned();
        setup.cores.clone_from(&self.cores);
        setup.shards_lines.clone_from(&self.shards_lines);
        setup.server_lines.clone_from(&self.server_lines);
        Gateway::start(&setup).unwrap()
    }

    /// The URI of a number at the gateway.
    pub(crate) fn uri(&self, number: &str) -> String {
        format!("sip:{number}@127.0.0.1:{}", self.sip_port)
    }
}

/// An inbound route of every number to a waiting page.
pub(crate) const TO_A_PAGE: &str =
    "[[tenants.inbound]]\ntrunk_id = \"carrier\"\nnumber = \"*\"\ntarget = \"browser\"\n";

pub(crate) fn far_end(codec: AudioCodec) -> SipPeer {
    far_end_with(codec, |_| {})
}

pub(crate) fn far_end_with(codec: AudioCodec, change: impl FnOnce(&mut SipPeerConfig)) -> SipPeer {
    let mut config = SipPeerConfig::new(Ipv4Addr::LOCALHOST.into(), codec);
    change(&mut config);
    SipPeer::start(config).unwrap()
}

pub(crate) fn plan(gateway: &Gateway, codec: AudioCodec) -> CallPlan {
    let mut plan = gateway.call_plan("acme").unwrap();
    plan.codec = codec;
    plan.to = "+15550100".to_owned();
    plan.call_from = Some("+15550199".to_owned());
    plan
}

/// A call of the browser that the far end has answered.
pub(crate) fn dial(gateway: &Gateway, peer: &SipPeer, codec: AudioCodec) -> (WebRtcCall, CallId) {
    let call = WebRtcCall::dial(&plan(gateway, codec)).unwrap();
    let at_peer = peer.wait_for_incoming(0, in_time()).unwrap();
    peer.wait_for_state(at_peer, CallState::Answered, in_time())
        .unwrap();
    (call, at_peer)
}

/// Both talk, and each hears the other.
pub(crate) fn both_talk(call: &WebRtcCall, peer: &SipPeer, at_peer: CallId, bar: Bar) {
    let source = peer
        .wait_for(at_peer, "the gateway's SDP", in_time(), |call| {
            call.remote_rtp
        })
        .unwrap();
    let alpha = opening(speech::alpha(), OPENING_S);
    let bravo = opening(speech::bravo(), OPENING_S);
    talk(call, peer.rtp(), source, (&alpha, &bravo), bar);
}

fn browser_calls(at_browser: AudioCodec, at_peer: AudioCodec, bar: Bar) {
    let peer = far_end(at_peer);
    let setup = SipSetup::new(&peer, at_peer);
    let gateway = setup.start();
    let (call, at_far_end) = dial(&gateway, &peer, at_browser);
    let view = peer.view(at_far_end);
    assert!(view.request_uri.starts_with("sip:+15550100@"), "{view:?}");
    both_talk(&call, &peer, at_far_end, bar);
    let report = call.hang_up().unwrap();
    let ended = peer
        .wait_for_state(at_far_end, CallState::Ended, in_time())
        .unwrap();
    assert!(ended.ended_by_other);
    assert_events(&gateway, &report, &WHOLE_CALL);
    let record = record(&gateway, &report.call_sid);
    let set_up = &record["set_up"];
    for stage in [
        "invite_sent_ms",
        "first_response_ms",
        "ringing_ms",
        "answered_ms",
        "media_from_trunk_ms",
        "media_to_trunk_ms",
    ] {
        assert!(set_up[stage].is_u64(), "{stage}: {set_up:#}");
    }
    end(gateway);
}

#[test]
fn a_browser_on_opus_calls_pcmu() {
    browser_calls(AudioCodec::Opus, AudioCodec::Pcmu, Bar::OpusClean);
}

#[test]
fn a_browser_on_opus_calls_pcma() {
    browser_calls(AudioCodec::Opus, AudioCodec::Pcma, Bar::OpusClean);
}

#[test]
fn a_browser_on_opus_calls_opus() {
    browser_calls(AudioCodec::Opus, AudioCodec::Opus, Bar::OpusClean);
}

#[test]
fn a_browser_on_opus_calls_l16() {
    browser_calls(AudioCodec::Opus, AudioCodec::L16, Bar::OpusClean);
}

fn far_end_calls(at_browser: AudioCodec, at_peer: AudioCodec, bar: Bar) {
    let peer = far_end(at_peer);
    let mut setup = SipSetup::new(&peer, at_peer);
    setup.inbound = TO_A_PAGE.to_owned();
    let gateway = setup.start();
    let mut page = WebRtcCall::connect(&plan(&gateway, at_browser)).unwrap();
    incoming::wait_until_waiting(&gateway, 1);
    let at_far_end = peer.call(OutgoingCall::new(&setup.uri("+15550123")));
    let call_sid = page.wait_for_incoming(|from, to| {
        assert_eq!((from, to), ("far-end", "+15550123"));
    });
    let call_sid = call_sid.unwrap();
    assert_eq!(
        peer.wait_for_state(at_far_end, CallState::Ringing, in_time())
            .unwrap()
            .statuses,
        [180]
    );
    page.accept(&call_sid).unwrap();
    peer.wait_for_state(at_far_end, CallState::Answered, in_time())
        .unwrap();
    both_talk(&page, &peer, at_far_end, bar);
    peer.hang_up(at_far_end);
    let report = page.wait_for_end().unwrap();
    assert_events(&gateway, &report, &WHOLE_CALL);
    assert_eq!(report.events.last().unwrap().q850_cause, 16);
    end(gateway);
}

#[test]
fn pcmu_calls_a_browser_on_opus() {
    far_end_calls(AudioCodec::Opus, AudioCodec::Pcmu, Bar::OpusClean);
}

#[test]
fn pcma_calls_a_browser_on_pcmu() {
    far_end_calls(AudioCodec::Pcmu, AudioCodec::Pcma, Bar::PcmuToRtp);
}

#[test]
fn l16_calls_a_browser_on_opus() {
    far_end_calls(AudioCodec::Opus, AudioCodec::L16, Bar::OpusClean);
}

#[test]
fn opus_calls_a_browser_on_opus() {
    far_end_calls(AudioCodec::Opus, AudioCodec::Opus, Bar::OpusClean);
}
