//! What a leg of PCM tells.

use thiserror::Error;

/// Marks that wait at most, and those whose event was not polled.
pub const MARKS_MAX: usize = 1_024;
/// Bytes of a mark's name at most.
pub const MARK_NAME_LEN_MAX: usize = 256;

/// What [`PcmLeg::poll_event`](super::PcmLeg::poll_event) tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PcmEvent {
    /// All audio before this mark was played, or cleared.
    Played {
        /// The mark's name.
        mark: String,
    },
    /// The socket sent more than may wait: the oldest went.
    Overflow {
        /// How much went since the last such event, in ms.
        dropped_ms: u64,
    },
    /// Somebody spoke to the socket while it spoke: what waited was cleared.
    BargeIn {
        /// Of the socket's audio, since it was cleared last, in ms.
        played_ms: u64,
    },
}

/// A mark that is not taken. The socket's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MarkError {
    /// More than [`MARKS_MAX`].
    #[error("more than {MARKS_MAX} marks wait")]
    TooMany,
    /// Longer than [`MARK_NAME_LEN_MAX`].
    #[error("the name of a mark has {0} bytes, at most {MARK_NAME_LEN_MAX} are taken")]
    NameTooLong(usize),
}

/// A frame for the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameOut {
    /// Bytes of it: always those of 20 ms.
    pub len: usize,
    /// What it holds.
    pub kind: FrameKind,
}

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// What the bridge sent, whole.
    Audio,
    /// It is made up, or a part of it.
    Concealed,
    /// The bridge had nothing.
    Silence,
}
