//! `clutchcall-loadtest run` and `find-max` as an operator types them: every call judged, every key there, nothing left.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

use loadtest::gateway::{ECHO_TENANT, Gateway, GatewaySetup};
use serde_json::Value;

/// The keys of the report (contracts section 10).
const KEYS: [&str; 26] = [
    "scenario",
    "calls",
    "setup_ok",
    "setup_failed",
    "calls_broken",
    "audio_ok",
    "setup_ms",
    "delay_ms",
    "loss_pct",
    "mos",
    "codec_a",
    "codec_b",
    "transcoded",
    "packets_a_to_b",
    "packets_b_to_a",
    "steady_s",
    "cpu_ms_per_call_s",
    "cpu_ms_per_setup",
    "rss_kb_per_call",
    "gateway_cores",
    "generator_late_ms_p99",
    "steal_pct",
    "events_missing",
    "leaked",
    "git_commit",
    "not_shown",
];

fn loadtest(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_clutchcall-loadtest"))
        .args(arguments)
        .output()
        .unwrap()
}

#[track_caller]
fn report_of(output: &Output, json: &Path) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    let report: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    for key in KEYS {
        assert!(report.get(key).is_some(), "{key} is missing");
    }
    report
}

/// A run with a gateway of its own, which has to pass.
fn spawned(scenario: &str, more: &[&str]) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let (json, html) = (
        directory.path().join("out.json"),
        directory.path().join("out.html"),
    );
    let mut arguments = vec![
        "run",
        "--spawn",
        "--quiet",
        "--scenario",
        scenario,
        "--json",
        json.to_str().unwrap(),
        "--html",
        html.to_str().unwrap(),
    ];
    arguments.extend(more);
    let report = report_of(&loadtest(&arguments), &json);
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(
        page.contains(scenario) && page.contains("<svg"),
        "a page with pictures"
    );
    assert_eq!(report["scenario"], scenario);
    assert_eq!(report["setup_failed"], 0);
    assert_eq!(report["events_missing"], 0);
    assert_eq!(report["leaked"], 0);
    report
}

#[test]
fn calls_from_browsers_to_a_sip_carrier_are_transcoded_and_every_one_is_judged() {
    let report = spawned("browser-sip", &["--calls", "10", "--duration", "6"]);
    assert_eq!(report["audio_ok"], 10, "{report:#}");
    assert_eq!(report["transcoded"], true);
    assert_eq!(
        (&report["codec_a"], &report["codec_b"]),
        (&"opus".into(), &"PCMU".into())
    );
    for direction in ["a_to_b", "b_to_a"] {
        assert_eq!(report["loss_pct"][direction], 0.0, "{report:#}");
        let packets = report[format!("packets_{direction}")].as_u64().unwrap();
        // Ten calls of at least 8 s, 50 packets a second.
        assert!(packets >= 4_000, "{packets} packets {direction}");
    }
    assert_eq!(
        report["details"]["match_score"]["a_to_b"]
            .as_array()
            .unwrap()
            .len(),
        10
    );
}

#[test]
fn calls_that_are_passed_through_keep_their_wave_form() {
    let report = spawned("browser-sip-pcmu", &["--calls", "6", "--duration", "6"]);
    assert_eq!(report["audio_ok"], 6, "{report:#}");
    assert_eq!(report["transcoded"], false);
    for snr_db in report["details"]["snr_db"]["b_to_a"].as_array().unwrap() {
        assert!(snr_db.as_f64().unwrap() >= 30.0, "{snr_db}");
    }
}

#[test]
fn frames_between_twilio_and_a_carrier_or_an_agent_are_those_that_were_said() {
    for scenario in ["twilio-sip", "twilio-ai"] {
        let report = spawned(scenario, &["--calls", "4", "--duration", "6"]);
        assert_eq!(report["audio_ok"], 4, "{report:#}");
        let frames = &report["frames"];
        for direction in ["a_to_b", "b_to_a"] {
            let counts = &frames["counts"][direction];
            assert!(counts["equal"].as_u64().unwrap() > 1_000, "{frames:#}");
            // Else the run would not have passed.
            assert_eq!(counts["missing"], 0, "{scenario}: {frames:#}");
            assert_eq!(counts["foreign"], 0, "{scenario}: {frames:#}");
        }
        assert_eq!(frames["is_whole"], true, "{frames:#}");
        assert_eq!(report["odd_sized"], 0, "{report:#}");
        assert!(frames["gateway"].is_object(), "{frames:#}");
    }
}

#[test]
fn vapi_both_ways_and_agents_of_pages_pass_the_judge() {
    for scenario in ["vapi-sip", "vapi-client", "browser-ai"] {
        let report = spawned(scenario, &["--calls", "4", "--duration", "6"]);
        assert_eq!(report["audio_ok"], 4, "{scenario}: {report:#}");
        assert_eq!(report["transcoded"], true);
        assert_eq!(report["odd_sized"], 0, "{scenario}: {report:#}");
        for snr_db in report["details"]["snr_db"]["a_to_b"].as_array().unwrap() {
            assert!(snr_db.as_f64().unwrap() >= 30.0, "{scenario}: {snr_db}");
        }
    }
}

#[test]
fn an_impaired_network_is_heard_and_still_passes_its_bar() {
    let report = spawned(
        "browser-sip",
        &[
            "--calls",
            "4",
            "--duration",
            "10",
            "--impairment",
            "loss=5,jitter=20",
        ],
    );
    assert_eq!(report["audio_ok"], 4, "{report:#}");
    let lost = report["loss_pct"]["b_to_a"].as_f64().unwrap();
    assert!((2.0..9.0).contains(&lost), "{lost} % lost");
}

#[test]
fn calls_that_come_and_go_leave_nothing() {
    let report = spawned(
        "browser-echo",
        &[
            "--calls",
            "60",
            "--call-duration",
            "5",
            "--setup-rate",
            "10",
            "--judge-every",
            "6",
        ],
    );
    assert_eq!(report["setup_ok"], 60);
    assert_eq!(report["audio_ok"], 10, "every sixth was judged: {report:#}");
}

#[test]
fn a_gateway_that_runs_already_is_loaded_by_its_url_and_credentials() {
    let gateway = Gateway::start(&GatewaySetup::new(ECHO_TENANT)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("out.json");
    let (key, ca) = (gateway.file("token-key.pem"), gateway.file("cert.pem"));
    let admin_token = gateway.file("admin-token");
    let (url, admin) = (gateway.url(), gateway.admin_addr().to_string());
    let output = loadtest(&[
        "run",
        "--quiet",
        "--url",
        &url,
        "--tenant",
        "acme",
        "--token-key",
        key.to_str().unwrap(),
        "--ca",
        ca.to_str().unwrap(),
        "--admin",
        &admin,
        "--admin-token-file",
        admin_token.to_str().unwrap(),
        "--scenario",
        "browser-echo",
        "--calls",
        "4",
        "--duration",
        "6",
        "--json",
        json.to_str().unwrap(),
    ]);
    let report = report_of(&output, &json);
    assert_eq!(report["audio_ok"], 4);
    assert_eq!(report["leaked"], 0);
    crate::rtp_trunk::end(gateway);
}

#[test]
fn what_a_gateway_refuses_is_told_with_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("out.json");
    let output = loadtest(&[
        "run",
        "--spawn",
        "--quiet",
        "--scenario",
        "browser-echo",
        "--calls",
        "30",
        "--duration",
        "3",
        "--shards-line",
        "calls_max = 12",
        "--json",
        json.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let (ok, failed) = (&report["setup_ok"], &report["setup_failed"]);
    assert_eq!((ok, failed), (&12.into(), &18.into()), "{report:#}");
    assert_eq!(report["failures"][0]["calls"], 18);
    assert_eq!(report["leaked"], 0);
}

#[test]
fn a_search_for_the_most_calls_tells_each_step_and_what_ended_it() {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("max.json");
    let output = loadtest(&[
        "find-max",
        "--spawn",
        "--quiet",
        "--scenario",
        "browser-echo",
        "--from",
        "2",
        "--to",
        "4",
        "--duration",
        "5",
        "--json",
        json.to_str().unwrap(),
    ]);
    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let steps = report["steps"].as_array().unwrap();
    assert_eq!(steps[0]["calls"], 2, "{report:#}");
    for step in steps {
        assert_ne!(step["passed"], step["why_not"].is_string(), "{step:#}");
    }
    // A host that is late may leave nothing to tell; then it says so.
    let found = report["calls_max"].is_u64();
    assert_eq!(output.status.success(), found, "{output:?}");
    if steps.iter().all(|step| step["passed"] == true) {
        let calls: Vec<u64> = steps.iter().filter_map(|it| it["calls"].as_u64()).collect();
        assert_eq!(calls, [2, 4], "{report:#}");
        assert_eq!(report["limited_by"], "the largest step, 4 calls");
    } else {
        assert_ne!(report["limited_by"], "", "{report:#}");
    }
}
