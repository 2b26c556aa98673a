//! From what was seen to a report: figures, series, distributions, what is refused and why.
//!
//! Pure. A figure that the generator's own lateness or the hypervisor made worthless is none, with the reason beside it.

mod circumstances;
mod details;
mod failures;
mod oddities;
mod refusals;
mod steady;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::admin::{CallStory, GatewayFigures};
use super::call::{CallNumber, CallOutcome};
use super::frames::FrameCounts;
use super::judges::{CallVerdict, Standard};
use super::media::{DelayHistogram, LegRecord};
use super::observer::Sample;
use super::report::{BothWays, FrameReport, MosQuantiles, Quantiles, Report};
use super::run::RunPlan;
use super::targets::UndisturbedDelay;
use circumstances::{caveats, git_commit, settings};
use details::details;
use failures::failures;
use oddities::oddities;
use refusals::{STEADY_SAMPLES_MIN, refuse};
use steady::Steady;

pub use details::window;

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
    /// Why it told no more, if it broke.
    pub events_broken: Option<String>,
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
    let steady = Steady::of(plan, found);
    let held_back_ms = held_back_ms(found);
    let mut report = Report {
        scenario: plan.scenario.name().to_owned(),
        calls: plan.calls.into(),
        setup_ok: count(found, |outcome| outcome.setup.is_some()),
        setup_failed: count(found, |outcome| outcome.setup.is_none()),
        calls_broken: count(found, |outcome| {
            outcome.setup.is_some() && outcome.failure.is_some()
        }),
        audio_ok: passed(found),
        audio_judged: found.verdicts.len() as u64,
        odd_sized: plan.scenario.has_streams().then(|| odd_sized(found)),
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
        generator_late_ms_p99: steady.media.lateness.quantile_ms(0.99),
        generator_late_ms_max: generator_late_ms_max(found),
        images_db_max: images_db_max(found),
        steal_pct: steady.steal_pct,
        events_missing: found
            .events_broken
            .is_none()
            .then(|| events_missing(plan, found)),
        leaked: leaked(&found.at_start, &found.at_end),
        git_commit: git_commit(),
        failures: failures(found),
        settings: settings(plan),
        caveats: [caveats(plan, found), oddities(found)].concat(),
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
    report.frames = frames(plan, found);
    report.cpu_ms_per_call_s = steady.cpu_ms_per_call_s;
    report.cpu_ms_per_setup = cpu_ms_per_setup(found, steady.cpu_ms_per_call_s);
    report.rss_kb_per_call = rss_kb_per_call(found, &steady);
    refuse(plan, &mut report, found, &steady, &undisturbed);
    report
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

/// Of all calls that were judged, with what the gateway says of the calls after the warm-up.
fn frames(plan: &RunPlan, found: &Found) -> Option<FrameReport> {
    let mut counts = BothWays::<FrameCounts>::default();
    let mut all = found.verdicts.iter().filter_map(|verdict| verdict.frames);
    let first = all.next()?;
    for frames in std::iter::once(first).chain(all) {
        counts.a_to_b.add(frames.a_to_b);
        counts.b_to_a.add(frames.b_to_a);
    }
    let told = found.after_warm_up.pcm_frames.zip(found.at_end.pcm_frames);
    let unseen = counts.a_to_b.unseen + counts.b_to_a.unseen;
    let compared = found.verdicts.iter().filter(|it| it.frames.is_some());
    Some(FrameReport {
        counts,
        is_whole: unseen == 0 && compared.count() == plan.calls as usize,
        gateway: told.map(|(before, after)| after.since(&before)),
    })
}

fn generator_late_ms_max(found: &Found) -> Option<f64> {
    let of = |sample: &Sample| sample.media.lateness.quantile_ms(1.0);
    found.samples.iter().filter_map(of).reduce(f64::max)
}

fn images_db_max(found: &Found) -> Option<f64> {
    let directions = found.verdicts.iter().flat_map(|verdict| {
        let BothWays { a_to_b, b_to_a } = &verdict.directions;
        [a_to_b, b_to_a]
    });
    let judged = directions.filter_map(|it| it.as_ref()?.as_ref().ok()?.images_db);
    judged.reduce(f64::max)
}

fn odd_sized(found: &Found) -> u64 {
    let records = found
        .outcomes
        .iter()
        .flat_map(|outcome| [&outcome.at_vendor, &outcome.at_trunk]);
    records.flatten().map(|record| record.odd_sized).sum()
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
    let mut stories: Vec<&CallStory> = found
        .outcomes
        .iter()
        .filter_map(|outcome| found.stories.get(outcome.call_sid.as_ref()?))
        .collect();
    // Callers that are told no name: all calls but those of pages that were told theirs.
    if stories.is_empty() && found.outcomes.iter().all(|it| it.call_sid.is_none()) {
        stories = found.stories.values().collect();
    }
    let known = stories.iter().map(|story| story.estimated_mos);
    known.filter(|mos| *mos > 0.0).collect()
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
///
/// Some vendors' callers are never told the gateway's name of their call: of these calls there must be as many stories.
fn events_missing(plan: &RunPlan, found: &Found) -> u64 {
    let complete = |story: &CallStory| story.created == 1 && story.ended == 1;
    let incomplete = found.stories.values().filter(|story| !complete(story));
    let answered = found.outcomes.iter().filter(|it| it.setup.is_some());
    let (named, nameless): (Vec<_>, Vec<_>) = answered.partition(|it| it.call_sid.is_some());
    let unheard_of = named.iter().filter(|outcome| {
        let call_sid = outcome.call_sid.as_ref();
        call_sid.is_some_and(|call_sid| !found.stories.contains_key(call_sid))
    });
    let others = found.stories.len().saturating_sub(named.len());
    let of_warm_up = plan.warm_up_calls as usize;
    let untold = nameless
        .len()
        .saturating_sub(others.saturating_sub(of_warm_up));
    (incomplete.count() + unheard_of.count() + untold) as u64
}

/// More than at the start: a gateway in use had calls before.
fn leaked(at_start: &GatewayFigures, at_end: &GatewayFigures) -> i64 {
    let objects = at_end.objects - at_start.objects;
    let fds = at_end.fds - at_start.fds;
    (objects + fds) as i64
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[1.0], 0.99), Some(1.0));
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 0.5), Some(2.0));
    }

    #[test]
    fn what_was_there_before_is_not_left_behind() {
        let figures = |objects, fds| GatewayFigures {
            objects,
            fds,
            ..GatewayFigures::default()
        };
        assert_eq!(leaked(&figures(12.0, 40.0), &figures(12.0, 40.0)), 0);
        assert_eq!(leaked(&figures(12.0, 40.0), &figures(14.0, 41.0)), 3);
    }

    #[test]
    fn loss_counts_what_should_have_come() {
        assert_eq!(loss_pct(0, 0), None);
        assert_eq!(loss_pct(1, 99), Some(1.0));
        // More came than were missing: late ones of the second before.
        assert_eq!(loss_pct(-1, 99), Some(0.0));
    }
}
