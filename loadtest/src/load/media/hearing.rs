//! What a leg hears: counted, timed against what the other leg sent, and kept for the judge.

use std::sync::Arc;
use std::time::{Duration, Instant};

use server::rtp::MediaPacket;
use tokio::sync::watch;

use super::frame_clock::{FrameAnchor, FrameClock};
use super::leg::{Direction, LegRecord};
use super::reception::Reception;
use super::window::{MediaWindow, Now};
use crate::media::{AudioCodec, ReceivedPacket};

/// Packets that one leg keeps: 5 minutes.
pub(super) const RECORDED_PACKETS_MAX: usize = 5 * 60 * 50;

pub(super) struct Hearing {
    pub(super) reception: Reception,
    /// In which what is heard was sent.
    direction: Direction,
    codec: AudioCodec,
    sent_by_other: Arc<FrameClock>,
    anchor: FrameAnchor,
    /// Packets are kept so long from the first one on.
    kept_for: Duration,
    first_arrival_ns: Option<u64>,
    tell_first: watch::Sender<Option<Instant>>,
}

impl Hearing {
    pub(super) fn new(
        direction: Direction,
        codec: AudioCodec,
        sent_by_other: Arc<FrameClock>,
        kept_for: Duration,
        tell_first: watch::Sender<Option<Instant>>,
    ) -> Self {
        Self {
            reception: Reception::default(),
            direction,
            codec,
            sent_by_other,
            anchor: FrameAnchor::default(),
            kept_for,
            first_arrival_ns: None,
            tell_first,
        }
    }

    /// A packet of 20 ms came.
    pub(super) fn hear(
        &mut self,
        packet: &MediaPacket<'_>,
        arrival_ns: u64,
        window: &mut MediaWindow,
        now: &Now,
        record: &mut LegRecord,
    ) {
        let change = self
            .reception
            .handle(packet, self.codec.clock_rate_hz(), arrival_ns);
        if change.duplicate {
            return;
        }
        *self.direction.of(&mut window.received) += 1;
        *self.direction.of(&mut window.lost) += change.lost;
        let delay_ns = self.anchor.delay_ns(
            packet.ssrc.0,
            packet.timestamp.0,
            self.codec.packet_samples() as u32,
            arrival_ns,
            &self.sent_by_other,
        );
        if let Some(delay_ns) = delay_ns {
            self.direction.of(&mut window.delays).record_ns(delay_ns, 1);
            record.delays.record_ns(delay_ns, 1);
        }
        self.keep(packet, arrival_ns, now, record);
    }

    fn keep(
        &mut self,
        packet: &MediaPacket<'_>,
        arrival_ns: u64,
        now: &Now,
        record: &mut LegRecord,
    ) {
        let arrival = now.instant_of(arrival_ns);
        let first_ns = match self.first_arrival_ns {
            Some(first_ns) => first_ns,
            None => {
                self.first_arrival_ns = Some(arrival_ns);
                record.first_received_at = arrival;
                self.tell_first.send_replace(arrival);
                arrival_ns
            }
        };
        let since = Duration::from_nanos(arrival_ns.saturating_sub(first_ns));
        let Some(arrival) = arrival.filter(|_| since < self.kept_for) else {
            return;
        };
        if record.packets.len() >= RECORDED_PACKETS_MAX {
            record.unrecorded += 1;
            return;
        }
        record.packets.push(ReceivedPacket {
            arrival,
            ssrc: packet.ssrc.0,
            sequence_number: packet.sequence_number.0,
            timestamp: packet.timestamp.0,
            payload_type: packet.payload_type.0,
            marker: packet.marker,
            payload: packet.payload.to_vec(),
        });
    }

    /// What was counted, into the record of the leg.
    pub(super) fn tell(&self, record: &mut LegRecord) {
        let totals = self.reception.totals;
        record.received = totals.received;
        record.lost = totals.lost;
        record.duplicates = totals.duplicates;
        record.reordered = totals.reordered;
        record.streams = totals.streams;
        record.jitter_ms = self.reception.jitter_ms(self.codec.clock_rate_hz());
    }
}
