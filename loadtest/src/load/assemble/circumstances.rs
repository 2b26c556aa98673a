//! Under which circumstances a run was made: its settings, its caveats, the source's commit.

use super::super::host;
use super::super::report::{GatewayFrames, Setting};
use super::super::run::RunPlan;
use super::super::scenario::{Callers, FarEnd};
use super::Found;

pub(super) fn settings(plan: &RunPlan) -> Vec<Setting> {
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

pub(super) fn caveats(plan: &RunPlan, found: &Found) -> Vec<String> {
    let mut caveats = vec![
        format!("Measured on {}.", host::description()),
        "Callers, gateway and far end share one machine: there is no network card, and a sender's system call pays for the \
         delivery into the receiver's socket."
            .to_owned(),
        "Delays are from the generator's send to the kernel's receipt, by frames; the codecs' look-ahead and the 20 ms of \
         the packet itself are not in them."
            .to_owned(),
    ];
    if plan.scenario.callers() == Callers::Browser {
        caveats.push(
            "A light client: one candidate, no transport-cc, no RED, speech encoded before the run (Opus with FEC, no DTX), \
             sender and receiver reports once a second."
                .to_owned(),
        );
    }
    if plan.scenario.has_streams() {
        caveats.push(
            "Frames over WebSockets are numbered as they come: TCP loses none, so loss there is 0, and what the gateway \
             leaves out or makes up is found by the judge, and frame by frame where sound is passed on untouched. Their \
             stamps are of the TCP segment."
                .to_owned(),
        );
    }
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
    if let Some(told) = pcm_frames(found) {
        caveats.push(format!(
            "Of frames of sound on WebSockets the gateway says that {} were made up, {} blended with that, {} left out and {} not \
             sent to who does not read.",
            told.concealed, told.crossfaded, told.dropped, told.unsent
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

/// What the gateway did to frames on WebSockets behind the warm-up, if it did anything.
fn pcm_frames(found: &Found) -> Option<GatewayFrames> {
    let (before, after) = (found.after_warm_up.pcm_frames, found.at_end.pcm_frames);
    let told = after?.since(&before?);
    let any = told.concealed + told.crossfaded + told.dropped + told.unsent > 0;
    any.then_some(told)
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

/// The source's commit: that of a release, else that of the tree that this was built from, as it is now.
pub(super) fn git_commit() -> String {
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
