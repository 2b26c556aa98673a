//! What the pictures show: series by second, distributions by call.

use std::time::Instant;

use super::super::call::{CallOutcome, Stage};
use super::super::media::LegRecord;
use super::super::observer::Sample;
use super::super::report::{BothWays, Details, SetupStage, Window};
use super::steady::{Steady, is_steady};
use super::{Found, delay, loss_pct, mos_values, ms, quantile};

pub(super) fn details(found: &Found, steady: &Steady, held_back_ms: BothWays<f64>) -> Details {
    let per_leg = |leg: &dyn Fn(&CallOutcome) -> Option<&LegRecord>,
                   what: &dyn Fn(&LegRecord) -> f64| {
        let records = found.outcomes.iter().filter_map(leg);
        records.map(what).collect::<Vec<f64>>()
    };
    let jitter = |record: &LegRecord| record.jitter_ms;
    let scores = |what: &dyn Fn(&crate::judge::Verdict) -> f64| {
        let of = |direction: &Option<Result<super::super::judges::Judged, String>>| {
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
