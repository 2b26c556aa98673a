//! Frame by frame: is what was heard what was said, in order? For calls whose sound is passed on untouched.
//!
//! The frames of a speech are known, so a frame that was left out and one that nobody said are told apart. Frames before the
//! first and behind the last that were heard are not missed: calls begin and end at their own times. Nor is silence counted that
//! an agent hears before its caller speaks and after.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::media::{EncodedSpeech, LegRecord};

/// How far ahead both sides are searched for the place where they agree again: a second.
const AHEAD_MAX: usize = 50;
/// So many frames in a row must be equal for that.
const EQUAL_MIN: usize = 3;

/// One direction of one or more calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FrameCounts {
    /// Heard as they were said, in order.
    pub equal: u64,
    /// Said, and not heard.
    pub missing: u64,
    /// Heard, and not said: concealed, or changed on the way.
    pub foreign: u64,
    /// Messages with another length than 20 ms.
    pub odd_sized: u64,
}

impl FrameCounts {
    /// Of several calls.
    pub fn add(&mut self, other: Self) {
        self.equal += other.equal;
        self.missing += other.missing;
        self.foreign += other.foreign;
        self.odd_sized += other.odd_sized;
    }

    /// Everything was heard as it was said.
    pub fn are_all_equal(&self) -> bool {
        self.missing == 0 && self.foreign == 0 && self.odd_sized == 0
    }

    /// What was heard of a speech; none of it known is all foreign.
    pub fn of(heard: &LegRecord, said: &EncodedSpeech) -> Self {
        let frames: Vec<&[u8]> = heard
            .packets
            .iter()
            .map(|packet| packet.payload.as_slice())
            .collect();
        let mut counts = Comparison::new(said).compare(without_silent_ends(&frames));
        counts.odd_sized = heard.odd_sized;
        counts
    }
}

/// Silence in mu-law, whichever of both zeros.
fn is_silence(frame: &[u8]) -> bool {
    frame.iter().all(|sample| sample | 0x80 == 0xff)
}

fn without_silent_ends<'a, 'b>(frames: &'a [&'b [u8]]) -> &'a [&'b [u8]] {
    let begin = frames.iter().position(|frame| !is_silence(frame));
    let end = frames.iter().rposition(|frame| !is_silence(frame));
    match (begin, end) {
        (Some(begin), Some(end)) => frames.get(begin..=end).unwrap_or_default(),
        _ => frames,
    }
}

struct Comparison<'a> {
    said: &'a EncodedSpeech,
    counts: FrameCounts,
}

impl<'a> Comparison<'a> {
    fn new(said: &'a EncodedSpeech) -> Self {
        Self {
            said,
            counts: FrameCounts::default(),
        }
    }

    fn compare(mut self, heard: &[&[u8]]) -> FrameCounts {
        let Some(first) = self.first_said(heard) else {
            self.counts.foreign = heard.len() as u64;
            return self.counts;
        };
        let (mut at, mut said) = (0, first);
        while at < heard.len() {
            if self.is_equal(heard, at, said) {
                self.counts.equal += 1;
                (at, said) = (at + 1, said + 1);
                continue;
            }
            let Some((foreign, missing)) = self.agree_again(heard, at, said) else {
                self.counts.foreign += (heard.len() - at) as u64;
                break;
            };
            self.counts.foreign += foreign as u64;
            self.counts.missing += missing as u64;
            (at, said) = (at + foreign, said + missing as u64);
        }
        self.counts
    }

    /// Which frame the first one that was heard is, by the first frame that occurs only once in a round.
    fn first_said(&self, heard: &[&[u8]]) -> Option<u64> {
        let round = self.said.frames() as u64;
        let mut places: HashMap<&[u8], Option<u64>> = HashMap::new();
        for number in 0..round {
            let place = places.entry(self.said.payload(number));
            place
                .and_modify(|place| *place = None)
                .or_insert(Some(number));
        }
        let mut known = heard.iter().enumerate().filter_map(|(at, frame)| {
            let number = places.get(frame).copied().flatten()?;
            // Counted from a round far enough on that what came before has a number.
            Some(number + round * (1 + at as u64 / round) - at as u64)
        });
        known.next()
    }

    /// The fewest frames to leave out of what was heard and of what was said.
    fn agree_again(&self, heard: &[&[u8]], at: usize, said: u64) -> Option<(usize, usize)> {
        (1..=2 * AHEAD_MAX).find_map(|both| {
            let foreign = both.saturating_sub(AHEAD_MAX)..=both.min(AHEAD_MAX);
            foreign
                .map(|foreign| (foreign, both - foreign))
                .find(|(foreign, missing)| {
                    let left = heard.len() - (at + foreign).min(heard.len());
                    let run = left.min(EQUAL_MIN);
                    run > 0
                        && (0..run).all(|ahead| {
                            let said = said + (missing + ahead) as u64;
                            self.is_equal(heard, at + foreign + ahead, said)
                        })
                })
        })
    }

    fn is_equal(&self, heard: &[&[u8]], at: usize, said: u64) -> bool {
        heard.get(at).copied() == Some(self.said.payload(said))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use crate::media::AudioCodec;
    use crate::speech;

    fn said() -> EncodedSpeech {
        EncodedSpeech::encode(AudioCodec::Pcmu, &speech::alpha()).unwrap()
    }

    fn compared(said: &EncodedSpeech, heard: &[Vec<u8>]) -> FrameCounts {
        let frames: Vec<&[u8]> = heard.iter().map(Vec::as_slice).collect();
        Comparison::new(said).compare(&frames)
    }

    fn counts(equal: u64, missing: u64, foreign: u64) -> FrameCounts {
        FrameCounts {
            equal,
            missing,
            foreign,
            odd_sized: 0,
        }
    }

    #[test]
    fn a_loop_that_begins_anywhere_is_equal() {
        let said = said();
        for begin in [0, 7, 200] {
            let heard: Vec<Vec<u8>> = (begin..begin + 1_200)
                .map(|number| said.payload(number).to_vec())
                .collect();
            assert_eq!(compared(&said, &heard), counts(1_200, 0, 0), "{begin}");
        }
    }

    #[test]
    fn what_is_missing_concealed_or_added_is_counted() {
        let said = said();
        let straight: Vec<Vec<u8>> = (30..430)
            .map(|number| said.payload(number).to_vec())
            .collect();
        let noise = vec![0x55; 160];

        let mut heard = straight.clone();
        heard.drain(100..103);
        assert_eq!(compared(&said, &heard), counts(397, 3, 0));

        let mut heard = straight.clone();
        heard[150] = noise.clone();
        assert_eq!(compared(&said, &heard), counts(399, 1, 1));

        let mut heard = straight.clone();
        heard.insert(200, noise.clone());
        assert_eq!(compared(&said, &heard), counts(400, 0, 1));

        let mut heard = straight;
        heard.swap(120, 121);
        let swapped = compared(&said, &heard);
        assert_eq!(swapped.missing, swapped.foreign);
        assert!(swapped.missing > 0, "{swapped:?}");
    }

    #[test]
    fn silence_at_the_ends_is_not_compared() {
        let (silence, sound) = ([0xff_u8; 160], [0x12_u8; 160]);
        let heard: [&[u8]; 5] = [&silence, &sound, &silence, &sound, &silence];
        assert_eq!(without_silent_ends(&heard), &heard[1..4]);
        assert_eq!(without_silent_ends(&heard[..1]), &heard[..1]);
    }

    #[test]
    fn another_speech_is_foreign() {
        let other = EncodedSpeech::encode(AudioCodec::Pcmu, &speech::bravo()).unwrap();
        let heard: Vec<Vec<u8>> = (60..200)
            .map(|number| other.payload(number).to_vec())
            .collect();
        let found = compared(&said(), &heard);
        assert!(found.foreign > 100, "{found:?}");
    }
}
