//! Who plays in the order of arrival, as Twilio does, and keeps what was played: a buffer without bound, that is played from
//! 40 ms after the first audio on, until it is empty.

use std::time::{Duration, Instant};

use super::wire::PcmFormat;
use crate::audio::Audio;
use crate::media::{Recording, RecordingStatistics};

/// How long the first audio after a pause waits, so that a message that is late leaves no gap.
pub const PREFILL_MS: u32 = 40;
/// What is played for longer is no test any more.
const PLAYED_S_MAX: usize = 20 * 60;

pub(super) struct Player {
    begin: Instant,
    format: PcmFormat,
    samples: Vec<i16>,
    /// Half a sample that waits for its other half.
    carried: Vec<u8>,
    /// Positions in samples.
    marks: Vec<(usize, String)>,
    statistics: RecordingStatistics,
}

impl Player {
    pub(super) fn new(begin: Instant, format: PcmFormat) -> Self {
        Self {
            begin,
            format,
            samples: Vec::new(),
            carried: Vec::new(),
            marks: Vec::new(),
            statistics: RecordingStatistics::default(),
        }
    }

    pub(super) fn format(&self) -> PcmFormat {
        self.format
    }

    pub(super) fn handle_audio(&mut self, at: Instant, bytes: &[u8]) {
        let rate_hz = self.format.sample_rate_hz() as usize;
        self.statistics.received += 1;
        let now = self.position(at);
        if self.samples.len() <= now {
            self.statistics.streams += 1;
            self.samples
                .resize(now + rate_hz * PREFILL_MS as usize / 1000, 0);
        }
        let mut whole = std::mem::take(&mut self.carried);
        whole.extend_from_slice(bytes);
        if matches!(self.format, PcmFormat::Linear16(_)) && whole.len() % 2 == 1 {
            self.carried.extend(whole.pop());
        }
        if self.samples.len() < PLAYED_S_MAX * rate_hz {
            self.samples.extend(self.format.decode(&whole));
        }
    }

    pub(super) fn handle_mark(&mut self, at: Instant, name: String) {
        let behind = self.samples.len().max(self.position(at));
        self.marks.push((behind, name));
    }

    /// Drops what was not played. All marks are due.
    pub(super) fn handle_clear(&mut self, at: Instant) {
        let now = self.position(at);
        self.samples.truncate(now);
        self.carried.clear();
        for (position, _) in &mut self.marks {
            *position = (*position).min(now);
        }
    }

    /// The marks that were played.
    pub(super) fn due_marks(&mut self, at: Instant) -> Vec<String> {
        let now = self.position(at);
        let (due, waiting) = std::mem::take(&mut self.marks)
            .into_iter()
            .partition(|(position, _)| *position <= now);
        self.marks = waiting;
        let due: Vec<(usize, String)> = due;
        due.into_iter().map(|(_, name)| name).collect()
    }

    /// How much waits to be played.
    pub(super) fn queued(&self, at: Instant) -> Duration {
        let samples = self.samples.len().saturating_sub(self.position(at));
        Duration::from_secs_f64(samples as f64 / f64::from(self.format.sample_rate_hz()))
    }

    /// What was played, and what waits.
    pub(super) fn recording(&self) -> Recording {
        Recording {
            begin: self.begin,
            audio: Audio {
                sample_rate_hz: self.format.sample_rate_hz(),
                samples: self.samples.clone(),
            },
            statistics: self.statistics,
        }
    }

    fn position(&self, at: Instant) -> usize {
        let passed = at.saturating_duration_since(self.begin).as_secs_f64();
        (passed * f64::from(self.format.sample_rate_hz())) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(level: i16) -> Vec<u8> {
        level.to_le_bytes().repeat(160)
    }

    fn levels(player: &Player) -> Vec<i16> {
        let mut levels = player.recording().audio.samples;
        levels.dedup();
        levels
    }

    #[test]
    fn a_burst_plays_in_real_time_and_a_clear_ends_it() {
        let begin = Instant::now();
        let ms = |ms| begin + Duration::from_millis(ms);
        let mut player = Player::new(begin, PcmFormat::Linear16(8_000));
        for level in 1..=3 {
            player.handle_audio(ms(100), &frame(level));
        }
        player.handle_mark(ms(100), "end".to_owned());
        assert_eq!(player.queued(ms(100)).as_millis(), 100);
        assert_eq!(levels(&player), [0, 1, 2, 3]);
        assert!(player.due_marks(ms(190)).is_empty());
        // In the middle of the second.
        player.handle_clear(ms(170));
        assert_eq!(player.due_marks(ms(170)), ["end"]);
        assert_eq!(levels(&player), [0, 1, 2]);
        assert_eq!(player.recording().audio.samples.len(), 8 * 170);
        // Half a sample waits for its other half.
        player.handle_audio(ms(300), &[7]);
        player.handle_audio(ms(300), &[0, 7, 0]);
        assert_eq!(levels(&player), [0, 1, 2, 0, 7]);
    }
}
