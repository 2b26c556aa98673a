//! ICE-lite (RFC 8445 section 2.5): answers connectivity checks, keeps the authenticated paths of one peer, follows the
//! controlling agent's nomination, takes ICE restarts (RFC 8445 section 9), and watches consent (RFC 7675).
//!
//! It never sends a check of its own, gathers nothing and is always the controlled agent. An address becomes a path only
//! after MESSAGE-INTEGRITY held, so a spoofed datagram binds nothing. A check that somebody recorded and sends again holds
//! it too: those of late are known (`seen_checks`), and whatever nominates an address, a call's media leaves a living path
//! only for one that brought authenticated media, which is never the same twice.

mod credentials;
mod seen_checks;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::stun::{
    StunClass, StunMessage, StunRefusal, write_binding_error, write_binding_success,
};
use crate::metrics::DropReason;
use credentials::Generation;
pub use credentials::{IceCredentials, PASSWORD_ENTROPY_LEN, UFRAG_ENTROPY_LEN};
use seen_checks::SeenChecks;

/// The most paths of one peer; a ninth replaces the unselected path that was silent for longest.
pub const PATHS_MAX: usize = 8;
/// Without an authenticated check for so long, consent is lost (RFC 7675 section 5.1); a path of its own is released.
pub const CONSENT_TIMEOUT: Duration = Duration::from_secs(30);
/// A selected path that was silent for so long gives way to one that carries authenticated media.
pub const PATH_SILENCE: Duration = Duration::from_secs(2);
/// Events that wait for [`IceLite::poll_event`]: each check makes at most three.
const EVENTS_MAX: usize = 4 * PATHS_MAX;

/// What an agent tells its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IceEvent {
    /// An address was authenticated: the shared socket may demultiplex by it.
    PathBound(SocketAddr),
    /// An address is no path any more.
    PathReleased(SocketAddr),
    /// We send to this address from now on.
    PathSelected(SocketAddr),
    /// The path of a restart was nominated: the credentials before it, with this ufrag of ours, are good no more.
    UfragRetired(String),
    /// No authenticated check for [`CONSENT_TIMEOUT`]; told once.
    ConsentLost,
}

/// What became of a check, with the response to send back to its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindingOutcome {
    /// Bytes of the response in the caller's buffer; 0: nothing is sent.
    pub response_len: usize,
    /// Why the check counts for nothing; the response then says so to the sender.
    pub drop_reason: Option<DropReason>,
}

impl BindingOutcome {
    fn dropped(reason: DropReason) -> Self {
        Self {
            response_len: 0,
            drop_reason: Some(reason),
        }
    }
}

/// One address of the peer that passed a check.
#[derive(Debug, Clone, Copy)]
struct Path {
    address: SocketAddr,
    /// Which credentials its last check had.
    generation: u32,
    last_check_at: Instant,
    last_heard_at: Instant,
    /// It brought media that was authenticated and new: no replay.
    is_proven: bool,
}

/// The agent of one peer.
///
/// Call [`IceLite::handle_binding`] for each STUN datagram and [`IceLite::handle_authenticated_media`] for each SRTP packet
/// that passed its authentication; then poll [`IceLite::poll_event`] until none, and arrange
/// [`IceLite::handle_timeout`] at [`IceLite::poll_timeout`].
#[derive(Debug)]
pub struct IceLite {
    current: Generation,
    /// Those before a restart whose path is not nominated yet. Never more than one generation.
    previous: Option<Generation>,
    paths: Vec<Path>,
    selected: Option<SocketAddr>,
    /// Nominated while another path carried the media; selected as soon as it brings media, or the other is silent.
    awaiting_proof: Option<SocketAddr>,
    seen_checks: SeenChecks,
    /// Whether the controlling agent nominated the selected path, with whatever generation.
    nominated: bool,
    consent_at: Instant,
    consent_lost: bool,
    events: VecDeque<IceEvent>,
}

impl IceLite {
    /// An agent without a path. The clock of consent starts now.
    pub fn new(now: Instant, local: IceCredentials, remote_ufrag: &str) -> Self {
        Self {
            current: Generation::new(0, local, remote_ufrag),
            previous: None,
            paths: Vec::new(),
            selected: None,
            awaiting_proof: None,
            seen_checks: SeenChecks::default(),
            nominated: false,
            consent_at: now,
            consent_lost: false,
            events: VecDeque::new(),
        }
    }

    /// Our own credentials, as told in the last answer.
    pub fn local(&self) -> &IceCredentials {
        &self.current.local
    }

    /// The peer's ufrag, as told in its last offer.
    pub fn remote_ufrag(&self) -> &str {
        &self.current.remote_ufrag
    }

    /// New credentials on both sides (RFC 8445 section 9). Paths and the selected one stay, and the credentials before
    /// stay valid, until a path is nominated with the new ones. A further restart before that replaces the new ones.
    pub fn restart(&mut self, local: IceCredentials, remote_ufrag: &str) {
        let number = self.current.number.wrapping_add(1);
        let replaced = std::mem::replace(
            &mut self.current,
            Generation::new(number, local, remote_ufrag),
        );
        if self.previous.is_none() {
            self.previous = Some(replaced);
        } else {
            self.push_event(IceEvent::UfragRetired(replaced.local.ufrag));
        }
    }

    /// Where we send to; none before the first authenticated check.
    pub fn selected(&self) -> Option<SocketAddr> {
        self.selected
    }

    /// The authenticated addresses, at most [`PATHS_MAX`].
    pub fn bound_addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.paths.iter().map(|path| path.address)
    }

    /// Is `from` authenticated?
    pub fn is_bound(&self, from: SocketAddr) -> bool {
        self.paths.iter().any(|path| path.address == from)
    }

    /// Checks a STUN message from `from` and writes the response into `response`
    /// ([`super::stun::RESPONSE_LEN_MAX`] bytes suffice). Only a request with our ufrag, the peer's ufrag and a valid
    /// MESSAGE-INTEGRITY changes anything.
    pub fn handle_binding(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &StunMessage<'_>,
        response: &mut [u8],
    ) -> BindingOutcome {
        match message.class() {
            StunClass::Request => {}
            // A keep-alive (RFC 8445 section 11): nothing to answer, and it proves nothing.
            StunClass::Indication => {
                return BindingOutcome {
                    response_len: 0,
                    drop_reason: None,
                };
            }
            // We never ask, so nobody answers us.
            StunClass::SuccessResponse | StunClass::ErrorResponse => {
                return BindingOutcome::dropped(DropReason::StunMalformed);
            }
        }
        let generation = match self.authenticate(message) {
            Ok(generation) => generation,
            Err((refusal, reason)) => {
                let response_len =
                    write_binding_error(response, message, refusal, None).unwrap_or(0);
                return BindingOutcome {
                    response_len,
                    drop_reason: Some(reason),
                };
            }
        };
        let (number, key) = (generation.number, &generation.key);
        let refusal = if !message.unknown_attributes().is_empty() {
            Some(StunRefusal::UnknownAttribute)
        } else if message.ice_controlled().is_some() {
            // A lite agent can't take the controlling role, whatever the tie-breaker says.
            Some(StunRefusal::RoleConflict)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            let response_len =
                write_binding_error(response, message, refusal, Some(key)).unwrap_or(0);
            return BindingOutcome {
                response_len,
                drop_reason: None,
            };
        }
        if !self.seen_checks.is_new(message.transaction_id(), from) {
            // No answer: it would tell whoever replays it that the call still lives.
            return BindingOutcome::dropped(DropReason::StunReplay);
        }
        let key = &self.generation(number).key;
        let response_len = write_binding_success(response, message.transaction_id(), from, key);
        self.take_check(now, from, number, message.use_candidate());
        BindingOutcome {
            response_len: response_len.unwrap_or(0),
            drop_reason: None,
        }
    }

    /// The credentials with which MESSAGE-INTEGRITY holds.
    fn authenticate(
        &self,
        message: &StunMessage<'_>,
    ) -> Result<&Generation, (StunRefusal, DropReason)> {
        let Some(username) = message.username() else {
            return Err((StunRefusal::BadRequest, DropReason::StunMalformed));
        };
        if !message.has_integrity() {
            return Err((StunRefusal::BadRequest, DropReason::StunIntegrity));
        }
        let mut valid = self.previous.iter().chain([&self.current]);
        let Some(generation) = valid.find(|generation| generation.is_named_by(username)) else {
            return Err((StunRefusal::Unauthenticated, DropReason::StunUnknownUfrag));
        };
        if !message.integrity_holds(&generation.key) {
            return Err((StunRefusal::Unauthenticated, DropReason::StunIntegrity));
        }
        Ok(generation)
    }

    /// The credentials of that number; the current ones if it is over.
    fn generation(&self, number: u32) -> &Generation {
        let previous = self.previous.iter().find(|it| it.number == number);
        previous.unwrap_or(&self.current)
    }

    fn take_check(&mut self, now: Instant, from: SocketAddr, generation: u32, use_candidate: bool) {
        if self.consent_lost {
            return;
        }
        self.consent_at = now;
        match self.paths.iter_mut().find(|path| path.address == from) {
            Some(path) => {
                path.generation = generation;
                path.last_check_at = now;
                path.last_heard_at = now;
            }
            None => self.bind(now, from, generation),
        }
        let is_current = generation == self.current.number;
        // Once media has moved to a path of the restart, the nominations before it count no more.
        let nominates = use_candidate && (is_current || !self.has_moved());
        // The first path serves until the controlling agent nominates one.
        let restarts = nominates && is_current && self.previous.is_some();
        if self.selected.is_none() || restarts {
            self.select(from);
        } else if nominates {
            self.nominate(now, from);
        }
        self.nominated |= nominates;
        if nominates
            && is_current
            && let Some(previous) = self.previous.take()
        {
            self.push_event(IceEvent::UfragRetired(previous.local.ufrag));
        }
    }

    /// Follows a nomination at once, unless media flows on another path and none came from this one yet: what nominates
    /// may be a recording that is older than our memory.
    fn nominate(&mut self, now: Instant, from: SocketAddr) {
        let is_proven = (self.paths.iter()).any(|path| path.address == from && path.is_proven);
        let media_flows = self.selected_path().is_some_and(|path| path.is_proven);
        if is_proven || !media_flows || self.is_selected_silent(now) {
            self.select(from);
        } else if self.selected != Some(from) {
            self.awaiting_proof = Some(from);
        }
    }

    fn selected_path(&self) -> Option<&Path> {
        self.paths
            .iter()
            .find(|path| Some(path.address) == self.selected)
    }

    fn is_selected_silent(&self, now: Instant) -> bool {
        self.selected_path()
            .is_none_or(|path| now.saturating_duration_since(path.last_heard_at) >= PATH_SILENCE)
    }

    /// Is the selected path one of the current credentials?
    fn has_moved(&self) -> bool {
        (self.paths.iter()).any(|path| {
            Some(path.address) == self.selected && path.generation == self.current.number
        })
    }

    fn bind(&mut self, now: Instant, address: SocketAddr, generation: u32) {
        if self.paths.len() >= PATHS_MAX {
            let selected = self.selected;
            let oldest = (self.paths.iter().enumerate())
                .filter(|(_, path)| Some(path.address) != selected)
                .min_by_key(|(_, path)| path.last_heard_at)
                .map(|(index, _)| index);
            if let Some(index) = oldest {
                let released = self.paths.swap_remove(index);
                self.push_event(IceEvent::PathReleased(released.address));
            }
        }
        self.paths.push(Path {
            address,
            generation,
            last_check_at: now,
            last_heard_at: now,
            is_proven: false,
        });
        self.push_event(IceEvent::PathBound(address));
    }

    fn select(&mut self, address: SocketAddr) {
        self.awaiting_proof = None;
        if self.selected != Some(address) {
            self.selected = Some(address);
            self.push_event(IceEvent::PathSelected(address));
        }
    }

    /// An SRTP packet from `from` passed its authentication and is no replay: moves us there when it was nominated before
    /// it, or the selected path was silent for [`PATH_SILENCE`]. An address that is no path is ignored.
    pub fn handle_authenticated_media(&mut self, now: Instant, from: SocketAddr) {
        let Some(path) = self.paths.iter_mut().find(|path| path.address == from) else {
            return;
        };
        path.last_heard_at = now;
        path.is_proven = true;
        if self.selected == Some(from) {
            return;
        }
        if self.awaiting_proof == Some(from) || self.is_selected_silent(now) {
            self.select(from);
        }
    }

    /// A DTLS record came from `from`: while nothing is nominated, the handshake's own path serves. An address that is
    /// no path is ignored.
    pub fn handle_handshake(&mut self, from: SocketAddr) {
        if !self.nominated && self.is_bound(from) {
            self.select(from);
        }
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<IceEvent> {
        self.events.pop_front()
    }

    /// When [`IceLite::handle_timeout`] is due; none once consent is lost.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.consent_lost {
            return None;
        }
        let paths = self.paths.iter().map(|path| path.last_check_at);
        paths
            .chain([self.consent_at])
            .min()
            .map(|at| at + CONSENT_TIMEOUT)
    }

    /// Releases unselected paths that brought no check for [`CONSENT_TIMEOUT`], and tells the loss of consent.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.consent_lost {
            return;
        }
        let expired = |at: Instant| now.saturating_duration_since(at) >= CONSENT_TIMEOUT;
        self.consent_lost = expired(self.consent_at);
        let mut index = 0;
        while let Some(path) = self.paths.get(index).copied() {
            if !expired(path.last_check_at) {
                index += 1;
                continue;
            }
            self.paths.swap_remove(index);
            self.push_event(IceEvent::PathReleased(path.address));
        }
        if self.consent_lost {
            self.selected = None;
            self.push_event(IceEvent::ConsentLost);
        } else if self
            .selected
            .is_some_and(|selected| !self.is_bound(selected))
        {
            // The nominated path went silent while another is checked: serve the one that was heard last.
            self.selected = None;
            self.nominated = false;
            if let Some(path) = self.paths.iter().max_by_key(|path| path.last_heard_at) {
                self.select(path.address);
            }
        }
    }

    fn push_event(&mut self, event: IceEvent) {
        // An owner who polls after every call never meets the limit.
        if self.events.len() < EVENTS_MAX {
            self.events.push_back(event);
        }
    }
}

#[cfg(test)]
mod tests;
