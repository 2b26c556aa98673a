//! Digest challenges (RFC 7616, RFC 8760) from both sides.

use std::collections::HashMap;

use md5::Md5;
use sha2::{Digest, Sha256};

use super::message::SipMessage;

/// How digests are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// `MD5`
    Md5,
    /// `SHA-256`
    Sha256,
}

/// What a far end asks callers and registering phones for.
#[derive(Debug, Clone)]
pub struct Challenge {
    /// Shown to who is asked.
    pub realm: String,
    /// Who is known.
    pub username: String,
    /// His password.
    pub password: String,
    /// How the answer is made.
    pub algorithm: DigestAlgorithm,
    /// After so many uses a nonce is stale; the answer to a stale one says so.
    pub nonce_uses_max: u32,
}

/// Name and password of a caller.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Who he is.
    pub username: String,
    /// His password.
    pub password: String,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Checked {
    Good,
    /// The value of the header that asks again.
    Ask(String),
}

/// The nonces that were given out, with how often each was used.
#[derive(Debug, Default)]
pub(super) struct Nonces(HashMap<String, u32>);

impl Nonces {
    /// Checks the answer in `header`, or makes a challenge.
    pub(super) fn check(
        &mut self,
        challenge: &Challenge,
        request: &SipMessage,
        header: &str,
    ) -> Checked {
        let Some(fields) = request.header(header).map(fields) else {
            return self.ask(challenge, false);
        };
        let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
        let Some(uses) = self.0.get_mut(field("nonce")) else {
            return self.ask(challenge, true);
        };
        let count = u32::from_str_radix(field("nc"), 16).unwrap_or(1);
        let is_right = field("username") == challenge.username
            && field("response")
                == expected(challenge.algorithm, &fields, &challenge.password, request);
        if !is_right {
            return self.ask(challenge, false);
        }
        // A count that does not rise is somebody's copy.
        if count <= *uses || count > challenge.nonce_uses_max {
            return self.ask(challenge, true);
        }
        *uses = count;
        Checked::Good
    }

    fn ask(&mut self, challenge: &Challenge, stale: bool) -> Checked {
        let nonce = format!("{:016x}", crate::random_u64());
        self.0.insert(nonce.clone(), 0);
        let stale = if stale { ", stale=true" } else { "" };
        Checked::Ask(format!(
            "Digest realm=\"{}\", nonce=\"{nonce}\", algorithm={}, qop=\"auth\"{stale}",
            challenge.realm,
            challenge.algorithm.name()
        ))
    }
}

impl Credentials {
    /// The answer to a challenge.
    pub(super) fn answer(&self, challenge: &str, method: &str, uri: &str) -> String {
        let asked = fields(challenge);
        let field = |name: &str| asked.get(name).map(String::as_str).unwrap_or_default();
        let algorithm = if field("algorithm").eq_ignore_ascii_case("SHA-256") {
            DigestAlgorithm::Sha256
        } else {
            DigestAlgorithm::Md5
        };
        let mut answered: HashMap<String, String> = [
            ("username", self.username.as_str()),
            ("realm", field("realm")),
            ("nonce", field("nonce")),
            ("uri", uri),
            ("nc", "00000001"),
            ("cnonce", "c0ffee"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let has_qop = asked.contains_key("qop");
        if has_qop {
            answered.insert("qop".to_owned(), "auth".to_owned());
        }
        let response = expected(
            algorithm,
            &answered,
            &self.password,
            &SipMessage::request(method, uri),
        );
        let qop = if has_qop {
            ", qop=auth, nc=00000001, cnonce=\"c0ffee\""
        } else {
            ""
        };
        format!(
            "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", response=\"{response}\", algorithm={}{qop}",
            self.username,
            field("realm"),
            field("nonce"),
            algorithm.name()
        )
    }
}

impl DigestAlgorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    fn hex(self, text: &str) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self {
            Self::Md5 => hex(&Md5::digest(text)),
            Self::Sha256 => hex(&Sha256::digest(text)),
        }
    }
}

/// The response that the fields ask for.
fn expected(
    algorithm: DigestAlgorithm,
    fields: &HashMap<String, String>,
    password: &str,
    request: &SipMessage,
) -> String {
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    let secret = algorithm.hex(&format!(
        "{}:{}:{password}",
        field("username"),
        field("realm")
    ));
    let method = request.method().unwrap_or_default();
    let what = algorithm.hex(&format!("{method}:{}", field("uri")));
    let nonce = field("nonce");
    algorithm.hex(&if fields.contains_key("qop") {
        let (nc, cnonce, qop) = (field("nc"), field("cnonce"), field("qop"));
        format!("{secret}:{nonce}:{nc}:{cnonce}:{qop}:{what}")
    } else {
        format!("{secret}:{nonce}:{what}")
    })
}

/// The fields of a challenge or its answer; no value in use has a comma in it but for URIs, which are quoted.
fn fields(header: &str) -> HashMap<String, String> {
    let rest = header.split_once(' ').map_or("", |(_, rest)| rest);
    let mut quoted = false;
    rest.split(move |letter: char| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    })
    .filter_map(|field| field.trim().split_once('='))
    .map(|(name, value)| {
        (
            name.to_ascii_lowercase(),
            value.trim_matches('"').to_owned(),
        )
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_rfc_7616_section_3_9_1() {
        let header = "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"/dir/index.html\", \
            nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
            cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth";
        let get = SipMessage::request("GET", "/dir/index.html");
        let answer = |algorithm| expected(algorithm, &fields(header), "Circle of Life", &get);
        assert_eq!(
            answer(DigestAlgorithm::Md5),
            "8ca523f5e9506fed4657c9700eebdbec"
        );
        assert_eq!(
            answer(DigestAlgorithm::Sha256),
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
        );
    }

    #[test]
    fn answers_are_good_once_and_only_with_the_password() {
        for algorithm in [DigestAlgorithm::Md5, DigestAlgorithm::Sha256] {
            let challenge = Challenge {
                realm: "test".to_owned(),
                username: "acme".to_owned(),
                password: "secret".to_owned(),
                algorithm,
                nonce_uses_max: 10,
            };
            let mut nonces = Nonces::default();
            let request = SipMessage::request("REGISTER", "sip:x");
            let mut ask = |request: &SipMessage| nonces.check(&challenge, request, "Authorization");
            let Checked::Ask(asked) = ask(&request) else {
                panic!("nobody was asked")
            };
            let answered = |password: &str| {
                let credentials = Credentials {
                    username: "acme".to_owned(),
                    password: password.to_owned(),
                };
                let answer = credentials.answer(&asked, "REGISTER", "sip:x");
                request.clone().with("Authorization", answer)
            };
            assert!(
                matches!(ask(&answered("wrong")), Checked::Ask(again) if !again.contains("stale"))
            );
            assert_eq!(ask(&answered("secret")), Checked::Good);
            assert!(
                matches!(ask(&answered("secret")), Checked::Ask(again) if again.contains("stale"))
            );
        }
    }
}
