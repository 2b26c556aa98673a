//! When each stage of a call's set-up was reached, for its record.

use std::time::{Duration, Instant};

use crate::call::SetUpTimes;
use crate::call::rings::SetUpStage;

/// The stages of one call; none where it did not come so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct SetUpStages {
    created: Instant,
    /// How long the desk took.
    pub admitted_in: Option<Duration>,
    invite_sent: Option<Instant>,
    first_response: Option<Instant>,
    pub ringing: Option<Instant>,
    pub answered: Option<Instant>,
    pub media_from_trunk: Option<Instant>,
    pub media_to_trunk: Option<Instant>,
}

impl SetUpStages {
    pub fn new(created: Instant) -> Self {
        Self {
            created,
            admitted_in: None,
            invite_sent: None,
            first_response: None,
            ringing: None,
            answered: None,
            media_from_trunk: None,
            media_to_trunk: None,
        }
    }

    /// What signalling says was reached.
    pub fn reached(&mut self, stage: SetUpStage, now: Instant) {
        let at = match stage {
            SetUpStage::InviteSent => &mut self.invite_sent,
            SetUpStage::FirstResponse => &mut self.first_response,
        };
        at.get_or_insert(now);
    }

    /// For the record; what the session knows of itself is its own to add.
    pub fn times(&self) -> SetUpTimes {
        let since_created = |at: Option<Instant>| {
            at.map(|at| milliseconds(at.saturating_duration_since(self.created)))
        };
        SetUpTimes {
            authenticated_ms: None,
            admitted_ms: self.admitted_in.map(milliseconds),
            invite_sent_ms: since_created(self.invite_sent),
            first_response_ms: since_created(self.first_response),
            ringing_ms: since_created(self.ringing),
            answered_ms: since_created(self.answered),
            media_from_trunk_ms: since_created(self.media_from_trunk),
            media_to_trunk_ms: since_created(self.media_to_trunk),
            media_ms: None,
        }
    }
}

pub(super) fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
