//! One outgoing RTP stream: a packet every 20 ms with speech, silence or a digit.
//!
//! Whoever owns it calls [`Outgoing::next_packet`] at the end of every 20 ms, as a microphone does: the frame that leaves then
//! was spoken in the 20 ms before.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::PACKET_MS;
use super::codec::{AudioCodec, FrameEncoder, MediaError};
use super::telephone_event::{DigitPlan, TelephoneEventError};
use crate::audio::Audio;
use crate::judge::Playback;

/// Pause between two digits, in packets: 60 ms.
const DIGIT_PAUSE_PACKETS: u32 = 3;

/// What was negotiated for sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutgoingFormat {
    /// The audio codec.
    pub codec: AudioCodec,
    /// Its payload type.
    pub payload_type: u8,
    /// Payload type and clock of telephone-event, if negotiated.
    pub telephone_event: Option<(u8, u32)>,
}

/// One packet to be sent; sequence number and SSRC are the transport's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingPacket {
    /// Audio's or telephone-event's.
    pub payload_type: u8,
    /// In the audio codec's clock.
    pub timestamp: u32,
    /// First packet of the stream, or of a digit.
    pub marker: bool,
    /// Without header.
    pub payload: Vec<u8>,
}

/// The stream.
pub struct Outgoing {
    format: OutgoingFormat,
    encoder: FrameEncoder,
    timestamp: u32,
    first: bool,
    muted: bool,
    speech: Option<Speech>,
    spoken_at: Option<Instant>,
    digits: VecDeque<DigitPlan>,
    digit: Option<DigitUnderWay>,
}

struct Speech {
    samples: Vec<i16>,
    position: usize,
    playback: Playback,
}

struct DigitUnderWay {
    plan: DigitPlan,
    next: u32,
    timestamp: u32,
}

impl Outgoing {
    /// A stream that begins with silence at `first_timestamp`.
    ///
    /// # Errors
    /// [`MediaError`] when the encoder can't be made.
    pub fn new(format: OutgoingFormat, first_timestamp: u32) -> Result<Self, MediaError> {
        Ok(Self {
            format,
            encoder: FrameEncoder::new(format.codec)?,
            timestamp: first_timestamp,
            first: true,
            muted: false,
            speech: None,
            spoken_at: None,
            digits: VecDeque::new(),
            digit: None,
        })
    }

    /// Speaks from the next frame on. Speech at another rate than the codec's is resampled here, which takes its time.
    pub fn speak(&mut self, speech: &Audio, playback: Playback) {
        let samples = speech.resampled(self.format.codec.clock_rate_hz()).samples;
        self.spoken_at = None;
        self.speech = (!samples.is_empty()).then_some(Speech {
            samples,
            position: 0,
            playback,
        });
    }

    /// The payload types of `format` from now on. The codec stays what it is.
    pub fn renumber(&mut self, format: OutgoingFormat) {
        self.format.payload_type = format.payload_type;
        self.format.telephone_event = format.telephone_event;
    }

    /// When the first sample of the speech was spoken, once it was: 20 ms before its packet was due.
    pub fn spoken_at(&self) -> Option<Instant> {
        self.spoken_at
    }

    /// Has the speech been spoken to its end? Never, when it is looped.
    pub fn is_silent(&self) -> bool {
        self.speech.is_none()
    }

    /// Silence instead of speech, which goes on unheard; packets are still sent, as browsers do.
    pub fn set_muted(&mut self, muted: bool) {
        self.muted = muted;
    }

    /// Sends these digits, one after the other, in place of audio.
    ///
    /// # Errors
    /// [`TelephoneEventError::NotNegotiated`].
    pub fn send_digits(
        &mut self,
        digits: impl IntoIterator<Item = DigitPlan>,
    ) -> Result<(), TelephoneEventError> {
        if self.format.telephone_event.is_none() {
            return Err(TelephoneEventError::NotNegotiated);
        }
        self.digits.extend(digits);
        Ok(())
    }

    /// By how much the codec delays the sound beyond its packet, in ms.
    pub fn lookahead_ms(&self) -> f64 {
        self.encoder.lookahead_ms()
    }

    /// The packet that is due at `due`.
    ///
    /// # Errors
    /// [`MediaError`] when the encoder fails.
    pub fn next_packet(&mut self, due: Instant) -> Result<OutgoingPacket, MediaError> {
        let samples = self.format.codec.packet_samples();
        let timestamp = self.timestamp;
        self.timestamp = timestamp.wrapping_add(samples as u32);
        let frame = self.frame(samples, due);
        if let Some(packet) = self.digit_packet(timestamp) {
            return Ok(packet);
        }
        let payload = self.encoder.encode(&frame)?.to_vec();
        Ok(OutgoingPacket {
            payload_type: self.format.payload_type,
            timestamp,
            marker: std::mem::take(&mut self.first),
            payload,
        })
    }

    fn frame(&mut self, samples: usize, due: Instant) -> Vec<i16> {
        let mut frame = vec![0; samples];
        if let Some(speech) = &mut self.speech {
            if speech.position == 0 && self.spoken_at.is_none() {
                self.spoken_at = due.checked_sub(Duration::from_millis(u64::from(PACKET_MS)));
            }
            for slot in &mut frame {
                if let Some(sample) = speech.samples.get(speech.position) {
                    *slot = *sample;
                    speech.position += 1;
                    if speech.playback == Playback::Looped {
                        speech.position %= speech.samples.len();
                    }
                }
            }
            if speech.position >= speech.samples.len() {
                self.speech = None;
            }
        }
        if self.muted {
            frame.fill(0);
        }
        frame
    }

    fn digit_packet(&mut self, timestamp: u32) -> Option<OutgoingPacket> {
        let (payload_type, clock_rate_hz) = self.format.telephone_event?;
        if self.digit.is_none() {
            let plan = self.digits.pop_front()?;
            self.digit = Some(DigitUnderWay {
                plan,
                next: 0,
                timestamp,
            });
        }
        let digit = self.digit.as_mut()?;
        let number = digit.next;
        digit.next += 1;
        let (plan, event_timestamp) = (digit.plan, digit.timestamp);
        if number + 1 >= plan.packets() + DIGIT_PAUSE_PACKETS {
            self.digit = None;
        }
        if number >= plan.packets() {
            // The pause between two digits is audio.
            return None;
        }
        let (payload, marker) = plan.packet(number, clock_rate_hz);
        Some(OutgoingPacket {
            payload_type,
            timestamp: event_timestamp,
            marker,
            payload: payload.to_vec(),
        })
    }
}
