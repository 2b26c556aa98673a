//! From the bridge to the socket: RTP packets put in order on a clock of 20 ms, for a peer that plays in the order of
//! arrival.
//!
//! Each packet has its place on the clock by its RTP timestamp, [`TARGET`] after the fastest packets came. What is not
//! there in time is made up, [`CONCEALED_MAX`] frames in a row at most; after that it is a pause. Packets that come
//! too late are played all the same when nothing was played since: the delay grows. When all packets of late had time
//! to spare, it shrinks again. What would wait for longer than [`DELAY_MS_MAX`] goes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use codecs::plc::Concealer;

use super::clock::FrameClock;
use super::packet_buffer::{PacketBuffer, Position};
use super::trim::{Cut, DelayWatch, Trim};
use super::{Encoding, FRAME_MS, FrameKind, MARKS_MAX, PcmConfig, PcmFlow};
use crate::rtp::{MediaPacket, PayloadType, RtpTimestamp};

/// How long a packet waits that came as fast as any.
const TARGET_MS: i64 = 40;
const TARGET: Duration = Duration::from_millis(TARGET_MS as u64);
/// How long a packet waits at most.
const DELAY_MS_MAX: i64 = 200;
/// How late a packet may be that is played all the same.
const LATE_MS_MAX: u32 = (DELAY_MS_MAX - TARGET_MS) as u32;
/// A source whose packets are all too late for this long has another clock: it is learned anew.
const TOO_LATE_MAX: Duration = Duration::from_millis(100);
/// Frames in a row that are made up at most: 100 ms.
const CONCEALED_MAX: u32 = 5;
/// How long packets must have had time to spare, in ticks.
const SPARE_TICKS: u32 = 40;
/// How long it takes at most to take the spare time out, in ticks.
const TRIM_TICKS: u32 = 40;
/// The longest packet that is taken, in frames: 120 ms.
const PACKET_FRAMES_MAX: usize = 6;

#[derive(Debug)]
pub(super) struct Dejitter {
    encoding: Encoding,
    payload_type: PayloadType,
    is_continuous: bool,
    clock: FrameClock,
    packets: PacketBuffer,
    /// Marks of the bridge's side, and where the audio before each ends.
    marks: VecDeque<(Position, String)>,
    /// The newest timestamp, and where it lies.
    newest: Option<(RtpTimestamp, Position)>,
    /// What is played at the clock's next tick.
    next: Position,
    /// Where the last audio of the bridge ended that was played.
    played_to: Position,
    /// Frames in a row that had nothing of the bridge in them.
    empty_frames: u32,
    /// The next frame does not go on where the last one ended.
    is_spliced: bool,
    /// Since when packets are thrown away for being too late, without one in time.
    too_late_since: Option<Instant>,
    spare: DelayWatch,
    trim: Trim,
    concealer: Concealer,
    pcm: Vec<i16>,
    flow: PcmFlow,
}

impl Dejitter {
    /// One whose clock begins now if the socket is to hear silence.
    pub fn new(config: &PcmConfig, now: Instant) -> Self {
        let encoding = config.encoding;
        let mut clock = FrameClock::new(Duration::from_millis(config.max_ahead_ms.into()));
        if config.continuous {
            clock.start(now);
        }
        Self {
            encoding,
            payload_type: encoding.leg_format().sink.payload_type,
            is_continuous: config.continuous,
            clock,
            packets: PacketBuffer::new(encoding.sample_bytes()),
            marks: VecDeque::new(),
            newest: None,
            next: 0,
            played_to: Position::MIN,
            empty_frames: CONCEALED_MAX,
            is_spliced: false,
            too_late_since: None,
            spare: DelayWatch::new(SPARE_TICKS),
            trim: Trim::default(),
            concealer: Concealer::new(encoding.sample_rate()),
            pcm: vec![0; encoding.sample_rate().samples(FRAME_MS)],
            flow: PcmFlow::default(),
        }
    }

    pub fn handle_packet(&mut self, now: Instant, packet: &MediaPacket<'_>) {
        if packet.payload_type != self.payload_type || packet.payload.is_empty() {
            return;
        }
        let samples = packet.payload.len() / self.encoding.sample_bytes();
        if samples == 0 || samples > PACKET_FRAMES_MAX * self.pcm.len() {
            self.count_dropped(samples);
            return;
        }
        self.skip(now);
        let Some(position) = self.place(packet.timestamp) else {
            self.newest = Some((packet.timestamp, 0));
            self.played_to = Position::MIN;
            self.schedule(now, 0);
            return self.insert(now, 0, packet.payload);
        };
        if position < self.next {
            let is_past = position + samples as Position <= self.next;
            if !self.is_welcome_late(now, position, packet.marker) && is_past {
                return self.count_dropped(samples);
            }
        } else if self.lead_ms(now, position) > DELAY_MS_MAX {
            self.schedule(now, position);
        }
        self.insert(now, position, packet.payload);
    }

    /// Nothing of what came so far is played.
    pub fn clear(&mut self) {
        self.packets.clear();
        self.release_marks();
        self.newest = None;
        self.empty_frames = CONCEALED_MAX;
        self.trim.stop();
    }

    /// A mark behind all that came so far. One that is too many lets the oldest go.
    pub fn push_mark(&mut self, name: &str) {
        let end = self.packets.end().unwrap_or(Position::MIN);
        self.marks.push_back((end, name.to_owned()));
        if self.marks.len() > MARKS_MAX
            && let Some(oldest) = self.marks.front_mut()
        {
            oldest.0 = Position::MIN;
        }
    }

    /// A mark whose audio was played, or is not to be played any more.
    pub fn pop_mark(&mut self) -> Option<String> {
        let (end, _) = self.marks.front()?;
        if *end > self.next && !self.packets.is_empty() {
            return None;
        }
        self.marks.pop_front().map(|(_, name)| name)
    }

    /// Places mean something else from now on.
    fn release_marks(&mut self) {
        for (end, _) in &mut self.marks {
            *end = Position::MIN;
        }
    }

    /// Whether nothing sounds.
    pub fn is_resting(&self) -> bool {
        self.empty_frames >= CONCEALED_MAX && self.packets.is_empty()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.clock.deadline()
    }

    /// The next frame that is due at `now`, written to `wire`, which has its length.
    pub fn poll_frame(&mut self, now: Instant, wire: &mut [u8]) -> Option<FrameKind> {
        if self.clock.deadline().is_some() {
            self.skip(now);
        }
        loop {
            self.clock.tick(now)?;
            if let Some(kind) = self.play(wire) {
                return Some(kind);
            }
        }
    }

    /// The samples of the last frame.
    pub fn pcm(&self) -> &[i16] {
        &self.pcm
    }

    pub fn flow(&self) -> PcmFlow {
        self.flow
    }

    /// The last frame was not sent after all.
    pub fn count_unsent(&mut self, kind: FrameKind) {
        let count = match kind {
            FrameKind::Audio => &mut self.flow.frames,
            FrameKind::Concealed => &mut self.flow.concealed,
            FrameKind::Silence => &mut self.flow.silence,
        };
        *count = count.saturating_sub(1);
        self.flow.unsent += 1;
    }

    /// Gives up ticks that can't be caught up with, and what was to be played at them.
    fn skip(&mut self, now: Instant) {
        let given_up = self.clock.skip(now);
        if given_up > 0 {
            self.go_on_at(self.next + Position::from(given_up) * self.frame());
        }
    }

    /// Where a timestamp lies, counted on from the newest one.
    fn place(&mut self, timestamp: RtpTimestamp) -> Option<Position> {
        let (newest, newest_position) = self.newest?;
        let distance = timestamp.distance_from(newest);
        let position = newest_position + Position::from(distance);
        if distance > 0 {
            self.newest = Some((timestamp, position));
        }
        Some(position)
    }

    /// How long it is from now until `position` is played.
    fn lead_ms(&self, now: Instant, position: Position) -> i64 {
        let Some(tick) = self.clock.phase() else {
            return TARGET_MS;
        };
        let until_tick_us = match tick.checked_duration_since(now) {
            Some(until) => until.as_micros() as i64,
            None => -(now.duration_since(tick).as_micros() as i64),
        };
        let samples_per_s = i64::from(self.encoding.sample_rate().hz());
        let after_tick_us = (position - self.next).saturating_mul(1_000_000) / samples_per_s;
        (until_tick_us + after_tick_us).div_euclid(1_000)
    }

    /// From here on `position` is played [`TARGET`] from now, as nearly as the ticks allow.
    fn schedule(&mut self, now: Instant, position: Position) {
        self.too_late_since = None;
        self.spare.reset();
        self.trim.stop();
        let Some(tick) = self.clock.phase().filter(|_| !self.is_idle()) else {
            self.clock.start(now + TARGET);
            self.go_on_at(position);
            return;
        };
        let until_ms = (now + TARGET).saturating_duration_since(tick).as_millis() as i64;
        let ticks = (until_ms + i64::from(FRAME_MS) / 2) / i64::from(FRAME_MS);
        self.go_on_at(position - ticks * self.frame());
    }

    /// The clock stands still: it may get another phase.
    fn is_idle(&self) -> bool {
        !self.is_continuous && self.clock.deadline().is_none()
    }

    /// Whether a packet that comes after its time is played all the same, and what came after it later.
    fn is_welcome_late(&mut self, now: Instant, position: Position, marker: bool) -> bool {
        let late_max = self.encoding.sample_rate().samples(LATE_MS_MAX) as Position;
        let is_near = self.next - position <= late_max;
        // Something newer was played, or is there to be: it was lost, and is.
        let is_superseded = position < self.played_to || !self.packets.is_empty();
        if is_near && is_superseded {
            return false;
        }
        if is_near && self.too_late_since.is_none() {
            self.next = position;
            self.spare.reset();
            return true;
        }
        // After a stall of the network all that is old comes at once, and the rest is in time again.
        let since = *self.too_late_since.get_or_insert(now);
        let has_other_clock = now >= since + TOO_LATE_MAX || (marker && self.is_resting());
        if has_other_clock {
            self.played_to = Position::MIN;
            self.release_marks();
            self.schedule(now, position);
        }
        has_other_clock
    }

    fn insert(&mut self, now: Instant, position: Position, payload: &[u8]) {
        self.too_late_since = None;
        let samples = payload.len() / self.encoding.sample_bytes();
        let whole = samples * self.encoding.sample_bytes();
        if !self
            .packets
            .insert(position, payload.get(..whole).unwrap_or_default())
        {
            return self.count_dropped(samples);
        }
        self.spare.waits(self.lead_ms(now, position));
        self.clock.resume();
    }

    /// Goes on at `position`; what lies before it is not played.
    fn go_on_at(&mut self, position: Position) {
        let unplayed = self.packets.forget_before(position, self.next);
        if unplayed > 0 {
            self.count_dropped(unplayed);
        }
        self.is_spliced = true;
        self.next = position;
    }

    /// The frame of this tick; none when there is none to send.
    fn play(&mut self, wire: &mut [u8]) -> Option<FrameKind> {
        if self.trim.is_active() {
            self.trim(wire);
        }
        let kind = self.fill(wire);
        self.next += self.frame();
        let next = self.next;
        self.packets.forget_before(next, next);
        if let Some(seen) = self.spare.tick() {
            let excess_frames = (seen.least_ms - TARGET_MS) / i64::from(FRAME_MS);
            if excess_frames > 0 && !self.trim.is_active() {
                self.trim
                    .begin(excess_frames as u32, TRIM_TICKS, Cut::Anything);
            }
        }
        match kind {
            FrameKind::Audio => self.flow.frames += 1,
            FrameKind::Concealed => self.flow.concealed += 1,
            FrameKind::Silence if self.is_continuous => self.flow.silence += 1,
            FrameKind::Silence => {
                if self.packets.is_empty() {
                    self.clock.rest();
                }
                return None;
            }
        }
        Some(kind)
    }

    fn fill(&mut self, wire: &mut [u8]) -> FrameKind {
        let samples = self.pcm.len();
        let is_after_pause = self.empty_frames >= CONCEALED_MAX;
        if !self.packets.has_any(self.next, samples) {
            self.empty_frames = self.empty_frames.saturating_add(1);
            if is_after_pause {
                wire.fill(self.encoding.silence());
                return FrameKind::Silence;
            }
            self.concealer.conceal(&mut self.pcm);
            self.encoding.encode(&self.pcm, wire);
            return FrameKind::Concealed;
        }
        wire.fill(self.encoding.silence());
        if is_after_pause {
            // Nothing sounds: there is nothing to glide from.
            self.concealer.reset();
            self.is_spliced = false;
        } else if self.is_spliced && self.empty_frames == 0 {
            // A loss of no length: the frame is cross-faded with what would have come.
            self.concealer.conceal(&mut []);
        }
        let mut is_untouched = self.empty_frames == 0 && !self.is_spliced || is_after_pause;
        self.is_spliced = false;
        self.empty_frames = 0;
        self.played_to = self.next + self.frame();
        let mut gaps = Gaps::default();
        let copied = self
            .packets
            .copy(self.next, wire, |begins, ends| gaps.add(begins, ends));
        self.encoding.swap(wire);
        self.encoding.decode(wire, &mut self.pcm);
        // Before the first sound after a pause there is silence, and nothing to be made up.
        if copied < samples && !is_after_pause {
            is_untouched = false;
            gaps.conceal(&mut self.concealer, &mut self.pcm);
        } else {
            self.concealer.good_frame(&mut self.pcm);
        }
        if !is_untouched {
            self.encoding.encode(&self.pcm, wire);
        }
        match copied == samples || is_after_pause {
            true => {
                self.flow.crossfaded += u64::from(!is_untouched);
                FrameKind::Audio
            }
            false => FrameKind::Concealed,
        }
    }

    /// Lets frames go that only add to the delay. In a pause they are nothing.
    fn trim(&mut self, scratch: &mut [u8]) {
        self.trim.tick();
        let samples = self.pcm.len();
        while self.trim.is_active() {
            if self.packets.has_any(self.next, samples) {
                if !self.packets.has_any(self.next + self.frame(), samples) {
                    break;
                }
                scratch.fill(self.encoding.silence());
                self.packets.copy(self.next, scratch, |_, _| {});
                self.encoding.swap(scratch);
                self.encoding.decode(scratch, &mut self.pcm);
                if !self.trim.takes(&self.pcm) {
                    break;
                }
            } else if self.empty_frames < CONCEALED_MAX || !self.trim.takes(&[]) {
                break;
            }
            self.go_on_at(self.next + self.frame());
        }
        if !self.trim.is_active() {
            self.spare.reset();
        }
    }

    fn frame(&self) -> Position {
        self.pcm.len() as Position
    }

    fn count_dropped(&mut self, samples: usize) {
        self.flow.dropped += samples.div_ceil(self.pcm.len()) as u64;
        let bytes = samples * self.encoding.sample_bytes();
        self.flow.dropped_ms += self.encoding.ms_of_bytes(bytes);
    }
}

/// Parts of one frame that nothing came for. A frame has two packets in it, seldom more: what is beyond is silence.
#[derive(Debug, Default)]
struct Gaps {
    parts: [(usize, usize); 4],
    count: usize,
}

impl Gaps {
    fn add(&mut self, begins: usize, ends: usize) {
        if let Some(part) = self.parts.get_mut(self.count) {
            *part = (begins, ends);
            self.count += 1;
        }
    }

    /// Makes up what is missing of a frame, and glides back to what is not.
    fn conceal(&self, concealer: &mut Concealer, pcm: &mut [i16]) {
        let mut at = 0;
        for (begins, ends) in self.parts.iter().take(self.count) {
            if let Some(heard) = pcm.get_mut(at..*begins).filter(|heard| !heard.is_empty()) {
                concealer.good_frame(heard);
            }
            if let Some(missing) = pcm.get_mut(*begins..*ends) {
                concealer.conceal(missing);
            }
            at = *ends;
        }
        if let Some(heard) = pcm.get_mut(at..).filter(|heard| !heard.is_empty()) {
            concealer.good_frame(heard);
        }
    }
}
