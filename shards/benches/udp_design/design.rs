//! What every design under test is: it takes what waits, and answers it from the same socket.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use shards::udp::UdpSocket;

use crate::sys;
use crate::traffic::{self, Phase, Run};

const SHARD_CORE: usize = 0;
const TICK: Duration = Duration::from_millis(1);
/// As the gateway's trunk sockets, and its WebRTC port.
const TRUNK_BUFFER_BYTES: usize = 64 << 10;
const PORT_BUFFER_BYTES: usize = 8 << 20;

/// One way to move datagrams.
pub trait Design {
    /// Sleeps until there is something, or for 50 ms.
    fn wait(&mut self);
    /// Answers everything that is there.
    fn turn(&mut self, ages: &mut Ages);
    /// Buffers and rings in this process.
    fn memory_bytes(&self) -> usize;
    /// How often a receive had to be armed again because there was no buffer.
    fn out_of_buffers(&self) -> u64 {
        0
    }
}

/// Who starts a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waking {
    /// The clock, every millisecond.
    Tick,
    /// Every packet.
    Packet,
}

/// Ages of packets when their answer was on its way, in nanoseconds.
#[derive(Default)]
pub struct Ages {
    pub all: Vec<u64>,
}

impl Ages {
    pub fn add(&mut self, now_ns: u64, packet: &[u8]) {
        self.all.push(traffic::age_ns(now_ns, packet));
    }

    pub fn add_now(&mut self, packet: &[u8]) {
        self.add(traffic::now_ns(), packet);
    }
}

/// What one run measured.
#[derive(Debug, Clone, Copy, Default)]
pub struct Measured {
    pub cpu_us_per_packet: f64,
    pub cpu_ms_per_call_s: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub lost: u64,
    pub memory_bytes: usize,
    pub out_of_buffers: u64,
}

/// What the thread under test measures of itself: from the first look in the measuring phase to the first after it.
pub struct Meter {
    since: Option<(Duration, Instant)>,
    ages: Ages,
}

impl Meter {
    pub fn new() -> Self {
        Self {
            since: None,
            ages: Ages {
                all: Vec::with_capacity(1 << 18),
            },
        }
    }

    pub fn ages(&mut self) -> &mut Ages {
        &mut self.ages
    }

    /// To be called before every turn; the figures once the run is over.
    pub fn look(&mut self, run: &Run, calls: usize) -> Option<Measured> {
        match (run.phase(), self.since) {
            (Phase::Measuring, None) => {
                self.ages.all.clear();
                self.since = Some((sys::thread_cpu(), Instant::now()));
                None
            }
            (Phase::Over, since) => {
                let (cpu_before, began) = since?;
                let cpu = (sys::thread_cpu() - cpu_before).as_secs_f64();
                let mut ages = std::mem::take(&mut self.ages.all);
                ages.sort_unstable();
                let at = |part: f64| {
                    let index = (ages.len() as f64 * part) as usize;
                    ages.get(index).map_or(0.0, |age| *age as f64 / 1e3)
                };
                Some(Measured {
                    cpu_us_per_packet: cpu * 1e6 / ages.len().max(1) as f64,
                    cpu_ms_per_call_s: cpu * 1e3 / (calls as f64 * began.elapsed().as_secs_f64()),
                    p50_us: at(0.5),
                    p99_us: at(0.99),
                    ..Measured::default()
                })
            }
            _ => None,
        }
    }
}

/// Sockets as a shard's trunks have them, one alone as the WebRTC port, and where they are reached.
pub fn trunk_sockets(count: usize) -> std::io::Result<(Vec<UdpSocket>, Vec<SocketAddr>)> {
    let buffer_bytes = if count == 1 {
        PORT_BUFFER_BYTES
    } else {
        TRUNK_BUFFER_BYTES
    };
    let bind = |_| {
        let any = (Ipv6Addr::UNSPECIFIED, 0).into();
        UdpSocket::bind(any, buffer_bytes, buffer_bytes)
    };
    let sockets = (0..count).map(bind).collect::<std::io::Result<Vec<_>>>()?;
    let reached = |socket: &UdpSocket| (Ipv4Addr::LOCALHOST, socket.local_addr().port()).into();
    let addresses = sockets.iter().map(reached).collect();
    Ok((sockets, addresses))
}

/// How one run goes.
#[derive(Debug, Clone, Copy)]
pub struct Conditions {
    pub calls: usize,
    /// Over which the calls are spread.
    pub sockets: usize,
    pub waking: Waking,
    /// The generator's; see [`traffic::generate`].
    pub pause: Duration,
    /// The thread under test does nothing for so long, once, in the middle.
    pub stall: Duration,
    pub measure: Duration,
}

/// Runs `under_test` on the shard's core, which tells the addresses it listens on, against the generator on another.
pub fn against_traffic(
    conditions: Conditions,
    under_test: impl FnOnce(mpsc::Sender<Vec<SocketAddr>>, std::sync::Arc<Run>) -> Option<Measured>
    + Send,
) -> Option<Measured> {
    let run = std::sync::Arc::new(Run::default());
    let (tell, addresses) = mpsc::channel();
    thread::scope(|scope| {
        let tested = std::sync::Arc::clone(&run);
        let receiver = scope.spawn(move || under_test(tell, tested));
        let targets = addresses.recv().ok()?;
        let generator = {
            let run = std::sync::Arc::clone(&run);
            scope.spawn(move || {
                traffic::generate(&targets, conditions.calls, &run, conditions.pause)
            })
        };
        thread::sleep(Duration::from_millis(200));
        run.enter(Phase::Measuring);
        thread::sleep(conditions.measure);
        run.enter(Phase::Over);
        generator.join().ok()?;
        let mut measured = receiver.join().ok()??;
        measured.lost = run.sent_and_lost().1;
        Some(measured)
    })
}

/// Runs one design on a bare thread.
pub fn on_a_thread(
    conditions: Conditions,
    make: impl FnOnce(Vec<UdpSocket>) -> std::io::Result<Box<dyn Design>> + Send,
) -> Option<Measured> {
    against_traffic(conditions, move |tell, run| {
        sys::pin_to(SHARD_CORE);
        let (sockets, addresses) = trunk_sockets(conditions.sockets).ok()?;
        let mut design = match make(sockets) {
            Ok(design) => design,
            Err(error) => {
                eprintln!("not possible here: {error}");
                return None;
            }
        };
        tell.send(addresses).ok()?;
        let mut meter = Meter::new();
        let mut next = Instant::now();
        let mut stalled = conditions.stall.is_zero();
        let mut turns = 0;
        loop {
            if let Some(mut measured) = meter.look(&run, conditions.calls) {
                // What is under way is answered before the end, so that lost is what was dropped.
                let until = Instant::now() + Duration::from_millis(20);
                while Instant::now() < until {
                    design.turn(meter.ages());
                    thread::sleep(TICK);
                }
                measured.memory_bytes = design.memory_bytes();
                measured.out_of_buffers = design.out_of_buffers();
                return Some(measured);
            }
            match conditions.waking {
                Waking::Tick => {
                    next += TICK;
                    let wait = next.saturating_duration_since(Instant::now());
                    if wait.is_zero() {
                        next = Instant::now();
                    } else {
                        thread::sleep(wait);
                    }
                }
                Waking::Packet => design.wait(),
            }
            turns += 1;
            if !stalled && turns > 400 {
                stalled = true;
                thread::sleep(conditions.stall);
            }
            design.turn(meter.ages());
        }
    })
}
