//! From a path to who is meant: `/signal/<vendor>/<tenant_id>[/...]`, `/healthz`, `/readyz`, the page. Pure.

use thiserror::Error;

use super::page::{self, Asset};
use crate::id::TenantId;

/// The closed set of adapters, as the path names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Vendor {
    Browser,
    LiveKit,
    Daily,
    Chime,
    Twilio,
    Vapi,
}

impl Vendor {
    /// The word in the path and in `[[tenants.routes]]`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::LiveKit => "livekit",
            Self::Daily => "daily",
            Self::Chime => "chime",
            Self::Twilio => "twilio",
            Self::Vapi => "vapi",
        }
    }

    fn from_path(word: &str) -> Option<Self> {
        [
            Self::Browser,
            Self::LiveKit,
            Self::Daily,
            Self::Chime,
            Self::Twilio,
            Self::Vapi,
        ]
        .into_iter()
        .find(|vendor| vendor.as_str() == word)
    }
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The process lives.
    Healthz,
    /// The process takes calls.
    Readyz,
    /// A file of the softphone page, if it is switched on.
    Page(&'static Asset),
    /// A signalling session.
    Signal {
        /// Which dialect.
        vendor: Vendor,
        /// Whose.
        tenant_id: TenantId,
        /// What follows the tenant, without the first slash.
        rest: String,
    },
}

/// A path that leads nowhere. The caller's fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RouteError {
    /// No such page.
    #[error("no such path; signalling is at /signal/<vendor>/<tenant_id>")]
    NoSuchPath,
    /// `/signal/<x>` with an unknown x.
    #[error(
        "no such vendor in the path; there are browser, livekit, daily, chime, twilio and vapi"
    )]
    NoSuchVendor,
    /// A tenant that can't be one.
    #[error("no valid tenant_id in the path: 1 to 64 characters of A-Z a-z 0-9 _ -")]
    BadTenant,
}

/// Reads `path` (without its query).
///
/// # Errors
/// [`RouteError`], to be answered with 404.
pub fn route(path: &str) -> Result<Route, RouteError> {
    match path {
        "/healthz" => return Ok(Route::Healthz),
        "/readyz" => return Ok(Route::Readyz),
        _ => {}
    }
    if let Some(asset) = page::asset(path) {
        return Ok(Route::Page(asset));
    }
    let rest = path
        .strip_prefix("/signal/")
        .ok_or(RouteError::NoSuchPath)?;
    let mut parts = rest.splitn(3, '/');
    let vendor = parts
        .next()
        .and_then(Vendor::from_path)
        .ok_or(RouteError::NoSuchVendor)?;
    let tenant_id = parts
        .next()
        .unwrap_or_default()
        .parse()
        .map_err(|_| RouteError::BadTenant)?;
    Ok(Route::Signal {
        vendor,
        tenant_id,
        rest: parts.next().unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn signalling_paths_name_vendor_and_tenant() {
        let Route::Signal {
            vendor,
            tenant_id,
            rest,
        } = route("/signal/livekit/acme/rtc/v1").unwrap()
        else {
            panic!("no signal route");
        };
        assert_eq!(
            (vendor, tenant_id.as_str(), rest.as_str()),
            (Vendor::LiveKit, "acme", "rtc/v1")
        );
    }

    #[test]
    fn wrong_paths_say_which_part_is_wrong() {
        assert_eq!(route("/nothing"), Err(RouteError::NoSuchPath));
        assert_eq!(route("/signal/zoom/acme"), Err(RouteError::NoSuchVendor));
        assert_eq!(route("/signal/browser"), Err(RouteError::BadTenant));
        assert_eq!(route("/signal/browser/"), Err(RouteError::BadTenant));
        assert_eq!(route("/signal/browser/a%2fb"), Err(RouteError::BadTenant));
        assert_eq!(
            route(&format!("/signal/browser/{}", "x".repeat(65))),
            Err(RouteError::BadTenant)
        );
    }
}
