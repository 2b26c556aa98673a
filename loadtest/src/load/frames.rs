//! Frame by frame: is what was heard what this call said, in order? For calls whose sound is passed on untouched.
//!
//! The frames of a speech are known, and when each of them was due, so a frame that was left out, one that nobody said and one of
//! another call are told apart: of what was heard and what may have been said by then, the longest common subsequence is what
//! went through. Frames before the first and behind the last of it are not missed: calls begin and end at their own times. Nor is
//! silence counted that an agent hears before its caller speaks and after.

use std::collections::HashMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::media::{EncodedSpeech, LegRecord};
use crate::media::PACKET_MS;

/// How old a frame may be that is looked for: 2 s, more than any queue holds back.
const AGE_FRAMES_MAX: usize = 100;
/// A call of which no frame is heard sooner hears another one: the judge's longest delay.
const LEAST_AGE_MS_MAX: u32 = 300;
/// The stamps of two threads may disagree by so much.
const TOLERANCE_NS: i128 = 2_000_000;

/// One direction of one or more calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FrameCounts {
    /// Heard as they were said, in order.
    pub equal: u64,
    /// Of these, those that the speech has more than once: one that was made up in its place would be no different.
    pub alike: u64,
    /// Said, and not heard.
    pub missing: u64,
    /// Heard, and not said: made up, changed on the way, or said by another call.
    pub foreign: u64,
    /// Of these, silence.
    pub silent: u64,
    /// Not said after all: the generator's own socket refused them. Of those that are missing.
    pub not_sent: u64,
    /// Heard, and not kept for a comparison.
    pub unseen: u64,
}

impl FrameCounts {
    /// Of several calls.
    pub fn add(&mut self, other: Self) {
        self.equal += other.equal;
        self.alike += other.alike;
        self.missing += other.missing;
        self.foreign += other.foreign;
        self.silent += other.silent;
        self.not_sent += other.not_sent;
        self.unseen += other.unseen;
    }

    /// Everything was heard as it was said.
    pub fn are_all_equal(&self) -> bool {
        self.missing == 0 && self.foreign == 0
    }

    /// What `heard` got of what `said` says of itself, a leg that speaks `speech`. Where nothing was heard soon enough, it is all
    /// foreign.
    pub fn of(heard: &LegRecord, said: &LegRecord, speech: &EncodedSpeech) -> Self {
        let frames: Vec<Frame<'_>> = heard
            .packets
            .iter()
            .map(|packet| (packet.arrival, packet.payload.as_slice()))
            .collect();
        let frames = without_silent_ends(&frames);
        let longest = Said::of(said, speech).and_then(|said| said.longest_in(frames));
        let mut counts = Self {
            not_sent: said.send_failures,
            unseen: heard.received.saturating_sub(heard.packets.len() as u64),
            ..Self::default()
        };
        if let Some(longest) = longest {
            counts.equal = longest.frames;
            counts.alike = longest.alike;
            let span = longest.last - longest.first + 1;
            counts.missing = u64::try_from(span).unwrap_or(0) - longest.frames;
        }
        counts.foreign = frames.len() as u64 - counts.equal;
        let silent = frames.iter().filter(|(_, frame)| is_silence(frame)).count() as u64;
        let silent_and_said = longest.map_or(0, |longest| longest.silent);
        counts.silent = silent - silent_and_said;
        counts
    }
}

/// When it came, and what it was.
type Frame<'a> = (Instant, &'a [u8]);

/// Silence in mu-law, whichever of both zeros.
fn is_silence(frame: &[u8]) -> bool {
    frame.iter().all(|sample| sample | 0x80 == 0xff)
}

fn without_silent_ends<'a, 'b>(frames: &'a [Frame<'b>]) -> &'a [Frame<'b>] {
    let sounds = |(_, frame): &Frame<'_>| !is_silence(frame);
    let begin = frames.iter().position(sounds);
    let end = frames.iter().rposition(sounds);
    match (begin, end) {
        (Some(begin), Some(end)) => frames.get(begin..=end).unwrap_or_default(),
        _ => frames,
    }
}

/// Frames that were said and heard, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Common {
    frames: u64,
    alike: u64,
    silent: u64,
    /// By their numbers in the call.
    first: i64,
    last: i64,
    /// The least time from when one was due to when it was heard, in frames.
    least_age: i64,
}

const NOTHING_COMMON: Common = Common {
    frames: 0,
    alike: 0,
    silent: 0,
    first: i64::MAX,
    last: i64::MAX,
    least_age: i64::MAX,
};

impl Common {
    /// The longer one; of two, the one that leaves out less.
    fn or(self, other: Self) -> Self {
        if (other.frames, other.first) > (self.frames, self.first) {
            other
        } else {
            self
        }
    }

    fn and(self, number: i64, age: i64, alike: bool, silent: bool) -> Self {
        Self {
            frames: self.frames + 1,
            alike: self.alike + u64::from(alike),
            silent: self.silent + u64::from(silent),
            first: self.first.min(number),
            last: number,
            least_age: self.least_age.min(age),
        }
    }
}

/// What a leg has said: which frame was due when.
struct Said<'a> {
    first_due_at: Instant,
    first_frame: u64,
    /// Of each frame of the round, what it is: the same number for the same bytes.
    kinds: Vec<usize>,
    /// By bytes; and whether there are several of it.
    kind_of: HashMap<&'a [u8], (usize, bool)>,
}

impl<'a> Said<'a> {
    fn of(said: &LegRecord, speech: &'a EncodedSpeech) -> Option<Self> {
        let mut kind_of: HashMap<&[u8], (usize, bool)> = HashMap::new();
        let mut kinds = Vec::with_capacity(speech.frames());
        for number in 0..speech.frames() as u64 {
            let next = kind_of.len();
            let kind = kind_of.entry(speech.payload(number));
            let kind = kind.and_modify(|(_, several)| *several = true);
            kinds.push(kind.or_insert((next, false)).0);
        }
        Some(Self {
            first_due_at: said.first_due_at?,
            first_frame: said.first_frame,
            kinds,
            kind_of,
        })
    }

    /// The newest frame that can have been said at this time; negative before all.
    fn newest_at(&self, at: Instant) -> i64 {
        let frame_ns = i128::from(PACKET_MS) * 1_000_000;
        let since_ns = match at.checked_duration_since(self.first_due_at) {
            Some(since) => since.as_nanos() as i128,
            None => -(self.first_due_at.duration_since(at).as_nanos() as i128),
        };
        (since_ns + TOLERANCE_NS).div_euclid(frame_ns) as i64
    }

    fn kind_at(&self, number: i64) -> Option<usize> {
        let number = u64::try_from(number).ok()? + self.first_frame;
        let in_round = number % self.kinds.len().max(1) as u64;
        self.kinds.get(in_round as usize).copied()
    }

    /// The longest common subsequence of what was heard and what was said at most [`AGE_FRAMES_MAX`] before. None: there is none,
    /// or none that was heard soon enough to be of this call.
    fn longest_in(&self, heard: &[Frame<'_>]) -> Option<Common> {
        let mut newest = self.newest_at(heard.first()?.0);
        // Element k: of all that was heard so far, with what was said up to frame `newest - AGE_FRAMES_MAX + k`.
        let mut best = vec![NOTHING_COMMON; AGE_FRAMES_MAX + 1];
        for (at, frame) in heard {
            let later = self.newest_at(*at).max(newest);
            slide(&mut best, later - newest);
            newest = later;
            let Some((kind, several)) = self.kind_of.get(frame).copied() else {
                continue;
            };
            let silent = is_silence(frame);
            let oldest = newest - AGE_FRAMES_MAX as i64 + 1;
            let (mut before, mut up_to_here) = (best[0], best[0]);
            for (number, element) in (oldest..).zip(best.iter_mut().skip(1)) {
                let without = std::mem::replace(&mut before, *element);
                up_to_here = element.or(up_to_here);
                if self.kind_at(number) == Some(kind) {
                    let age = newest - number;
                    up_to_here = up_to_here.or(without.and(number, age, several, silent));
                }
                *element = up_to_here;
            }
        }
        let longest = best.last().copied()?;
        let soon = i64::from(LEAST_AGE_MS_MAX / PACKET_MS);
        (longest.frames > 0 && longest.least_age <= soon).then_some(longest)
    }
}

/// So many frames later: nothing that is newer was heard yet.
fn slide(best: &mut [Common], frames: i64) {
    let frames = usize::try_from(frames).unwrap_or(0).min(best.len());
    let Some(last) = best.last().copied() else {
        return;
    };
    best.rotate_left(frames);
    let len = best.len();
    if let Some(newer) = best.get_mut(len - frames..) {
        newer.fill(last);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use std::time::Duration;

    use super::super::media::FrameClock;
    use super::*;
    use crate::load::call::{CallNumber, first_frame};
    use crate::media::{AudioCodec, ReceivedPacket};
    use crate::speech;

    const FRAME: Duration = Duration::from_millis(20);
    /// From due to heard.
    const DELAY: Duration = Duration::from_millis(65);

    fn alpha() -> EncodedSpeech {
        EncodedSpeech::encode(AudioCodec::Pcmu, &speech::alpha()).unwrap()
    }

    /// A leg that speaks from frame `first_frame` of its speech on.
    fn said(first_frame: u64, first_due_at: Instant) -> LegRecord {
        LegRecord {
            first_frame,
            first_due_at: Some(first_due_at),
            ..LegRecord::default()
        }
    }

    /// A leg that hears these, one each 20 ms.
    fn heard(first_at: Instant, frames: &[Vec<u8>]) -> LegRecord {
        let packet = |(number, payload): (usize, &Vec<u8>)| ReceivedPacket {
            arrival: first_at + FRAME * number as u32,
            ssrc: 1,
            sequence_number: number as u16,
            timestamp: 160 * number as u32,
            payload_type: 0,
            marker: false,
            payload: payload.clone(),
        };
        LegRecord {
            received: frames.len() as u64,
            packets: frames.iter().enumerate().map(packet).collect(),
            ..LegRecord::default()
        }
    }

    fn frames(speech: &EncodedSpeech, numbers: std::ops::Range<u64>) -> Vec<Vec<u8>> {
        numbers
            .map(|number| speech.payload(number).to_vec())
            .collect()
    }

    /// Of a call that began with frame 30.
    fn compared(speech: &EncodedSpeech, frames: &[Vec<u8>]) -> FrameCounts {
        let begin = Instant::now();
        FrameCounts::of(&heard(begin + DELAY, frames), &said(30, begin), speech)
    }

    fn counts(equal: u64, missing: u64, foreign: u64) -> FrameCounts {
        FrameCounts {
            equal,
            missing,
            foreign,
            ..FrameCounts::default()
        }
    }

    #[test]
    fn a_loop_that_begins_anywhere_is_equal() {
        let speech = alpha();
        for begin in [0, 7, 200] {
            let now = Instant::now();
            // 12 frames were said before the far end answered.
            let heard = heard(
                now + FRAME * 12 + DELAY,
                &frames(&speech, begin + 12..begin + 1_212),
            );
            let found = FrameCounts::of(&heard, &said(begin, now), &speech);
            assert_eq!(found, counts(1_200, 0, 0), "{begin}");
        }
    }

    #[test]
    fn what_is_missing_concealed_or_added_is_counted() {
        let speech = alpha();
        let straight = frames(&speech, 30..430);
        let noise = vec![0x55; 160];

        // What came too late was heard at first, and left out then: it was not heard before it was said.
        let mut heard = straight.clone();
        heard.insert(90, noise.clone());
        heard.insert(91, noise.clone());
        heard.drain(102..104);
        assert_eq!(compared(&speech, &heard), counts(398, 2, 2));

        let mut heard = straight.clone();
        heard[150] = noise.clone();
        assert_eq!(compared(&speech, &heard), counts(399, 1, 1));

        // Not three in a row are as they were said.
        for at in [200, 202, 204, 206] {
            heard[at] = noise.clone();
        }
        assert_eq!(compared(&speech, &heard), counts(395, 5, 5));

        let mut heard = straight.clone();
        heard.insert(200, noise.clone());
        assert_eq!(compared(&speech, &heard), counts(400, 0, 1));

        let mut heard = straight.clone();
        heard.swap(120, 121);
        assert_eq!(compared(&speech, &heard), counts(399, 1, 1));

        let mut heard = straight;
        heard[150] = vec![0xff; 160];
        let found = compared(&speech, &heard);
        assert_eq!((found.foreign, found.silent), (1, 1));
    }

    #[test]
    fn a_neighbours_frames_are_foreign_however_near_it_began() {
        let speech = alpha();
        for (number, later_ms) in [(7, 0), (7, 20), (8, 140), (9, 260), (6, 1_000)] {
            let begin = Instant::now();
            let neighbour = first_frame(CallNumber(number + 1));
            let heard = heard(
                begin + Duration::from_millis(later_ms) + DELAY,
                &frames(&speech, neighbour..neighbour + 600),
            );
            let own = said(first_frame(CallNumber(number)), begin);
            let found = FrameCounts::of(&heard, &own, &speech);
            assert_eq!(
                (found.equal, found.foreign),
                (0, 600),
                "{number} {later_ms}"
            );
        }
    }

    #[test]
    fn a_neighbour_that_is_heard_in_between_is_found() {
        let speech = alpha();
        let mut heard = frames(&speech, 30..430);
        for (at, frame) in heard.iter_mut().enumerate().skip(100).take(40) {
            *frame = speech.payload(30 + 278 + at as u64).to_vec();
        }
        assert_eq!(compared(&speech, &heard), counts(360, 40, 40));
    }

    #[test]
    fn what_was_not_said_yet_is_not_heard() {
        let speech = alpha();
        let begin = Instant::now();
        let heard = heard(begin + DELAY, &frames(&speech, 34..434));
        let found = FrameCounts::of(&heard, &said(30, begin), &speech);
        assert_eq!((found.equal, found.foreign), (0, 400));
    }

    #[test]
    fn frames_that_occur_twice_are_no_proof() {
        let bravo = EncodedSpeech::encode(AudioCodec::Pcmu, &speech::bravo()).unwrap();
        let found = compared(&bravo, &frames(&bravo, 30..472));
        assert_eq!((found.equal, found.missing, found.foreign), (442, 0, 0));
        assert!((10..80).contains(&found.alike), "{found:?}");
    }

    #[test]
    fn silence_at_the_ends_is_not_compared() {
        let (silence, sound) = ([0xff_u8; 160], [0x12_u8; 160]);
        let now = Instant::now();
        let heard = [&silence, &sound, &silence, &sound, &silence].map(|it| (now, it.as_slice()));
        assert_eq!(without_silent_ends(&heard), &heard[1..4]);
        assert_eq!(without_silent_ends(&heard[..1]), &heard[..1]);
    }

    #[test]
    fn another_speech_is_foreign_and_nothing_is_heard_of_who_did_not_speak() {
        let bravo = EncodedSpeech::encode(AudioCodec::Pcmu, &speech::bravo()).unwrap();
        let other = frames(&bravo, 60..120);
        let found = compared(&alpha(), &other);
        assert_eq!((found.equal, found.foreign), (0, 60), "{found:?}");
        let silent = LegRecord::default();
        let found = FrameCounts::of(&heard(Instant::now(), &other), &silent, &bravo);
        assert_eq!((found.equal, found.foreign), (0, 60), "{found:?}");
        assert_eq!(FrameClock::beginning_with(7).first_frame(), 7);
    }
}
