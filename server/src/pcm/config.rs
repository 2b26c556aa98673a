//! How a leg of PCM is set up.

use std::time::Duration;

use super::Encoding;
use crate::rtp::{RtpTimestamp, SequenceNumber};

/// How a [`PcmLeg`](super::PcmLeg) is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PcmConfig {
    /// Of both ways.
    pub encoding: Encoding,
    /// Audio of the socket that waits at most, in ms.
    pub queue_ms_max: u32,
    /// How far a late clock runs to catch up, in ms: no burst is longer.
    pub max_ahead_ms: u32,
    /// Whether the socket hears silence when the bridge has nothing for it.
    pub continuous: bool,
    /// Who is behind the socket.
    pub source: PcmSource,
    /// How long somebody has to speak to the socket until what the socket says is cut off. None: never.
    pub barge_in: Option<Duration>,
    /// Of the first packet towards the bridge; random, by RFC 3550 section 5.1.
    pub first_sequence_number: SequenceNumber,
    /// The same.
    pub first_timestamp: RtpTimestamp,
}

/// What a socket's audio is to whoever hears it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PcmSource {
    /// A caller, who speaks in real time: what came before anybody listened is over, and a delay that stands is taken out.
    RealTime,
    /// An agent, who says each thing once and as fast as it has it: every word is kept. Of a delay that stands only silence is
    /// taken out, and what is said before the call stands waits for it.
    Ahead,
}

/// [`PcmConfig::max_ahead_ms`] unless something else is wanted.
pub const MAX_AHEAD_MS_DEFAULT: u32 = 200;
