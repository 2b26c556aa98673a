//! Every call is judged: what was heard at each end, against what was said at the other.
//!
//! After the calls, or beside them at the lowest priority when calls come and go; never on a media thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::audio::Audio;
use crate::judge::{self, Bar, Question, Verdict};
use crate::media::{AudioCodec, MediaError, PACKET_MS, Recorder};
use crate::speech;

use super::call::CallNumber;
use super::frames::FrameCounts;
use super::media::{EncodedSpeech, LEGS_MAX, LegRecord};
use super::report::BothWays;
use super::scenario::{FarEnd, Scenario};

/// Calls that wait for the judges: as many as can be up at once. 20 s of both directions of one are 0.3 MB.
const WAITING_MAX: usize = LEGS_MAX / 2;

/// What is judged, the same for all calls of a run.
#[derive(Clone)]
pub struct Standard {
    /// Said by the vendor's side.
    pub said_by_vendor: Arc<EncodedSpeech>,
    /// Said by the trunk's side; none: it plays back what it hears.
    pub said_by_trunk: Option<Arc<EncodedSpeech>>,
    /// The vendor's codec.
    pub codec_a: AudioCodec,
    /// The trunk's codec.
    pub codec_b: AudioCodec,
    /// How good it must be.
    pub bar: Bar,
    /// Each frame is compared as well.
    pub is_frame_exact: bool,
    /// So much is judged of what was kept.
    pub judged: Duration,
}

impl Standard {
    /// Encodes what both sides say.
    ///
    /// # Errors
    /// [`MediaError`].
    pub fn of(scenario: Scenario) -> Result<Self, MediaError> {
        let encode = |codec, speech: &Audio| EncodedSpeech::encode(codec, speech).map(Arc::new);
        Ok(Self {
            said_by_vendor: encode(scenario.codec_a(), &speech::alpha())?,
            said_by_trunk: match scenario.far_end() {
                FarEnd::Echo => None,
                FarEnd::Sip | FarEnd::Agent(_) | FarEnd::Vapi => {
                    Some(encode(scenario.codec_b(), &speech::bravo())?)
                }
            },
            codec_a: scenario.codec_a(),
            codec_b: scenario.codec_b(),
            bar: scenario.bar(),
            is_frame_exact: scenario.is_frame_exact(),
            judged: Duration::MAX,
        })
    }
}

/// What was found of one direction.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The judge's own.
    pub verdict: Verdict,
    /// What lies above the telephone band against the speech, in dB, where there should be nothing.
    pub images_db: Option<f64>,
    /// Of the verdict's delay, what the path added: without packetisation and the sender's look-ahead, in ms.
    pub transit_ms: Option<f64>,
}

/// What was found of one call. None: nothing was heard, or this direction does not exist.
#[derive(Debug, Clone, PartialEq)]
pub struct CallVerdict {
    /// Which.
    pub number: CallNumber,
    /// Each direction; an error is told as text.
    pub directions: BothWays<Option<Result<Judged, String>>>,
    /// Each direction frame by frame, where that is asked for.
    pub frames: Option<BothWays<FrameCounts>>,
}

impl CallVerdict {
    /// Every direction that should be there passed.
    pub fn passed(&self, standard: &Standard) -> bool {
        let ok = |direction: &Option<Result<Judged, String>>| matches!(direction, Some(Ok(judged)) if judged.verdict.pass);
        let far_end_hears = standard.said_by_trunk.is_none() || ok(&self.directions.a_to_b);
        far_end_hears && ok(&self.directions.b_to_a)
    }
}

struct Work {
    number: CallNumber,
    at_vendor: Option<LegRecord>,
    at_trunk: Option<LegRecord>,
}

/// The judges. Give them records; their verdicts are ready after [`Judges::finish`].
pub struct Judges {
    work: Option<Sender<Work>>,
    threads: Vec<JoinHandle<()>>,
    given: usize,
    waiting_max: usize,
    desk: Arc<Desk>,
}

/// What the threads share.
struct Desk {
    waiting: Mutex<Receiver<Work>>,
    standard: Standard,
    verdicts: Mutex<Vec<CallVerdict>>,
    done: AtomicUsize,
}

impl Judges {
    /// So many threads, at the lowest priority.
    pub fn start(threads: usize, standard: &Standard) -> Self {
        let (work, waiting) = mpsc::channel::<Work>();
        let desk = Arc::new(Desk {
            waiting: Mutex::new(waiting),
            standard: standard.clone(),
            verdicts: Mutex::default(),
            done: AtomicUsize::new(0),
        });
        let mut judges = Self {
            work: Some(work),
            threads: Vec::new(),
            given: 0,
            waiting_max: WAITING_MAX,
            desk,
        };
        for _ in 0..threads.max(1) {
            judges.add(None);
        }
        judges
    }

    /// The calls are over, so nobody is disturbed: one more thread on each of these cores.
    pub fn hurry(&mut self, cores: &[usize]) {
        for core in cores {
            self.add(Some(*core));
        }
    }

    fn add(&mut self, core: Option<usize>) {
        let desk = Arc::clone(&self.desk);
        self.threads.push(std::thread::spawn(move || {
            super::host::lowest_priority();
            // A core that can't be had is one helper less.
            if core.is_none_or(|core| super::host::pin(&[core]).is_ok()) {
                desk.judge_all();
            }
        }));
    }

    /// Judges a call, unless `WAITING_MAX` wait already: then it counts as one that did not pass.
    pub fn judge(
        &mut self,
        number: CallNumber,
        at_vendor: Option<LegRecord>,
        at_trunk: Option<LegRecord>,
    ) {
        let (done, given) = self.progress();
        if given - done >= self.waiting_max {
            return self.desk.give(not_judged(number, self.waiting_max));
        }
        self.given += 1;
        if let Some(work) = &self.work {
            // The threads run until the sender is dropped.
            let _ = work.send(Work {
                number,
                at_vendor,
                at_trunk,
            });
        }
    }

    /// Calls that were judged, and that were given.
    pub fn progress(&self) -> (usize, usize) {
        (self.desk.done.load(Ordering::Relaxed), self.given)
    }

    /// All are judged: the verdicts.
    pub fn finish(mut self) -> Vec<CallVerdict> {
        self.work = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        let mut verdicts = self
            .desk
            .verdicts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut verdicts)
    }
}

impl Desk {
    fn give(&self, verdict: CallVerdict) {
        let verdicts = self.verdicts.lock();
        verdicts
            .unwrap_or_else(PoisonError::into_inner)
            .push(verdict);
    }

    fn judge_all(&self) {
        loop {
            let next = self
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .recv();
            let Ok(work) = next else { return };
            self.give(judge_call(&work, &self.standard));
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A call that came when too many waited.
fn not_judged(number: CallNumber, waiting: usize) -> CallVerdict {
    let why = || Some(Err(format!("not judged, {waiting} calls waited already")));
    CallVerdict {
        number,
        directions: BothWays {
            a_to_b: why(),
            b_to_a: why(),
        },
        frames: None,
    }
}

fn judge_call(work: &Work, standard: &Standard) -> CallVerdict {
    let direction = |heard: Option<&LegRecord>, said: Option<&LegRecord>, codec, speech| {
        let (heard, said) = (heard?, said?);
        Some(judge_direction(heard, said, codec, speech, standard))
    };
    let (at_vendor, at_trunk) = (work.at_vendor.as_ref(), work.at_trunk.as_ref());
    let directions = match &standard.said_by_trunk {
        Some(said_by_trunk) => BothWays {
            a_to_b: direction(
                at_trunk,
                at_vendor,
                standard.codec_b,
                &standard.said_by_vendor,
            ),
            b_to_a: direction(at_vendor, at_trunk, standard.codec_a, said_by_trunk),
        },
        None => BothWays {
            a_to_b: None,
            b_to_a: direction(
                at_vendor,
                at_vendor,
                standard.codec_a,
                &standard.said_by_vendor,
            ),
        },
    };
    let frames = standard.is_frame_exact.then(|| {
        let of = |heard: Option<&LegRecord>, said: Option<&LegRecord>, speech: &EncodedSpeech| {
            let both = heard.zip(said);
            both.map_or_else(FrameCounts::default, |(heard, said)| {
                FrameCounts::of(heard, said, speech)
            })
        };
        let (by_vendor, by_trunk) = (&standard.said_by_vendor, &standard.said_by_trunk);
        match by_trunk {
            Some(by_trunk) => BothWays {
                a_to_b: of(at_trunk, at_vendor, by_vendor),
                b_to_a: of(at_vendor, at_trunk, by_trunk),
            },
            None => BothWays {
                a_to_b: FrameCounts::default(),
                b_to_a: of(at_vendor, at_vendor, by_vendor),
            },
        }
    });
    CallVerdict {
        number: work.number,
        directions,
        frames,
    }
}

fn judge_direction(
    heard: &LegRecord,
    said: &LegRecord,
    codec: AudioCodec,
    speech: &EncodedSpeech,
    standard: &Standard,
) -> Result<Judged, String> {
    let first = heard.packets.first().ok_or("nothing was heard")?;
    let first_due_at = said.first_due_at.ok_or("nothing was said")?;
    // Behind a speaker's last frame nothing is his: a gateway makes up what does not come any more.
    let said_for = Duration::from_millis(u64::from(PACKET_MS) * said.sent);
    let said_until = first_due_at + said_for;
    let mut recorder = Recorder::new(first.arrival);
    for packet in &heard.packets {
        let is_judged = packet.arrival.duration_since(first.arrival) < standard.judged;
        if is_judged && packet.arrival < said_until {
            recorder.handle_packet(packet.clone());
        }
    }
    let recording = recorder
        .recording(codec)
        .map_err(|error| error.to_string())?;
    // A frame is due when its last sample has been spoken. One that was sent late, be it the first, moves no other. What is heard
    // of another call, which began elsewhere in the same speech, is too old or was not spoken yet.
    let frames_before = said.first_frame % speech.frames().max(1) as u64;
    let spoken_at_ms =
        recording.at_ms(first_due_at) - f64::from(PACKET_MS) * (frames_before + 1) as f64;
    let question = Question::new(standard.bar)
        .looped()
        .spoken_at_ms(spoken_at_ms);
    let verdict = judge::judge(speech.reference(), &recording.audio, &question)
        .map_err(|error| error.to_string())?;
    let transit_ms = verdict
        .delay_ms
        .map(|delay_ms| delay_ms - f64::from(PACKET_MS) - speech.lookahead_ms());
    let is_widened = speech.codec().has_telephone_band() && codec == AudioCodec::L16;
    Ok(Judged {
        verdict,
        images_db: is_widened
            .then(|| judge::images_db(&recording.audio))
            .flatten(),
        transit_ms,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use std::time::Instant;

    use super::*;
    use crate::load::call::first_frame;
    use crate::media::ReceivedPacket;

    /// A call in which each side hears what the other one of call `heard` says, 65 ms after it was due.
    fn call(standard: &Standard, number: u32, heard: u32) -> CallVerdict {
        call_of(standard, number, heard, 300)
    }

    /// The same, of which this much was said.
    fn call_of(standard: &Standard, number: u32, heard: u32, said_frames: u64) -> CallVerdict {
        let begin = Instant::now();
        let leg = |heard_speech: &EncodedSpeech| LegRecord {
            first_frame: first_frame(CallNumber(number)),
            first_due_at: Some(begin),
            sent: said_frames,
            packets: (0..300)
                .map(|frame| ReceivedPacket {
                    arrival: begin + Duration::from_millis(65 + 20 * frame),
                    ssrc: 1,
                    sequence_number: frame as u16,
                    timestamp: heard_speech.codec().packet_samples() as u32 * frame as u32,
                    payload_type: 0,
                    marker: false,
                    payload: match frame < said_frames {
                        true => heard_speech.payload(first_frame(CallNumber(heard)) + frame),
                        false => heard_speech.payload(frame),
                    }
                    .to_vec(),
                })
                .collect(),
            ..LegRecord::default()
        };
        let work = Work {
            number: CallNumber(number),
            at_vendor: Some(leg(standard.said_by_trunk.as_ref().unwrap())),
            at_trunk: Some(leg(&standard.said_by_vendor)),
        };
        judge_call(&work, standard)
    }

    #[test]
    fn a_call_that_hears_its_neighbour_does_not_pass() {
        for scenario in [Scenario::TwilioAi, Scenario::BrowserSipOpus] {
            let standard = Standard::of(scenario).unwrap();
            let own = call(&standard, 21, 21);
            assert!(own.passed(&standard), "{own:?}");
            let neighbours = call(&standard, 21, 22);
            assert!(!neighbours.passed(&standard), "{neighbours:?}");
            for (verdict, all) in [(own, true), (neighbours, false)] {
                let frames = verdict.frames.map(|frames| frames.a_to_b);
                assert_eq!(frames.is_some(), standard.is_frame_exact);
                assert!(frames.is_none_or(
                    |frames| (frames.equal > 280) == all && frames.are_all_equal() == all
                ));
            }
        }
    }

    #[test]
    fn what_is_heard_behind_the_last_word_is_nobodys() {
        let standard = Standard::of(Scenario::BrowserSipOpus).unwrap();
        let verdict = call_of(&standard, 21, 21, 290);
        assert!(verdict.passed(&standard), "{verdict:?}");
        let still_speaks = call_of(&standard, 21, 21, 200);
        assert!(still_speaks.passed(&standard), "{still_speaks:?}");
    }

    #[test]
    fn a_call_that_finds_no_place_is_counted_and_does_not_pass() {
        let standard = Standard::of(Scenario::BrowserEcho).unwrap();
        let mut judges = Judges::start(1, &standard);
        judges.waiting_max = 0;
        judges.judge(CallNumber(7), None, None);
        assert_eq!(judges.progress(), (0, 0));
        let verdicts = judges.finish();
        assert_eq!(verdicts.len(), 1);
        assert!(!verdicts[0].passed(&standard));
    }
}
