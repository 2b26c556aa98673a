//! The bearer token of the admin window (RFC 6750 section 2.1), compared in constant time.

use std::fmt;
use std::sync::PoisonError;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::AdminContext;
use super::answer::Problem;
use crate::config::Secret;

/// The digest of the token, so that comparing tells nothing about its length either.
#[derive(Clone)]
pub(in super::super) struct AdminToken([u8; 32]);

impl AdminToken {
    pub(in super::super) fn new(token: &Secret) -> Self {
        Self(digest_of(token.expose().as_bytes()))
    }

    fn matches(&self, candidate: &[u8]) -> bool {
        verify_slices_are_equal(&self.0, &digest_of(candidate)).is_ok()
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Lets a request through that has the token.
pub(super) async fn require_token(
    State(context): State<AdminContext>,
    request: Request,
    next: Next,
) -> Response {
    let token = context
        .token
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    match check(token.as_ref(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check(token: Option<&AdminToken>, headers: &HeaderMap) -> Result<(), Problem> {
    let token = token.ok_or_else(Problem::no_token_configured)?;
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Problem::unauthorized(
            "one Authorization: Bearer header is needed",
        ));
    };
    let credentials = value.as_bytes().split_at_checked("Bearer ".len());
    match credentials {
        Some((scheme, candidate)) if scheme.eq_ignore_ascii_case(b"Bearer ") => {
            if token.matches(candidate) {
                Ok(())
            } else {
                Err(Problem::unauthorized("this is not the admin token"))
            }
        }
        _ => Err(Problem::unauthorized(
            "the Authorization scheme must be Bearer",
        )),
    }
}

fn digest_of(text: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    // SHA-256 has 32 bytes, so the two lengths are equal.
    bytes.copy_from_slice(digest(&SHA256, text).as_ref());
    bytes
}
