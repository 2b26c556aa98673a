//! The judge of audio: was what came out what went in, how late, and how well?
//!
//! Aligns a recording with its reference by cross-correlation, then scores two ways: `snr_db` sample by sample in
//! 100-3400 Hz, for paths that keep the wave form, and `match_score`, the correlation of 20 ms log energies in 8 bands, for
//! paths with Opus or time-stretching. Works at 8 kHz whatever the rates of the files. It judges telephone speech against
//! its own source; it is no PESQ and knows nothing about tones, music or comfort.

mod alignment;
mod images;
mod similarity;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;
use thiserror::Error;

use crate::audio::Audio;
use crate::spectrum;
use alignment::{Alignment, Elasticity};

pub use images::images_db;

/// Everything is judged at this rate.
const JUDGING_RATE_HZ: u32 = 8_000;
/// The telephone band.
const BAND_HZ: (f64, f64) = (100.0, 3_400.0);
/// A reference shorter than this says too little.
const REFERENCE_MS_MIN: f64 = 1_000.0;
/// How much of a looped reference must have been heard.
const LOOPED_MS_MIN: f64 = 3_000.0;
/// Nothing may be missing for longer.
const MISSING_MS_MAX: f64 = 200.0;
/// Nor may many short stretches: frames that were dropped and left empty. Concealed losses are not empty.
const MISSING_SHARE_MAX: f64 = 0.03;
/// The longest delay from mouth to ear.
const DELAY_MS_MAX: f64 = 300.0;
/// No frame can leave before its last sample was spoken, so nothing that travelled as 20 ms packets is earlier than this. A
/// recording that is earlier holds the caller's own side-tone. 1 ms is left for the precision of time stamps.
const DELAY_MS_MIN: f64 = 19.0;

/// What kind of path the audio took, and so how good it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Bar {
    /// G.711 end to end at our own clients: `snr_db >= 30`.
    PcmuToRtp,
    /// Opus somewhere on the way, our own clients, no loss: `match_score >= 0.95`.
    OpusClean,
    /// Chromium with AEC, NS and AGC off; its jitter buffer stretches time: `match_score >= 0.90`.
    Chromium,
    /// 5 % of the packets lost: `match_score >= 0.85`.
    Loss5,
}

impl Bar {
    /// The lowest `snr_db` that passes, if the wave form counts on this path.
    pub fn snr_db_min(self) -> Option<f64> {
        match self {
            Self::PcmuToRtp => Some(30.0),
            Self::OpusClean | Self::Chromium | Self::Loss5 => None,
        }
    }

    /// The lowest `match_score` that passes, if it is what counts on this path.
    pub fn match_score_min(self) -> Option<f64> {
        match self {
            Self::PcmuToRtp => None,
            Self::OpusClean => Some(0.95),
            Self::Chromium => Some(0.90),
            Self::Loss5 => Some(0.85),
        }
    }

    fn elasticity(self) -> Elasticity {
        match self {
            Self::PcmuToRtp | Self::OpusClean => Elasticity::Rigid,
            Self::Chromium | Self::Loss5 => Elasticity::TimeStretched,
        }
    }
}

/// How the reference was played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Playback {
    /// From its beginning to its end; all of it has to be in the recording.
    Once,
    /// Over and over without a gap, as Chromium's fake microphone does; the recording may begin anywhere in it. Silence
    /// before the first sound is not judged, everything after it is.
    Looped,
}

/// What is asked of a recording.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Question {
    /// How good it must be.
    pub bar: Bar,
    /// How the reference was played.
    pub playback: Playback,
    /// When the first sample of the reference was spoken, in ms from the first sample of the recording; none: the delay is
    /// unknown and not judged.
    pub spoken_at_ms: Option<f64>,
    /// The shortest delay from mouth to ear that is physically possible, in ms; default: 20 ms of packetisation less 1.
    pub delay_ms_min: f64,
    /// The longest delay from mouth to ear that passes, in ms; default 300.
    pub delay_ms_max: f64,
}

impl Question {
    /// `bar` for a reference that was played once, at an unknown time.
    pub fn new(bar: Bar) -> Self {
        Self {
            bar,
            playback: Playback::Once,
            spoken_at_ms: None,
            delay_ms_min: DELAY_MS_MIN,
            delay_ms_max: DELAY_MS_MAX,
        }
    }

    /// The same for a reference that was looped.
    pub fn looped(self) -> Self {
        Self {
            playback: Playback::Looped,
            ..self
        }
    }

    /// The same with the time when the first sample was spoken, in ms from the recording's first sample. Judges the delay.
    pub fn spoken_at_ms(self, spoken_at_ms: f64) -> Self {
        Self {
            spoken_at_ms: Some(spoken_at_ms),
            ..self
        }
    }
}

/// What the judge found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// Where the reference begins in the recording, in ms; negative when the recording begins inside it.
    pub offset_ms: f64,
    /// From mouth to ear: `offset_ms` less the time when the reference was spoken, if that is known.
    pub delay_ms: Option<f64>,
    /// The recording's clock against the reference's, in parts per million; 0 on paths that stretch time.
    pub drift_ppm: f64,
    /// The recording's level against the reference's, in dB.
    pub gain_db: f64,
    /// Signal to noise in 100-3400 Hz after the gain fit, in dB.
    pub snr_db: f64,
    /// Correlation of 20 ms log energies in 8 bands, 0 to 1.
    pub match_score: f64,
    /// The longest stretch that has speech in the reference and nothing in the recording, in ms.
    pub missing_ms_max: f64,
    /// All such stretches together, as a share of the speech, 0 to 1.
    pub missing_share: f64,
    /// How much of the recording was judged, in ms.
    pub judged_ms: f64,
    /// All conditions of the question hold.
    pub pass: bool,
    /// The conditions that do not hold, one sentence each.
    pub reasons: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", if self.pass { "pass" } else { "FAIL" })?;
        if let Some(delay_ms) = self.delay_ms {
            write!(f, "delay {delay_ms:.1} ms, ")?;
        }
        write!(
            f,
            "match {:.3}, SNR {:.1} dB, gain {:+.1} dB, longest gap {:.0} ms, {:.1} % missing, over {:.1} s",
            self.match_score,
            self.snr_db,
            self.gain_db,
            self.missing_ms_max,
            self.missing_share * 100.0,
            self.judged_ms / 1000.0
        )?;
        for reason in &self.reasons {
            write!(f, "; {reason}")?;
        }
        Ok(())
    }
}

/// A question that can't be judged. A bad recording is a [`Verdict`] that fails, never an error.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum JudgeError {
    /// Less than a second of reference.
    #[error("the reference is {0:.0} ms long; at least {REFERENCE_MS_MIN:.0} ms are needed")]
    ReferenceTooShort(f64),
    /// A reference without a signal in the telephone band.
    #[error("the reference is silent between 100 and 3400 Hz")]
    ReferenceSilent,
}

/// Judges `recording` against `reference`.
///
/// # Errors
/// [`JudgeError`] when the reference can't serve as one.
pub fn judge(
    reference: &Audio,
    recording: &Audio,
    question: &Question,
) -> Result<Verdict, JudgeError> {
    if reference.duration_ms() < REFERENCE_MS_MIN {
        return Err(JudgeError::ReferenceTooShort(reference.duration_ms()));
    }
    let reference = telephone_band(reference);
    let recording = telephone_band(recording);
    if energy(&reference) < reference.len() as f64 {
        return Err(JudgeError::ReferenceSilent);
    }
    let alignment = Alignment::find(
        &reference,
        &recording,
        question.playback,
        question.bar.elasticity(),
    );
    let (expected, heard) = alignment.pair(&reference, &recording);

    let missing = similarity::missing(&expected, &heard);
    let offset_ms = samples_to_ms(alignment.offset_samples());
    let mut verdict = Verdict {
        offset_ms,
        delay_ms: question
            .spoken_at_ms
            .map(|spoken_at_ms| match question.playback {
                Playback::Once => offset_ms - spoken_at_ms,
                // Only known up to whole rounds: the shortest that is possible.
                Playback::Looped => {
                    let round_ms = samples_to_ms(reference.len() as f64);
                    (offset_ms - spoken_at_ms - question.delay_ms_min).rem_euclid(round_ms)
                        + question.delay_ms_min
                }
            }),
        drift_ppm: alignment.drift_ppm(),
        gain_db: similarity::gain_db(&expected, &heard),
        snr_db: similarity::snr_db(&expected, &heard),
        match_score: similarity::match_score(&expected, &heard),
        missing_ms_max: missing.longest_ms,
        missing_share: missing.share,
        judged_ms: samples_to_ms(expected.len() as f64),
        pass: false,
        reasons: Vec::new(),
    };
    verdict.reasons = shortcomings(&verdict, question);
    verdict.pass = verdict.reasons.is_empty();
    Ok(verdict)
}

fn shortcomings(verdict: &Verdict, question: &Question) -> Vec<String> {
    let mut reasons = Vec::new();
    if let Some(snr_db_min) = question.bar.snr_db_min()
        && verdict.snr_db < snr_db_min
    {
        reasons.push(format!(
            "SNR {:.1} dB is below {snr_db_min:.0} dB",
            verdict.snr_db
        ));
    }
    if let Some(match_score_min) = question.bar.match_score_min()
        && verdict.match_score < match_score_min
    {
        reasons.push(format!(
            "match {:.3} is below {match_score_min:.2}",
            verdict.match_score
        ));
    }
    if verdict.missing_ms_max > MISSING_MS_MAX {
        reasons.push(format!(
            "nothing is heard for {:.0} ms of speech",
            verdict.missing_ms_max
        ));
    }
    if verdict.missing_share > MISSING_SHARE_MAX {
        reasons.push(format!(
            "{:.1} % of the speech is empty",
            verdict.missing_share * 100.0
        ));
    }
    if question.playback == Playback::Looped && verdict.judged_ms < LOOPED_MS_MIN {
        reasons.push(format!(
            "only {:.0} ms are heard, {LOOPED_MS_MIN:.0} are needed",
            verdict.judged_ms
        ));
    }
    match verdict.delay_ms {
        Some(delay_ms) if delay_ms < question.delay_ms_min => reasons.push(format!(
            "delay {delay_ms:.1} ms is shorter than any path ({:.0} ms): this is the caller's own side-tone",
            question.delay_ms_min
        )),
        Some(delay_ms) if delay_ms > question.delay_ms_max => {
            reasons.push(format!("delay {delay_ms:.0} ms is above {:.0} ms", question.delay_ms_max));
        }
        _ => {}
    }
    reasons
}

fn telephone_band(audio: &Audio) -> Vec<f64> {
    spectrum::band_limited(audio, BAND_HZ.0, BAND_HZ.1, JUDGING_RATE_HZ)
}

fn samples_to_ms(samples: f64) -> f64 {
    samples * 1000.0 / f64::from(JUDGING_RATE_HZ)
}

fn energy(samples: &[f64]) -> f64 {
    samples.iter().map(|sample| sample * sample).sum()
}
