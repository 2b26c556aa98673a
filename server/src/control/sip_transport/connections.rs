//! Which connections there are, who may open how many, and which one a message goes by.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::AbortHandle;

use super::{Discard, FlowId, ListenAddress};
use crate::config::SipTransport;

/// Connections that one listener accepted.
pub(super) const PER_LISTENER_MAX: usize = 1024;
/// Of one address; those of trunks may have all of a listener's.
pub(super) const PER_ADDRESS_MAX: usize = 64;
/// Connections that we opened.
pub(super) const OPENED_MAX: usize = 1024;
/// Messages that wait to be sent on one connection.
pub(super) const QUEUE_MAX: usize = 256;

/// What makes one connection that we opened as good as another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Way {
    pub(super) transport: SipTransport,
    pub(super) source: IpAddr,
    pub(super) destination: SocketAddr,
    /// With TLS.
    pub(super) server_name: Option<String>,
    pub(super) ca_file: Option<Arc<Path>>,
}

/// Who opened a connection.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    Accepted {
        listen: ListenAddress,
        remote: IpAddr,
    },
    Opened(Way),
}

#[derive(Debug)]
struct Connection {
    origin: Origin,
    /// None: it ends when what waits is sent.
    queue: Option<mpsc::Sender<Bytes>>,
    task: AbortHandle,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queued {
    Yes,
    /// The other end does not read.
    Full,
    /// There is no such connection any more.
    Gone,
}

#[derive(Debug, Default)]
pub(super) struct Connections {
    by_flow: HashMap<FlowId, Connection>,
    opened: HashMap<Way, FlowId>,
}

impl Connections {
    /// May one more be accepted? Else the reason.
    pub(super) fn check_accept(
        &self,
        listen: ListenAddress,
        remote: IpAddr,
        is_trusted: bool,
    ) -> Result<(), Discard> {
        let (mut of_listener, mut of_address) = (0, 0);
        for connection in self.by_flow.values() {
            if let Origin::Accepted {
                listen: other,
                remote: address,
            } = &connection.origin
            {
                of_listener += usize::from(*other == listen);
                of_address += usize::from(*address == remote);
            }
        }
        if of_listener >= PER_LISTENER_MAX {
            return Err(Discard::ListenerFull);
        }
        if of_address >= PER_ADDRESS_MAX && !is_trusted {
            return Err(Discard::AddressFull);
        }
        Ok(())
    }

    /// The connection that we opened this way.
    pub(super) fn opened(&self, way: &Way) -> Option<FlowId> {
        self.opened.get(way).copied()
    }

    pub(super) fn opened_len(&self) -> usize {
        self.opened.len()
    }

    pub(super) fn insert(
        &mut self,
        flow: FlowId,
        origin: Origin,
        queue: mpsc::Sender<Bytes>,
        task: AbortHandle,
    ) {
        if let Origin::Opened(way) = &origin {
            self.opened.insert(way.clone(), flow);
        }
        let connection = Connection {
            origin,
            queue: Some(queue),
            task,
        };
        self.by_flow.insert(flow, connection);
    }

    pub(super) fn queue(&self, flow: FlowId, payload: &Bytes) -> Queued {
        let queue = self
            .by_flow
            .get(&flow)
            .and_then(|connection| connection.queue.as_ref());
        match queue.map(|queue| queue.try_send(payload.clone())) {
            Some(Ok(())) => Queued::Yes,
            Some(Err(TrySendError::Full(_))) => Queued::Full,
            Some(Err(TrySendError::Closed(_))) | None => Queued::Gone,
        }
    }

    /// It takes no more messages.
    pub(super) fn close(&mut self, flow: FlowId) {
        if let Some(connection) = self.by_flow.get_mut(&flow) {
            connection.queue = None;
            if let Origin::Opened(way) = &connection.origin {
                self.opened.remove(way);
            }
        }
    }

    /// It is gone.
    pub(super) fn remove(&mut self, flow: FlowId) {
        let Some(connection) = self.by_flow.remove(&flow) else {
            return;
        };
        if let Origin::Opened(way) = connection.origin
            && self.opened.get(&way) == Some(&flow)
        {
            self.opened.remove(&way);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_flow.len()
    }

    pub(super) fn abort_all(&mut self) {
        for connection in self.by_flow.values() {
            connection.task.abort();
        }
    }
}
