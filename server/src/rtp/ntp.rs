//! NTP timestamps as RTCP carries them (RFC 3550 section 4). The wall clock is passed in; nothing here reads one.

use std::time::Duration;

use crate::id::UnixMillis;

/// Seconds from 1900-01-01 to 1970-01-01.
const UNIX_EPOCH_IN_NTP_S: u64 = 2_208_988_800;

/// 64-bit NTP time: seconds since 1900 in the upper half, their fraction in the lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// The NTP time that lies `since_epoch` after 1970-01-01; the seconds wrap in 2036 as NTP's era does.
    pub fn from_unix(since_epoch: Duration) -> Self {
        let seconds = since_epoch.as_secs().wrapping_add(UNIX_EPOCH_IN_NTP_S) & 0xffff_ffff;
        let fraction = (u64::from(since_epoch.subsec_nanos()) << 32) / 1_000_000_000;
        Self((seconds << 32) | fraction)
    }

    /// The middle 32 bits, units of 1/65536 s: what report blocks echo.
    pub fn compact(self) -> CompactNtp {
        CompactNtp((self.0 >> 16) as u32)
    }
}

impl From<UnixMillis> for NtpTime {
    /// Times before 1970 count as 1970.
    fn from(wall: UnixMillis) -> Self {
        Self::from_unix(Duration::from_millis(u64::try_from(wall.0).unwrap_or(0)))
    }
}

/// The middle 32 bits of an [`NtpTime`], or a duration in units of 1/65536 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CompactNtp(pub u32);

impl CompactNtp {
    /// A duration in units of 1/65536 s, at most 18 h.
    pub fn from_duration(duration: Duration) -> Self {
        let units = (duration.as_nanos() << 16) / 1_000_000_000;
        Self(u32::try_from(units).unwrap_or(u32::MAX))
    }

    /// Read as a duration.
    pub fn as_duration(self) -> Duration {
        Duration::from_nanos((u64::from(self.0) * 1_000_000_000) >> 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epochs_meet() {
        assert_eq!(NtpTime::from(UnixMillis(0)).0, 2_208_988_800 << 32);
        // RFC 5905 figure 4: the first day of UNIX, and half a second later.
        assert_eq!(
            NtpTime::from(UnixMillis(500)).0,
            (2_208_988_800 << 32) | 0x8000_0000
        );
        assert_eq!(
            NtpTime(0x1234_5678_9abc_def0).compact(),
            CompactNtp(0x5678_9abc)
        );
    }

    #[test]
    fn durations_survive_within_a_unit() {
        // RFC 3550 figure 2: DLSR 0x0005:4000 is 5.250 s.
        assert_eq!(
            CompactNtp(0x0005_4000).as_duration(),
            Duration::from_millis(5250)
        );
        assert_eq!(
            CompactNtp::from_duration(Duration::from_millis(5250)),
            CompactNtp(0x0005_4000)
        );
    }
}
