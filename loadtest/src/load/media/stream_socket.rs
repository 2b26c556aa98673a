//! A WebSocket without a task: TCP, TLS if there is any, and `tungstenite` over both, none of which ever waits. It is opened on
//! tokio and read and written by a media thread afterwards. What comes is stamped by the kernel.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustls::Connection;
use thiserror::Error;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

use super::sys;

/// The largest message.
const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// What waits for a far end that does not read; then frames are not sent.
const WRITE_BUFFER_BYTES_MAX: usize = 64 << 10;
/// `tungstenite` takes 128 KiB a socket by default.
const READ_BUFFER_BYTES: usize = 4 << 10;
/// How often [`StreamSocket::next_text`] looks.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A connection behind its upgrade.
pub struct OpenStream {
    /// Does not wait.
    pub tcp: TcpStream,
    /// TLS, in either role.
    pub tls: Option<Connection>,
    /// What was read behind the upgrade.
    pub head: Vec<u8>,
    /// Who dialled.
    pub role: Role,
}

/// A WebSocket that ended, or was not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StreamError {
    /// By the far end's close frame, with a code.
    #[error("closed with {code}: {reason}")]
    Closed {
        /// RFC 6455 section 7.4.
        code: u16,
        /// For people; may be empty.
        reason: String,
    },
    /// By a close frame without one.
    #[error("closed without a code")]
    ClosedWithoutCode,
    /// Without a close frame.
    #[error("{0}")]
    Lost(String),
}

/// An open WebSocket.
pub struct StreamSocket {
    socket: WebSocket<Transport>,
}

impl OpenStream {
    /// Speaks WebSocket from now on.
    ///
    /// # Errors
    /// The TCP connection.
    pub fn into_socket(self) -> io::Result<StreamSocket> {
        self.tcp.set_nonblocking(true)?;
        self.tcp.set_nodelay(true)?;
        sys::stamp_arrivals(&self.tcp)?;
        let transport = Transport {
            tcp: StampedTcp {
                tcp: self.tcp,
                empty: false,
                arrival_ns: sys::realtime_ns(),
            },
            tls: self.tls,
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
            .max_message_size(Some(MESSAGE_BYTES_MAX));
        let socket = WebSocket::from_partially_read(transport, self.head, self.role, Some(config));
        Ok(StreamSocket { socket })
    }
}

impl StreamSocket {
    /// Sends a text at once.
    ///
    /// # Errors
    /// The socket has ended.
    pub fn send_text(&mut self, text: &str) -> Result<(), StreamError> {
        self.send(Message::text(text))
    }

    /// The next text, before the socket goes to a media thread; binary messages before it are dropped. It must be within a
    /// timeout, which may drop it at any time.
    ///
    /// # Errors
    /// The socket has ended.
    pub async fn next_text(&mut self) -> Result<String, StreamError> {
        loop {
            self.begin_turn();
            while let Some(message) = self.next()? {
                if let Message::Text(text) = message {
                    return Ok(text.as_str().to_owned());
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What comes from now on is read in this turn.
    pub(super) fn begin_turn(&mut self) {
        self.socket.get_mut().tcp.empty = false;
    }

    /// The next message, if one is there. A close is an end, which says so.
    pub(super) fn next(&mut self) -> Result<Option<Message>, StreamError> {
        match self.socket.read() {
            Ok(Message::Close(frame)) => {
                // The answer, which waits to be sent; a far end that is gone does not want it.
                let _ = self.socket.flush();
                Err(match frame {
                    Some(frame) => StreamError::Closed {
                        code: frame.code.into(),
                        reason: frame.reason.to_string(),
                    },
                    None => StreamError::ClosedWithoutCode,
                })
            }
            Ok(message) => Ok(Some(message)),
            Err(error) if would_block(&error) => Ok(None),
            Err(error) => Err(StreamError::Lost(error.to_string())),
        }
    }

    /// When the last of what was read came, by the wall clock.
    pub(super) fn arrival_ns(&self) -> u64 {
        self.socket.get_ref().tcp.arrival_ns
    }

    /// Sends a message at once; what the kernel does not take waits for the next one.
    pub(super) fn send(&mut self, message: Message) -> Result<(), StreamError> {
        match self.socket.send(message) {
            Err(error) if !would_block(&error) => Err(StreamError::Lost(error.to_string())),
            _ => Ok(()),
        }
    }

    /// Closes from our side; the far end's close is still to come.
    pub(super) fn close(&mut self, code: u16) {
        // It may be closed already.
        let _ = self.socket.close(Some(CloseFrame {
            code: CloseCode::from(code),
            reason: "".into(),
        }));
        let _ = self.socket.flush();
    }
}

fn would_block(error: &tungstenite::Error) -> bool {
    matches!(error, tungstenite::Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
}

struct StampedTcp {
    tcp: TcpStream,
    /// Was read up to its end in this turn, so it is not asked again.
    empty: bool,
    arrival_ns: u64,
}

impl Read for StampedTcp {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.empty {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (len, arrival_ns) = sys::receive_stream(&self.tcp, buffer)?;
        self.empty = len > 0 && len < buffer.len();
        self.arrival_ns = arrival_ns;
        Ok(len)
    }
}

impl Write for StampedTcp {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tcp.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Transport {
    tcp: StampedTcp,
    tls: Option<Connection>,
}

impl Transport {
    /// Sends the records that wait, as far as the kernel takes them.
    fn write_records(&mut self) -> io::Result<()> {
        while let Some(tls) = self.tls.as_mut().filter(|tls| tls.wants_write()) {
            tls.write_tls(&mut self.tcp)?;
        }
        Ok(())
    }
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.tcp.read(buffer);
        };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            // The reader tells of the end in its next turn.
            tls.read_tls(&mut self.tcp)?;
            tls.process_new_packets().map_err(io::Error::other)?;
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.tcp.write(bytes);
        };
        let len = tls.writer().write(bytes)?;
        match self.write_records() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            // Records that wait are full: nothing was taken.
            _ if len == 0 && !bytes.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(len),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_records()
    }
}
