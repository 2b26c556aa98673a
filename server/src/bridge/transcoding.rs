//! The transcoding half of a direction: puts packets in order, decides what is lost, and has it decoded or made up.
//!
//! Everything happens while frames are polled, one step at a time, so that no queue of audio can grow.

use std::time::{Duration, Instant};

use codecs::SampleRate;
use codecs::opus::{Conditions, Limits};

use super::direction::CONCEALMENT_MAX;
use super::reorder::{Content, ReorderQueue, WaitingPacket};
use super::timeline::ticks;
use super::transcoder::{EncodedFrame, Transcoder};
use super::{BridgeError, Codec, DirectionStatistics};

/// What was done so far about the audio missing before the next packet.
#[derive(Debug, Default)]
struct Gap {
    /// Sink ticks to make up in all; none before that was decided.
    budget_ticks: Option<i64>,
    /// Sink ticks made up.
    filled_ticks: i64,
    /// The frame before the next packet was taken from its in-band FEC, or can't be.
    recovered: bool,
    /// The place before holds no audio on purpose: a digit or hold. What is missing after it is taken for more of it.
    after_nothing: bool,
}

pub(super) struct Transcoding {
    queue: ReorderQueue,
    transcoder: Transcoder,
    gap: Gap,
    concealment_max_ticks: i64,
    /// Sink ticks that undecodable packets cost since the last good one.
    faulty_ticks: i64,
}

impl Transcoding {
    pub fn new(
        from: Codec,
        to: Codec,
        decode_rate: SampleRate,
        encode_rate: SampleRate,
        ptime_ms: u8,
        reorder_wait: Duration,
    ) -> Result<Self, BridgeError> {
        Ok(Self {
            queue: ReorderQueue::new(reorder_wait),
            transcoder: Transcoder::new(from, to, decode_rate, encode_rate, ptime_ms)?,
            gap: Gap::default(),
            concealment_max_ticks: ticks(CONCEALMENT_MAX, to.clock_rate_hz()),
            faulty_ticks: 0,
        })
    }

    pub fn adapt(
        &mut self,
        limits: &Limits,
        conditions: &Conditions,
        statistics: &mut DirectionStatistics,
    ) {
        if self.transcoder.adapt(limits, conditions).is_err() {
            statistics.codec_errors += 1;
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.queue.gap_deadline()
    }

    /// Takes a packet whose payload is copied only if it is audio.
    pub fn handle_packet(
        &mut self,
        mut packet: WaitingPacket,
        payload: &[u8],
        statistics: &mut DirectionStatistics,
    ) {
        if self.queue.is_past(packet.ordinal) {
            statistics.late += 1;
            return;
        }
        if !self.queue.has_room() {
            statistics.overrun += 1;
            return;
        }
        if packet.content == Content::Audio {
            packet.payload = self.queue.payload_buffer(payload);
        }
        self.queue.insert(packet);
    }

    /// The next frame for the sink, written to `payload`.
    pub fn poll_frame(
        &mut self,
        now: Instant,
        payload: &mut [u8],
        statistics: &mut DirectionStatistics,
    ) -> Option<EncodedFrame> {
        loop {
            match self.transcoder.encode(payload) {
                Some(Ok(frame)) => return Some(frame),
                Some(Err(_)) => statistics.codec_errors += 1,
                None if self.advance(now, statistics) => {}
                None => return None,
            }
        }
    }

    /// One step: a stretch made up, a frame recovered, or a packet decoded. False when there is nothing to do yet.
    fn advance(&mut self, now: Instant, statistics: &mut DirectionStatistics) -> bool {
        let Some((next, missing)) = self.queue.ready(now) else {
            return false;
        };
        if next.content == Content::Audio {
            let is_filled = next.restarted
                || self.gap.after_nothing
                || missing == 0
                || !fill(
                    &mut self.gap,
                    &mut self.transcoder,
                    next,
                    missing,
                    self.concealment_max_ticks,
                    statistics,
                );
            if !is_filled {
                return true;
            }
        }
        let Some(packet) = self.queue.pop() else {
            return false;
        };
        self.gap = Gap::default();
        match packet.content {
            Content::Nothing => self.gap.after_nothing = true,
            Content::Audio => {
                self.decode(&packet, statistics);
                self.queue.recycle(packet.payload);
            }
        }
        true
    }

    fn decode(&mut self, packet: &WaitingPacket, statistics: &mut DirectionStatistics) {
        if packet.restarted {
            self.transcoder.restart_source();
        }
        let decoded = self
            .transcoder
            .decode(&packet.payload, packet.position, packet.marker);
        if decoded.is_ok() {
            self.faulty_ticks = 0;
            return;
        }
        statistics.codec_errors += 1;
        // To the listener a packet that can't be decoded is a lost one.
        let lost_ticks = self.transcoder.packet_ticks();
        self.faulty_ticks += lost_ticks;
        if self.faulty_ticks <= self.concealment_max_ticks
            && self.transcoder.conceal(lost_ticks, packet.position).is_ok()
        {
            statistics.concealed += 1;
        }
    }
}

/// Makes up one stretch of what is missing before `next`. False when all is done that may be done.
fn fill(
    gap: &mut Gap,
    transcoder: &mut Transcoder,
    next: &WaitingPacket,
    missing: u32,
    concealment_max_ticks: i64,
    statistics: &mut DirectionStatistics,
) -> bool {
    let Some(expected) = transcoder.expected_position() else {
        return false;
    };
    let packet_ticks = transcoder.packet_ticks();
    let silence_ticks = next.position - expected;
    // A pause of the source beside the lost packets is no loss: at most what the missing packets can have held.
    let budget_ticks = *gap.budget_ticks.get_or_insert_with(|| {
        let lost_ticks = packet_ticks.saturating_mul(i64::from(missing));
        silence_ticks.min(lost_ticks).min(concealment_max_ticks)
    });
    let left_ticks = (budget_ticks - gap.filled_ticks).min(silence_ticks);
    let recoverable_ticks = match gap.recovered {
        true => None,
        false => transcoder
            .recoverable_ticks(&next.payload)
            .filter(|recoverable| *recoverable <= left_ticks),
    };
    let step_ticks = transcoder.concealment_step_ticks();
    let concealable_ticks = (left_ticks - recoverable_ticks.unwrap_or(0)).min(packet_ticks);
    let concealable_ticks = concealable_ticks / step_ticks * step_ticks;
    if concealable_ticks > 0 {
        gap.filled_ticks += concealable_ticks;
        match transcoder.conceal(concealable_ticks, expected) {
            Ok(()) => statistics.concealed += 1,
            Err(_) => statistics.codec_errors += 1,
        }
        return true;
    }
    let Some(recoverable_ticks) = recoverable_ticks else {
        return false;
    };
    gap.filled_ticks += recoverable_ticks;
    gap.recovered = true;
    let position = next.position - recoverable_ticks;
    match transcoder.recover(&next.payload, recoverable_ticks, position) {
        Ok(()) => statistics.fec_recovered += 1,
        Err(_) => statistics.codec_errors += 1,
    }
    true
}
