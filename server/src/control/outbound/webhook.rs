//! Tells a URL of an incoming call (`NOTIFY_AND_HANGUP`): one POST with JSON, tried once, bounded in time. Not here: signed and
//! durable webhooks.

use std::time::Duration;

use super::http::{Answer, Post};
use super::{Connector, Deadline, Endpoint, OutboundError};
use crate::control::state::IncomingWebhook;

/// The whole exchange.
const WITHIN: Duration = Duration::from_secs(5);

/// Tells `message`'s URL; how it went is logged.
pub async fn tell(connector: &Connector, message: &IncomingWebhook) {
    let (call_sid, tenant_id) = (message.call_sid, &message.tenant_id);
    match post(connector, message).await {
        Ok(answer) if answer.is_success() => {
            tracing::debug!(%call_sid, %tenant_id, "the incoming call's webhook was told");
        }
        Ok(Answer { status, .. }) => {
            tracing::warn!(%call_sid, %tenant_id, status, "the incoming call's webhook did not take it");
        }
        Err(error) => {
            tracing::warn!(%call_sid, %tenant_id, %error, "the incoming call's webhook was not told");
        }
    }
}

/// The operator wrote the URL: it may be anywhere, and without TLS.
async fn post(connector: &Connector, message: &IncomingWebhook) -> Result<Answer, OutboundError> {
    let endpoint = Endpoint::http(&message.url)?;
    let body = serde_json::to_vec(message)
        .map_err(|_| OutboundError::NotConfigured("the message can't be written as JSON"))?;
    let post = Post {
        endpoint: &endpoint,
        ca_file: None,
        authorization: None,
        content_type: "application/json",
        body,
    };
    post.send(connector, &Deadline::within(WITHIN)).await
}
