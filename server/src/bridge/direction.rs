//! One way through the bridge: what a source leg sends, on its way to a sink leg.
//!
//! The loss rule: a gap opens when packet n+1 arrives without n. Passthrough forwards packets as they come and keeps
//! gaps; transcoding waits for the missing packet, then makes its audio up, at most [`CONCEALMENT_MAX`] a gap. Without a
//! later packet nothing is lost: DTX, mute and hold are silence. There is no jitter buffer: an RTP far end has one.

use std::time::{Duration, Instant};

use codecs::opus::{Conditions, Limits};

use super::digits::Digits;
use super::framing::{DurationWatch, OpusFraming};
use super::outbox::{Outbox, ReadyPacket};
use super::reorder::{Content, WaitingPacket};
use super::sink_numbers::SinkNumbers;
use super::source_sequence::{Arrival, Ordinal, SourceSequence};
use super::timeline::{Placed, Position, Timeline};
use super::transcoder::packet_duration_ms;
use super::transcoding::Transcoding;
use super::{BridgeError, Codec, DigitTones, DirectionStatistics, Plan, StreamFormat};
use crate::rtp::{DigitReceived, MediaPacket, PayloadType, RtpTimestamp, SequenceNumber};

/// The longest payload that is taken or made, in bytes. Buffers for [`Direction::poll_output`] have this length.
pub const PAYLOAD_LEN_MAX: usize = 1_500;
/// The most audio that is made up for one gap.
pub const CONCEALMENT_MAX: Duration = Duration::from_millis(100);

/// How a direction is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectionOptions {
    /// How long transcoding waits for a missing packet.
    pub reorder_wait: Duration,
    /// Decode and encode even when both legs speak the same codec.
    pub force_transcode: bool,
    /// Whether the sink's digits are tones, when it has no telephone-events.
    pub tones_to_sink: DigitTones,
    /// Whether the source's are.
    pub tones_from_source: DigitTones,
    /// The first sequence number towards the sink; random, by RFC 3550 section 5.1.
    pub initial_sequence_number: SequenceNumber,
    /// The first timestamp towards the sink; random, by RFC 3550 section 5.1.
    pub initial_timestamp: RtpTimestamp,
}

/// What a packet towards the sink carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketKind {
    /// Audio in the sink's codec.
    Audio,
    /// RFC 4733.
    TelephoneEvent,
}

/// What comes out of a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// A packet for the sink; its payload is in the buffer that was given to [`Direction::poll_output`].
    Packet {
        /// Audio or event.
        kind: PacketKind,
        /// The first packet after silence, or of a digit.
        marker: bool,
        /// In the sink's numbering.
        payload_type: PayloadType,
        /// Continuous, but for the source's gaps in passthrough.
        sequence_number: SequenceNumber,
        /// In the sink's clock.
        timestamp: RtpTimestamp,
        /// Bytes of payload.
        payload_len: usize,
    },
    /// The source sent a digit to its end. Told once, whether or not the sink can take it.
    Digit {
        /// One of `0-9 * # A-D`.
        digit: char,
        /// How long it was pressed, in ms.
        duration_ms: u32,
    },
}

/// One way from a source leg to a sink leg. After each `handle_*`, `send_digits` or `set_held`, poll until
/// [`Direction::poll_output`] gives none: what is not polled is bounded and then dropped.
pub struct Direction {
    source: StreamFormat,
    sink: StreamFormat,
    options: DirectionOptions,
    plan: Plan,
    /// The time of the last call.
    now: Option<Instant>,
    sequence: SourceSequence,
    timeline: Timeline,
    numbers: SinkNumbers,
    outbox: Outbox,
    transcoding: Option<Box<Transcoding>>,
    /// In passthrough.
    durations: DurationWatch,
    /// In passthrough of Opus, when the source's packets are not as long as the sink wants.
    framing: Option<Box<OpusFraming>>,
    digits: Digits,
    held: bool,
    /// The next audio packet that passes gets the marker.
    marker_due: bool,
    statistics: DirectionStatistics,
}

impl Direction {
    /// A direction from `source` to `sink`.
    ///
    /// # Errors
    /// [`BridgeError::Codec`] when libopus can't be set up.
    pub fn new(
        source: &StreamFormat,
        sink: &StreamFormat,
        options: DirectionOptions,
    ) -> Result<Self, BridgeError> {
        let plan = Plan::new(source.codec, sink.codec, options.force_transcode);
        Ok(Self {
            source: *source,
            sink: *sink,
            options,
            plan,
            now: None,
            sequence: SourceSequence::default(),
            timeline: Timeline::new(
                source.codec.clock_rate_hz(),
                sink.codec.clock_rate_hz(),
                options.initial_timestamp,
            ),
            numbers: SinkNumbers::new(options.initial_sequence_number),
            outbox: Outbox::new(),
            transcoding: transcoding(plan, sink, options.reorder_wait)?,
            durations: DurationWatch::default(),
            framing: None,
            digits: Digits::new(
                (source, options.tones_from_source),
                (sink, options.tones_to_sink),
            )?,
            held: false,
            marker_due: true,
            statistics: DirectionStatistics::default(),
        })
    }

    /// What is done to the audio.
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// What the source negotiated.
    pub fn source(&self) -> &StreamFormat {
        &self.source
    }

    /// What the sink negotiated.
    pub fn sink(&self) -> &StreamFormat {
        &self.sink
    }

    /// The counters so far.
    pub fn statistics(&self) -> DirectionStatistics {
        self.statistics
    }

    /// Legs renegotiated. Sequence numbers and timestamps towards the sink go on; the source begins anew when a codec
    /// changed.
    ///
    /// # Errors
    /// [`BridgeError::Codec`] when libopus can't be set up; the direction is as before.
    pub fn replace_formats(
        &mut self,
        now: Instant,
        source: &StreamFormat,
        sink: &StreamFormat,
    ) -> Result<(), BridgeError> {
        self.now = Some(now);
        let same_audio = source.codec == self.source.codec
            && sink.codec == self.sink.codec
            && sink.ptime_ms == self.sink.ptime_ms;
        if !same_audio {
            let plan = Plan::new(source.codec, sink.codec, self.options.force_transcode);
            self.transcoding = transcoding(plan, sink, self.options.reorder_wait)?;
            self.plan = plan;
            self.durations = DurationWatch::default();
            self.framing = None;
            self.timeline = self
                .timeline
                .continued(source.codec.clock_rate_hz(), sink.codec.clock_rate_hz());
            self.sequence.restart();
            self.marker_due = true;
        }
        self.digits.replace_formats(
            (source, self.options.tones_from_source),
            (sink, self.options.tones_to_sink),
            same_audio,
        )?;
        self.source = *source;
        self.sink = *sink;
        Ok(())
    }

    /// The source's next packet begins anew: another sender, or the same after a restart.
    pub fn reset_source(&mut self) {
        self.sequence.restart();
    }

    /// On hold audio and digits of the source go no further, and are counted.
    pub fn set_held(&mut self, held: bool) {
        self.marker_due |= self.held && !held;
        self.held = held;
    }

    /// Tells what the operator allows and how the path to the sink and the CPU are: an Opus encoder of ours follows with
    /// bitrate, complexity and in-band FEC ([`codecs::opus::Policy`]). What passes untouched is its source's to adapt.
    pub fn adapt(&mut self, limits: &Limits, conditions: &Conditions) {
        if let Some(transcoding) = &mut self.transcoding {
            transcoding.adapt(limits, conditions, &mut self.statistics);
        }
    }

    /// Sends digits to the sink, each for `duration_ms` (held to
    /// [`DIGIT_DURATION_MIN_MS`](crate::rtp::DIGIT_DURATION_MIN_MS)..=
    /// [`DIGIT_DURATION_MAX_MS`](crate::rtp::DIGIT_DURATION_MAX_MS)). The source's audio gives way meanwhile: it is
    /// dropped and counted.
    ///
    /// # Errors
    /// [`BridgeError::NoTelephoneEvent`], [`BridgeError::Digits`] and [`BridgeError::Tones`]; then none of the digits is sent.
    pub fn send_digits(
        &mut self,
        now: Instant,
        digits: &str,
        duration_ms: u32,
    ) -> Result<(), BridgeError> {
        self.now = Some(now);
        self.digits.start(digits, duration_ms)?;
        self.send_due_digits(now);
        Ok(())
    }

    /// Takes a packet of the source.
    pub fn handle_packet(&mut self, now: Instant, packet: &MediaPacket<'_>) {
        self.now = Some(now);
        let arrival = self
            .sequence
            .handle_packet(now, packet.ssrc, packet.sequence_number);
        let (ordinal, is_newest) = match arrival {
            Arrival::Duplicate => {
                self.statistics.duplicates += 1;
                return;
            }
            Arrival::Late => {
                self.statistics.late += 1;
                return;
            }
            Arrival::Reordered { ordinal } => (ordinal, false),
            Arrival::Newest { ordinal, restarted } => {
                if restarted {
                    self.begin_source(ordinal);
                }
                (ordinal, true)
            }
        };
        let is_event = self
            .source
            .telephone_event
            .is_some_and(|format| format.payload_type == packet.payload_type);
        // Padding alone (a sender's bandwidth probe) repeats a timestamp as well.
        let is_clockless = is_event || packet.payload.is_empty();
        let Some(placed) = self.place(now, packet.timestamp, is_newest, is_clockless) else {
            self.statistics.late += 1;
            return;
        };
        let content = self.content_of(now, packet, is_event);
        if is_newest && self.digits.has_ear() && packet.payload_type == self.source.payload_type {
            self.digits.hear(packet.payload, ordinal, placed.restarted);
        }
        if is_newest && content == Content::Audio && self.transcoding.is_none() {
            self.follow_durations(packet.payload);
            self.flush_framing(placed);
        }
        if is_newest && !self.plan.is_transcode() {
            self.numbers.advance_to(ordinal);
        }
        if is_event {
            self.handle_event(now, packet, placed.position);
        }
        match &mut self.transcoding {
            Some(transcoding) => {
                let waiting = WaitingPacket {
                    ordinal,
                    position: placed.position,
                    arrived: now,
                    restarted: placed.restarted,
                    marker: packet.marker,
                    content,
                    payload: Vec::new(),
                };
                transcoding.handle_packet(waiting, packet.payload, &mut self.statistics);
            }
            None if content == Content::Audio && self.framing.is_some() => match is_newest {
                true => self.reframe(packet, placed),
                false => self.statistics.late += 1,
            },
            None if content == Content::Audio => {
                let number = (!is_newest).then(|| self.numbers.set_aside_for(ordinal));
                self.pass(packet, placed, number);
            }
            None => {}
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = Some(now);
        self.digits.handle_timeout(now);
        self.send_due_digits(now);
    }

    /// When [`Direction::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let gap = self
            .transcoding
            .as_ref()
            .and_then(|transcoding| transcoding.poll_timeout());
        let digits = self.now.and_then(|now| self.digits.poll_timeout(now));
        gap.into_iter().chain(digits).min()
    }

    /// The next thing that is ready; a packet's payload is written to the front of `payload`, which is
    /// [`PAYLOAD_LEN_MAX`] long (a packet that does not fit is dropped and counted).
    pub fn poll_output(&mut self, payload: &mut [u8]) -> Option<Output> {
        if let Some(DigitReceived { digit, duration_ms }) = self.digits.poll_received() {
            self.statistics.digits_received += 1;
            return Some(Output::Digit { digit, duration_ms });
        }
        while let Some((packet, bytes)) = self.outbox.pop() {
            let Some(room) = payload.get_mut(..bytes.len()) else {
                self.statistics.oversized += 1;
                continue;
            };
            room.copy_from_slice(bytes);
            return Some(Output::Packet {
                kind: packet.kind,
                marker: packet.marker,
                payload_type: packet.payload_type,
                sequence_number: packet.sequence_number,
                timestamp: packet.timestamp,
                payload_len: bytes.len(),
            });
        }
        let transcoding = self.transcoding.as_mut()?;
        let frame = transcoding.poll_frame(self.now?, payload, &mut self.statistics)?;
        self.statistics.transcoded += 1;
        self.statistics.silent += u64::from(frame.is_silence);
        Some(Output::Packet {
            kind: PacketKind::Audio,
            marker: frame.marker,
            payload_type: self.sink.payload_type,
            sequence_number: self.numbers.take(),
            timestamp: self.timeline.timestamp(frame.position),
            payload_len: frame.len,
        })
    }

    fn begin_source(&mut self, ordinal: Ordinal) {
        self.statistics.source_restarts += u64::from(ordinal > 1);
        self.timeline.restart_source();
        self.numbers.restart_at(ordinal);
    }

    fn place(
        &mut self,
        now: Instant,
        timestamp: RtpTimestamp,
        is_newest: bool,
        is_clockless: bool,
    ) -> Option<Placed> {
        let of_known_clock = |position| Placed {
            position,
            restarted: false,
        };
        // An event keeps the timestamp of its begin, which audio beside it passes: it says nothing of the clock.
        if is_clockless && self.timeline.is_anchored() {
            let position = self.timeline.place(timestamp);
            let position = position.unwrap_or_else(|| self.timeline.position_at(now));
            return Some(of_known_clock(position));
        }
        if is_newest {
            return Some(self.timeline.place_newest(now, timestamp));
        }
        self.timeline.place(timestamp).map(of_known_clock)
    }

    fn content_of(&mut self, now: Instant, packet: &MediaPacket<'_>, is_event: bool) -> Content {
        let counter = if packet.payload.len() > PAYLOAD_LEN_MAX {
            &mut self.statistics.oversized
        } else if is_event {
            return Content::Nothing;
        } else if packet.payload.is_empty() {
            &mut self.statistics.padding
        } else if packet.payload_type != self.source.payload_type {
            &mut self.statistics.unknown_payload_type
        } else if self.held {
            &mut self.statistics.held
        } else if self.digits.is_sending(now) {
            &mut self.statistics.under_event
        } else {
            return Content::Audio;
        };
        *counter += 1;
        Content::Nothing
    }

    fn pass(
        &mut self,
        packet: &MediaPacket<'_>,
        placed: Placed,
        set_aside: Option<SequenceNumber>,
    ) {
        if !self.outbox.has_room() {
            self.statistics.overrun += 1;
            return;
        }
        let is_newest = set_aside.is_none();
        let marker_due = is_newest && (std::mem::take(&mut self.marker_due) || placed.restarted);
        let ready = ReadyPacket {
            kind: PacketKind::Audio,
            marker: packet.marker || marker_due,
            payload_type: self.sink.payload_type,
            sequence_number: set_aside.unwrap_or_else(|| self.numbers.take()),
            timestamp: self.timeline.timestamp(placed.position),
        };
        self.outbox.push(ready, packet.payload);
        self.statistics.passed += 1;
    }

    /// The source's packets last longer or shorter than what the sink asked for: they are framed anew from here on.
    fn follow_durations(&mut self, payload: &[u8]) {
        let codec = self.sink.codec;
        let wanted_ms = packet_duration_ms(codec, self.sink.ptime_ms);
        if self.framing.is_some() || !self.durations.is_wrong(codec, payload, wanted_ms) {
            return;
        }
        if codec == Codec::Opus {
            self.framing = Some(Box::new(OpusFraming::new(wanted_ms)));
            return;
        }
        let plan = Plan::new(codec, codec, true);
        match transcoding(plan, &self.sink, self.options.reorder_wait) {
            Ok(transcoding) => {
                self.transcoding = transcoding;
                self.plan = plan;
            }
            // It goes on as it came.
            Err(_) => self.statistics.codec_errors += 1,
        }
    }

    /// Sends the rest of a stretch of Opus that does not go on with the packet at `placed`.
    fn flush_framing(&mut self, placed: Placed) {
        if self.framing.is_none() {
            return;
        }
        let mut payload = [0; PAYLOAD_LEN_MAX];
        while let Some(framing) = self.framing.as_mut() {
            if framing.follows(placed.position) && !placed.restarted {
                return;
            }
            let Some(flushed) = framing.flush(&mut payload) else {
                self.marker_due |= placed.restarted;
                return;
            };
            self.send_framed(flushed, &payload, false);
        }
    }

    /// Takes a packet of Opus apart and sends what is whole.
    fn reframe(&mut self, packet: &MediaPacket<'_>, placed: Placed) {
        let Some(framing) = self.framing.as_mut() else {
            return;
        };
        if framing.push(packet.payload, placed.position).is_err() {
            self.statistics.codec_errors += 1;
        }
        let mut marker = packet.marker;
        let mut payload = [0; PAYLOAD_LEN_MAX];
        while let Some(framed) = self
            .framing
            .as_mut()
            .and_then(|framing| framing.pop(&mut payload))
        {
            self.send_framed(framed, &payload, std::mem::take(&mut marker));
        }
        // A talkspurt's first packet that waits for its second still begins it.
        self.marker_due |= marker;
    }

    fn send_framed(
        &mut self,
        framed: Result<(usize, Position), codecs::opus::OpusError>,
        payload: &[u8],
        marker: bool,
    ) {
        let Ok((len, position)) = framed else {
            self.statistics.codec_errors += 1;
            return;
        };
        if !self.outbox.has_room() {
            self.statistics.overrun += 1;
            return;
        }
        let ready = ReadyPacket {
            kind: PacketKind::Audio,
            marker: marker | std::mem::take(&mut self.marker_due),
            payload_type: self.sink.payload_type,
            sequence_number: self.numbers.take(),
            timestamp: self.timeline.timestamp(position),
        };
        self.outbox
            .push(ready, payload.get(..len).unwrap_or_default());
        self.statistics.passed += 1;
    }

    fn handle_event(&mut self, now: Instant, packet: &MediaPacket<'_>, position: Position) {
        // RFC 4733 wants the audio's clock; of an event with a clock of its own only the arrival is known.
        let has_own_clock = self
            .source
            .telephone_event
            .is_some_and(|format| format.clock_rate_hz != self.source.codec.clock_rate_hz());
        let position = match has_own_clock {
            true => self.timeline.position_at(now),
            false => position,
        };
        let timestamp = self.timeline.timestamp(position);
        if !self
            .digits
            .handle_packet(now, packet, timestamp, !self.held)
        {
            self.statistics.codec_errors += 1;
        }
        self.send_due_digits(now);
    }

    fn send_due_digits(&mut self, now: Instant) {
        let position = self.timeline.position_at(now);
        let timestamp = self.timeline.timestamp(position);
        while self.outbox.has_room() {
            let Some((payload_type, packet)) = self.digits.poll_packet(now, timestamp) else {
                return self.send_due_tones(now);
            };
            let ready = ReadyPacket {
                kind: PacketKind::TelephoneEvent,
                marker: packet.marker,
                payload_type,
                sequence_number: self.numbers.take(),
                timestamp: packet.timestamp,
            };
            self.outbox.push(ready, &packet.payload);
            self.statistics.digits_sent += u64::from(packet.marker);
        }
    }

    fn send_due_tones(&mut self, now: Instant) {
        if !self.digits.has_player() {
            return;
        }
        let mut payload = [0; PAYLOAD_LEN_MAX];
        let position = self.timeline.position_at(now);
        while self.outbox.has_room() {
            let Some((position, len)) = self.digits.poll_tone(now, position, &mut payload) else {
                return;
            };
            let ready = ReadyPacket {
                kind: PacketKind::Audio,
                marker: false,
                payload_type: self.sink.payload_type,
                sequence_number: self.numbers.take(),
                timestamp: self.timeline.timestamp(position),
            };
            self.outbox
                .push(ready, payload.get(..len).unwrap_or_default());
            self.statistics.tone_packets += 1;
        }
    }
}

fn transcoding(
    plan: Plan,
    sink: &StreamFormat,
    reorder_wait: Duration,
) -> Result<Option<Box<Transcoding>>, BridgeError> {
    let Plan::Transcode {
        from,
        to,
        decode_rate,
        encode_rate,
        ..
    } = plan
    else {
        return Ok(None);
    };
    let transcoding = Transcoding::new(
        from,
        to,
        decode_rate,
        encode_rate,
        sink.ptime_ms,
        reorder_wait,
    )?;
    Ok(Some(Box::new(transcoding)))
}
