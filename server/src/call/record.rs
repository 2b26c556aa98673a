//! The call record: what is kept of a call after its end, for people and for bills. Serialises to JSON.
//!
//! It is plain data; the call machine fills it in.

use serde::Serialize;

use super::CallEvent;
use crate::bridge::{Codec, DirectionStatistics};
use crate::fault::Fault;
use crate::id::LegId;
use crate::rtp::LegStatistics;

/// What is kept of a call after its end: the final event, why it ended, and each leg's account.
#[derive(Debug, Clone, Serialize)]
pub struct CallRecord {
    /// The final event, as published.
    pub event: CallEvent,
    /// One sentence for a person: why the call ended.
    pub end_reason: String,
    /// Who has to change something; none when nothing went wrong.
    pub fault: Option<Fault>,
    /// Legs, directions and set-up times.
    #[serde(flatten)]
    pub account: CallAccount,
}

impl CallRecord {
    /// The record of a call whose legs nobody can account for any more.
    pub fn without_account(
        event: CallEvent,
        end_reason: impl Into<String>,
        fault: Option<Fault>,
    ) -> Self {
        Self {
            event,
            end_reason: end_reason.into(),
            fault,
            account: CallAccount::default(),
        }
    }
}

/// What the owner of a call's legs hands in at its end.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CallAccount {
    /// One account per leg that had media, the vendor leg first.
    pub legs: Vec<LegAccount>,
    /// The leg that the event's packet counts, jitter and codec describe: the trunk leg, or with an echo trunk the
    /// vendor leg. A leg without an account leaves zeros.
    #[serde(skip)]
    pub described_leg: Option<LegId>,
    /// One account per direction of the bridge.
    pub directions: Vec<DirectionAccount>,
    /// How long each stage of the set-up took.
    pub set_up: SetUpTimes,
}

/// One leg as it went.
#[derive(Debug, Clone, Serialize)]
pub struct LegAccount {
    /// Which leg.
    pub leg: LegId,
    /// What it spoke at its end.
    pub codec: Codec,
    /// Packets, losses, jitter, round-trip time.
    pub statistics: LegStatistics,
    /// The estimated MOS of what this leg's listener heard (`call::mos`); none when nothing was sent to it.
    pub mos_as_heard: Option<f64>,
}

/// One direction of the bridge as it went.
#[derive(Debug, Clone, Serialize)]
pub struct DirectionAccount {
    /// The leg that spoke.
    pub from: LegId,
    /// The leg that heard it.
    pub to: LegId,
    /// The bridge's plan in words, like `opus>pcm8k>PCMU`.
    pub plan: String,
    /// What the bridge did to the packets.
    pub statistics: DirectionStatistics,
}

/// How long each stage of the set-up took, in ms; none for a stage that was not reached, or that the call does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SetUpTimes {
    /// From the page's open socket to its believed token.
    pub authenticated_ms: Option<u32>,
    /// From the page's `dial` to CREATE: the desk said yes.
    pub admitted_ms: Option<u32>,
    /// From CREATE to the INVITE on its way.
    pub invite_sent_ms: Option<u32>,
    /// From CREATE to the far end's first response, whichever it was.
    pub first_response_ms: Option<u32>,
    /// From CREATE to the called end being alerted.
    pub ringing_ms: Option<u32>,
    /// From CREATE to ANSWER.
    pub answered_ms: Option<u32>,
    /// From CREATE to the first RTP packet of the far end that was taken.
    pub media_from_trunk_ms: Option<u32>,
    /// From CREATE to the first RTP packet that was sent to it.
    pub media_to_trunk_ms: Option<u32>,
    /// From the page's offer to its media path being secured (ICE and DTLS done).
    pub media_ms: Option<u32>,
}
