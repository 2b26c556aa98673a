//! Messages over loopback sockets of each kind, with TLS certificates made here.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::UdpSocket as StdUdpSocket;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;

const OPTIONS: &[u8] = b"OPTIONS sip:a@b SIP/2.0\r\nContent-Length: 0\r\n\r\n";
const OK: &[u8] = b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(5);

/// A certificate for `localhost` and `127.0.0.1` that signs itself.
struct Identity {
    directory: TempDir,
    config: rustls::ServerConfig,
}

impl Identity {
    fn new() -> Self {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), made.cert.pem()).unwrap();
        let key = made.signing_key.serialize_pem();
        let config = shards::tls::server_config(made.cert.pem().as_bytes(), key.as_bytes());
        Self {
            directory,
            config: rustls::ServerConfig::clone(&config.unwrap()),
        }
    }

    fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    fn peer(&self, server_name: &str) -> TlsPeer {
        TlsPeer {
            server_name: server_name.to_owned(),
            trust: TlsTrust::from_ca_file(&self.ca_file()).unwrap(),
        }
    }
}

/// Transports with one listener.
struct Side {
    transports: SipTransports,
    arrivals: mpsc::Receiver<Arrival>,
    address: SocketAddr,
    transport: SipTransport,
}

impl Side {
    fn new(transport: SipTransport, address: &str, identity: &Identity) -> Self {
        let (transports, arrivals) = SipTransports::bind(&[], &identity.config).unwrap();
        let listen = ListenAddress {
            transport,
            address: address.parse().unwrap(),
        };
        let address = transports.listen(listen).unwrap();
        Self {
            transports,
            arrivals,
            address,
            transport,
        }
    }

    async fn next(&mut self) -> Arrival {
        timeout(PATIENCE, self.arrivals.recv())
            .await
            .unwrap()
            .unwrap()
    }

    async fn message(&mut self) -> Received {
        loop {
            match self.next().await {
                Arrival::Message(received) => return received,
                Arrival::Connected { .. } => {}
                closed => panic!("{closed:?}"),
            }
        }
    }

    async fn closed(&mut self) -> (FlowId, Option<String>) {
        loop {
            if let Arrival::Closed { flow, error, .. } = self.next().await {
                return (flow, error);
            }
        }
    }

    fn to(&self, destination: SocketAddr, payload: &'static [u8]) -> Transmit {
        Transmit {
            transport: self.transport,
            source: self.address,
            destination,
            flow: None,
            tls: None,
            payload: Bytes::from_static(payload),
        }
    }

    fn answer(&self, received: &Received, payload: &'static [u8]) -> Result<FlowId, SendError> {
        self.transports.send(Transmit {
            source: received.local,
            flow: Some(received.flow),
            ..self.to(received.remote, payload)
        })
    }

    fn discarded(&self, reason: Discard) -> u64 {
        let mut discards = self.transports.discards();
        discards.find(|(other, _)| *other == reason).unwrap().1
    }
}

/// So many messages, few at a time: kernel buffers are small.
async fn send_all(peer: &StdUdpSocket, to: SocketAddr, count: u64) {
    for sent in 0..count {
        peer.send_to(OPTIONS, to).unwrap();
        if sent % 32 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn datagrams_there_and_back() {
    let identity = Identity::new();
    let mut a = Side::new(SipTransport::Udp, "127.0.0.1:0", &identity);
    let mut b = Side::new(SipTransport::Udp, "127.0.0.1:0", &identity);
    a.transports.send(a.to(b.address, OPTIONS)).unwrap();
    let received = b.message().await;
    assert_eq!((received.remote, received.local), (a.address, b.address));
    assert_eq!(received.payload, OPTIONS);
    b.answer(&received, OK).unwrap();
    assert_eq!(a.message().await.payload, OK);
    let strange = Transmit {
        source: "127.0.0.1:9".parse().unwrap(),
        ..a.to(b.address, OK)
    };
    assert!(matches!(
        a.transports.send(strange),
        Err(SendError::NoListener { .. })
    ));
    assert_eq!(a.discarded(Discard::NotSent), 1);
}

#[tokio::test]
async fn a_wildcard_socket_answers_from_the_address_that_was_asked() {
    let identity = Identity::new();
    for wildcard in ["0.0.0.0:0", "[::]:0"] {
        let mut ours = Side::new(SipTransport::Udp, wildcard, &identity);
        let asked = SocketAddr::from(([127, 0, 0, 9], ours.address.port()));
        let peer = StdUdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        // A connected socket hears only whom it asked.
        peer.connect(asked).unwrap();
        peer.send(OPTIONS).unwrap();
        let received = ours.message().await;
        assert_eq!(received.local, asked, "{wildcard}");
        ours.answer(&received, OK).unwrap();
        let mut buffer = [0; 100];
        let len = peer.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], OK, "{wildcard}");
    }
}

#[tokio::test]
async fn streams_answer_on_their_flow_and_are_used_again() {
    let identity = Identity::new();
    for transport in [SipTransport::Tcp, SipTransport::Tls] {
        let mut a = Side::new(transport, "127.0.0.1:0", &identity);
        let mut b = Side::new(transport, "127.0.0.1:0", &identity);
        let tls = (transport == SipTransport::Tls).then(|| identity.peer("localhost"));
        let destination = b.address;
        let send = |a: &Side, payload| {
            a.transports.send(Transmit {
                tls: tls.clone(),
                ..a.to(destination, payload)
            })
        };
        let flow = send(&a, OPTIONS).unwrap();
        assert_eq!(send(&a, OK).unwrap(), flow);
        let received = b.message().await;
        assert_eq!(
            (&received.payload[..], received.local),
            (OPTIONS, b.address)
        );
        assert_eq!(b.message().await.payload, OK);
        b.answer(&received, OK).unwrap();
        let answer = a.message().await;
        assert_eq!((&answer.payload[..], answer.flow), (OK, flow));
        assert_eq!(
            (a.transports.connections(), b.transports.connections()),
            (1, 1)
        );

        b.transports.close(received.flow);
        assert_eq!(a.closed().await, (flow, None));
        assert_eq!(b.closed().await, (received.flow, None));
        let again = send(&a, OPTIONS).unwrap();
        assert_ne!(again, flow, "{transport:?}");
        assert_eq!(b.message().await.payload, OPTIONS);
    }
}

#[tokio::test]
async fn who_is_not_who_it_should_be_gets_nothing() {
    let (identity, other) = (Identity::new(), Identity::new());
    let mut a = Side::new(SipTransport::Tls, "127.0.0.1:0", &identity);
    let b = Side::new(SipTransport::Tls, "127.0.0.1:0", &identity);
    for (peer, error) in [
        (identity.peer("example.com"), "not valid for name"),
        (other.peer("localhost"), "invalid peer certificate"),
    ] {
        let transmit = Transmit {
            tls: Some(peer),
            ..a.to(b.address, OPTIONS)
        };
        let flow = a.transports.send(transmit).unwrap();
        let (closed, told) = a.closed().await;
        let told = told.unwrap();
        assert!(closed == flow && told.contains(error), "{told}");
    }
    let by_address = Transmit {
        tls: Some(identity.peer("127.0.0.1")),
        ..a.to(b.address, OPTIONS)
    };
    a.transports.send(by_address).unwrap();
    assert!(matches!(a.next().await, Arrival::Connected { .. }));
    assert!(matches!(
        a.transports.send(a.to("127.0.0.1:9".parse().unwrap(), OK)),
        Err(SendError::NoTlsPeer(_))
    ));
}

#[tokio::test]
async fn an_address_that_nobody_listens_at_is_told() {
    let identity = Identity::new();
    let mut a = Side::new(SipTransport::Tcp, "127.0.0.1:0", &identity);
    let free = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let flow = a.transports.send(a.to(free, OPTIONS)).unwrap();
    let (closed, error) = a.closed().await;
    assert!(closed == flow && error.unwrap().contains("refused"));
    assert_eq!(a.transports.connections(), 0);
}

#[tokio::test]
async fn pings_are_answered_and_what_is_no_sip_is_closed() {
    let identity = Identity::new();
    let mut ours = Side::new(SipTransport::Tcp, "[::]:0", &identity);
    let address = SocketAddr::from(([127, 0, 0, 1], ours.address.port()));
    let mut peer = TcpStream::connect(address).await.unwrap();
    peer.write_all(b"\r\n\r\n").await.unwrap();
    let mut pong = [0; 2];
    timeout(PATIENCE, peer.read_exact(&mut pong))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&pong, b"\r\n");
    for piece in OPTIONS.chunks(5) {
        peer.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    let received = ours.message().await;
    assert_eq!(
        received.remote.ip().to_string(),
        "127.0.0.1",
        "not v4-mapped"
    );
    assert_eq!(received.local, address);
    peer.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let (_, error) = ours.closed().await;
    assert_eq!(error.unwrap(), "the start line is not that of SIP");
    assert_eq!(ours.discarded(Discard::Framing), 1);
    assert_eq!(peer.read(&mut pong).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn an_unknown_address_may_send_so_much() {
    let identity = Identity::new();
    let mut ours = Side::new(SipTransport::Udp, "127.0.0.1:0", &identity);
    let peer = StdUdpSocket::bind("127.0.0.1:0").unwrap();
    let mut flood = async |count: u64| {
        let limited = ours.discarded(Discard::RateLimited);
        send_all(&peer, ours.address, count).await;
        let mut heard = 0;
        while heard + ours.discarded(Discard::RateLimited) - limited < count {
            match ours.arrivals.try_recv() {
                Ok(_) => heard += 1,
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
        heard
    };
    let heard = flood(700).await;
    assert!((400..600).contains(&heard), "{heard}");
    ours.transports
        .set_trusted([peer.local_addr().unwrap().ip()].into());
    send_all(&peer, ours.address, 700).await;
    for _ in 0..700 {
        ours.message().await;
    }
    peer.send_to(b"\0\0\0\0", ours.address).unwrap();
    peer.send_to(b"\r\n\r\n", ours.address).unwrap();
    peer.send_to(b"hello?", ours.address).unwrap();
    peer.send_to(OPTIONS, ours.address).unwrap();
    ours.message().await;
    assert_eq!(ours.discarded(Discard::NotSip), 1);
}

#[tokio::test]
async fn when_nobody_reads_datagrams_are_dropped_and_counted() {
    let identity = Identity::new();
    let ours = Side::new(SipTransport::Udp, "127.0.0.1:0", &identity);
    let peer = StdUdpSocket::bind("127.0.0.1:0").unwrap();
    ours.transports
        .set_trusted(["127.0.0.1".parse().unwrap()].into());
    send_all(&peer, ours.address, ARRIVALS_MAX as u64 + 50).await;
    let dropped = async {
        while ours.discarded(Discard::ArrivalsFull) < 50 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, dropped).await.unwrap();
    assert_eq!(ours.arrivals.len(), ARRIVALS_MAX);
}

#[tokio::test]
async fn connections_of_one_address_are_bounded() {
    let identity = Identity::new();
    let mut ours = Side::new(SipTransport::Tcp, "127.0.0.1:0", &identity);
    let mut peers = Vec::new();
    for _ in 0..connections::PER_ADDRESS_MAX {
        peers.push(TcpStream::connect(ours.address).await.unwrap());
        assert!(matches!(ours.next().await, Arrival::Connected { .. }));
    }
    let mut refused = TcpStream::connect(ours.address).await.unwrap();
    let read = timeout(PATIENCE, refused.read(&mut [0; 1])).await.unwrap();
    assert_eq!(read.unwrap_or(0), 0);
    assert_eq!(ours.discarded(Discard::AddressFull), 1);
    drop(peers.pop());
    assert_eq!(ours.closed().await.1, None);
    let _another = TcpStream::connect(ours.address).await.unwrap();
    assert!(matches!(ours.next().await, Arrival::Connected { .. }));
    ours.transports
        .set_trusted(["127.0.0.1".parse().unwrap()].into());
    let _more = TcpStream::connect(ours.address).await.unwrap();
    assert!(matches!(ours.next().await, Arrival::Connected { .. }));
}

#[tokio::test]
async fn listeners_come_and_go() {
    let identity = Identity::new();
    let ours = Side::new(SipTransport::Tcp, "127.0.0.1:0", &identity);
    let udp = ListenAddress {
        transport: SipTransport::Udp,
        address: ours.address,
    };
    assert_eq!(ours.transports.listen(udp).unwrap(), ours.address);
    assert_eq!(ours.transports.listen(udp).unwrap(), ours.address);
    assert_eq!(ours.transports.listening().len(), 2);
    assert!(StdUdpSocket::bind(ours.address).is_err());
    ours.transports.unlisten(udp);
    let freed = async {
        while StdUdpSocket::bind(ours.address).is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, freed).await.unwrap();
    let address = ours.address;
    drop(ours);
    let freed = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, freed).await.unwrap();
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections() {
    let (old, new) = (Identity::new(), Identity::new());
    let mut a = Side::new(SipTransport::Tls, "127.0.0.1:0", &old);
    let mut b = Side::new(SipTransport::Tls, "127.0.0.1:0", &old);
    let destination = b.address;
    let send = |a: &Side, identity: &Identity| {
        let transmit = Transmit {
            tls: Some(identity.peer("localhost")),
            ..a.to(destination, OPTIONS)
        };
        a.transports.send(transmit).unwrap()
    };
    let first = send(&a, &old);
    assert_eq!(
        b.arrivals
            .recv()
            .await
            .map(|arrival| matches!(arrival, Arrival::Connected { .. })),
        Some(true)
    );
    b.transports.set_server_tls(&new.config);
    let second = send(&a, &new);
    assert_ne!(first, second);
    for _ in 0..2 {
        b.message().await;
    }
    assert_eq!(a.transports.connections(), 2);
    assert!(matches!(a.next().await, Arrival::Connected { .. }));
}

#[test]
fn the_way_to_a_destination_is_known() {
    let towards = |text: &str| local_address_towards(text.parse().unwrap());
    assert_eq!(towards("127.0.0.1:5060").unwrap().to_string(), "127.0.0.1");
    assert!(towards("[::1]:5060").is_ok_and(|ip| ip.is_loopback()));
}

#[test]
fn files_without_authorities_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("empty.pem");
    assert!(matches!(
        TlsTrust::from_ca_file(&path),
        Err(TlsTrustError::Unreadable { .. })
    ));
    std::fs::write(&path, "").unwrap();
    assert!(matches!(
        TlsTrust::from_ca_file(&path),
        Err(TlsTrustError::NoCertificate(_))
    ));
}
