//! `POST /v1/reload`: as SIGHUP, with the result as the answer.

use axum::Json;
use axum::extract::State;

use super::super::reload::Taken;
use super::AdminContext;
use super::answer::Problem;

/// `POST /v1/reload`
pub(super) async fn reload(State(context): State<AdminContext>) -> Result<Json<Taken>, Problem> {
    match context.reloading.reload().await {
        Ok(taken) => Ok(Json(taken)),
        Err(error) => Err(Problem::configuration(error.to_string())),
    }
}
