//! The admin window: metrics, live and recent calls, and the event stream, over HTTP with one bearer token.
//!
//! Contracts section 8. It shows, hangs up and has the files read again. In test builds `faults` breaks things on purpose. Every answer but the metrics and the stream
//! is JSON, every refusal `{code, message, fault}`.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /metrics` | Prometheus text |
//! | `GET /v1/calls` `?tenant_id= &ended=true &limit=` | live calls, or the records of recent ones, latest first |
//! | `GET /v1/calls/{call_sid}` | the live call, or its record |
//! | `DELETE /v1/calls/{call_sid}` | 202: its shard was told to end it |
//! | `POST /v1/calls/{call_sid}/transfer` `{"to"}` or `{"call_sid"}` | 202: its SIP far end was asked to call somebody else |
//! | `POST /v1/reload` | what was taken of both files, or 422 with all that is wrong in them |
//! | `GET /v1/events` `?tenant_id=` | Server-Sent Events, one CallEvent each |

mod access;
mod answer;
mod calls;
mod connections;
mod events;
#[cfg(debug_assertions)]
mod faults;
mod reload;
mod transfer;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};

pub use connections::{AdminListener, CONNECTIONS_MAX};

pub(super) use access::AdminToken;
pub(super) use connections::AdminServer;

use super::links::LinkMetrics;
use super::metrics::{ControlFigures, HostFigures, ShardSource, Sources};
use super::reload::{Reloading, SharedToken};
use super::state::ControlState;
use super::thread::lock;
use crate::metrics::{ProcessState, ShardMetrics};
use answer::Problem;

/// What the handlers work with; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct AdminContext {
    state: Arc<Mutex<ControlState>>,
    shards: Arc<[(Arc<ShardMetrics>, Arc<LinkMetrics>)]>,
    process: Arc<ProcessState>,
    token: SharedToken,
    reloading: Arc<Reloading>,
    connections: Arc<AtomicUsize>,
}

impl AdminContext {
    /// Without a `token` every request is refused.
    pub(super) fn new(
        state: Arc<Mutex<ControlState>>,
        shards: Vec<(Arc<ShardMetrics>, Arc<LinkMetrics>)>,
        process: Arc<ProcessState>,
        token: SharedToken,
        reloading: Arc<Reloading>,
    ) -> Self {
        Self {
            state,
            shards: shards.into(),
            process,
            token,
            reloading,
            connections: Arc::default(),
        }
    }
}

fn router(context: AdminContext) -> Router {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/v1/calls", get(calls::list))
        .route("/v1/calls/{call_sid}", get(calls::show).delete(calls::end))
        .route("/v1/calls/{call_sid}/transfer", post(transfer::transfer))
        .route("/v1/events", get(events::stream))
        .route("/v1/reload", post(reload::reload));
    #[cfg(debug_assertions)]
    let router = router.route("/v1/faults", post(faults::inject));
    router
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .fallback(async || Problem::not_found("there is no such path in the admin window"))
        // Outermost, so that a stranger learns not even which paths exist.
        .layer(middleware::from_fn_with_state(
            context.clone(),
            access::require_token,
        ))
        .with_state(context)
}

async fn metrics(State(context): State<AdminContext>) -> Response {
    let control = {
        let mut state = lock(&context.state);
        ControlFigures::of(&mut state)
    };
    let shards: Vec<ShardSource<'_>> = context
        .shards
        .iter()
        .map(|(metrics, link)| ShardSource { metrics, link })
        .collect();
    let text = super::metrics::render(&Sources {
        shards: &shards,
        process: &context.process,
        control: &control,
        admin_connections: connections::open(&context.connections),
        host: &HostFigures::read(),
    });
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, content_type)], text).into_response()
}

#[cfg(test)]
mod tests;
