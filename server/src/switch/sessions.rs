//! What a signalling session may ask of the switch: a media leg, a call, hold, digits, an end.
//!
//! A session belongs to one tenant and has at most one media leg and one call. The dialect has checked the shape of
//! what is asked; here it is checked against the tenant, its trunks and the desk.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use shards::wheel::Alarm;
use tracing::debug;

use super::calls::{Acceptance, HangUp};
use super::mailbox::{Mailbox, SessionEvent};
use super::pcm_socket::PcmKey;
use super::{CallKey, SessionKey, Switch, SwitchHandle, Timer, entropy, ntp_now};
use crate::call::q850::Q850Cause;
use crate::call::rings::{Question, VendorDialTarget};
use crate::config::{TenantConfig, TrunkConfig};
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::id::{CallSid, TenantId, TrunkId};
use crate::metrics::LoadRefusal;
use crate::webrtc::ice_lite::IceCredentials;
use crate::webrtc::{Peer, PeerEntropy};

/// What a dialect's `dial` asks for.
#[derive(Debug, Clone)]
pub struct DialRequest {
    /// Whom to call; empty: whom the route names.
    pub to: String,
    /// Over which trunk; none: over that of the tenant's first route.
    pub trunk_id: Option<TrunkId>,
    /// Who calls.
    pub call_from: String,
    /// Echoed in every CallEvent.
    pub client_id: String,
}

/// How a session ends, for the record of a call that is live then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEnd {
    /// The page closed its socket, and said so.
    Closed,
    /// The socket was lost, and the session not resumed: why it was given up.
    Lost(String),
    /// Its task panicked.
    Failed,
}

impl From<SessionEnd> for HangUp {
    fn from(end: SessionEnd) -> Self {
        match end {
            SessionEnd::Closed => Self::caller("the caller's signalling socket was closed"),
            SessionEnd::Lost(text) => Self::new(Q850Cause::TIMER_EXPIRY, Fault::Caller, text),
            SessionEnd::Failed => Self::internal_error(),
        }
    }
}

/// One signalling session.
pub(super) struct Session {
    /// Whose dialect it speaks: the word in `[[tenants.routes]]`.
    pub(super) vendor: &'static str,
    pub(super) tenant: Arc<TenantConfig>,
    pub(super) mailbox: Rc<Mailbox>,
    pub(super) peer: Option<Box<Peer>>,
    /// Its WebSocket of audio, in place of a WebRTC leg.
    pub(super) pcm: Option<PcmKey>,
    /// Its media leg is up: ICE and DTLS are done, or its dialect knows how audio is coded.
    pub(super) connected: bool,
    pub(super) call: Option<CallKey>,
    /// Which of the shard's sessions, counted from its start.
    pub(super) serial: u64,
    pub(super) opened: Instant,
    /// Whom its token names, once that was believed.
    pub(super) subject: Option<String>,
    /// It has, had or asks for its call.
    pub(super) engaged: bool,
    /// The control thread was told that it can be called.
    pub(super) is_waiting: bool,
    pub(super) authenticated_ms: Option<u32>,
    /// When its first offer came.
    pub(super) offered: Option<Instant>,
    pub(super) media_ms: Option<u32>,
    /// Whom we dial for it, where it did not dial us.
    pub(super) dials: Option<VendorDialTarget>,
    /// The vendor's own name of its call, where that can be hung up by it.
    pub(super) vendor_call: Option<String>,
    /// Its call was answered, as far as its peer was told.
    pub(super) answered: bool,
    alarm: Alarm,
}

impl Session {
    pub(super) fn tell(&self, event: SessionEvent) {
        self.mailbox.put(event);
    }
}

impl SwitchHandle {
    /// Opens a session for `tenant`.
    pub fn open_session(&self, tenant: Arc<TenantConfig>) -> (SessionKey, Rc<Mailbox>) {
        let mut switch = self.0.borrow_mut();
        let mailbox = Rc::new(Mailbox::default());
        let key = switch.insert_session(tenant, "browser", |_| Rc::clone(&mailbox));
        (key, mailbox)
    }

    /// Ends a session and its call.
    pub fn close_session(&self, key: SessionKey, end: SessionEnd) {
        let mut switch = self.0.borrow_mut();
        if end == SessionEnd::Failed {
            // The panic may have left the media leg half changed: it gets no goodbye.
            switch.drop_peer(key);
        }
        switch.remove_session(Instant::now(), key, end.into());
        switch.flush_now();
    }

    /// Whether the session's media leg has its keys.
    pub fn is_media_connected(&self, key: SessionKey) -> bool {
        let switch = self.0.borrow();
        (switch.sessions.get(key.0)).is_some_and(|session| session.connected)
    }

    /// Checks and counts a trickled candidate; an ICE-lite agent learns addresses from checks alone.
    ///
    /// # Errors
    /// It is no candidate.
    pub fn candidate(&self, key: SessionKey, line: &str) -> Result<(), Refusal> {
        if line.is_empty() {
            return Ok(());
        }
        let mut switch = self.0.borrow_mut();
        let session = switch.sessions.get_mut(key.0).ok_or_else(no_session)?;
        let peer = session.peer.as_mut().ok_or_else(no_session)?;
        peer.handle_candidate(line).map_err(Refusal::from)
    }

    /// Takes an SDP offer and answers it: a new media leg, or another negotiation of the one that is there.
    ///
    /// # Errors
    /// Why the offer can't be answered; an existing leg stays as it was.
    pub fn offer(&self, key: SessionKey, sdp: &str) -> Result<String, Refusal> {
        let mut switch = self.0.borrow_mut();
        let now = Instant::now();
        let session = switch.sessions.get(key.0).ok_or_else(no_session)?;
        let answer = match session.peer {
            Some(_) => switch.renegotiate(now, key, sdp)?,
            None => {
                // Before the handshake, which is most of what a page costs.
                switch.has_room(LoadRefusal::Offer)?;
                switch.new_peer(now, key, sdp)?
            }
        };
        switch.after_peer(now, key);
        switch.reformat(now, key);
        switch.tell_waiting(key);
        switch.flush_now();
        switch.publish_gauges();
        switch.wake();
        Ok(answer)
    }

    /// May this token be used, and never again? Asks the desk.
    ///
    /// # Errors
    /// The desk's refusal, or [`RefusalCode::Overload`] when it does not answer.
    pub async fn use_token(
        &self,
        tenant_id: TenantId,
        token: String,
        expires_unix_s: u64,
    ) -> Result<(), Refusal> {
        self.ask(Question::UseToken {
            tenant_id,
            token,
            expires_unix_s,
        })
        .await
    }

    /// Makes a call on `key`'s media leg. Every refusal after this point has its CREATE and HANGUP_COMPLETE; they and
    /// the refusal's cause reach the session's mailbox like any other call's end.
    ///
    /// # Errors
    /// Why there is no call.
    pub async fn dial(&self, key: SessionKey, request: DialRequest) -> Result<CallSid, Refusal> {
        let prepared = self.0.borrow_mut().prepare_call(key, request)?;
        let question = match &prepared.refused {
            Some(refusal) => Err(refusal.clone()),
            None => Ok(Question::OpenCall {
                call_sid: prepared.call_sid,
                tenant_id: prepared.tenant_id.clone(),
                trunk_id: prepared.trunk_id.clone(),
            }),
        };
        let granted = match question {
            Ok(question) => self.ask(question).await,
            Err(refusal) => Err(refusal),
        };
        let mut switch = self.0.borrow_mut();
        let result = switch.begin_call(key, prepared, granted);
        switch.tell_waiting(key);
        switch.flush_now();
        switch.publish_gauges();
        result
    }

    /// Puts the far end on hold, or takes it back.
    ///
    /// # Errors
    /// If there is no answered call.
    pub fn hold(&self, key: SessionKey, hold: bool) -> Result<(), Refusal> {
        let mut switch = self.0.borrow_mut();
        let call = switch.answered_call_of(key)?;
        switch.set_vendor_hold(Instant::now(), call, |holds| holds.by_message = hold);
        Ok(())
    }

    /// Sends digits to the far end.
    ///
    /// # Errors
    /// If there is no answered call, or the far end takes no telephone-events, or too many digits wait.
    pub fn send_digits(
        &self,
        key: SessionKey,
        digits: &str,
        duration_ms: u32,
    ) -> Result<(), Refusal> {
        let mut switch = self.0.borrow_mut();
        let call = switch.answered_call_of(key)?;
        switch.send_digits_to_trunk(Instant::now(), call, digits, duration_ms)
    }

    /// The caller hangs up.
    ///
    /// # Errors
    /// If there is no call.
    pub fn hang_up(&self, key: SessionKey) -> Result<(), Refusal> {
        let mut switch = self.0.borrow_mut();
        let call = switch
            .sessions
            .get(key.0)
            .and_then(|session| session.call)
            .ok_or_else(no_call)?;
        switch.end_call(Instant::now(), call, HangUp::caller("the caller hung up"));
        switch.flush_now();
        Ok(())
    }

    async fn ask(&self, question: Question) -> Result<(), Refusal> {
        let (id, answer) = {
            let switch = &mut *self.0.borrow_mut();
            let ring = switch.to_control.ring_mut();
            switch.asks.ask(ring, question)?
        };
        // A dropped session (its task ended while it waited) must leave no open question behind.
        let open = OpenAsk { switch: self, id };
        let answer = answer.await;
        drop(open);
        answer
    }
}

struct OpenAsk<'a> {
    switch: &'a SwitchHandle,
    id: crate::call::rings::AskId,
}

impl Drop for OpenAsk<'_> {
    fn drop(&mut self) {
        if let Ok(mut switch) = self.switch.0.try_borrow_mut() {
            switch.asks.close(self.id);
        }
    }
}

impl Switch {
    /// A new session; `mailbox` makes its mailbox.
    pub(super) fn insert_session(
        &mut self,
        tenant: Arc<TenantConfig>,
        vendor: &'static str,
        mailbox: impl FnOnce(SessionKey) -> Rc<Mailbox>,
    ) -> SessionKey {
        let entry = self.sessions.vacant_entry();
        let key = SessionKey(entry.key());
        entry.insert(Session {
            vendor,
            tenant,
            mailbox: mailbox(key),
            peer: None,
            pcm: None,
            connected: false,
            call: None,
            serial: self.next_serial,
            opened: Instant::now(),
            subject: None,
            engaged: false,
            is_waiting: false,
            authenticated_ms: None,
            offered: None,
            media_ms: None,
            dials: None,
            vendor_call: None,
            answered: false,
            alarm: Alarm::default(),
        });
        self.next_serial += 1;
        self.reserve_timers();
        self.metrics.sessions_total.increment();
        self.publish_gauges();
        key
    }

    /// Every session, to be gone through while they change.
    pub(super) fn session_keys(&self) -> Vec<SessionKey> {
        let keys = self.sessions.iter().map(|(key, _)| SessionKey(key));
        keys.collect()
    }

    fn new_peer(&mut self, now: Instant, key: SessionKey, sdp: &str) -> Result<String, Refusal> {
        let entropy = PeerEntropy(entropy());
        let (peer, answer) = Peer::accept_offer(now, ntp_now(), &self.peer_config, &entropy, sdp)
            .map_err(Refusal::from)?;
        if !self.demux.add_ufrag(peer.local_ufrag(), key) {
            return Err(Refusal::new(
                RefusalCode::Internal,
                Fault::Us,
                "the ICE ufrag is taken; offer again",
            ));
        }
        let session = self.sessions.get_mut(key.0).ok_or_else(no_session)?;
        session.peer = Some(Box::new(peer));
        session.offered.get_or_insert(now);
        self.peers += 1;
        Ok(answer)
    }

    /// Another negotiation of a media leg. One that restarts ICE is found by its new ufrag too, before its answer is told.
    fn renegotiate(&mut self, now: Instant, key: SessionKey, sdp: &str) -> Result<String, Refusal> {
        let fresh = loop {
            let fresh = IceCredentials::from_entropy(entropy(), entropy());
            if !self.demux.has_ufrag(&fresh.ufrag) {
                break fresh;
            }
        };
        let session = self.sessions.get_mut(key.0).ok_or_else(no_session)?;
        let peer = session.peer.as_mut().ok_or_else(no_session)?;
        let answer = peer.renegotiate(now, sdp, fresh).map_err(Refusal::from)?;
        if !self.demux.has_ufrag(peer.local_ufrag()) {
            self.demux.add_ufrag(peer.local_ufrag(), key);
        }
        Ok(answer)
    }

    /// Ends what `key` has and forgets it.
    pub(super) fn remove_session(&mut self, now: Instant, key: SessionKey, hang_up: HangUp) {
        if let Some(call) = self.sessions.get(key.0).and_then(|session| session.call) {
            let hang_up = self.unless_unanswered(call, hang_up);
            self.end_call(now, call, hang_up);
        }
        self.close_peer(now, key);
        let pcm = self.sessions.get_mut(key.0);
        if let Some(pcm) = pcm.and_then(|session| session.pcm.take()) {
            self.forget_pcm_socket(pcm);
        }
        self.engage(key);
        if self.sessions.contains(key.0) {
            self.sessions.remove(key.0);
        }
        self.demux.remove(key);
        self.publish_gauges();
    }

    /// A page that goes while it is called does not respond: that is what its caller hears.
    fn unless_unanswered(&self, call: CallKey, hang_up: HangUp) -> HangUp {
        let acceptance = self.calls.get(call.0).map(|call| call.acceptance);
        match acceptance {
            Some(Acceptance::Waiting) => HangUp::new(
                Q850Cause::NO_USER_RESPONDING,
                Fault::Caller,
                format!("the page did not take the call: {}", hang_up.text),
            ),
            _ => hang_up,
        }
    }

    /// Drops a media leg without a word.
    pub(super) fn drop_peer(&mut self, key: SessionKey) {
        if let Some(session) = self.sessions.get_mut(key.0) {
            session.connected = false;
            if session.peer.take().is_some() {
                self.peers -= 1;
            }
        }
        self.demux.remove(key);
        self.tell_waiting(key);
    }

    /// Says goodbye on a media leg and drops it.
    pub(super) fn close_peer(&mut self, now: Instant, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key.0) else {
            return;
        };
        session.connected = false;
        if let Some(peer) = session.peer.as_mut() {
            peer.close(now);
        }
        self.transmit_peer(now, key);
        self.drop_peer(key);
    }

    /// The media leg of `key` is gone: so is its call, or the session hears of it.
    pub(super) fn media_failed(&mut self, now: Instant, key: SessionKey, refusal: Refusal) {
        let Some(session) = self.sessions.get(key.0) else {
            return;
        };
        debug!(tenant_id = %session.tenant.tenant_id, shard = self.shard.0, reason = refusal.message, "media leg ended");
        match session.call {
            Some(call) => self.end_call(now, call, HangUp::from(&refusal)),
            None => session.tell(SessionEvent::Failed(refusal)),
        }
        self.close_peer(now, key);
    }

    /// A session's timers: its media leg's.
    pub(super) fn session_due(&mut self, now: Instant, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key.0) else {
            return;
        };
        if !session.alarm.fired(now) {
            return;
        }
        if let Some(peer) = session.peer.as_mut()
            && peer.poll_timeout().is_some_and(|due| due <= now)
        {
            peer.handle_timeout(now);
        }
        self.after_peer(now, key);
    }

    /// Makes the wheel know of the session's next deadline.
    pub(super) fn arm_session(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key.0) else {
            return;
        };
        let Some(due) = session.peer.as_ref().and_then(|peer| peer.poll_timeout()) else {
            return;
        };
        session.alarm.set(&mut self.wheel, due, Timer::Session(key));
    }

    /// Which trunk `request` means.
    pub(super) fn choose_trunk(
        &self,
        tenant: &TenantConfig,
        vendor: &str,
        request: &DialRequest,
    ) -> Result<(Arc<TrunkConfig>, String), (TrunkId, Refusal)> {
        let route = tenant.routes.iter().find(|route| route.vendor == vendor);
        let wanted = request
            .trunk_id
            .as_ref()
            .or(route.map(|route| &route.trunk_id));
        let Some(wanted) = wanted else {
            let message = format!(
                "the tenant has no route for {vendor} callers and the dial names no trunk_id"
            );
            let refusal = Refusal::new(RefusalCode::NotFound, Fault::Config, message);
            // Invariant: the literal fits the alphabet of ids.
            #[expect(clippy::expect_used, reason = "see the line above")]
            return Err(("none".parse().expect("a valid id"), refusal));
        };
        let owned = self
            .settings
            .config
            .trunks
            .get(wanted)
            .filter(|trunk| trunk.tenant_id == tenant.tenant_id);
        let Some(trunk) = owned else {
            let refusal = Refusal::new(
                RefusalCode::Scope,
                Fault::Caller,
                format!("the tenant has no trunk {wanted}"),
            );
            return Err((wanted.clone(), refusal));
        };
        let to = match (
            request.to.as_str(),
            route.and_then(|route| route.to.as_deref()),
        ) {
            ("", Some(to)) => to.to_owned(),
            (to, _) => to.to_owned(),
        };
        Ok((Arc::clone(trunk), to))
    }

    fn answered_call_of(&self, key: SessionKey) -> Result<CallKey, Refusal> {
        let call = self
            .sessions
            .get(key.0)
            .and_then(|session| session.call)
            .ok_or_else(no_call)?;
        if !self.is_answered(call) {
            let message = "the call is not answered yet";
            return Err(Refusal::new(RefusalCode::Malformed, Fault::Caller, message));
        }
        Ok(call)
    }
}

fn no_session() -> Refusal {
    Refusal::new(RefusalCode::Internal, Fault::Us, "the session is closed")
}

fn no_call() -> Refusal {
    Refusal::new(
        RefusalCode::Malformed,
        Fault::Caller,
        "there is no call on this socket",
    )
}
