//! What a run found: the report keys, each figure's series and distributions for the pictures, and what is not shown and why.
//!
//! Pure data. A figure that can't be trusted is none, and [`Report::not_shown`] says why; it is never a zero.

use serde::{Deserialize, Serialize};

use super::frames::FrameCounts;

/// One run. The keys of the JSON file are its fields.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Report {
    /// Which callers and which far end, such as `browser-sip`.
    pub scenario: String,
    /// Calls that were tried.
    pub calls: u64,
    /// Of these, answered.
    pub setup_ok: u64,
    /// Of these, not.
    pub setup_failed: u64,
    /// Calls that were up, and then ended by themselves, fell silent one way, or did not end as they should have.
    #[serde(default)]
    pub calls_broken: u64,
    /// Calls of which both directions passed the judge.
    pub audio_ok: u64,
    /// Calls that were judged: all that were set up, unless fewer were asked for.
    #[serde(default)]
    pub audio_judged: u64,
    /// Frame by frame, where sound is passed on untouched.
    #[serde(default)]
    pub frames: Option<FrameReport>,
    /// Messages with sound that were not of 20 ms, of all calls. None: there are no WebSockets of sound.
    #[serde(default)]
    pub odd_sized: Option<u64>,
    /// What a relay did to the media of the vendor's side on purpose.
    #[serde(default)]
    pub impairment: Option<String>,
    /// From the first TCP packet to ANSWER with media connected, in ms.
    pub setup_ms: Option<Quantiles>,
    /// From the generator's send of a frame to the kernel's receipt of the packet that carries it, in ms.
    pub delay_ms: BothWays<Option<Quantiles>>,
    /// The median over the seconds of the steady time of each second's 99th percentile, in ms.
    pub delay_ms_p99_median: BothWays<Option<f64>>,
    /// Seconds of the steady time in which generator and host were on time: only these count for delays.
    pub seconds_on_time: u64,
    /// Packets that are missing between those that came, in percent of both, in the steady window. Of calls that come and go, in
    /// the whole run.
    pub loss_pct: BothWays<Option<f64>>,
    /// Estimated from loss, delay and codec (G.107), the worse direction of each call.
    pub mos: Option<MosQuantiles>,
    /// The vendor side's codec.
    pub codec_a: String,
    /// The trunk side's codec.
    pub codec_b: String,
    /// The gateway decoded and encoded.
    pub transcoded: bool,
    /// Packets received at the far end.
    pub packets_a_to_b: u64,
    /// Packets received at the vendor's side.
    pub packets_b_to_a: u64,
    /// The steady window: from 2 s after the last set-up to the first hang-up, in s.
    pub steady_s: f64,
    /// CPU of all gateway threads in the steady window, by calls and seconds.
    pub cpu_ms_per_call_s: Option<f64>,
    /// CPU of all gateway threads while calls were set up, less that of their media, by set-ups.
    pub cpu_ms_per_setup: Option<f64>,
    /// (Resident memory in the steady window - that after 20 warm-up calls) / calls.
    pub rss_kb_per_call: Option<f64>,
    /// Cores with a shard.
    pub gateway_cores: u64,
    /// How late the generator sent, 99th percentile in the steady window, in ms. Of calls that come and go, in the whole run.
    pub generator_late_ms_p99: Option<f64>,
    /// How late it sent a frame at most, in the whole run, in ms; 1001 stands for more than a second.
    #[serde(default)]
    pub generator_late_ms_max: Option<f64>,
    /// The loudest of what lies above the telephone band where it was heard at 16 kHz, against the speech, in dB.
    #[serde(default)]
    pub images_db_max: Option<f64>,
    /// CPU that the hypervisor took from all cores together in the same time, in percent of one core.
    pub steal_pct: Option<f64>,
    /// Calls without exactly one CREATE and one HANGUP_COMPLETE at `/v1/events`.
    pub events_missing: Option<u64>,
    /// Calls, ports, slab entries and file descriptors that are there 5 s after the last hang-up and were not before.
    pub leaked: i64,
    /// The commit that the load test was built from.
    pub git_commit: String,
    /// Figures that are refused, each with the reason.
    pub not_shown: Vec<String>,
    /// What a reader must know before any figure: hardware, loopback, steal, what is left out.
    pub caveats: Vec<String>,
    /// Why calls failed or did not pass, the most frequent first.
    pub failures: Vec<Failure>,
    /// Options and settings of the run, in order.
    pub settings: Vec<Setting>,
    /// Series and distributions.
    pub details: Details,
}

/// Every frame that was heard, against those that were said.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FrameReport {
    /// Of all calls.
    pub counts: BothWays<FrameCounts>,
    /// Every call was compared, from its beginning to its end.
    #[serde(default)]
    pub is_whole: bool,
    /// The gateway's own account; none: it does not say all of it.
    #[serde(default)]
    pub gateway: Option<GatewayFrames>,
}

/// What a gateway says that it did to frames of sound on WebSockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GatewayFrames {
    /// Made up.
    pub concealed: u64,
    /// Blended with what was made up before them.
    pub crossfaded: u64,
    /// Left out.
    pub dropped: u64,
    /// Not sent to a peer that does not read.
    pub unsent: u64,
    /// Of all packets: came before anybody listened.
    pub not_answered: u64,
}

impl GatewayFrames {
    /// What was added since.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            concealed: self.concealed.saturating_sub(before.concealed),
            crossfaded: self.crossfaded.saturating_sub(before.crossfaded),
            dropped: self.dropped.saturating_sub(before.dropped),
            unsent: self.unsent.saturating_sub(before.unsent),
            not_answered: self.not_answered.saturating_sub(before.not_answered),
        }
    }
}

/// Median and 99th percentile.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
}

/// The 5th percentile, as most calls are better, and the median.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct MosQuantiles {
    /// The 5th percentile.
    pub p5: f64,
    /// The median.
    pub p50: f64,
}

/// Something of each direction; `a` is the vendor's side, `b` the trunk's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BothWays<T> {
    /// From the vendor's side to the trunk's.
    pub a_to_b: T,
    /// From the trunk's side to the vendor's.
    pub b_to_a: T,
}

/// One way in which calls failed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Failure {
    /// How many calls.
    pub calls: u64,
    /// What was wrong, with the gateway's own words where it had some.
    pub reason: String,
}

/// One option with its value.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Setting {
    /// Such as `calls`.
    pub name: String,
    /// As it was in effect.
    pub value: String,
}

/// What the pictures show.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Details {
    /// The stages of a set-up, in their order.
    pub setup_stages: Vec<SetupStage>,
    /// One for each second of the run.
    pub windows: Vec<Window>,
    /// How many packets had which delay, in the steady window.
    pub delay_ms: BothWays<Vec<Bucket>>,
    /// Interarrival jitter of each call (RFC 3550), in ms.
    pub jitter_ms: BothWays<Vec<f64>>,
    /// The judge's match of each call, 0 to 1.
    pub match_score: BothWays<Vec<f64>>,
    /// The judge's SNR of each call, in dB; empty where Opus takes part.
    pub snr_db: BothWays<Vec<f64>>,
    /// Estimated MOS of each call.
    pub mos: Vec<f64>,
    /// From which match on a direction passes, where the judge goes by it.
    #[serde(default)]
    pub match_min: Option<f64>,
    /// From which SNR on a direction passes, where the judge goes by it.
    #[serde(default)]
    pub snr_db_min: Option<f64>,
}

/// How long one stage of a set-up took, over all calls.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SetupStage {
    /// Such as `TLS and WebSocket`.
    pub name: String,
    /// In ms.
    pub p50_ms: f64,
    /// In ms.
    pub p90_ms: f64,
    /// In ms.
    pub p99_ms: f64,
}

/// One bar of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Bucket {
    /// Values up to this one, and above that of the bucket before.
    pub up_to: f64,
    /// How many.
    pub count: u64,
}

/// One second of a run. What was not measured in it is none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Window {
    /// Its end, in s from the run's beginning.
    pub at_s: f64,
    /// Calls that were up at its end.
    pub calls_up: u64,
    /// Calls that were answered in it.
    pub setups: u64,
    /// Calls that failed in it.
    pub failures: u64,
    /// It counts for the steady figures.
    pub steady: bool,
    /// Of the packets that came in it, in ms.
    pub delay_ms: BothWays<Option<Quantiles>>,
    /// In percent.
    pub loss_pct: BothWays<Option<f64>>,
    /// CPU of all gateway threads, in percent of one core.
    pub gateway_cpu_pct: Option<f64>,
    /// Resident memory of the gateway, in KiB.
    pub gateway_rss_kib: Option<f64>,
    /// How late the generator sent, 99th percentile, in ms.
    pub generator_late_ms_p99: f64,
    /// CPU of the generator, in percent of one core.
    pub generator_cpu_pct: f64,
    /// CPU that the hypervisor took from all cores together, in percent of one core.
    pub steal_pct: f64,
}

/// A search for the most calls that a gateway carries within its limits.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FindMaxReport {
    /// Which callers and which far end, such as `browser-sip`.
    pub scenario: String,
    /// Cores with a shard.
    pub gateway_cores: u64,
    /// The commit that the load test was built from.
    pub git_commit: String,
    /// Options and settings of the search, in order.
    pub settings: Vec<Setting>,
    /// What a reader must know before any figure.
    pub caveats: Vec<String>,
    /// Figures that are refused, each with the reason.
    pub not_shown: Vec<String>,
    /// A step whose delay is above it, 99th percentile of the worse direction, did not pass; in ms.
    pub limit_delay_ms_p99: f64,
    /// A step whose loss is above it in one direction did not pass; in percent.
    pub limit_loss_pct: f64,
    /// In the order in which they were made.
    pub steps: Vec<FindMaxStep>,
    /// The most calls of a step that passed.
    pub calls_max: Option<u64>,
    /// The same by core with a shard.
    pub calls_per_core_max: Option<f64>,
    /// What ended the search: the gateway, the generator, the host or the largest number asked for.
    pub limited_by: String,
}

/// One number of calls, and how it went.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FindMaxStep {
    /// Calls at once.
    pub calls: u64,
    /// The same by core with a shard.
    pub calls_per_core: f64,
    /// The median of all packets, and the median of the seconds' 99th percentiles, by which the step goes.
    pub delay_ms: BothWays<Option<Quantiles>>,
    /// As in [`Report::loss_pct`].
    pub loss_pct: BothWays<Option<f64>>,
    /// As in [`Report::cpu_ms_per_call_s`].
    pub cpu_ms_per_call_s: Option<f64>,
    /// CPU of all gateway threads in the steady window, in percent of one core.
    pub gateway_cpu_pct: Option<f64>,
    /// As in [`Report::generator_late_ms_p99`].
    pub generator_late_ms_p99: Option<f64>,
    /// As in [`Report::steal_pct`].
    pub steal_pct: Option<f64>,
    /// Within all limits.
    pub passed: bool,
    /// Which limit it did not keep; none where it passed.
    pub why_not: Option<String>,
}

/// The same job through us and through somebody else's gateway, turn about in one run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CompareReport {
    /// Codecs and encryption of both sides, such as `SRTP Opus <-> RTP PCMU`.
    pub job: String,
    /// The other gateway with its version, such as `rtpengine 10.5.3.5`.
    pub rival: String,
    /// The commit that the load test was built from.
    pub git_commit: String,
    /// Our options and settings, in order.
    pub settings_ours: Vec<Setting>,
    /// Theirs.
    pub settings_theirs: Vec<Setting>,
    /// What a reader must know before any figure.
    pub caveats: Vec<String>,
    /// Figures that are refused, each with the reason.
    pub not_shown: Vec<String>,
    /// In the order in which they were made.
    pub rounds: Vec<CompareRound>,
    /// Of our [`CompareSample::cpu_ms_per_call_s`].
    pub median_ours: Option<f64>,
    /// Of theirs.
    pub median_theirs: Option<f64>,
    /// `median_theirs / median_ours`: how many times fewer ms of CPU we need for the same second of a call.
    pub ratio_of_medians: Option<f64>,
    /// What the ratio should at least be.
    pub ratio_target: Option<f64>,
}

/// One turn each.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CompareRound {
    /// Through us.
    pub ours: CompareSample,
    /// Through the other one.
    pub theirs: CompareSample,
}

/// What one turn of one side found; each as in [`Report`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CompareSample {
    /// Calls at once.
    pub calls: u64,
    /// Of these, passed by the judge both ways.
    #[serde(default)]
    pub audio_ok: u64,
    /// CPU of the gateway's process by calls and seconds.
    pub cpu_ms_per_call_s: Option<f64>,
    /// In percent.
    pub loss_pct: BothWays<Option<f64>>,
    /// In ms.
    pub delay_ms: BothWays<Option<Quantiles>>,
    /// In percent of one core.
    pub steal_pct: Option<f64>,
    /// In ms.
    pub generator_late_ms_p99: Option<f64>,
}

impl Report {
    /// The far end is an echo, of which only there and back together is heard.
    pub fn is_echo(&self) -> bool {
        self.scenario.ends_with("echo")
    }

    /// The most frequent reason why a call that was up broke, with a colon before it; empty if none is known.
    pub fn why_broken(&self) -> String {
        let broken = |failure: &&Failure| failure.reason.starts_with(DURING_THE_CALL);
        let why = self.failures.iter().find(broken);
        why.map_or(String::new(), |why| format!(": {}", why.reason))
    }
}

impl<T: Copy> BothWays<T> {
    /// Both with their directions' names.
    pub fn named(&self) -> [(&'static str, T); 2] {
        [(A_TO_B, self.a_to_b), (B_TO_A, self.b_to_a)]
    }
}

/// How the reason begins of a call that was up.
pub(super) const DURING_THE_CALL: &str = "during the call";

/// How a reader is told of the direction from the vendor's side to the trunk's.
pub const A_TO_B: &str = "vendor to trunk";
/// And of the other one.
pub const B_TO_A: &str = "trunk to vendor";
