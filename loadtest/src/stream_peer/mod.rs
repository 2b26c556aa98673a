//! One end of a WebSocket that carries a call's sound: Twilio, a relay in front of Vapi, an AI agent, Vapi's own service.
//!
//! For tests of one or two calls, which want to see and do everything: every message is kept with its time, sound is paced or
//! thrown out at once, reading stops when told. What is heard is played as Twilio plays ([`PREFILL_MS`]) and recorded. A thread
//! per socket. Many calls at once are the load test's ([`crate::load`]).

mod connect;
mod driver;
mod player;
mod service;
#[cfg(test)]
mod tests;
mod wire;

use std::io;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use thiserror::Error;

pub use player::PREFILL_MS;
pub use service::{HttpRequest, Reply, ServiceConfig, StreamService};
pub use wire::{AudioWire, PcmFormat, TwilioIds};

use crate::audio::Audio;
use crate::media::Recording;
use crate::signalling::Trust;
use driver::{Driver, Order, Socket};
use player::Player;

/// The most messages that are kept.
const MESSAGES_MAX: usize = 200_000;

/// Why there is no stream, or it does not do what it should.
#[derive(Debug, Error)]
pub enum StreamPeerError {
    /// TCP, TLS or the upgrade.
    #[error("{0}")]
    Connect(String),
    /// The other side said no before 101.
    #[error("refused with HTTP {status}: {body}")]
    Refused {
        /// The status.
        status: u16,
        /// The answer's body.
        body: String,
    },
    /// The system.
    #[error("socket: {0}")]
    Socket(#[from] io::Error),
    /// It did not come in time.
    #[error("timed out waiting for {what}; what came: {seen}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// The last messages.
        seen: String,
    },
}

/// A message that is not sound.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// When it was read.
    pub at: Instant,
    /// As JSON; a string when it is none.
    pub message: Value,
}

/// A message of sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeardFrame {
    /// When it was read.
    pub at: Instant,
    /// As it was coded.
    pub bytes: Vec<u8>,
}

/// How a socket ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEnd {
    /// When.
    pub at: Instant,
    /// The other side's close code; 1005 without one, 1006 without a close frame.
    pub code: u16,
    /// The reason in its close frame.
    pub reason: String,
}

struct Seen {
    messages: Vec<Received>,
    frames: Vec<HeardFrame>,
    player: Player,
    end: Option<StreamEnd>,
    spoken_at: Option<Instant>,
    /// Frames that wait to be said.
    unsaid: usize,
}

struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        let changed = change(&mut self.lock());
        self.changed.notify_all();
        changed
    }

    fn wait<T>(
        &self,
        what: &str,
        deadline: Instant,
        look: impl Fn(&Seen) -> Option<T>,
    ) -> Result<T, StreamPeerError> {
        let mut seen = self.lock();
        loop {
            if let Some(found) = look(&seen) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(StreamPeerError::Timeout {
                    what: what.to_owned(),
                    seen: seen.tail(),
                });
            }
            (seen, _) = self
                .changed
                .wait_timeout(seen, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Seen {
    fn tail(&self) -> String {
        let from = self.messages.len().saturating_sub(20);
        let messages = self.messages.iter().skip(from);
        let messages: Vec<String> = messages.map(|seen| seen.message.to_string()).collect();
        format!(
            "{}; {} messages of sound; end: {:?}",
            messages.join(", "),
            self.frames.len(),
            self.end
        )
    }
}

/// Whom to dial, and how.
#[derive(Debug, Clone)]
pub struct StreamConnect {
    /// `wss://host:port/path`.
    pub url: String,
    /// Whom to believe.
    pub trust: Trust,
    /// Besides those of the upgrade.
    pub headers: Vec<(String, String)>,
}

/// One end of a stream. Dropping it resets the connection.
pub struct StreamPeer {
    shared: Arc<Shared>,
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl StreamPeer {
    /// Dials.
    ///
    /// # Errors
    /// [`StreamPeerError::Refused`] with the status when there was no 101, else what failed.
    pub fn connect(connect: &StreamConnect, wire: AudioWire) -> Result<Self, StreamPeerError> {
        connect::dial(connect).map(|socket| Self::start(socket, wire))
    }

    fn start(socket: Socket, wire: AudioWire) -> Self {
        let player = Player::new(Instant::now(), wire.format());
        let shared = Arc::new(Shared {
            seen: Mutex::new(Seen {
                messages: Vec::new(),
                frames: Vec::new(),
                player,
                end: None,
                spoken_at: None,
                unsaid: 0,
            }),
            changed: Condvar::new(),
        });
        let (orders, inbox) = mpsc::channel();
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || Driver::new(socket, wire, shared, inbox).run()
        });
        Self {
            shared,
            orders,
            thread: Some(thread),
        }
    }

    fn order(&self, order: Order) {
        // A socket that has ended takes no orders; the next wait tells.
        let _ = self.orders.send(order);
    }

    /// Sends a text message.
    pub fn send(&self, message: &Value) {
        self.send_text(&message.to_string());
    }

    /// Sends any text.
    pub fn send_text(&self, text: &str) {
        self.order(Order::Text(text.to_owned()));
    }

    /// Sends a binary message.
    pub fn send_binary(&self, bytes: &[u8]) {
        self.order(Order::Binary(bytes.to_vec()));
    }

    /// Writes bytes where frames belong.
    pub fn send_raw(&self, bytes: &[u8]) {
        self.order(Order::Raw(bytes.to_vec()));
    }

    /// A message of the Twilio dialect with the stream's name and, from Twilio's side, the next number.
    pub fn send_event(&self, event: &str, body: Option<(&str, Value)>) {
        let body = body.map(|(name, body)| (name.to_owned(), body));
        self.order(Order::Event(event.to_owned(), body));
    }

    /// Twilio's `stop`, then the socket is closed.
    pub fn stop(&self) {
        self.order(Order::Stop);
    }

    /// From now on 20 ms are sent every 20 ms, silence where nothing is said; or no longer.
    pub fn set_sending(&self, sending: bool) {
        self.order(Order::Sending(sending));
    }

    /// Says something from the next frame on, at the pace of speech.
    pub fn speak(&self, speech: &Audio) {
        // Here and not in the thread, which has frames to send every 20 ms.
        let frames = self.shared.lock().player.format().encode(speech);
        self.shared.change(|seen| {
            seen.unsaid = frames.len();
            seen.spoken_at = None;
        });
        self.order(Order::Speak(frames));
    }

    /// Says all of it at once, in messages of so many bytes.
    pub fn speak_at_once(&self, speech: &Audio, message_bytes: usize) {
        let bytes = self.shared.lock().player.format().encode(speech).concat();
        self.send_frames(bytes.chunks(message_bytes).map(<[u8]>::to_vec).collect());
    }

    /// Sends messages of sound at once, as they are.
    pub fn send_frames(&self, frames: Vec<Vec<u8>>) {
        self.order(Order::AtOnce(frames));
    }

    /// Leaves the system little room for what is not read.
    pub fn shrink_receive_buffer(&self) {
        self.order(Order::ShrinkReceiveBuffer);
    }

    /// Reads, or lets everything pile up.
    pub fn set_reading(&self, reading: bool) {
        self.order(Order::Reading(reading));
    }

    /// Closes the socket with a code and no reason.
    pub fn close(&self, code: u16) {
        self.order(Order::Close(code));
    }

    /// Ends the connection as a broken network does.
    pub fn lose(&self) {
        self.order(Order::Lose);
    }

    /// When the first sample of the speech was spoken, once it was.
    pub fn spoken_at(&self) -> Option<Instant> {
        self.shared.lock().spoken_at
    }

    /// Waits until all that was to say was said.
    ///
    /// # Errors
    /// [`StreamPeerError::Timeout`]
    pub fn wait_until_spoken(&self, deadline: Instant) -> Result<(), StreamPeerError> {
        let spoken = |seen: &Seen| (seen.unsaid == 0).then_some(());
        self.shared.wait("the end of the speech", deadline, spoken)
    }

    /// Every message so far that is not sound.
    pub fn messages(&self) -> Vec<Received> {
        self.shared.lock().messages.clone()
    }

    /// Every message of sound so far.
    pub fn frames(&self) -> Vec<HeardFrame> {
        self.shared.lock().frames.clone()
    }

    /// What was heard so far, as it was played.
    pub fn recording(&self) -> Recording {
        self.shared.lock().player.recording()
    }

    /// How much of what came is still to be played.
    pub fn queued(&self) -> Duration {
        self.shared.lock().player.queued(Instant::now())
    }

    /// Waits for something among the messages.
    ///
    /// # Errors
    /// [`StreamPeerError::Timeout`]
    pub fn wait_for<T>(
        &self,
        what: &str,
        deadline: Instant,
        look: impl Fn(&[Received]) -> Option<T>,
    ) -> Result<T, StreamPeerError> {
        self.shared
            .wait(what, deadline, |seen| look(&seen.messages))
    }

    /// Waits for the first message whose `event`, or `type`, is `kind`.
    ///
    /// # Errors
    /// [`StreamPeerError::Timeout`]
    pub fn wait_for_kind(
        &self,
        kind: &str,
        deadline: Instant,
    ) -> Result<Received, StreamPeerError> {
        self.wait_for(kind, deadline, |messages| {
            let is_kind =
                |seen: &&Received| seen.message["event"] == kind || seen.message["type"] == kind;
            messages.iter().find(is_kind).cloned()
        })
    }

    /// Waits until so many messages of sound came.
    ///
    /// # Errors
    /// [`StreamPeerError::Timeout`]
    pub fn wait_for_frames(&self, count: usize, deadline: Instant) -> Result<(), StreamPeerError> {
        let enough = |seen: &Seen| (seen.frames.len() >= count).then_some(());
        self.shared
            .wait(&format!("{count} messages of sound"), deadline, enough)
    }

    /// Waits for the end of the socket.
    ///
    /// # Errors
    /// [`StreamPeerError::Timeout`]
    pub fn wait_for_end(&self, deadline: Instant) -> Result<StreamEnd, StreamPeerError> {
        self.shared
            .wait("the end of the socket", deadline, |seen| seen.end.clone())
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<StreamEnd> {
        self.shared.lock().end.clone()
    }
}

impl Drop for StreamPeer {
    fn drop(&mut self) {
        self.order(Order::Lose);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if std::thread::panicking() {
            eprintln!(
                "the last messages of a stream: {}",
                self.shared.lock().tail()
            );
        }
    }
}
