//! Sequence numbers, timestamps and sources: newtypes that wrap as RFC 3550 says.

/// A 16-bit RTP sequence number; arithmetic wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SequenceNumber(pub u16);

impl SequenceNumber {
    /// The number after this one.
    pub fn next(self) -> Self {
        self.wrapping_add(1)
    }

    /// This number moved on by `count`.
    pub fn wrapping_add(self, count: u16) -> Self {
        Self(self.0.wrapping_add(count))
    }

    /// How far this number lies after `earlier`, in -32768..=32767; negative when before it.
    pub fn distance_from(self, earlier: Self) -> i32 {
        i32::from(self.0.wrapping_sub(earlier.0) as i16)
    }
}

/// A 32-bit RTP timestamp in units of its clock rate; arithmetic wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RtpTimestamp(pub u32);

impl RtpTimestamp {
    /// This timestamp moved on by `ticks`.
    pub fn wrapping_add(self, ticks: u32) -> Self {
        Self(self.0.wrapping_add(ticks))
    }

    /// How far this timestamp lies after `earlier`; negative when before it.
    pub fn distance_from(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0) as i32
    }
}

/// A synchronisation source (RFC 3550 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Ssrc(pub u32);

/// A payload type, 0..=127.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PayloadType(pub u8);
