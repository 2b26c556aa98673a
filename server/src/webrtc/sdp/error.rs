//! Why an offer or a candidate can't be taken: always the caller's to mend.

use thiserror::Error;

use crate::call::q850::Q850Cause;
use crate::fault::{Fault, Refusal, RefusalCode};

/// What is wrong with an SDP, with the line (from 1) where there is one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SdpError {
    /// Longer than [`super::OFFER_LEN_MAX`].
    #[error("the SDP has {0} bytes, at most {max} are read", max = super::OFFER_LEN_MAX)]
    TooLong(usize),
    /// More of something than its limit.
    #[error("line {line}: more than {limit} {what}")]
    TooMany {
        /// The line that is one too many.
        line: usize,
        /// Of what.
        what: &'static str,
        /// How many are read.
        limit: usize,
    },
    /// A line that can't be read.
    #[error("line {line}: {what}")]
    Line {
        /// Which line.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Something that an offer must have is not there.
    #[error("the offer has no {0}")]
    Missing(&'static str),
    /// No audio m-line with a port, over DTLS-SRTP.
    #[error("the offer has no audio m-line that we can use (UDP/TLS/RTP/SAVPF)")]
    NoAudio,
    /// Nothing that both sides can encode: SIP would say 488.
    #[error("no common codec: offered are {offered}, we have {ours}")]
    NoCommonCodec {
        /// The offer's codecs.
        offered: String,
        /// Ours.
        ours: String,
    },
    /// `a=setup:passive`: we are the DTLS server, so the offerer must be able to be the client.
    #[error(
        "a=setup:{0} in the offer: the gateway is the DTLS server, so it must be actpass or active"
    )]
    Setup(&'static str),
    /// Both sides are ICE-lite: nobody would send checks.
    #[error(
        "a=ice-lite in the offer: the gateway is ICE-lite itself, so the caller must be a full ICE agent"
    )]
    IceLite,
    /// A new offer on a running call changes what can't change.
    #[error("the new offer changes {0}, which can't change during a call")]
    Changed(&'static str),
    /// A candidate that can't be read.
    #[error("candidate: {0}")]
    Candidate(&'static str),
}

impl SdpError {
    /// The refusal that ends the call or answers the message: cause 65 when no codec is common, else 21.
    pub fn refusal(&self) -> Refusal {
        let refusal = Refusal::new(RefusalCode::Malformed, Fault::Caller, self.to_string());
        match self {
            Self::NoCommonCodec { .. } => refusal.with_cause(Q850Cause::BEARER_NOT_IMPLEMENTED),
            _ => refusal,
        }
    }
}

impl From<SdpError> for Refusal {
    fn from(error: SdpError) -> Self {
        error.refusal()
    }
}
