//! `POST /v1/calls/{call_sid}/transfer`: sends a live call's far end elsewhere by SIP REFER, blind (`{"to": "+15550100"}`) or
//! to the far end of another live call (`{"call_sid": "CS..."}`, attended).

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::super::thread::{lock, now};
use super::AdminContext;
use super::answer::Problem;
use super::calls::call_sid_of;
use crate::id::CallSid;
use crate::trunk::sip::agent::TransferTarget;

/// Where to; one of both.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    /// A number or a SIP URI.
    to: Option<String>,
    /// Another live call: both far ends talk to each other then.
    call_sid: Option<CallSid>,
}

#[derive(Debug, Serialize)]
struct Asked {
    call_sid: CallSid,
    state: &'static str,
}

/// 202: the far end was asked; the call's end, or its going on, tells how it went.
pub(super) async fn transfer(
    State(context): State<AdminContext>,
    call_sid: Result<Path<CallSid>, PathRejection>,
    order: Result<Json<Order>, JsonRejection>,
) -> Result<Response, Problem> {
    let call_sid = call_sid_of(call_sid)?;
    let Json(order) = order.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
    let target = match (order.to, order.call_sid) {
        (Some(to), None) => TransferTarget::Number(to),
        (None, Some(other)) => TransferTarget::Call(other),
        _ => {
            return Err(Problem::malformed(
                "one of \"to\" and \"call_sid\" is wanted",
            ));
        }
    };
    let mut state = lock(&context.state);
    if state.desk().live_call(call_sid).is_none() {
        return Err(Problem::not_found(format!("no live call {call_sid}")));
    }
    state
        .transfer(now(), call_sid, &target)
        .map_err(Problem::malformed)?;
    let asked = Asked {
        call_sid,
        state: "transferring",
    };
    Ok((StatusCode::ACCEPTED, Json(asked)).into_response())
}
