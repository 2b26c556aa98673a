//! From the socket to the bridge: a queue, played at its own pace.
//!
//! Audio that comes in real time goes on frame for frame, [`PREFILL`] after it came; what comes faster waits its turn.
//! When the queue runs dry what follows is made up, [`CONCEALED_MAX`] frames at most, then there is a pause. A delay
//! that stands, because the source sends in real time and the queue never gets short, is taken out again.

use std::time::{Duration, Instant};

use codecs::level::rms_dbov;
use codecs::plc::Concealer;
use codecs::voice_activity::QUIET_MAX_DBOV;

use super::clock::{FRAME, FrameClock};
use super::queue::AudioQueue;
use super::trim::{Cut, DelayWatch, Seen, Trim};
use super::{Encoding, FRAME_MS, PcmConfig, PcmFlow, PcmSource};
use crate::rtp::{MediaPacket, PayloadType, RtpTimestamp, SequenceNumber, Ssrc};

/// How long the first frame waits, so that those after it may be that late.
const PREFILL_MS: i64 = 20;
const PREFILL: Duration = Duration::from_millis(PREFILL_MS as u64);
/// Frames in a row that are made up at most: 100 ms.
const CONCEALED_MAX: u32 = 5;
/// How long a delay has to stand, in ticks, and how long it takes at most to take it out.
const STANDING_TICKS: u32 = 100;
const STANDING_MS: u64 = 2_000;
/// A delay that is worth a cut, in frames; nobody notices less of an agent's.
const EXCESS_FRAMES_MIN: i64 = 1;
const AGENT_EXCESS_FRAMES_MIN: i64 = 5;
/// By how many per cent a source that sends in real time may be off over [`STANDING_MS`].
const REAL_TIME_TOLERANCE_PCT: u64 = 10;
/// The only source of the leg; only the bridge ever sees it.
const PCM_SSRC: Ssrc = Ssrc(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is to be played.
    Idle,
    /// The first audio came; a whole frame of it, or not yet.
    Filling { whole: bool },
    /// A frame goes out at each tick.
    Playing,
}

#[derive(Debug)]
pub(super) struct Playout {
    encoding: Encoding,
    queue: AudioQueue,
    clock: FrameClock,
    state: State,
    source: PcmSource,
    /// Nobody listens yet: what comes waits.
    is_held: bool,
    concealer: Concealer,
    pcm: Vec<i16>,
    /// Frames in a row that were made up.
    concealed: u32,
    /// The next frame does not go on where the last one ended.
    is_spliced: bool,
    watch: DelayWatch,
    trim: Trim,
    payload_type: PayloadType,
    sequence_number: SequenceNumber,
    timestamp: RtpTimestamp,
    marker_due: bool,
    /// When the frame after the last one was due: the begin of the pause.
    paused_at: Option<Instant>,
    played_bytes: u64,
    /// [`Playout::played_bytes`] at the last clear.
    played_at_clear: u64,
    flow: PcmFlow,
}

impl Playout {
    pub fn new(config: &PcmConfig) -> Self {
        let encoding = config.encoding;
        Self {
            encoding,
            queue: AudioQueue::new(encoding, config.queue_ms_max),
            clock: FrameClock::new(Duration::from_millis(config.max_ahead_ms.into())),
            state: State::Idle,
            source: config.source,
            is_held: config.source == PcmSource::Ahead,
            concealer: Concealer::new(encoding.sample_rate()),
            pcm: vec![0; encoding.sample_rate().samples(FRAME_MS)],
            concealed: 0,
            is_spliced: false,
            watch: DelayWatch::new(STANDING_TICKS),
            trim: Trim::default(),
            payload_type: encoding.leg_format().source.payload_type,
            sequence_number: config.first_sequence_number,
            timestamp: config.first_timestamp,
            marker_due: true,
            paused_at: None,
            played_bytes: 0,
            played_at_clear: 0,
            flow: PcmFlow::default(),
        }
    }

    /// Takes audio; says for how many ms of it there was no room.
    pub fn handle_audio(&mut self, now: Instant, wire: &[u8]) -> u64 {
        let dropped = self.queue.push(wire);
        let dropped_ms = self.encoding.ms_of_bytes(dropped);
        if dropped > 0 {
            self.count_dropped(dropped);
            self.is_spliced = true;
        }
        self.watch.arrived(wire.len());
        if !self.is_held {
            self.fill_up(now);
        }
        dropped_ms
    }

    /// Somebody listens.
    pub fn release(&mut self, now: Instant) {
        if std::mem::take(&mut self.is_held) {
            self.skip_silence();
            self.fill_up(now);
        }
    }

    /// Lets the silence go that stands before the first word: whoever sends all the time would be late by it.
    fn skip_silence(&mut self) {
        let mut wire = vec![0; self.encoding.frame_bytes()];
        while self.queue.len() >= wire.len() {
            self.queue.peek(&mut wire);
            self.encoding.decode(&wire, &mut self.pcm);
            if rms_dbov(&self.pcm) > QUIET_MAX_DBOV {
                return;
            }
            self.queue.skip(wire.len());
        }
    }

    /// Before the first frame is played, there should be some more.
    fn fill_up(&mut self, now: Instant) {
        if self.state == State::Idle && !self.queue.is_empty() {
            self.state = State::Filling { whole: false };
            // Should nothing follow, what came is played all the same.
            self.clock.start(now + PREFILL + FRAME);
        }
        let is_whole = self.queue.len() >= self.encoding.frame_bytes();
        if self.state == (State::Filling { whole: false }) && is_whole {
            self.state = State::Filling { whole: true };
            let latest = self.clock.deadline().unwrap_or(now + PREFILL);
            self.clock.start(latest.min(now + PREFILL));
        }
    }

    /// A mark behind all audio so far.
    pub fn push_mark(&mut self, name: &str) {
        self.queue.push_mark(name);
    }

    /// Marks that wait.
    pub fn marks(&self) -> usize {
        self.queue.marks()
    }

    /// A mark whose audio has gone, when that is known before the next tick: nothing waits at all.
    pub fn pop_idle_mark(&mut self) -> Option<String> {
        match self.queue.is_empty() {
            true => self.queue.pop_mark(),
            false => None,
        }
    }

    /// Empties the queue and stops; gives what was played since the last time, in ms.
    pub fn clear(&mut self) -> u64 {
        match self.clock.deadline() {
            Some(next) if self.state == State::Playing => self.pause(next),
            _ => self.state = State::Idle,
        }
        self.clock.rest();
        self.queue.clear();
        let played = self.played_bytes - self.played_at_clear;
        self.played_at_clear = self.played_bytes;
        self.encoding.ms_of_bytes(played as usize)
    }

    /// Whether the socket is being heard, or has something to say.
    pub fn is_speaking(&self) -> bool {
        !self.queue.is_empty() || (self.state == State::Playing && self.concealed == 0)
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.clock.deadline()
    }

    /// The next packet that is due at `now`. Marks whose audio was played are handed to `played`.
    pub fn poll_packet<'a>(
        &mut self,
        now: Instant,
        payload: &'a mut [u8],
        mut played: impl FnMut(String),
    ) -> Option<MediaPacket<'a>> {
        let payload = payload.get_mut(..self.encoding.frame_bytes())?;
        if self.state == State::Playing {
            let given_up = self.clock.skip(now);
            self.pass_slots(given_up);
        }
        loop {
            let at = self.clock.tick(now)?;
            self.begin(at);
            while let Some(mark) = self.queue.pop_mark() {
                played(mark);
            }
            if self.fill(payload) {
                break;
            }
            self.pause(at);
        }
        self.encoding.swap(payload);
        let packet = MediaPacket {
            marker: std::mem::take(&mut self.marker_due),
            payload_type: self.payload_type,
            sequence_number: self.sequence_number,
            timestamp: self.timestamp,
            ssrc: PCM_SSRC,
            payload,
        };
        self.sequence_number = self.sequence_number.next();
        self.timestamp = self.timestamp.wrapping_add(self.pcm.len() as u32);
        Some(packet)
    }

    /// The account so far, and in ms what waits.
    pub fn account(&self) -> (PcmFlow, u64) {
        (self.flow, self.queue.ms())
    }

    /// The first tick after a pause.
    fn begin(&mut self, at: Instant) {
        if self.state == State::Playing {
            return;
        }
        self.state = State::Playing;
        if let Some(paused_at) = self.paused_at {
            let paused = at.saturating_duration_since(paused_at) + FRAME / 2;
            self.pass_slots(
                u32::try_from(paused.as_millis() / FRAME.as_millis()).unwrap_or(u32::MAX),
            );
        }
        self.marker_due = true;
        // Nothing sounds: there is nothing to glide from.
        self.concealer.reset();
        self.concealed = 0;
        self.is_spliced = false;
        self.watch.reset();
        self.trim.stop();
    }

    /// Nothing is played from the tick `at` on.
    fn pause(&mut self, at: Instant) {
        self.state = State::Idle;
        self.paused_at = Some(at);
        self.clock.rest();
        self.queue.give_back();
    }

    /// Time goes by without a packet.
    fn pass_slots(&mut self, slots: u32) {
        if slots > 0 {
            let ticks = slots.wrapping_mul(self.pcm.len() as u32);
            self.timestamp = self.timestamp.wrapping_add(ticks);
            self.marker_due = true;
        }
    }

    /// The frame of this tick; false when there is none.
    fn fill(&mut self, wire: &mut [u8]) -> bool {
        if self.trim.is_active() {
            self.trim(wire);
        }
        let taken = self.queue.take(wire);
        self.played_bytes += taken as u64;
        if taken == 0 && self.concealed >= CONCEALED_MAX {
            return false;
        }
        let samples = (taken / self.encoding.sample_bytes()).min(self.pcm.len());
        let (heard, missing) = self.pcm.split_at_mut(samples);
        let is_untouched = missing.is_empty() && self.concealed == 0 && !self.is_spliced;
        if samples > 0 {
            if self.is_spliced && self.concealed == 0 {
                // A loss of no length: the frame is cross-faded with what would have come.
                self.concealer.conceal(&mut []);
            }
            self.encoding.decode(wire, heard);
            self.concealer.good_frame(heard);
            self.concealed = 0;
            self.is_spliced = false;
        }
        if missing.is_empty() {
            self.flow.frames += 1;
            self.flow.crossfaded += u64::from(!is_untouched);
        } else {
            self.concealer.conceal(missing);
            self.concealed += 1;
            self.flow.concealed += 1;
        }
        if !is_untouched {
            self.encoding.encode(&self.pcm, wire);
        }
        self.watch_delay();
        true
    }

    fn watch_delay(&mut self) {
        self.watch.waits(self.queue.ms() as i64);
        let Some(Seen { least_ms, arrived }) = self.watch.tick() else {
            return;
        };
        let arrived_ms = self.encoding.ms_of_bytes(arrived as usize);
        let tolerance_ms = STANDING_MS * REAL_TIME_TOLERANCE_PCT / 100;
        let is_real_time = arrived_ms.abs_diff(STANDING_MS) <= tolerance_ms;
        let excess_frames = (least_ms - PREFILL_MS) / i64::from(FRAME_MS);
        let (cut, worth_frames) = match self.source {
            PcmSource::RealTime => (Cut::Anything, EXCESS_FRAMES_MIN),
            PcmSource::Ahead => (Cut::Silence, AGENT_EXCESS_FRAMES_MIN),
        };
        if is_real_time && excess_frames >= worth_frames && !self.trim.is_active() {
            self.trim.begin(excess_frames as u32, STANDING_TICKS, cut);
        }
    }

    /// Lets frames go that only add to the delay.
    fn trim(&mut self, scratch: &mut [u8]) {
        self.trim.tick();
        let frame_bytes = self.encoding.frame_bytes();
        let kept = frame_bytes + self.encoding.bytes_of_ms(PREFILL_MS as u32);
        while self.trim.is_active() && self.queue.len() >= frame_bytes + kept {
            self.queue.peek(scratch);
            self.encoding.decode(scratch, &mut self.pcm);
            if !self.trim.takes(&self.pcm) {
                break;
            }
            self.queue.skip(frame_bytes);
            self.count_dropped(frame_bytes);
            self.is_spliced = true;
        }
        if !self.trim.is_active() {
            self.watch.reset();
        }
    }

    fn count_dropped(&mut self, bytes: usize) {
        self.flow.dropped += bytes.div_ceil(self.encoding.frame_bytes()) as u64;
        self.flow.dropped_ms += self.encoding.ms_of_bytes(bytes);
    }
}
