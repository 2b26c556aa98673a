//! Answers to digest challenges (RFC 3261 section 22, RFC 8760): MD5 and SHA-256, `qop=auth` and none. The hashes are
//! rsipstack's; its reader of challenges knows neither the name `SHA-256` nor a list of qop values, so that is here.
//!
//! Not here: challenging others.

use rsipstack::dialog::authenticate::compute_digest;
use rsipstack::sip::Method as DigestMethod;
use rsipstack::sip::headers::auth::{Algorithm, AuthQop};

use super::message::{HeaderName, Method, Request, Response, value};
use crate::config::SipCredentials;

/// Challenges that say `stale` are answered so often; any other is answered once.
const STALE_MAX: u8 = 2;
/// The longest realm or nonce that is taken.
const PARAMETER_LEN_MAX: usize = 1024;

/// Answers the challenges of one request, so that no far end can make it go round in circles.
#[derive(Debug, Clone, Default)]
pub struct DigestClient {
    answered: bool,
    stale: u8,
}

/// Why a challenge is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// The trunk has no name and password.
    #[error("the far end asks for a password and the trunk has no sip_username")]
    NoCredentials,
    /// The answer was refused.
    #[error("the far end did not take the trunk's sip_username and sip_password")]
    Refused,
    /// No challenge that we understand.
    #[error("the far end's challenge names no algorithm that is known here (MD5, SHA-256)")]
    Unknown,
}

impl DigestClient {
    /// Puts the answer to `response`'s challenge into `request`, whose method and URI are hashed.
    ///
    /// # Errors
    /// Why it is final.
    pub fn answer(
        &mut self,
        request: &mut Request,
        response: &Response,
        credentials: Option<&SipCredentials>,
        cnonce: [u8; 8],
    ) -> Result<(), DigestError> {
        let credentials = credentials.ok_or(DigestError::NoCredentials)?;
        let (asks, answers) = match response.status.0 {
            407 => (
                HeaderName::ProxyAuthenticate,
                HeaderName::ProxyAuthorization,
            ),
            _ => (HeaderName::WwwAuthenticate, HeaderName::Authorization),
        };
        // Best first, by the far end's order (RFC 8760 section 2.4); each challenge is a field of its own.
        let challenge = response
            .headers
            .iter()
            .filter(|header| header.name == asks)
            .find_map(|header| Challenge::parse(&header.value))
            .ok_or(DigestError::Unknown)?;
        if self.answered {
            if !challenge.stale || self.stale >= STALE_MAX {
                return Err(DigestError::Refused);
            }
            self.stale += 1;
        }
        self.answered = true;
        let value = challenge.answer(&request.method, &request.uri, credentials, cnonce);
        request.headers.set(answers, value);
        Ok(())
    }
}

#[derive(Debug)]
struct Challenge<'a> {
    realm: &'a str,
    nonce: &'a str,
    opaque: Option<&'a str>,
    algorithm: Option<&'a str>,
    sha256: bool,
    qop_auth: bool,
    stale: bool,
}

impl<'a> Challenge<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, parameters) = text.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let mut challenge = Challenge {
            realm: "",
            nonce: "",
            opaque: None,
            algorithm: None,
            sha256: false,
            qop_auth: false,
            stale: false,
        };
        let mut has_qop = false;
        for parameter in value::comma_separated(parameters) {
            let (name, value) = parameter.split_once('=')?;
            let value = value.trim().trim_matches('"');
            if value.len() > PARAMETER_LEN_MAX {
                return None;
            }
            match name.trim().to_ascii_lowercase().as_str() {
                "realm" => challenge.realm = value,
                "nonce" => challenge.nonce = value,
                "opaque" => challenge.opaque = Some(value),
                "stale" => challenge.stale = value.eq_ignore_ascii_case("true"),
                "qop" => {
                    has_qop = true;
                    challenge.qop_auth = value
                        .split(',')
                        .any(|qop| qop.trim().eq_ignore_ascii_case("auth"));
                }
                "algorithm" => match value {
                    _ if value.eq_ignore_ascii_case("MD5") => challenge.algorithm = Some("MD5"),
                    _ if value.eq_ignore_ascii_case("SHA-256") => {
                        challenge.algorithm = Some("SHA-256");
                        challenge.sha256 = true;
                    }
                    _ => return None,
                },
                _ => {}
            }
        }
        let answerable = !challenge.nonce.is_empty() && (challenge.qop_auth || !has_qop);
        answerable.then_some(challenge)
    }

    fn answer(
        &self,
        method: &Method,
        uri: &str,
        credentials: &SipCredentials,
        cnonce: [u8; 8],
    ) -> String {
        let cnonce: String = cnonce.iter().map(|byte| format!("{byte:02x}")).collect();
        let algorithm = if self.sha256 {
            Algorithm::Sha256
        } else {
            Algorithm::Md5
        };
        let qop = self.qop_auth.then(|| AuthQop::Auth {
            cnonce: cnonce.clone(),
            nc: 1,
        });
        let response = compute_digest(
            &credentials.username,
            credentials.password.expose(),
            self.realm,
            self.nonce,
            &digest_method(method),
            uri,
            algorithm,
            qop.as_ref(),
        );
        let mut text = format!(
            "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", response=\"{response}\"",
            credentials.username, self.realm, self.nonce
        );
        if let Some(algorithm) = self.algorithm {
            text.push_str(", algorithm=");
            text.push_str(algorithm);
        }
        if let Some(opaque) = self.opaque {
            text.push_str(", opaque=\"");
            text.push_str(opaque);
            text.push('"');
        }
        if self.qop_auth {
            text.push_str(", qop=auth, nc=00000001, cnonce=\"");
            text.push_str(&cnonce);
            text.push('"');
        }
        text
    }
}

/// Only methods that we send are hashed.
fn digest_method(method: &Method) -> DigestMethod {
    match method {
        Method::Invite => DigestMethod::Invite,
        Method::Ack => DigestMethod::Ack,
        Method::Bye => DigestMethod::Bye,
        Method::Cancel => DigestMethod::Cancel,
        Method::Register => DigestMethod::Register,
        Method::Prack => DigestMethod::PRack,
        Method::Update => DigestMethod::Update,
        Method::Info => DigestMethod::Info,
        Method::Refer => DigestMethod::Refer,
        Method::Notify => DigestMethod::Notify,
        Method::Options | Method::Other(_) => DigestMethod::Options,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::message::StatusCode;
    use super::*;
    use crate::config::Secret;

    fn challenged(status: u16, challenges: &[&str]) -> Response {
        let mut response = Response::to(
            &Request::new(Method::Options, "sip:x"),
            StatusCode(status),
            None,
        );
        for challenge in challenges {
            response
                .headers
                .push(HeaderName::WwwAuthenticate, *challenge);
            response
                .headers
                .push(HeaderName::ProxyAuthenticate, *challenge);
        }
        response
    }

    fn mufasa(password: &str) -> SipCredentials {
        SipCredentials {
            username: "Mufasa".into(),
            password: Secret::new(password),
        }
    }

    #[test]
    fn the_answer_is_that_of_a_second_implementation() {
        // MD5 of md5("Mufasa:example.com:Circle Of Life"), "abc", md5("REGISTER:sip:example.com"), by md5sum.
        let mut request = Request::new(Method::Register, "sip:example.com");
        let response = challenged(
            401,
            &["Digest realm=\"example.com\", nonce=\"abc\", algorithm=MD5"],
        );
        let credentials = mufasa("Circle Of Life");
        DigestClient::default()
            .answer(&mut request, &response, Some(&credentials), [1; 8])
            .unwrap();
        let answer = request.headers.get(&HeaderName::Authorization).unwrap();
        assert!(!answer.contains("Circle"), "{answer}");
        let hash = value::comma_separated(answer)
            .find_map(|parameter| parameter.trim().strip_prefix("response="))
            .unwrap();
        assert_eq!(hash, "\"fd3bbad9f3c5bc7cf5b08a76af9ef7ae\"");
    }

    #[test]
    fn the_best_challenge_that_is_known_is_answered() {
        let mut request = Request::new(Method::Invite, "sip:1@example.com");
        let response = challenged(
            407,
            &[
                "Digest realm=\"r\", nonce=\"n0\", algorithm=SHA-512-256, qop=\"auth\"",
                "Digest realm=\"r\", nonce=\"n1\", algorithm=SHA-256, qop=\"auth,auth-int\", opaque=\"o\"",
                "Digest realm=\"r\", nonce=\"n2\", algorithm=MD5, qop=\"auth\"",
            ],
        );
        DigestClient::default()
            .answer(&mut request, &response, Some(&mufasa("x")), [0xab; 8])
            .unwrap();
        let answer = request
            .headers
            .get(&HeaderName::ProxyAuthorization)
            .unwrap();
        assert!(
            answer.contains("nonce=\"n1\"") && answer.contains("algorithm=SHA-256"),
            "{answer}"
        );
        assert!(
            answer.contains("qop=auth, nc=00000001, cnonce=\"abababababababab\""),
            "{answer}"
        );
        assert!(answer.contains("opaque=\"o\""));
        assert!(request.headers.get(&HeaderName::Authorization).is_none());
    }

    #[test]
    fn a_wrong_password_is_said_once_and_a_stale_nonce_is_answered_again() {
        let mut digest = DigestClient::default();
        let mut request = Request::new(Method::Register, "sip:example.com");
        let plain = challenged(401, &["Digest realm=\"r\", nonce=\"n\""]);
        let stale = challenged(401, &["Digest realm=\"r\", nonce=\"m\", stale=TRUE"]);
        let credentials = mufasa("x");
        let mut answer =
            |response: &Response| digest.answer(&mut request, response, Some(&credentials), [0; 8]);
        assert_eq!(answer(&plain), Ok(()));
        assert_eq!(answer(&plain), Err(DigestError::Refused));
        assert_eq!(answer(&stale), Ok(()));
        assert_eq!(answer(&stale), Ok(()));
        assert_eq!(answer(&stale), Err(DigestError::Refused), "no circles");
        assert_eq!(
            DigestClient::default().answer(
                &mut Request::new(Method::Bye, "sip:x"),
                &plain,
                None,
                [0; 8]
            ),
            Err(DigestError::NoCredentials)
        );
        let unknown = challenged(
            401,
            &[
                "Bearer x",
                "Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"",
            ],
        );
        assert_eq!(
            DigestClient::default().answer(
                &mut Request::new(Method::Bye, "sip:x"),
                &unknown,
                Some(&credentials),
                [0; 8]
            ),
            Err(DigestError::Unknown)
        );
    }
}
