//! The headline figures of a run as a reader gets them: value, unit, target, how it was measured or why it is not shown.

use super::not_shown;
use super::number::{cores, count, short};
use super::report::{BothWays, Quantiles, Report};
use super::targets::{self, UndisturbedDelay};

/// Figures of one subject.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Its subject.
    pub title: &'static str,
    /// In order.
    pub figures: Vec<Figure>,
}

/// One figure; a median and a 99th percentile of the same thing are one.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What it is, in words.
    pub name: &'static str,
    /// Its key in the JSON file; empty where it is computed from several.
    pub key: &'static str,
    /// Name, such as `p50`, and value; without any value it is not shown.
    pub values: Vec<(&'static str, String)>,
    /// Of the values.
    pub unit: &'static str,
    /// What it is held against.
    pub target: Option<Target>,
    /// How it was measured, or what it says.
    pub measured_by: String,
    /// Why there is no value.
    pub why_not: Option<String>,
}

/// What a figure is held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// With its comparison, such as `<= 3.3`.
    pub text: String,
    /// None where the figure is not shown.
    pub met: Option<bool>,
}

/// All of a run.
pub fn of(report: &Report) -> Vec<Group> {
    vec![
        Group {
            title: "Calls",
            figures: calls(report),
        },
        Group {
            title: "Audio",
            figures: audio(report),
        },
        Group {
            title: "Cost",
            figures: cost(report),
        },
        Group {
            title: "Conditions",
            figures: conditions(report),
        },
    ]
}

/// Codecs, cores and length of a run, as far as they are known.
pub fn what_was_run(report: &Report) -> String {
    let mut parts = Vec::new();
    if !report.codec_a.is_empty() && !report.codec_b.is_empty() {
        let how = if report.transcoded {
            "transcoded"
        } else {
            "passed through"
        };
        parts.push(format!(
            "{} at the vendor's side, {} at the trunk's, {how}",
            report.codec_a, report.codec_b
        ));
    }
    if report.gateway_cores > 0 {
        parts.push(format!("gateway on {}", cores(report.gateway_cores)));
    }
    if report.steady_s > 0.0 {
        parts.push(format!("steady for {} s", short(report.steady_s)));
    }
    parts.join("; ")
}

fn calls(report: &Report) -> Vec<Figure> {
    let total = count(report.calls);
    vec![
        plain(
            "Set up",
            "setup_ok",
            count(report.setup_ok),
            "calls",
            format!("answered, of {total}"),
        )
        .held(
            "all".to_owned(),
            report.calls > 0 && report.setup_ok == report.calls,
        ),
        plain(
            "Failed",
            "setup_failed",
            count(report.setup_failed),
            "calls",
            "not answered".to_owned(),
        )
        .held("0".to_owned(), report.setup_failed == 0),
        plain(
            "Broken",
            "calls_broken",
            count(report.calls_broken),
            "calls",
            "were up, and ended by themselves, fell silent one way or did not end as they should have".to_owned(),
        )
        .held("0".to_owned(), report.calls_broken == 0),
        quantiles(
            report,
            "Set-up time",
            "setup_ms",
            report.setup_ms,
            "first TCP packet to ANSWER with media connected",
        ),
        events_missing(report),
        plain(
            "Leaked",
            "leaked",
            short(report.leaked as f64),
            "objects",
            "calls, ports, slab entries, file descriptors left 5 s after the last hang-up"
                .to_owned(),
        )
        .held("0".to_owned(), report.leaked <= 0),
    ]
}

fn audio(report: &Report) -> Vec<Figure> {
    let delay = "send of a frame to the kernel's receipt of the packet that carries it; neither the \
         packet's own 20 ms nor the codec's look-ahead is in it";
    let loss = "packets missing between those that came, of both, in the steady window; of \
         calls that come and go, in the whole run";
    let mos = report
        .mos
        .map(|mos| vec![("p5", short(mos.p5)), ("p50", short(mos.p50))]);
    vec![
        audio_passed(report),
        quantiles(
            report,
            "Delay, vendor to trunk",
            "delay_ms.a_to_b",
            report.delay_ms.a_to_b,
            delay,
        ),
        quantiles(
            report,
            "Delay, trunk to vendor",
            "delay_ms.b_to_a",
            report.delay_ms.b_to_a,
            delay,
        ),
        undisturbed_delay(report),
        one(
            report,
            "Loss, vendor to trunk",
            "loss_pct.a_to_b",
            report.loss_pct.a_to_b,
            "%",
            loss,
        )
        .at_most(report.loss_pct.a_to_b, targets::LOSS_PCT_MAX),
        one(
            report,
            "Loss, trunk to vendor",
            "loss_pct.b_to_a",
            report.loss_pct.b_to_a,
            "%",
            loss,
        )
        .at_most(report.loss_pct.b_to_a, targets::LOSS_PCT_MAX),
        shown(
            report,
            Figure {
                name: "Estimated MOS",
                key: "mos",
                unit: "",
                ..Figure::empty()
            },
            mos,
            "G.107 from loss, delay and codec, the worse direction of each call",
        ),
    ]
}

fn events_missing(report: &Report) -> Figure {
    let figure = Figure {
        name: "Events missing",
        key: "events_missing",
        unit: "calls",
        ..Figure::empty()
    };
    let missing = report.events_missing;
    Figure {
        target: Some(Target {
            text: "0".to_owned(),
            met: missing.map(|missing| missing == 0),
        }),
        ..shown(
            report,
            figure,
            missing.map(|missing| vec![("", count(missing))]),
            "without exactly one CREATE and one HANGUP_COMPLETE at /v1/events",
        )
    }
}

fn audio_passed(report: &Report) -> Figure {
    let (passed, judged) = (report.audio_ok, report.audio_judged);
    let figure = Figure {
        name: "Passed the judge",
        key: "audio_ok",
        unit: "calls",
        ..Figure::empty()
    };
    if judged == 0 {
        return Figure {
            why_not: Some("no call was judged".to_owned()),
            ..figure
        };
    }
    Figure {
        values: vec![("", count(passed))],
        measured_by: format!("in both directions, of {} judged", count(judged)),
        ..figure
    }
    .held("all".to_owned(), passed == judged)
}

fn cost(report: &Report) -> Vec<Figure> {
    let cpu = report.cpu_ms_per_call_s;
    let of_call = one(
        report,
        "CPU of a call",
        "cpu_ms_per_call_s",
        cpu,
        "ms per call and s",
        "user and system time of all gateway threads in the steady window, by calls and seconds",
    );
    vec![
        match targets::cpu_ms_per_call_s_max(report) {
            Some(limit) => of_call.at_most(cpu, limit),
            None => of_call,
        },
        one(
            report,
            "CPU of a set-up",
            "cpu_ms_per_setup",
            report.cpu_ms_per_setup,
            "ms",
            "user and system time while calls were set up, less that of their media, by set-ups",
        )
        .at_most(report.cpu_ms_per_setup, targets::CPU_MS_PER_SETUP_MAX),
        one(
            report,
            "Memory of a call",
            "rss_kb_per_call",
            report.rss_kb_per_call,
            "KiB",
            "resident in the steady window, less that after 20 warm-up calls, by calls",
        )
        .at_most(report.rss_kb_per_call, targets::RSS_KIB_PER_CALL_MAX),
    ]
}

fn conditions(report: &Report) -> Vec<Figure> {
    let (late, steal) = (report.generator_late_ms_p99, report.steal_pct);
    vec![
        plain("Gateway cores", "gateway_cores", count(report.gateway_cores), "", "cores with a shard".to_owned()),
        plain(
            "Steady window",
            "steady_s",
            short(report.steady_s),
            "s",
            "from 2 s after the last set-up to the first hang-up".to_owned(),
        ),
        plain(
            "Packets to trunk",
            "packets_a_to_b",
            count(report.packets_a_to_b),
            "",
            "received at the far end".to_owned(),
        ),
        plain(
            "Packets to vendor",
            "packets_b_to_a",
            count(report.packets_b_to_a),
            "",
            "received at the vendor's side".to_owned(),
        ),
        one(
            report,
            "Generator late, p99",
            "generator_late_ms_p99",
            late,
            "ms",
            "later than planned, in the steady window; above the limit delays are the generator's own",
        )
        .below(late, targets::GENERATOR_LATE_MS_P99_MAX),
        one(
            report,
            "CPU stolen",
            "steal_pct",
            steal,
            "% of one core",
            "what the hypervisor took from all cores together, in the steady window",
        )
        .below(steal, targets::STEAL_PCT_MAX),
    ]
}

fn undisturbed_delay(report: &Report) -> Figure {
    let BothWays { a_to_b, b_to_a } = report.delay_ms_p99_median;
    let value = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), short);
    let worst = [a_to_b, b_to_a].into_iter().flatten().reduce(f64::max);
    let values = worst.map(|_| vec![("to trunk", value(a_to_b)), ("to vendor", value(b_to_a))]);
    let measured_by = format!(
        "of 1 s windows with generator p99 < {} ms and steal < {} %: {}",
        short(targets::GENERATOR_LATE_MS_P99_MAX),
        short(targets::STEAL_PCT_MAX),
        UndisturbedDelay::of(&report.details.windows).counted_windows()
    );
    let figure = Figure {
        name: "Delay p99, median of seconds",
        key: "delay_ms_p99_median",
        unit: "ms",
        ..Figure::empty()
    };
    shown(report, figure, values, &measured_by).below(worst, targets::delay_ms_p99_max(report))
}

fn plain(
    name: &'static str,
    key: &'static str,
    value: String,
    unit: &'static str,
    measured_by: String,
) -> Figure {
    Figure {
        name,
        key,
        values: vec![("", value)],
        unit,
        measured_by,
        ..Figure::empty()
    }
}

fn quantiles(
    report: &Report,
    name: &'static str,
    key: &'static str,
    value: Option<Quantiles>,
    measured_by: &str,
) -> Figure {
    let values = value.map(|value| vec![("p50", short(value.p50)), ("p99", short(value.p99))]);
    shown(
        report,
        Figure {
            name,
            key,
            unit: "ms",
            ..Figure::empty()
        },
        values,
        measured_by,
    )
}

fn one(
    report: &Report,
    name: &'static str,
    key: &'static str,
    value: Option<f64>,
    unit: &'static str,
    measured_by: &str,
) -> Figure {
    let values = value.map(|value| vec![("", short(value))]);
    shown(
        report,
        Figure {
            name,
            key,
            unit,
            ..Figure::empty()
        },
        values,
        measured_by,
    )
}

/// With its values, or with the reason why there are none.
fn shown(
    report: &Report,
    figure: Figure,
    values: Option<Vec<(&'static str, String)>>,
    measured_by: &str,
) -> Figure {
    let why_not = values.is_none().then(|| {
        not_shown::reason(&report.not_shown, figure.key)
            .unwrap_or_else(|| unseen(report, figure.key))
    });
    Figure {
        values: values.unwrap_or_default(),
        measured_by: measured_by.to_owned(),
        why_not,
        ..figure
    }
}

/// Why there is nothing where nothing was refused.
fn unseen(report: &Report, key: &str) -> String {
    if report.is_echo() && key.ends_with("a_to_b") {
        "an echo is heard there and back only".to_owned()
    } else {
        "not measured".to_owned()
    }
}

impl Figure {
    fn empty() -> Self {
        Self {
            name: "",
            key: "",
            values: Vec::new(),
            unit: "",
            target: None,
            measured_by: String::new(),
            why_not: None,
        }
    }

    fn held(self, text: String, met: bool) -> Self {
        Self {
            target: Some(Target {
                text,
                met: Some(met),
            }),
            ..self
        }
    }

    fn at_most(self, value: Option<f64>, limit: f64) -> Self {
        let met = value.map(|value| value <= limit);
        Self {
            target: Some(Target {
                text: format!("<= {}", short(limit)),
                met,
            }),
            ..self
        }
    }

    fn below(self, value: Option<f64>, limit: f64) -> Self {
        let met = value.map(|value| value < limit);
        Self {
            target: Some(Target {
                text: format!("< {}", short(limit)),
                met,
            }),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn find<'a>(groups: &'a [Group], name: &str) -> &'a Figure {
        groups
            .iter()
            .flat_map(|group| &group.figures)
            .find(|figure| figure.name == name)
            .unwrap()
    }

    #[test]
    fn a_figure_that_is_not_shown_has_its_reason() {
        let not_shown = [
            "delay_ms: the generator was late, p99 3.2 ms",
            "loss_pct.b_to_a: no far end",
            "mosquito: unrelated",
        ];
        let report = Report {
            not_shown: not_shown.map(str::to_owned).to_vec(),
            ..Report::default()
        };
        let groups = of(&report);
        let why = |name| find(&groups, name).why_not.clone();
        assert_eq!(
            why("Delay, trunk to vendor").as_deref(),
            Some("the generator was late, p99 3.2 ms")
        );
        assert_eq!(why("Loss, trunk to vendor").as_deref(), Some("no far end"));
        assert_eq!(
            why("Loss, vendor to trunk").as_deref(),
            Some("not measured")
        );
        assert_eq!(why("Estimated MOS").as_deref(), Some("not measured"));
        assert_eq!(
            find(&groups, "CPU of a call").target.as_ref().unwrap().met,
            None
        );
        for condition in ["Generator late, p99", "CPU stolen"] {
            let target = find(&groups, condition).target.as_ref();
            assert_eq!(target.unwrap().met, None, "{condition} was not measured");
        }
        assert_eq!(
            why("Delay p99, median of seconds"),
            why("Delay, vendor to trunk")
        );
    }

    #[test]
    fn targets_are_judged_by_value() {
        let report = Report {
            transcoded: true,
            cpu_ms_per_call_s: Some(3.3),
            generator_late_ms_p99: Some(1.0),
            loss_pct: BothWays {
                a_to_b: Some(0.2),
                b_to_a: Some(0.0),
            },
            setup_ms: Some(Quantiles {
                p50: 41.0,
                p99: 123.4,
            }),
            ..Report::default()
        };
        let groups = of(&report);
        let met = |name| find(&groups, name).target.as_ref().unwrap().met;
        assert_eq!(met("CPU of a call"), Some(true));
        assert_eq!(met("Generator late, p99"), Some(false));
        assert_eq!(met("Loss, vendor to trunk"), Some(false));
        assert_eq!(met("Loss, trunk to vendor"), Some(true));
        let setup = find(&groups, "Set-up time");
        assert_eq!(
            setup.values,
            [("p50", "41".to_owned()), ("p99", "123".to_owned())]
        );
    }
}
