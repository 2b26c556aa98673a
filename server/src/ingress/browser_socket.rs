//! One browser's session: frames to and from the dialect ([`crate::vendors::browser`]), the dialect's actions to the
//! switch, the switch's events back.
//!
//! The task waits for four things: the next frame, the next event of the switch, another socket for the session
//! ([`super::resumptions`]), the dialect's deadline. It outlives a lost socket as long as the dialect says. What it writes
//! has 5 s to leave; a page that reads more slowly loses its socket (contracts section 4).

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_tungstenite::tungstenite::{self, Message};
use futures_lite::FutureExt;
use shards::executor::{sleep, task};
use shards::guard::{Panicked, guarded};
use tracing::{debug, error, info};

use super::accept::{Front, Place};
use super::connection::Connection;
use super::http::{self, RequestHead};
use super::line::{Doorway, Line, WriteFailure};
use super::resumptions::Spent;
use crate::auth::{self, ResumeToken, ResumeTokenDigest, SessionGrant, TurnCredentials};
use crate::call::CallEvent;
use crate::call::q850::Q850Cause;
use crate::config::{IceServerConfig, TenantConfig};
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::id::{CallSid, TenantId};
use crate::metrics::ConnectionRefusal;
use crate::switch::mailbox::{Mailbox, SessionEvent};
use crate::switch::{DialRequest, SessionEnd, SessionKey};
use crate::vendors::browser::{
    Action, BrowserSession, IceServer, MESSAGE_LEN_MAX, NotAvailable, Offered, SUBPROTOCOL,
    ServerMessage, SessionSettings, Welcome, says_goodbye, subprotocols,
};

/// Runs what an admitted head asks for: a new session until its end, or another socket for one that is there.
pub(super) async fn run(
    front: Rc<Front>,
    connection: Connection,
    head: RequestHead,
    tenant_id: TenantId,
    tenant: Option<Arc<TenantConfig>>,
    place: Place,
) {
    let offered = match head.websocket_protocols.as_deref().map(subprotocols) {
        Some(Ok(offered)) => offered,
        refused => {
            let refusal = match refused {
                Some(Err(refusal)) => refusal,
                _ => Refusal::new(
                    RefusalCode::Malformed,
                    Fault::Caller,
                    format!("Sec-WebSocket-Protocol must offer {SUBPROTOCOL}"),
                ),
            };
            front.metrics.refused(ConnectionRefusal::HttpMalformed);
            return connection.answer(&http::refusal_response(&refusal)).await;
        }
    };
    let peer = connection.peer;
    let Some(line) = Box::pin(Line::upgrade(connection, &head, place)).await else {
        return;
    };
    let token = match offered {
        Offered::Resume(token) => {
            let origin = head.origin.as_deref();
            return Box::pin(resume(&front, line, &token, &tenant_id, origin)).await;
        }
        Offered::Bearer(token) => Some(token),
        Offered::Nothing => None,
    };
    // Only a resume gets here without one.
    let Some(tenant) = tenant else { return };
    let mut session = Session::open(front, line, token, tenant, head.origin);
    debug!(%peer, tenant_id = %session.tenant.tenant_id, shard = session.open.front.shard.0, "session opened");
    if let Err(panicked) = guarded(session.run()).await {
        Box::pin(session.fail(&panicked)).await;
    }
}

/// The text of the resume token that a head offers, if it does.
pub(super) fn offered_resume(head: &RequestHead) -> Option<String> {
    match subprotocols(head.websocket_protocols.as_deref()?) {
        Ok(Offered::Resume(token)) => Some(token),
        Ok(Offered::Nothing | Offered::Bearer(_)) | Err(_) => None,
    }
}

/// Hands `line` to the session that `token` opens, or says why it opens none.
async fn resume(
    front: &Front,
    line: Line,
    token: &str,
    tenant_id: &TenantId,
    origin: Option<&str>,
) {
    let taken = front
        .resumable
        .0
        .borrow_mut()
        .take(token, tenant_id, origin);
    front.count_resume_tokens();
    match taken {
        Ok(doorway) => {
            front.metrics.sessions_resumed.increment();
            doorway.enter(line);
        }
        Err(refusal) => {
            front.metrics.refused(ConnectionRefusal::Resume);
            info!(%tenant_id, shard = front.shard.0, code = refusal.code.as_str(),
                reason = refusal.message, "resume refused");
            line.refuse(&refusal).await;
        }
    }
}

/// Says a refusal that a page must be able to read: 101, then a close with its code.
pub(super) async fn refuse(
    connection: Connection,
    head: &RequestHead,
    refusal: Refusal,
    place: Place,
) {
    if let Some(mut line) = Line::upgrade(connection, head, place).await {
        let _ = line
            .close(refusal.code.close_code(), &refusal.message)
            .await;
    }
}

/// One session's state while its task runs.
struct Session {
    dialect: BrowserSession,
    open: OpenSession,
    /// None between two sockets.
    line: Option<Line>,
    doorway: Rc<Doorway>,
    mailbox: Rc<Mailbox>,
    tenant: Arc<TenantConfig>,
    origin: Option<String>,
    /// It gets resume tokens.
    resumable: bool,
    /// An incoming call that the page did not hear of, nor shall of its end.
    declined: Option<CallSid>,
}

/// The session's place in the switch and its resume token; both given back when dropped, also after a panic.
struct OpenSession {
    front: Rc<Front>,
    key: SessionKey,
    resume_token: Option<ResumeTokenDigest>,
    end: SessionEnd,
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        if let Some(token) = self.resume_token.take() {
            let why = match self.end {
                SessionEnd::Lost(_) => Spent::Expired,
                SessionEnd::Closed | SessionEnd::Failed => Spent::Ended,
            };
            self.front.resumable.0.borrow_mut().retire(token, why);
            self.front.count_resume_tokens();
        }
        let end = std::mem::replace(&mut self.end, SessionEnd::Closed);
        self.front.switch.close_session(self.key, end);
    }
}

enum Input {
    Frame(Option<Result<Message, tungstenite::Error>>),
    Event(Option<SessionEvent>),
    Arrival(Box<Line>),
    Deadline,
}

/// Whether the session goes on.
type Flow = std::ops::ControlFlow<()>;

impl Session {
    fn open(
        front: Rc<Front>,
        line: Line,
        token: Option<String>,
        tenant: Arc<TenantConfig>,
        origin: Option<String>,
    ) -> Self {
        let (key, mailbox) = front.switch.open_session(Arc::clone(&tenant));
        let configured = front.settings();
        let server = &configured.config.server;
        let grace_ms = server.signal_grace_ms;
        let settings = SessionSettings {
            session_id: format!("{}-{}-{}", front.shard.0, key.0, random_hex()),
            signal_grace: Duration::from_millis(grace_ms.into()),
        };
        Self {
            dialect: BrowserSession::new(Instant::now(), token, settings),
            open: OpenSession {
                front,
                key,
                resume_token: None,
                end: SessionEnd::Closed,
            },
            line: Some(line),
            doorway: Rc::default(),
            mailbox,
            tenant,
            origin,
            resumable: grace_ms > 0,
            declined: None,
        }
    }

    async fn run(&mut self) {
        loop {
            if self.carry_out_actions().await.is_break() {
                return;
            }
            if self.line.is_none() && self.dialect.is_over() {
                return;
            }
            if self.next_input().await.is_break() {
                return;
            }
        }
    }

    /// After a panic in the dialect or around it: the call ends as our fault, the page hears so, nobody else notices.
    async fn fail(self, panicked: &Panicked) {
        let Self {
            mut open,
            line,
            tenant,
            ..
        } = self;
        open.front.metrics.panics.increment();
        error!(tenant_id = %tenant.tenant_id, shard = open.front.shard.0, session = open.key.0,
            "a session {panicked}; its call ends");
        open.end = SessionEnd::Failed;
        drop(open);
        if let Some(mut line) = line {
            // A page that does not take it loses nothing but the reason.
            let _ = line
                .close(RefusalCode::Internal.close_code(), "internal error")
                .await;
        }
    }

    async fn next_input(&mut self) -> Flow {
        let ping_due = self.line.as_ref().map(Line::ping_due);
        let due = ping_due
            .into_iter()
            .chain(self.dialect.poll_timeout())
            .min();
        let frame = async {
            match &mut self.line {
                Some(line) => Input::Frame(line.next().await),
                None => std::future::pending().await,
            }
        };
        let event = async { Input::Event(self.mailbox.receive().await) };
        let arrival = async { Input::Arrival(Box::new(self.doorway.next().await)) };
        let deadline = async {
            match due {
                Some(due) => sleep(due.saturating_duration_since(Instant::now())).await,
                None => std::future::pending().await,
            }
            Input::Deadline
        };
        match event.or(arrival).or(frame).or(deadline).await {
            Input::Event(Some(event)) => return self.handle_event(event),
            Input::Event(None) => return self.slow_reader(),
            Input::Arrival(line) => self.take_over(*line),
            Input::Frame(Some(Ok(Message::Close(frame)))) => {
                return self
                    .handle_close(frame.map(|frame| frame.code.into()))
                    .await;
            }
            Input::Frame(Some(Ok(message))) => self.handle_frame(message),
            Input::Frame(Some(Err(error))) => self.handle_broken_frame(&error),
            Input::Frame(None) => self.lose_line(None),
            Input::Deadline => self.handle_deadline(ping_due).await,
        }
        Flow::Continue(())
    }

    fn handle_frame(&mut self, message: Message) {
        if let Some(line) = &mut self.line {
            line.heard(Instant::now());
        }
        #[cfg(debug_assertions)]
        self.open.front.switch.step_on_adapter_trap(self.open.key);
        match message {
            Message::Text(text) => self.dialect.handle_text(&text),
            Message::Binary(_) => self.dialect.handle_binary(),
            Message::Close(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }

    /// The page closes its socket: for good, or to come back on another.
    async fn handle_close(&mut self, code: Option<u16>) -> Flow {
        if let Some(line) = &mut self.line {
            line.answer_close().await;
        }
        if says_goodbye(code) {
            return Flow::Break(());
        }
        self.lose_line(None);
        Flow::Continue(())
    }

    /// What tungstenite could not read: the caller's fault, unless the socket is gone.
    fn handle_broken_frame(&mut self, error: &tungstenite::Error) {
        let message = match error {
            tungstenite::Error::Capacity(_) => {
                format!("a message is longer than {MESSAGE_LEN_MAX} bytes")
            }
            // The socket's end in the middle of a session; RFC 6455 wants a close frame before it.
            tungstenite::Error::Protocol(
                tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            ) => return self.lose_line(None),
            tungstenite::Error::Protocol(error) => format!("not a WebSocket frame: {error}"),
            tungstenite::Error::Utf8(_) => "a text frame is not UTF-8".to_owned(),
            _ => return self.lose_line(None),
        };
        if let Some(line) = &mut self.line {
            line.broken = true;
        }
        self.dialect
            .refuse(Refusal::new(RefusalCode::Malformed, Fault::Caller, message));
    }

    /// The socket is gone; `unsent` did not leave on it. The dialect decides whether the session waits for another.
    fn lose_line(&mut self, unsent: Option<ServerMessage>) {
        self.line = None;
        let open = &self.open;
        let media = open.front.switch.is_media_connected(open.key);
        self.dialect
            .handle_loss(Instant::now(), unsent.into_iter().collect(), media);
        if self.dialect.waits_for_page() {
            info!(tenant_id = %self.tenant.tenant_id, shard = open.front.shard.0, session = open.key.0,
                "signalling socket lost; the session waits for another");
        }
    }

    /// The page has come back. A socket that it left behind, dead or not, is told and closed aside.
    fn take_over(&mut self, line: Line) {
        if let Some(mut left_behind) = self.line.replace(line) {
            let close = async move {
                let code = RefusalCode::CallExists.close_code();
                let _ = left_behind
                    .close(code, "the session goes on on another socket")
                    .await;
            };
            let metrics = Arc::clone(&self.open.front.metrics);
            task("closing socket", close, move |_| metrics.panics.increment());
            self.dialect.handle_loss(Instant::now(), Vec::new(), true);
        }
        let welcome = Welcome {
            resume_token: Some(self.issue_resume_token()),
            ice_servers: self.ice_servers(),
        };
        self.dialect.resumed(welcome);
        info!(tenant_id = %self.tenant.tenant_id, shard = self.open.front.shard.0, session = self.open.key.0,
            "session resumed");
    }

    /// The servers of `[webrtc]`, with credentials that begin to run now. A TURN server counts them by tenant.
    fn ice_servers(&self) -> Vec<IceServer> {
        let user = self.tenant.tenant_id.as_str();
        let now_unix_s = now_unix_s();
        let settings = self.open.front.settings();
        let servers = settings.config.webrtc.ice_servers.iter();
        let with_credentials = |server: &IceServerConfig| IceServer {
            urls: server.urls.clone(),
            credentials: server
                .turn
                .as_ref()
                .map(|turn| TurnCredentials::new(turn, user, now_unix_s)),
        };
        servers.map(with_credentials).collect()
    }

    /// The token for the next resume, in place of the one before.
    fn issue_resume_token(&mut self) -> ResumeToken {
        let front = &self.open.front;
        let token = ResumeToken::new(front.shard, random());
        let mut resumptions = front.resumable.0.borrow_mut();
        if let Some(before) = self.open.resume_token.replace(token.digest()) {
            resumptions.retire(before, Spent::Ended);
        }
        resumptions.issue(
            &token,
            self.tenant.tenant_id.clone(),
            self.origin.clone(),
            Rc::clone(&self.doorway),
        );
        drop(resumptions);
        front.count_resume_tokens();
        token
    }

    fn handle_event(&mut self, event: SessionEvent) -> Flow {
        match event {
            SessionEvent::Incoming { from, to, created } => self.offer_call(from, to, *created),
            SessionEvent::Ringing(call_sid) => self.dialect.ringing(call_sid),
            SessionEvent::Event(event) if self.declined == Some(event.call_sid) => {}
            SessionEvent::Event(event) => self.dialect.call_event(*event),
            SessionEvent::Digit { digit, duration_ms } => {
                self.dialect
                    .digit(digit, u16::try_from(duration_ms).unwrap_or(u16::MAX));
            }
            SessionEvent::Ended { call_sid, .. } if self.declined == Some(call_sid) => {}
            SessionEvent::Ended { cause, reason, .. } => self.dialect.ended(cause, &reason),
            SessionEvent::Failed(refusal) => self.dialect.refuse(refusal),
            SessionEvent::Statistics(statistics) => self.dialect.stats(*statistics),
            SessionEvent::Drain => self.dialect.draining(),
            // Nobody will come back to a gateway that is gone.
            SessionEvent::Stop if self.line.is_none() => return Flow::Break(()),
            SessionEvent::Stop => {
                let refusal = Refusal::new(RefusalCode::Draining, Fault::Us, "the gateway stops");
                self.dialect.refuse(refusal);
            }
        }
        Flow::Continue(())
    }

    /// Tells the page that somebody calls. One that took a call of its own meanwhile, or is about to go, hears nothing.
    fn offer_call(&mut self, from: String, to: String, created: CallEvent) {
        let call_sid = created.call_sid;
        match self.dialect.incoming(call_sid, from, to) {
            Ok(()) => self.dialect.call_event(created),
            Err(NotAvailable) => {
                self.declined = Some(call_sid);
                self.open.front.switch.decline(self.open.key, call_sid);
            }
        }
    }

    async fn handle_deadline(&mut self, ping_due: Option<Instant>) {
        let now = Instant::now();
        self.dialect.handle_timeout(now);
        if let Some(line) = &mut self.line
            && ping_due.is_some_and(|due| due <= now)
            && let Err(failure) = line.ping().await
        {
            self.handle_write_failure(failure, None);
        }
    }

    async fn carry_out_actions(&mut self) -> Flow {
        while let Some(action) = self.dialect.poll_action() {
            if self.carry_out(action).await.is_break() {
                return Flow::Break(());
            }
        }
        Flow::Continue(())
    }

    async fn carry_out(&mut self, action: Action) -> Flow {
        let switch = &self.open.front.switch;
        let key = self.open.key;
        match action {
            Action::Authenticate { token } => {
                let granted = self.authenticate(&token.0).await;
                let welcome = match &granted {
                    Ok(_) => Welcome {
                        resume_token: self.resumable.then(|| self.issue_resume_token()),
                        ice_servers: self.ice_servers(),
                    },
                    Err(_) => Welcome::default(),
                };
                self.dialect.authenticated(Instant::now(), granted, welcome);
            }
            Action::Offer { sdp } => {
                let answer = switch.offer(key, &sdp);
                self.dialect.offer_answered(answer);
            }
            Action::Candidate(candidate) => {
                let line = candidate
                    .map(|candidate| candidate.candidate)
                    .unwrap_or_default();
                if let Err(refusal) = switch.candidate(key, &line) {
                    self.dialect.refuse(refusal);
                }
            }
            Action::Dial {
                to,
                trunk_id,
                call_from,
                client_id,
            } => {
                let request = DialRequest {
                    to,
                    trunk_id,
                    call_from: call_from.unwrap_or_default(),
                    client_id: client_id.unwrap_or_default(),
                };
                let dialled = switch.dial(key, request).await;
                if let Err(refusal) = dialled {
                    self.deliver_waiting_events();
                    self.dialect.call_refused(refusal);
                }
            }
            // A call that ended meanwhile has told its end.
            Action::Accept { call_sid } => {
                if let Err(refusal) = switch.accept(key, call_sid) {
                    debug!(%call_sid, %refusal, "an acceptance came too late");
                }
            }
            Action::Reject { call_sid, cause } => {
                if let Err(refusal) = switch.reject(key, call_sid, cause) {
                    debug!(%call_sid, %refusal, "a rejection came too late");
                }
            }
            Action::Hold => self.answer(switch.hold(key, true)),
            Action::Unhold => self.answer(switch.hold(key, false)),
            Action::Dtmf {
                digits,
                duration_ms,
            } => {
                self.answer(switch.send_digits(key, &digits, duration_ms.into()));
            }
            Action::Hangup => {
                if switch.hang_up(key).is_err() {
                    self.dialect
                        .ended(Q850Cause::NORMAL, "there was no call any more");
                }
            }
            Action::Send(message) => self.say(message).await,
            Action::Close { code, reason } => return self.close(code, &reason).await,
            Action::Abandon { reason } => {
                info!(tenant_id = %self.tenant.tenant_id, shard = self.open.front.shard.0, reason, "session given up");
                self.open.end = SessionEnd::Lost(reason);
                return Flow::Break(());
            }
        }
        Flow::Continue(())
    }

    async fn say(&mut self, message: ServerMessage) {
        let Some(line) = &mut self.line else {
            return self.lose_line(Some(message));
        };
        if let Err(failure) = line.send(&message).await {
            self.handle_write_failure(failure, Some(message));
        }
    }

    async fn close(&mut self, code: u16, reason: &str) -> Flow {
        if let Some(line) = &mut self.line
            && let Err(WriteFailure::Full) = line.close(code, reason).await
        {
            self.open
                .front
                .metrics
                .refused(ConnectionRefusal::SlowReader);
        }
        Flow::Break(())
    }

    fn handle_write_failure(&mut self, failure: WriteFailure, unsent: Option<ServerMessage>) {
        match failure {
            WriteFailure::Gone(error) => debug!(%error, "a signalling socket is lost"),
            WriteFailure::Full => {
                self.count_slow_reader();
            }
        }
        self.lose_line(unsent);
    }

    /// The events of a refused call go out before its refusal.
    fn deliver_waiting_events(&mut self) {
        while let Some(event) = self.mailbox.take() {
            let _ = self.handle_event(event);
        }
    }

    fn answer(&mut self, outcome: Result<(), Refusal>) {
        if let Err(refusal) = outcome {
            self.dialect.request_failed(&refusal);
        }
    }

    /// Signature and claims here, single use at the desk.
    async fn authenticate(&self, token: &str) -> Result<SessionGrant, Refusal> {
        let front = &self.open.front;
        let settings = front.settings();
        let now_unix_s = now_unix_s();
        // A key that was taken out meanwhile is good for nothing any more.
        let keys = settings
            .config
            .tenants
            .get(&self.tenant.tenant_id)
            .and_then(|tenant| tenant.browser.as_ref())
            .map(|browser| browser.keys.as_slice())
            .unwrap_or_default();
        let tenant_id = &self.tenant.tenant_id;
        let origin = self.origin.as_deref();
        let verified = auth::verify(
            token,
            now_unix_s,
            tenant_id,
            origin,
            keys,
            settings.gateway_key.as_deref(),
        );
        let granted = match verified {
            Ok(grant) => front
                .switch
                .use_token(
                    tenant_id.clone(),
                    grant.token_id.clone(),
                    grant.expires_unix_s,
                )
                .await
                .map(|()| grant),
            Err(refusal) => Err(refusal),
        };
        match &granted {
            Ok(grant) => {
                front.switch.authenticated(self.open.key, &grant.subject);
                info!(%tenant_id, subject = grant.subject, shard = front.shard.0, "session authenticated")
            }
            Err(refusal) => {
                front.metrics.refused(ConnectionRefusal::Auth);
                info!(%tenant_id, code = refusal.code.as_str(), reason = refusal.message, "session refused");
            }
        }
        granted
    }

    fn count_slow_reader(&self) {
        self.open
            .front
            .metrics
            .refused(ConnectionRefusal::SlowReader);
        info!(tenant_id = %self.tenant.tenant_id, "a page reads too slowly; its socket is closed");
    }

    /// The mailbox is full: nothing that is told from now on would reach the page.
    fn slow_reader(&self) -> Flow {
        self.count_slow_reader();
        Flow::Break(())
    }
}

fn now_unix_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn random_hex() -> String {
    let bytes: [u8; 8] = random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Invariant: getrandom fails only on kernels without it, which can't run io_uring either.
    #[expect(clippy::expect_used, reason = "see the line above")]
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes
}
