//! Packets of the sink's duration in passthrough: a sink that asked for another `ptime` (RFC 8866) than the source sends gets
//! its own.
//!
//! Opus packets are taken apart and put together again, frame by frame, without decoding; a frame that is longer than what
//! was asked for goes alone. G.711 and L16 are decoded and encoded again, which changes nothing in them but the framing: that
//! is the transcoding path, with its order, its concealment and its numbering.

use codecs::opus::{Repacketizer, Toc, packet_duration_samples};
use codecs::{SampleRate, opus::OpusError};

use super::Codec;
use super::timeline::Position;

/// Packets of one wrong duration in a row before it is believed that the source goes on so.
const WRONG_MIN: u8 = 2;
/// Sources send whole multiples of this; anything else is an odd end and no framing.
const DURATION_STEP_MS: u32 = 10;
/// The longest packet.
const DURATION_MAX_MS: u32 = 120;
/// Ticks of Opus's RTP clock per ms.
const OPUS_TICKS_PER_MS: u32 = 48;

/// Whether the source's packets last as long as the sink wants.
#[derive(Debug, Default)]
pub(super) struct DurationWatch {
    wrong_ms: u32,
    count: u8,
}

impl DurationWatch {
    /// Looks at one packet; true when the source keeps to another duration that can be made `wanted_ms`.
    pub fn is_wrong(&mut self, codec: Codec, payload: &[u8], wanted_ms: u32) -> bool {
        let duration_ms = match duration_ms(codec, payload) {
            Some(duration_ms) if duration_ms != wanted_ms => duration_ms,
            _ => {
                self.count = 0;
                return false;
            }
        };
        if !can_be_made(codec, payload, wanted_ms) {
            return false;
        }
        self.count = match duration_ms == self.wrong_ms {
            true => self.count.saturating_add(1),
            false => 1,
        };
        self.wrong_ms = duration_ms;
        self.count >= WRONG_MIN
    }
}

/// How long a packet lasts, if that is a duration that sources keep to.
fn duration_ms(codec: Codec, payload: &[u8]) -> Option<u32> {
    let bytes_per_ms = match codec {
        Codec::Pcmu | Codec::Pcma => 8,
        Codec::L16(rate) => rate.samples(1) * 2,
        Codec::Opus => {
            let samples = packet_duration_samples(payload, SampleRate::Hz48000).ok()?;
            return u32::try_from(samples / 48).ok();
        }
    };
    let is_whole = payload.len().is_multiple_of(bytes_per_ms);
    let duration_ms = u32::try_from(payload.len() / bytes_per_ms).ok()?;
    let is_kept_to = is_whole
        && duration_ms.is_multiple_of(DURATION_STEP_MS)
        && (DURATION_STEP_MS..=DURATION_MAX_MS).contains(&duration_ms);
    is_kept_to.then_some(duration_ms)
}

/// Opus frames can be put together, and packets of several taken apart; a single long frame stays what it is.
fn can_be_made(codec: Codec, payload: &[u8], wanted_ms: u32) -> bool {
    if codec != Codec::Opus {
        return true;
    }
    let Some(toc) = Toc::of(payload) else {
        return false;
    };
    let duration_us = duration_ms(codec, payload).unwrap_or(0) * 1_000;
    toc.frame_duration_us() < duration_us.max(wanted_ms * 1_000)
        && (toc.frame_duration_us() < duration_us || duration_us < wanted_ms * 1_000)
}

/// Opus packets of one duration out of those of a source.
#[derive(Debug)]
pub(super) struct OpusFraming {
    repacketizer: Repacketizer,
    /// Where the first frame that waits lies.
    head: Position,
    /// Where the audio that was taken ends.
    end: Position,
}

impl OpusFraming {
    pub fn new(wanted_ms: u32) -> Self {
        Self {
            repacketizer: Repacketizer::new(wanted_ms),
            head: 0,
            end: 0,
        }
    }

    /// Whether a packet at `position` goes on where the audio before it ended.
    pub fn follows(&self, position: Position) -> bool {
        position == self.end
    }

    /// The rest of a stretch that does not go on: length and position of a packet, until there is none.
    pub fn flush(&mut self, packet: &mut [u8]) -> Option<Result<(usize, Position), OpusError>> {
        let flushed = self.repacketizer.flush(packet)?;
        Some(self.placed(flushed))
    }

    /// Takes a packet at `position`; the rest of a stretch that ended before was flushed.
    pub fn push(&mut self, packet: &[u8], position: Position) -> Result<(), OpusError> {
        if !self.follows(position) {
            self.head = position;
            self.end = position;
        }
        self.repacketizer.push(packet)?;
        let samples = packet_duration_samples(packet, SampleRate::Hz48000)?;
        self.end += samples as Position;
        Ok(())
    }

    /// The next packet: length and position.
    pub fn pop(&mut self, packet: &mut [u8]) -> Option<Result<(usize, Position), OpusError>> {
        let popped = self.repacketizer.pop(packet)?;
        Some(self.placed(popped))
    }

    fn placed(
        &mut self,
        made: Result<codecs::opus::Repacketized, OpusError>,
    ) -> Result<(usize, Position), OpusError> {
        let position = self.head;
        match made {
            Ok(made) => {
                self.head += Position::from(made.duration_us * OPUS_TICKS_PER_MS / 1_000);
                Ok((made.len, position))
            }
            Err(error) => {
                // Where a dropped frame ended is not known: what follows begins anew.
                self.head = self.end;
                Err(error)
            }
        }
    }
}
