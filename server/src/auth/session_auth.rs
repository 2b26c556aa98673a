//! SessionAuth: the signed token (JWT, RFC 7519) with which a page opens a browser session.
//!
//! Two issuers, one verifier: the tenant's keys by `kid`, and the gateway's own key ([`GatewayKey`]). A token is
//! checked once, when the session opens; a live call outlives it. What this file does not do: it keeps no list of
//! used tokens ([`SessionGrant::token_id`] is what the desk remembers) and reads no clock.

use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::gateway_key::{GATEWAY_KID_PREFIX, GatewayKey};
use crate::config::TenantKey;
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::id::TenantId;

/// `aud` of every SessionAuth token.
pub const AUDIENCE: &str = "clutchcall-gateway";
/// `iss` of the tokens that the gateway signs itself; no tenant's token may claim it.
pub const GATEWAY_ISSUER: &str = "clutchcall-gateway";
/// The scope that allows a dial.
pub const SCOPE_DIAL: &str = "call.dial";
/// The longest time from `iat` to `exp`, in seconds.
pub const LIFETIME_S_MAX: u64 = 300;
/// How far the clocks of issuer and gateway may be apart, in seconds.
pub const LEEWAY_S: u64 = 5;
/// The longest token, in bytes.
pub const TOKEN_LEN_MAX: usize = 8 * 1024;
/// The longest `jti`, in bytes: the desk keeps it until the token expires.
pub const JTI_LEN_MAX: usize = 128;
/// The longest `iss` and `sub`, in bytes.
pub const NAME_LEN_MAX: usize = 256;
/// The most scopes in one token.
pub const SCOPES_MAX: usize = 32;

/// What a valid token allows its bearer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionGrant {
    /// `sub`: who calls, as the issuer names them.
    pub subject: String,
    /// `iss`: who vouches for the caller.
    pub issuer: String,
    /// `scope`, split at spaces.
    pub scopes: Vec<String>,
    /// `iss` and `jti` joined without ambiguity: what may be used once within the tenant.
    pub token_id: String,
    /// `exp`, in seconds of the Unix epoch.
    pub expires_unix_s: u64,
}

impl SessionGrant {
    /// Whether the token has this scope. A "no" is refusal 4403; see [`SessionGrant::require`].
    pub fn allows(&self, scope: &str) -> bool {
        self.scopes.iter().any(|granted| granted == scope)
    }

    /// Refuses (4403) what the token has no scope for.
    ///
    /// # Errors
    /// The scope is not among the token's.
    pub fn require(&self, scope: &str) -> Result<(), Refusal> {
        if self.allows(scope) {
            return Ok(());
        }
        Err(Refusal::new(
            RefusalCode::Scope,
            Fault::Caller,
            format!("the token has no scope \"{scope}\""),
        ))
    }
}

/// Checks a token against everything that was agreed on: signature, issuer, audience, times, tenant, origin.
///
/// `tenant_id` is the one in the path, `origin` the `Origin` header (if the client sent one), `keys` the tenant's.
///
/// # Errors
/// 4402 past `exp`, 4407 another tenant's token, 4403 another origin's token, 4401 for everything else. The message
/// says what was wrong; it never repeats the token.
pub fn verify(
    token: &str,
    now_unix_s: u64,
    tenant_id: &TenantId,
    origin: Option<&str>,
    keys: &[TenantKey],
    gateway_key: Option<&GatewayKey>,
) -> Result<SessionGrant, Refusal> {
    if token.len() > TOKEN_LEN_MAX {
        return Err(invalid(format!(
            "the token is longer than {TOKEN_LEN_MAX} bytes"
        )));
    }
    let header = decode_header(token).map_err(|_| invalid("the token's header can't be read"))?;
    if header.crit.is_some() {
        // RFC 7515 section 4.1.11: what is critical and not understood refuses the token. We understand none.
        return Err(invalid("the token's header has critical extensions"));
    }
    let kid = header
        .kid
        .as_deref()
        .ok_or_else(|| invalid("the token's header has no kid"))?;
    let (algorithm, key, issued_by_us) = key_of(kid, keys, gateway_key)?;
    if header.alg != algorithm {
        return Err(invalid("the token's alg is not that of its key"));
    }
    let claims = verify_signature(token, algorithm, key)?;
    check_issuer(&claims, issued_by_us)?;
    check_bounds(&claims)?;
    if !claims.aud.contains(AUDIENCE) {
        return Err(invalid(format!("the token's aud is not \"{AUDIENCE}\"")));
    }
    check_times(&claims, now_unix_s)?;
    if claims.tenant_id != tenant_id.as_str() {
        return Err(Refusal::new(
            RefusalCode::WrongTenant,
            Fault::Caller,
            "the token is for another tenant",
        ));
    }
    if claims.origin.is_some() && claims.origin.as_deref() != origin {
        return Err(Refusal::new(
            RefusalCode::Scope,
            Fault::Caller,
            "the token is for another origin",
        ));
    }
    Ok(SessionGrant {
        token_id: format!("{}:{}:{}", claims.iss.len(), claims.iss, claims.jti),
        scopes: claims
            .scope
            .split_ascii_whitespace()
            .map(str::to_owned)
            .collect(),
        subject: claims.sub,
        issuer: claims.iss,
        expires_unix_s: claims.exp,
    })
}

/// What [`sign`] puts into a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// Whose calls it opens.
    pub tenant_id: TenantId,
    /// `sub`: who calls.
    pub subject: String,
    /// Scopes, separated by spaces.
    pub scope: String,
    /// The page's origin, if the token shall work from there only.
    pub origin: Option<String>,
    /// Seconds from now to `exp`, 1 to [`LIFETIME_S_MAX`].
    pub ttl_s: u64,
}

/// A token that can't be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignError {
    /// The lifetime is none.
    #[error("a token lives 1 to {LIFETIME_S_MAX} seconds")]
    Lifetime,
    /// Subject or scopes are too long.
    #[error("a subject has 1 to {NAME_LEN_MAX} bytes, a token at most {SCOPES_MAX} scopes")]
    TooLong,
    /// The key does not sign.
    #[error("the gateway's key does not sign")]
    Key,
}

/// Makes a token that [`verify`] accepts, signed by the gateway. `entropy` becomes its `jti`.
///
/// # Errors
/// The request is outside the limits of a token.
pub fn sign(
    key: &GatewayKey,
    request: &TokenRequest,
    now_unix_s: u64,
    entropy: [u8; 16],
) -> Result<String, SignError> {
    if !(1..=LIFETIME_S_MAX).contains(&request.ttl_s) {
        return Err(SignError::Lifetime);
    }
    let claims = Claims {
        iss: GATEWAY_ISSUER.to_owned(),
        sub: request.subject.clone(),
        aud: Audience::One(AUDIENCE.to_owned()),
        tenant_id: request.tenant_id.to_string(),
        scope: request.scope.clone(),
        origin: request.origin.clone(),
        iat: now_unix_s,
        exp: now_unix_s.saturating_add(request.ttl_s),
        nbf: None,
        jti: entropy.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    check_bounds(&claims).map_err(|_| SignError::TooLong)?;
    let header = Header {
        kid: Some(key.kid().to_owned()),
        ..Header::new(Algorithm::EdDSA)
    };
    encode(&header, &claims, key.signing()).map_err(|_| SignError::Key)
}

/// The claims, typed: a claim of another type makes the token invalid. Further claims are ignored (RFC 7519
/// section 4).
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    tenant_id: String,
    scope: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    iat: u64,
    exp: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<u64>,
    jti: String,
}

/// `aud` is one text or a list of texts (RFC 7519 section 4.1.3).
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn contains(&self, wanted: &str) -> bool {
        match self {
            Self::One(audience) => audience == wanted,
            Self::Several(audiences) => audiences.iter().any(|audience| audience == wanted),
        }
    }
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(RefusalCode::TokenInvalid, Fault::Caller, message)
}

/// The key that `kid` names, its algorithm, and whether it is the gateway's.
fn key_of<'a>(
    kid: &str,
    keys: &'a [TenantKey],
    gateway_key: Option<&'a GatewayKey>,
) -> Result<(Algorithm, &'a DecodingKey, bool), Refusal> {
    let unknown = || invalid("the token's kid names no key of this tenant");
    if kid.starts_with(GATEWAY_KID_PREFIX) {
        let key = gateway_key
            .filter(|key| key.kid() == kid)
            .ok_or_else(unknown)?;
        return Ok((Algorithm::EdDSA, key.verifying(), true));
    }
    let key = keys.iter().find(|key| key.kid == kid).ok_or_else(unknown)?;
    Ok((
        key.public_key.algorithm().jwt_algorithm(),
        key.public_key.decoding_key(),
        false,
    ))
}

fn verify_signature(
    token: &str,
    algorithm: Algorithm,
    key: &DecodingKey,
) -> Result<Claims, Refusal> {
    use jsonwebtoken::errors::ErrorKind;
    let mut signature_only = Validation::new(algorithm);
    // The library would read the system's clock: times and audience are checked here, with the caller's `now`.
    signature_only.required_spec_claims.clear();
    signature_only.validate_exp = false;
    signature_only.validate_nbf = false;
    signature_only.validate_aud = false;
    decode::<Claims>(token, key, &signature_only)
        .map(|data| data.claims)
        .map_err(|error| match error.kind() {
            // The message of a JSON error names the claim and never shows the whole token.
            ErrorKind::Json(error) => invalid(format!("the token's claims can't be used: {error}")),
            _ => invalid("the token's signature does not match"),
        })
}

fn check_issuer(claims: &Claims, issued_by_us: bool) -> Result<(), Refusal> {
    if issued_by_us == (claims.iss == GATEWAY_ISSUER) {
        return Ok(());
    }
    Err(invalid("the token's iss does not belong to its key"))
}

fn check_bounds(claims: &Claims) -> Result<(), Refusal> {
    let bounded = |name: &str, value: &str, len_max: usize| {
        if value.is_empty() || value.len() > len_max {
            return Err(invalid(format!(
                "the token's {name} is empty or longer than {len_max} bytes"
            )));
        }
        Ok(())
    };
    bounded("iss", &claims.iss, NAME_LEN_MAX)?;
    bounded("sub", &claims.sub, NAME_LEN_MAX)?;
    bounded("jti", &claims.jti, JTI_LEN_MAX)?;
    if claims.scope.split_ascii_whitespace().count() > SCOPES_MAX {
        return Err(invalid(format!(
            "the token has more than {SCOPES_MAX} scopes"
        )));
    }
    Ok(())
}

fn check_times(claims: &Claims, now_unix_s: u64) -> Result<(), Refusal> {
    let latest_start = now_unix_s.saturating_add(LEEWAY_S);
    if claims.iat > latest_start {
        return Err(invalid("the token was issued in the future"));
    }
    if claims.nbf.is_some_and(|nbf| nbf > latest_start) {
        return Err(invalid("the token is not valid yet"));
    }
    match claims.exp.checked_sub(claims.iat) {
        Some(1..=LIFETIME_S_MAX) => {}
        _ => {
            return Err(invalid(format!(
                "the token's exp is not 1 to {LIFETIME_S_MAX} seconds after its iat"
            )));
        }
    }
    if claims.exp.saturating_add(LEEWAY_S) <= now_unix_s {
        return Err(Refusal::new(
            RefusalCode::TokenExpired,
            Fault::Caller,
            "the token has expired",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
