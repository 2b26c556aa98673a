//! What a stream at the tick allocates once it is warm: nothing of its own, and what rustls needs for a record.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConnection, StreamOwned,
};
use shards::tick_stream::{Flush, LiveStream, TickStream};
use shards::tls::server_config;

/// Counts what the thread under test allocates.
struct CountingAllocator;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: all of it is the system's; counting touches no memory of the allocator.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _unless_the_thread_ends = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: passed on as it came.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: passed on as it came.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const MESSAGE: [u8; 300] = [7; 300];
const ROUNDS: u64 = 200;

/// What `ROUNDS` messages each way allocate on our side.
fn allocations(
    mut stream: TickStream,
    mut peer: impl std::io::Read + std::io::Write + Send,
) -> u64 {
    let mut buffer = Vec::with_capacity(8192);
    let (go, goes) = std::sync::mpsc::sync_channel::<()>(1);
    thread::scope(|scope| {
        scope.spawn(move || {
            for () in goes {
                peer.write_all(&MESSAGE).unwrap();
                peer.read_exact(&mut [0; MESSAGE.len()]).unwrap();
            }
        });
        let mut before = 0;
        for round in 0..ROUNDS + 50 {
            go.send(()).unwrap();
            if round == 50 {
                before = ALLOCATIONS.get();
            }
            buffer.clear();
            while buffer.len() < MESSAGE.len() {
                stream.read(&mut buffer, 4096).unwrap();
            }
            assert_eq!(buffer, MESSAGE);
            stream.write(&buffer[..150]);
            stream.write(&buffer[150..]);
            assert_eq!(stream.flush().unwrap(), Flush::Done);
        }
        let allocated = ALLOCATIONS.get() - before;
        drop(go);
        allocated
    })
}

fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    theirs
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    (listener.accept().unwrap().0, theirs)
}

fn live(ours: TcpStream, tls: Option<Connection>) -> TickStream {
    let peer = ours.peer_addr().unwrap();
    let head = Vec::new();
    let fd = ours.into();
    TickStream::new(LiveStream {
        fd,
        tls,
        head,
        peer,
    })
    .unwrap()
    .0
}

#[test]
fn a_plain_stream_allocates_nothing() {
    let (ours, theirs) = connected();
    assert_eq!(allocations(live(ours, None), theirs), 0);
}

#[test]
fn tls_allocates_once_for_a_record() {
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let pems = (key.cert.pem(), key.signing_key.serialize_pem());
    let server = server_config(pems.0.as_bytes(), pems.1.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(key.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let (mut ours, theirs) = connected();
    let client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut peer = StreamOwned::new(client, theirs);
    let mut tls: Connection = ServerConnection::new(server).unwrap().into();
    thread::scope(|scope| {
        scope.spawn(|| {
            while peer.conn.is_handshaking() || peer.conn.wants_write() {
                peer.conn.complete_io(&mut peer.sock).unwrap();
            }
        });
        while tls.is_handshaking() || tls.wants_write() {
            tls.complete_io(&mut ours).unwrap();
        }
    });
    let allocated = allocations(live(ours, Some(tls)), peer);
    // One record each way.
    assert!(allocated <= 2 * ROUNDS, "{allocated} in {ROUNDS} rounds");
}
