//! `clutchcall-loadtest compare` as an operator types it: turns of ours and of a real rtpengine, and nothing left of either.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

use serde_json::Value;

/// In the environment of everything that a test starts.
const MARK: &str = "CLUTCHCALL_COMPARE_TEST";

fn loadtest(mark: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_clutchcall-loadtest"))
        .args(["compare", "--quiet"])
        .args(arguments)
        .env(MARK, mark)
        .output()
        .unwrap()
}

/// Processes that were started with this mark and still run.
fn left_behind(mark: &str) -> Vec<String> {
    let wanted = format!("{MARK}={mark}");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let marked = processes.filter(|process| {
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == wanted.as_bytes())
    });
    marked
        .map(|process| {
            let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).replace('\0', " ")
        })
        .collect()
}

/// One round, in which every call of both sides has to pass the judge.
fn compared(scenario: &str, calls: &str, their_calls: &str) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (json, html) = (file("out.json"), file("out.html"));
    let output = loadtest(
        scenario,
        &[
            "--scenario",
            scenario,
            "--calls",
            calls,
            "--their-calls",
            their_calls,
            "--rounds",
            "1",
            "--duration",
            "6",
            "--json",
            &json,
            "--html",
            &html,
        ],
    );
    let (text, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{text}\n{errors}");
    assert_eq!(left_behind(scenario), Vec::<String>::new());
    assert!(
        text.starts_with("ClutchCall gateway and rtpengine "),
        "{text}"
    );
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(
        page.contains("<svg") && page.contains("--table=-1"),
        "both sides, with pictures"
    );
    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    for (side, calls) in [("ours", calls), ("theirs", their_calls)] {
        let sample = &report["rounds"][0][side];
        let calls: u64 = calls.parse().unwrap();
        assert_eq!(sample["calls"], calls, "{report:#}");
        assert_eq!(sample["audio_ok"], calls, "{side}: {report:#}");
        for direction in ["a_to_b", "b_to_a"] {
            assert_eq!(sample["loss_pct"][direction], 0.0, "{side}: {report:#}");
        }
    }
    report
}

#[test]
fn transcoded_calls_are_compared() {
    let report = compared("browser-sip", "4", "2");
    assert_eq!(report["job"], "SRTP Opus <-> RTP PCMU, transcoded");
    assert!(report["rival"].as_str().unwrap().starts_with("rtpengine "));
    // At so few calls wake-ups are most of the cost, so the ratio says nothing here but that there is one.
    let number = |key: &str| report[key].as_f64().unwrap();
    let (ours, theirs) = (number("median_ours"), number("median_theirs"));
    assert!(ours > 0.0 && theirs > 0.0, "{report:#}");
    assert!((number("ratio_of_medians") * ours / theirs - 1.0).abs() < 1e-9);
    assert!(!report["caveats"].as_array().unwrap().is_empty());
}

#[test]
fn calls_that_are_passed_through_keep_their_wave_form_on_both_sides() {
    let report = compared("browser-sip-pcmu", "6", "6");
    assert_eq!(report["job"], "SRTP PCMU <-> RTP PCMU, passed through");
    assert!(report["median_theirs"].is_number(), "{report:#}");
}

#[test]
fn without_rtpengine_the_line_that_installs_it_is_told() {
    let output = loadtest(
        "missing",
        &[
            "--scenario",
            "browser-sip",
            "--rtpengine",
            "/nowhere/rtpengine",
        ],
    );
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    let line = "apt-get install -y --no-install-recommends rtpengine-daemon";
    assert!(errors.contains(line), "{errors}");
}
