//! An AI agent that is reached by WebSocket: what a trunk of kind "websocket" is, and whom a SIP trunk's `inbound_rule = 3` calls.

use std::path::PathBuf;
use std::time::Duration;

use super::Secret;

/// Where an AI agent is and what it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    /// `inbound_ai_websocket_url`: `wss`, or `ws` to loopback. Its host is one of the tenant's `outbound_hosts`.
    pub url: String,
    /// `agent_dialect = "twilio" | "pcm16"`, default `"twilio"`.
    pub dialect: AgentDialect,
    /// `agent_sample_rate_hz`: 8000 for `"twilio"`; 8000, 16000 (default) or 24000 for `"pcm16"`.
    pub sample_rate_hz: u32,
    /// `agent_connect_timeout_ms`: from the look-up of the host to the end of the upgrade, default 5000.
    pub connect_timeout_ms: u32,
    /// `agent_ca_file`: who signs the agent's certificate, besides the system's authorities.
    pub ca_file: Option<PathBuf>,
    /// `agent_queue_ms_max`: how much of what the agent says ahead of time is kept, default 60000.
    pub queue_ms_max: u32,
    /// `auto_barge_in` with its `barge_in_patience_ms`: speech of the caller for so long ends what the agent is saying. None, the
    /// default: only the agent's own `clear` does.
    pub barge_in: Option<Duration>,
    /// `agent_bearer_token` or `agent_bearer_token_file`: sent as `Authorization`.
    pub bearer_token: Option<Secret>,
}

/// What is spoken on the agent's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AgentDialect {
    /// Twilio Media Streams; the gateway is Twilio's side, so that existing bots work unchanged. Mu-law at 8 kHz.
    #[default]
    Twilio,
    /// Binary messages of 16-bit little-endian samples, and JSON for everything else.
    Pcm16,
}

impl AgentDialect {
    /// The rate where the file says none.
    pub const fn default_sample_rate_hz(self) -> u32 {
        match self {
            Self::Twilio => 8_000,
            Self::Pcm16 => 16_000,
        }
    }
}

impl AgentConfig {
    /// Default of `agent_connect_timeout_ms`.
    pub const CONNECT_TIMEOUT_MS: u32 = 5_000;
    /// Default of `agent_queue_ms_max`.
    pub const QUEUE_MS_MAX: u32 = 60_000;
    /// Default of `barge_in_patience_ms`.
    pub const BARGE_IN_PATIENCE_MS: u32 = 250;

    /// Every default, for an agent that speaks `dialect` at `url`.
    pub fn with_defaults(url: String, dialect: AgentDialect) -> Self {
        Self {
            url,
            dialect,
            sample_rate_hz: dialect.default_sample_rate_hz(),
            connect_timeout_ms: Self::CONNECT_TIMEOUT_MS,
            ca_file: None,
            queue_ms_max: Self::QUEUE_MS_MAX,
            barge_in: None,
            bearer_token: None,
        }
    }
}
