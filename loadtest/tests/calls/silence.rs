//! A far end that is silent: our Opus is not encoded, the caller hears quiet and no gap, and the first word comes through whole.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use loadtest::judge::Bar;
use loadtest::webrtc_client::WebRtcCall;

use crate::impaired::{Line, Round};
use crate::reload::{config, reload_ok, write_config};
use crate::rtp_trunk::{end, in_time, record};

/// How many of the newest packets are looked at: a second and a half.
const LOOKED_AT: usize = 75;
const SPEECH_S: usize = 6;

#[test]
fn silence_of_the_far_end_costs_one_byte_and_no_word() {
    let line = Line::start();
    let call = WebRtcCall::dial(&line.plan()).unwrap();
    // It answers with digital silence until it is told to speak.
    let source = line.peer.wait_for_source(0, in_time()).unwrap();
    let silent = wait_until_newest(&call, |silent| silent * 10 >= LOOKED_AT * 9);
    println!("{silent} of {LOOKED_AT} packets are of one byte");

    // The operator's word reaches the running call.
    let gated = config(&line.gateway);
    let key = "[webrtc]\nopus_voice_activity_gate = false\n";
    assert!(gated.contains("[webrtc]\n"), "{gated}");
    write_config(&line.gateway, &gated.replace("[webrtc]\n", key));
    reload_ok(&line.gateway);
    wait_until_newest(&call, |silent| silent == 0);
    write_config(&line.gateway, &gated);
    reload_ok(&line.gateway);
    wait_until_newest(&call, |silent| silent * 10 >= LOOKED_AT * 9);

    line.talk(&call, source, Round::First, SPEECH_S, Bar::OpusClean);
    let report = call.hang_up().unwrap();
    let record = record(&line.gateway, &report.call_sid);
    let told: Vec<u64> = record["directions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|direction| direction["statistics"]["silent"].as_u64().unwrap())
        .collect();
    let counted = line
        .gateway
        .metrics()
        .unwrap()
        .sum("clutchcall_packets_silent_total");
    println!("silent packets: {told:?} in the record, {counted} counted");
    assert!(told.iter().max().is_some_and(|most| *most >= silent as u64));
    assert_eq!(told.iter().sum::<u64>() as f64, counted);
    end(line.gateway);
}

/// Waits until so many of the newest packets are of one byte; they follow each other without a gap. Returns how many.
fn wait_until_newest(call: &WebRtcCall, is_wanted: impl Fn(usize) -> bool) -> usize {
    let deadline = in_time();
    loop {
        let packets = call.audio_packets();
        let newest = &packets[packets.len().saturating_sub(LOOKED_AT)..];
        let of_one_byte = newest.iter().filter(|packet| packet.payload.len() == 1);
        let silent = of_one_byte.count();
        if newest.len() == LOOKED_AT && is_wanted(silent) {
            for pair in newest.windows(2) {
                let step = pair[1]
                    .sequence_number
                    .wrapping_sub(pair[0].sequence_number);
                assert_eq!(step, 1, "a gap in the silence");
            }
            return silent;
        }
        assert!(
            Instant::now() < deadline,
            "{silent} of {} packets are of one byte",
            newest.len()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
