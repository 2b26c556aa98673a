//! The other side: paced callers on a core of their own, which want their messages back in order.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};
use shards::tick_stream::{LiveStream, Read, TickStream};
use shards::tls::server_config;
use shards::udp::SocketSet;

use crate::frames::{MESSAGE_LEN, take, write_masked};
use crate::{COUNTING, DONE};

const PERIOD: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_micros(200);

struct Caller {
    stream: TickStream,
    received: Vec<u8>,
    due: Instant,
    sent: u64,
    returned: u64,
}

/// A certificate for both sides.
pub fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, secret) = (key.cert.pem(), key.signing_key.serialize_pem());
    let server = server_config(cert.as_bytes(), secret.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(key.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (server, Arc::new(client))
}

fn connect(addr: SocketAddr, config: Arc<ClientConfig>) -> TickStream {
    let mut tcp = TcpStream::connect(addr).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = ClientConnection::new(config, name).unwrap();
    while tls.is_handshaking() || tls.wants_write() {
        tls.complete_io(&mut tcp).unwrap();
    }
    let live = LiveStream {
        fd: tcp.into(),
        tls: Some(tls.into()),
        head: Vec::new(),
        peer: addr,
    };
    TickStream::new(live).unwrap().0
}

/// Calls until done; gives how long messages were under way while counting, in ms.
pub fn run(
    addr: SocketAddr,
    config: Arc<ClientConfig>,
    connections: usize,
    connected: Sender<()>,
    phase: &AtomicU8,
) -> Vec<f64> {
    pin_to_core(1);
    let epoch = Instant::now();
    let mut set = SocketSet::new().unwrap();
    let mut callers = Vec::with_capacity(connections);
    for number in 0..connections {
        let stream = connect(addr, config.clone());
        set.insert(number as u64, &stream).unwrap();
        callers.push(Caller {
            stream,
            received: Vec::new(),
            due: epoch,
            sent: 0,
            returned: 0,
        });
    }
    let begin = Instant::now() + PERIOD;
    for (number, caller) in (0_u32..).zip(&mut callers) {
        caller.due = begin + PERIOD * number / connections as u32;
    }
    connected.send(()).unwrap();
    let mut delays_ms = Vec::new();
    let mut frame = Vec::new();
    let mut message = [0; MESSAGE_LEN];
    loop {
        let phase = phase.load(Ordering::Relaxed);
        if phase == DONE {
            return delays_ms;
        }
        for caller in &mut callers {
            let now = Instant::now();
            if caller.due > now {
                continue;
            }
            caller.due += PERIOD;
            message[..8].copy_from_slice(&caller.sent.to_be_bytes());
            let stamp = u64::try_from(now.duration_since(epoch).as_nanos()).unwrap();
            message[8..16].copy_from_slice(&stamp.to_be_bytes());
            caller.sent += 1;
            frame.clear();
            write_masked(&mut frame, &message, [1, 2, 3, caller.sent as u8]);
            caller.stream.write(&frame);
            // The server ends a little earlier than we do.
            let _ = caller.stream.flush();
        }
        set.ready(|key| {
            let caller = &mut callers[key as usize];
            if !matches!(
                caller.stream.read(&mut caller.received, 65536),
                Ok(Read::Empty)
            ) {
                return;
            }
            let now = Instant::now();
            take(&mut caller.received, |payload| {
                let number = |at: usize| u64::from_be_bytes(*payload[at..].first_chunk().unwrap());
                assert_eq!(number(0), caller.returned, "messages come back in order");
                caller.returned += 1;
                if phase == COUNTING {
                    let sent = epoch + Duration::from_nanos(number(8));
                    delays_ms.push(now.duration_since(sent).as_secs_f64() * 1e3);
                }
            });
        });
        thread::sleep(PAUSE);
    }
}

fn pin_to_core(core: usize) {
    // SAFETY: an empty set is all zeros; the core is within its bits; the kernel reads the set alone.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}
