//! One browser's WebSocket: frames to and from the dialect ([`crate::vendors::browser`]), the dialect's actions to the
//! switch, the switch's events back.
//!
//! The task waits for three things: the next frame, the next event of the switch, the dialect's deadline. What it
//! writes has 5 s to leave; a page that reads more slowly loses its session (contracts section 4).

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::handshake::derive_accept_key;
use async_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use async_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use async_tungstenite::tungstenite::{self, Message};
use futures_lite::{AsyncWriteExt, FutureExt, StreamExt};
use shards::executor::sleep;
use shards::tls::TlsStream;
use tracing::{debug, info};

use super::accept::{Front, Place};
use super::connection::{Connection, TimedOut, linger, within};
use super::http::{self, RequestHead};
use crate::auth::{self, SessionGrant};
use crate::call::q850::Q850Cause;
use crate::config::TenantConfig;
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::metrics::ConnectionRefusal;
use crate::switch::mailbox::{Mailbox, SessionEvent};
use crate::switch::{DialRequest, SessionKey};
use crate::vendors::browser::{
    Action, BrowserSession, CLOSE_REASON_LEN_MAX, MESSAGE_LEN_MAX, SUBPROTOCOL, subprotocols,
};

/// A socket that stays full for so long is closed and counted.
const WRITE_WITHIN: Duration = Duration::from_secs(5);
/// tungstenite's defaults take 128 KiB of every socket and let writes grow without end.
const READ_BUFFER_BYTES: usize = 4 << 10;
const WRITE_BUFFER_BYTES_MAX: usize = 64 << 10;
/// A ping goes out when nothing has been heard for so long; twice as long, and the socket is lost.
const PING_AFTER: Duration = Duration::from_secs(20);

/// Runs the session of an admitted head until its socket closes.
pub(super) async fn run(
    front: Rc<Front>,
    connection: Connection,
    head: RequestHead,
    tenant: Arc<TenantConfig>,
    _place: Place,
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
    let Some(socket) = upgrade(connection, &head).await else {
        return;
    };
    let (key, mailbox) = front.switch.open_session(Arc::clone(&tenant));
    let session_id = format!("{}-{}-{}", front.shard.0, key.0, random_hex());
    let ice_servers = front.config.webrtc.ice_servers.clone();
    let mut session = Session {
        dialect: BrowserSession::new(Instant::now(), offered, session_id, ice_servers),
        open: OpenSession { front, key },
        socket,
        mailbox,
        tenant,
        origin: head.origin,
        last_heard: Instant::now(),
        pinged: false,
        broken: false,
    };
    debug!(%peer, tenant_id = %session.tenant.tenant_id, shard = session.open.front.shard.0, "session opened");
    session.run().await;
}

/// Says a refusal that a page must be able to read: 101, then a close with its code.
pub(super) async fn refuse(connection: Connection, head: &RequestHead, refusal: Refusal) {
    let Some(mut socket) = upgrade(connection, head).await else {
        return;
    };
    let _ = within(
        WRITE_WITHIN,
        close(&mut socket, refusal.code.close_code(), &refusal.message),
    )
    .await;
}

type Socket = WebSocketStream<TlsStream>;

/// The 101, written by ourselves because the caller may have sent frames behind its head already.
async fn upgrade(connection: Connection, head: &RequestHead) -> Option<Socket> {
    let Connection { mut tls, read, .. } = connection;
    let accept_key = derive_accept_key(head.websocket_key.as_deref()?.as_bytes());
    let offers_dialect = head
        .websocket_protocols
        .as_deref()
        .is_some_and(|list| list.split(',').any(|name| name.trim() == SUBPROTOCOL));
    // Never more than the dialect's name: what stands beside it is a credential.
    let answer = http::switching_protocols(&accept_key, offers_dialect.then_some(SUBPROTOCOL));
    let write = async {
        tls.write_all(answer.as_bytes()).await?;
        tls.flush().await
    };
    match within(WRITE_WITHIN, write).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) | Err(TimedOut) => return None,
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(MESSAGE_LEN_MAX))
        .max_frame_size(Some(MESSAGE_LEN_MAX));
    let leftover = read.get(head.len..).unwrap_or_default().to_vec();
    Some(WebSocketStream::from_partially_read(tls, leftover, Role::Server, Some(config)).await)
}

/// One session's state while its task runs.
struct Session {
    dialect: BrowserSession,
    open: OpenSession,
    socket: Socket,
    mailbox: Rc<Mailbox>,
    tenant: Arc<TenantConfig>,
    origin: Option<String>,
    last_heard: Instant,
    pinged: bool,
    /// A frame could not be read; nothing behind it can be.
    broken: bool,
}

/// The session's place in the switch; closed when dropped, also after a panic.
struct OpenSession {
    front: Rc<Front>,
    key: SessionKey,
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.front.switch.close_session(self.key);
    }
}

enum Input {
    Frame(Option<Result<Message, tungstenite::Error>>),
    Event(Option<SessionEvent>),
    Deadline,
}

/// Whether the session goes on.
type Flow = std::ops::ControlFlow<()>;

impl Session {
    async fn run(&mut self) {
        loop {
            if self.carry_out_actions().await.is_break() {
                return;
            }
            if self.next_input().await.is_break() {
                return;
            }
        }
    }

    async fn next_input(&mut self) -> Flow {
        let ping_due = self.last_heard
            + if self.pinged {
                2 * PING_AFTER
            } else {
                PING_AFTER
            };
        let due = self
            .dialect
            .poll_timeout()
            .map_or(ping_due, |due| due.min(ping_due));
        let frame = async { Input::Frame(self.socket.next().await) };
        let event = async { Input::Event(self.mailbox.receive().await) };
        let deadline = async {
            sleep(due.saturating_duration_since(Instant::now())).await;
            Input::Deadline
        };
        match event.or(frame).or(deadline).await {
            Input::Event(Some(event)) => self.handle_event(event),
            Input::Event(None) => self.slow_reader(),
            Input::Frame(Some(Ok(Message::Close(_)))) => self.answer_close().await,
            Input::Frame(Some(Ok(message))) => self.handle_frame(message),
            Input::Frame(Some(Err(error))) => self.handle_broken_frame(&error),
            Input::Frame(None) => Flow::Break(()),
            Input::Deadline => self.handle_deadline(ping_due).await,
        }
    }

    fn handle_frame(&mut self, message: Message) -> Flow {
        let now = Instant::now();
        self.last_heard = now;
        self.pinged = false;
        match message {
            Message::Text(text) => self.dialect.handle_text(&text),
            Message::Binary(_) => self.dialect.handle_binary(),
            Message::Close(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
        Flow::Continue(())
    }

    /// The page closes: its frame is answered (RFC 6455 section 5.5.1), or the page would take the end for a loss (1006).
    async fn answer_close(&mut self) -> Flow {
        // Reading on sends the answer that tungstenite has ready.
        let answered = async { while let Some(Ok(_)) = self.socket.next().await {} };
        // A page that does not take it loses nothing but its answer.
        let _ = within(WRITE_WITHIN, answered).await;
        Flow::Break(())
    }

    /// What tungstenite could not read: the caller's fault, unless the socket is gone.
    fn handle_broken_frame(&mut self, error: &tungstenite::Error) -> Flow {
        let message = match error {
            tungstenite::Error::Capacity(_) => {
                format!("a message is longer than {MESSAGE_LEN_MAX} bytes")
            }
            tungstenite::Error::Protocol(error) => format!("not a WebSocket frame: {error}"),
            tungstenite::Error::Utf8(_) => "a text frame is not UTF-8".to_owned(),
            _ => return Flow::Break(()),
        };
        self.broken = true;
        self.dialect
            .refuse(Refusal::new(RefusalCode::Malformed, Fault::Caller, message));
        Flow::Continue(())
    }

    fn handle_event(&mut self, event: SessionEvent) -> Flow {
        match event {
            SessionEvent::Ringing(call_sid) => self.dialect.ringing(call_sid),
            SessionEvent::Event(event) => self.dialect.call_event(*event),
            SessionEvent::Digit { digit, duration_ms } => {
                self.dialect
                    .digit(digit, u16::try_from(duration_ms).unwrap_or(u16::MAX));
            }
            SessionEvent::Ended { cause, reason } => self.dialect.ended(cause, &reason),
            SessionEvent::MediaFailed(refusal) => self.dialect.refuse(refusal),
            SessionEvent::Statistics(statistics) => self.dialect.stats(*statistics),
            SessionEvent::Drain => self.dialect.draining(),
            SessionEvent::Stop => {
                let refusal = Refusal::new(RefusalCode::Draining, Fault::Us, "the gateway stops");
                self.dialect.refuse(refusal);
            }
        }
        Flow::Continue(())
    }

    async fn handle_deadline(&mut self, ping_due: Instant) -> Flow {
        let now = Instant::now();
        self.dialect.handle_timeout(now);
        if now < ping_due {
            return Flow::Continue(());
        }
        if self.pinged {
            debug!("a signalling socket answered no ping");
            return Flow::Break(());
        }
        self.pinged = true;
        self.send(Message::Ping(Default::default())).await
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
                self.dialect.authenticated(Instant::now(), granted);
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
            // Calls to a page come with the trunk that brings them: no session waits for one yet.
            Action::Accept { call_sid } | Action::Reject { call_sid, .. } => {
                debug!(%call_sid, "accept or reject of a call that never came");
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
            Action::Send(message) => return self.send(Message::text(message.to_json())).await,
            Action::Close { code, reason } => {
                if within(WRITE_WITHIN, close(&mut self.socket, code, &reason))
                    .await
                    .is_err()
                {
                    self.open
                        .front
                        .metrics
                        .refused(ConnectionRefusal::SlowReader);
                } else if self.broken {
                    linger(self.socket.get_mut()).await;
                }
                return Flow::Break(());
            }
        }
        Flow::Continue(())
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
        let now_unix_s = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let keys = self
            .tenant
            .browser
            .as_ref()
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
            front.gateway_key.as_deref(),
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
                info!(%tenant_id, subject = grant.subject, shard = front.shard.0, "session authenticated")
            }
            Err(refusal) => {
                front.metrics.refused(ConnectionRefusal::Auth);
                info!(%tenant_id, code = refusal.code.as_str(), reason = refusal.message, "session refused");
            }
        }
        granted
    }

    async fn send(&mut self, message: Message) -> Flow {
        match within(WRITE_WITHIN, self.socket.send(message)).await {
            Ok(Ok(())) => Flow::Continue(()),
            Ok(Err(error)) => {
                debug!(%error, "a signalling socket can't be written");
                Flow::Break(())
            }
            Err(TimedOut) => self.slow_reader(),
        }
    }

    fn slow_reader(&self) -> Flow {
        self.open
            .front
            .metrics
            .refused(ConnectionRefusal::SlowReader);
        info!(tenant_id = %self.tenant.tenant_id, "a page reads too slowly; its session is closed");
        Flow::Break(())
    }
}

/// Sends a close frame and waits for the peer's, so that the code is not lost to a reset.
async fn close(socket: &mut Socket, code: u16, reason: &str) -> Result<(), tungstenite::Error> {
    let mut end = reason.len().min(CLOSE_REASON_LEN_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let frame = CloseFrame {
        code: CloseCode::from(code),
        reason: reason[..end].to_owned().into(),
    };
    socket.close(Some(frame)).await?;
    while let Some(Ok(_)) = socket.next().await {}
    Ok(())
}

fn random_hex() -> String {
    let mut bytes = [0; 8];
    // A session id is a name, not a secret: without randomness it is still unique on its shard.
    let _ = getrandom::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
