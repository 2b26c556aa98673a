//! Turns, what counts, and the ratio, with runs that are made up.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::*;
use crate::load::report::BothWays;
use crate::load::scenario::Scenario;

fn rival() -> Installed {
    Installed::of("rtpengine", "10.5.3.5")
}

fn run_plan(scenario: Scenario, calls: u32) -> RunPlan {
    RunPlan {
        scenario,
        calls,
        setups_per_s: 50.0,
        ramp: Duration::ZERO,
        duration: Duration::from_secs(10),
        call_duration: None,
        seed: 1,
        judged: Duration::from_secs(10),
        judge_every: 1,
        impairment: None,
        load_cores: vec![1],
        local_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        warm_up_calls: 2,
        notes: Vec::new(),
    }
}

fn plan(rounds: u32) -> ComparePlan {
    let ours = run_plan(Scenario::BrowserSip, 200);
    ComparePlan::new(ours, 20, rounds, &rival(), &[0]).unwrap()
}

/// A turn in which all went well.
fn good(turn: &Turn<'_>, cost: f64) -> Report {
    let calls = turn.plan.calls.into();
    Report {
        calls,
        setup_ok: calls,
        audio_ok: calls,
        cpu_ms_per_call_s: Some(cost),
        steal_pct: Some(0.2),
        loss_pct: BothWays {
            a_to_b: Some(0.0),
            b_to_a: Some(0.0),
        },
        ..Report::default()
    }
}

fn compare_with(rounds: u32, mut spoil: impl FnMut(&Turn<'_>, &mut Report)) -> CompareReport {
    let measure = |turn: &Turn<'_>| {
        let cost = match turn.side {
            Side::Ours => 3.0 + f64::from(turn.round) / 10.0,
            Side::Theirs => 33.0 + f64::from(turn.round),
        };
        let mut report = good(turn, cost);
        spoil(turn, &mut report);
        Ok(report)
    };
    compare(&plan(rounds), &rival(), measure, |_| {}).unwrap()
}

#[test]
fn turns_alternate_and_medians_are_compared() {
    let mut turns = Vec::new();
    let report = compare_with(3, |turn, _| turns.push((turn.side, turn.plan.calls)));
    let round = [(Side::Ours, 200), (Side::Theirs, 20)];
    assert_eq!(turns, [round, round, round].concat());
    assert_eq!(
        (report.median_ours, report.median_theirs),
        (Some(3.2), Some(35.0))
    );
    assert_eq!(report.ratio_of_medians, Some(35.0 / 3.2));
    assert_eq!(report.ratio_target, Some(10.0));
    assert_eq!(report.job, "SRTP Opus <-> RTP PCMU, transcoded");
    assert_eq!(report.rival, "rtpengine 10.5.3.5");
}

#[test]
fn a_turn_that_left_work_undone_does_not_count() {
    let report = compare_with(3, |turn, report| {
        if (turn.round, turn.side) == (1, Side::Theirs) {
            report.loss_pct.b_to_a = Some(0.9);
        }
    });
    assert_eq!(report.rounds[0].theirs.cpu_ms_per_call_s, None);
    assert_eq!(report.rounds[0].theirs.loss_pct.b_to_a, Some(0.9));
    assert_eq!(report.median_theirs, Some(35.5));
    let told = &report.not_shown[0];
    assert!(told.contains("round 1, theirs: 0.90 %"), "{told}");
}

#[test]
fn without_most_of_the_turns_there_is_no_ratio() {
    let report = compare_with(2, |turn, report| {
        if (turn.round, turn.side) == (1, Side::Ours) {
            report.audio_ok = 199;
        }
    });
    assert_eq!((report.median_ours, report.ratio_of_medians), (None, None));
    let told = report.not_shown.join("\n");
    assert!(told.contains("199 of 200 calls passed the judge"), "{told}");
    assert!(told.contains("ratio_of_medians"), "{told}");
}

#[test]
fn each_reason_is_told() {
    let plan = run_plan(Scenario::BrowserSip, 20);
    let turn = Turn {
        round: 1,
        side: Side::Ours,
        plan: &plan,
    };
    let why = |spoil: fn(&mut Report)| {
        let mut report = good(&turn, 3.0);
        spoil(&mut report);
        why_not_counted(&report)
    };
    assert_eq!(why(|_| ()), None);
    let told = why(|report| report.setup_ok = 19).unwrap();
    assert_eq!(told, "19 of 20 calls were set up");
    let told = why(|report| report.steal_pct = Some(3.0)).unwrap();
    assert_eq!(told, "the hypervisor took 3.0 % of a core");
    let told = why(|report| report.calls_broken = 2).unwrap();
    assert_eq!(told, "2 calls broke");
    let told = why(|report| {
        report.cpu_ms_per_call_s = None;
        report.not_shown = vec!["delay: late".to_owned(), "all figures: no looks".to_owned()];
    });
    assert_eq!(told.unwrap(), "no looks");
}

#[test]
fn both_sides_settings_and_the_caveats_say_what_differs() {
    let plan = plan(1);
    let notes = |plan: &RunPlan| format!("{:?}", plan.notes);
    assert!(notes(&plan.ours).contains("8 kHz mono, 24 kb/s"));
    let theirs = notes(&plan.theirs);
    for part in [
        "complexity 10",
        "--table=-1",
        "10.5.3.5",
        "AES_CM_128_HMAC_SHA1_80",
    ] {
        assert!(theirs.contains(part), "{part}: {theirs}");
    }
    let caveats = words::caveats(&plan, &rival()).join("\n");
    for part in [
        "user space",
        "different settings",
        "200 calls through ours, 20",
        "SDES",
    ] {
        assert!(caveats.contains(part), "{part}: {caveats}");
    }
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let refused = |scenario, calls| {
        let ours = run_plan(scenario, 20);
        ComparePlan::new(ours, calls, 1, &rival(), &[0])
            .err()
            .map(|error| error.to_string())
    };
    let told = refused(Scenario::BrowserEcho, 20).unwrap();
    assert!(told.contains("far end"), "{told}");
    let told = refused(Scenario::BrowserSip, 100_000).unwrap();
    assert!(told.contains("100000"), "{told}");
    assert_eq!(refused(Scenario::BrowserSipPcmu, 500), None);
}
