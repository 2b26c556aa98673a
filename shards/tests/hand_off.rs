//! TLS connections that the kernel spreads over two shards and a ring takes to their owner, with real clients.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream as StdTcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use futures_lite::future::or;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use shards::ShardIndex;
use shards::doorbell::{Doorbell, DoorbellListener};
use shards::executor::{Executor, ExecutorSettings, available_cores, sleep, spawn, task};
use shards::listener::Listener;
use shards::mesh::{MeshEnd, mesh};
use shards::owner::owner;
use shards::tls::{LiveConnection, TlsStream, accept, attach, detach, server_config};

const SHARDS: u16 = 2;
const CONNECTIONS: usize = 300;
const CLIENTS: usize = 6;
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// The first line of a connection names its tenant; the owner answers `<shard> <everything after the head>`.
struct Shard {
    index: ShardIndex,
    config: Arc<ServerConfig>,
    end: RefCell<MeshEnd<LiveConnection>>,
    moved: Arc<AtomicUsize>,
}

impl Shard {
    /// Reads the head and serves the connection here, or sends it to its owner.
    async fn receive(self: Rc<Self>, tcp: glommio::net::TcpStream, peer: SocketAddr) {
        let mut stream = accept(self.config.clone(), tcp).await.unwrap();
        let mut head = Vec::new();
        let mut buffer = [0; 64];
        while !head
            .windows(END_OF_HEAD.len())
            .any(|window| window == END_OF_HEAD)
        {
            let bytes = stream.read(&mut buffer).await.unwrap();
            assert!(bytes > 0, "the client left in its head");
            head.extend_from_slice(&buffer[..bytes]);
        }
        let tenant =
            String::from_utf8(head.split(|byte| *byte == b'\r').next().unwrap().to_vec()).unwrap();
        let to = owner(&tenant, SHARDS);
        if to == self.index {
            return self.serve(stream, head, peer).await;
        }
        self.moved.fetch_add(1, Ordering::Relaxed);
        let live = detach(stream, head, peer).unwrap();
        self.end
            .borrow_mut()
            .send(to, live)
            .map_err(|_| "the ring is full")
            .unwrap();
    }

    async fn take(self: Rc<Self>, live: LiveConnection) {
        let (stream, head, peer) = attach(live, self.config.clone()).await.unwrap();
        self.serve(stream, head, peer).await;
    }

    async fn serve(&self, mut stream: TlsStream, head: Vec<u8>, peer: SocketAddr) {
        assert!(
            peer.ip().is_loopback() && (peer.is_ipv4() || peer.ip() == Ipv6Addr::LOCALHOST),
            "{peer}"
        );
        let end = head
            .windows(END_OF_HEAD.len())
            .position(|window| window == END_OF_HEAD)
            .unwrap();
        let mut body = head[end + END_OF_HEAD.len()..].to_vec();
        loop {
            // Lines are answered as they come, those that came with the head as well.
            while let Some(line_end) = body.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = body.drain(..=line_end).collect();
                let mut answer = format!("{} ", self.index).into_bytes();
                answer.extend_from_slice(&line);
                stream.write_all(&answer).await.unwrap();
                stream.flush().await.unwrap();
            }
            let mut buffer = [0; 512];
            match stream.read(&mut buffer).await.unwrap() {
                0 => return,
                bytes => body.extend_from_slice(&buffer[..bytes]),
            }
        }
    }
}

fn start(
    addr: SocketAddr,
    config: Arc<ServerConfig>,
    doorbell: Arc<Doorbell>,
    end: MeshEnd<LiveConnection>,
    moved: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    bound: std::sync::mpsc::Sender<SocketAddr>,
) -> Executor<()> {
    let index = end.shard();
    let cores = available_cores().unwrap();
    let settings = ExecutorSettings {
        core: cores[usize::from(index.0) % cores.len()],
        preempt_timer: Duration::from_millis(1),
        name: format!("shard-{index}"),
    };
    spawn(index, settings, move || async move {
        let mut listener = Listener::bind(addr, 1024).unwrap();
        bound.send(listener.local_addr()).unwrap();
        let shard = Rc::new(Shard {
            index,
            config,
            end: RefCell::new(end),
            moved,
        });
        let failed = |panicked: shards::guard::Panicked| panic!("{panicked}");
        let accepting = shard.clone();
        task(
            "accept",
            async move {
                loop {
                    let (tcp, peer) = listener.accept().await.unwrap();
                    task("connection", accepting.clone().receive(tcp, peer), failed);
                }
            },
            failed,
        );
        let mut listener = DoorbellListener::new(doorbell).unwrap();
        while !stop.load(Ordering::SeqCst) {
            listener.wait().await.unwrap();
            while let Some((from, live)) = { shard.end.borrow_mut().receive() } {
                assert_ne!(from, index);
                task("moved connection", shard.clone().take(live), failed);
            }
        }
    })
    .unwrap()
}

fn client(addr: SocketAddr, config: Arc<ClientConfig>, number: usize) -> std::io::Result<()> {
    let tenant = format!("tenant-{number}");
    let expected = owner(&tenant, SHARDS);
    let tcp = StdTcpStream::connect(addr)?;
    tcp.set_read_timeout(Some(Duration::from_secs(30)))?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = StreamOwned::new(ClientConnection::new(config, name).unwrap(), tcp);
    let pipelined = number.is_multiple_of(2);
    let mut request = format!("{tenant}\r\nHost: x\r\n\r\n").into_bytes();
    if pipelined {
        // From a few bytes to more than one TLS record holds: some of it is still in the socket when the head is read.
        request.extend(std::iter::repeat_n(b'a', 1 + (number * 613) % 40_000));
        request.push(b'\n');
    }
    stream.write_all(&request)?;
    let read_line =
        |stream: &mut StreamOwned<ClientConnection, StdTcpStream>| -> std::io::Result<Vec<u8>> {
            let mut line = Vec::new();
            let mut byte = [0; 1];
            while line.last() != Some(&b'\n') {
                stream.read_exact(&mut byte)?;
                line.push(byte[0]);
            }
            Ok(line)
        };
    if pipelined {
        let answer = read_line(&mut stream)?;
        assert_eq!(
            answer.len(),
            2 + 1 + (number * 613) % 40_000 + 1,
            "bytes after the head were lost"
        );
        assert_eq!(answer[..2], *format!("{expected} ").as_bytes());
    }
    for round in 0..3 {
        stream.write_all(format!("hello {round}\n").as_bytes())?;
        assert_eq!(
            read_line(&mut stream)?,
            format!("{expected} hello {round}\n").as_bytes()
        );
    }
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(())
}

fn run(versions: &[&'static rustls::SupportedProtocolVersion], connect_to: std::net::IpAddr) {
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let config = server_config(
        key.cert.pem().as_bytes(),
        key.signing_key.serialize_pem().as_bytes(),
    )
    .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(key.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut client_config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client_config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let client_config = Arc::new(client_config);

    let doorbells: Vec<_> = (0..SHARDS).map(|_| Doorbell::new().unwrap()).collect();
    let ends = mesh(&doorbells, CONNECTIONS);
    let moved = Arc::new(AtomicUsize::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let mut addr = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let mut executors = Vec::new();
    for (end, doorbell) in ends.into_iter().zip(&doorbells) {
        let (bound, address) = std::sync::mpsc::channel();
        let (moved, stop) = (moved.clone(), stop.clone());
        executors.push(start(
            addr,
            config.clone(),
            doorbell.clone(),
            end,
            moved,
            stop,
            bound,
        ));
        addr = address.recv().unwrap();
    }

    let target = SocketAddr::new(connect_to, addr.port());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|first| {
            let config = client_config.clone();
            thread::spawn(move || {
                let numbers = (first..CONNECTIONS).step_by(CLIENTS);
                numbers
                    .filter(|number| client(target, config.clone(), *number).is_err())
                    .count()
            })
        })
        .collect();
    let failures: usize = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .sum();
    stop.store(true, Ordering::SeqCst);
    doorbells.iter().for_each(|doorbell| doorbell.ring());
    for executor in executors {
        executor.join().unwrap();
    }
    assert_eq!(failures, 0);
    let moved = moved.load(Ordering::Relaxed);
    assert!(
        (CONNECTIONS / 4..CONNECTIONS * 3 / 4).contains(&moved),
        "{moved} of {CONNECTIONS} were moved"
    );
}

#[test]
fn tls_1_3_connections_reach_their_owner_with_every_byte() {
    run(&[&rustls::version::TLS13], Ipv4Addr::LOCALHOST.into());
}

#[test]
fn tls_1_2_connections_reach_their_owner_with_every_byte() {
    run(&[&rustls::version::TLS12], Ipv6Addr::LOCALHOST.into());
}

#[test]
fn a_dropped_accept_loses_no_connection_and_a_closed_listener_ends() {
    let settings = ExecutorSettings {
        core: available_cores().unwrap()[0],
        preempt_timer: Duration::from_millis(1),
        name: "shard-test".to_owned(),
    };
    let executor = spawn(ShardIndex(0), settings, || async {
        let mut listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), 64).unwrap();
        let addr = listener.local_addr();
        let client = thread::spawn(move || {
            let connect = |_| {
                thread::sleep(Duration::from_micros(300));
                let mut stream = StdTcpStream::connect(addr).unwrap();
                stream
                    .set_read_timeout(Some(Duration::from_secs(20)))
                    .unwrap();
                stream.read_exact(&mut [0; 1]).is_ok()
            };
            (0..200).map(connect).filter(|answered| *answered).count()
        });
        let mut accepted = 0;
        while accepted < 200 {
            let next = or(async { Some(listener.accept().await.unwrap()) }, async {
                sleep(Duration::from_micros(100)).await;
                None
            });
            if let Some((mut stream, peer)) = next.await {
                assert!(peer.ip().is_loopback());
                assert!(stream.nodelay().unwrap());
                stream.write_all(b"!").await.unwrap();
                accepted += 1;
            }
        }
        assert_eq!(client.join().unwrap(), 200);
        // One more accept that is under way when the listener is closed.
        or(
            async { drop(listener.accept().await) },
            sleep(Duration::from_millis(1)),
        )
        .await;
        listener.close().await;
        assert!(
            StdTcpStream::connect(addr).is_err(),
            "nobody listens any more"
        );
    })
    .unwrap();
    executor.join().unwrap();
}
