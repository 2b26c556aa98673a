//! A caller's side of the browser dialect over a TLS WebSocket.
//!
//! One thread per socket reads and writes; everything that came is kept, and whoever waits for a message waits with a
//! deadline. Knows nothing about media.

mod messages;
mod trust;

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use server::call::CallEvent;
use thiserror::Error;
use tungstenite::client::ClientRequestBuilder;
use tungstenite::http::Uri;
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, Utf8Bytes, WebSocket};

pub use messages::{ClientMessage, ServerMessage};
pub use trust::{Trust, client_config};

/// The dialect's WebSocket subprotocol.
const SUBPROTOCOL: &str = "clutchcall.v1";
/// How long the socket's thread waits for input before it looks for output.
const READ_TIMEOUT: Duration = Duration::from_millis(5);
/// The most messages that are kept.
const MESSAGES_MAX: usize = 10_000;
/// The longest close handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

type Socket = WebSocket<StreamOwned<ClientConnection, TcpStream>>;

/// How the token travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenVia {
    /// As second offered subprotocol, `bearer.<jwt>`.
    #[default]
    Subprotocol,
    /// As first message, `auth{token}`.
    FirstMessage,
    /// It is the resume token of an earlier session: as second offered subprotocol, `resume.<resume_token>`.
    Resume,
}

/// Where and how to connect.
#[derive(Clone)]
pub struct Connect {
    /// `wss://host:port/signal/browser/<tenant_id>`.
    pub url: String,
    /// Whom to believe.
    pub trust: Trust,
    /// The SessionAuth token; empty: none is sent.
    pub token: String,
    /// How it travels.
    pub token_via: TokenVia,
    /// The `Origin` header, as a browser would send it.
    pub origin: Option<String>,
    /// For TCP, TLS and the WebSocket handshake together.
    pub timeout: Duration,
}

/// Why signalling failed.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SignallingError {
    /// The URL is none of ours.
    #[error("{0}: not a wss:// URL with a host")]
    Url(String),
    /// TCP.
    #[error("{address}: {error}")]
    Connect {
        /// Where to.
        address: String,
        /// What the system said.
        error: String,
    },
    /// TLS.
    #[error("TLS: {0}")]
    Tls(String),
    /// The gateway said no before 101.
    #[error("refused with HTTP {status}: {body}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The answer's body, JSON `{code,message,fault}` from the gateway.
        body: String,
    },
    /// The gateway closed the socket.
    #[error("closed with {code}: {reason}")]
    Closed {
        /// The WebSocket close code; 1006 when the socket ended without one.
        code: u16,
        /// The reason in the close frame.
        reason: String,
    },
    /// The gateway broke the protocol.
    #[error("the gateway sent what can't be read: {0}")]
    Malformed(String),
    /// It did not come in time.
    #[error("waited {waited_ms} ms for {what}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        waited_ms: u128,
    },
}

/// A message with the time when it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// When it was read.
    pub at: Instant,
    /// The message.
    pub message: ServerMessage,
}

#[derive(Debug, Default)]
struct Inbox {
    received: Vec<Received>,
    ended: Option<SignallingError>,
}

#[derive(Debug, Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    arrived: Condvar,
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        // A thread that panicked while it held the lock left a list that is still a list.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, error: SignallingError) {
        self.inbox().ended.get_or_insert(error);
        self.arrived.notify_all();
    }
}

enum Order {
    Send(String),
    Close(Option<u16>),
    Lose,
}

/// A session with a gateway. Dropping it closes the socket.
pub struct Signalling {
    shared: Arc<Shared>,
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
    handshake: Duration,
}

impl Signalling {
    /// Connects, and sends the token.
    ///
    /// # Errors
    /// [`SignallingError`] up to the WebSocket handshake. A token that is refused after it is a close, see
    /// [`Signalling::wait_for`].
    pub fn connect(connect: &Connect) -> Result<Self, SignallingError> {
        let began = Instant::now();
        let socket = open(connect)?;
        let shared = Arc::new(Shared::default());
        let (orders, inbox) = mpsc::channel();
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || serve(socket, &inbox, &shared)
        });
        let signalling = Self {
            shared,
            orders,
            thread: Some(thread),
            handshake: began.elapsed(),
        };
        if connect.token_via == TokenVia::FirstMessage && !connect.token.is_empty() {
            signalling.send(&ClientMessage::Auth {
                token: connect.token.clone(),
            });
        }
        Ok(signalling)
    }

    /// How long TCP, TLS and the WebSocket handshake took.
    pub fn handshake_duration(&self) -> Duration {
        self.handshake
    }

    /// Sends a message. A socket that has ended swallows it; the next wait tells.
    pub fn send(&self, message: &ClientMessage) {
        // Messages are maps of texts and numbers: they always become JSON.
        self.send_text(serde_json::to_string(message).unwrap_or_default());
    }

    /// Sends any text, for tests of bad input.
    pub fn send_text(&self, text: String) {
        // The thread has ended only when the socket has.
        let _ = self.orders.send(Order::Send(text));
    }

    /// Everything that came so far.
    pub fn received(&self) -> Vec<Received> {
        self.shared.inbox().received.clone()
    }

    /// The CallEvents that came so far.
    pub fn events(&self) -> Vec<CallEvent> {
        let inbox = self.shared.inbox();
        let event = |received: &Received| match &received.message {
            ServerMessage::Event(event) => Some(event.clone()),
            _ => None,
        };
        inbox.received.iter().filter_map(event).collect()
    }

    /// How the socket ended, if it did.
    pub fn ended(&self) -> Option<SignallingError> {
        self.shared.inbox().ended.clone()
    }

    /// Waits until `look` finds what it looks for in everything that came, at most until `deadline`; `what` stands in the
    /// error.
    ///
    /// # Errors
    /// [`SignallingError::Timeout`], or how the socket ended.
    pub fn wait_for<T>(
        &self,
        what: &str,
        deadline: Instant,
        mut look: impl FnMut(&[Received]) -> Option<T>,
    ) -> Result<T, SignallingError> {
        let began = Instant::now();
        let mut inbox = self.shared.inbox();
        loop {
            if let Some(found) = look(&inbox.received) {
                return Ok(found);
            }
            if let Some(ended) = &inbox.ended {
                return Err(ended.clone());
            }
            let Some(left) = deadline
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())
            else {
                return Err(SignallingError::Timeout {
                    what: what.to_owned(),
                    waited_ms: began.elapsed().as_millis(),
                });
            };
            (inbox, _) = self
                .shared
                .arrived
                .wait_timeout(inbox, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for the first message that `pick` takes.
    ///
    /// # Errors
    /// As [`Signalling::wait_for`].
    pub fn wait_for_message<T>(
        &self,
        what: &str,
        deadline: Instant,
        mut pick: impl FnMut(&ServerMessage) -> Option<T>,
    ) -> Result<T, SignallingError> {
        self.wait_for(what, deadline, |received| {
            received.iter().find_map(|received| pick(&received.message))
        })
    }

    /// Waits until the gateway has closed the socket.
    ///
    /// # Errors
    /// [`SignallingError::Timeout`] when it does not.
    pub fn wait_for_end(&self, deadline: Instant) -> Result<SignallingError, SignallingError> {
        match self.wait_for("the socket's end", deadline, |_| None::<()>) {
            Err(timeout @ SignallingError::Timeout { .. }) => Err(timeout),
            Err(ended) => Ok(ended),
            Ok(()) => Ok(SignallingError::Closed {
                code: 1006,
                reason: String::new(),
            }),
        }
    }

    /// The token of the last `session`, to resume it.
    pub fn resume_token(&self) -> Option<String> {
        let inbox = self.shared.inbox();
        let token = |received: &Received| match &received.message {
            ServerMessage::Session { resume_token, .. } => resume_token.clone(),
            _ => None,
        };
        inbox.received.iter().rev().find_map(token)
    }

    /// Loses the socket, as a network that goes away: the connection ends without a close frame.
    pub fn lose(&self) {
        let _ = self.orders.send(Order::Lose);
    }

    /// Closes the socket with a code of the page's own.
    pub fn close_with(&self, code: u16) {
        let _ = self.orders.send(Order::Close(Some(code)));
    }

    /// Closes the socket as a page does that goes away.
    pub fn close(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        let _ = self.orders.send(Order::Close(None));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Signalling {
    fn drop(&mut self) {
        self.finish();
    }
}

fn open(connect: &Connect) -> Result<Socket, SignallingError> {
    let bad_url = || SignallingError::Url(connect.url.clone());
    let uri: Uri = connect.url.parse().map_err(|_| bad_url())?;
    if uri.scheme_str() != Some("wss") {
        return Err(bad_url());
    }
    // An IPv6 host stands in brackets in the URL and nowhere else.
    let host = uri
        .host()
        .ok_or_else(bad_url)?
        .trim_matches(['[', ']'])
        .to_owned();
    let port = uri.port_u16().unwrap_or(443);
    let deadline = Instant::now() + connect.timeout;
    let stream = connect_tcp(&host, port, deadline)?;

    let server_name = ServerName::try_from(host).map_err(|_| bad_url())?;
    let tls = ClientConnection::new(client_config(&connect.trust)?, server_name)
        .map_err(|error| SignallingError::Tls(error.to_string()))?;
    let mut request = ClientRequestBuilder::new(uri).with_sub_protocol(SUBPROTOCOL);
    let credential = match connect.token_via {
        TokenVia::Subprotocol => Some("bearer"),
        TokenVia::Resume => Some("resume"),
        TokenVia::FirstMessage => None,
    };
    if let Some(kind) = credential.filter(|_| !connect.token.is_empty()) {
        request = request.with_sub_protocol(format!("{kind}.{}", connect.token));
    }
    if let Some(origin) = &connect.origin {
        request = request.with_header("Origin", origin);
    }
    let handshake = tungstenite::client(request, StreamOwned::new(tls, stream));
    let (mut socket, response) = handshake.map_err(|error| match error {
        tungstenite::HandshakeError::Failure(error) => from_tungstenite(error),
        tungstenite::HandshakeError::Interrupted(_) => SignallingError::Timeout {
            what: "the WebSocket handshake".to_owned(),
            waited_ms: connect.timeout.as_millis(),
        },
    })?;
    let chosen = response
        .headers()
        .get("sec-websocket-protocol")
        .and_then(|value| value.to_str().ok());
    if chosen != Some(SUBPROTOCOL) {
        return Err(SignallingError::Malformed(format!(
            "the gateway chose the subprotocol {chosen:?}"
        )));
    }
    let timeout_set = socket.get_mut().sock.set_read_timeout(Some(READ_TIMEOUT));
    timeout_set.map_err(|error| SignallingError::Connect {
        address: connect.url.clone(),
        error: error.to_string(),
    })?;
    Ok(socket)
}

fn connect_tcp(host: &str, port: u16, deadline: Instant) -> Result<TcpStream, SignallingError> {
    let address = format!("{host}:{port}");
    let failed = |error: io::Error| SignallingError::Connect {
        address: address.clone(),
        error: error.to_string(),
    };
    let left = || {
        deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1))
    };
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(failed)?.collect();
    let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect_timeout(&address, left()) {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(failed)?;
                stream.set_read_timeout(Some(left())).map_err(failed)?;
                stream
                    .set_write_timeout(Some(CLOSE_TIMEOUT))
                    .map_err(failed)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

/// The socket's thread: alternately what is to be sent and what came.
fn serve(mut socket: Socket, orders: &Receiver<Order>, shared: &Shared) {
    let mut closing_since: Option<Instant> = None;
    loop {
        loop {
            let result = match orders.try_recv() {
                Ok(Order::Send(text)) => socket.send(Message::text(text)),
                Ok(Order::Lose) => return shared.end(closed_without_code()),
                Ok(Order::Close(code)) if closing_since.is_none() => {
                    closing_since = Some(Instant::now());
                    let reason = Utf8Bytes::default();
                    socket.close(code.map(|code| CloseFrame {
                        code: code.into(),
                        reason,
                    }))
                }
                Err(TryRecvError::Disconnected) if closing_since.is_none() => {
                    closing_since = Some(Instant::now());
                    socket.close(None)
                }
                Ok(Order::Close(_)) | Err(_) => break,
            };
            if let Err(error) = result {
                // What the gateway said last may still wait to be read; reading tells how it ended.
                if !is_would_block(&error) {
                    break;
                }
            }
        }
        if closing_since.is_some_and(|since| since.elapsed() > CLOSE_TIMEOUT) {
            return shared.end(closed_without_code());
        }
        match socket.read() {
            Ok(Message::Text(text)) => receive(text.as_str(), shared),
            Ok(Message::Close(frame)) => {
                let (code, reason) = frame.map_or((1005, String::new()), |frame| {
                    (frame.code.into(), frame.reason.to_string())
                });
                shared.end(SignallingError::Closed { code, reason });
            }
            Ok(Message::Binary(_)) => {
                shared.end(SignallingError::Malformed("a binary message".to_owned()))
            }
            Ok(_) => {}
            Err(error) if is_would_block(&error) => {}
            Err(error) => return shared.end(from_tungstenite(error)),
        }
    }
}

fn receive(text: &str, shared: &Shared) {
    match serde_json::from_str(text) {
        Ok(message) => {
            let mut inbox = shared.inbox();
            if inbox.received.len() < MESSAGES_MAX {
                inbox.received.push(Received {
                    at: Instant::now(),
                    message,
                });
            }
            drop(inbox);
            shared.arrived.notify_all();
        }
        Err(error) => shared.end(SignallingError::Malformed(format!("{error} in {text}"))),
    }
}

fn is_would_block(error: &tungstenite::Error) -> bool {
    matches!(error, tungstenite::Error::Io(error)
        if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted))
}

fn closed_without_code() -> SignallingError {
    SignallingError::Closed {
        code: 1006,
        reason: "the socket ended without a close frame".to_owned(),
    }
}

fn from_tungstenite(error: tungstenite::Error) -> SignallingError {
    match error {
        tungstenite::Error::Http(response) => SignallingError::Refused {
            status: response.status().as_u16(),
            body: response
                .body()
                .as_deref()
                .map(|body| String::from_utf8_lossy(body).into_owned())
                .unwrap_or_default(),
        },
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            closed_without_code()
        }
        tungstenite::Error::Io(error) if error.kind() == ErrorKind::InvalidData => {
            SignallingError::Tls(error.to_string())
        }
        tungstenite::Error::Io(error) => SignallingError::Closed {
            code: 1006,
            reason: error.to_string(),
        },
        tungstenite::Error::Protocol(
            tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => closed_without_code(),
        other => SignallingError::Malformed(other.to_string()),
    }
}
