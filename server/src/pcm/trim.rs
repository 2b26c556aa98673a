//! How a standing delay is found and taken out: the least that waited over some time is a delay that nobody needs, and
//! goes frame by frame, quiet ones first.

use codecs::level::rms_dbov;
use codecs::voice_activity::QUIET_MAX_DBOV;

/// Parts that the time of a [`DelayWatch`] is cut into.
const PARTS: usize = 10;

#[derive(Debug, Clone, Copy)]
struct Part {
    least_ms: i64,
    arrived: u64,
}

const UNTOUCHED: Part = Part {
    least_ms: i64::MAX,
    arrived: 0,
};

/// What was seen over the whole time of a [`DelayWatch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// The least that waited, in ms.
    pub least_ms: i64,
    /// Bytes that arrived.
    pub arrived: u64,
}

/// The least of a value, and what arrived, over the last so many ticks.
#[derive(Debug)]
pub(super) struct DelayWatch {
    ticks_per_part: u32,
    parts: [Part; PARTS],
    current: usize,
    /// Of the current part.
    ticks: u32,
    /// Parts that were filled since the begin, as far as it matters.
    filled: usize,
}

impl DelayWatch {
    /// Over this many ticks.
    pub fn new(ticks: u32) -> Self {
        Self {
            ticks_per_part: (ticks / PARTS as u32).max(1),
            parts: [UNTOUCHED; PARTS],
            current: 0,
            ticks: 0,
            filled: 0,
        }
    }

    /// Forgets what was seen.
    pub fn reset(&mut self) {
        let ticks = self.ticks_per_part * PARTS as u32;
        *self = Self::new(ticks);
    }

    /// So much waits.
    pub fn waits(&mut self, waits_ms: i64) {
        if let Some(part) = self.parts.get_mut(self.current) {
            part.least_ms = part.least_ms.min(waits_ms);
        }
    }

    /// So many bytes came.
    pub fn arrived(&mut self, bytes: usize) {
        if let Some(part) = self.parts.get_mut(self.current) {
            part.arrived += bytes as u64;
        }
    }

    /// A tick went by. Now and then tells what was seen.
    pub fn tick(&mut self) -> Option<Seen> {
        self.ticks += 1;
        if self.ticks < self.ticks_per_part {
            return None;
        }
        self.ticks = 0;
        self.filled = (self.filled + 1).min(PARTS);
        let seen = (self.filled == PARTS).then(|| Seen {
            least_ms: self
                .parts
                .iter()
                .map(|part| part.least_ms)
                .min()
                .unwrap_or(0),
            arrived: self.parts.iter().map(|part| part.arrived).sum(),
        });
        self.current = (self.current + 1) % PARTS;
        if let Some(part) = self.parts.get_mut(self.current) {
            *part = UNTOUCHED;
        }
        // Nothing was looked at all the time: nothing is known.
        seen.filter(|seen| seen.least_ms < i64::MAX)
    }
}

/// What may go to end a delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// Quiet frames first, then any.
    Anything,
    /// Quiet frames.
    Silence,
}

/// Frames that are to go within some ticks: in the first half of them only quiet ones, in the second the rest, spread
/// evenly. Or in all of them only quiet ones.
#[derive(Debug, Default)]
pub(super) struct Trim {
    left: u32,
    /// What was left when the second half began.
    left_at_half: u32,
    ticks_left: u32,
    /// Ticks of the second half.
    half: u32,
    /// Frames that may go at this tick whatever they hold.
    forced: u32,
}

impl Trim {
    pub fn begin(&mut self, frames: u32, ticks: u32, cut: Cut) {
        *self = Self {
            left: frames,
            ticks_left: ticks,
            half: match cut {
                Cut::Anything => ticks / 2,
                Cut::Silence => 0,
            },
            ..Self::default()
        };
    }

    pub fn stop(&mut self) {
        *self = Self::default();
    }

    pub fn is_active(&self) -> bool {
        self.left > 0
    }

    /// A tick begins.
    pub fn tick(&mut self) {
        if self.ticks_left == 0 {
            return self.stop();
        }
        if self.ticks_left == self.half {
            self.left_at_half = self.left;
        }
        self.ticks_left -= 1;
        self.forced = match self.ticks_left < self.half {
            true => {
                let wanted = u64::from(self.left_at_half) * u64::from(self.ticks_left);
                self.left
                    .saturating_sub((wanted / u64::from(self.half)) as u32)
            }
            false => 0,
        };
    }

    /// Whether the next frame goes.
    pub fn takes(&mut self, pcm: &[i16]) -> bool {
        if self.left == 0 {
            return false;
        }
        if self.forced > 0 {
            self.forced -= 1;
        } else if rms_dbov(pcm) > QUIET_MAX_DBOV {
            return false;
        }
        self.left -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_over_the_whole_time_is_told() {
        let mut watch = DelayWatch::new(50);
        let mut seen = Vec::new();
        for tick in 0..150 {
            watch.waits(if tick == 20 { 7 } else { 40 });
            watch.arrived(2);
            seen.extend(watch.tick());
        }
        let least: Vec<i64> = seen.iter().map(|seen| seen.least_ms).collect();
        // 50 ticks at first, then every 5th; the low one is forgotten after 50.
        assert_eq!(least.len(), 21);
        assert_eq!(least[..5], [7; 5]);
        assert_eq!(least[5..], [40; 16]);
        assert!(seen.iter().all(|seen| seen.arrived == 100));
        watch.reset();
        assert!((0..49).all(|_| watch.tick().is_none()));
        assert_eq!(watch.tick(), None, "nothing was looked at");
    }

    #[test]
    fn quiet_frames_go_first_and_the_rest_is_spread() {
        let (quiet, loud) = ([20; 160], [8_000; 160]);
        let mut trim = Trim::default();
        assert!(!trim.takes(&quiet));
        trim.begin(10, 20, Cut::Anything);
        let mut taken = Vec::new();
        for tick in 0..20 {
            trim.tick();
            if tick == 3 {
                taken.extend((0..5).filter(|_| trim.takes(&quiet)).map(|_| tick));
            }
            while trim.takes(&loud) {
                taken.push(tick);
            }
        }
        assert_eq!(taken, [3, 3, 3, 3, 3, 10, 12, 14, 16, 18]);
        assert!(!trim.is_active());
    }

    #[test]
    fn where_only_silence_may_go_speech_stays() {
        let (quiet, loud) = ([20; 160], [8_000; 160]);
        let mut trim = Trim::default();
        trim.begin(10, 20, Cut::Silence);
        let mut taken = 0;
        for _ in 0..20 {
            trim.tick();
            taken += u32::from(trim.takes(&loud)) + u32::from(trim.takes(&quiet));
        }
        assert_eq!(
            taken, 10,
            "one quiet frame at each tick, until there are enough"
        );
        trim.begin(10, 20, Cut::Silence);
        for _ in 0..=20 {
            trim.tick();
            assert!(!trim.takes(&loud));
        }
        assert!(!trim.is_active(), "it gives up");
    }
}
