//! Whether somebody speaks over what the socket says, from the level of each frame that goes to it.
//!
//! Speech is what stands out from the quietest that was heard of late, and is loud enough to be meant for the line.
//! Not here: telling speech from music or a door, which interrupt alike.

use std::time::Duration;

use codecs::level::rms_dbov;

use super::FRAME_MS;

/// By how much speech stands out.
const ABOVE_BACKGROUND_DB: f32 = 9.0;
/// What is quieter is never speech: the far end's echo of the socket's own audio, breath. Talkers are at -26, quiet
/// ones at -35.
const SPEECH_MIN_DBOV: f32 = -40.0;
/// The loudest background that is believed.
const BACKGROUND_MAX_DBOV: f32 = -42.0;
/// The quietest that matters; what it is until something was heard.
const BACKGROUND_MIN_DBOV: f32 = -60.0;
/// How fast it is believed to grow, per frame: 3 dB a second.
const BACKGROUND_RISE_DB: f32 = 0.06;

/// Adds up speech over the socket's audio.
#[derive(Debug)]
pub(super) struct BargeIn {
    patience_ms: u32,
    background_dbov: f32,
    /// Speech so far; a pause takes away what it lasts, so that words with gaps between add up.
    spoken_ms: u32,
}

impl BargeIn {
    pub fn new(patience: Duration) -> Self {
        Self {
            patience_ms: u32::try_from(patience.as_millis()).unwrap_or(u32::MAX),
            background_dbov: BACKGROUND_MIN_DBOV,
            spoken_ms: 0,
        }
    }

    /// A frame goes to the socket, while it `is_speaking` or not. True when it is to be interrupted.
    pub fn hears(&mut self, pcm: &[i16], is_speaking: bool) -> bool {
        let level_dbov = rms_dbov(pcm);
        self.background_dbov = (self.background_dbov + BACKGROUND_RISE_DB)
            .min(level_dbov)
            .clamp(BACKGROUND_MIN_DBOV, BACKGROUND_MAX_DBOV);
        let is_speech =
            level_dbov > (self.background_dbov + ABOVE_BACKGROUND_DB).max(SPEECH_MIN_DBOV);
        self.spoken_ms = match (is_speaking, is_speech) {
            (false, _) => 0,
            (true, true) => self.spoken_ms.saturating_add(FRAME_MS),
            (true, false) => self.spoken_ms.saturating_sub(FRAME_MS),
        };
        let interrupts = is_speech && is_speaking && self.spoken_ms >= self.patience_ms;
        if interrupts {
            self.spoken_ms = 0;
        }
        interrupts
    }

    /// A frame went without anything to hear.
    pub fn hears_nothing(&mut self) {
        self.spoken_ms = self.spoken_ms.saturating_sub(FRAME_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of a square wave with this amplitude.
    fn frame(amplitude: i16) -> [i16; 160] {
        std::array::from_fn(|n| if n % 16 < 8 { amplitude } else { -amplitude })
    }

    /// Frames of `amplitude` until it interrupts, of 500.
    fn frames_until(barge_in: &mut BargeIn, amplitude: i16) -> Option<usize> {
        (1..500).find(|_| barge_in.hears(&frame(amplitude), true))
    }

    #[test]
    fn speech_interrupts_after_the_patience() {
        let mut barge_in = BargeIn::new(Duration::from_millis(250));
        assert_eq!(frames_until(&mut barge_in, 2_000), Some(13));
        assert_eq!(frames_until(&mut barge_in, 2_000), Some(13), "again");
        // Gaps between words take as long as they last.
        for _ in 0..10 {
            assert!(!barge_in.hears(&frame(2_000), true));
        }
        for _ in 0..3 {
            assert!(!barge_in.hears(&frame(10), true));
        }
        assert_eq!(frames_until(&mut barge_in, 2_000), Some(6));
        let mut at_once = BargeIn::new(Duration::ZERO);
        assert_eq!(frames_until(&mut at_once, 2_000), Some(1));
    }

    #[test]
    fn clicks_echo_noise_and_a_silent_socket_do_not() {
        let mut barge_in = BargeIn::new(Duration::from_millis(250));
        for n in 0..1_000 {
            let click = if n % 10 == 0 { 20_000 } else { 0 };
            assert!(!barge_in.hears(&frame(click), true));
            barge_in.hears_nothing();
        }
        assert_eq!(frames_until(&mut barge_in, 200), None, "-44 dBov");
        for _ in 0..100 {
            assert!(!barge_in.hears(&frame(3_000), false));
        }
        // A humming line is the background, once it was there for a while.
        let hum = (0..2_000).filter(|_| barge_in.hears(&frame(500), true));
        assert!(hum.count() <= 40);
        assert_eq!(frames_until(&mut barge_in, 500), None, "-36 dBov");
        assert_eq!(frames_until(&mut barge_in, 3_000), Some(13));
    }
}
