//! Streams that are drained at the tick, against real peers over loopback: plain, TLS 1.2 and 1.3, in both roles.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
};
use shards::ShardIndex;
use shards::executor::{ExecutorSettings, available_cores, spawn};
use shards::listener::Listener;
use shards::tick_stream::{Flush, LiveStream, Read, TickStream};
use shards::tls::{accept, detach, server_config};
use shards::udp::SocketSet;

const PATIENCE: Duration = Duration::from_secs(20);

/// How a pair of streams is joined, and on which side ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    ServerTls12,
    ServerTls13,
    ClientTls12,
    ClientTls13,
}

const KINDS: [Kind; 5] = [
    Kind::Plain,
    Kind::ServerTls12,
    Kind::ServerTls13,
    Kind::ClientTls12,
    Kind::ClientTls13,
];
const TLS_KINDS: [Kind; 4] = [
    Kind::ServerTls12,
    Kind::ServerTls13,
    Kind::ClientTls12,
    Kind::ClientTls13,
];

/// The other side: blocking, by rustls' own `Stream`.
struct Peer {
    tcp: TcpStream,
    tls: Option<Connection>,
}

trait ReadWrite: std::io::Read + std::io::Write {}
impl<T: std::io::Read + std::io::Write> ReadWrite for T {}

impl Peer {
    fn stream(&mut self) -> Box<dyn ReadWrite + '_> {
        let tcp = &mut self.tcp;
        match &mut self.tls {
            None => Box::new(tcp),
            Some(Connection::Client(tls)) => Box::new(rustls::Stream::new(tls, tcp)),
            Some(Connection::Server(tls)) => Box::new(rustls::Stream::new(tls, tcp)),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stream().read(buffer)
    }

    fn read_exact(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream().read_exact(&mut bytes).unwrap();
        bytes
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream().write_all(bytes).unwrap();
    }

    fn close_notify(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            tls.write_tls(&mut self.tcp).unwrap();
        }
    }
}

fn configs(version: &'static rustls::SupportedProtocolVersion) -> (ServerConfig, ClientConfig) {
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let server = server_config(
        key.cert.pem().as_bytes(),
        key.signing_key.serialize_pem().as_bytes(),
    );
    let mut roots = RootCertStore::empty();
    roots.add(key.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::unwrap_or_clone(server.unwrap()), client)
}

fn client_connection(config: ClientConfig) -> Connection {
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::new(config), name)
        .unwrap()
        .into()
}

/// Ours and the other side, after the handshake.
fn pair(kind: Kind) -> (TickStream, Peer) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut ours, peer) = listener.accept().unwrap();
    for tcp in [&theirs, &ours] {
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.set_nodelay(true).unwrap();
    }
    let version = match kind {
        Kind::ServerTls12 | Kind::ClientTls12 => &rustls::version::TLS12,
        _ => &rustls::version::TLS13,
    };
    let (server, client) = configs(version);
    let server = || -> Connection { ServerConnection::new(Arc::new(server)).unwrap().into() };
    let (mut our_tls, mut their_tls) = match kind {
        Kind::Plain => (None, None),
        Kind::ServerTls12 | Kind::ServerTls13 => (Some(server()), Some(client_connection(client))),
        Kind::ClientTls12 | Kind::ClientTls13 => (Some(client_connection(client)), Some(server())),
    };
    let handshake = |tls: &mut Option<Connection>, tcp: &mut TcpStream| {
        if let Some(tls) = tls {
            while tls.is_handshaking() || tls.wants_write() {
                tls.complete_io(tcp).unwrap();
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| handshake(&mut our_tls, &mut ours));
        handshake(&mut their_tls, &mut theirs);
    });
    let live = LiveStream {
        fd: ours.into(),
        tls: our_tls,
        head: b"head".to_vec(),
        peer,
    };
    let (stream, head) = TickStream::new(live).unwrap();
    assert_eq!(head, b"head");
    assert_eq!(stream.peer(), peer);
    let tcp = theirs;
    let tls = their_tls;
    (stream, Peer { tcp, tls })
}

/// Reads at most `bytes_max` at once until `enough`, as a tick would.
fn read_until(
    stream: &mut TickStream,
    bytes_max: usize,
    mut enough: impl FnMut(&[u8], Read) -> bool,
) -> Vec<u8> {
    let until = Instant::now() + PATIENCE;
    let mut bytes = Vec::new();
    loop {
        let before = bytes.len();
        let outcome = stream.read(&mut bytes, bytes_max).unwrap();
        assert!(bytes.len() - before <= bytes_max);
        assert!(outcome != Read::End || bytes.len() == before);
        if enough(&bytes, outcome) {
            return bytes;
        }
        assert!(Instant::now() < until, "{} bytes so far", bytes.len());
        if outcome == Read::Empty {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn read_len(stream: &mut TickStream, len: usize) -> Vec<u8> {
    read_until(stream, 1 << 20, |bytes, _| bytes.len() >= len)
}

/// Bytes in which nothing repeats early.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

#[test]
fn messages_go_both_ways() {
    for kind in KINDS {
        let (mut stream, mut peer) = pair(kind);
        let mut bytes = Vec::new();
        assert_eq!(stream.read(&mut bytes, 4096).unwrap(), Read::Empty);
        assert_eq!(bytes, b"");
        assert_eq!(stream.flush().unwrap(), Flush::Done);
        for round in 0..50 {
            let message = format!("message {round}");
            peer.write(message.as_bytes());
            assert_eq!(
                read_len(&mut stream, message.len()),
                message.as_bytes(),
                "{kind:?}"
            );
            stream.write(b"one");
            stream.write(b"two");
            assert_eq!(stream.waiting_bytes(), 6);
            assert_eq!(stream.flush().unwrap(), Flush::Done);
            assert_eq!(stream.waiting_bytes(), 0);
            assert_eq!(peer.read_exact(6), b"onetwo", "{kind:?}");
        }
    }
}

#[test]
fn a_read_takes_no_more_than_it_may() {
    for kind in KINDS {
        let (mut stream, mut peer) = pair(kind);
        let sent = pattern(300_000);
        let writer = thread::spawn({
            let sent = sent.clone();
            move || {
                peer.write(&sent);
                peer
            }
        });
        let mut was_more = false;
        let bytes = read_until(&mut stream, 777, |bytes, outcome| {
            was_more |= outcome == Read::More;
            bytes.len() == sent.len() && outcome == Read::Empty
        });
        assert!(bytes == sent, "{kind:?}");
        assert!(was_more, "{kind:?}");
        writer.join().unwrap();
    }
}

#[test]
fn what_a_peer_does_not_read_waits_and_leaves_in_order() {
    for kind in KINDS {
        let (mut stream, mut peer) = pair(kind);
        socket2::SockRef::from(&stream)
            .set_send_buffer_size(8192)
            .unwrap();
        let sent = pattern(8_000_000);
        let mut was_blocked = false;
        for part in sent.chunks(100_001) {
            stream.write(part);
            was_blocked |= stream.flush().unwrap() == Flush::Blocked;
        }
        assert!(was_blocked, "{kind:?}");
        let blocked_bytes = stream.waiting_bytes();
        assert!((1..=8_100_000).contains(&blocked_bytes), "{kind:?}");
        assert_eq!(stream.flush().unwrap(), Flush::Blocked);
        // What waits to be sent keeps nothing from being read.
        peer.write(b"still here");
        assert_eq!(read_len(&mut stream, 10), b"still here", "{kind:?}");

        let expected = sent.len();
        let reader = thread::spawn(move || peer.read_exact(expected));
        let until = Instant::now() + PATIENCE;
        while stream.flush().unwrap() == Flush::Blocked {
            assert!(stream.waiting_bytes() > 0 && Instant::now() < until);
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(stream.waiting_bytes(), 0);
        assert!(reader.join().unwrap() == sent, "{kind:?}");
    }
}

#[test]
fn the_end_of_the_peer_comes_behind_its_last_bytes() {
    for kind in KINDS {
        for says_so in [true, false] {
            let (mut stream, mut peer) = pair(kind);
            peer.write(b"goodbye");
            if says_so {
                peer.close_notify();
            }
            // A close_notify is an end although the connection stays.
            let kept = (says_so && kind != Kind::Plain).then_some(peer);
            let bytes = read_until(&mut stream, 4096, |_, outcome| outcome == Read::End);
            assert_eq!(bytes, b"goodbye", "{kind:?}, close_notify {says_so}");
            let mut nothing = Vec::new();
            assert_eq!(stream.read(&mut nothing, 4096).unwrap(), Read::End);
            assert_eq!(nothing, b"");
            if let Some(mut peer) = kept {
                stream.write(b"after yours");
                stream.close_notify();
                assert_eq!(stream.flush().unwrap(), Flush::Done);
                assert_eq!(peer.read_exact(11), b"after yours", "{kind:?}");
                assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0, "{kind:?}");
            }
        }
    }
}

#[test]
fn our_end_comes_behind_what_was_blocked() {
    for kind in KINDS {
        let (mut stream, mut peer) = pair(kind);
        let sent = pattern(6_000_000);
        stream.write(&sent);
        stream.close_notify();
        stream.write(b"never sent");
        assert_eq!(stream.flush().unwrap(), Flush::Blocked);
        let reader = thread::spawn(move || {
            let bytes = peer.read_exact(6_000_000);
            // 0, not an error: the end was told.
            (bytes, peer.read(&mut [0; 8]).unwrap())
        });
        let until = Instant::now() + PATIENCE;
        while stream.waiting_bytes() > 0 {
            assert!(Instant::now() < until);
            stream.flush().unwrap();
            thread::sleep(Duration::from_millis(1));
        }
        let (bytes, after) = reader.join().unwrap();
        assert!(bytes == sent && after == 0, "{kind:?}");
        stream.close_notify();
        assert_eq!(
            (stream.waiting_bytes(), stream.flush().unwrap()),
            (0, Flush::Done)
        );
    }
}

#[test]
fn who_breaks_tls_is_told_and_what_came_before_counts() {
    for kind in TLS_KINDS {
        let (mut stream, mut peer) = pair(kind);
        peer.write(b"before");
        peer.tcp.write_all(&[b'x'; 64]).unwrap();
        let mut bytes = Vec::new();
        let until = Instant::now() + PATIENCE;
        let error = loop {
            match stream.read(&mut bytes, 4096) {
                Ok(_) => assert!(Instant::now() < until),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{kind:?}");
        assert_eq!(bytes, b"before", "{kind:?}");
        let told = peer.read(&mut [0; 8]).unwrap_err();
        assert!(told.to_string().contains("alert"), "{kind:?}: {told}");
    }
}

#[test]
fn a_reset_is_an_error() {
    for kind in KINDS {
        let (mut stream, peer) = pair(kind);
        socket2::SockRef::from(&peer.tcp)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(peer);
        let error = stream.read(&mut Vec::new(), 4096).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{kind:?}");
        stream.write(b"to nobody");
        stream.flush().unwrap_err();
    }
}

#[test]
fn new_keys_do_not_disturb() {
    for kind in [Kind::ServerTls13, Kind::ClientTls13] {
        let (mut stream, mut peer) = pair(kind);
        for _ in 0..10 {
            peer.tls.as_mut().unwrap().refresh_traffic_keys().unwrap();
            peer.write(b"under a new key");
            assert_eq!(read_len(&mut stream, 15), b"under a new key");
            assert_eq!(stream.waiting_bytes(), 0, "the answer left with the read");
            stream.write(b"as well");
            assert_eq!(stream.flush().unwrap(), Flush::Done);
            assert_eq!(peer.read_exact(7), b"as well");
        }
    }
}

#[test]
fn a_set_names_streams_that_have_something() {
    let mut set = SocketSet::new().unwrap();
    let mut pairs: Vec<_> = KINDS.into_iter().map(pair).collect();
    for (key, (stream, _)) in (0_u64..).zip(&pairs) {
        set.insert(key, stream).unwrap();
    }
    let ready = |set: &mut SocketSet| {
        let mut keys = Vec::new();
        set.ready(|key| keys.push(key));
        keys.sort_unstable();
        keys
    };
    assert_eq!(ready(&mut set), [0; 0]);
    pairs[1].1.write(b"a");
    pairs[3].1.write(b"b");
    thread::sleep(Duration::from_millis(20));
    assert_eq!(ready(&mut set), [1, 3]);
    assert_eq!(read_len(&mut pairs[1].0, 1), b"a");
    assert_eq!(ready(&mut set), [3]);
    set.remove(&pairs[3].0).unwrap();
    assert_eq!(ready(&mut set), [0; 0]);
    pairs.remove(2);
    drop(pairs.remove(0).1);
    thread::sleep(Duration::from_millis(20));
    assert_eq!(
        ready(&mut set),
        [0; 0],
        "a stream that is dropped leaves the set"
    );
}

/// A task of an executor takes the request and writes the 101; the client has not waited for it with its first bytes.
#[test]
fn a_stream_leaves_its_executor_with_what_was_read_ahead() {
    const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        for ahead in [0, 1, 5000, 40_000] {
            let (server, client) = configs(version);
            let (bound, addr) = std::sync::mpsc::channel();
            let settings = ExecutorSettings {
                core: available_cores().unwrap()[0],
                preempt_timer: Duration::from_millis(1),
                name: "upgrading".to_owned(),
            };
            let executor = spawn(ShardIndex(0), settings, move || async move {
                let mut listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), 8).unwrap();
                bound.send(listener.local_addr()).unwrap();
                let (tcp, peer) = listener.accept().await.unwrap();
                let mut stream = accept(Arc::new(server), tcp).await.unwrap();
                let mut head = Vec::new();
                let mut buffer = [0; 100];
                let end = loop {
                    let bytes = stream.read(&mut buffer).await.unwrap();
                    head.extend_from_slice(&buffer[..bytes]);
                    if let Some(end) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                        break end + 4;
                    }
                };
                stream.write_all(UPGRADED).await.unwrap();
                stream.flush().await.unwrap();
                LiveStream::from(detach(stream, head.split_off(end), peer).unwrap())
            })
            .unwrap();
            let tcp = TcpStream::connect(addr.recv().unwrap()).unwrap();
            tcp.set_read_timeout(Some(PATIENCE)).unwrap();
            let tls = Some(client_connection(client));
            let mut peer = Peer { tcp, tls };
            let mut request = b"GET / HTTP/1.1\r\n\r\n".to_vec();
            let sent = pattern(ahead);
            request.extend_from_slice(&sent);
            let client = thread::spawn(move || {
                peer.write(&request);
                assert_eq!(peer.read_exact(UPGRADED.len()), UPGRADED);
                peer
            });
            let live = executor.join().unwrap();
            let (mut stream, mut bytes) = TickStream::new(live).unwrap();
            let rest = ahead - bytes.len();
            bytes.extend(read_len(&mut stream, rest));
            assert!(bytes == sent, "{ahead} bytes ahead");
            let mut peer = client.join().unwrap();
            peer.write(b"ping");
            assert_eq!(read_len(&mut stream, 4), b"ping");
            stream.write(b"pong");
            assert_eq!(stream.flush().unwrap(), Flush::Done);
            assert_eq!(peer.read_exact(4), b"pong");
        }
    }
}

#[test]
fn what_a_peer_has_not_acknowledged_is_known() {
    let (mut stream, mut peer) = pair(Kind::Plain);
    assert_eq!(stream.unacknowledged_bytes(), 0);
    // More than a peer's host takes for a peer that does not read.
    let all = pattern(8 << 20);
    stream.write(&all);
    assert_eq!(stream.flush().unwrap(), Flush::Blocked);
    assert!(stream.unacknowledged_bytes() > stream.waiting_bytes());
    peer.tcp.set_nonblocking(true).unwrap();
    let begun = Instant::now();
    let mut read = 0;
    while read < all.len() || stream.unacknowledged_bytes() > 0 {
        assert!(begun.elapsed() < PATIENCE);
        let mut buffer = [0; 65_536];
        match peer.read(&mut buffer) {
            Ok(len) => read += len,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        stream.flush().unwrap();
    }
}
