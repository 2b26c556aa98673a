//! One caller's WebSocket as a session holds it: the upgrade, writing in bounded time, pings, the close.
//!
//! A session may outlive its line and get another ([`Doorway`]); the line's place within the connection limits goes with it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use async_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use async_tungstenite::tungstenite::{self, Message};
use futures_lite::{AsyncWriteExt, StreamExt};
use shards::tls::TlsStream;

use super::accept::Place;
use super::connection::{Connection, TimedOut, linger, within};
use super::http::{self, RequestHead};
use crate::fault::Refusal;
use crate::vendors::browser::{CLOSE_REASON_LEN_MAX, MESSAGE_LEN_MAX, SUBPROTOCOL, ServerMessage};
use crate::websocket::handshake::accept_of;

/// A socket that stays full for so long is closed and counted.
const WRITE_WITHIN: Duration = Duration::from_secs(5);
/// What is read at once of what TLS has decrypted already, so that more would save no system call. tungstenite's defaults take
/// 128 KiB of every socket and let writes grow without end.
const READ_BUFFER_BYTES: usize = 1 << 10;
const WRITE_BUFFER_BYTES_MAX: usize = 64 << 10;
/// A ping goes out when nothing has been heard for so long; twice as long, and the socket is lost.
const PING_AFTER: Duration = Duration::from_secs(20);

/// Why something could not be written.
#[derive(Debug)]
pub(super) enum WriteFailure {
    /// The socket is gone.
    Gone(tungstenite::Error),
    /// It was full for [`WRITE_WITHIN`].
    Full,
}

/// An upgraded socket.
pub(super) struct Line {
    socket: WebSocketStream<Box<TlsStream>>,
    last_heard: Instant,
    pinged: bool,
    /// A frame could not be read; nothing behind it can be.
    pub(super) broken: bool,
    _place: Place,
}

impl Line {
    /// The 101, written by ourselves because the caller may have sent frames behind its head already. None: the caller is
    /// gone.
    pub(super) async fn upgrade(
        connection: Connection,
        head: &RequestHead,
        place: Place,
    ) -> Option<Self> {
        let Connection { mut tls, read, .. } = connection;
        let accept_key = accept_of(head.websocket_key.as_deref()?);
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
        let socket =
            WebSocketStream::from_partially_read(tls, leftover, Role::Server, Some(config)).await;
        Some(Self {
            socket,
            last_heard: Instant::now(),
            pinged: false,
            broken: false,
            _place: place,
        })
    }

    /// The next frame; none at the end of the stream. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Result<Message, tungstenite::Error>> {
        self.socket.next().await
    }

    /// Something was read.
    pub(super) fn heard(&mut self, now: Instant) {
        self.last_heard = now;
        self.pinged = false;
    }

    /// When [`Line::ping`] is due.
    pub(super) fn ping_due(&self) -> Instant {
        let pings = if self.pinged { 2 } else { 1 };
        self.last_heard + pings * PING_AFTER
    }

    /// Sends a ping, or finds that the last one was not answered.
    pub(super) async fn ping(&mut self) -> Result<(), WriteFailure> {
        if self.pinged {
            return Err(WriteFailure::Gone(tungstenite::Error::ConnectionClosed));
        }
        self.pinged = true;
        self.write(Message::Ping(Default::default())).await
    }

    pub(super) async fn send(&mut self, message: &ServerMessage) -> Result<(), WriteFailure> {
        self.write(Message::text(message.to_json())).await
    }

    async fn write(&mut self, message: Message) -> Result<(), WriteFailure> {
        match within(WRITE_WITHIN, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(WriteFailure::Gone(error)),
            Err(TimedOut) => Err(WriteFailure::Full),
        }
    }

    /// Sends a close frame and waits for the peer's, so that the code is not lost to a reset.
    pub(super) async fn close(&mut self, code: u16, reason: &str) -> Result<(), WriteFailure> {
        let reason = &reason[..reason.floor_char_boundary(CLOSE_REASON_LEN_MAX)];
        let frame = CloseFrame {
            code: CloseCode::from(code),
            reason: reason.to_owned().into(),
        };
        let closed = async {
            self.socket.close(Some(frame)).await?;
            while let Some(Ok(_)) = self.socket.next().await {}
            Ok(())
        };
        match within(WRITE_WITHIN, closed).await {
            Ok(Ok(())) if self.broken => linger(self.socket.get_mut()).await,
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(WriteFailure::Gone(error)),
            Err(TimedOut) => return Err(WriteFailure::Full),
        }
        Ok(())
    }

    /// Says `error` and closes with its code: for a caller that never had a session here.
    pub(super) async fn refuse(mut self, refusal: &Refusal) {
        // A caller that does not take it loses nothing but the reason.
        if self.send(&ServerMessage::from(refusal)).await.is_ok() {
            let _ = self
                .close(refusal.code.close_code(), &refusal.message)
                .await;
        }
    }

    /// The caller closes: its frame is answered (RFC 6455 section 5.5.1), or a page would take the end for a loss (1006).
    pub(super) async fn answer_close(&mut self) {
        // Reading on sends the answer that tungstenite has ready.
        let answered = async { while let Some(Ok(_)) = self.socket.next().await {} };
        // A page that does not take it loses nothing but its answer.
        let _ = within(WRITE_WITHIN, answered).await;
    }
}

/// Where a caller that resumes hands its line to the task of its session.
#[derive(Default)]
pub(super) struct Doorway {
    entered: RefCell<Option<Line>>,
    waiting: Cell<Option<Waker>>,
}

impl Doorway {
    /// Gives the session `line`.
    pub(super) fn enter(&self, line: Line) {
        self.entered.borrow_mut().replace(line);
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }

    /// The next line. Cancel-safe.
    pub(super) async fn next(&self) -> Line {
        poll_fn(|context| match self.entered.borrow_mut().take() {
            Some(line) => Poll::Ready(line),
            None => {
                self.waiting.set(Some(context.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }
}
