//! Digits on their way through a direction (RFC 4733): the source's are told and pressed again on the sink, with its
//! clock and payload type; ours are queued between them. The sink hears one event at a time.

use std::time::Instant;

use super::{BridgeError, StreamFormat, TelephoneEventFormat};
use crate::rtp::{
    DigitProgress, DigitReceived, EventPacket, MediaPacket, PayloadType, RtpTimestamp,
    TelephoneEventReceiver, TelephoneEventSender,
};

/// Silence after each digit towards the sink, in ms; detectors want 40 at least (ITU-T Q.24).
const PAUSE_MS: u32 = 60;
/// Received digits that wait to be polled at most.
const RECEIVED_MAX: usize = 8;

#[derive(Debug)]
struct Sink {
    format: TelephoneEventFormat,
    sender: TelephoneEventSender,
}

#[derive(Debug)]
pub(super) struct Digits {
    source: Option<TelephoneEventFormat>,
    sink: Option<Sink>,
    receiver: TelephoneEventReceiver,
    /// The digit that the source holds down is held down towards the sink as well.
    is_relaying: bool,
    /// Where the source's digit begins on the sink's clock, until its first packet is sent.
    begins_at: Option<RtpTimestamp>,
    received: Vec<DigitReceived>,
}

impl Digits {
    pub fn new(source: &StreamFormat, sink: &StreamFormat) -> Self {
        Self {
            source: source.telephone_event,
            sink: sink.telephone_event.map(Sink::new),
            receiver: TelephoneEventReceiver::new(),
            is_relaying: false,
            begins_at: None,
            received: Vec::with_capacity(RECEIVED_MAX),
        }
    }

    /// Legs renegotiated. With another format towards the sink, what was being sent is dropped.
    pub fn replace_formats(&mut self, source: &StreamFormat, sink: &StreamFormat) {
        self.source = source.telephone_event;
        if sink.telephone_event != self.sink.as_ref().map(|sink| sink.format) {
            self.sink = sink.telephone_event.map(Sink::new);
            self.is_relaying = false;
        }
    }

    /// Queues digits of ours, all or none.
    pub fn start(&mut self, digits: &str, duration_ms: u32) -> Result<(), BridgeError> {
        let sink = self.sink.as_mut().ok_or(BridgeError::NoTelephoneEvent)?;
        Ok(sink.sender.start(digits, duration_ms, PAUSE_MS)?)
    }

    /// Whether the sink hears a digit now, or is about to: audio beside it would double it.
    pub fn is_sending(&self) -> bool {
        self.sink
            .as_ref()
            .is_some_and(|sink| sink.sender.is_sending())
    }

    /// A packet of the source; a digit that begins with it begins at `timestamp` of the sink. With `to_sink` it goes
    /// there, else it is told only. False for a payload that is no event.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        packet: &MediaPacket<'_>,
        timestamp: RtpTimestamp,
        to_sink: bool,
    ) -> bool {
        let Some(source) = self.source else {
            return false;
        };
        let handled = self
            .receiver
            .handle_packet(now, packet, source.clock_rate_hz);
        let was_sending = self.is_sending();
        self.follow(to_sink);
        if !was_sending && self.is_sending() {
            self.begins_at = Some(timestamp);
        }
        handled.is_ok()
    }

    /// Ends a digit of the source whose end was lost.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.receiver.handle_timeout(now);
        self.follow(false);
    }

    /// When [`Digits::handle_timeout`] or [`Digits::poll_packet`] has something to do.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let sender = self
            .sink
            .as_ref()
            .and_then(|sink| sink.sender.poll_timeout(now));
        self.receiver.poll_timeout().into_iter().chain(sender).min()
    }

    /// The next digit that the source sent to its end.
    pub fn poll_received(&mut self) -> Option<DigitReceived> {
        (!self.received.is_empty()).then(|| self.received.remove(0))
    }

    /// The next packet for the sink that is due, with its payload type. `timestamp` is the sink's clock at `now`.
    pub fn poll_packet(
        &mut self,
        now: Instant,
        timestamp: RtpTimestamp,
    ) -> Option<(PayloadType, EventPacket)> {
        let sink = self.sink.as_mut()?;
        let timestamp = self.begins_at.unwrap_or(timestamp);
        let packet = sink.sender.poll(now, timestamp)?;
        self.begins_at = None;
        Some((sink.format.payload_type, packet))
    }

    /// Does towards the sink what the source did.
    fn follow(&mut self, to_sink: bool) {
        while let Some(progress) = self.receiver.poll() {
            match progress {
                DigitProgress::Started(digit) => {
                    self.is_relaying = to_sink
                        && self
                            .sink
                            .as_mut()
                            .is_some_and(|sink| sink.sender.press(digit, PAUSE_MS).is_ok());
                }
                DigitProgress::Ended(digit) => {
                    if let Some(sink) = self.sink.as_mut().filter(|_| self.is_relaying) {
                        sink.sender.release(digit.duration_ms);
                    }
                    self.is_relaying = false;
                    if self.received.len() < RECEIVED_MAX {
                        self.received.push(digit);
                    }
                }
            }
        }
    }
}

impl Sink {
    fn new(format: TelephoneEventFormat) -> Self {
        Self {
            format,
            sender: TelephoneEventSender::new(format.clock_rate_hz),
        }
    }
}
