//! `[tenants.vapi]`: calls to a tenant's Vapi assistant, and relays that bring Vapi's framing to us.

use std::path::PathBuf;

use super::Secret;

/// Either of both, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VapiConfig {
    /// `bearer_token` or `bearer_token_file`: what a relay shows at `/signal/vapi/<tenant_id>`; none: none is let in.
    pub bearer_token: Option<Secret>,
    /// `api_key` or `api_key_file`: the tenant's private key, with which calls to Vapi are made; none: there are none.
    pub api_key: Option<Secret>,
    /// `api_url`, default `https://api.vapi.ai`: without a slash at its end.
    pub api_url: String,
    /// `assistant_id`: who is called; there where `api_key` is.
    pub assistant_id: Option<String>,
    /// `audio_format = "linear16" | "mulaw"`, default `"linear16"`.
    pub audio_format: VapiAudioFormat,
    /// `sample_rate_hz`: 8000 for `"mulaw"`; 8000, 16000 (default) or 24000 for `"linear16"`.
    pub sample_rate_hz: u32,
    /// `connect_timeout_ms`: for the request, and once more for the socket, default 5000.
    pub connect_timeout_ms: u32,
    /// `ca_file`: who signs the certificates of API and socket, besides the system's authorities.
    pub ca_file: Option<PathBuf>,
    /// `queue_ms_max`: how much of what the assistant says ahead of time is kept, default 60000.
    pub queue_ms_max: u32,
}

/// What a binary message on the transport socket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VapiAudioFormat {
    /// 16-bit little-endian samples.
    #[default]
    Linear16,
    /// G.711 mu-law, 8 kHz.
    Mulaw,
}

impl VapiAudioFormat {
    /// The rate where the file says none.
    pub const fn default_sample_rate_hz(self) -> u32 {
        match self {
            Self::Linear16 => 16_000,
            Self::Mulaw => 8_000,
        }
    }
}

impl VapiConfig {
    /// Default of `connect_timeout_ms`.
    pub const CONNECT_TIMEOUT_MS: u32 = 5_000;
    /// Default of `queue_ms_max`.
    pub const QUEUE_MS_MAX: u32 = 60_000;
    /// Default of `api_url`.
    pub const API_URL: &str = "https://api.vapi.ai";

    /// Every default; nobody is let in, nobody is called.
    pub fn with_defaults() -> Self {
        let audio_format = VapiAudioFormat::default();
        Self {
            bearer_token: None,
            api_key: None,
            api_url: Self::API_URL.to_owned(),
            assistant_id: None,
            audio_format,
            sample_rate_hz: audio_format.default_sample_rate_hz(),
            connect_timeout_ms: Self::CONNECT_TIMEOUT_MS,
            ca_file: None,
            queue_ms_max: Self::QUEUE_MS_MAX,
        }
    }
}
