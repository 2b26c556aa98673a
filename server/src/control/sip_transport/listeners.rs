//! The sockets that wait for others: UDP sockets, and listeners of TCP and TLS.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use super::datagrams::Datagrams;
use super::stream;
use super::{FlowId, ListenAddress, SendError, Shared, Transmit};
use crate::config::SipTransport;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 256;
/// After an accept that failed, as without a free file descriptor.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// All of them, by where they really are.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    datagrams: HashMap<SocketAddr, Datagrams>,
    streams: HashMap<ListenAddress, Accepting>,
}

/// Ends the task that accepts.
#[derive(Debug)]
struct Accepting(AbortHandle);

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Listeners {
    pub(super) fn add(
        &mut self,
        listen: ListenAddress,
        shared: &Arc<Shared>,
    ) -> io::Result<SocketAddr> {
        if self.addresses().contains(&listen) {
            return Ok(listen.address);
        }
        if listen.transport == SipTransport::Udp {
            let datagrams = Datagrams::bind(listen.address, shared)?;
            let address = datagrams.local_addr();
            self.datagrams.insert(address, datagrams);
            return Ok(address);
        }
        let listener = tcp_listener(listen.address)?;
        let bound = ListenAddress {
            address: listener.local_addr()?,
            ..listen
        };
        let task = tokio::spawn(accept(listener, bound, Arc::clone(shared)));
        self.streams.insert(bound, Accepting(task.abort_handle()));
        Ok(bound.address)
    }

    pub(super) fn remove(&mut self, listen: ListenAddress) {
        match listen.transport {
            SipTransport::Udp => drop(self.datagrams.remove(&listen.address)),
            SipTransport::Tcp | SipTransport::Tls => drop(self.streams.remove(&listen)),
        }
    }

    pub(super) fn addresses(&self) -> Vec<ListenAddress> {
        let udp = self.datagrams.keys().map(|address| ListenAddress {
            transport: SipTransport::Udp,
            address: *address,
        });
        udp.chain(self.streams.keys().copied()).collect()
    }

    /// Sends by UDP: from the flow's socket, else from the one at the source, else from that at every address.
    pub(super) fn send(&self, transmit: &Transmit) -> Result<FlowId, SendError> {
        let by_flow = |flow: FlowId| self.datagrams.values().find(|socket| socket.flow == flow);
        let source = transmit.source;
        let wildcard = || {
            self.datagrams.values().find(|socket| {
                let local = socket.local_addr();
                local.port() == source.port()
                    && local.ip().is_unspecified()
                    && (local.is_ipv6() || source.is_ipv4())
            })
        };
        transmit
            .flow
            .and_then(by_flow)
            .or_else(|| self.datagrams.get(&source))
            .or_else(wildcard)
            .ok_or(SendError::NoListener {
                transport: SipTransport::Udp,
                listen: source,
            })?
            .send(transmit)
    }
}

fn tcp_listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    // Connections of the process before may still be closing.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn accept(listener: TcpListener, listen: ListenAddress, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => stream::accepted(socket, listen, &shared),
            Err(error) => {
                tracing::warn!(address = %listen.address, %error, "accepting SIP connections");
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }
}
