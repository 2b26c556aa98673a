//! A UDP relay on loopback that loses the first DTLS ServerHello on its way to the caller, and passes everything else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap is a failed test"
)]

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The threads look so often whether they should end.
const READ_TIMEOUT: Duration = Duration::from_millis(50);
const DATAGRAM_BYTES_MAX: usize = 2_048;
/// The most addresses of the caller: one for each of its interfaces.
const CALLER_ADDRESSES_MAX: usize = 16;
/// DTLS record: content type handshake (RFC 6347 section 4.1, RFC 9147 section 4).
const RECORD_HANDSHAKE: u8 = 22;
/// Type, version, epoch, sequence number, length.
const RECORD_HEADER_BYTES: usize = 13;
const MESSAGE_SERVER_HELLO: u8 = 2;
/// Type, length, message sequence, fragment offset and length, then the version before the random.
const RANDOM_OFFSET: usize = RECORD_HEADER_BYTES + 12 + 2;
/// The random of a HelloRetryRequest begins so (RFC 8446 section 4.1.3); it is a ServerHello in name only.
const HELLO_RETRY_RANDOM: [u8; 4] = [0xcf, 0x21, 0xad, 0x74];

/// A running relay. Dropping it closes its sockets.
pub struct ServerHelloRelay {
    port: u16,
    lost: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ServerHelloRelay {
    /// Relays between callers on loopback and `gateway`.
    pub fn start(gateway: SocketAddr) -> Self {
        let front = socket();
        let port = front.local_addr().unwrap().port();
        let (lost, stop) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let thread = std::thread::spawn({
            let (lost, stop) = (Arc::clone(&lost), Arc::clone(&stop));
            move || relay(&front, gateway, &lost, &stop)
        });
        Self {
            port,
            lost,
            stop,
            thread: Some(thread),
        }
    }

    /// Where callers send to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many datagrams it lost.
    pub fn lost(&self) -> usize {
        self.lost.load(Ordering::SeqCst)
    }
}

impl Drop for ServerHelloRelay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(READ_TIMEOUT)).unwrap();
    socket
}

/// Every address of the caller gets a socket of its own towards the gateway, so that the gateway tells them apart.
fn relay(front: &UdpSocket, gateway: SocketAddr, lost: &Arc<AtomicUsize>, stop: &Arc<AtomicBool>) {
    let mut towards_gateway: HashMap<SocketAddr, (UdpSocket, JoinHandle<()>)> = HashMap::new();
    let mut datagram = [0; DATAGRAM_BYTES_MAX];
    while !stop.load(Ordering::SeqCst) {
        let Ok((length, caller)) = front.recv_from(&mut datagram) else {
            continue;
        };
        if !towards_gateway.contains_key(&caller) && towards_gateway.len() < CALLER_ADDRESSES_MAX {
            let back = socket();
            let sender = back.try_clone().unwrap();
            let (front, lost, stop) = (
                front.try_clone().unwrap(),
                Arc::clone(lost),
                Arc::clone(stop),
            );
            let reader =
                std::thread::spawn(move || relay_back(&back, &front, caller, &lost, &stop));
            towards_gateway.insert(caller, (sender, reader));
        }
        if let Some((sender, _)) = towards_gateway.get(&caller) {
            // A datagram may get lost.
            let _ = sender.send_to(&datagram[..length], gateway);
        }
    }
    for (_, (_, reader)) in towards_gateway {
        let _ = reader.join();
    }
}

fn relay_back(
    back: &UdpSocket,
    front: &UdpSocket,
    caller: SocketAddr,
    lost: &AtomicUsize,
    stop: &AtomicBool,
) {
    let mut datagram = [0; DATAGRAM_BYTES_MAX];
    while !stop.load(Ordering::SeqCst) {
        let Ok((length, _)) = back.recv_from(&mut datagram) else {
            continue;
        };
        let datagram = &datagram[..length];
        let first = || lost.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst);
        if is_server_hello(datagram) && first().is_ok() {
            continue;
        }
        let _ = front.send_to(datagram, caller);
    }
}

fn is_server_hello(datagram: &[u8]) -> bool {
    let random = datagram.get(RANDOM_OFFSET..RANDOM_OFFSET + HELLO_RETRY_RANDOM.len());
    datagram.first() == Some(&RECORD_HANDSHAKE)
        && datagram.get(RECORD_HEADER_BYTES) == Some(&MESSAGE_SERVER_HELLO)
        && random != Some(&HELLO_RETRY_RANDOM)
}
