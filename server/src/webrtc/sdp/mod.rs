//! SDP offer/answer for one audio stream (RFC 8866, 3264, 8829, 8839, 8842, 9143): reads a browser's offer, writes our
//! answer.
//!
//! We never offer. Everything that is copied from an offer into an answer is validated as a token first.

mod answer;
mod candidate;
mod error;
mod negotiate;
mod offer;

pub use answer::*;
pub use candidate::*;
pub use error::*;
pub use negotiate::*;
pub use offer::*;

/// Who sends on a media stream, seen from whoever says it (RFC 3264 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Direction {
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

impl Direction {
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

    /// The most willing answer to an offer of this direction (RFC 3264 section 6.1).
    pub fn answered(self) -> Self {
        match self {
            Self::SendRecv => Self::SendRecv,
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            Self::Inactive => Self::Inactive,
        }
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

#[cfg(test)]
mod tests;
