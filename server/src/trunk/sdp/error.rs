//! Why an SDP can't be used, and what SIP and the call are told.

use std::net::IpAddr;

use thiserror::Error;

use crate::call::q850::Q850Cause;
use crate::fault::{Fault, Refusal, RefusalCode};

/// What is wrong with the far end's SDP, or with the moment that it comes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SdpError {
    /// Longer than [`super::SDP_LEN_MAX`].
    #[error("the SDP has {0} bytes, at most {max} are read", max = super::SDP_LEN_MAX)]
    TooLong(usize),
    /// More of something than its limit.
    #[error("the SDP has more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are read.
        limit: usize,
    },
    /// A line that can't be read, counted from 1.
    #[error("the SDP's line {line}: {what}")]
    Line {
        /// Which line.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Refused by the grammar.
    #[error("the SDP can't be read")]
    Grammar,
    /// No audio m-line at all: fax, video, or nothing.
    #[error("the SDP has no audio")]
    NoAudio,
    /// Every audio m-line has port 0: the far end wants none.
    #[error("the SDP refuses the audio: its port is 0")]
    AudioPortZero,
    /// Nothing that both sides can encode.
    #[error("no common codec: the far end has {offered}; we have {ours}")]
    NoCommonCodec {
        /// The far end's codecs.
        offered: String,
        /// Ours.
        ours: String,
    },
    /// An audio m-line over something that we don't have, like DTLS-SRTP, or in an answer another one than was offered.
    #[error("audio over {0} is not supported here")]
    Transport(String),
    /// No `c=` line that holds for the audio.
    #[error("the SDP has no c= line for its audio")]
    NoConnection,
    /// A `c=` line with a host name: media is never resolved by name.
    #[error("a host name in a c= line is not supported, only IP addresses are")]
    HostName,
    /// Multicast or broadcast.
    #[error("the media address {0} is no unicast address")]
    NotUnicast(IpAddr),
    /// IPv6 where our media has IPv4, or the other way round.
    #[error("the media address {0} is of another family than ours")]
    AddressFamily(IpAddr),
    /// Outside of the trunk's `media_ip_cidrs`.
    #[error("the media address {0} is in none of the trunk's media_ip_cidrs")]
    MediaAddress(IpAddr),
    /// The trunk has `srtp = true`, the far end's audio is plain.
    #[error("the trunk asks for SRTP, the SDP has plain RTP")]
    NoSrtp,
    /// SRTP, but no `a=crypto` line that we can use.
    #[error("the SDP has SRTP without usable keys: {0}")]
    NoUsableKeys(&'static str),
    /// An answer with fewer m-lines than the offer.
    #[error("the answer lacks the offer's audio m-line")]
    AnswerWithoutAudio,
    /// Payload types of this dialog are used up by ever new offers.
    #[error("no payload type is left for {0}")]
    NoPayloadType(&'static str),
    /// An offer came while ours waits for its answer: 491 (RFC 3261 section 14.2).
    #[error("an offer of ours waits for its answer")]
    Glare,
    /// An offer is to be made while another of ours waits for its answer.
    #[error("an offer of ours waits for its answer")]
    OfferOutstanding,
    /// An answer to an offer that is not the dialog's last.
    #[error("an answer without an offer")]
    NotOffered,
}

impl SdpError {
    /// The response to the request that carried it.
    pub fn sip_status(&self) -> u16 {
        match self {
            Self::TooLong(_) | Self::TooMany { .. } | Self::Line { .. } | Self::Grammar => 400,
            Self::Glare => 491,
            Self::OfferOutstanding | Self::NotOffered => 500,
            _ => 488,
        }
    }

    /// The `warn-code` of a Warning header that goes with a 488 (RFC 3261 section 20.43).
    pub fn sip_warning(&self) -> u16 {
        match self {
            Self::AddressFamily(_) | Self::HostName => 301,
            Self::Transport(_) | Self::NoSrtp | Self::NoUsableKeys(_) => 302,
            Self::NoAudio | Self::AudioPortZero | Self::AnswerWithoutAudio => 304,
            Self::NoCommonCodec { .. } => 305,
            _ => 399,
        }
    }

    /// How the call ends because of it: cause 65, 111 for what can't be read.
    pub fn refusal(&self) -> Refusal {
        let (code, fault, cause) = match self {
            Self::OfferOutstanding | Self::NotOffered => (
                RefusalCode::Internal,
                Fault::Us,
                Q850Cause::TEMPORARY_FAILURE,
            ),
            Self::TooLong(_) | Self::TooMany { .. } | Self::Line { .. } | Self::Grammar => (
                RefusalCode::Malformed,
                Fault::Trunk,
                Q850Cause::PROTOCOL_ERROR,
            ),
            _ => (
                RefusalCode::Malformed,
                Fault::Trunk,
                Q850Cause::BEARER_NOT_IMPLEMENTED,
            ),
        };
        Refusal::new(code, fault, self.to_string()).with_cause(cause)
    }
}

impl From<SdpError> for Refusal {
    fn from(error: SdpError) -> Self {
        error.refusal()
    }
}
