//! Made-up reports for tests and for a look at the pages.

use super::report::{
    BothWays, Bucket, CompareReport, CompareRound, CompareSample, Details, Failure, FindMaxReport,
    FindMaxStep, MosQuantiles, Quantiles, Report, Setting, SetupStage, Window,
};

/// Numbers that look measured and are the same each time.
struct Noise(u64);

impl Noise {
    /// From 0 to 1.
    fn even(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Mostly small, sometimes large; 1 on average.
    fn tailed(&mut self) -> f64 {
        -(1.0 - self.even()).ln()
    }
}

fn settings(all: &[(&str, &str)]) -> Vec<Setting> {
    all.iter()
        .map(|(name, value)| Setting {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        })
        .collect()
}

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|words| (*words).to_owned()).collect()
}

const fn quantiles(p50: f64, p99: f64) -> Option<Quantiles> {
    Some(Quantiles { p50, p99 })
}

const fn both<T: Copy>(value: T) -> BothWays<T> {
    BothWays {
        a_to_b: value,
        b_to_a: value,
    }
}

/// 200 calls, all good.
pub fn good() -> Report {
    Report {
        scenario: "browser-sip".to_owned(),
        calls: 200,
        setup_ok: 200,
        audio_ok: 200,
        audio_judged: 200,
        setup_ms: quantiles(38.4, 71.9),
        delay_ms: BothWays {
            a_to_b: quantiles(0.82, 2.9),
            b_to_a: quantiles(0.74, 3.4),
        },
        delay_ms_p99_median: BothWays {
            a_to_b: Some(2.52),
            b_to_a: Some(2.45),
        },
        loss_pct: both(Some(0.0)),
        mos: Some(MosQuantiles {
            p5: 4.12,
            p50: 4.27,
        }),
        codec_a: "Opus".to_owned(),
        codec_b: "PCMU".to_owned(),
        transcoded: true,
        packets_a_to_b: 238_410,
        packets_b_to_a: 238_377,
        steady_s: 20.0,
        cpu_ms_per_call_s: Some(2.87),
        cpu_ms_per_setup: Some(1.12),
        rss_kb_per_call: Some(97.3),
        gateway_cores: 1,
        generator_late_ms_p99: Some(0.31),
        steal_pct: Some(1.4),
        events_missing: Some(0),
        git_commit: "75a58cc".to_owned(),
        caveats: words(&[
            "2 cores of a shared virtual machine (Xeon 2.80 GHz): the gateway on one, the generator on the other.",
            "All packets went over loopback: no network card, no driver, no wire.",
            "Delay is without the codec's look-ahead of 6.5 ms (Opus) from the trunk to the vendor.",
        ]),
        settings: settings(&[
            ("scenario", "browser-sip"),
            ("calls", "200"),
            ("rate", "50/s"),
            ("duration", "20 s"),
            ("seed", "1"),
            ("gateway-cores", "0"),
            ("load-cores", "1"),
            ("impairment", "none"),
        ]),
        details: details(200, 50, 32, 0),
        ..Report::default()
    }
}

/// Nothing could be measured, and others' words try to get out.
pub fn nothing_measured() -> Report {
    Report {
        scenario: "browser-echo".to_owned(),
        calls: 20,
        setup_failed: 20,
        generator_late_ms_p99: Some(48.2),
        steal_pct: Some(61.0),
        events_missing: Some(0),
        caveats: words(&["The gateway's process is not ours: neither CPU nor memory can be read."]),
        not_shown: words(&[
            "delay_ms: the generator was late (p99 48.2 ms), which would be counted as delay of the gateway",
            "loss_pct: no call had media both ways",
            "cpu_ms_per_call_s: the gateway was not started by the load test",
        ]),
        failures: vec![Failure {
            calls: 20,
            reason: "4401 <script>alert(\"token\")</script> & 'expired'\u{1b}[2J".to_owned(),
        }],
        ..Report::default()
    }
}

/// 5000 calls for a quarter of an hour, some of them failed.
pub fn large_with_failures() -> Report {
    let mut not_shown =
        words(&["rss_kb_per_call: memory still grew at the end of the steady window"]);
    not_shown.push("cpu_ms_per_setup: set-ups and media could not be told apart".to_owned());
    Report {
        scenario: "browser-sip-pcmu".to_owned(),
        calls: 5_000,
        setup_ok: 4_871,
        setup_failed: 129,
        audio_ok: 4_862,
        audio_judged: 4_871,
        setup_ms: quantiles(214.0, 1_843.0),
        delay_ms: BothWays {
            a_to_b: quantiles(1.92, 48.0),
            b_to_a: quantiles(1.71, 62.4),
        },
        delay_ms_p99_median: BothWays {
            a_to_b: Some(2.6),
            b_to_a: Some(2.64),
        },
        loss_pct: BothWays {
            a_to_b: Some(0.013),
            b_to_a: Some(0.24),
        },
        mos: Some(MosQuantiles {
            p5: 3.61,
            p50: 4.31,
        }),
        codec_a: "PCMU".to_owned(),
        codec_b: "PCMU".to_owned(),
        transcoded: false,
        packets_a_to_b: 219_201_733,
        packets_b_to_a: 218_660_180,
        steady_s: 780.0,
        cpu_ms_per_call_s: Some(0.61),
        cpu_ms_per_setup: None,
        rss_kb_per_call: None,
        gateway_cores: 2,
        generator_late_ms_p99: Some(3.2),
        steal_pct: Some(7.8),
        events_missing: Some(3),
        leaked: 17,
        not_shown,
        failures: vec![
            Failure {
                calls: 96,
                reason: "4429 limit: tenant acme has 4900 live calls".to_owned(),
            },
            Failure {
                calls: 33,
                reason: "no ANSWER within 10 s".to_owned(),
            },
            Failure {
                calls: 9,
                reason: "trunk to vendor: match 0.71, missing for 640 ms".to_owned(),
            },
        ],
        details: details(5_000, 60, 960, 40),
        ..good()
    }
}

/// `disturbed`: every so many seconds the host takes the CPU; 0 never.
fn details(calls: u64, rate: u64, seconds: u64, disturbed: u64) -> Details {
    let noise = &mut Noise(7);
    let stage = |name: &str, p50_ms, p90_ms, p99_ms| SetupStage {
        name: name.to_owned(),
        p50_ms,
        p90_ms,
        p99_ms,
    };
    let many = |noise: &mut Noise, count: u64, value: &dyn Fn(&mut Noise) -> f64| -> Vec<f64> {
        (0..count).map(|_| value(noise)).collect()
    };
    let jitter = |noise: &mut Noise| 0.2 + 0.4 * noise.tailed();
    let likeness = |noise: &mut Noise| (0.998 - 0.006 * noise.tailed()).max(0.3);
    let snr = |noise: &mut Noise| 36.5 + 1.5 * noise.even() - 0.4 * noise.tailed();
    let mos = |noise: &mut Noise| 4.33 - 0.03 * noise.tailed();
    let passthrough = calls > 1_000;
    let mut match_score = BothWays {
        a_to_b: many(noise, calls, &likeness),
        b_to_a: many(noise, calls, &likeness),
    };
    if disturbed > 0 {
        match_score.b_to_a[..9].fill(0.71);
    }
    Details {
        setup_stages: vec![
            stage("TCP", 0.4, 0.9, 1.7),
            stage("TLS and WebSocket", 6.2, 11.0, 19.5),
            stage("session", 0.9, 1.6, 4.2),
            stage("offer to answer", 4.1, 7.3, 12.0),
            stage("ICE", 8.3, 12.2, 22.0),
            stage("DTLS", 11.9, 18.4, 31.0),
            stage("dial to ANSWER", 5.5, 9.8, 17.4),
        ],
        windows: windows(noise, calls, rate, seconds, disturbed),
        delay_ms: BothWays {
            a_to_b: buckets(0.8, calls * 1_000),
            b_to_a: buckets(1.1, calls * 1_000),
        },
        jitter_ms: BothWays {
            a_to_b: many(noise, calls, &jitter),
            b_to_a: many(noise, calls, &jitter),
        },
        match_score,
        snr_db: if passthrough {
            BothWays {
                a_to_b: many(noise, calls, &snr),
                b_to_a: many(noise, calls, &snr),
            }
        } else {
            BothWays::default()
        },
        mos: many(noise, calls, &mos),
        match_min: Some(0.95),
        snr_db_min: passthrough.then_some(30.0),
    }
}

fn buckets(mean_ms: f64, packets: u64) -> Vec<Bucket> {
    let above = |ms: f64| (-(ms / mean_ms)).exp() * 0.999 + (-(ms / mean_ms / 12.0)).exp() * 0.001;
    let ends: Vec<f64> = (0..48).map(|at| 0.05 * 1.16_f64.powi(at)).collect();
    let mut from = 0.0;
    let mut buckets = Vec::new();
    for end in ends {
        let count = ((above(from) - above(end)) * packets as f64).round() as u64;
        buckets.push(Bucket { up_to: end, count });
        from = end;
    }
    buckets
}

fn windows(noise: &mut Noise, calls: u64, rate: u64, seconds: u64, disturbed: u64) -> Vec<Window> {
    let ramp = calls.div_ceil(rate);
    let per_call = if calls > 1_000 { 0.037 } else { 0.287 };
    (1..=seconds)
        .map(|second| {
            let up = if second + 3 > seconds {
                calls * (seconds - second) / 3
            } else {
                calls.min(second * rate)
            };
            let stolen = disturbed > 0 && second.is_multiple_of(disturbed);
            let measured = !(stolen && second.is_multiple_of(disturbed * 3));
            let slow = if stolen { 30.0 } else { 1.0 };
            let delay = |noise: &mut Noise| {
                quantiles(
                    0.7 + 0.15 * noise.even(),
                    (2.2 + noise.tailed() * 0.6) * slow,
                )
            };
            let setups = if second <= ramp { rate } else { 0 };
            Window {
                at_s: second as f64,
                calls_up: up,
                setups,
                failures: if stolen && second <= ramp { 7 } else { 0 },
                steady: second > ramp + 2 && second + 3 < seconds,
                delay_ms: if measured && second > 1 {
                    BothWays {
                        a_to_b: delay(noise),
                        b_to_a: delay(noise),
                    }
                } else {
                    BothWays::default()
                },
                loss_pct: BothWays {
                    a_to_b: measured.then_some(if stolen { 0.08 } else { 0.0 }),
                    b_to_a: measured.then_some(if stolen { 0.21 } else { 0.0 }),
                },
                gateway_cpu_pct: Some(
                    2.0 + per_call * up as f64 * (0.97 + 0.06 * noise.even())
                        + setups as f64 * 0.11,
                ),
                gateway_rss_kib: Some(38_000.0 + 97.0 * up as f64),
                generator_late_ms_p99: (0.2 + 0.1 * noise.tailed()) * slow,
                generator_cpu_pct: 3.0
                    + 0.5 * per_call * up as f64 * (0.95 + 0.1 * noise.even())
                    + setups as f64 * 0.4,
                steal_pct: if stolen { 22.0 } else { noise.tailed() },
            }
        })
        .collect()
}

/// Seven steps, two of which did not pass.
pub fn find_max() -> FindMaxReport {
    let step = |calls: u64, p99: f64, loss: Option<f64>, why_not: Option<&str>| FindMaxStep {
        calls,
        calls_per_core: calls as f64,
        delay_ms: BothWays {
            a_to_b: quantiles(0.8, p99),
            b_to_a: quantiles(0.8, p99 * 1.2),
        },
        loss_pct: BothWays {
            a_to_b: Some(0.0),
            b_to_a: loss,
        },
        cpu_ms_per_call_s: Some(3.4 - calls as f64 / 800.0),
        gateway_cpu_pct: Some((calls as f64 * 0.3).min(99.0)),
        generator_late_ms_p99: Some(0.2 + calls as f64 / 800.0),
        steal_pct: Some(1.1),
        passed: why_not.is_none(),
        why_not: why_not.map(str::to_owned),
    };
    FindMaxReport {
        scenario: "browser-sip".to_owned(),
        gateway_cores: 1,
        git_commit: "75a58cc".to_owned(),
        settings: settings(&[
            ("calls-from", "50"),
            ("calls-to", "1000"),
            ("duration", "10 s"),
        ]),
        caveats: words(&["All packets went over loopback: no network card, no driver, no wire."]),
        not_shown: Vec::new(),
        limit_delay_ms_p99: 20.0,
        limit_loss_pct: 0.1,
        steps: vec![
            step(50, 1.2, Some(0.0), None),
            step(100, 1.9, Some(0.0), None),
            step(200, 3.1, Some(0.0), None),
            step(
                400,
                88.0,
                Some(0.62),
                Some("loss 0.62 % from trunk to vendor, p99 delay 106 ms"),
            ),
            step(300, 6.4, Some(0.0), None),
            step(350, 24.0, None, Some("p99 delay 28.8 ms")),
            step(325, 11.0, Some(0.02), None),
        ],
        calls_max: Some(325),
        calls_per_core_max: Some(325.0),
        limited_by: "the gateway's core (97.5 % busy)".to_owned(),
    }
}

/// Five rounds.
pub fn compare() -> CompareReport {
    let sample = |calls, cpu: Option<f64>, p99: f64, steal_pct| CompareSample {
        calls,
        audio_ok: calls,
        cpu_ms_per_call_s: cpu,
        loss_pct: both(Some(0.0)),
        delay_ms: BothWays {
            a_to_b: quantiles(p99 / 4.0, p99),
            b_to_a: quantiles(p99 / 4.0, p99 * 1.1),
        },
        steal_pct: Some(steal_pct),
        generator_late_ms_p99: Some(0.3),
    };
    let round = |ours, theirs, steal_pct| CompareRound {
        ours: sample(200, ours, 2.9, steal_pct),
        theirs: sample(20, theirs, 38.0, steal_pct),
    };
    CompareReport {
        job: "SRTP Opus <-> RTP PCMU, transcoded".to_owned(),
        rival: "rtpengine 10.5.3.5".to_owned(),
        git_commit: "75a58cc".to_owned(),
        settings_ours: settings(&[("Opus", "24 kb/s, complexity 0, 8 kHz"), ("calls", "200")]),
        settings_theirs: settings(&[
            ("Opus", "32 kb/s, complexity 10, 48 kHz stereo"),
            ("calls", "20"),
            ("threads", "1"),
        ]),
        caveats: words(&[
            "Their encoder runs at its own settings, which can't be set: see both sides' settings.",
        ]),
        not_shown: Vec::new(),
        rounds: vec![
            round(Some(2.91), Some(34.8), 1.2),
            round(Some(2.84), Some(36.1), 2.0),
            round(None, Some(39.0), 14.0),
            round(Some(2.88), Some(35.2), 0.8),
            round(Some(3.02), Some(34.1), 1.9),
        ],
        median_ours: Some(2.895),
        median_theirs: Some(35.2),
        ratio_of_medians: Some(12.16),
        ratio_target: Some(10.0),
    }
}
