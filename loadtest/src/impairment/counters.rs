//! What a direction did, by cause.

use server::rtp;

/// Why a datagram did not come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossCause {
    /// By chance, each by itself.
    Random,
    /// The line of a burst profile.
    Burst,
    /// While nothing passed.
    Blackout,
    /// The bottleneck's queue was full.
    QueueFull,
    /// It was chosen by what it is.
    Selected,
}

/// Counters of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Every datagram.
    pub all: Tally,
    /// Those of them that are RTP or SRTP packets.
    pub rtp: Tally,
}

/// What happened to datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Came in.
    pub received: u64,
    /// Bytes of UDP payload that came in.
    pub received_bytes: u64,
    /// Went out, copies included.
    pub delivered: u64,
    /// [`LossCause::Random`].
    pub lost_random: u64,
    /// [`LossCause::Burst`].
    pub lost_burst: u64,
    /// [`LossCause::Blackout`].
    pub lost_blackout: u64,
    /// [`LossCause::QueueFull`].
    pub lost_queue_full: u64,
    /// [`LossCause::Selected`].
    pub lost_selected: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Held back to be overtaken.
    pub reordered: u64,
}

impl Tally {
    /// Lost for whatever cause.
    pub fn lost(&self) -> u64 {
        self.lost_random
            + self.lost_burst
            + self.lost_blackout
            + self.lost_queue_full
            + self.lost_selected
    }

    fn lost_by(&mut self, cause: LossCause) -> &mut u64 {
        match cause {
            LossCause::Random => &mut self.lost_random,
            LossCause::Burst => &mut self.lost_burst,
            LossCause::Blackout => &mut self.lost_blackout,
            LossCause::QueueFull => &mut self.lost_queue_full,
            LossCause::Selected => &mut self.lost_selected,
        }
    }
}

impl Counters {
    pub(super) fn count(&mut self, datagram: &[u8], what: impl Fn(&mut Tally) -> &mut u64) {
        *what(&mut self.all) += 1;
        if is_rtp(datagram) {
            *what(&mut self.rtp) += 1;
        }
    }

    pub(super) fn count_received(&mut self, datagram: &[u8]) {
        self.count(datagram, |tally| &mut tally.received);
        self.all.received_bytes += datagram.len() as u64;
        if is_rtp(datagram) {
            self.rtp.received_bytes += datagram.len() as u64;
        }
    }

    pub(super) fn count_lost(&mut self, datagram: &[u8], cause: LossCause) {
        self.count(datagram, |tally| tally.lost_by(cause));
    }
}

/// By the first byte (RFC 7983), and not RTCP by the second (RFC 5761).
fn is_rtp(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(128..=191)) && !rtp::is_rtcp(datagram)
}
