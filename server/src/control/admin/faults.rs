//! In test builds alone: an order for a fault. A panic on one shard, one that has more to do than its calls, or a control
//! thread that stands still.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use shards::ShardIndex;

use super::super::thread::lock;
use super::AdminContext;
use super::answer::Problem;
use crate::id::CallSid;
use crate::injection::{Burden, PanicOrder, Place};

/// The longest stall, so that a mistake does not cost a test machine its gateway.
const STALL_MS_MAX: u64 = 60_000;
/// The heaviest burden of one tick, for the same reason.
const BURDEN_US_MAX: u64 = 100_000;
/// The answer leaves before the thread stands still.
const STALL_AFTER: Duration = Duration::from_millis(20);

#[derive(Debug, Deserialize)]
#[serde(tag = "fault", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Order {
    /// On the shard of the call, or on `shard`.
    Panic {
        at: Place,
        shard: Option<u16>,
        call_sid: Option<CallSid>,
    },
    Stall {
        at: Stalled,
        ms: u64,
    },
    /// At every tick of the shard, from now on.
    Burden {
        shard: u16,
        #[serde(default)]
        busy_us: u64,
        #[serde(default)]
        held_up_us: u64,
    },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Stalled {
    Control,
}

fn known_shard(context: &AdminContext, shard: u16) -> Result<ShardIndex, Problem> {
    if usize::from(shard) >= context.shards.len() {
        return Err(Problem::not_found(format!("there is no {shard}")));
    }
    Ok(ShardIndex(shard))
}

/// `POST /v1/faults`
pub(super) async fn inject(
    State(context): State<AdminContext>,
    order: Result<Json<Order>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let Json(order) = order.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
    match order {
        Order::Panic {
            at,
            shard,
            call_sid,
        } => {
            let shard = match (call_sid, shard) {
                (Some(call_sid), _) => call_sid.shard().0,
                (None, Some(shard)) => shard,
                (None, None) => return Err(Problem::malformed("shard or call_sid is missing")),
            };
            let shard = known_shard(&context, shard)?;
            lock(&context.state).inject(shard, PanicOrder { at, call_sid });
        }
        Order::Burden {
            shard,
            busy_us,
            held_up_us,
        } => {
            let shard = known_shard(&context, shard)?;
            let burden = Burden {
                busy: Duration::from_micros(busy_us.min(BURDEN_US_MAX)),
                held_up: Duration::from_micros(held_up_us.min(BURDEN_US_MAX)),
            };
            lock(&context.state).burden(shard, burden);
        }
        Order::Stall {
            at: Stalled::Control,
            ms,
        } => {
            let stall = Duration::from_millis(ms.min(STALL_MS_MAX));
            tokio::spawn(async move {
                tokio::time::sleep(STALL_AFTER).await;
                tracing::warn!(?stall, "the control thread stands still, as ordered");
                // Not tokio's: nothing else may run on this thread meanwhile.
                std::thread::sleep(stall);
            });
        }
    }
    Ok((StatusCode::ACCEPTED, Json(json!({"state": "ordered"}))))
}
