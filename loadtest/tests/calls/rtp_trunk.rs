//! A trunk that is a plain RTP far end: our own WebRTC client calls through the gateway to [`RtpPeer`]. Here: what both
//! sides hear in every pair of codecs. The rest by subject: ports, digits, who may speak, reports and silence.
//!
//! The peer has no signalling: it answers by existing, and hangs up with an RTCP BYE.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap is a failed test"
)]

mod accounts;
pub(crate) mod digits;
mod ports;
mod silence;
mod sources;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use loadtest::audio::Audio;
use loadtest::gateway::{Gateway, GatewaySetup};
use loadtest::judge::{Bar, Playback, Question, Verdict, judge};
use loadtest::media::{AudioCodec, Recording};
use loadtest::rtp_peer::{RtpPeer, RtpPeerConfig};
use loadtest::speech;
use loadtest::webrtc_client::{CallReport, WebRtcCall};
use server::call::EventType;

const PEER: &str = concat!(
    "RtpPeer ",
    env!("CARGO_PKG_VERSION"),
    " and WebRtcCall on str0m 0.25"
);
/// Speech of the tests that are not about the best or the longest.
pub(crate) const OPENING_S: usize = 4;
const STEP: Duration = Duration::from_secs(10);
/// The last words travel so long at most.
const TAIL: Duration = Duration::from_millis(600);

pub(crate) fn in_time() -> Instant {
    Instant::now() + STEP
}

/// A gateway whose tenant `acme` has one route, to a trunk `far-end` of kind rtp at `remote`.
pub(crate) struct TrunkSetup {
    remote: SocketAddr,
    codec: AudioCodec,
    pub(crate) rtcp_mux: bool,
    /// First and last RTP port.
    ports: (u16, u16),
    no_media_timeout_s: u32,
    advertised_ip: IpAddr,
}

impl TrunkSetup {
    pub(crate) fn new(remote: SocketAddr, codec: AudioCodec) -> Self {
        Self {
            remote,
            codec,
            rtcp_mux: false,
            ports: free_port_pairs(4),
            no_media_timeout_s: 60,
            advertised_ip: Ipv4Addr::LOCALHOST.into(),
        }
    }

    pub(crate) fn start(&self) -> Gateway {
        let mut setup = GatewaySetup::new(&format!(
            r#"
[[tenants]]
tenant_id = "acme"
[tenants.browser]
origins = ["https://app.example.com"]
[[tenants.routes]]
vendor = "browser"
trunk_id = "far-end"

[[trunks]]
trunk_id = "far-end"
tenant_id = "acme"
kind = "rtp"
remote = "{remote}"
rtcp_mux = {rtcp_mux}
codec_preferences = ["{codec}"]
rtp_start_port = {first}
rtp_end_port = {last}
no_media_timeout_s = {no_media_timeout_s}
"#,
            remote = self.remote,
            rtcp_mux = self.rtcp_mux,
            codec = self.codec.name().to_uppercase(),
            first = self.ports.0,
            last = self.ports.1,
            no_media_timeout_s = self.no_media_timeout_s,
        ));
        setup.webrtc_lines = format!("advertised_ips = [\"{}\"]\n", self.advertised_ip);
        println!("peer: {PEER}");
        Gateway::start(&setup).unwrap()
    }
}

/// So many neighbouring pairs of ports that are free now, below all that the fixture and the trunks' defaults take.
pub(crate) fn free_port_pairs(pairs: u16) -> (u16, u16) {
    let offset = std::process::id() as u16 % 1_000 * 2;
    let candidates = (4_000 + offset..8_900)
        .step_by(2)
        .chain((4_000..8_900).step_by(2));
    for first in candidates {
        let last = first + pairs * 2 - 1;
        // Held together, so that all of them are free at once; tests that look at the same time see each other's.
        let held: Result<Vec<_>, _> = (first..=last)
            .map(|port| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)))
            .collect();
        if held.is_ok() && reserve(first, last) {
            return (first, last);
        }
    }
    panic!("no {pairs} pairs of UDP ports are free");
}

/// Gives each port to one test of this process only.
fn reserve(first: u16, last: u16) -> bool {
    use std::sync::Mutex;
    static RESERVED: Mutex<Vec<(u16, u16)>> = Mutex::new(Vec::new());
    let mut reserved = RESERVED.lock().unwrap();
    let is_free = reserved
        .iter()
        .all(|(other_first, other_last)| last < *other_first || *other_last < first);
    if is_free {
        reserved.push((first, last));
    }
    is_free
}

fn peer(codec: AudioCodec) -> RtpPeer {
    RtpPeer::start(RtpPeerConfig::new(Ipv4Addr::LOCALHOST.into(), codec)).unwrap()
}

fn dial(gateway: &Gateway, codec: AudioCodec) -> WebRtcCall {
    let mut plan = gateway.call_plan("acme").unwrap();
    plan.codec = codec;
    WebRtcCall::dial(&plan).unwrap()
}

pub(crate) fn opening(speech: Audio, seconds: usize) -> Audio {
    let mut opening = speech;
    opening
        .samples
        .truncate(opening.sample_rate_hz as usize * seconds);
    opening
}

/// How good what was heard is; `spoken_at` by the speaker's clock, which is ours too.
fn verdict(spoken: &Audio, spoken_at: Option<Instant>, heard: &Recording, bar: Bar) -> Verdict {
    let spoken_at = spoken_at.expect("nothing was spoken");
    let question = Question::new(bar).spoken_at_ms(heard.at_ms(spoken_at));
    judge(spoken, &heard.audio, &question).unwrap()
}

/// Both talk at once, to the end of what they have to say; what each heard of the other is judged: at the peer, at the browser.
pub(crate) fn talk(
    call: &WebRtcCall,
    peer: &RtpPeer,
    source: SocketAddr,
    (from_browser, from_peer): (&Audio, &Audio),
    bar: Bar,
) -> [Verdict; 2] {
    call.speak(from_browser, Playback::Once);
    peer.speak(source, from_peer, Playback::Once).unwrap();
    let longest_ms = from_browser.duration_ms().max(from_peer.duration_ms());
    let end = Instant::now() + Duration::from_millis(longest_ms as u64);
    call.wait_until_spoken(end + STEP).unwrap();
    std::thread::sleep(end.saturating_duration_since(Instant::now()) + TAIL);

    let (heard_by_peer, heard_by_browser) =
        (peer.recording(source).unwrap(), call.recording().unwrap());
    let at_peer = verdict(from_browser, call.spoken_at(), &heard_by_peer, bar);
    let spoken_at = peer.spoken_at(source).unwrap();
    let at_browser = verdict(from_peer, spoken_at, &heard_by_browser, bar);
    println!("at the peer: {at_peer}; {:?}", heard_by_peer.statistics);
    println!(
        "at the browser: {at_browser}; {:?}",
        heard_by_browser.statistics
    );
    assert!(at_peer.pass, "at the peer: {at_peer}");
    assert!(at_browser.pass, "at the browser: {at_browser}");
    [at_peer, at_browser]
}

/// The record of an ended call, once its final event was told.
pub(crate) fn record(gateway: &Gateway, call_sid: &str) -> serde_json::Value {
    let ended = gateway.wait_for_events(in_time(), |events| {
        events
            .iter()
            .find(|event| {
                event.call_sid.as_str() == call_sid
                    && event.event_type == EventType::ChannelHangupComplete
            })
            .map(|_| ())
    });
    assert!(ended.is_some(), "no final event of {call_sid}");
    let answer = gateway
        .admin("GET", &format!("/v1/calls/{call_sid}"))
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let shown: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(shown["state"], "ended");
    shown["record"].clone()
}

/// These CallEvents and no others, in the dialect and at `/v1/events`.
pub(crate) fn assert_events(gateway: &Gateway, report: &CallReport, wanted: &[EventType]) {
    let told: Vec<EventType> = report.events.iter().map(|event| event.event_type).collect();
    assert_eq!(told, wanted, "in the dialect");
    record(gateway, &report.call_sid);
    assert_eq!(
        gateway.event_types(&report.call_sid),
        wanted,
        "at /v1/events"
    );
}

pub(crate) fn end(gateway: Gateway) {
    gateway.assert_drained();
    let status = gateway.stop().unwrap();
    assert!(status.success(), "the gateway ended with {status}");
}

pub(crate) const WHOLE_CALL: [EventType; 3] = [
    EventType::ChannelCreate,
    EventType::ChannelAnswer,
    EventType::ChannelHangupComplete,
];

/// A whole call between two codecs; the plans by name, towards the peer and back.
fn codecs(
    at_browser: AudioCodec,
    at_peer: AudioCodec,
    bar: Bar,
    plans: [&str; 2],
    speech: (Audio, Audio),
) {
    let peer = peer(at_peer);
    let gateway = TrunkSetup::new(peer.local_addr(), at_peer).start();
    let call = dial(&gateway, at_browser);
    let source = peer.wait_for_source(0, in_time()).unwrap();
    talk(&call, &peer, source, (&speech.0, &speech.1), bar);
    let report = call.hang_up().unwrap();
    peer.wait_for_goodbye(source, in_time()).unwrap();

    assert_events(&gateway, &report, &WHOLE_CALL);
    let record = record(&gateway, &report.call_sid);
    let directions = record["directions"].as_array().unwrap();
    let plan = |from: u64| {
        let direction = directions
            .iter()
            .find(|direction| direction["from"] == from)
            .unwrap();
        direction["plan"].as_str().unwrap()
    };
    assert_eq!([plan(0), plan(1)], plans, "{record:#}");
    let metrics = gateway.metrics().unwrap();
    let transcoded = metrics.sum("clutchcall_packets_transcoded_total");
    let passed = metrics.sum("clutchcall_packets_passed_through_total");
    println!("{plans:?}: {transcoded} packets transcoded, {passed} passed through");
    // Both speak without a pause for as long as the speech lasts.
    let packets_min = speech.0.duration_ms() / 20.0 * 2.0;
    if plans[0].ends_with("passthrough") {
        assert!(passed > packets_min && transcoded == 0.0);
    } else {
        assert!(transcoded > packets_min && passed == 0.0);
    }
    end(gateway);
}

fn openings() -> (Audio, Audio) {
    (
        opening(speech::alpha(), OPENING_S),
        opening(speech::bravo(), OPENING_S),
    )
}

#[test]
fn opus_at_the_browser_is_pcmu_at_the_peer() {
    codecs(
        AudioCodec::Opus,
        AudioCodec::Pcmu,
        Bar::OpusClean,
        ["opus>pcm8k>PCMU", "PCMU>pcm8k>opus"],
        (speech::alpha(), speech::bravo()),
    );
}

#[test]
fn pcmu_on_both_sides_goes_on_untouched() {
    codecs(
        AudioCodec::Pcmu,
        AudioCodec::Pcmu,
        Bar::PcmuToRtp,
        ["PCMU passthrough"; 2],
        (speech::alpha(), speech::bravo()),
    );
}

#[test]
fn opus_on_both_sides_goes_on_untouched() {
    codecs(
        AudioCodec::Opus,
        AudioCodec::Opus,
        Bar::OpusClean,
        ["opus passthrough"; 2],
        openings(),
    );
}

#[test]
fn opus_at_the_browser_is_pcma_at_the_peer() {
    codecs(
        AudioCodec::Opus,
        AudioCodec::Pcma,
        Bar::OpusClean,
        ["opus>pcm8k>PCMA", "PCMA>pcm8k>opus"],
        openings(),
    );
}

#[test]
fn opus_at_the_browser_is_l16_at_the_peer() {
    codecs(
        AudioCodec::Opus,
        AudioCodec::L16,
        Bar::OpusClean,
        ["opus>pcm16k>L16", "L16>pcm16k>opus"],
        openings(),
    );
}

#[test]
fn pcma_at_the_browser_is_pcmu_at_the_peer() {
    codecs(
        AudioCodec::Pcma,
        AudioCodec::Pcmu,
        Bar::PcmuToRtp,
        ["PCMA>pcm8k>PCMU", "PCMU>pcm8k>PCMA"],
        openings(),
    );
}

#[test]
fn pcmu_at_the_browser_is_l16_at_the_peer() {
    codecs(
        AudioCodec::Pcmu,
        AudioCodec::L16,
        Bar::PcmuToRtp,
        ["PCMU>pcm8k>pcm16k>L16", "L16>pcm16k>pcm8k>PCMU"],
        openings(),
    );
}

#[test]
fn ipv6_at_the_browser_is_ipv4_at_the_peer() {
    let peer = peer(AudioCodec::Pcmu);
    let mut setup = TrunkSetup::new(peer.local_addr(), AudioCodec::Pcmu);
    setup.advertised_ip = Ipv6Addr::LOCALHOST.into();
    let gateway = setup.start();
    let mut plan = gateway.call_plan("acme").unwrap();
    plan.local_ips = vec![Ipv6Addr::LOCALHOST.into()];
    let call = WebRtcCall::dial(&plan).unwrap();
    let source = peer.wait_for_source(0, in_time()).unwrap();
    assert!(source.is_ipv4());
    let (alpha, bravo) = openings();
    talk(&call, &peer, source, (&alpha, &bravo), Bar::OpusClean);
    let report = call.hang_up().unwrap();
    assert_events(&gateway, &report, &WHOLE_CALL);
    end(gateway);
}
