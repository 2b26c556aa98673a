//! Packets of another duration without decoding (RFC 6716 section 3.2): frames are taken out of packets and put into new
//! ones, as they are. Plain Rust, no libopus.
//!
//! Padding is left behind, and with it the extensions that libopus may hide there. Frames themselves can't be cut: one that is
//! longer than what is asked for goes out alone. For Opus that passes through to a far end which wants another ptime: the
//! SIP trunk (RFC 8866 `a=ptime`, `a=maxptime`). RTP numbering and time stamps are the caller's, who knows the losses.

use super::{FRAMES_MAX, OpusError, PACKET_DURATION_MAX_MS, Toc, frames};

/// Bytes of frames that wait at most: twice what 120 ms at the highest bitrate take.
const WAITING_BYTES_MAX: usize = 2 * 7_650;
/// Frames that wait at most: those of a packet that came, and less than a packet of before.
const WAITING_FRAMES_MAX: usize = 2 * FRAMES_MAX;
/// Lengths from here on take two bytes (RFC 6716 section 3.2.1).
const TWO_BYTE_LENGTH_MIN: usize = 252;

/// A packet that came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repacketized {
    /// Bytes written.
    pub len: usize,
    /// How long it lasts, in microseconds.
    pub duration_us: u32,
}

/// Makes packets of one duration out of packets of any. About 16 KB, allocated by [`new`](Self::new).
///
/// After each [`push`](Self::push), [`pop`](Self::pop) until there is none; [`flush`](Self::flush) what is left when the
/// stream pauses.
#[derive(Debug, Clone)]
pub struct Repacketizer {
    wanted_us: u32,
    /// The frames that wait, oldest first.
    waiting: Vec<Waiting>,
    /// Their bytes, one after another.
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    toc: Toc,
    len: usize,
}

impl Repacketizer {
    /// Packets of `duration_ms`, held to at most 120, are wanted; 0: every frame alone.
    pub fn new(duration_ms: u32) -> Self {
        Self {
            wanted_us: duration_ms.min(PACKET_DURATION_MAX_MS) * 1_000,
            waiting: Vec::with_capacity(WAITING_FRAMES_MAX),
            bytes: Vec::with_capacity(WAITING_BYTES_MAX),
        }
    }

    /// Takes the frames of a packet.
    ///
    /// # Errors
    /// [`OpusError::InvalidPacket`], and [`OpusError::OutputTooShort`] for one that has no room beside what waits, which
    /// happens to packets beyond Opus's highest bitrate and to callers who do not [`pop`](Self::pop). Then nothing of it is taken.
    pub fn push(&mut self, packet: &[u8]) -> Result<(), OpusError> {
        let toc = Toc::of(packet).ok_or(OpusError::InvalidPacket)?;
        let frames = frames(packet)?;
        let room = WAITING_BYTES_MAX.saturating_sub(self.bytes.len());
        if packet.len() > room || self.waiting.len() + frames.len() > WAITING_FRAMES_MAX {
            return Err(OpusError::OutputTooShort { room });
        }
        for frame in frames {
            self.waiting.push(Waiting {
                toc,
                len: frame.len(),
            });
            self.bytes.extend_from_slice(frame);
        }
        Ok(())
    }

    /// The next packet of the wanted duration, written to `packet`; none before enough frames wait. Shorter if the
    /// configuration changes (a packet has only one), or if more frames do not fit into `packet`.
    ///
    /// # Errors
    /// [`OpusError::OutputTooShort`] if `packet` has no room for a single frame. That frame is dropped.
    pub fn pop(&mut self, packet: &mut [u8]) -> Option<Result<Repacketized, OpusError>> {
        let (run, is_whole) = self.leading_run()?;
        is_whole.then(|| self.take(run, packet))
    }

    /// As [`pop`](Self::pop), but does not wait for more frames: the rest of the stream so far.
    ///
    /// # Errors
    /// As [`pop`](Self::pop).
    pub fn flush(&mut self, packet: &mut [u8]) -> Option<Result<Repacketized, OpusError>> {
        let (run, _is_whole) = self.leading_run()?;
        Some(self.take(run, packet))
    }

    /// How many frames go into the next packet, and whether nothing can join them any more.
    fn leading_run(&self) -> Option<(usize, bool)> {
        let first = self.waiting.first()?.toc;
        let wanted = (self.wanted_us / first.frame_duration_us()).max(1) as usize;
        let run = self
            .waiting
            .iter()
            .take(wanted)
            .take_while(|frame| frame.toc.joins(first))
            .count();
        Some((run, run == wanted || run < self.waiting.len()))
    }

    fn take(&mut self, run: usize, packet: &mut [u8]) -> Result<Repacketized, OpusError> {
        let fitting = (1..=run)
            .rev()
            .find(|&count| packed_len(&self.waiting[..count]) <= packet.len());
        // At least one frame goes, so that every call gets on.
        let count = fitting.unwrap_or(1);
        let frames_len: usize = self.waiting[..count].iter().map(|frame| frame.len).sum();
        let taken = match fitting {
            None => Err(OpusError::OutputTooShort { room: packet.len() }),
            Some(_) => Ok(Repacketized {
                len: pack(&self.waiting[..count], &self.bytes[..frames_len], packet),
                duration_us: count as u32 * self.waiting[0].toc.frame_duration_us(),
            }),
        };
        self.waiting.drain(..count);
        self.bytes.drain(..frames_len);
        taken
    }
}

/// Whether all are as long as the first.
fn is_constant(frames: &[Waiting]) -> bool {
    frames.windows(2).all(|pair| pair[0].len == pair[1].len)
}

const fn length_len(len: usize) -> usize {
    if len < TWO_BYTE_LENGTH_MIN { 1 } else { 2 }
}

/// Bytes of a packet with these frames.
fn packed_len(frames: &[Waiting]) -> usize {
    let frames_len: usize = frames.iter().map(|frame| frame.len).sum();
    let count_byte = usize::from(frames.len() > 2);
    1 + count_byte + lengths_len(frames) + frames_len
}

/// Bytes that tell the frames' lengths; the last one's is what is left.
fn lengths_len(frames: &[Waiting]) -> usize {
    match frames.split_last() {
        Some((_last, told)) if !is_constant(frames) => {
            told.iter().map(|frame| length_len(frame.len)).sum()
        }
        _ => 0,
    }
}

/// Writes the shortest packet of these frames, which `packet` has room for ([`packed_len`]): code 0 for one, 1 or 2 for two, 3
/// for more.
fn pack(frames: &[Waiting], bytes: &[u8], packet: &mut [u8]) -> usize {
    let is_constant = is_constant(frames);
    let code = match (frames.len(), is_constant) {
        (1, _) => 0,
        (2, true) => 1,
        (2, false) => 2,
        _ => 3,
    };
    packet[0] = frames[0].toc.with_code(code);
    let mut at = 1;
    if code == 3 {
        // At most 48.
        packet[1] = frames.len() as u8 | if is_constant { 0 } else { 0x80 };
        at = 2;
    }
    if !is_constant {
        for frame in &frames[..frames.len() - 1] {
            if frame.len < TWO_BYTE_LENGTH_MIN {
                packet[at] = frame.len as u8;
            } else {
                // The length is the first byte plus four times the second.
                packet[at] = (TWO_BYTE_LENGTH_MIN + frame.len % 4) as u8;
                packet[at + 1] = ((frame.len - usize::from(packet[at])) / 4) as u8;
            }
            at += length_len(frame.len);
        }
    }
    packet[at..at + bytes.len()].copy_from_slice(bytes);
    at + bytes.len()
}
