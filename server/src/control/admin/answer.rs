//! Refusals of the admin window: `{code, message, fault}` with the HTTP status that fits.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::fault::Fault;

/// A request that got a "no".
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    code: &'static str,
    message: String,
    fault: Fault,
    #[serde(skip)]
    status: StatusCode,
}

impl Problem {
    fn new(
        status: StatusCode,
        code: &'static str,
        fault: Fault,
        message: impl Into<String>,
    ) -> Self {
        Self {
            code,
            message: message.into(),
            fault,
            status,
        }
    }

    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", Fault::Caller, message)
    }

    pub(super) fn unauthorized(message: &'static str) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "token_invalid",
            Fault::Caller,
            message,
        )
    }

    pub(super) fn no_token_configured() -> Self {
        let message = "the admin window is closed: [admin] has no token_file";
        Self::new(
            StatusCode::FORBIDDEN,
            "not_configured",
            Fault::Config,
            message,
        )
    }

    pub(super) fn configuration(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "config_refused",
            Fault::Config,
            message,
        )
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", Fault::Caller, message)
    }

    pub(super) fn method_not_allowed() -> Self {
        let message = "this path has other methods; see the Allow header";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            Fault::Caller,
            message,
        )
    }

    pub(super) fn limit(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "limit",
            Fault::Caller,
            message,
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, Json(self)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
