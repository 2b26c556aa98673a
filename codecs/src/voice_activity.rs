//! When there is nothing to hear: a gate that tells silence and quiet background from everything else, so that silence need not be
//! encoded.
//!
//! Cautious on purpose, because a gate that swallows the end of a word costs more than the CPU that it saves. It opens with the
//! first loud 5 ms, closes only after a while of quiet, and never takes a background above [`QUIET_MAX_DBOV`] for silence. Not
//! here: telling speech from music or noise, which pass alike; what is sent instead ([`crate::opus::GatedEncoder`]).

use crate::SampleRate;
use crate::level::rms_dbov;

/// Background that is louder is never silence.
pub const QUIET_MAX_DBOV: f32 = -50.0;
/// What is quieter is always silence: the idle noise of mu-law is at -72, that of A-law at -66.
const QUIET_ALWAYS_DBOV: f32 = -64.0;
/// What lies no further than this above the background belongs to it.
const ABOVE_BACKGROUND_DB: f32 = 5.0;
/// How fast the background is believed to grow while nothing as quiet as it was is heard.
const BACKGROUND_RISE_DB_PER_S: f32 = 3.0;
/// A frame is as loud as its loudest piece of this length: the beginning of a word at its end counts.
const PIECE_MS: u32 = 5;
/// How long it stays open after the last loud frame: words end softly.
const HANGOVER_MS: u32 = 300;

/// The gate of one stream. Starts open.
#[derive(Debug, Clone)]
pub struct VoiceActivityGate {
    sample_rate: SampleRate,
    /// What the quietest frames of late sound like.
    background_dbov: f32,
    /// Samples since the last loud frame.
    quiet_samples: usize,
}

impl VoiceActivityGate {
    /// A gate for PCM at `sample_rate`.
    pub fn new(sample_rate: SampleRate) -> Self {
        Self {
            sample_rate,
            background_dbov: QUIET_MAX_DBOV - ABOVE_BACKGROUND_DB,
            quiet_samples: 0,
        }
    }

    /// Looks at the next frame of the stream, of any length: false if it is silence, and has been for a while.
    pub fn is_open(&mut self, pcm: &[i16]) -> bool {
        let pieces = pcm.chunks(self.sample_rate.samples(PIECE_MS));
        let loudest_dbov = pieces.map(rms_dbov).fold(f32::NEG_INFINITY, f32::max);
        let passed_s = pcm.len() as f32 / self.sample_rate.hz() as f32;
        // Nothing louder than the gate lets pass as background can be one.
        self.background_dbov = (self.background_dbov + BACKGROUND_RISE_DB_PER_S * passed_s)
            .min(loudest_dbov)
            .min(QUIET_MAX_DBOV - ABOVE_BACKGROUND_DB);
        let loud_from_dbov = (self.background_dbov + ABOVE_BACKGROUND_DB).max(QUIET_ALWAYS_DBOV);
        if loudest_dbov > loud_from_dbov {
            self.quiet_samples = 0;
        } else {
            self.quiet_samples = self.quiet_samples.saturating_add(pcm.len());
        }
        self.quiet_samples <= self.sample_rate.samples(HANGOVER_MS)
    }

    /// Forgets the stream so far, and is open.
    pub fn reset(&mut self) {
        *self = Self::new(self.sample_rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::g711::{self, Law};
    use crate::signals::{noise, vowel};

    const RATE: SampleRate = SampleRate::Hz8000;

    /// Share of the 20 ms frames that find the gate closed.
    fn closed_share(rate: SampleRate, pcm: &[i16]) -> f64 {
        let mut gate = VoiceActivityGate::new(rate);
        let frames = pcm.chunks_exact(rate.samples(20));
        let all = frames.len() as f64;
        frames.filter(|frame| !gate.is_open(frame)).count() as f64 / all
    }

    /// White noise of this level.
    fn background(rate: SampleRate, dbov: f64, duration_ms: u32) -> Vec<i16> {
        // Evenly spread samples have a third of their peak's power.
        let amplitude = 32_768.0 * 10_f64.powf(dbov / 20.0) * 3_f64.sqrt();
        noise(amplitude.round() as i32, rate.samples(duration_ms))
    }

    #[test]
    fn silence_and_what_g711_makes_of_it_close_the_gate() {
        for rate in SampleRate::ALL {
            assert!(closed_share(rate, &vec![0; rate.samples(10_000)]) > 0.96);
        }
        for law in [Law::Mu, Law::A] {
            for octet in [law.silence(), law.silence() ^ 0x80] {
                let mut pcm = vec![0; RATE.samples(10_000)];
                let line: Vec<u8> = (0..pcm.len())
                    .map(|n| if n % 3 == 0 { octet } else { law.silence() })
                    .collect();
                g711::decode(law, &line, &mut pcm);
                assert!(closed_share(RATE, &pcm) > 0.96, "{law:?}, idle noise");
            }
        }
    }

    #[test]
    fn quiet_background_closes_it_and_a_loud_one_never() {
        for rate in SampleRate::ALL {
            for (dbov, least, most) in [
                (-75.0, 0.9, 1.0),
                (-60.0, 0.9, 1.0),
                (-57.0, 0.9, 1.0),
                (-48.0, 0.0, 0.0),
                (-30.0, 0.0, 0.0),
            ] {
                let share = closed_share(rate, &background(rate, dbov, 10_000));
                assert!(
                    (least..=most).contains(&share),
                    "{rate:?}, {dbov} dBov: {share}"
                );
            }
        }
    }

    #[test]
    fn it_opens_with_the_first_loud_frame_and_closes_after_the_hangover() {
        let mut gate = VoiceActivityGate::new(RATE);
        let silence = [0; 160];
        for _ in 0..100 {
            gate.is_open(&silence);
        }
        assert!(!gate.is_open(&silence));
        // 5 ms at the end of a frame are enough.
        let mut onset = silence;
        onset[120..].copy_from_slice(&vowel(RATE, 120.0, 40));
        assert!(gate.is_open(&onset));
        let open = (0..50).filter(|_| gate.is_open(&silence)).count();
        assert_eq!(open, 15, "300 ms");
        gate.reset();
        assert!(gate.is_open(&silence));
    }

    #[test]
    fn a_quiet_voice_over_a_background_keeps_it_open() {
        let voice = vowel(RATE, 120.0, RATE.samples(3_000));
        let mut mixed = background(RATE, -62.0, 3_000);
        for (sample, voice) in mixed.iter_mut().zip(voice) {
            *sample += voice / 30;
        }
        assert_eq!(closed_share(RATE, &mixed), 0.0);
    }

    #[test]
    fn background_that_grows_is_background_again_soon() {
        let mut gate = VoiceActivityGate::new(RATE);
        for frame in background(RATE, -75.0, 5_000).chunks_exact(160) {
            gate.is_open(frame);
        }
        let grown = background(RATE, -58.0, 10_000);
        let closed = grown
            .chunks_exact(160)
            .filter(|frame| !gate.is_open(frame))
            .count();
        assert!(closed > 200, "{closed} of 500 frames");
    }

    proptest::proptest! {
        #[test]
        fn frames_of_any_length_are_taken(
            rate in 0_usize..4,
            frames in proptest::collection::vec(proptest::collection::vec(proptest::num::i16::ANY, 0..1_000), 0..20),
        ) {
            let mut gate = VoiceActivityGate::new(SampleRate::ALL[rate]);
            for frame in frames {
                gate.is_open(&frame);
            }
        }
    }
}
