//! A TCP stream of one shard, with or without TLS, that is drained and filled at the tick: no task waits on it.
//!
//! For streams that carry many small messages (audio over a WebSocket, 50 a second each way). Waking a task for each
//! of them costs more than the message; here a [`crate::udp::SocketSet`] names the streams that have something, and
//! all that was written since is sent as one TLS record with one system call.
//!
//! Handshake and upgrade are over when a [`TickStream`] begins; whoever did them gives a [`LiveStream`]. What is not
//! done here: bounding what waits for a peer that does not read (the owner looks at [`TickStream::waiting_bytes`]), and
//! framing.
//!
//! Own buffers are used again. rustls allocates one for each record that it opens and one for each that it seals.

use std::fmt;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustls::Connection;
use socket2::SockRef;

use crate::tcp_queue;
use crate::tls::LiveConnection;

/// Read from a plain socket at once; rustls reads as much.
const READ_LEN: usize = 4096;
/// Plaintext that is sealed at once: a whole record of TLS.
const SEALED_LEN_MAX: usize = 16 * 1024;
/// The kernel's part of what may wait for a peer that does not read. Its own choice grows to megabytes, which would be minutes of
/// speech; this is a second or more of it at every rate, and many round trips.
const SEND_BUFFER_BYTES: usize = 32 * 1024;
/// What an idle stream's own buffer may keep.
const IDLE_CAPACITY: usize = 4096;

/// A connection on its way to the shard that owns it: connected, its TLS handshake done, its protocol upgraded.
pub struct LiveStream {
    /// The TCP socket.
    pub fd: OwnedFd,
    /// The TLS session in the middle of its life; none for plain TCP.
    pub tls: Option<Connection>,
    /// What was read from it already and belongs to the new owner.
    pub head: Vec<u8>,
    /// Who is connected.
    pub peer: SocketAddr,
}

impl From<LiveConnection> for LiveStream {
    fn from(connection: LiveConnection) -> Self {
        Self {
            fd: connection.fd,
            tls: Some(Connection::Server(connection.tls)),
            head: connection.head,
            peer: connection.peer,
        }
    }
}

/// What was read may be a caller's: only its length is shown.
impl fmt::Debug for LiveStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveStream")
            .field("fd", &self.fd)
            .field("is_tls", &self.tls.is_some())
            .field("head_len", &self.head.len())
            .field("peer", &self.peer)
            .finish()
    }
}

/// What is left after [`TickStream::read`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// More waits, perhaps inside of the TLS session, where no poll sees it: read again.
    More,
    /// Nothing now; a poll tells when there is.
    Empty,
    /// The peer has closed its side, by close_notify or without. It comes alone, in a read that appended nothing, so that
    /// last words are heard before.
    End,
}

/// What is left after [`TickStream::flush`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Nothing: the kernel has all of it.
    Done,
    /// Something waits, because the peer does not read; flush again at a later tick.
    Blocked,
}

/// A stream that is read and written without waiting.
pub struct TickStream {
    socket: Socket,
    tls: Option<Connection>,
    peer: SocketAddr,
    /// Written and not sealed (or, without TLS, not sent).
    plaintext: Vec<u8>,
    end: End,
}

/// How far the end of our side is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// Behind what was written before.
    Asked,
    Told,
}

impl TickStream {
    /// Takes a stream; gives what was read from it before, its head and what the TLS session had opened already. The
    /// stream is worth one read right away, whatever a poll says.
    ///
    /// # Errors
    /// The socket is gone, or what the TLS session holds is no TLS.
    pub fn new(live: LiveStream) -> io::Result<(Self, Vec<u8>)> {
        let LiveStream {
            fd,
            mut tls,
            mut head,
            peer,
        } = live;
        let tcp = TcpStream::from(fd);
        tcp.set_nonblocking(true)?;
        tcp.set_nodelay(true)?;
        SockRef::from(&tcp).set_send_buffer_size(SEND_BUFFER_BYTES)?;
        if let Some(tls) = &mut tls {
            // `plaintext` holds what waits, and rustls gets one record at a time: its own limit would only tear them.
            tls.set_buffer_limit(None);
            tls.process_new_packets().map_err(no_tls)?;
            take_opened(tls, &mut head, usize::MAX);
        }
        let stream = Self {
            socket: Socket {
                tcp,
                is_drained: false,
                unsent_bytes: 0,
            },
            tls,
            peer,
            plaintext: Vec::new(),
            end: End::Open,
        };
        Ok((stream, head))
    }

    /// Who is connected.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Appends what has come, at most `bytes_max` bytes of it. After an error nothing more comes.
    ///
    /// # Errors
    /// The connection was reset, or the peer broke TLS (it is told so by an alert, if its socket has room).
    pub fn read(&mut self, into: &mut Vec<u8>, bytes_max: usize) -> io::Result<Read> {
        let before = into.len();
        let len_max = before.saturating_add(bytes_max);
        match self.read_to(into, len_max, bytes_max)? {
            Read::End if into.len() > before => Ok(Read::More),
            outcome => Ok(outcome),
        }
    }

    fn read_to(
        &mut self,
        into: &mut Vec<u8>,
        len_max: usize,
        bytes_max: usize,
    ) -> io::Result<Read> {
        // Also of what brings no plaintext, so that a peer can't hold the tick.
        let mut received_bytes = 0;
        self.socket.is_drained = false;
        loop {
            if let Some(tls) = &mut self.tls
                && let Some(outcome) = take_opened(tls, into, len_max)
            {
                return Ok(outcome);
            }
            if self.socket.is_drained {
                return Ok(Read::Empty);
            }
            if received_bytes >= bytes_max {
                return Ok(Read::More);
            }
            let received = match &mut self.tls {
                Some(tls) => tls.read_tls(&mut self.socket),
                None => self.socket.read_onto(into, bytes_max - received_bytes),
            };
            match received {
                Ok(0) if self.tls.is_none() => return Ok(Read::End),
                Ok(bytes) => received_bytes += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Read::Empty),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            self.open_records(into, len_max)?;
        }
    }

    /// Appends to what the next [`Self::flush`] sends. Behind [`Self::close_notify`] nothing is sent any more.
    pub fn write(&mut self, plaintext: &[u8]) {
        if self.end == End::Open {
            self.plaintext.extend_from_slice(plaintext);
        }
    }

    /// Sends what waits, as far as the socket takes it.
    ///
    /// # Errors
    /// The connection was reset.
    pub fn flush(&mut self) -> io::Result<Flush> {
        let mut taken = 0;
        let outcome = self.send_from(&mut taken);
        self.plaintext.drain(..taken);
        if self.plaintext.is_empty() {
            self.plaintext.shrink_to(IDLE_CAPACITY);
        }
        outcome
    }

    /// What was written and is not yet the kernel's, sealed or not. 0: a flush has nothing to do.
    pub fn waiting_bytes(&self) -> usize {
        let sealed = match &self.tls {
            // rustls may have a message of its own to send that was never offered to the socket.
            Some(tls) if tls.wants_write() => self.socket.unsent_bytes.max(1),
            _ => 0,
        };
        sealed + self.plaintext.len() + usize::from(self.end == End::Asked)
    }

    /// What was written and the peer's host has not acknowledged, as far as that is known. A system call.
    pub fn unacknowledged_bytes(&self) -> usize {
        let in_kernel = tcp_queue::unacknowledged_bytes(&self.socket.tcp).unwrap_or(0);
        in_kernel + self.waiting_bytes()
    }

    /// Ends our side behind what was written before: close_notify, or without TLS the end of the stream. It leaves with
    /// the next flush.
    pub fn close_notify(&mut self) {
        if self.end == End::Open {
            self.end = End::Asked;
        }
    }

    /// Opens the records that were read. Answers of rustls' own (a new key, an alert) leave at once.
    fn open_records(&mut self, into: &mut Vec<u8>, len_max: usize) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            return Ok(());
        };
        let opened = tls.process_new_packets();
        if opened.is_err() {
            take_opened(tls, into, len_max);
        }
        if tls.wants_write() {
            match self.send_sealed() {
                // What the peer did wrong says more than that it does not read the alert.
                Err(error) if opened.is_ok() => return Err(error),
                _ => {}
            }
        }
        opened.map(drop).map_err(no_tls)
    }

    /// Sends all that waits, and counts in `taken` the plaintext that waits no more.
    fn send_from(&mut self, taken: &mut usize) -> io::Result<Flush> {
        loop {
            if self.send_sealed()? == Flush::Blocked {
                return Ok(Flush::Blocked);
            }
            let plaintext = &self.plaintext[*taken..];
            if plaintext.is_empty() {
                if self.end != End::Asked {
                    return Ok(Flush::Done);
                }
                self.end = End::Told;
                match &mut self.tls {
                    Some(tls) => tls.send_close_notify(),
                    None => self.socket.tcp.shutdown(Shutdown::Write)?,
                }
                continue;
            }
            *taken += match &mut self.tls {
                Some(tls) => {
                    let part = plaintext.len().min(SEALED_LEN_MAX);
                    tls.writer().write(&plaintext[..part])?
                }
                None => match self.socket.send(plaintext)? {
                    Some(bytes) => bytes,
                    None => return Ok(Flush::Blocked),
                },
            };
        }
    }

    fn send_sealed(&mut self) -> io::Result<Flush> {
        let Some(tls) = &mut self.tls else {
            return Ok(Flush::Done);
        };
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) if self.socket.unsent_bytes > 0 => return Ok(Flush::Blocked),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Flush::Blocked);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Flush::Done)
    }
}

impl AsFd for TickStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.tcp.as_fd()
    }
}

/// Moves opened plaintext to the end of `into`. None: all of it was moved, and the socket may have more.
fn take_opened(tls: &mut Connection, into: &mut Vec<u8>, len_max: usize) -> Option<Read> {
    let mut reader = tls.reader();
    loop {
        let opened = match reader.fill_buf() {
            Ok([]) => return Some(Read::End),
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            // The one other error is an end without close_notify.
            Err(_) => return Some(Read::End),
        };
        let part = opened.len().min(len_max - into.len());
        if part == 0 {
            return Some(Read::More);
        }
        into.extend_from_slice(&opened[..part]);
        reader.consume(part);
    }
}

fn no_tls(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The TCP socket, as rustls reads and writes it.
struct Socket {
    tcp: TcpStream,
    /// The last read brought less than there was room for, so another would bring nothing.
    is_drained: bool,
    /// What the last write was offered and did not take.
    unsent_bytes: usize,
}

impl Socket {
    /// Reads without TLS, at most `bytes_max`.
    fn read_onto(&mut self, into: &mut Vec<u8>, bytes_max: usize) -> io::Result<usize> {
        let len = into.len();
        into.resize(len + bytes_max.min(READ_LEN), 0);
        let received = self.read(&mut into[len..]);
        into.truncate(len + received.as_ref().map_or(0, |bytes| *bytes));
        received
    }

    /// Sends without TLS. None: the socket is full.
    fn send(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        match self.tcp.write(bytes) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(sent) => Ok(Some(sent)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Some(0)),
            Err(error) => Err(error),
        }
    }
}

impl io::Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let received = self.tcp.read(buffer)?;
        self.is_drained = 0 < received && received < buffer.len();
        Ok(received)
    }
}

impl io::Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unsent_bytes = bytes.len();
        let sent = self.tcp.write(bytes)?;
        self.unsent_bytes -= sent;
        Ok(sent)
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        // One record is the rule, and `send` is a cheaper call than `writev`.
        if let [part] = parts {
            return self.write(part);
        }
        self.unsent_bytes = parts.iter().map(|part| part.len()).sum();
        let sent = self.tcp.write_vectored(parts)?;
        self.unsent_bytes -= sent;
        Ok(sent)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
