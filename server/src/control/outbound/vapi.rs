//! A call to a tenant's Vapi assistant: `POST /call` makes it, and names the WebSocket that carries it, which we dial.
//!
//! The URL of that socket is its only credential, so it is shown nowhere; its host is one of the tenant's `outbound_hosts` like
//! any other. A call that is made and whose socket is not dialled is ended by Vapi itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shards::tick_stream::LiveStream;

use super::http::{self, Post};
use super::websocket::Dial;
use super::{Connector, Deadline, Endpoint, OutboundError, allow};
use crate::config::{TenantConfig, VapiAudioFormat, VapiConfig};
use crate::id::CallSid;

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

/// Makes the call and dials its socket.
///
/// # Errors
/// The step that failed.
pub async fn dial(
    connector: &Connector,
    tenant: &TenantConfig,
    call: &VapiCall,
) -> Result<LiveStream, OutboundError> {
    let vapi = tenant
        .vapi
        .as_ref()
        .ok_or(OutboundError::NotConfigured("[tenants.vapi] is missing"))?;
    let url = create(connector, tenant, vapi, call).await?;
    Dial {
        url: &url,
        bearer_token: None,
        ca_file: vapi.ca_file.as_deref(),
        within: connect_timeout(vapi),
    }
    .connect(connector, tenant)
    .await
    .map_err(|error| OutboundError::NamedSocket(Box::new(error)))
}

fn connect_timeout(vapi: &VapiConfig) -> Duration {
    Duration::from_millis(vapi.connect_timeout_ms.into())
}

/// Makes the call; answers with the URL of its socket.
async fn create(
    connector: &Connector,
    tenant: &TenantConfig,
    vapi: &VapiConfig,
    call: &VapiCall,
) -> Result<String, OutboundError> {
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
    let created: Option<Created> = serde_json::from_slice(&answer.body).ok();
    created
        .and_then(|created| created.transport?.websocket_call_url)
        .ok_or_else(|| OutboundError::Malformed {
            host: endpoint.shown(),
            reason: "the call has no transport.websocketCallUrl".to_owned(),
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
struct Created {
    transport: Option<CreatedTransport>,
}

#[derive(Deserialize)]
struct CreatedTransport {
    #[serde(rename = "websocketCallUrl")]
    websocket_call_url: Option<String>,
}
