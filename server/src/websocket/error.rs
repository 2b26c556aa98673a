//! How a peer can break the protocol.

/// What the peer did wrong. The connection is over: close it with [`Self::close_code`] and this sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Reserved bits, which only extensions use.
    #[error("a frame has reserved bits set, but no extension was agreed")]
    ReservedBits,
    /// An opcode of the future.
    #[error("a frame has the reserved opcode {0}")]
    ReservedOpcode(u8),
    /// A client has to mask.
    #[error("a frame of a client is not masked")]
    NotMasked,
    /// A server must not mask.
    #[error("a frame of a server is masked")]
    Masked,
    /// A length in more bytes than it needs.
    #[error("the length of a frame is not in its shortest form")]
    LongLength,
    /// A control frame in fragments.
    #[error("a control frame is fragmented")]
    FragmentedControl,
    /// A control frame above [`super::CONTROL_LEN_MAX`].
    #[error("a control frame is longer than 125 bytes")]
    LongControl,
    /// A continuation of nothing.
    #[error("a continuation frame continues no message")]
    NothingToContinue,
    /// A message within another one.
    #[error("a message begins within the fragments of another")]
    Interrupted,
    /// A Close with half a code.
    #[error("a Close has one byte, which is no code")]
    CloseTooShort,
    /// A code that must not be sent (section 7.4).
    #[error("a Close has the code {0}, which is not to be sent")]
    CloseCode(u16),
    /// Text or a reason that is not UTF-8.
    #[error("a text is not UTF-8")]
    NotUtf8,
    /// A message above what is taken.
    #[error("a message is longer than {len_max} bytes")]
    MessageTooLong {
        /// What is taken.
        len_max: usize,
    },
}

impl ProtocolError {
    /// The code to close with (section 7.4.1): 1002, 1007 or 1009.
    pub fn close_code(&self) -> u16 {
        match self {
            Self::NotUtf8 => 1007,
            Self::MessageTooLong { .. } => 1009,
            _ => 1002,
        }
    }
}
