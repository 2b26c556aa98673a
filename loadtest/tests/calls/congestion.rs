//! Opus follows the path: bitrate under a rate cap towards Chromium and back, Chromium's own under our feedback, and in-band
//! FEC that comes with losses and goes after them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap is a failed test"
)]

use std::time::{Duration, Instant};

use codecs::opus::has_lbrr;
use loadtest::gateway::ECHO_TENANT;
use loadtest::impairment::{Direction, ImpairmentRelay, Profile};
use loadtest::judge::Playback;
use loadtest::softphone_page::SoftphonePage;
use loadtest::speech;
use loadtest::webrtc_client::WebRtcCall;

use crate::chromium::{gateway_with_page, open_page};
use crate::impaired::Line;
use crate::rtp_trunk::{end, in_time};

const CAP_BPS: u32 = 40_000;
/// From the begin of a bad time until our encoder follows.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(5);
/// What 48 kHz Opus wants with nothing in its way, in bits per second of payload.
const WANTED_BPS: f64 = 32_000.0;
const RECOVERS_WITHIN: Duration = Duration::from_secs(30);
const LOSSY: Duration = Duration::from_secs(10);
const LBRR_GONE_AFTER: Duration = Duration::from_secs(30);

/// Bits per second of UDP payload that entered the relay in the next `duration`.
fn rate_bps(relay: &ImpairmentRelay, direction: Direction, duration: Duration) -> f64 {
    let bytes = || relay.counters(direction).all.received_bytes;
    let (before, begin) = (bytes(), Instant::now());
    // A rate takes its time.
    std::thread::sleep(duration);
    8.0 * (bytes() - before) as f64 / begin.elapsed().as_secs_f64()
}

/// What the newest `stats{}` says the path to the page leaves, in bits per second of payload.
fn told_bps(page: &mut SoftphonePage) -> f64 {
    let newest = page.run(
        "phone.messages.findLast(({ type }) => type === 'stats')?.caller.available_bitrate_bps",
    );
    newest.unwrap().as_f64().unwrap_or(f64::INFINITY)
}

fn outgoing_bps(page: &mut SoftphonePage) -> f64 {
    let stats = page.transport_stats().unwrap();
    stats
        .available_outgoing_bitrate
        .expect("no transport-cc feedback reaches Chromium")
}

/// Looks until `seen` says yes; how long that took.
#[track_caller]
fn wait_until(what: &str, within: Duration, mut seen: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !seen() {
        assert!(begin.elapsed() < within, "{what}: not within {within:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    begin.elapsed()
}

#[test]
fn chromium_and_we_both_follow_a_cap_of_40_kbps_and_recover() {
    let gateway = gateway_with_page("", ECHO_TENANT);
    let relay = ImpairmentRelay::start(gateway.media_addr(), 1).unwrap();
    let mut page = open_page(&gateway, "");
    let token = gateway.token("acme").unwrap();
    let port = relay.local_addr().port();
    page.connect("acme", &token, Some(port)).unwrap();
    page.dial("echo-opus").unwrap();
    let free_bps = rate_bps(&relay, Direction::ToClient, Duration::from_secs(4));
    println!("without a cap we send {free_bps:.0} b/s, UDP payload");
    assert!(free_bps > f64::from(CAP_BPS), "a cap would change nothing");

    relay.set(Direction::ToClient, Profile::capped(CAP_BPS));
    // The message comes every 2 s, so what it tells may be as old.
    let told_within = FOLLOWS_WITHIN + Duration::from_secs(2);
    let took = wait_until("our bitrate falls", told_within, || {
        told_bps(&mut page) < WANTED_BPS
    });
    println!("told after {took:?}: {:.0} b/s", told_bps(&mut page));
    std::thread::sleep(FOLLOWS_WITHIN.saturating_sub(took));
    let capped_bps = rate_bps(&relay, Direction::ToClient, Duration::from_secs(5));
    println!("under the cap we send {capped_bps:.0} b/s");
    assert!(capped_bps < f64::from(CAP_BPS), "{capped_bps}");

    relay.set(Direction::ToClient, Profile::default());
    let took = wait_until("our bitrate recovers", RECOVERS_WITHIN, || {
        told_bps(&mut page) >= WANTED_BPS
    });
    println!("recovered after {took:?}");
    // A busy machine delays packets too, which for a moment looks like a queue.
    let took = wait_until("we send as much as before", RECOVERS_WITHIN, || {
        rate_bps(&relay, Direction::ToClient, Duration::from_secs(3)) > 0.9 * free_bps
    });
    println!("as much as before after {took:?} more");

    let before_bps = outgoing_bps(&mut page);
    relay.set(Direction::ToTarget, Profile::capped(CAP_BPS));
    // For one Opus stream Chromium's floor is 51.2 kb/s, and it starts from twice as much or more.
    let took = wait_until("Chromium's estimate falls", RECOVERS_WITHIN, || {
        outgoing_bps(&mut page) < 0.7 * before_bps
    });
    println!(
        "Chromium: from {before_bps} to {} b/s after {took:?}",
        outgoing_bps(&mut page)
    );

    page.run("phone.hangUp()").unwrap();
    page.wait_for_state("ended").unwrap();
    drop(page);
    end(gateway);
}

/// How many of the packets that came in this time carry LBRR, and how many came.
fn lbrr(call: &WebRtcCall, from: Instant, to: Instant) -> (usize, usize) {
    let packets = call.audio_packets();
    let came: Vec<_> = packets
        .iter()
        .filter(|packet| (from..to).contains(&packet.arrival))
        .collect();
    let with_lbrr = came.iter().filter(|packet| has_lbrr(&packet.payload));
    (with_lbrr.count(), came.len())
}

#[test]
fn fec_comes_with_losses_and_goes_after_them() {
    let line = Line::start();
    let call = WebRtcCall::dial(&line.plan()).unwrap();
    let source = line.peer.wait_for_source(0, in_time()).unwrap();
    line.peer
        .speak(source, &speech::bravo(), Playback::Looped)
        .unwrap();
    call.speak(&speech::alpha(), Playback::Looped);
    let clean = Instant::now();
    std::thread::sleep(Duration::from_secs(3));

    let began = Instant::now();
    let (with_lbrr, came) = lbrr(&call, clean, began);
    assert!(with_lbrr == 0 && came > 100, "{with_lbrr} of {came}");
    for direction in Direction::BOTH {
        line.caller_side.set(direction, Profile::losing(0.05));
    }
    let took = wait_until("LBRR comes", FOLLOWS_WITHIN, || {
        lbrr(&call, began, Instant::now()).0 > 0
    });
    println!("LBRR after {took:?}");
    std::thread::sleep(LOSSY.saturating_sub(began.elapsed()));
    let healed = Instant::now();
    let (with_lbrr, came) = lbrr(&call, began + took, healed);
    println!("{with_lbrr} of {came} packets have LBRR");
    let reported = call.media_statistics();
    let mean = reported.reported_loss.iter().sum::<f32>() / reported.reported_loss.len() as f32;
    println!("our reports of its loss: {:?}", reported.reported_loss);
    assert!(mean > 0.01 && reported.reported_lost > 5, "{reported:?}");

    for direction in Direction::BOTH {
        line.caller_side.set(direction, Profile::default());
    }
    std::thread::sleep(LBRR_GONE_AFTER);
    let gone = healed + LBRR_GONE_AFTER;
    std::thread::sleep(Duration::from_secs(3));
    let (with_lbrr, came) = lbrr(&call, gone, Instant::now());
    assert!(with_lbrr == 0 && came > 100, "{with_lbrr} of {came}");
    call.hang_up().unwrap();
    end(line.gateway);
}
