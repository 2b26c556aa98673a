//! Every call is judged: what was heard at each end, against what was said at the other.
//!
//! After the calls, or beside them at the lowest priority when calls come and go; never on a media thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::judge::{self, Bar, Question, Verdict};
use crate::media::{AudioCodec, PACKET_MS, Recorder};

use super::call::CallNumber;
use super::media::{EncodedSpeech, LegRecord};
use super::report::BothWays;

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
}

/// What was found of one direction.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The judge's own.
    pub verdict: Verdict,
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
    verdicts: Arc<Mutex<Vec<CallVerdict>>>,
    given: usize,
    done: Arc<AtomicUsize>,
}

impl Judges {
    /// So many threads, at the lowest priority.
    pub fn start(threads: usize, standard: &Standard) -> Self {
        let (work, waiting) = mpsc::channel::<Work>();
        let waiting = Arc::new(Mutex::new(waiting));
        let verdicts = Arc::new(Mutex::new(Vec::new()));
        let done = Arc::new(AtomicUsize::new(0));
        let judge = |_| {
            let (waiting, verdicts) = (Arc::clone(&waiting), Arc::clone(&verdicts));
            let (standard, done) = (standard.clone(), Arc::clone(&done));
            std::thread::spawn(move || {
                super::host::lowest_priority();
                judge_all(&waiting, &standard, &verdicts, &done);
            })
        };
        Self {
            work: Some(work),
            threads: (0..threads.max(1)).map(judge).collect(),
            verdicts,
            given: 0,
            done,
        }
    }

    /// Judges a call.
    pub fn judge(
        &mut self,
        number: CallNumber,
        at_vendor: Option<LegRecord>,
        at_trunk: Option<LegRecord>,
    ) {
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
        (self.done.load(Ordering::Relaxed), self.given)
    }

    /// All are judged: the verdicts.
    pub fn finish(mut self) -> Vec<CallVerdict> {
        self.work = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        std::mem::take(&mut self.verdicts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn judge_all(
    waiting: &Mutex<Receiver<Work>>,
    standard: &Standard,
    verdicts: &Mutex<Vec<CallVerdict>>,
    done: &AtomicUsize,
) {
    loop {
        let next = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(work) = next else { return };
        let verdict = judge_call(&work, standard);
        verdicts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(verdict);
        done.fetch_add(1, Ordering::Relaxed);
    }
}

fn judge_call(work: &Work, standard: &Standard) -> CallVerdict {
    let direction = |heard: Option<&LegRecord>, said: Option<&LegRecord>, codec, speech| {
        let (heard, said) = (heard?, said?);
        Some(judge_direction(heard, said, codec, speech, standard.bar))
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
    CallVerdict {
        number: work.number,
        directions,
    }
}

fn judge_direction(
    heard: &LegRecord,
    said: &LegRecord,
    codec: AudioCodec,
    speech: &EncodedSpeech,
    bar: Bar,
) -> Result<Judged, String> {
    let first = heard.packets.first().ok_or("nothing was heard")?;
    let mut recorder = Recorder::new(first.arrival);
    for packet in &heard.packets {
        recorder.handle_packet(packet.clone());
    }
    let recording = recorder
        .recording(codec)
        .map_err(|error| error.to_string())?;
    let first_sent_at = said.first_sent_at.ok_or("nothing was said")?;
    // A frame is sent when its last sample has been spoken.
    let spoken_at_ms = recording.at_ms(first_sent_at) - f64::from(PACKET_MS);
    let question = Question::new(bar).looped().spoken_at_ms(spoken_at_ms);
    let verdict = judge::judge(speech.reference(), &recording.audio, &question)
        .map_err(|error| error.to_string())?;
    let transit_ms = verdict
        .delay_ms
        .map(|delay_ms| delay_ms - f64::from(PACKET_MS) - speech.lookahead_ms());
    Ok(Judged {
        verdict,
        transit_ms,
    })
}
