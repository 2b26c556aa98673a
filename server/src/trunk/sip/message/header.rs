//! Header fields: names, compact forms (RFC 3261 section 7.3.3), and a list that keeps their order.

use std::fmt;

use super::Method;

macro_rules! header_names {
    ($($variant:ident $name:literal $compact:literal,)*) => {
        /// A header field's name. Comparing ignores case, as the wire does.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each is the field of its name")]
        pub enum HeaderName {
            $($variant,)*
            /// A field that nothing here reads; its name in lower case.
            Other(Box<str>),
        }

        impl HeaderName {
            /// The name as it is written.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other(name) => name,
                }
            }

            /// The field that `name` names, in its long or compact form.
            pub fn from_name(name: &str) -> Self {
                $(
                    let compact = $compact;
                    if name.eq_ignore_ascii_case($name) || (!compact.is_empty() && name.eq_ignore_ascii_case(compact)) {
                        return Self::$variant;
                    }
                )*
                Self::Other(name.to_ascii_lowercase().into())
            }
        }
    };
}

header_names! {
    Via "Via" "v",
    MaxForwards "Max-Forwards" "",
    RecordRoute "Record-Route" "",
    Route "Route" "",
    From "From" "f",
    To "To" "t",
    CallId "Call-ID" "i",
    CSeq "CSeq" "",
    Contact "Contact" "m",
    ContentType "Content-Type" "c",
    ContentLength "Content-Length" "l",
    ContentEncoding "Content-Encoding" "e",
    Allow "Allow" "",
    Supported "Supported" "k",
    Require "Require" "",
    Unsupported "Unsupported" "",
    Accept "Accept" "",
    Expires "Expires" "",
    MinExpires "Min-Expires" "",
    Authorization "Authorization" "",
    ProxyAuthorization "Proxy-Authorization" "",
    WwwAuthenticate "WWW-Authenticate" "",
    ProxyAuthenticate "Proxy-Authenticate" "",
    RetryAfter "Retry-After" "",
    Reason "Reason" "",
    Warning "Warning" "",
    UserAgent "User-Agent" "",
    Server "Server" "",
    SessionExpires "Session-Expires" "x",
    MinSe "Min-SE" "",
    RSeq "RSeq" "",
    RAck "RAck" "",
    ReferTo "Refer-To" "r",
    ReferredBy "Referred-By" "b",
    Replaces "Replaces" "",
    Event "Event" "o",
    SubscriptionState "Subscription-State" "",
    PAssertedIdentity "P-Asserted-Identity" "",
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One header field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: HeaderName,
    /// Its value: unfolded, without surrounding white space.
    pub value: String,
}

/// Header fields in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<Header>);

impl Headers {
    /// Adds one last.
    pub fn push(&mut self, name: HeaderName, value: impl Into<String>) {
        let value = value.into();
        self.0.push(Header { name, value });
    }

    /// Adds one first.
    pub fn push_front(&mut self, name: HeaderName, value: impl Into<String>) {
        let value = value.into();
        self.0.insert(0, Header { name, value });
    }

    /// Replaces all of `name` by one.
    pub fn set(&mut self, name: HeaderName, value: impl Into<String>) {
        self.remove(&name);
        self.push(name, value);
    }

    /// Removes all of `name`.
    pub fn remove(&mut self, name: &HeaderName) {
        self.0.retain(|header| header.name != *name);
    }

    /// Every field.
    pub fn iter(&self) -> impl Iterator<Item = &Header> {
        self.0.iter()
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first field's value.
    pub fn get(&self, name: &HeaderName) -> Option<&str> {
        self.0
            .iter()
            .find(|header| header.name == *name)
            .map(|header| header.value.as_str())
    }

    /// Changes the first field's value.
    pub fn get_mut(&mut self, name: &HeaderName) -> Option<&mut String> {
        self.0
            .iter_mut()
            .find(|header| header.name == *name)
            .map(|header| &mut header.value)
    }

    /// All values of `name`, one by one: also those that share a line (RFC 3261 section 7.3.1).
    pub fn values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |header| header.name == *name)
            .flat_map(|header| super::value::comma_separated(&header.value))
    }

    /// Whether a list of tokens (Supported, Require, Allow) has `token`.
    pub fn has_token(&self, name: &HeaderName, token: &str) -> bool {
        self.values(name)
            .any(|value| value.eq_ignore_ascii_case(token))
    }

    /// CSeq's number and method.
    pub fn cseq(&self) -> Option<(u32, Method)> {
        let mut parts = self.get(&HeaderName::CSeq)?.split_ascii_whitespace();
        let number = parts.next()?.parse().ok()?;
        let method = Method::from_name(parts.next()?);
        parts.next().is_none().then_some((number, method))
    }

    /// The Call-ID.
    pub fn call_id(&self) -> &str {
        self.get(&HeaderName::CallId).unwrap_or_default()
    }

    /// From's tag.
    pub fn from_tag(&self) -> Option<&str> {
        self.get(&HeaderName::From).and_then(super::value::tag)
    }

    /// To's tag.
    pub fn to_tag(&self) -> Option<&str> {
        self.get(&HeaderName::To).and_then(super::value::tag)
    }

    /// A field that is one number, with or without parameters behind it.
    pub fn number(&self, name: &HeaderName) -> Option<u32> {
        let value = self.get(name)?;
        let digits = value.split([';', ' ', '(']).next()?;
        digits.trim().parse().ok()
    }
}
