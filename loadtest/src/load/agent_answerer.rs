//! The AI agents of many calls: a bot that the gateway dials by WebSocket, which speaks from the first moment on and listens.
//!
//! In two dialects: Twilio Media Streams as a bot of theirs sees it, and binary 16-bit samples at 16 kHz with JSON beside them. The
//! called number in the start message says which call it is.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

use super::call::{CallClocks, CallNumber};
use super::far_end::{FarEndCalls, number_of};
use super::http_service::{ServiceConnection, ServiceTls};
use super::media::{
    BotStream, Direction, EncodedSpeech, LegRecord, MediaThreads, StreamPlan, StreamSocket, Wire,
    read_connected,
};

/// From the TCP connection to the start message.
const START_WITHIN: Duration = Duration::from_secs(10);
/// How an agent of the second dialect ends a call.
const HANG_UP: &str = r#"{"type":"hangup"}"#;

/// What is spoken on an agent's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentDialect {
    /// Twilio Media Streams, mu-law.
    Twilio,
    /// 16-bit little-endian samples at 16 kHz.
    Pcm16,
}

impl AgentDialect {
    /// `agent_dialect` of the trunk.
    pub fn name(self) -> &'static str {
        match self {
            Self::Twilio => "twilio",
            Self::Pcm16 => "pcm16",
        }
    }
}

/// How calls are answered.
pub struct AgentConfig {
    /// Where the gateway dials.
    pub listener: std::net::TcpListener,
    /// None: plain `ws`.
    pub tls: Option<ServiceTls>,
    /// What is spoken.
    pub dialect: AgentDialect,
    /// Said over and over from the start on.
    pub speech: Arc<EncodedSpeech>,
    /// Who sends and receives.
    pub media: Arc<MediaThreads>,
    /// So much of each call is kept for the judge.
    pub record: Duration,
}

/// A running agent; lives on one thread.
#[derive(Clone)]
pub struct AgentAnswerer {
    calls: Rc<FarEndCalls>,
    local: SocketAddr,
}

struct Shared {
    tls: Option<ServiceTls>,
    dialect: AgentDialect,
    speech: Arc<EncodedSpeech>,
    media: Arc<MediaThreads>,
    record: Duration,
    calls: Rc<FarEndCalls>,
}

impl AgentAnswerer {
    /// Listens from now on. Must be called within a `LocalSet`.
    ///
    /// # Errors
    /// The socket.
    pub fn start(config: AgentConfig) -> io::Result<Self> {
        config.listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(config.listener)?;
        let local = listener.local_addr()?;
        let calls = Rc::new(FarEndCalls::default());
        let shared = Rc::new(Shared {
            tls: config.tls,
            dialect: config.dialect,
            speech: config.speech,
            media: config.media,
            record: config.record,
            calls: Rc::clone(&calls),
        });
        tokio::task::spawn_local(async move {
            loop {
                if let Ok((tcp, _)) = listener.accept().await {
                    let shared = Rc::clone(&shared);
                    tokio::task::spawn_local(async move {
                        // Who says nothing sensible is no call, and the gateway learns it from the end of the connection.
                        let _ = tokio::time::timeout(START_WITHIN, shared.answer(tcp)).await;
                    });
                }
            }
        });
        Ok(Self { calls, local })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// A call with this number will come.
    pub fn expect(&self, number: CallNumber, clocks: CallClocks, phase: u8) {
        self.calls.expect(number, clocks, phase);
    }

    /// Waits until the call has been ended by the gateway; what was heard. None: it never came, or was not ended in time; then it
    /// is ended here.
    pub async fn record_of(&self, number: CallNumber, within: Duration) -> Option<LegRecord> {
        self.calls.record_of(number, within).await
    }
}

impl Shared {
    async fn answer(&self, tcp: TcpStream) -> Option<()> {
        let mut connection = ServiceConnection::accept(tcp, self.tls.as_ref())
            .await
            .ok()?;
        let request = connection.request().await.ok()??;
        if !request.is_upgrade() {
            let refusal = serde_json::json!({"message": "this is a WebSocket"});
            return connection.respond(400, &refusal).await.ok();
        }
        let mut socket = connection.upgrade(&request).await.ok()?;
        let (number, wire) = self.start_of(&mut socket).await?;
        let (clocks, phase) = self.calls.take(number)?;
        let leg = self.media.open_stream(StreamPlan {
            socket,
            wire,
            direction: Direction::BToA,
            frames: Arc::clone(&self.speech),
            phase,
            clock: clocks.trunk,
            heard_clock: clocks.vendor,
            record: self.record,
        });
        self.calls.run(number, leg.ok()?);
        Some(())
    }

    /// Which call it is, and how it is spoken to.
    async fn start_of(&self, socket: &mut StreamSocket) -> Option<(CallNumber, Wire)> {
        let first = socket.next_text().await.ok()?;
        match self.dialect {
            AgentDialect::Twilio => {
                read_connected(&first).ok()?;
                let start = socket.next_text().await.ok()?;
                let (stream, parameters) = BotStream::read_start(&start).ok()?;
                Some((number_of(parameters.get("to")?)?, Wire::TwilioBot(stream)))
            }
            AgentDialect::Pcm16 => {
                let start: Value = serde_json::from_str(&first).ok()?;
                let number = (start["type"] == "start").then(|| start["to"].as_str())??;
                let wire = Wire::Binary {
                    goodbye: HANG_UP.to_owned(),
                    their_goodbye: "stop",
                };
                Some((number_of(number)?, wire))
            }
        }
    }
}
