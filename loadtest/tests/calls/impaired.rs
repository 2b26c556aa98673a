//! Calls over a bad network, which an [`ImpairmentRelay`] makes between the caller and the gateway, and between the trunk and
//! its far end: what is heard, what is repaired, and whether reports and records tell the truth about it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap is a failed test"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use loadtest::gateway::Gateway;
use loadtest::impairment::{Direction, ImpairmentRelay, Jitter, Loss, Profile, Reorder, Tally};
use loadtest::judge::{Bar, Verdict};
use loadtest::media::AudioCodec;
use loadtest::rtp_peer::{RtpPeer, RtpPeerConfig};
use loadtest::speech;
use loadtest::webrtc_client::{CallPlan, MediaStatistics, WebRtcCall};
use serde_json::Value;

use crate::rtp_trunk::{
    TrunkSetup, WHOLE_CALL, assert_events, end, in_time, opening, record, talk,
};

const SEED: u64 = 20_261_126;
/// How much is said over a bad line: 5 % of it are 20 packets each way.
const SPEECH_S: usize = 8;
/// Each way; half of the jitter comes on top on average.
const DELAY: Duration = Duration::from_millis(20);

/// A caller on Opus behind a relay, and a far end on PCMU behind another.
pub(crate) struct Line {
    pub(crate) gateway: Gateway,
    pub(crate) peer: RtpPeer,
    pub(crate) caller_side: ImpairmentRelay,
    pub(crate) trunk_side: ImpairmentRelay,
}

#[derive(Clone, Copy)]
pub(crate) enum Round {
    First,
    Second,
}

impl Line {
    pub(crate) fn start() -> Self {
        let mut config = RtpPeerConfig::new(Ipv4Addr::LOCALHOST.into(), AudioCodec::Pcmu);
        config.rtcp_mux = true;
        let peer = RtpPeer::start(config).unwrap();
        let trunk_side = ImpairmentRelay::start(peer.local_addr(), SEED).unwrap();
        let mut setup = TrunkSetup::new(trunk_side.local_addr(), AudioCodec::Pcmu);
        setup.rtcp_mux = true;
        let gateway = setup.start();
        let caller_side = ImpairmentRelay::start(gateway.media_addr(), SEED + 1).unwrap();
        Self {
            gateway,
            peer,
            caller_side,
            trunk_side,
        }
    }

    pub(crate) fn plan(&self) -> CallPlan {
        let mut plan = self.gateway.call_plan("acme").unwrap();
        plan.codec = AudioCodec::Opus;
        plan.local_ips = vec![Ipv4Addr::LOCALHOST.into()];
        plan.relay = Some(self.caller_side.local_addr());
        plan
    }

    /// Both speak so long; what each heard of the other must reach the bar. The second time they swap what they say, so that
    /// nobody is judged by what was heard the first time.
    pub(crate) fn talk(
        &self,
        call: &WebRtcCall,
        source: SocketAddr,
        round: Round,
        seconds: usize,
        bar: Bar,
    ) -> [Verdict; 2] {
        let alpha = opening(speech::alpha(), seconds);
        let bravo = opening(speech::bravo(), seconds);
        let said = match round {
            Round::First => (&alpha, &bravo),
            Round::Second => (&bravo, &alpha),
        };
        talk(call, &self.peer, source, said, bar)
    }

    fn wait_until_heard_both_ways(&self, call: &WebRtcCall, source: SocketAddr) {
        let heard = || {
            let at_caller = call.recording().unwrap().statistics.received;
            (
                at_caller,
                self.peer.audio_packets(source).unwrap().len() as u64,
            )
        };
        let (at_caller, at_peer) = heard();
        let deadline = in_time();
        loop {
            std::thread::sleep(Duration::from_millis(50));
            let now = heard();
            // What was under way before doesn't count: half a second of audio does.
            if now.0 > at_caller + 25 && now.1 > at_peer + 25 {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "before {at_caller}, {at_peer}; now {now:?}"
            );
        }
    }
}

fn set_both(relay: &ImpairmentRelay, profile: Profile) {
    for direction in Direction::BOTH {
        relay.set(direction, profile);
    }
}

/// What RTP suffered on its way in this direction.
fn suffered(relay: &ImpairmentRelay, direction: Direction) -> Tally {
    relay.counters(direction).rtp
}

fn leg(record: &Value, leg: u64) -> Value {
    let legs = record["legs"].as_array().unwrap();
    let found = legs.iter().find(|account| account["leg"] == leg);
    found
        .unwrap_or_else(|| panic!("no leg {leg} in {record:#}"))
        .clone()
}

/// Frames from the leg that were recovered by FEC and those that were made up.
fn repaired(record: &Value, from: u64) -> (u64, u64) {
    let directions = record["directions"].as_array().unwrap();
    let found = directions
        .iter()
        .find(|direction| direction["from"] == from);
    let statistics = &found.unwrap()["statistics"];
    let count = |key: &str| statistics[key].as_u64().unwrap();
    (count("fec_recovered"), count("concealed"))
}

/// As many as were really lost, but for those that nobody can know of: before the first packet and after the last.
#[track_caller]
fn assert_lost(told: &Value, really: u64) {
    let told = told.as_u64().unwrap();
    assert!(
        told <= really && really <= told + 3,
        "{told} told, {really} lost"
    );
}

#[track_caller]
fn assert_within(told: &Value, range: std::ops::Range<f64>) {
    let told = told.as_f64().unwrap();
    assert!(range.contains(&told), "{told} is not in {range:?}");
}

/// First the caller's network is bad, then the trunk's; the call's delay and jitter stay to its end.
#[test]
fn a_bad_network_is_repaired_reported_and_accounted_for() {
    let line = Line::start();
    let late = Profile {
        delay: DELAY,
        jitter: Jitter::Uniform {
            max: Duration::from_millis(30),
        },
        ..Profile::default()
    };
    let bad = Profile {
        loss: Loss::Random { probability: 0.05 },
        reorder: Some(Reorder {
            probability: 0.02,
            by: 1,
        }),
        duplicate: 0.02,
        ..late
    };
    set_both(&line.caller_side, bad);
    let call = WebRtcCall::dial(&line.plan()).unwrap();
    let source = line.peer.wait_for_source(0, in_time()).unwrap();
    line.talk(&call, source, Round::First, SPEECH_S, Bar::Loss5);
    let reported = call.media_statistics();
    let sent = suffered(&line.caller_side, Direction::ToTarget);
    println!("from the caller: {sent:?}; reported: {reported:?}");
    assert_reported(&reported, &sent);

    set_both(&line.caller_side, late);
    set_both(&line.trunk_side, Profile::losing(0.05));
    line.talk(&call, source, Round::Second, SPEECH_S, Bar::Loss5);
    let report = call.hang_up().unwrap();
    assert_events(&line.gateway, &report, &WHOLE_CALL);

    let record = record(&line.gateway, &report.call_sid);
    println!("{record:#}");
    let from_caller = suffered(&line.caller_side, Direction::ToTarget);
    let to_caller = suffered(&line.caller_side, Direction::ToClient);
    let from_peer = suffered(&line.trunk_side, Direction::ToClient);
    let to_peer = suffered(&line.trunk_side, Direction::ToTarget);
    println!("from the caller {from_caller:?}, to it {to_caller:?}");
    println!("from the peer {from_peer:?}, to it {to_peer:?}");
    let (vendor, trunk) = (leg(&record, 0), leg(&record, 1));
    assert_lost(&vendor["statistics"]["packets_lost"], from_caller.lost());
    assert_lost(&trunk["statistics"]["packets_lost"], from_peer.lost());
    assert_eq!(
        record["event"]["packets_lost"], trunk["statistics"]["packets_lost"],
        "the event describes the trunk leg"
    );
    for (leg, suffered) in [(&vendor, to_caller), (&trunk, to_peer)] {
        let fraction = suffered.lost() as f64 / suffered.received as f64;
        let range = fraction - 0.02..fraction + 0.02;
        assert_within(&leg["statistics"]["remote_loss_fraction"], range);
    }
    // The mean difference of two delays out of 0..30 ms is 10 ms; in order they differ less.
    assert_within(&vendor["statistics"]["jitter_ms"], 4.0..20.0);
    assert_within(&vendor["statistics"]["round_trip_time_ms"], 45.0..150.0);
    assert_within(&trunk["statistics"]["jitter_ms"], 0.0..6.0);
    // Both sections lose 2.5 % over the call, and what the caller hears is Opus out of PCMU.
    for leg in [&vendor, &trunk] {
        assert_within(&leg["mos_as_heard"], 2.5..4.2);
    }

    assert_repairs(&line.gateway, &record, &from_caller, &from_peer);
    end(line.gateway);
}

/// Our receiver reports carry what was lost of the caller's packets.
fn assert_reported(reported: &MediaStatistics, sent: &Tally) {
    let fractions = &reported.reported_loss;
    assert!(fractions.len() >= 4, "{fractions:?}");
    let mean = fractions.iter().sum::<f32>() / fractions.len() as f32;
    assert!((0.01..0.12).contains(&mean), "{fractions:?}");
    // The last second is in no report yet.
    let (told, really) = (reported.reported_lost, sent.lost());
    assert!(told <= really && really <= told + 12, "{told} of {really}");
}

/// Each lost packet was brought back or made up, the same in the record and in `/metrics`.
fn assert_repairs(gateway: &Gateway, record: &Value, from_caller: &Tally, from_peer: &Tally) {
    let (fec_of_caller, made_up_of_caller) = repaired(record, 0);
    let (fec_of_peer, made_up_of_peer) = repaired(record, 1);
    // A packet that came later than the wait was repaired too; a packet that was lost in a pause was not.
    let of_caller = fec_of_caller + made_up_of_caller;
    let lost = from_caller.lost();
    assert!(
        (lost - 5..lost + 15).contains(&of_caller),
        "{of_caller} of {lost}"
    );
    assert!(
        fec_of_caller > lost / 3,
        "FEC brought back {fec_of_caller} of {lost}"
    );
    let lost = from_peer.lost();
    assert!(
        (lost - 5..lost + 5).contains(&made_up_of_peer),
        "{made_up_of_peer} of {lost}"
    );
    assert_eq!(fec_of_peer, 0, "G.711 has no FEC");

    let metrics = gateway.metrics().unwrap();
    let recovered = metrics.sum("clutchcall_frames_recovered_fec_total");
    let concealed = metrics.sum("clutchcall_frames_concealed_total");
    println!("{recovered} frames recovered by FEC, {concealed} concealed");
    assert_eq!(recovered, fec_of_caller as f64);
    assert_eq!(concealed, (made_up_of_caller + made_up_of_peer) as f64);
    let copies = metrics.matching("clutchcall_packets_dropped_total", "reason=\"srtp_replay\"");
    assert!(copies > 0.0 && from_caller.duplicated > 0);
}

#[test]
fn a_call_outlives_a_blackout_of_10_s_and_a_nat_that_forgets() {
    let line = Line::start();
    let call = WebRtcCall::dial(&line.plan()).unwrap();
    let source = line.peer.wait_for_source(0, in_time()).unwrap();
    line.wait_until_heard_both_ways(&call, source);
    let blackout = Duration::from_secs(10);
    line.caller_side.black_out(blackout);
    std::thread::sleep(blackout);
    line.wait_until_heard_both_ways(&call, source);
    line.talk(&call, source, Round::First, 4, Bar::OpusClean);

    let before = line.caller_side.mapped_addresses();
    line.caller_side.rebind();
    line.wait_until_heard_both_ways(&call, source);
    assert_ne!(line.caller_side.mapped_addresses(), before);
    line.talk(&call, source, Round::Second, 4, Bar::OpusClean);
    let report = call.hang_up().unwrap();
    assert_events(&line.gateway, &report, &WHOLE_CALL);
    let lost = suffered(&line.caller_side, Direction::ToTarget).lost_blackout;
    assert!(lost >= 450, "{lost} packets were lost in the blackout");
    end(line.gateway);
}

/// Consent is what ends it (RFC 7675): the signalling socket lives, and so does the trunk.
#[test]
fn a_blackout_of_40_s_ends_the_call_once_and_names_the_leg() {
    let line = Line::start();
    let mut plan = line.plan();
    plan.step_timeout = Duration::from_secs(60);
    let call = WebRtcCall::dial(&plan).unwrap();
    let source = line.peer.wait_for_source(0, in_time()).unwrap();
    line.wait_until_heard_both_ways(&call, source);
    let began = Instant::now();
    line.caller_side.black_out(Duration::from_secs(40));
    let report = call.wait_for_end().unwrap();
    let ended_after = began.elapsed().as_secs_f64();
    println!("ended {ended_after:.1} s after the blackout began");
    // The last check was up to some seconds before the blackout.
    assert!((20.0..35.0).contains(&ended_after), "{ended_after} s");
    assert_events(&line.gateway, &report, &WHOLE_CALL);
    let record = record(&line.gateway, &report.call_sid);
    assert_eq!(record["event"]["q850_cause"], 102, "{record:#}");
    assert_eq!(record["fault"], "caller");
    let reason = record["end_reason"].as_str().unwrap();
    assert!(
        reason.contains("media leg") && reason.contains("30 s"),
        "{reason}"
    );
    line.peer.wait_for_goodbye(source, in_time()).unwrap();
    end(line.gateway);
}
