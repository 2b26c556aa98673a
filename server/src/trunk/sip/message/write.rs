//! Messages onto the wire. Content-Length is written here and nowhere else.

use super::{HeaderName, Message, Request, Response};

impl Request {
    /// The bytes of the request.
    pub fn to_bytes(&self) -> Vec<u8> {
        let start = format!("{} {} SIP/2.0\r\n", self.method, self.uri);
        write(start, &self.headers, &self.body)
    }
}

impl Response {
    /// The bytes of the response.
    pub fn to_bytes(&self) -> Vec<u8> {
        let start = format!("SIP/2.0 {} {}\r\n", self.status, self.reason);
        write(start, &self.headers, &self.body)
    }
}

impl Message {
    /// The bytes of the message.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Request(request) => request.to_bytes(),
            Self::Response(response) => response.to_bytes(),
        }
    }
}

fn write(start: String, headers: &super::Headers, body: &[u8]) -> Vec<u8> {
    let mut text = start;
    for header in headers.iter() {
        if header.name == HeaderName::ContentLength {
            continue;
        }
        text.push_str(header.name.as_str());
        text.push_str(": ");
        text.push_str(&header.value);
        text.push_str("\r\n");
    }
    text.push_str("Content-Length: ");
    text.push_str(&body.len().to_string());
    text.push_str("\r\n\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
