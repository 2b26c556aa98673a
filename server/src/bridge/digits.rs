//! Digits on their way through a direction: the source's are told and pressed again on the sink, ours are queued between
//! them. Telephone-events (RFC 4733) have the sink's clock and payload type; a sink without them may hear tones. The sink
//! hears one digit at a time.

use std::time::Instant;

use super::source_sequence::Ordinal;
use super::timeline::Position;
use super::tones::{DigitTones, ToneEar, TonePlayer};
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

pub(super) struct Digits {
    source: Option<TelephoneEventFormat>,
    sink: Option<Sink>,
    /// The sink's format, if it hears digits as tones.
    tones: Option<StreamFormat>,
    /// Made with the first digit: most calls have none.
    player: Option<Box<TonePlayer>>,
    /// If the source's digits are tones.
    ear: Option<Box<ToneEar>>,
    receiver: TelephoneEventReceiver,
    /// The digit that the source holds down is held down towards the sink as well.
    is_relaying: bool,
    /// Where the source's digit begins on the sink's clock, until its first packet is sent.
    begins_at: Option<RtpTimestamp>,
    received: Vec<DigitReceived>,
}

impl Digits {
    pub fn new(
        (source, tones_from_source): (&StreamFormat, DigitTones),
        (sink, tones_to_sink): (&StreamFormat, DigitTones),
    ) -> Result<Self, BridgeError> {
        Ok(Self {
            source: source.telephone_event,
            sink: sink.telephone_event.map(Sink::new),
            tones: tones_to_sink.apply_to(sink).then_some(*sink),
            player: None,
            ear: ear(source, tones_from_source)?,
            receiver: TelephoneEventReceiver::new(),
            is_relaying: false,
            begins_at: None,
            received: Vec::with_capacity(RECEIVED_MAX),
        })
    }

    /// Legs renegotiated. With another format towards the sink, what was being sent is dropped.
    pub fn replace_formats(
        &mut self,
        (source, tones_from_source): (&StreamFormat, DigitTones),
        (sink, tones_to_sink): (&StreamFormat, DigitTones),
        same_audio: bool,
    ) -> Result<(), BridgeError> {
        let hears_tones = tones_from_source.apply_to(source);
        if !same_audio || hears_tones != self.ear.is_some() {
            self.ear = ear(source, tones_from_source)?;
        }
        self.source = source.telephone_event;
        if sink.telephone_event != self.sink.as_ref().map(|sink| sink.format) {
            self.sink = sink.telephone_event.map(Sink::new);
            self.is_relaying = false;
        }
        let tones = tones_to_sink.apply_to(sink).then_some(*sink);
        if tones.is_none() || !same_audio {
            self.player = None;
            self.is_relaying &= self.sink.is_some();
        }
        self.tones = tones;
        Ok(())
    }

    /// Queues digits of ours, all or none.
    pub fn start(&mut self, digits: &str, duration_ms: u32) -> Result<(), BridgeError> {
        match &mut self.sink {
            Some(sink) => Ok(sink.sender.start(digits, duration_ms, PAUSE_MS)?),
            None => self.player()?.start(digits, duration_ms),
        }
    }

    /// Whether the sink hears a digit now, or is about to: audio beside it would double it.
    pub fn is_sending(&self, now: Instant) -> bool {
        let sends_events = (self.sink.as_ref()).is_some_and(|sink| sink.sender.is_sending());
        let plays = (self.player.as_ref()).is_some_and(|player| player.is_sending(now));
        sends_events || plays
    }

    /// Whether the source's digits are tones.
    pub fn has_ear(&self) -> bool {
        self.ear.is_some()
    }

    /// Whether tones were ever to be made.
    pub fn has_player(&self) -> bool {
        self.player.is_some()
    }

    /// Listens for tones in the source's newest audio. Another source `restarted`.
    pub fn hear(&mut self, payload: &[u8], ordinal: Ordinal, restarted: bool) {
        let Some(ear) = &mut self.ear else { return };
        let received = &mut self.received;
        let mut ended = |digit| {
            if received.len() < RECEIVED_MAX {
                received.push(digit);
            }
        };
        if restarted {
            ear.restart(&mut ended);
        }
        ear.hear(payload, ordinal, &mut ended);
    }

    /// The next tone packet for the sink that is due: where it lies and how long it is.
    pub fn poll_tone(
        &mut self,
        now: Instant,
        position: Position,
        payload: &mut [u8],
    ) -> Option<(Position, usize)> {
        self.player.as_mut()?.poll_packet(now, position, payload)
    }

    fn player(&mut self) -> Result<&mut TonePlayer, BridgeError> {
        let sink = self.tones.ok_or(BridgeError::NoTelephoneEvent)?;
        let player = match self.player.take() {
            Some(player) => player,
            None => Box::new(TonePlayer::new(&sink)?),
        };
        Ok(self.player.insert(player))
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
        let was_sending = self.is_sending(now);
        self.follow(to_sink);
        if !was_sending && self.sink.is_some() && self.is_sending(now) {
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
        let player = self.player.as_ref();
        let tone = player.and_then(|player| player.poll_timeout(now));
        let receiver = self.receiver.poll_timeout();
        receiver.into_iter().chain(sender).chain(tone).min()
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
                    self.is_relaying = to_sink && self.press(digit);
                }
                DigitProgress::Ended(digit) => {
                    if self.is_relaying {
                        self.release(digit.duration_ms);
                    }
                    self.is_relaying = false;
                    if self.received.len() < RECEIVED_MAX {
                        self.received.push(digit);
                    }
                }
            }
        }
    }

    fn press(&mut self, digit: char) -> bool {
        match &mut self.sink {
            Some(sink) => sink.sender.press(digit, PAUSE_MS).is_ok(),
            None => self.player().is_ok_and(|player| player.press(digit)),
        }
    }

    fn release(&mut self, duration_ms: u32) {
        if let Some(sink) = &mut self.sink {
            sink.sender.release(duration_ms);
        } else if let Some(player) = &mut self.player {
            player.release(duration_ms);
        }
    }
}

fn ear(source: &StreamFormat, tones: DigitTones) -> Result<Option<Box<ToneEar>>, BridgeError> {
    match tones.apply_to(source) {
        true => Ok(Some(Box::new(ToneEar::new(source)?))),
        false => Ok(None),
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
