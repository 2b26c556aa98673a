//! The far ends: one thread that sends every call's RTP at its own time and takes what is answered.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use shards::udp::{ReceiveBatch, SendBatch, UdpSocket};

use crate::sys;

/// RTP header and 20 ms of G.711.
pub const PACKET_BYTES: usize = 172;
/// One packet per call and this time.
const PTIME: Duration = Duration::from_millis(20);
const GENERATOR_CORE: usize = 1;

/// Where a run stands: both sides look at it.
#[derive(Default)]
pub struct Run {
    phase: AtomicU8,
    sent: AtomicU64,
    answered: AtomicU64,
}

/// The phases of a run, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub enum Phase {
    Warming,
    Measuring,
    Over,
}

impl Run {
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Warming,
            1 => Phase::Measuring,
            _ => Phase::Over,
        }
    }

    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Packets sent, and those that were not answered.
    pub fn sent_and_lost(&self) -> (u64, u64) {
        let sent = self.sent.load(Ordering::Relaxed);
        (
            sent,
            sent.saturating_sub(self.answered.load(Ordering::Relaxed)),
        )
    }
}

/// Nanoseconds on a clock that all threads share.
pub fn now_ns() -> u64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    ORIGIN.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// How long ago `packet` was sent.
pub fn age_ns(now_ns: u64, packet: &[u8]) -> u64 {
    let sent = packet.get(12..20).and_then(|stamp| stamp.try_into().ok());
    now_ns.saturating_sub(sent.map_or(now_ns, u64::from_be_bytes))
}

/// Sends to `targets` until the run is over. Between two sends it sleeps for `pause` where that comes due later than it;
/// without a pause every packet leaves at its own time, at the price of a busy core.
pub fn generate(targets: &[SocketAddr], calls: usize, run: &Run, pause: Duration) {
    sys::pin_to(GENERATOR_CORE);
    let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into(), 8 << 20, 8 << 20) else {
        return;
    };
    let mut sending = SendBatch::new(64, PACKET_BYTES);
    let mut answers = ReceiveBatch::new(64, PACKET_BYTES);
    let gap_ns = PTIME.as_nanos() as u64 / calls as u64;
    let start_ns = now_ns();
    let mut number = 0;
    while run.phase() != Phase::Over {
        let now = now_ns();
        while start_ns + number * gap_ns <= now && !sending.is_full() {
            let mut packet = [0xd5; PACKET_BYTES];
            packet[0] = 0x80;
            packet[12..20].copy_from_slice(&now.to_be_bytes());
            let call = (number % calls as u64) as usize;
            let _ = sending.push(targets[call % targets.len()], &packet);
            number += 1;
        }
        let sent = socket.send(&mut sending).sent as u64;
        run.sent.fetch_add(sent, Ordering::Relaxed);
        take(&socket, &mut answers, run);
        let until_due = Duration::from_nanos((start_ns + number * gap_ns).saturating_sub(now_ns()));
        if until_due > Duration::from_micros(120) {
            thread::sleep((until_due - Duration::from_micros(80)).max(pause));
        } else if !pause.is_zero() {
            thread::sleep(pause);
        } else {
            std::hint::spin_loop();
        }
    }
    // Whatever is answered is answered by now.
    thread::sleep(Duration::from_millis(30));
    take(&socket, &mut answers, run);
}

fn take(socket: &UdpSocket, answers: &mut ReceiveBatch, run: &Run) {
    while let Ok(count @ 1..) = socket.receive(answers) {
        run.answered.fetch_add(count as u64, Ordering::Relaxed);
    }
}
