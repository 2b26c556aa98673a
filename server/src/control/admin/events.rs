//! The event stream as Server-Sent Events (WHATWG HTML section 9.2): `id:` and `data:` per CallEvent.
//!
//! It begins with a comment, so that a reader knows from where on it misses nothing, and a comment every 15 s keeps
//! idle connections open. A reader that falls behind gets `event: error` as its last.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_lite::stream::{self, StreamExt};
use serde::Deserialize;

use super::super::events::{Next, Subscription};
use super::super::thread::lock;
use super::AdminContext;
use super::answer::Problem;
use crate::id::TenantId;

const KEEP_ALIVE_PERIOD: Duration = Duration::from_secs(15);

const TOO_SLOW: &str = r#"{"code":"too_slow","message":"events are missing from here on: read faster","fault":"caller"}"#;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    tenant_id: Option<TenantId>,
}

/// `GET /v1/events`
pub(super) async fn stream(
    State(context): State<AdminContext>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
    let subscription = lock(&context.state)
        .events()
        .subscribe(query.tenant_id)
        .map_err(|full| Problem::limit(full.to_string()))?;
    let first = stream::once(Event::default().comment("subscribed"));
    let events = first.chain(stream::unfold(Some(subscription), next_event));
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE_PERIOD);
    let infallible = events.map(Ok::<_, Infallible>);
    Ok(Sse::new(infallible).keep_alive(keep_alive).into_response())
}

async fn next_event(subscription: Option<Subscription>) -> Option<(Event, Option<Subscription>)> {
    let mut subscription = subscription?;
    match subscription.next().await {
        Next::Event(delivery) => {
            let event = Event::default()
                .id(delivery.id.to_string())
                .data(&*delivery.json);
            Some((event, Some(subscription)))
        }
        Next::TooSlow => Some((Event::default().event("error").data(TOO_SLOW), None)),
        Next::Closed => None,
    }
}
