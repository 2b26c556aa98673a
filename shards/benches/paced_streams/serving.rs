//! The thread under test: every message comes back.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use rustls::ServerConfig;
use shards::ShardIndex;
use shards::executor::{Executor, ExecutorSettings, sleep, spawn, task};
use shards::listener::Listener;
use shards::tick::Tick;
use shards::tick_stream::{Flush, LiveStream, Read, TickStream};
use shards::tls::{TlsStream, accept, detach};
use shards::udp::SocketSet;

use crate::frames::{take, write_plain};
use crate::{COUNTING, DONE};

/// What the gateway reads at once from a WebSocket.
const READ_LEN: usize = 1024;
const TICK: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Design {
    Tasks,
    TasksBesideTick,
    TickStreams,
}

/// What was done while counting.
pub struct Served {
    pub messages: u64,
    pub cpu: Duration,
    pub elapsed: Duration,
}

pub fn start(
    design: Design,
    config: Arc<ServerConfig>,
    tell: Sender<SocketAddr>,
    phase: Arc<AtomicU8>,
) -> Executor<Served> {
    let settings = ExecutorSettings {
        core: 0,
        preempt_timer: Duration::from_micros(500),
        name: "shard-bench".to_owned(),
    };
    let main = move || async move {
        let mut listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), 1024).unwrap();
        tell.send(listener.local_addr()).unwrap();
        let messages = Rc::new(Cell::new(0));
        let arrived = Rc::new(RefCell::new(Vec::new()));
        let panicked = |panicked: shards::guard::Panicked| eprintln!("{panicked}");
        let accepting = {
            let (messages, arrived) = (messages.clone(), arrived.clone());
            async move {
                loop {
                    let (tcp, peer) = listener.accept().await.unwrap();
                    let (config, messages, arrived) =
                        (config.clone(), messages.clone(), arrived.clone());
                    let connection = async move {
                        let stream = accept(config, tcp).await.unwrap();
                        if design == Design::TickStreams {
                            let live = detach(stream, Vec::new(), peer).unwrap();
                            arrived.borrow_mut().push(LiveStream::from(live));
                        } else {
                            serve(stream, &messages).await;
                        }
                    };
                    task("connection", connection, panicked);
                }
            }
        };
        task("accept", accepting, panicked);
        let mut meter = Meter::new(phase, messages.clone());
        match design {
            Design::Tasks => loop {
                sleep(Duration::from_millis(20)).await;
                if let Some(served) = meter.look() {
                    return served;
                }
            },
            Design::TasksBesideTick => {
                let mut tick = Tick::new(TICK);
                loop {
                    tick.next().await;
                    if let Some(served) = meter.look() {
                        return served;
                    }
                }
            }
            Design::TickStreams => drain_at_tick(meter, &messages, &arrived).await,
        }
    };
    spawn(ShardIndex(0), settings, main).unwrap()
}

/// One connection's task.
async fn serve(mut stream: TlsStream, messages: &Cell<u64>) {
    let mut received = Vec::new();
    let mut answers = Vec::new();
    let mut buffer = [0; READ_LEN];
    loop {
        // The callers leave as they like.
        let Ok(bytes @ 1..) = stream.read(&mut buffer).await else {
            return;
        };
        received.extend_from_slice(&buffer[..bytes]);
        answers.clear();
        take(&mut received, |payload| {
            write_plain(&mut answers, payload);
            messages.set(messages.get() + 1);
        });
        if stream.write_all(&answers).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// All connections.
async fn drain_at_tick(
    mut meter: Meter,
    messages: &Cell<u64>,
    arrived: &RefCell<Vec<LiveStream>>,
) -> Served {
    let mut set = SocketSet::new().unwrap();
    let mut streams: Vec<(TickStream, Vec<u8>)> = Vec::new();
    let mut ready = Vec::new();
    let mut answers = Vec::new();
    let mut tick = Tick::new(TICK);
    loop {
        tick.next().await;
        if let Some(served) = meter.look() {
            return served;
        }
        for live in arrived.borrow_mut().drain(..) {
            let stream = TickStream::new(live).unwrap();
            ready.push(streams.len() as u64);
            set.insert(streams.len() as u64, &stream.0).unwrap();
            streams.push(stream);
        }
        set.ready(|key| ready.push(key));
        for key in ready.drain(..) {
            let (stream, received) = &mut streams[key as usize];
            let outcome = stream.read(received, 4096).unwrap();
            assert_eq!(outcome, Read::Empty, "the callers stay and send little");
            answers.clear();
            take(received, |payload| {
                write_plain(&mut answers, payload);
                messages.set(messages.get() + 1);
            });
            stream.write(&answers);
            assert_eq!(stream.flush().unwrap(), Flush::Done);
        }
    }
}

/// Looks at the clock of this thread when counting begins and ends.
struct Meter {
    phase: Arc<AtomicU8>,
    messages: Rc<Cell<u64>>,
    since: Option<(Instant, Duration, u64)>,
}

impl Meter {
    fn new(phase: Arc<AtomicU8>, messages: Rc<Cell<u64>>) -> Self {
        Self {
            phase,
            messages,
            since: None,
        }
    }

    fn look(&mut self) -> Option<Served> {
        match (self.phase.load(Ordering::Relaxed), self.since) {
            (COUNTING, None) => {
                self.since = Some((Instant::now(), thread_cpu(), self.messages.get()));
                None
            }
            (DONE, Some((began, cpu, messages))) => Some(Served {
                messages: self.messages.get() - messages,
                cpu: thread_cpu() - cpu,
                elapsed: began.elapsed(),
            }),
            _ => None,
        }
    }
}

/// CPU time of the calling thread.
fn thread_cpu() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the clock writes one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
