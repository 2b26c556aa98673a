//! The sockets of a relay: one that clients send to, and for each client's address one towards the target. Each has a thread that
//! reads it and sends on what passes at once; one more thread sends what was delayed.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Counters, Link, Profile};

/// The threads look so often whether they should end.
const READ_TIMEOUT: Duration = Duration::from_millis(50);
const DATAGRAM_BYTES_MAX: usize = 2_048;
/// The most clients' addresses; a WebRTC client has one for each of its interfaces.
const CLIENTS_MAX: usize = 64;
/// The datagrams of each direction that [`ImpairmentRelay::overheard`] gives.
const OVERHEARD_MAX: usize = 256;
/// The seed of the way back, so that the two directions are not alike.
const TO_CLIENT_SEED: u64 = 0x636c_6965_6e74;

/// Which way a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the target to the client: to the WebRTC client, or to the gateway's trunk leg.
    ToClient,
    /// From the client to the target: to the gateway, or to the trunk's far end.
    ToTarget,
}

impl Direction {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::ToClient, Self::ToTarget];
}

/// A running relay on loopback. Dropping it closes its sockets.
pub struct ImpairmentRelay {
    local: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl ImpairmentRelay {
    /// Relays between whoever sends to it and `target`; does nothing to datagrams until told to.
    ///
    /// # Errors
    /// A socket.
    pub fn start(target: SocketAddr, seed: u64) -> io::Result<Self> {
        let front = bind_beside(target)?;
        let local = front.local_addr()?;
        let shared = Arc::new(Shared {
            target,
            front,
            state: Mutex::new(State {
                to_client: Link::new(seed ^ TO_CLIENT_SEED),
                to_target: Link::new(seed),
                clients: Vec::new(),
                retired: Vec::new(),
                readers: Vec::new(),
                overheard: Default::default(),
            }),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let threads = [read_front as fn(&Arc<Shared>), send_delayed].map(|run| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || run(&shared))
        });
        Ok(Self {
            local,
            shared,
            threads: threads.into(),
        })
    }

    /// Where clients send to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Changes a direction from now on.
    pub fn set(&self, direction: Direction, profile: Profile) {
        self.shared.state().link(direction).set(profile);
    }

    /// Nothing passes either way for so long from now on.
    pub fn black_out(&self, duration: Duration) {
        let now = Instant::now();
        let mut state = self.shared.state();
        for direction in Direction::BOTH {
            state.link(direction).black_out(now, now + duration);
        }
    }

    /// Nothing passes this way, until told otherwise.
    pub fn set_cut(&self, direction: Direction, is_cut: bool) {
        self.shared.state().link(direction).set_cut(is_cut);
    }

    /// Loses the next `count` datagrams that `predicate` chooses, such as [`super::is_server_hello`].
    pub fn lose_selected(
        &self,
        direction: Direction,
        count: u32,
        predicate: impl FnMut(&[u8]) -> bool + Send + 'static,
    ) {
        let mut state = self.shared.state();
        state.link(direction).lose_selected(count, predicate);
    }

    /// A NAT forgets its mappings: every client comes from another port from its next datagram on, and what the target sends to
    /// the old ports gets lost.
    pub fn rebind(&self) {
        let mut state = self.shared.state();
        for client in &mut state.clients {
            client.back = None;
        }
    }

    /// Who sends to it: WebRTC clients, or the gateway's trunk legs.
    pub fn client_addresses(&self) -> Vec<SocketAddr> {
        let state = self.shared.state();
        state.clients.iter().map(|client| client.address).collect()
    }

    /// The addresses that the target sees now.
    pub fn mapped_addresses(&self) -> Vec<SocketAddr> {
        let state = self.shared.state();
        let backs = state.clients.iter().filter_map(|it| it.back.as_ref());
        backs.filter_map(|back| back.local_addr().ok()).collect()
    }

    /// The last datagrams that came to the relay in a direction, oldest first, at most 256: what somebody on the way can record.
    pub fn overheard(&self, direction: Direction) -> Vec<Vec<u8>> {
        let state = self.shared.state();
        state.overheard[direction as usize]
            .iter()
            .cloned()
            .collect()
    }

    /// Sends a datagram that nobody sent, past all impairments, with the addresses of those that pass: what somebody on the way
    /// can forge. To the target it goes from each client's own address, to the clients from the target's.
    pub fn forge(&self, direction: Direction, datagram: &[u8]) {
        let state = self.shared.state();
        for client in &state.clients {
            let _ = match (direction, &client.back) {
                (Direction::ToClient, _) => self.shared.front.send_to(datagram, client.address),
                (Direction::ToTarget, Some(back)) => back.send_to(datagram, self.shared.target),
                (Direction::ToTarget, None) => continue,
            };
        }
    }

    /// What a direction did so far.
    pub fn counters(&self, direction: Direction) -> Counters {
        self.shared.state().link(direction).counters()
    }
}

impl Drop for ImpairmentRelay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        let readers = std::mem::take(&mut self.shared.state().readers);
        for reader in readers {
            let _ = reader.join();
        }
    }
}

struct Shared {
    target: SocketAddr,
    front: UdpSocket,
    state: Mutex<State>,
    /// The next datagram may be due earlier than before.
    changed: Condvar,
    stop: AtomicBool,
}

struct State {
    /// The tags are indices of clients.
    to_client: Link<usize>,
    to_target: Link<usize>,
    clients: Vec<Client>,
    /// Sockets of mappings that were forgotten: open, so that nobody else gets their ports, and unread.
    retired: Vec<Arc<UdpSocket>>,
    readers: Vec<JoinHandle<()>>,
    /// By direction.
    overheard: [VecDeque<Vec<u8>>; 2],
}

struct Client {
    address: SocketAddr,
    /// None from a rebind to the next datagram.
    back: Option<Arc<UdpSocket>>,
}

impl State {
    fn link(&mut self, direction: Direction) -> &mut Link<usize> {
        match direction {
            Direction::ToClient => &mut self.to_client,
            Direction::ToTarget => &mut self.to_target,
        }
    }

    fn overhear(&mut self, direction: Direction, datagram: &[u8]) {
        let overheard = &mut self.overheard[direction as usize];
        if overheard.len() >= OVERHEARD_MAX {
            overheard.pop_front();
        }
        overheard.push_back(datagram.to_vec());
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Sends all that is due, and wakes the thread that waits for the rest.
    fn send_due(self: &Arc<Self>, state: &mut State) {
        let now = Instant::now();
        // A full socket loses the datagram, as any network may.
        while let Some((client, datagram)) = state.to_client.poll_datagram(now) {
            if let Some(client) = state.clients.get(client) {
                let _ = self.front.send_to(&datagram, client.address);
            }
        }
        while let Some((client, datagram)) = state.to_target.poll_datagram(now) {
            if let Some(back) = self.back_of(state, client) {
                let _ = back.send_to(&datagram, self.target);
            }
        }
        self.changed.notify_all();
    }

    /// The socket of a client towards the target; a new one where it has none.
    fn back_of(self: &Arc<Self>, state: &mut State, index: usize) -> Option<Arc<UdpSocket>> {
        let client = state.clients.get_mut(index)?;
        if let Some(back) = &client.back {
            return Some(Arc::clone(back));
        }
        let back = Arc::new(bind_beside(self.target).ok()?);
        client.back = Some(Arc::clone(&back));
        let (shared, socket) = (Arc::clone(self), Arc::clone(&back));
        let reader = std::thread::spawn(move || read_back(&shared, index, &socket));
        state.readers.push(reader);
        Some(back)
    }
}

/// The index of a client; a new one where there is room.
fn client_index(clients: &mut Vec<Client>, address: SocketAddr) -> Option<usize> {
    if let Some(index) = clients.iter().position(|it| it.address == address) {
        return Some(index);
    }
    let back = None;
    (clients.len() < CLIENTS_MAX).then(|| clients.push(Client { address, back }))?;
    Some(clients.len() - 1)
}

fn read_front(shared: &Arc<Shared>) {
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    while !shared.is_stopped() {
        // Errors are timeouts, and ICMP answers to earlier datagrams.
        let Ok((len, address)) = shared.front.recv_from(&mut buffer) else {
            continue;
        };
        let mut state = shared.state();
        if let Some(client) = client_index(&mut state.clients, address) {
            let datagram = buffer.get(..len).unwrap_or_default();
            state.overhear(Direction::ToTarget, datagram);
            state
                .to_target
                .handle_datagram(Instant::now(), client, datagram);
            shared.send_due(&mut state);
        }
    }
}

/// Reads until the socket is no longer the client's.
fn read_back(shared: &Arc<Shared>, client: usize, back: &Arc<UdpSocket>) {
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    while !shared.is_stopped() {
        let received = back.recv_from(&mut buffer);
        let mut state = shared.state();
        let current = state.clients.get(client).and_then(|it| it.back.as_ref());
        if !current.is_some_and(|current| Arc::ptr_eq(current, back)) {
            state.retired.push(Arc::clone(back));
            return;
        }
        if let Ok((len, _)) = received {
            let datagram = buffer.get(..len).unwrap_or_default();
            state.overhear(Direction::ToClient, datagram);
            state
                .to_client
                .handle_datagram(Instant::now(), client, datagram);
            shared.send_due(&mut state);
        }
    }
}

fn send_delayed(shared: &Arc<Shared>) {
    let mut state = shared.state();
    while !shared.is_stopped() {
        let now = Instant::now();
        let next = [
            state.to_client.poll_timeout(),
            state.to_target.poll_timeout(),
        ];
        match next.into_iter().flatten().min() {
            Some(due) if due <= now => shared.send_due(&mut state),
            due => {
                let sleep = due.map_or(READ_TIMEOUT, |due| (due - now).min(READ_TIMEOUT));
                (state, _) = shared
                    .changed
                    .wait_timeout(state, sleep)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

fn bind_beside(target: SocketAddr) -> io::Result<UdpSocket> {
    let ip: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let socket = UdpSocket::bind((ip, 0))?;
    socket.set_read_timeout(Some(READ_TIMEOUT))?;
    Ok(socket)
}
