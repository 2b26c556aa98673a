//! Who sends on a media stream (RFC 3264 section 5.1), the same for every leg that is described by SDP.

/// Who sends on a media stream, seen from whoever says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum StreamDirection {
    /// Both.
    #[default]
    SendRecv,
    /// Only the speaker.
    SendOnly,
    /// Only the listener.
    RecvOnly,
    /// Nobody.
    Inactive,
}

impl StreamDirection {
    /// The direction of one who sends, receives, both or neither.
    pub fn new(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// The attribute's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// The direction that an attribute names.
    pub fn from_attribute(name: &str) -> Option<Self> {
        Some(match name {
            "sendrecv" => Self::SendRecv,
            "sendonly" => Self::SendOnly,
            "recvonly" => Self::RecvOnly,
            "inactive" => Self::Inactive,
            _ => return None,
        })
    }

    /// The most willing answer to an offer of this direction (RFC 3264 section 6.1): the same, seen from the other side.
    pub fn answered(self) -> Self {
        Self::new(self.receives(), self.sends())
    }

    /// May the speaker send?
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Does the speaker receive?
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}
