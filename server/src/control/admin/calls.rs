//! Live calls and recent records, and the operator's hang-up.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::super::archive::RECORDS_MAX;
use super::super::desk::LiveCall;
use super::super::thread::lock;
use super::AdminContext;
use super::answer::Problem;
use crate::call::CallRecord;
use crate::call::q850::Q850Cause;
use crate::fault::Fault;
use crate::id::{CallSid, TenantId};

/// Calls in one answer when `limit` says nothing.
const LIMIT_DEFAULT: usize = 1000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    tenant_id: Option<TenantId>,
    #[serde(default)]
    ended: bool,
    limit: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Listed<T> {
    calls: Vec<T>,
    /// How many there are, shown or not.
    total: usize,
}

#[derive(Debug, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
enum Shown<'a> {
    Live { call: &'a LiveCall },
    Ended { record: &'a CallRecord },
}

#[derive(Debug, Serialize)]
struct Ending {
    call_sid: CallSid,
    state: &'static str,
}

/// `GET /v1/calls`
pub(super) async fn list(
    State(context): State<AdminContext>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT).min(RECORDS_MAX);
    let wanted = |tenant_id: &TenantId| {
        query
            .tenant_id
            .as_ref()
            .is_none_or(|wanted| wanted == tenant_id)
    };
    let state = lock(&context.state);
    if query.ended {
        let records = state
            .archive()
            .latest_first()
            .map(Arc::as_ref)
            .filter(|record| wanted(&record.event.tenant_id));
        return Ok(Json(listed(records, limit)).into_response());
    }
    let calls = state
        .desk()
        .live_calls()
        .filter(|call| wanted(&call.tenant_id));
    Ok(Json(listed(calls, limit)).into_response())
}

/// `GET /v1/calls/{call_sid}`
pub(super) async fn show(
    State(context): State<AdminContext>,
    call_sid: Result<Path<CallSid>, PathRejection>,
) -> Result<Response, Problem> {
    let call_sid = call_sid_of(call_sid)?;
    let state = lock(&context.state);
    let shown = if let Some(call) = state.desk().live_call(call_sid) {
        Shown::Live { call }
    } else if let Some(record) = state.archive().record(call_sid) {
        Shown::Ended { record }
    } else {
        return Err(Problem::not_found(format!(
            "{call_sid} is neither live nor among the last {RECORDS_MAX} calls"
        )));
    };
    Ok(Json(shown).into_response())
}

/// `DELETE /v1/calls/{call_sid}`
pub(super) async fn end(
    State(context): State<AdminContext>,
    call_sid: Result<Path<CallSid>, PathRejection>,
) -> Result<Response, Problem> {
    let call_sid = call_sid_of(call_sid)?;
    lock(&context.state)
        .end_call(call_sid, Q850Cause::NORMAL, Fault::Us)
        .map_err(|no_such_call| Problem::not_found(no_such_call.to_string()))?;
    let ending = Ending {
        call_sid,
        state: "ending",
    };
    Ok((StatusCode::ACCEPTED, Json(ending)).into_response())
}

pub(super) fn call_sid_of(path: Result<Path<CallSid>, PathRejection>) -> Result<CallSid, Problem> {
    match path {
        Ok(Path(call_sid)) => Ok(call_sid),
        Err(rejection) => Err(Problem::malformed(rejection.body_text())),
    }
}

fn listed<T>(calls: impl Iterator<Item = T>, limit: usize) -> Listed<T> {
    let mut listed = Listed {
        calls: Vec::new(),
        total: 0,
    };
    for call in calls {
        listed.total += 1;
        if listed.calls.len() < limit {
            listed.calls.push(call);
        }
    }
    listed
}
