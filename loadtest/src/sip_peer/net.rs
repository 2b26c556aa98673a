//! The sockets of a far end: UDP, and TCP at the same port.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::driver::Wake;

const READ_TIMEOUT: Duration = Duration::from_millis(100);
const MESSAGE_BYTES_MAX: usize = 65_535;
/// How often a port that is free for both is looked for.
const PORT_TRIES_MAX: u32 = 50;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A connection.
    Tcp,
}

/// Where a message came from, or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Remote {
    /// How.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
}

type Streams = Arc<Mutex<HashMap<SocketAddr, TcpStream>>>;

/// The sockets with their readers.
pub(super) struct Net {
    udp: UdpSocket,
    streams: Streams,
    wakes: Sender<Wake>,
    stop: Arc<AtomicBool>,
}

impl Net {
    /// Binds both, and begins to read.
    pub(super) fn start(
        (ip, port): (IpAddr, u16),
        wakes: Sender<Wake>,
        stop: Arc<AtomicBool>,
    ) -> io::Result<(Self, SocketAddr, Vec<JoinHandle<()>>)> {
        let (udp, tcp) = bind(ip, port)?;
        let local = udp.local_addr()?;
        udp.set_read_timeout(Some(READ_TIMEOUT))?;
        tcp.set_nonblocking(true)?;
        let net = Self {
            udp: udp.try_clone()?,
            streams: Streams::default(),
            wakes,
            stop,
        };
        let (reader, stop) = (net.wakes.clone(), Arc::clone(&net.stop));
        let datagrams = std::thread::spawn(move || read_datagrams(&udp, &reader, &stop));
        let (streams, wakes, stop) = (
            Arc::clone(&net.streams),
            net.wakes.clone(),
            Arc::clone(&net.stop),
        );
        let connections = std::thread::spawn(move || accept(&tcp, &streams, &wakes, &stop));
        Ok((net, local, vec![datagrams, connections]))
    }

    /// Sends a message; what the network loses it loses.
    pub(super) fn send(&self, remote: Remote, text: &str) {
        let _ = match remote.transport {
            Transport::Udp => self
                .udp
                .send_to(text.as_bytes(), remote.address)
                .map(|_| ()),
            Transport::Tcp => self.send_by_stream(remote.address, text),
        };
    }

    fn send_by_stream(&self, address: SocketAddr, text: &str) -> io::Result<()> {
        let known = lock(&self.streams).get(&address).map(TcpStream::try_clone);
        let mut stream = match known {
            Some(stream) => stream?,
            None => {
                let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
                read_stream_in_thread(&stream, address, &self.streams, &self.wakes, &self.stop)?;
                stream
            }
        };
        stream.write_all(text.as_bytes())
    }
}

fn bind(ip: IpAddr, port: u16) -> io::Result<(UdpSocket, TcpListener)> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..PORT_TRIES_MAX {
        let udp = UdpSocket::bind((ip, port))?;
        match TcpListener::bind(udp.local_addr()?) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) => last = error,
        }
        if port != 0 {
            break;
        }
    }
    Err(last)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wake(wakes: &Sender<Wake>, transport: Transport, address: SocketAddr, text: String) {
    // The driver runs until the far end is dropped.
    let _ = wakes.send(Wake::Message {
        at: Instant::now(),
        remote: Remote { transport, address },
        text,
    });
}

fn read_datagrams(udp: &UdpSocket, wakes: &Sender<Wake>, stop: &AtomicBool) {
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    while !stop.load(Ordering::Relaxed) {
        // Errors are timeouts, and ICMP answers to earlier datagrams.
        if let Ok((len, remote)) = udp.recv_from(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            wake(wakes, Transport::Udp, remote, text);
        }
    }
}

fn accept(tcp: &TcpListener, streams: &Streams, wakes: &Sender<Wake>, stop: &Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        match tcp.accept() {
            Ok((stream, remote)) => {
                // One that is gone again is no matter.
                let _ = stream.set_nonblocking(false);
                let _ = read_stream_in_thread(&stream, remote, streams, wakes, stop);
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn read_stream_in_thread(
    stream: &TcpStream,
    remote: SocketAddr,
    streams: &Streams,
    wakes: &Sender<Wake>,
    stop: &Arc<AtomicBool>,
) -> io::Result<()> {
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    lock(streams).insert(remote, stream.try_clone()?);
    let (mut stream, streams) = (stream.try_clone()?, Arc::clone(streams));
    let (wakes, stop) = (wakes.clone(), Arc::clone(stop));
    std::thread::spawn(move || {
        read_stream(&mut stream, remote, &wakes, &stop);
        lock(&streams).remove(&remote);
    });
    Ok(())
}

fn read_stream(
    stream: &mut TcpStream,
    remote: SocketAddr,
    wakes: &Sender<Wake>,
    stop: &AtomicBool,
) {
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) && read.len() <= MESSAGE_BYTES_MAX {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(len) => read.extend_from_slice(&buffer[..len]),
            Err(error)
                if [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind()) => {
            }
            Err(_) => return,
        }
        while let Some(len) = message_len(&read).filter(|len| *len <= read.len()) {
            let rest = read.split_off(len);
            let text = String::from_utf8_lossy(&read).into_owned();
            read = rest;
            wake(wakes, Transport::Tcp, remote, text);
        }
    }
}

/// The length of the message in front, by its `Content-Length`; none if its head is not there.
fn message_len(read: &[u8]) -> Option<usize> {
    let head_len = read.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&read[..head_len]).to_ascii_lowercase();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| ["content-length", "l"].contains(&name.trim()))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok());
    Some(head_len + length.unwrap_or(0))
}
