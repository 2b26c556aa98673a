//! The account of a leg of PCM.

/// What became of the audio of one way, in frames of 20 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PcmFlow {
    /// Frames that went on, whole.
    pub frames: u64,
    /// Of these, frames that were blended with what would have come in place of what is missing before them.
    pub crossfaded: u64,
    /// Frames that were made up, or a part of them.
    pub concealed: u64,
    /// Frames of silence: only towards the socket.
    pub silence: u64,
    /// Frames, also parts of one, that went instead of going on: too much, too late, or to end a delay. Not what was cleared.
    pub dropped: u64,
    /// How much that was, in ms.
    pub dropped_ms: u64,
    /// Frames that a socket whose peer does not read was not sent: only towards the socket, and in none of the other counts.
    pub unsent: u64,
}

/// The account of a [`PcmLeg`](super::PcmLeg).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PcmStatistics {
    /// What the socket said.
    pub from_socket: PcmFlow,
    /// What the bridge said.
    pub to_socket: PcmFlow,
    /// What waits of the socket's audio, in ms.
    pub queue_ms: u64,
    /// How many times somebody spoke over the socket's audio.
    pub barge_ins: u64,
}
