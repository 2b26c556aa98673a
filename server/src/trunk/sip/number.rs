//! Between what people dial and SIP URIs (RFC 3261 section 19.1, RFC 3966).

use super::message::value::SipUri;

/// The longest number, name or URI that is dialled.
const LEN_MAX: usize = 256;

/// The Request-URI for `to`: a SIP URI as it stands, else a number or name at `domain`. None: it is neither.
pub fn request_uri(to: &str, domain: &str) -> Option<String> {
    let to = to.trim();
    if to.is_empty() || to.len() > LEN_MAX {
        return None;
    }
    if to.contains(':') {
        let is_clean =
            to.bytes().all(|byte| byte.is_ascii_graphic()) && !to.contains(['<', '>', '"', ',']);
        let uri = SipUri::parse(to).filter(|_| is_clean)?;
        return match (uri.host, uri.user) {
            ("", Some(number)) => user(number).map(|user| format!("sip:{user}@{domain}")),
            _ => Some(to.to_owned()),
        };
    }
    user(to).map(|user| format!("sip:{user}@{domain}"))
}

/// The user part of a URI for a number or a name; visual separators of numbers go.
pub fn user(text: &str) -> Option<String> {
    let is_number = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.() *#".contains(&byte));
    let kept: String = if is_number {
        text.chars()
            .filter(|c| c.is_ascii_digit() || matches!(c, '+' | '*' | '#'))
            .collect()
    } else {
        text.to_owned()
    };
    let is_user = !kept.is_empty()
        && kept.len() <= LEN_MAX
        && kept
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/#".contains(&byte));
    // `#` stands in numbers only; a URI has it escaped.
    is_user.then(|| kept.replace('#', "%23"))
}

/// The number or name that a URI's user part stands for.
pub fn from_user(user: &str) -> String {
    let mut text = String::with_capacity(user.len());
    let mut rest = user;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        let escaped = rest
            .get(at + 1..at + 3)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escaped.filter(u8::is_ascii_graphic) {
            Some(byte) => {
                text.push(char::from(byte));
                rest = &rest[at + 3..];
            }
            None => {
                text.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_uris() {
        let cases = [
            ("+1 (555) 01-00", Some("sip:+15550100@carrier.example")),
            ("*21#", Some("sip:*21%23@carrier.example")),
            ("alice", Some("sip:alice@carrier.example")),
            ("sip:bob@pbx.example:5070", Some("sip:bob@pbx.example:5070")),
            ("tel:+1-555-0100", Some("sip:+15550100@carrier.example")),
            ("", None),
            ("a b", None),
            ("x\r\nVia: y", None),
            ("sip:a@b>\r\n", None),
            ("http://x", None),
            ("é", None),
        ];
        for (to, uri) in cases {
            assert_eq!(request_uri(to, "carrier.example").as_deref(), uri, "{to}");
        }
        assert_eq!(from_user("*21%23"), "*21#");
        assert_eq!(from_user("50%25%zz%"), "50%%zz%");
    }
}
