//! The loop of one media thread: a grid of 500 us, on which each leg has one slot of 40.
//!
//! No socket is watched: each leg's is read right after the leg has sent, once in 20 ms, because it gets a packet in
//! every 20 ms anyhow and the kernel's stamp tells when. That saves an epoll entry, which would cost whoever sends to
//! us too. A stream is read once more in between.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::leg::{DATAGRAM_BYTES_MAX, LegRecord, LegState};
use super::stream_leg::StreamLegState;
use super::window::{MediaWindow, Now, Windows};
use super::{PHASES, sys};

const SLOT_NS: u64 = 500_000;
const SLOTS_PER_SECOND: u64 = 2_000;
/// Commands that are taken in one slot.
const COMMANDS_PER_SLOT_MAX: usize = 16;
/// A thread that is farther behind leaves slots out. Their frames are not sent later; they count as late by that much.
const BEHIND_SLOTS_MAX: u64 = 2_000;

/// When the grid of all threads begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    pub(super) begin: Instant,
    pub(super) begin_ns: u64,
}

pub(super) enum Command {
    Open(AnyLeg),
    Close {
        id: u64,
        phase: usize,
        reply: Option<oneshot::Sender<LegRecord>>,
    },
}

/// A leg of either kind.
pub(super) enum AnyLeg {
    Rtp(Box<LegState>),
    Stream(Box<StreamLegState>),
}

impl AnyLeg {
    fn id(&self) -> u64 {
        match self {
            Self::Rtp(leg) => leg.id,
            Self::Stream(leg) => leg.id,
        }
    }

    pub(super) fn phase(&self) -> usize {
        match self {
            Self::Rtp(leg) => leg.phase,
            Self::Stream(leg) => leg.phase,
        }
    }

    fn send(
        &mut self,
        window: &mut MediaWindow,
        now: &Now,
        due_at: Instant,
        buffer: &mut [u8],
    ) -> u64 {
        match self {
            Self::Rtp(leg) => leg.send(window, now, due_at, buffer),
            Self::Stream(leg) => leg.send(window, now, due_at),
        }
    }

    fn receive(&mut self, window: &mut MediaWindow, now: &Now, buffer: &mut [u8]) {
        match self {
            Self::Rtp(leg) => leg.receive(window, now, buffer),
            Self::Stream(leg) => leg.receive(window, now),
        }
    }

    /// Between two sends: a read of TCP has one stamp for all that it reads, so two frames must not wait for it.
    fn receive_between(&mut self, window: &mut MediaWindow, now: &Now) {
        if let Self::Stream(leg) = self {
            leg.receive(window, now);
        }
    }
}

pub(super) struct MediaThread {
    commands: Receiver<Command>,
    windows: Arc<Windows>,
    grid: Grid,
    /// By phase.
    legs: Vec<Vec<AnyLeg>>,
    /// Streams that we have closed, and who asked for it.
    closing: Vec<(Box<StreamLegState>, Option<oneshot::Sender<LegRecord>>)>,
    window: MediaWindow,
    seconds: u64,
    cpu_before: Duration,
    buffer: Vec<u8>,
}

impl MediaThread {
    pub(super) fn new(commands: Receiver<Command>, windows: Arc<Windows>, grid: Grid) -> Self {
        Self {
            commands,
            windows,
            grid,
            legs: (0..PHASES).map(|_| Vec::new()).collect(),
            closing: Vec::new(),
            window: MediaWindow::new(grid.begin + Duration::from_secs(1)),
            seconds: 1,
            cpu_before: Duration::ZERO,
            buffer: vec![0; DATAGRAM_BYTES_MAX],
        }
    }

    /// Until nobody can send commands any more.
    pub(super) fn run(mut self) {
        self.cpu_before = sys::thread_cpu();
        let mut slot = 0;
        loop {
            let due_ns = self.grid.begin_ns + slot * SLOT_NS;
            sys::sleep_until(due_ns);
            let now = Now::read();
            if now.monotonic_ns < due_ns {
                // A signal woke us.
                continue;
            }
            let behind = (now.monotonic_ns - due_ns) / SLOT_NS;
            if behind > BEHIND_SLOTS_MAX {
                self.leave_out(slot, behind);
                slot += behind;
                continue;
            }
            self.end_seconds(slot);
            self.turn(slot, due_ns, &now);
            if !self.take_commands(&now) {
                return;
            }
            slot += 1;
        }
    }

    fn turn(&mut self, slot: u64, due_ns: u64, now: &Now) {
        let Some(legs) = self.legs.get_mut(phase_of(slot)) else {
            return;
        };
        let due_at = self.grid.begin + Duration::from_nanos(slot * SLOT_NS);
        for leg in legs.iter_mut() {
            let at_ns = leg.send(&mut self.window, now, due_at, &mut self.buffer);
            let late_ns = now.monotonic_ns_of(at_ns).saturating_sub(due_ns);
            self.window.lateness.record_ns(late_ns, 1);
        }
        for leg in legs.iter_mut() {
            leg.receive(&mut self.window, now, &mut self.buffer);
        }
        let opposite = phase_of(slot + PHASES as u64 / 2);
        for leg in self.legs.get_mut(opposite).into_iter().flatten() {
            leg.receive_between(&mut self.window, now);
        }
        if phase_of(slot).is_multiple_of(PHASES / 2) {
            self.end_closing(now);
        }
    }

    fn leave_out(&mut self, slot: u64, slots: u64) {
        let frames: u64 = (slot..slot + slots)
            .filter_map(|slot| self.legs.get(phase_of(slot)))
            .map(|legs| legs.len() as u64)
            .sum();
        if frames > 0 {
            self.window.lateness.record_ns(slots * SLOT_NS, frames);
        }
    }

    fn end_seconds(&mut self, slot: u64) {
        while slot >= self.seconds * SLOTS_PER_SECOND {
            self.seconds += 1;
            let cpu = sys::thread_cpu();
            self.window.thread_cpu = cpu.saturating_sub(self.cpu_before);
            self.cpu_before = cpu;
            let next = MediaWindow::new(self.grid.begin + Duration::from_secs(self.seconds));
            self.windows.push(std::mem::replace(&mut self.window, next));
        }
    }

    fn take_commands(&mut self, now: &Now) -> bool {
        for _ in 0..COMMANDS_PER_SLOT_MAX {
            match self.commands.try_recv() {
                Ok(Command::Open(leg)) => {
                    if let Some(legs) = self.legs.get_mut(leg.phase()) {
                        legs.push(leg);
                    }
                }
                Ok(Command::Close { id, phase, reply }) => self.close(id, phase, reply, now),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        true
    }

    fn close(
        &mut self,
        id: u64,
        phase: usize,
        reply: Option<oneshot::Sender<LegRecord>>,
        now: &Now,
    ) {
        let Some(legs) = self.legs.get_mut(phase) else {
            return;
        };
        let Some(found) = legs.iter().position(|leg| leg.id() == id) else {
            return;
        };
        let record = match legs.swap_remove(found) {
            AnyLeg::Rtp(leg) => leg.close(&mut self.window, now, &mut self.buffer),
            AnyLeg::Stream(mut leg) => {
                leg.close(&mut self.window, now);
                return self.closing.push((leg, reply));
            }
        };
        tell(reply, record);
    }

    fn end_closing(&mut self, now: &Now) {
        let mut at = 0;
        while let Some((leg, _)) = self.closing.get_mut(at) {
            if leg.is_over(&mut self.window, now) {
                let (leg, reply) = self.closing.swap_remove(at);
                tell(reply, leg.into_record());
            } else {
                at += 1;
            }
        }
    }
}

fn tell(reply: Option<oneshot::Sender<LegRecord>>, record: LegRecord) {
    if let Some(reply) = reply {
        // Whoever asked may be gone.
        let _ = reply.send(record);
    }
}

fn phase_of(slot: u64) -> usize {
    (slot % PHASES as u64) as usize
}
