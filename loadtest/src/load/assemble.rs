//! From what was seen to a report: figures, series, distributions, what is refused and why.
//!
//! Pure. A figure that the generator's own lateness or the hypervisor made worthless is none, with the reason beside it.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::admin::{CallStory, GatewayFigures};
use super::call::{CallNumber, CallOutcome, Stage};
use super::host;
use super::judges::{CallVerdict, Standard};
use super::media::{DelayHistogram, LegRecord, MediaWindow};
use super::observer::Sample;
use super::report::{
    BothWays, Details, Failure, MosQuantiles, Quantiles, Report, Setting, SetupStage, Window,
};
use super::run::RunPlan;
use super::scenario::FarEnd;
use super::targets::{GENERATOR_LATE_MS_P99_MAX, STEAL_PCT_MAX, UndisturbedDelay};

/// The steady time needs so many looks for a figure of CPU, and so many seconds on time for one of delay.
const STEADY_SAMPLES_MIN: usize = 3;
/// CPU is the median of so many parts of the steady time.
const CPU_WINDOWS: usize = 5;

/// When what happened.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// The first call began.
    pub first_setup: Instant,
    /// The last call was answered or had failed.
    pub last_setup: Instant,
    /// Figures count from here.
    pub steady_from: Instant,
    /// To here.
    pub first_hang_up: Instant,
    /// All calls were over.
    pub last_hang_up: Instant,
}

/// All that was seen.
pub struct Found {
    /// The run's beginning, its warm-up included.
    pub began: Instant,
    /// When what happened.
    pub times: Times,
    /// Of each call, packets given away to the judges.
    pub outcomes: Vec<CallOutcome>,
    /// The judges'.
    pub verdicts: Vec<CallVerdict>,
    /// One a second.
    pub samples: Vec<Sample>,
    /// What `/v1/events` told.
    pub stories: HashMap<String, CallStory>,
    /// Before everything.
    pub at_start: GatewayFigures,
    /// After the warm-up calls.
    pub after_warm_up: GatewayFigures,
    /// 5 s after the last hang-up.
    pub at_end: GatewayFigures,
    /// What was judged by.
    pub standard: Standard,
}

/// Puts the report together.
pub fn report(plan: &RunPlan, found: &Found) -> Report {
    let steady = Steady::of(found);
    let held_back_ms = held_back_ms(found);
    let mut report = Report {
        scenario: plan.scenario.name().to_owned(),
        calls: plan.calls.into(),
        setup_ok: count(found, |outcome| outcome.setup.is_some()),
        setup_failed: count(found, |outcome| outcome.setup.is_none()),
        audio_ok: passed(found),
        audio_judged: found.verdicts.len() as u64,
        impairment: plan.impairment.as_ref().map(ToString::to_string),
        setup_ms: quantiles(setup_totals_ms(found)),
        mos: mos(found),
        codec_a: found.standard.codec_a.name().to_owned(),
        codec_b: found.standard.codec_b.name().to_owned(),
        transcoded: plan.scenario.is_transcoded(),
        packets_a_to_b: received(found, |outcome| outcome.at_trunk.as_ref()),
        packets_b_to_a: received(found, |outcome| outcome.at_vendor.as_ref()),
        steady_s: steady.seconds,
        gateway_cores: found.at_start.shards,
        generator_late_ms_p99: steady.media.lateness.quantile_ms(0.99).unwrap_or(0.0),
        steal_pct: steady.steal_pct,
        events_missing: events_missing(found),
        leaked: leaked(found),
        git_commit: git_commit(),
        failures: failures(found),
        settings: settings(plan),
        caveats: caveats(plan, found),
        ..Report::default()
    };
    report.details = details(found, &steady, held_back_ms);
    let undisturbed = UndisturbedDelay::of(&report.details.windows);
    report.delay_ms = BothWays {
        a_to_b: delay(&steady.delays.a_to_b, held_back_ms.a_to_b),
        b_to_a: delay(&steady.delays.b_to_a, held_back_ms.b_to_a),
    };
    report.delay_ms_p99_median = undisturbed.median_p99_ms;
    report.seconds_on_time = undisturbed.counted as u64;
    report.loss_pct = BothWays {
        a_to_b: loss_pct(steady.media.lost.a_to_b, steady.media.received.a_to_b),
        b_to_a: loss_pct(steady.media.lost.b_to_a, steady.media.received.b_to_a),
    };
    report.cpu_ms_per_call_s = steady.cpu_ms_per_call_s;
    report.cpu_ms_per_setup = cpu_ms_per_setup(found, steady.cpu_ms_per_call_s);
    report.rss_kb_per_call = rss_kb_per_call(found, &steady);
    refuse(plan, &mut report, &steady, &undisturbed);
    report
}

/// The steady time, summed.
struct Steady {
    seconds: f64,
    samples: usize,
    /// Everything in it.
    media: MediaWindow,
    /// The delays of those seconds in which generator and host were on time.
    delays: BothWays<DelayHistogram>,
    cpu_ms_per_call_s: Option<f64>,
    rss_kib: Option<f64>,
    calls: f64,
    steal_pct: f64,
}

impl Steady {
    fn of(found: &Found) -> Self {
        let inside: Vec<&Sample> = found
            .samples
            .iter()
            .filter(|sample| is_steady(found, sample))
            .collect();
        let mut steady = Self {
            seconds: 0.0,
            samples: inside.len(),
            media: MediaWindow::new(found.began),
            delays: BothWays::default(),
            cpu_ms_per_call_s: cpu_ms_per_call_s(&inside),
            rss_kib: None,
            calls: inside.iter().map(|sample| sample.up as f64).sum::<f64>()
                / inside.len().max(1) as f64,
            steal_pct: 0.0,
        };
        // What a look tells happened in the second before it.
        for pair in inside.windows(2) {
            if let [before, after] = pair {
                steady.add(before, after);
            }
        }
        if let (Some(first), Some(last)) = (inside.first(), inside.last()) {
            steady.seconds = (last.at - first.at).as_secs_f64();
            let stolen = last.host.steal_s - first.host.steal_s;
            steady.steal_pct = stolen * 100.0 / steady.seconds.max(0.001);
        }
        let gateways = inside.iter().filter_map(|sample| sample.gateway.as_ref());
        let mut rss: Vec<f64> = gateways.map(|gateway| gateway.rss_kib).collect();
        rss.sort_by(f64::total_cmp);
        steady.rss_kib = quantile(&rss, 0.5);
        steady
    }

    fn add(&mut self, before: &Sample, after: &Sample) {
        let media = &after.media;
        self.media.merge(media);
        let seconds = (after.at - before.at).as_secs_f64().max(0.001);
        let steal_pct = (after.host.steal_s - before.host.steal_s) * 100.0 / seconds;
        let late_ms = media.lateness.quantile_ms(0.99).unwrap_or(0.0);
        if late_ms < GENERATOR_LATE_MS_P99_MAX && steal_pct < STEAL_PCT_MAX {
            self.delays.a_to_b.merge(&media.delays.a_to_b);
            self.delays.b_to_a.merge(&media.delays.b_to_a);
        }
    }
}

/// The median of [`CPU_WINDOWS`] parts of the steady time.
fn cpu_ms_per_call_s(inside: &[&Sample]) -> Option<f64> {
    let seconds = inside.len().checked_sub(1)?;
    let mut windows: Vec<f64> = (0..CPU_WINDOWS)
        .filter_map(|window| {
            let (from, to) = (
                window * seconds / CPU_WINDOWS,
                (window + 1) * seconds / CPU_WINDOWS,
            );
            let (first, last) = (inside.get(from)?, inside.get(to)?);
            let cpu_s = last.gateway.as_ref()?.cpu_s - first.gateway.as_ref()?.cpu_s;
            let call_s = (last.at - first.at).as_secs_f64() * (first.up + last.up) as f64 / 2.0;
            (call_s > 0.0).then(|| cpu_s * 1000.0 / call_s)
        })
        .collect();
    windows.sort_by(f64::total_cmp);
    quantile(&windows, 0.5)
}

fn is_steady(found: &Found, sample: &Sample) -> bool {
    sample.at >= found.times.steady_from && sample.at <= found.times.first_hang_up
}

fn count(found: &Found, what: impl Fn(&CallOutcome) -> bool) -> u64 {
    found
        .outcomes
        .iter()
        .filter(|outcome| what(outcome))
        .count() as u64
}

fn passed(found: &Found) -> u64 {
    let passed = |verdict: &&CallVerdict| verdict.passed(&found.standard);
    found.verdicts.iter().filter(passed).count() as u64
}

fn setup_totals_ms(found: &Found) -> Vec<f64> {
    let setups = found.outcomes.iter().filter_map(|it| it.setup.as_ref());
    setups.map(|setup| ms(setup.total())).collect()
}

fn received<'a>(found: &'a Found, leg: impl Fn(&'a CallOutcome) -> Option<&'a LegRecord>) -> u64 {
    let records = found.outcomes.iter().filter_map(leg);
    records.map(|record| record.received).sum()
}

fn delay(delays: &DelayHistogram, held_back_ms: f64) -> Option<Quantiles> {
    Some(Quantiles {
        p50: delays.quantile_ms(0.5)? + held_back_ms,
        p99: delays.quantile_ms(0.99)? + held_back_ms,
    })
}

fn loss_pct(lost: i64, received: u64) -> Option<f64> {
    let expected = lost + received as i64;
    (expected > 0).then(|| lost.max(0) as f64 * 100.0 / expected as f64)
}

/// Whole frames that the gateway holds back cannot be seen by timestamps; the judge's alignment of the sound tells. In ms, the
/// median of all calls.
fn held_back_ms(found: &Found) -> BothWays<f64> {
    const FRAME_MS: f64 = 20.0;
    let by_number: HashMap<CallNumber, &CallOutcome> = found
        .outcomes
        .iter()
        .map(|outcome| (outcome.number, outcome))
        .collect();
    let frames = |transit_ms: Option<f64>, heard: Option<&LegRecord>| {
        let seen_ms = heard?.delays.quantile_ms(0.5)?;
        Some(((transit_ms? - seen_ms) / FRAME_MS).round().max(0.0))
    };
    let (mut a_to_b, mut b_to_a) = (Vec::new(), Vec::new());
    for verdict in &found.verdicts {
        let Some(outcome) = by_number.get(&verdict.number) else {
            continue;
        };
        let transit = |direction: &Option<Result<super::judges::Judged, String>>| {
            let judged = direction.as_ref()?.as_ref().ok()?;
            judged.transit_ms.filter(|_| judged.verdict.pass)
        };
        let directions = &verdict.directions;
        a_to_b.extend(frames(
            transit(&directions.a_to_b),
            outcome.at_trunk.as_ref(),
        ));
        b_to_a.extend(frames(
            transit(&directions.b_to_a),
            outcome.at_vendor.as_ref(),
        ));
    }
    let median_ms = |mut frames: Vec<f64>| {
        frames.sort_by(f64::total_cmp);
        frames.get(frames.len() / 2).copied().unwrap_or(0.0) * FRAME_MS
    };
    BothWays {
        a_to_b: median_ms(a_to_b),
        b_to_a: median_ms(b_to_a),
    }
}

fn mos_values(found: &Found) -> Vec<f64> {
    let known = found.outcomes.iter().filter_map(|outcome| {
        let story = found.stories.get(outcome.call_sid.as_ref()?)?;
        (story.estimated_mos > 0.0).then_some(story.estimated_mos)
    });
    known.collect()
}

fn mos(found: &Found) -> Option<MosQuantiles> {
    let mut values = mos_values(found);
    values.sort_by(f64::total_cmp);
    Some(MosQuantiles {
        p5: quantile(&values, 0.05)?,
        p50: quantile(&values, 0.5)?,
    })
}

/// CPU while calls were set up, less what their media took meanwhile.
fn cpu_ms_per_setup(found: &Found, cpu_ms_per_call_s: Option<f64>) -> Option<f64> {
    let in_setup: Vec<&Sample> = found
        .samples
        .iter()
        .filter(|sample| {
            sample.at >= found.times.first_setup && sample.at <= found.times.last_setup
        })
        .collect();
    let (mut cpu_s, mut call_s) = (0.0, 0.0);
    for pair in in_setup.windows(2) {
        let [before, after] = pair else { continue };
        let (then, now) = (before.gateway.as_ref()?, after.gateway.as_ref()?);
        cpu_s += now.cpu_s - then.cpu_s;
        let seconds = (after.at - before.at).as_secs_f64();
        call_s += (before.up + after.up) as f64 / 2.0 * seconds;
    }
    let (first, last) = (in_setup.first()?, in_setup.last()?);
    let setups = last.answered.saturating_sub(first.answered);
    let media_ms = cpu_ms_per_call_s? * call_s;
    (in_setup.len() > STEADY_SAMPLES_MIN && setups > 0)
        .then(|| (cpu_s * 1000.0 - media_ms) / setups as f64)
}

fn rss_kb_per_call(found: &Found, steady: &Steady) -> Option<f64> {
    let there = steady.rss_kib? - found.after_warm_up.rss_kib;
    (steady.calls >= 1.0).then(|| there / steady.calls)
}

/// Calls whose events are not one CREATE and one HANGUP_COMPLETE, those with events that no caller knows of included.
fn events_missing(found: &Found) -> u64 {
    let complete = |story: &CallStory| story.created == 1 && story.ended == 1;
    let incomplete = found.stories.values().filter(|story| !complete(story));
    let unheard_of = found.outcomes.iter().filter(|outcome| {
        let call_sid = outcome.call_sid.as_ref();
        call_sid.is_some_and(|call_sid| !found.stories.contains_key(call_sid))
    });
    incomplete.count() as u64 + unheard_of.count() as u64
}

fn leaked(found: &Found) -> i64 {
    let fds = found.at_end.fds - found.at_start.fds;
    (found.at_end.objects + fds) as i64
}

fn failures(found: &Found) -> Vec<Failure> {
    let mut by_reason: BTreeMap<String, u64> = BTreeMap::new();
    for outcome in &found.outcomes {
        if let Some(failure) = &outcome.failure {
            *by_reason.entry(kind_of(&failure.to_string())).or_default() += 1;
        }
    }
    for verdict in &found.verdicts {
        let named = [
            ("vendor to trunk", &verdict.directions.a_to_b),
            ("trunk to vendor", &verdict.directions.b_to_a),
        ];
        for (direction, judged) in named {
            let reasons = match judged {
                Some(Ok(judged)) if !judged.verdict.pass => judged.verdict.reasons.clone(),
                Some(Err(error)) => vec![error.clone()],
                _ => continue,
            };
            for reason in reasons {
                let reason = format!("{direction}: {}", kind_of(&reason));
                *by_reason.entry(reason).or_default() += 1;
            }
        }
    }
    let mut failures: Vec<Failure> = by_reason
        .into_iter()
        .map(|(reason, calls)| Failure { calls, reason })
        .collect();
    failures.sort_by_key(|failure| std::cmp::Reverse(failure.calls));
    failures
}

/// Reasons that differ only in a figure or in the name of a call are one: words with digits become `#`, but for the number of a
/// close code, an HTTP status or a cause.
fn kind_of(reason: &str) -> String {
    let mut told = String::new();
    let mut before = "";
    for word in reason.split(' ') {
        let is_code = ["with", "HTTP", "cause"].contains(&before);
        let has_digits = word.bytes().any(|byte| byte.is_ascii_digit());
        if !told.is_empty() {
            told.push(' ');
        }
        told.push_str(if has_digits && !is_code { "#" } else { word });
        before = word;
    }
    told
}

fn settings(plan: &RunPlan) -> Vec<Setting> {
    let setting = |name: &str, value: String| Setting {
        name: name.to_owned(),
        value,
    };
    let mut settings = vec![
        setting(
            "scenario",
            format!("{}: {}", plan.scenario, plan.scenario.about()),
        ),
        setting("calls", plan.calls.to_string()),
        setting("setups_per_s", plan.setups_per_s.to_string()),
        setting("ramp_s", plan.ramp.as_secs_f64().to_string()),
    ];
    match plan.call_duration {
        Some(lasts) => settings.push(setting("call_duration_s", lasts.as_secs_f64().to_string())),
        None => settings.push(setting(
            "duration_s",
            plan.duration.as_secs_f64().to_string(),
        )),
    }
    settings.extend([
        setting("judged_s", plan.judged.as_secs_f64().to_string()),
        setting("judge_every", plan.judge_every.to_string()),
        setting("seed", plan.seed.to_string()),
        setting("load_cores", format!("{:?}", plan.load_cores)),
    ]);
    settings.extend(
        plan.notes
            .iter()
            .map(|(name, value)| setting(name, value.clone())),
    );
    settings
}

fn caveats(plan: &RunPlan, found: &Found) -> Vec<String> {
    let mut caveats = vec![
        format!("Measured on {}.", host::description()),
        "Callers, gateway and far end share one machine: there is no network card, and a sender's system call pays for the \
         delivery into the receiver's socket."
            .to_owned(),
        "A light client: one candidate, no transport-cc, no RED, speech encoded before the run (Opus with FEC, no DTX), \
         sender and receiver reports once a second."
            .to_owned(),
        "Delays are from the generator's send to the kernel's receipt, by frames; the codecs' look-ahead and the 20 ms of \
         the packet itself are not in them."
            .to_owned(),
    ];
    if plan.scenario.far_end() == FarEnd::Echo {
        caveats.push(
            "The echo sends back what it hears: trunk to vendor is there and back, vendor to trunk is not seen.".to_owned(),
        );
    }
    let lost: i64 = found
        .outcomes
        .iter()
        .filter_map(|outcome| outcome.call_sid.as_ref())
        .filter_map(|call_sid| found.stories.get(call_sid))
        .map(|story| story.packets_lost as i64)
        .sum();
    if lost > 0 {
        caveats.push(format!(
            "The gateway says that {lost} packets from the trunk never reached it; where it transcodes it conceals them, and \
             they are not in the loss above."
        ));
    }
    let dropped = dropped(found);
    if !dropped.is_empty() {
        caveats.push(format!(
            "The gateway dropped datagrams: {}.",
            dropped.join(", ")
        ));
    }
    caveats
}

fn dropped(found: &Found) -> Vec<String> {
    let before = |reason: &str| found.at_start.dropped.get(reason).copied().unwrap_or(0.0);
    let mut dropped: Vec<String> = found
        .at_end
        .dropped
        .iter()
        .map(|(reason, count)| (reason, count - before(reason)))
        .filter(|(_, count)| *count > 0.0)
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    dropped.sort();
    dropped
}

/// Takes back what can't be shown.
fn refuse(plan: &RunPlan, report: &mut Report, steady: &Steady, undisturbed: &UndisturbedDelay) {
    let mut refuse = |what: &str, why: String| report.not_shown.push(format!("{what}: {why}"));
    if undisturbed.counted < STEADY_SAMPLES_MIN {
        refuse(
            "delay",
            format!(
                "{}; {STEADY_SAMPLES_MIN} are needed. A generator is late from {GENERATOR_LATE_MS_P99_MAX} ms on at its 99th \
                 percentile ({:.2} ms in all): more --load-cores or fewer calls help. All seconds are in the pictures",
                undisturbed.counted_windows(),
                report.generator_late_ms_p99
            ),
        );
        report.delay_ms = BothWays::default();
        report.delay_ms_p99_median = BothWays::default();
    }
    if plan.call_duration.is_some() {
        refuse(
            "CPU and memory per call",
            "calls come and go, so there is no steady time".to_owned(),
        );
        (report.cpu_ms_per_call_s, report.rss_kb_per_call) = (None, None);
    } else if steady.samples < STEADY_SAMPLES_MIN {
        refuse(
            "all figures of the steady time",
            format!(
                "it had {} looks, {STEADY_SAMPLES_MIN} are needed",
                steady.samples
            ),
        );
        (report.cpu_ms_per_call_s, report.rss_kb_per_call) = (None, None);
    }
    let few = u64::from(plan.warm_up_calls) * 4;
    if report.calls < few && plan.call_duration.is_none() {
        refuse(
            "memory per call",
            format!("the warm-up calls have left room for these; {few} calls are needed"),
        );
        report.rss_kb_per_call = None;
    }
    if report.cpu_ms_per_setup.is_none() {
        refuse(
            "CPU per set-up",
            format!("it needs a steady time, and set-ups that take {STEADY_SAMPLES_MIN} s or more"),
        );
    }
    if report.setup_failed > 0 && plan.call_duration.is_none() {
        refuse(
            "memory per call",
            "calls failed, and what they left behind counts for the others".to_owned(),
        );
        report.rss_kb_per_call = None;
    }
}

fn details(found: &Found, steady: &Steady, held_back_ms: BothWays<f64>) -> Details {
    let per_leg = |leg: &dyn Fn(&CallOutcome) -> Option<&LegRecord>,
                   what: &dyn Fn(&LegRecord) -> f64| {
        let records = found.outcomes.iter().filter_map(leg);
        records.map(what).collect::<Vec<f64>>()
    };
    let jitter = |record: &LegRecord| record.jitter_ms;
    let scores = |what: &dyn Fn(&crate::judge::Verdict) -> f64| {
        let of = |direction: &Option<Result<super::judges::Judged, String>>| {
            direction
                .as_ref()?
                .as_ref()
                .ok()
                .map(|judged| what(&judged.verdict))
        };
        let verdicts = &found.verdicts;
        BothWays {
            a_to_b: verdicts
                .iter()
                .filter_map(|it| of(&it.directions.a_to_b))
                .collect(),
            b_to_a: verdicts
                .iter()
                .filter_map(|it| of(&it.directions.b_to_a))
                .collect(),
        }
    };
    let wave_form_counts = found.standard.bar.snr_db_min().is_some();
    Details {
        setup_stages: setup_stages(found),
        windows: windows(found, held_back_ms),
        delay_ms: BothWays {
            a_to_b: steady.delays.a_to_b.buckets(),
            b_to_a: steady.delays.b_to_a.buckets(),
        },
        jitter_ms: BothWays {
            a_to_b: per_leg(&|outcome| outcome.at_trunk.as_ref(), &jitter),
            b_to_a: per_leg(&|outcome| outcome.at_vendor.as_ref(), &jitter),
        },
        match_score: scores(&|verdict| verdict.match_score),
        snr_db: if wave_form_counts {
            scores(&|verdict| verdict.snr_db)
        } else {
            BothWays::default()
        },
        mos: mos_values(found),
        match_min: found.standard.bar.match_score_min(),
        snr_db_min: found.standard.bar.snr_db_min(),
    }
}

fn setup_stages(found: &Found) -> Vec<SetupStage> {
    let stage = |stage: Stage| {
        let times = found.outcomes.iter().filter_map(|it| it.setup.as_ref());
        let mut took: Vec<f64> = times
            .flat_map(|setup| setup.stages.iter())
            .filter(|(known, _)| *known == stage)
            .map(|(_, took)| ms(*took))
            .collect();
        took.sort_by(f64::total_cmp);
        Some(SetupStage {
            name: stage.name().to_owned(),
            p50_ms: quantile(&took, 0.5)?,
            p90_ms: quantile(&took, 0.9)?,
            p99_ms: quantile(&took, 0.99)?,
        })
    };
    Stage::ALL.into_iter().filter_map(stage).collect()
}

fn windows(found: &Found, held_back_ms: BothWays<f64>) -> Vec<Window> {
    let mut windows = Vec::new();
    let mut last: Option<&Sample> = None;
    for sample in &found.samples {
        windows.push(window(
            sample,
            last,
            found.began,
            held_back_ms,
            is_steady(found, sample),
        ));
        last = Some(sample);
    }
    windows
}

/// One second, by the looks at its beginning and at its end.
pub fn window(
    sample: &Sample,
    last: Option<&Sample>,
    began: Instant,
    held_back_ms: BothWays<f64>,
    steady: bool,
) -> Window {
    let seconds = last.map_or(1.0, |last| (sample.at - last.at).as_secs_f64().max(0.001));
    let media = &sample.media;
    let gateway_cpu_pct = last
        .and_then(|last| last.gateway.as_ref())
        .zip(sample.gateway.as_ref())
        .map(|(last, now)| (now.cpu_s - last.cpu_s) * 100.0 / seconds);
    let host = last.map_or(sample.host, |last| last.host);
    Window {
        at_s: (sample.at - began).as_secs_f64(),
        calls_up: sample.up,
        setups: sample.answered - last.map_or(0, |last| last.answered),
        failures: sample.failed - last.map_or(0, |last| last.failed),
        steady,
        delay_ms: BothWays {
            a_to_b: delay(&media.delays.a_to_b, held_back_ms.a_to_b),
            b_to_a: delay(&media.delays.b_to_a, held_back_ms.b_to_a),
        },
        loss_pct: BothWays {
            a_to_b: loss_pct(media.lost.a_to_b, media.received.a_to_b),
            b_to_a: loss_pct(media.lost.b_to_a, media.received.b_to_a),
        },
        gateway_cpu_pct,
        gateway_rss_kib: sample.gateway.as_ref().map(|gateway| gateway.rss_kib),
        generator_late_ms_p99: media.lateness.quantile_ms(0.99).unwrap_or(0.0),
        generator_cpu_pct: (sample.host.own_cpu_s - host.own_cpu_s) * 100.0 / seconds,
        steal_pct: (sample.host.steal_s - host.steal_s) * 100.0 / seconds,
    }
}

fn quantiles(mut values: Vec<f64>) -> Option<Quantiles> {
    values.sort_by(f64::total_cmp);
    Some(Quantiles {
        p50: quantile(&values, 0.5)?,
        p99: quantile(&values, 0.99)?,
    })
}

/// Of sorted values; none of none.
fn quantile(sorted: &[f64], quantile: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    sorted
        .get((last as f64 * quantile).round() as usize)
        .copied()
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The source's commit: that of a release, else that of the tree that this was built from, as it is now.
fn git_commit() -> String {
    if let Some(commit) = option_env!("CLUTCHCALL_COMMIT") {
        return commit.to_owned();
    }
    let described = std::process::Command::new("git")
        .args([
            "-C",
            env!("CARGO_MANIFEST_DIR"),
            "describe",
            "--always",
            "--dirty",
            "--abbrev=12",
        ])
        .output();
    match described {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_differ_in_figures_are_one_kind() {
        let busy =
            |pct: u32| format!("closed with 1013: the shard is {pct} % busy; its limit is 85 %");
        assert_eq!(kind_of(&busy(75)), kind_of(&busy(9)));
        assert_eq!(
            kind_of(&busy(75)),
            "closed with 1013: the shard is # % busy; its limit is # %"
        );
        assert_eq!(
            kind_of("cause 34: no media ports"),
            "cause 34: no media ports"
        );
    }

    #[test]
    fn quantiles_are_values_that_were_seen() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[1.0], 0.99), Some(1.0));
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 0.5), Some(2.0));
    }

    #[test]
    fn loss_counts_what_should_have_come() {
        assert_eq!(loss_pct(0, 0), None);
        assert_eq!(loss_pct(1, 99), Some(1.0));
        // More came than were missing: late ones of the second before.
        assert_eq!(loss_pct(-1, 99), Some(0.0));
    }
}
