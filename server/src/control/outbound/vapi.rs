//! A call to a tenant's Vapi assistant: `POST /call` makes it, and names the WebSocket that carries it, which we dial.
//!
//! The URL of that socket is its only credential, so it is shown nowhere, and neither is the id of the call, which is a part of it;
//! its host is one of the tenant's `outbound_hosts` like any other. A call that is made goes on, and is paid for, whether its
//! socket is used or not: whoever does not use it ends it at its control URL.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shards::tick_stream::LiveStream;

use super::http::{self, Post};
use super::websocket::Dial;
use super::{Connector, Deadline, Endpoint, OutboundError, allow};
use crate::call::dialled::VapiControl;
use crate::config::{Secret, TenantConfig, VapiAudioFormat, VapiConfig};
use crate::id::CallSid;

/// The whole exchange of a hang-up.
const HANG_UP_WITHIN: Duration = Duration::from_secs(5);

/// Who calls whom.
#[derive(Debug, Clone)]
pub struct VapiCall {
    /// The call.
    pub call_sid: CallSid,
    /// Who calls.
    pub from: String,
    /// The number that was called.
    pub to: String,
}

/// A call that Vapi has made.
#[derive(Debug)]
pub struct Created {
    /// Its socket.
    url: Option<Secret>,
    /// How it is ended, with its socket or without.
    pub control: VapiControl,
}

/// Dials the socket of a call that was made.
///
/// # Errors
/// The step that failed.
pub async fn connect(
    connector: &Connector,
    tenant: &TenantConfig,
    created: &Created,
) -> Result<LiveStream, OutboundError> {
    let vapi = configured(tenant)?;
    let url = created.url.as_ref().ok_or(OutboundError::Malformed {
        host: "Vapi".to_owned(),
        reason: "the call has no transport.websocketCallUrl".to_owned(),
    })?;
    let dial = Dial {
        url: url.expose(),
        bearer_token: None,
        ca_file: vapi.ca_file.as_deref(),
        within: connect_timeout(vapi),
    };
    dial.connect(connector, tenant)
        .await
        .map_err(|error| OutboundError::NamedSocket(Box::new(error)))
}

/// Ends a call whose socket nobody uses, at its control URL.
///
/// # Errors
/// The step that failed.
pub async fn hang_up(
    connector: &Connector,
    tenant: &TenantConfig,
    control_url: &Secret,
) -> Result<(), OutboundError> {
    let endpoint = Endpoint::http(control_url.expose())?;
    allow(tenant, &endpoint)?;
    let vapi = configured(tenant)?;
    let post = Post {
        endpoint: &endpoint,
        ca_file: vapi.ca_file.as_deref(),
        // Who knows the URL may use it: our key is for the API alone, whoever's host Vapi names.
        authorization: None,
        content_type: "application/json",
        body: br#"{"type":"end-call"}"#.to_vec(),
    };
    let answer = post
        .send(connector, &Deadline::within(HANG_UP_WITHIN))
        .await?;
    match answer.is_success() {
        true => Ok(()),
        // What it says about it may name the call.
        false => Err(OutboundError::Status {
            host: endpoint.shown(),
            status: answer.status,
            detail: String::new(),
        }),
    }
}

fn configured(tenant: &TenantConfig) -> Result<&VapiConfig, OutboundError> {
    let missing = OutboundError::NotConfigured("[tenants.vapi] is missing");
    tenant.vapi.as_ref().ok_or(missing)
}

fn connect_timeout(vapi: &VapiConfig) -> Duration {
    Duration::from_millis(vapi.connect_timeout_ms.into())
}

/// Makes the call.
///
/// # Errors
/// The step that failed; there is no call then, or none that anybody could name.
pub async fn create(
    connector: &Connector,
    tenant: &TenantConfig,
    call: &VapiCall,
) -> Result<Created, OutboundError> {
    let vapi = configured(tenant)?;
    let missing = OutboundError::NotConfigured;
    let api_key = vapi
        .api_key
        .as_ref()
        .ok_or(missing("[tenants.vapi] has no api_key"))?;
    let assistant_id = vapi
        .assistant_id
        .as_deref()
        .ok_or(missing("[tenants.vapi] has no assistant_id"))?;
    let endpoint = Endpoint::http(&format!("{}/call", vapi.api_url))?;
    allow(tenant, &endpoint)?;
    let authorization = http::bearer(api_key.expose())
        .ok_or(missing("the api_key of [tenants.vapi] is no bearer token"))?;
    let body = serde_json::to_vec(&CreateCall::new(assistant_id, vapi, call))
        .map_err(|_| missing("the request can't be written as JSON"))?;
    let post = Post {
        endpoint: &endpoint,
        ca_file: vapi.ca_file.as_deref(),
        authorization: Some(authorization),
        content_type: "application/json",
        body,
    };
    let deadline = Deadline::within(connect_timeout(vapi));
    let answer = post.send(connector, &deadline).await?;
    if !answer.is_success() {
        return Err(answer.refusal(&endpoint, api_key.expose()));
    }
    let made: Answered = serde_json::from_slice(&answer.body).map_err(|_| {
        let reason = "it is no JSON object of a call".to_owned();
        let host = endpoint.shown();
        OutboundError::Malformed { host, reason }
    })?;
    let secret = |text: String| Secret::new(&text);
    let control_url = made.monitor.and_then(|monitor| monitor.control_url);
    Ok(Created {
        url: (made.transport)
            .and_then(|transport| transport.websocket_call_url)
            .map(secret),
        control: control_url
            .map(secret)
            .map_or(VapiControl::Unnamed, VapiControl::Url),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateCall<'a> {
    assistant_id: &'a str,
    assistant_overrides: AssistantOverrides<'a>,
    transport: Transport,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AssistantOverrides<'a> {
    variable_values: VariableValues<'a>,
}

/// What the assistant's prompts may name as `{{from}}` and so on.
#[derive(Serialize)]
struct VariableValues<'a> {
    call_sid: CallSid,
    from: &'a str,
    to: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Transport {
    provider: &'static str,
    audio_format: AudioFormat,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AudioFormat {
    format: &'static str,
    container: &'static str,
    sample_rate: u32,
}

impl<'a> CreateCall<'a> {
    fn new(assistant_id: &'a str, vapi: &VapiConfig, call: &'a VapiCall) -> Self {
        let format = match vapi.audio_format {
            VapiAudioFormat::Linear16 => "pcm_s16le",
            VapiAudioFormat::Mulaw => "mulaw",
        };
        Self {
            assistant_id,
            assistant_overrides: AssistantOverrides {
                variable_values: VariableValues {
                    call_sid: call.call_sid,
                    from: &call.from,
                    to: &call.to,
                },
            },
            transport: Transport {
                provider: "vapi.websocket",
                audio_format: AudioFormat {
                    format,
                    container: "raw",
                    sample_rate: vapi.sample_rate_hz,
                },
            },
        }
    }
}

#[derive(Deserialize)]
struct Answered {
    transport: Option<AnsweredTransport>,
    monitor: Option<Monitor>,
}

#[derive(Deserialize)]
struct AnsweredTransport {
    #[serde(rename = "websocketCallUrl")]
    websocket_call_url: Option<String>,
}

#[derive(Deserialize)]
struct Monitor {
    #[serde(rename = "controlUrl")]
    control_url: Option<String>,
}
