//! The thread of a stream: sends what is due, reads what came, plays it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

use super::wire::{AudioWire, Messages, Understood};
use super::{HeardFrame, MESSAGES_MAX, Received, Seen, Shared, StreamEnd};

/// How long an order waits at most.
const ORDER_WITHIN: Duration = Duration::from_millis(2);
const FRAME: Duration = Duration::from_millis(crate::media::PACKET_MS as u64);

/// Plain or TLS.
pub(super) type Bytes = Box<dyn ReadWrite>;

pub(super) trait ReadWrite: Read + Write + Send {}

impl<T: Read + Write + Send> ReadWrite for T {}

/// A WebSocket and the connection below it.
pub(super) struct Socket {
    pub(super) socket: WebSocket<Bytes>,
    pub(super) tcp: TcpStream,
}

pub(super) enum Order {
    Text(String),
    Binary(Vec<u8>),
    Raw(Vec<u8>),
    Event(String, Option<(String, Value)>),
    Stop,
    Sending(bool),
    Speak(Vec<Vec<u8>>),
    AtOnce(Vec<Vec<u8>>),
    Reading(bool),
    ShrinkReceiveBuffer,
    Close(u16),
    Lose,
}

pub(super) struct Driver {
    socket: WebSocket<Bytes>,
    tcp: TcpStream,
    messages: Messages,
    silence: Vec<u8>,
    shared: Arc<Shared>,
    orders: Receiver<Order>,
    reading: bool,
    due: Option<Instant>,
    speech: VecDeque<Vec<u8>>,
    /// The next frame is the first of the speech.
    begins: bool,
}

impl Driver {
    pub(super) fn new(
        Socket { socket, tcp }: Socket,
        wire: AudioWire,
        shared: Arc<Shared>,
        orders: Receiver<Order>,
    ) -> Self {
        Self {
            socket,
            tcp,
            silence: wire.format().silence(),
            messages: Messages::new(wire),
            shared,
            orders,
            reading: true,
            due: None,
            speech: VecDeque::new(),
            begins: false,
        }
    }

    pub(super) fn run(mut self) {
        let end = match self.serve() {
            Ok(()) => "the stream was dropped".to_owned(),
            Err(error) => error.to_string(),
        };
        let _ = self.tcp.shutdown(Shutdown::Both);
        self.shared.change(|seen| {
            seen.unsaid = 0;
            seen.end.get_or_insert(StreamEnd {
                at: Instant::now(),
                code: 1006,
                reason: end,
            });
        });
    }

    fn serve(&mut self) -> tungstenite::Result<()> {
        self.tcp.set_nonblocking(true)?;
        loop {
            loop {
                match self.orders.try_recv() {
                    Ok(Order::Lose) | Err(TryRecvError::Disconnected) => return Ok(()),
                    Ok(order) => self.obey(order)?,
                    Err(TryRecvError::Empty) => break,
                }
            }
            self.send_due()?;
            self.answer_marks()?;
            let blocked = is_blocked(self.socket.flush())?;
            if self.reading {
                self.read()?;
            }
            self.rest(blocked)?;
        }
    }

    fn obey(&mut self, order: Order) -> tungstenite::Result<()> {
        match order {
            Order::Text(text) => self.write(Message::text(text))?,
            Order::Binary(bytes) => self.write(Message::binary(bytes))?,
            Order::Raw(bytes) => {
                is_blocked(self.socket.flush())?;
                self.socket.get_mut().write_all(&bytes)?;
            }
            Order::Event(event, body) => {
                let body = body.as_ref().map(|(name, body)| (&**name, body.clone()));
                if let Some(text) = self.messages.event(&event, body) {
                    self.write(Message::text(text))?;
                }
            }
            Order::Stop => {
                if let Some(text) = self.messages.stop() {
                    self.write(Message::text(text))?;
                }
                self.due = None;
                self.close(1000)?;
            }
            Order::Sending(sending) => self.due = sending.then(Instant::now),
            Order::Speak(frames) => {
                self.speech = frames.into();
                self.begins = true;
                self.due.get_or_insert_with(Instant::now);
            }
            Order::AtOnce(messages) => {
                for bytes in messages {
                    self.write_audio(&bytes)?;
                }
            }
            Order::Reading(reading) => self.reading = reading,
            Order::ShrinkReceiveBuffer => shrink_receive_buffer(&self.tcp)?,
            Order::Close(code) => {
                self.due = None;
                self.close(code)?;
            }
            Order::Lose => {}
        }
        Ok(())
    }

    fn close(&mut self, code: u16) -> tungstenite::Result<()> {
        let frame = CloseFrame {
            code: code.into(),
            reason: "".into(),
        };
        is_blocked(self.socket.close(Some(frame))).map(drop)
    }

    fn write(&mut self, message: Message) -> tungstenite::Result<()> {
        is_blocked(self.socket.write(message)).map(drop)
    }

    fn write_audio(&mut self, bytes: &[u8]) -> tungstenite::Result<()> {
        if self.messages.is_binary() {
            return self.write(Message::binary(bytes.to_vec()));
        }
        match self.messages.media(bytes) {
            Some(text) => self.write(Message::text(text)),
            None => Ok(()),
        }
    }

    fn send_due(&mut self) -> tungstenite::Result<()> {
        while let Some(due) = self.due.filter(|due| *due <= Instant::now()) {
            self.due = Some(due + FRAME);
            let said = self.speech.pop_front();
            let is_speech = said.is_some();
            let frame = said.unwrap_or_else(|| self.silence.clone());
            self.write_audio(&frame)?;
            if is_speech {
                let spoken_at = self.begins.then(|| due.checked_sub(FRAME)).flatten();
                self.begins = false;
                let left = self.speech.len();
                self.shared.change(|seen| {
                    seen.unsaid = left;
                    seen.spoken_at = seen.spoken_at.or(spoken_at);
                });
            }
        }
        Ok(())
    }

    fn answer_marks(&mut self) -> tungstenite::Result<()> {
        let due = self.shared.lock().player.due_marks(Instant::now());
        for name in due {
            let mark = json!({"name": name});
            if let Some(text) = self.messages.event("mark", Some(("mark", mark))) {
                self.write(Message::text(text))?;
            }
        }
        Ok(())
    }

    fn read(&mut self) -> tungstenite::Result<()> {
        loop {
            let message = match self.socket.read() {
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(());
                }
                message => message?,
            };
            let at = Instant::now();
            match message {
                Message::Text(text) => self.handle_text(at, &text),
                Message::Binary(bytes) => self.handle_binary(at, bytes.into()),
                Message::Close(frame) => self.shared.change(|seen| {
                    let (code, reason) = frame.map_or((1005, String::new()), |frame| {
                        (frame.code.into(), frame.reason.to_string())
                    });
                    seen.end.get_or_insert(StreamEnd { at, code, reason });
                }),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    fn handle_binary(&self, at: Instant, bytes: Vec<u8>) {
        self.shared.change(|seen| {
            if self.messages.is_binary() {
                seen.hear(at, bytes);
            } else {
                let message = json!(format!("{} bytes", bytes.len()));
                seen.keep(Received { at, message });
            }
        });
    }

    fn handle_text(&mut self, at: Instant, text: &str) {
        let message = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
        let understood = self.messages.understand(&message);
        self.shared.change(|seen| {
            match understood {
                Understood::Audio(bytes) => return seen.hear(at, bytes),
                Understood::Mark(name) => seen.player.handle_mark(at, name),
                Understood::Clear => seen.player.handle_clear(at),
                Understood::Other => {}
            }
            seen.keep(Received { at, message });
        });
    }

    /// Until there is something to do.
    fn rest(&self, blocked: bool) -> io::Result<()> {
        let until_due = self
            .due
            .map(|due| due.saturating_duration_since(Instant::now()));
        let rest = until_due.map_or(ORDER_WITHIN, |until_due| until_due.min(ORDER_WITHIN));
        let mut events = 0;
        if self.reading {
            events |= libc::POLLIN;
        }
        if blocked {
            events |= libc::POLLOUT;
        }
        let mut poll = libc::pollfd {
            fd: self.tcp.as_raw_fd(),
            events,
            revents: 0,
        };
        let timeout = libc::timespec {
            tv_sec: 0,
            tv_nsec: rest.subsec_nanos().into(),
        };
        // SAFETY: one pollfd of a descriptor that lives as long as `self`, and a timeout, both on this stack.
        let ready = unsafe { libc::ppoll(&raw mut poll, 1, &raw const timeout, std::ptr::null()) };
        match ready {
            -1 => Err(io::Error::last_os_error()).or_else(|error| match error.kind() {
                ErrorKind::Interrupted => Ok(()),
                _ => Err(error),
            }),
            // Somebody who does not read learns of the end only so.
            _ if poll.revents & libc::POLLHUP != 0 && !self.reading => {
                Err(ErrorKind::ConnectionReset.into())
            }
            _ => Ok(()),
        }
    }
}

fn shrink_receive_buffer(tcp: &TcpStream) -> io::Result<()> {
    // The system makes the least of it that it allows.
    let len: libc::c_int = 1;
    // SAFETY: an option of an int, which lives on this stack, for a descriptor that is open.
    let outcome = unsafe {
        libc::setsockopt(
            tcp.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            (&raw const len).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    match outcome {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Seen {
    fn hear(&mut self, at: Instant, bytes: Vec<u8>) {
        self.player.handle_audio(at, &bytes);
        if self.frames.len() < MESSAGES_MAX {
            self.frames.push(HeardFrame { at, bytes });
        }
    }

    fn keep(&mut self, received: Received) {
        if self.messages.len() < MESSAGES_MAX {
            self.messages.push(received);
        }
    }
}

/// Whether something waits until the other side reads.
fn is_blocked(outcome: tungstenite::Result<()>) -> tungstenite::Result<bool> {
    match outcome {
        Ok(()) => Ok(false),
        Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(true),
        // The close frame went out; what is left is to read.
        Err(tungstenite::Error::Protocol(tungstenite::error::ProtocolError::SendAfterClosing)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
