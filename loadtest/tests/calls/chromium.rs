//! Chromium calls the echo and hears itself: codecs, DTLS versions, a lost ServerHello.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap is a failed test"
)]

use std::time::{Duration, Instant};

use loadtest::gateway::{ECHO_TENANT, Gateway, GatewaySetup, PAGE_ORIGIN};
use loadtest::impairment::{Direction, ImpairmentRelay, is_server_hello};
use loadtest::judge::{Bar, Question, Verdict, judge};
use loadtest::softphone_page::{SoftphonePage, TransportStats};
use loadtest::speech;
use server::call::{CallEvent, EventType};

/// How the versions are told in `getStats` (RFC 6347, RFC 9147: ones' complement).
const DTLS_1_2: &str = "FEFD";
const DTLS_1_3: &str = "FEFC";
/// How much is recorded: more than one round of the longest pause in the speech.
const RECORDED_S: u32 = 6;
/// Recordings until one must pass: on two busy cores Chromium itself stretches or skips now and then. What the gateway
/// sends is held to `packets_lost == 0` throughout.
pub(crate) const RECORDINGS_MAX: u32 = 3;
/// A lost flight is sent again after at most 1 s; the rest of a handshake takes milliseconds.
const CONNECT_MAX: Duration = Duration::from_secs(2);
const EVENT_WITHIN: Duration = Duration::from_secs(5);

/// A gateway with the softphone page, the echo trunks, and these lines in `[webrtc]`.
pub(crate) fn gateway_with_page(webrtc_lines: &str, tenants_and_trunks: &str) -> Gateway {
    let tenants_and_trunks = tenants_and_trunks.replace("https://app.example.com", PAGE_ORIGIN);
    let mut setup = GatewaySetup::new(&tenants_and_trunks);
    setup.server_lines = "demo_page = true\n".to_owned();
    setup.webrtc_lines.push_str(webrtc_lines);
    Gateway::start(&setup).unwrap()
}

/// The gateway's page in a browser that says [`speech::alpha`].
pub(crate) fn open_page(gateway: &Gateway, fragment: &str) -> SoftphonePage {
    let page = SoftphonePage::open(gateway, &speech::alpha(), fragment)
        .unwrap_or_else(|error| panic!("{error}"));
    println!("peer: {}", page.version());
    page
}

/// Waits until the page and `/v1/events` were told the end of the call, and compares both with `expected`; the last event.
#[track_caller]
pub(crate) fn assert_events(
    gateway: &Gateway,
    page: &mut SoftphonePage,
    expected: &[EventType],
) -> CallEvent {
    page.wait_for_state("ended").unwrap();
    let told = page.events().unwrap();
    let call_sid = told.first().expect("no event").call_sid;
    let end = gateway.wait_for_events(Instant::now() + EVENT_WITHIN, |events| {
        let end = |event: &&CallEvent| {
            event.call_sid == call_sid && event.event_type == EventType::ChannelHangupComplete
        };
        events.iter().find(end).cloned()
    });
    let end = end.expect("no CHANNEL_HANGUP_COMPLETE at /v1/events");
    assert_eq!(page.event_types().unwrap(), expected, "in the page");
    let all: Vec<EventType> = gateway
        .events()
        .iter()
        .map(|each| each.event_type)
        .collect();
    assert_eq!(all, expected, "at /v1/events");
    assert_eq!(told.last().unwrap().q850_cause, end.q850_cause);
    end
}

/// What a call of the echo was like.
struct EchoCall {
    connected_after: Duration,
    stats: TransportStats,
}

/// One call to an echo trunk: the page must hear its own microphone, and the call must leave nothing behind.
fn echo_call(webrtc_lines: &str, trunk: &str, loses_server_hello: bool) -> EchoCall {
    let gateway = gateway_with_page(webrtc_lines, ECHO_TENANT);
    let relay = loses_server_hello.then(|| {
        let relay = ImpairmentRelay::start(gateway.media_addr(), 1).unwrap();
        relay.lose_selected(Direction::ToClient, 1, is_server_hello);
        relay
    });
    let mut page = open_page(&gateway, "");
    let token = gateway.token("acme").unwrap();
    let relay_port = relay.as_ref().map(|relay| relay.local_addr().port());
    let connected_after = page.connect("acme", &token, relay_port).unwrap();
    page.dial(trunk).unwrap();
    let verdict = hear(&mut page, trunk);
    let stats = page.transport_stats().unwrap();
    println!("{trunk}: connected after {connected_after:?}, {stats:?}");
    // Where packets went, should the judge say that some are missing.
    let metrics = gateway.admin("GET", "/metrics").unwrap().body;
    let packets = metrics
        .lines()
        .filter(|line| line.contains("drop") || line.contains("packets"));
    for line in packets.filter(|line| !line.starts_with('#') && !line.ends_with(" 0")) {
        println!("{line}");
    }
    assert!(verdict.pass, "{verdict}");
    assert_eq!(stats.packets_lost, 0, "{stats:?}");

    page.run("phone.hangUp()").unwrap();
    let once = [
        EventType::ChannelCreate,
        EventType::ChannelAnswer,
        EventType::ChannelHangupComplete,
    ];
    assert_eq!(assert_events(&gateway, &mut page, &once).q850_cause, 16);
    if let Some(relay) = relay {
        let lost = relay.counters(Direction::ToClient).all.lost_selected;
        assert_eq!(lost, 1, "the relay saw no ServerHello");
    }
    gateway.assert_drained();
    assert_eq!(gateway.stop().unwrap().code(), Some(0));
    EchoCall {
        connected_after,
        stats,
    }
}

/// What the page hears of its own voice: the first recording that passes, or the last.
pub(crate) fn hear(page: &mut SoftphonePage, trunk: &str) -> Verdict {
    let question = Question::new(Bar::Chromium).looped();
    let mut recorded = 0;
    loop {
        let recording = page.record(RECORDED_S).unwrap();
        recorded += 1;
        let verdict = judge(&speech::alpha(), &recording, &question).unwrap();
        println!("{trunk}: recording {recorded}: {verdict}");
        if verdict.pass || recorded == RECORDINGS_MAX {
            return verdict;
        }
    }
}

#[track_caller]
fn assert_transport(stats: &TransportStats, tls_version: &str, codec: &str) {
    assert_eq!(stats.tls_version, tls_version);
    assert!(!stats.srtp_cipher.is_empty(), "{stats:?}");
    assert_eq!(stats.outbound_codec, codec);
    assert_eq!(stats.inbound_codec, codec);
}

#[test]
fn opus_is_transcoded_to_pcmu_and_back_on_dtls_1_3() {
    let call = echo_call("", "echo", false);
    assert_transport(&call.stats, DTLS_1_3, "audio/opus");
    assert!(call.stats.available_outgoing_bitrate.is_some());
}

#[test]
fn opus_is_decoded_and_encoded_again_on_dtls_1_2() {
    let call = echo_call("dtls = \"1.2\"\n", "echo-opus", false);
    assert_transport(&call.stats, DTLS_1_2, "audio/opus");
}

#[test]
fn opus_is_reflected() {
    let call = echo_call("dtls = \"1.3\"\ncodecs = [\"opus\"]\n", "echo-same", false);
    assert_transport(&call.stats, DTLS_1_3, "audio/opus");
}

#[test]
fn pcmu_needs_no_transcoding() {
    let call = echo_call("codecs = [\"PCMU\"]\n", "echo", false);
    assert_transport(&call.stats, DTLS_1_3, "audio/PCMU");
}

#[test]
fn a_lost_server_hello_costs_less_than_two_seconds_on_dtls_1_3() {
    let call = echo_call("dtls = \"1.3\"\n", "echo", true);
    assert_transport(&call.stats, DTLS_1_3, "audio/opus");
    assert!(
        call.connected_after < CONNECT_MAX,
        "{:?}",
        call.connected_after
    );
}

#[test]
fn a_lost_server_hello_costs_less_than_two_seconds_on_dtls_1_2() {
    let call = echo_call("dtls = \"1.2\"\n", "echo", true);
    assert_transport(&call.stats, DTLS_1_2, "audio/opus");
    assert!(
        call.connected_after < CONNECT_MAX,
        "{:?}",
        call.connected_after
    );
}
