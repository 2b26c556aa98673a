//! Transactions (RFC 3261 section 17, RFC 6026): a request with its responses, retransmissions and time-outs.
//!
//! [`Transactions`] holds all of them. Messages and time go in; what is to be sent and what the user of transactions
//! must know comes out. The user answers requests, and acknowledges 2xx responses itself (RFC 3261 section 13.2.2.4);
//! other final responses are acknowledged here. Not here: dialogs, authentication, where to send.

mod client;
mod server;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::flow::{Flow, Transmit};
use super::message::value::Via;
use super::message::{HeaderName, Message, Method, Request, Response, StatusCode};
use client::Client;
use server::Server;

/// Round-trip time estimate.
pub const T1: Duration = Duration::from_millis(500);
/// The longest pause between retransmissions.
pub const T2: Duration = Duration::from_secs(4);
/// How long a message may linger in the network.
pub const T4: Duration = Duration::from_secs(5);
/// Timers B, F, H, J, L, M.
pub const T1_64: Duration = Duration::from_secs(32);
/// Transactions of each kind that may live at once; a client transaction beyond fails, a request beyond is answered
/// 503 without state.
pub const TRANSACTIONS_MAX: usize = 32_768;

/// A request of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(u64);

/// A request of the far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(u64);

/// What the user of transactions must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransactionEvent {
    /// A new request; to be answered with [`Transactions::respond`].
    Request {
        /// Its name.
        id: ServerId,
        /// Itself.
        request: Box<Request>,
        /// Where it came from, and where answers go.
        flow: Flow,
    },
    /// An ACK that acknowledges a 2xx: no transaction of its own.
    Ack {
        /// Itself.
        request: Box<Request>,
        /// Where it came from.
        flow: Flow,
    },
    /// An INVITE that has no final response yet was cancelled. The CANCEL is answered already.
    Cancelled {
        /// The INVITE.
        id: ServerId,
        /// The CANCEL: it may tell the reason (RFC 3326).
        cancel: Box<Request>,
    },
    /// A response to a request of ours. Each 2xx of an INVITE is told, also repeated ones.
    Response {
        /// The request.
        id: ClientId,
        /// Itself.
        response: Box<Response>,
    },
    /// No final response came in time, or the request could not be sent.
    Failed {
        /// The request.
        id: ClientId,
        /// Which of the two.
        failure: ClientFailure,
    },
    /// A request of ours is over for good: nothing more comes of it.
    ClientEnded {
        /// The request.
        id: ClientId,
    },
    /// A request of the far end is over for good.
    ServerEnded {
        /// The request.
        id: ServerId,
    },
    /// A 2xx was never acknowledged.
    AckMissing {
        /// The INVITE.
        id: ServerId,
    },
}

/// Why a request of ours has no final response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientFailure {
    /// Timer B or F.
    TimedOut,
    /// The transport could not deliver it.
    Unreachable,
    /// [`TRANSACTIONS_MAX`].
    TooMany,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ClientKey {
    branch: String,
    method: Method,
}

/// RFC 3261 section 17.2.3; the branch of an old implementation is made of what identified its transactions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ServerKey {
    branch: String,
    sent_by: String,
    method: Method,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Client(ClientId),
    Server(ServerId),
}

/// All transactions.
#[derive(Debug, Default)]
pub struct Transactions {
    clients: HashMap<ClientId, Client>,
    clients_by_key: HashMap<ClientKey, ClientId>,
    servers: HashMap<ServerId, Server>,
    servers_by_key: HashMap<ServerKey, ServerId>,
    deadlines: BTreeSet<(Instant, Owner)>,
    next_id: u64,
    transmits: VecDeque<Transmit>,
    events: VecDeque<TransactionEvent>,
}

impl Transactions {
    /// Takes a message that was received.
    pub fn handle_message(&mut self, now: Instant, message: Message, flow: Flow) {
        match message {
            Message::Request(request) => self.handle_request(now, request, flow),
            Message::Response(response) => self.handle_response(now, response),
        }
    }

    /// Sends a request; its top Via names a fresh branch. An ACK has no transaction: see [`Transactions::send`].
    pub fn request(&mut self, now: Instant, request: Request, flow: Flow) -> ClientId {
        debug_assert_ne!(request.method, Method::Ack);
        let id = ClientId(self.fresh_id());
        let branch = branch(&request).unwrap_or_default();
        if self.clients.len() >= TRANSACTIONS_MAX {
            let failure = ClientFailure::TooMany;
            self.events
                .push_back(TransactionEvent::Failed { id, failure });
            return id;
        }
        let key = ClientKey {
            branch,
            method: request.method.clone(),
        };
        let client = Client::new(now, key.clone(), request, flow);
        self.transmits.push_back(client.transmit());
        self.clients_by_key.insert(key, id);
        self.clients.insert(id, client);
        self.arm(Owner::Client(id));
        id
    }

    /// The CANCEL of an INVITE of ours that has a provisional response and no final one, and its way (RFC 3261 section
    /// 9.1): to be sent with [`Transactions::request`].
    pub fn cancel(&self, id: ClientId) -> Option<(Request, Flow)> {
        self.clients.get(&id)?.cancel()
    }

    /// A request of ours that lives, and where it went.
    pub fn request_of(&self, id: ClientId) -> Option<(&Request, &Flow)> {
        self.clients.get(&id).map(Client::request)
    }

    /// Nobody waits for the answer to a request of ours any more (RFC 3261 section 9.1: a cancelled INVITE).
    pub fn forget(&mut self, id: ClientId) {
        self.drop_client(id);
    }

    /// Sends a message outside of transactions: an ACK for a 2xx.
    pub fn send(&mut self, payload: Arc<[u8]>, flow: Flow) {
        self.transmits.push_back(Transmit { flow, payload });
    }

    /// Answers a request. A second final response is ignored.
    pub fn respond(&mut self, now: Instant, id: ServerId, response: &Response) {
        let Some(server) = self.servers.get_mut(&id) else {
            return;
        };
        if let Some(transmit) = server.respond(now, response) {
            self.transmits.push_back(transmit);
        }
        self.arm(Owner::Server(id));
    }

    /// Answers a message that deserves no transaction.
    pub fn respond_without_state(&mut self, response: &Response, flow: &Flow) {
        self.transmits.push_back(Transmit {
            flow: server::answer_flow(response, flow),
            payload: response.to_bytes().into(),
        });
    }

    /// The 2xx of `id` was acknowledged: it is not sent any more.
    pub fn acknowledged(&mut self, id: ServerId) {
        if let Some(server) = self.servers.get_mut(&id) {
            server.acknowledged();
        }
        self.arm(Owner::Server(id));
    }

    /// A message for `flow` could not be delivered.
    pub fn handle_unreachable(&mut self, remote: std::net::SocketAddr) {
        let failed: Vec<ClientId> = self
            .clients
            .iter()
            .filter(|(_, client)| client.waits_on(remote))
            .map(|(id, _)| *id)
            .collect();
        for id in failed {
            let failure = ClientFailure::Unreachable;
            self.events
                .push_back(TransactionEvent::Failed { id, failure });
            self.drop_client(id);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(due, owner)) = self.deadlines.first() {
            if due > now {
                break;
            }
            self.deadlines.pop_first();
            match owner {
                Owner::Client(id) => self.client_due(now, id),
                Owner::Server(id) => self.server_due(now, id),
            }
        }
    }

    /// When [`Transactions::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(due, _)| *due)
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// What happened, in order.
    pub fn poll_event(&mut self) -> Option<TransactionEvent> {
        self.events.pop_front()
    }

    /// Transactions that live.
    pub fn len(&self) -> usize {
        self.clients.len() + self.servers.len()
    }

    /// Whether none lives.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn handle_request(&mut self, now: Instant, request: Request, flow: Flow) {
        let key = server_key(&request);
        if let Some(&id) = self.servers_by_key.get(&key) {
            let Some(server) = self.servers.get_mut(&id) else {
                return;
            };
            if request.method == Method::Ack {
                if server.handle_ack(now) {
                    let request = Box::new(request);
                    self.events
                        .push_back(TransactionEvent::Ack { request, flow });
                }
            } else if let Some(transmit) = server.repeated() {
                self.transmits.push_back(transmit);
            }
            return self.arm(Owner::Server(id));
        }
        match request.method {
            Method::Ack => {
                let request = Box::new(request);
                self.events
                    .push_back(TransactionEvent::Ack { request, flow });
            }
            Method::Cancel => self.handle_cancel(now, &request, &flow, key),
            _ => {
                let Some(id) = self.open_server(now, key, &request, &flow) else {
                    let response = Response::to(&request, StatusCode(503), None);
                    return self.respond_without_state(&response, &flow);
                };
                let request = Box::new(request);
                self.events
                    .push_back(TransactionEvent::Request { id, request, flow });
            }
        }
    }

    /// RFC 3261 section 9.2: a CANCEL has a transaction of its own, and names the INVITE's branch.
    fn handle_cancel(&mut self, now: Instant, cancel: &Request, flow: &Flow, key: ServerKey) {
        let invite_key = ServerKey {
            method: Method::Invite,
            ..key.clone()
        };
        let invite = self.servers_by_key.get(&invite_key).copied();
        let Some(id) = self.open_server(now, key, cancel, flow) else {
            let response = Response::to(cancel, StatusCode(503), None);
            return self.respond_without_state(&response, flow);
        };
        let status = StatusCode(if invite.is_some() { 200 } else { 481 });
        let to_tag = invite
            .and_then(|invite| self.servers.get(&invite))
            .and_then(|invite| invite.to_tag().map(str::to_owned));
        let response = Response::to(cancel, status, to_tag.as_deref());
        self.respond(now, id, &response);
        if let Some(invite) = invite
            && self.servers.get(&invite).is_some_and(Server::is_open)
        {
            let cancel = Box::new(cancel.clone());
            self.events
                .push_back(TransactionEvent::Cancelled { id: invite, cancel });
        }
    }

    fn open_server(
        &mut self,
        now: Instant,
        key: ServerKey,
        request: &Request,
        flow: &Flow,
    ) -> Option<ServerId> {
        if self.servers.len() >= TRANSACTIONS_MAX {
            return None;
        }
        let id = ServerId(self.fresh_id());
        self.servers_by_key.insert(key.clone(), id);
        self.servers.insert(
            id,
            Server::new(now, key, request.method == Method::Invite, flow.clone()),
        );
        Some(id)
    }

    fn handle_response(&mut self, now: Instant, response: Response) {
        let via = response.headers.values(&HeaderName::Via).next();
        let branch = via
            .and_then(Via::parse)
            .and_then(|via| via.branch.map(str::to_owned));
        let (Some(branch), Some((_, method))) = (branch, response.headers.cseq()) else {
            return;
        };
        let Some(&id) = self.clients_by_key.get(&ClientKey { branch, method }) else {
            return;
        };
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        // A branch alone would let a far end answer in another dialog's name.
        let (asked, _) = client.request();
        if asked.headers.call_id() != response.headers.call_id()
            || asked.headers.from_tag() != response.headers.from_tag()
        {
            return;
        }
        let taken = client.handle_response(now, &response);
        if let Some(ack) = taken.ack {
            self.transmits.push_back(ack);
        }
        if taken.is_news {
            let response = Box::new(response);
            self.events
                .push_back(TransactionEvent::Response { id, response });
        }
        if client.is_terminated() {
            return self.drop_client(id);
        }
        self.arm(Owner::Client(id));
    }

    fn client_due(&mut self, now: Instant, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.armed = None;
        if let Some(transmit) = client.handle_timeout(now) {
            self.transmits.push_back(transmit);
        }
        if client.has_timed_out() {
            let failure = ClientFailure::TimedOut;
            self.events
                .push_back(TransactionEvent::Failed { id, failure });
        }
        if client.is_terminated() {
            return self.drop_client(id);
        }
        self.arm(Owner::Client(id));
    }

    fn server_due(&mut self, now: Instant, id: ServerId) {
        let Some(server) = self.servers.get_mut(&id) else {
            return;
        };
        server.armed = None;
        if let Some(transmit) = server.handle_timeout(now) {
            self.transmits.push_back(transmit);
        }
        if server.lacks_ack() {
            self.events.push_back(TransactionEvent::AckMissing { id });
        }
        if server.is_terminated() {
            if let Some(server) = self.servers.remove(&id) {
                self.servers_by_key.remove(&server.key);
                self.events.push_back(TransactionEvent::ServerEnded { id });
            }
            return;
        }
        self.arm(Owner::Server(id));
    }

    fn drop_client(&mut self, id: ClientId) {
        if let Some(client) = self.clients.remove(&id) {
            self.clients_by_key.remove(&client.key);
            self.events.push_back(TransactionEvent::ClientEnded { id });
            if let Some(armed) = client.armed {
                self.deadlines.remove(&(armed, Owner::Client(id)));
            }
        }
    }

    /// Makes `owner`'s next deadline known.
    fn arm(&mut self, owner: Owner) {
        let (armed, due) = match owner {
            Owner::Client(id) => match self.clients.get_mut(&id) {
                Some(client) => {
                    let due = client.poll_timeout();
                    (std::mem::replace(&mut client.armed, due), due)
                }
                None => return,
            },
            Owner::Server(id) => match self.servers.get_mut(&id) {
                Some(server) => {
                    let due = server.poll_timeout();
                    (std::mem::replace(&mut server.armed, due), due)
                }
                None => return,
            },
        };
        if armed == due {
            return;
        }
        if let Some(armed) = armed {
            self.deadlines.remove(&(armed, owner));
        }
        if let Some(due) = due {
            self.deadlines.insert((due, owner));
        }
    }
}

/// The branch of the request's first Via.
fn branch(request: &Request) -> Option<String> {
    let via = request.headers.values(&HeaderName::Via).next()?;
    Via::parse(via)?.branch.map(str::to_owned)
}

fn server_key(request: &Request) -> ServerKey {
    let via = request.headers.values(&HeaderName::Via).next();
    let via = via.and_then(Via::parse);
    let method = match request.method {
        Method::Ack => Method::Invite,
        ref method => method.clone(),
    };
    let sent_by = via
        .as_ref()
        .map(|via| {
            format!(
                "{}:{}",
                via.host.to_ascii_lowercase(),
                via.port.unwrap_or(0)
            )
        })
        .unwrap_or_default();
    let branch = match via.and_then(|via| via.branch) {
        Some(branch) if branch.starts_with("z9hG4bK") && branch.len() > 7 => branch.to_owned(),
        _ => format!(
            "{} {} {}",
            request.headers.call_id(),
            request.headers.from_tag().unwrap_or_default(),
            request.cseq()
        ),
    };
    ServerKey {
        branch,
        sent_by,
        method,
    }
}
