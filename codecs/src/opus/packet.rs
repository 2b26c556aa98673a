//! What an Opus packet says about itself without decoding it (RFC 6716 section 3): table of contents, duration, its frames,
//! and whether it carries a low-bitrate copy (LBRR) of the frame before it.
//!
//! Plain Rust, no libopus: safe on any bytes.

use super::{OpusError, PACKET_DURATION_MAX_MS};
use crate::SampleRate;

/// The table-of-contents byte that begins every packet (RFC 6716 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Toc(u8);

/// Which of Opus's two codecs made the packet (RFC 6716 table 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Linear prediction, up to wideband: what speech is sent as at low bitrates.
    Silk,
    /// SILK below 8 kHz, CELT above.
    Hybrid,
    /// Transform codec. Never carries LBRR.
    Celt,
}

/// Audio bandwidth of a packet (RFC 6716 table 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bandwidth {
    /// 4 kHz.
    Narrowband,
    /// 6 kHz.
    Mediumband,
    /// 8 kHz.
    Wideband,
    /// 12 kHz.
    SuperWideband,
    /// 20 kHz.
    Fullband,
}

impl Toc {
    /// The TOC of a packet; `None` if the packet is empty.
    pub fn of(packet: &[u8]) -> Option<Self> {
        packet.first().copied().map(Self)
    }

    /// The byte itself.
    pub const fn byte(self) -> u8 {
        self.0
    }

    /// Whether the packet is one frame (code 0, RFC 6716 section 3.2.2).
    pub const fn is_single_frame(self) -> bool {
        self.frame_count_code() == 0
    }

    /// Configuration number, 0 to 31.
    pub const fn config(self) -> u8 {
        self.0 >> 3
    }

    /// The codec in use.
    pub const fn mode(self) -> Mode {
        match self.config() {
            0..=11 => Mode::Silk,
            12..=15 => Mode::Hybrid,
            _ => Mode::Celt,
        }
    }

    /// The audio bandwidth.
    pub const fn bandwidth(self) -> Bandwidth {
        match self.config() {
            0..=3 | 16..=19 => Bandwidth::Narrowband,
            4..=7 => Bandwidth::Mediumband,
            8..=11 | 20..=23 => Bandwidth::Wideband,
            12 | 13 | 24..=27 => Bandwidth::SuperWideband,
            _ => Bandwidth::Fullband,
        }
    }

    /// Whether the frames are stereo. [`Decoder`](super::Decoder) mixes them down.
    pub const fn is_stereo(self) -> bool {
        self.0 & 0x04 != 0
    }

    /// Duration of each frame of the packet, in microseconds: 2 500 to 60 000.
    pub const fn frame_duration_us(self) -> u32 {
        let duration_code = self.config() & 0x03;
        match self.mode() {
            Mode::Silk => match duration_code {
                0 => 10_000,
                1 => 20_000,
                2 => 40_000,
                _ => 60_000,
            },
            Mode::Hybrid => 10_000 << (self.config() & 0x01),
            Mode::Celt => 2_500 << duration_code,
        }
    }

    /// How the frames are packed, 0 to 3 (RFC 6716 section 3.2).
    const fn frame_count_code(self) -> u8 {
        self.0 & 0x03
    }

    /// Whether frames of both may be in one packet: all but the code is the same.
    pub(super) const fn joins(self, other: Self) -> bool {
        self.0 >> 2 == other.0 >> 2
    }

    /// The byte with another code.
    pub(super) const fn with_code(self, code: u8) -> u8 {
        self.0 & !0x03 | code & 0x03
    }
}

/// Duration of a packet in samples at `rate`.
///
/// Reads no more than the first two bytes, so a packet may pass here and still be refused by the decoder.
///
/// # Errors
/// [`OpusError::InvalidPacket`] if it is empty, says it holds no frame, or lasts longer than 120 ms.
pub fn packet_duration_samples(packet: &[u8], rate: SampleRate) -> Result<usize, OpusError> {
    let toc = Toc::of(packet).ok_or(OpusError::InvalidPacket)?;
    let frames = match toc.frame_count_code() {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1).ok_or(OpusError::InvalidPacket)? & FRAME_COUNT_MASK),
    };
    // At most 63 * 60 000 us.
    let duration_us = frames * toc.frame_duration_us();
    if frames == 0 || duration_us > PACKET_DURATION_MAX_MS * 1_000 {
        return Err(OpusError::InvalidPacket);
    }
    // Every duration is a multiple of 500 us and every rate a multiple of 2 kHz, so this is exact.
    Ok(duration_us as usize / 500 * (rate.hz() as usize / 2_000))
}

/// Whether the packet's first frame carries LBRR: a copy of the frame before it, which
/// [`Decoder::decode_fec`](super::Decoder::decode_fec) turns into sound when that one is lost. False for anything that is not a valid packet.
///
/// The flags are the first bits of a SILK frame (RFC 6716 sections 4.2.3 and 4.2.4): one VAD bit per 20 ms, then one
/// LBRR bit; a stereo frame has the same again for its side channel. Each has even probability, so that the range coder
/// leaves them as plain bits.
pub fn has_lbrr(packet: &[u8]) -> bool {
    let Some(toc) = Toc::of(packet) else {
        return false;
    };
    if toc.mode() == Mode::Celt {
        return false;
    }
    let first_frame = frames(packet).ok().and_then(|mut frames| frames.next());
    let Some(&flags) = first_frame.and_then(<[u8]>::first) else {
        return false;
    };
    // 10 ms frames have one VAD bit too; 60 ms have three.
    let vad_bits = toc.frame_duration_us().div_ceil(20_000);
    let mid = flags >> (7 - vad_bits) & 1;
    // 6 - 2 * 3 is the last bit of the byte.
    let side = if toc.is_stereo() {
        flags >> (6 - 2 * vad_bits) & 1
    } else {
        0
    };
    mid | side == 1
}

/// Low six bits of the frame count byte of a code 3 packet.
const FRAME_COUNT_MASK: u8 = 0x3f;
/// A frame is no longer than this (RFC 6716 section 3.4, R2).
const FRAME_BYTES_MAX: usize = 1_275;

/// The most frames of a packet: 120 ms of 2.5 ms each (RFC 6716 section 3.2.5).
pub const FRAMES_MAX: usize = 48;

/// The frames of a packet, in order and without padding: 1 to [`FRAMES_MAX`] of the duration that its [`Toc`] says. A frame may
/// be empty, which is how DTX says that there is nothing new.
///
/// # Errors
/// [`OpusError::InvalidPacket`] if it breaks a rule of RFC 6716 section 3.4.
pub fn frames(packet: &[u8]) -> Result<Frames<'_>, OpusError> {
    packet_duration_samples(packet, SampleRate::Hz48000)?;
    split(packet).ok_or(OpusError::InvalidPacket)
}

/// See [`frames`].
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    /// Frames to come.
    count: usize,
    sizes: Sizes<'a>,
    /// The bytes of the frames to come.
    bytes: &'a [u8],
}

#[derive(Debug, Clone)]
enum Sizes<'a> {
    /// All frames are as long.
    Equal(usize),
    /// The lengths of all but the last, as they were sent; the last is what is left.
    Told(&'a [u8]),
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.count = self.count.checked_sub(1)?;
        let frame_bytes = match &mut self.sizes {
            Sizes::Equal(frame_bytes) => *frame_bytes,
            Sizes::Told(_) if self.count == 0 => self.bytes.len(),
            Sizes::Told(lengths) => {
                let (frame_bytes, rest) = frame_length(lengths)?;
                *lengths = rest;
                frame_bytes
            }
        };
        let (frame, rest) = self.bytes.split_at_checked(frame_bytes)?;
        self.bytes = rest;
        Some(frame)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for Frames<'_> {}

/// Checks the framing of a packet whose first two bytes are good.
fn split(packet: &[u8]) -> Option<Frames<'_>> {
    let toc = Toc::of(packet)?;
    let body = packet.get(1..)?;
    let frames = match toc.frame_count_code() {
        0 => equal_frames(body, 1)?,
        1 => equal_frames(body, 2)?,
        2 => told_frames(body, 2)?,
        _ => several_frames(body)?,
    };
    let is_in_bounds = match frames.sizes {
        Sizes::Equal(frame_bytes) => frame_bytes <= FRAME_BYTES_MAX,
        // Only the last can be longer: a length that is told has two bytes.
        Sizes::Told(_) => frames.clone().last()?.len() <= FRAME_BYTES_MAX,
    };
    is_in_bounds.then_some(frames)
}

/// The layout of a code 3 packet (RFC 6716 section 3.2.5), from its frame count byte on.
fn several_frames(body: &[u8]) -> Option<Frames<'_>> {
    let (&count_byte, mut rest) = body.split_first()?;
    let count = usize::from(count_byte & FRAME_COUNT_MASK);
    let is_vbr = count_byte & 0x80 != 0;
    let is_padded = count_byte & 0x40 != 0;
    if is_padded {
        let mut padding_bytes = 0;
        loop {
            let (&more, after) = rest.split_first()?;
            rest = after;
            // 255 stands for 254 bytes and another length byte.
            padding_bytes += usize::from(more.min(254));
            if more != 255 {
                break;
            }
        }
        rest = rest.get(..rest.len().checked_sub(padding_bytes)?)?;
    }
    if is_vbr {
        told_frames(rest, count)
    } else {
        equal_frames(rest, count)
    }
}

fn equal_frames(bytes: &[u8], count: usize) -> Option<Frames<'_>> {
    Some(Frames {
        count,
        sizes: Sizes::Equal(equal_parts(bytes.len(), count)?),
        bytes,
    })
}

/// All lengths but the last, then the frames.
fn told_frames(body: &[u8], count: usize) -> Option<Frames<'_>> {
    let mut bytes = body;
    let mut told_bytes = 0;
    for _ in 1..count {
        let (frame_bytes, after) = frame_length(bytes)?;
        bytes = after;
        told_bytes += frame_bytes;
    }
    let lengths = body.get(..body.len() - bytes.len())?;
    (told_bytes <= bytes.len()).then_some(Frames {
        count,
        sizes: Sizes::Told(lengths),
        bytes,
    })
}

/// One of `count` equal parts of `bytes`, if they are equal.
fn equal_parts(bytes: usize, count: usize) -> Option<usize> {
    bytes.is_multiple_of(count).then(|| bytes / count)
}

/// Reads a frame length of one or two bytes (RFC 6716 section 3.2.1). Returns it and what follows.
fn frame_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [short @ 0..=251, rest @ ..] => Some((usize::from(*short), rest)),
        [low, high, rest @ ..] => Some((usize::from(*high) * 4 + usize::from(*low), rest)),
        _ => None,
    }
}
