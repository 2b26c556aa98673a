//! Vapi's side of many calls: `POST /call` makes one, and its `websocketCallUrl` is where the gateway fetches the sound, 16-bit
//! samples at 16 kHz in binary messages, with Vapi's JSON beside them.
//!
//! What `@vapi-ai/server-sdk` asks for is there as well: the fields of a `Call`, `GET /call` and `GET /call/ID`. A request says
//! nothing about whose call it is, so whoever calls waits with the next call until this one was made ([`VapiService::made`]).

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::call::{CallClocks, CallNumber};
use super::far_end::FarEndCalls;
use super::http_service::{Request, ServiceConnection, ServiceTls};
use super::media::{Direction, EncodedSpeech, LegRecord, MediaThreads, StreamPlan, Wire};

/// How the service ends a call.
const ENDED: &str =
    r#"{"type":"status-update","status":"ended","endedReason":"assistant-ended-call"}"#;
const IN_PROGRESS: &str = r#"{"type":"status-update","status":"in-progress"}"#;
/// Of all calls: no clock is read for it.
const CREATED_AT: &str = "2026-01-01T00:00:00.000Z";
/// Calls that `GET /call` can tell of; the oldest go.
const CALLS_KEPT_MAX: usize = 10_000;

/// How calls are answered.
pub struct VapiServiceConfig {
    /// Where the gateway dials, for both.
    pub listener: std::net::TcpListener,
    /// None: plain `http` and `ws`.
    pub tls: Option<ServiceTls>,
    /// The name in its URLs.
    pub host: String,
    /// The private key that every request must have.
    pub api_key: String,
    /// Said over and over, from a moment behind the opening of the socket on.
    pub speech: Arc<EncodedSpeech>,
    /// Who sends and receives.
    pub media: Arc<MediaThreads>,
    /// So much of each call is kept for the judge.
    pub record: Duration,
}

/// A running service; lives on one thread.
#[derive(Clone)]
pub struct VapiService {
    shared: Rc<Shared>,
    local: SocketAddr,
}

struct Shared {
    config: VapiServiceConfig,
    url: String,
    calls: Rc<FarEndCalls>,
    state: RefCell<State>,
    made: Notify,
}

#[derive(Default)]
struct State {
    /// Calls of ours whose requests are still to come, in their order.
    awaited: VecDeque<CallNumber>,
    /// The calls that were made, by id; the number of one of ours.
    made: HashMap<String, (Value, Option<CallNumber>)>,
    order: VecDeque<String>,
}

impl VapiService {
    /// Listens from now on. Must be called within a `LocalSet`.
    ///
    /// # Errors
    /// The socket.
    pub fn start(config: VapiServiceConfig) -> io::Result<Self> {
        let listener = config.listener.try_clone()?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let local = listener.local_addr()?;
        let scheme = if config.tls.is_some() { "wss" } else { "ws" };
        let shared = Rc::new(Shared {
            url: format!("{scheme}://{}:{}", config.host, local.port()),
            config,
            calls: Rc::default(),
            state: RefCell::default(),
            made: Notify::new(),
        });
        tokio::task::spawn_local({
            let shared = Rc::clone(&shared);
            async move {
                loop {
                    if let Ok((tcp, _)) = listener.accept().await {
                        let shared = Rc::clone(&shared);
                        // Who says nothing sensible learns it from the end of the connection.
                        tokio::task::spawn_local(async move {
                            let _ = shared.serve(tcp).await;
                        });
                    }
                }
            }
        });
        Ok(Self { shared, local })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The next request that nobody awaits yet is this call's.
    pub fn expect(&self, number: CallNumber, clocks: CallClocks, phase: u8) {
        self.shared.calls.expect(number, clocks, phase);
        self.shared.state.borrow_mut().awaited.push_back(number);
    }

    /// Waits until the request of this call has come. Safe to drop at any time.
    pub async fn made(&self, number: CallNumber) {
        loop {
            let made = self.shared.made.notified();
            if !self.shared.state.borrow().awaited.contains(&number) {
                return;
            }
            made.await;
        }
    }

    /// Waits until the call has been ended by the gateway; what was heard. None: it never came, or was not ended in time; then it
    /// is ended here.
    pub async fn record_of(&self, number: CallNumber, within: Duration) -> Option<LegRecord> {
        self.shared.await_no_longer(number);
        self.shared.calls.record_of(number, within).await
    }
}

impl Shared {
    fn await_no_longer(&self, number: CallNumber) {
        let mut state = self.state.borrow_mut();
        state.awaited.retain(|awaited| *awaited != number);
    }

    async fn serve(&self, tcp: TcpStream) -> io::Result<()> {
        let tls = self.config.tls.as_ref();
        let mut connection = ServiceConnection::accept(tcp, tls).await?;
        while let Some(request) = connection.request().await? {
            if request.is_upgrade() {
                return self.transport(connection, &request).await;
            }
            let (status, body) = self.answer(&request);
            connection.respond(status, &body).await?;
        }
        Ok(())
    }

    fn answer(&self, request: &Request) -> (u16, Value) {
        let refusal = |status: u16, message: &str| {
            (status, json!({"statusCode": status, "message": message}))
        };
        let bearer = format!("Bearer {}", self.config.api_key);
        if request.header("Authorization") != Some(&bearer) {
            return refusal(401, "Invalid Key. Hot tip, you may be using the wrong key.");
        }
        let path = request.path.split('?').next().unwrap_or_default();
        match (request.method.as_str(), path) {
            ("POST", "/call") => match self.make_call(&request.body) {
                Ok(call) => (201, call),
                Err(message) => refusal(400, &message),
            },
            ("GET", "/call") => {
                let state = self.state.borrow();
                let calls = state.order.iter().filter_map(|id| state.made.get(id));
                (200, calls.map(|(call, _)| call.clone()).collect())
            }
            ("GET", path) => {
                let state = self.state.borrow();
                let id = path.strip_prefix("/call/").unwrap_or_default();
                match state.made.get(id) {
                    Some((call, _)) => (200, call.clone()),
                    None => refusal(404, "not found"),
                }
            }
            _ => refusal(404, "not found"),
        }
    }

    fn make_call(&self, body: &[u8]) -> Result<Value, String> {
        let body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let transport = &body["transport"];
        if transport["provider"] != "vapi.websocket" {
            return Err("transport.provider must be vapi.websocket".to_owned());
        }
        if ["phoneNumber", "phoneNumberId"]
            .iter()
            .any(|key| body.get(key).is_some())
        {
            return Err("phone numbers have no place beside a WebSocket transport".to_owned());
        }
        if body["assistantId"].is_null() && body["assistant"].is_null() {
            return Err("assistantId or assistant must be there".to_owned());
        }
        let format = &transport["audioFormat"];
        let wanted = json!({"format": "pcm_s16le", "container": "raw", "sampleRate": 16_000});
        if !format.is_null() && *format != wanted {
            return Err(format!("this service speaks {wanted} only"));
        }
        let id = uuid();
        let call = json!({
            "id": id,
            "orgId": "eb166faa-7145-46ef-8044-589b47ae3b56",
            "createdAt": CREATED_AT,
            "updatedAt": CREATED_AT,
            "type": "vapi.websocketCall",
            "status": "queued",
            "assistantId": body["assistantId"],
            "transport": {
                "provider": "vapi.websocket",
                "websocketCallUrl": format!("{}/{id}/transport", self.url),
            },
        });
        let mut state = self.state.borrow_mut();
        let number = state.awaited.pop_front();
        if state.order.len() >= CALLS_KEPT_MAX
            && let Some(oldest) = state.order.pop_front()
        {
            state.made.remove(&oldest);
        }
        state.order.push_back(id.clone());
        state.made.insert(id, (call.clone(), number));
        drop(state);
        self.made.notify_waiters();
        Ok(call)
    }

    /// The socket behind `websocketCallUrl`: who knows the URL is let in, once.
    async fn transport(
        &self,
        mut connection: ServiceConnection,
        request: &Request,
    ) -> io::Result<()> {
        let id = request
            .path
            .strip_prefix('/')
            .and_then(|path| path.strip_suffix("/transport"));
        let number = {
            let mut state = self.state.borrow_mut();
            let made = id.and_then(|id| state.made.get_mut(id));
            made.and_then(|(call, number)| {
                call["status"] = json!("in-progress");
                number.take()
            })
        };
        let Some((number, (clocks, phase))) =
            number.and_then(|number| Some((number, self.calls.take(number)?)))
        else {
            let refusal = json!({"statusCode": 404, "message": "no call waits here"});
            return connection.respond(404, &refusal).await;
        };
        let mut socket = connection.upgrade(request).await?;
        socket.send_text(IN_PROGRESS).map_err(io::Error::other)?;
        let leg = self.config.media.open_stream(StreamPlan {
            socket,
            wire: Wire::Binary {
                goodbye: ENDED.to_owned(),
                their_goodbye: "end-call",
            },
            direction: Direction::AToB,
            frames: Arc::clone(&self.config.speech),
            phase,
            clock: clocks.vendor,
            heard_clock: clocks.trunk,
            record: self.config.record,
        });
        self.calls.run(number, leg.map_err(io::Error::other)?);
        Ok(())
    }
}

/// Random, in the shape of version 4 (RFC 9562).
fn uuid() -> String {
    let (high, low) = (crate::random_u64(), crate::random_u64());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | (low >> 48) & 0x3fff,
        low & 0xffff_ffff_ffff
    )
}
