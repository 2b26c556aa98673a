//! One TCP or TLS connection, from its handshake to its end. Each has a task of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::connections::{OPENED_MAX, Origin, QUEUE_MAX, Queued, Way};
use super::framing::{Frame, Framer, PONG};
use super::{
    Arrival, Discard, FlowId, ListenAddress, Received, SendError, Shared, TlsPeer, Transmit, lock,
};
use crate::config::SipTransport;

/// TCP and TLS together, until a connection is there.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// From a message's first byte to its last, and from accepting a connection to its first message.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// For the kernel to take one message of ours.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Without a message either way. Longer than the 30 min between refreshes of a session (RFC 4028), since a far end may
/// send its BYE on the connection that the call began on.
const IDLE_TIMEOUT: Duration = Duration::from_secs(40 * 60);
/// Read from a connection at once.
const READ_LEN: usize = 8 * 1024;

/// Sends on the message's flow, else on the connection that was opened to its destination, else on a new one.
pub(super) fn send(shared: &Arc<Shared>, transmit: Transmit) -> Result<FlowId, SendError> {
    let connections = lock(&shared.connections);
    let queued_on = |flow: FlowId| match connections.queue(flow, &transmit.payload) {
        Queued::Yes => Some(Ok(flow)),
        Queued::Full => Some(Err(SendError::Full(transmit.destination))),
        Queued::Gone => None,
    };
    if let Some(sent) = transmit.flow.and_then(queued_on) {
        return sent;
    }
    let peer = match (transmit.transport, &transmit.tls) {
        (SipTransport::Tls, None) => return Err(SendError::NoTlsPeer(transmit.destination)),
        (SipTransport::Tls, Some(peer)) => Some(peer),
        _ => None,
    };
    let way = Way {
        transport: transmit.transport,
        source: transmit.source.ip(),
        destination: transmit.destination,
        server_name: peer.map(|peer| peer.server_name.clone()),
        ca_file: peer.and_then(|peer| peer.trust.ca_file()),
    };
    if let Some(sent) = connections.opened(&way).and_then(queued_on) {
        return sent;
    }
    let server_name = peer.map(server_name).transpose()?;
    if connections.opened_len() >= OPENED_MAX {
        return Err(SendError::TooManyConnections(OPENED_MAX));
    }
    drop(connections);
    let connecting = Connecting {
        source: transmit.source,
        destination: transmit.destination,
        tls: peer.cloned().zip(server_name),
    };
    let connection = Connection::new(shared, transmit.transport, transmit.destination);
    Ok(connection.spawn_opening(connecting, way, transmit.payload))
}

fn server_name(peer: &TlsPeer) -> Result<ServerName<'static>, SendError> {
    ServerName::try_from(peer.server_name.clone())
        .map_err(|_| SendError::ServerName(peer.server_name.clone()))
}

/// Takes a connection that a listener accepted, unless there are too many.
pub(super) fn accepted(socket: TcpStream, listen: ListenAddress, shared: &Arc<Shared>) {
    // One that is gone again is no matter.
    let Ok(remote) = socket.peer_addr() else {
        return;
    };
    let remote = canonical(remote);
    let is_trusted = lock(&shared.trusted).contains(&remote.ip());
    let checked = lock(&shared.connections).check_accept(listen, remote.ip(), is_trusted);
    match checked {
        Err(reason) => shared.counters.add(reason),
        Ok(()) => Connection::new(shared, listen.transport, remote).spawn_accepted(socket, listen),
    }
}

/// IPv4 on a socket of both families is IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// What it takes to open a connection.
struct Connecting {
    source: SocketAddr,
    destination: SocketAddr,
    tls: Option<(TlsPeer, ServerName<'static>)>,
}

/// A connection on its way. Dropped, also by a panic, it is taken out of the list.
struct Connection {
    shared: Arc<Shared>,
    flow: FlowId,
    transport: SipTransport,
    remote: SocketAddr,
    /// The first message has to come until then.
    first_message_by: Option<Instant>,
}

/// Why a connection ended; the reason that is counted, if it is one.
struct Ended {
    error: String,
    counted: Option<Discard>,
}

impl Ended {
    fn because(counted: Discard, error: impl ToString) -> Self {
        Self {
            error: error.to_string(),
            counted: Some(counted),
        }
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self {
            error: error.to_string(),
            counted: None,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        lock(&self.shared.connections).remove(self.flow);
    }
}

impl Connection {
    fn new(shared: &Arc<Shared>, transport: SipTransport, remote: SocketAddr) -> Self {
        Self {
            shared: Arc::clone(shared),
            flow: shared.new_flow(),
            transport,
            remote,
            first_message_by: None,
        }
    }

    fn spawn_opening(self, connecting: Connecting, way: Way, first: Bytes) -> FlowId {
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        // There is room for one.
        let _ = queue.try_send(first);
        let (flow, shared) = (self.flow, Arc::clone(&self.shared));
        // The list is locked until the task is in it, so that it can't end before.
        let mut connections = lock(&shared.connections);
        let task = tokio::spawn(async move {
            let ended = self.open(connecting, queued).await;
            self.end(ended).await;
        });
        connections.insert(flow, Origin::Opened(way), queue, task.abort_handle());
        flow
    }

    fn spawn_accepted(mut self, socket: TcpStream, listen: ListenAddress) {
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        self.first_message_by = Some(Instant::now() + MESSAGE_TIMEOUT);
        let origin = Origin::Accepted {
            listen,
            remote: self.remote.ip(),
        };
        let (flow, shared) = (self.flow, Arc::clone(&self.shared));
        let mut connections = lock(&shared.connections);
        let task = tokio::spawn(async move {
            let ended = self.serve(socket, queued).await;
            self.end(ended).await;
        });
        connections.insert(flow, origin, queue, task.abort_handle());
    }

    async fn open(
        &self,
        connecting: Connecting,
        queued: mpsc::Receiver<Bytes>,
    ) -> Result<(), Ended> {
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        let late = |_| Ended::because(Discard::TimedOut, "no connection in time");
        let socket = tokio::time::timeout_at(deadline, connect(&connecting))
            .await
            .map_err(late)??;
        socket.set_nodelay(true)?;
        let local = canonical(socket.local_addr()?);
        let Some((peer, name)) = connecting.tls else {
            return self.run(socket, local, queued).await;
        };
        let connector = TlsConnector::from(peer.trust.config());
        let stream = tokio::time::timeout_at(deadline, connector.connect(name, socket))
            .await
            .map_err(late)?
            .map_err(|error| Ended::because(Discard::TlsFailed, error))?;
        self.run(stream, local, queued).await
    }

    async fn serve(&self, socket: TcpStream, queued: mpsc::Receiver<Bytes>) -> Result<(), Ended> {
        socket.set_nodelay(true)?;
        let local = canonical(socket.local_addr()?);
        if self.transport != SipTransport::Tls {
            return self.run(socket, local, queued).await;
        }
        let config = Arc::clone(&lock(&self.shared.server_tls));
        let stream = timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(socket))
            .await
            .map_err(|_| Ended::because(Discard::TimedOut, "no TLS handshake in time"))?
            .map_err(|error| Ended::because(Discard::TlsFailed, error))?;
        self.run(stream, local, queued).await
    }

    /// Reads and writes until one end has enough.
    async fn run(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        local: SocketAddr,
        mut queued: mpsc::Receiver<Bytes>,
    ) -> Result<(), Ended> {
        let connected = Arrival::Connected {
            flow: self.flow,
            transport: self.transport,
            local,
            remote: self.remote,
        };
        self.tell(connected).await;
        let mut framer = Framer::default();
        let mut idle_at = Instant::now() + IDLE_TIMEOUT;
        let mut message_by = self.first_message_by;
        loop {
            framer.buffer().reserve(READ_LEN);
            tokio::select! {
                read = stream.read_buf(framer.buffer()) => {
                    if read? == 0 {
                        return end_of_stream(&framer);
                    }
                    let brought = self.take(&mut framer, &mut stream, local).await?;
                    let now = Instant::now();
                    if brought {
                        idle_at = now + IDLE_TIMEOUT;
                        message_by = None;
                    }
                    if !framer.is_within_message() && self.first_message_by.is_none() {
                        message_by = None;
                    } else if framer.is_within_message() && message_by.is_none() {
                        message_by = Some(now + MESSAGE_TIMEOUT);
                    }
                }
                payload = queued.recv() => {
                    let Some(payload) = payload else {
                        stream.shutdown().await?;
                        return Ok(());
                    };
                    write(&mut stream, &payload).await?;
                    idle_at = Instant::now() + IDLE_TIMEOUT;
                }
                () = sleep_until(message_by.unwrap_or(idle_at).min(idle_at)) => {
                    if message_by.is_some_and(|by| by < idle_at) {
                        return Err(Ended::because(Discard::TimedOut, "no whole message in time"));
                    }
                    stream.shutdown().await?;
                    return Ok(());
                }
            }
        }
    }

    /// Hands on what is whole; tells whether there was a message.
    async fn take(
        &self,
        framer: &mut Framer,
        stream: &mut (impl AsyncWrite + Unpin),
        local: SocketAddr,
    ) -> Result<bool, Ended> {
        let mut brought = false;
        loop {
            match framer.next() {
                Ok(None) => return Ok(brought),
                Ok(Some(Frame::Ping)) => write(stream, PONG).await?,
                Ok(Some(Frame::Message(payload))) => {
                    if !self.shared.admits(self.remote) {
                        let error = "too many messages a second";
                        return Err(Ended::because(Discard::RateLimited, error));
                    }
                    brought = true;
                    let received = Received {
                        transport: self.transport,
                        local,
                        remote: self.remote,
                        payload,
                        flow: self.flow,
                    };
                    // When the agent is behind, the sender waits: TCP tells it.
                    self.tell(Arrival::Message(received)).await;
                }
                Err(error) => return Err(Ended::because(Discard::Framing, error)),
            }
        }
    }

    async fn end(self, ended: Result<(), Ended>) {
        let error = ended.err().map(|ended| {
            if let Some(reason) = ended.counted {
                self.shared.counters.add(reason);
            }
            ended.error
        });
        let closed = Arrival::Closed {
            flow: self.flow,
            remote: self.remote,
            error,
        };
        // Out of the list first: who is told may send again at once, on another connection.
        lock(&self.shared.connections).remove(self.flow);
        self.tell(closed).await;
    }

    async fn tell(&self, arrival: Arrival) {
        // Without an agent there is nobody to tell, and the sockets are about to be dropped.
        let _ = self.shared.arrivals.send(arrival).await;
    }
}

async fn connect(connecting: &Connecting) -> io::Result<TcpStream> {
    let destination = connecting.destination;
    let socket = match destination {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    let source = connecting.source.ip();
    if !source.is_unspecified() && source.is_ipv4() == destination.is_ipv4() {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(destination).await
}

fn end_of_stream(framer: &Framer) -> Result<(), Ended> {
    if framer.is_within_message() {
        return Err(Ended::because(Discard::Framing, "closed within a message"));
    }
    Ok(())
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), Ended> {
    let written = timeout(WRITE_TIMEOUT, async {
        stream.write_all(bytes).await?;
        stream.flush().await
    });
    match written.await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Ended::because(
            Discard::TimedOut,
            "the other end does not read",
        )),
    }
}
