//! A TLS socket to the signalling port on which a test writes any bytes: heads, frames, garbage.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use loadtest::gateway::Gateway;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

/// Longer than every deadline of the gateway that a test waits for.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Longer than any answer of the signalling port.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// A valid `Sec-WebSocket-Key`: that of RFC 6455 section 1.3.
const WEB_SOCKET_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// TLS over TCP.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// A gateway's signalling port, to be connected to often.
#[derive(Clone)]
pub struct Door {
    /// Where it listens.
    pub address: SocketAddr,
    tls: Arc<ClientConfig>,
}

impl Door {
    /// The port of `gateway`, whose certificate is trusted.
    pub fn of(gateway: &Gateway) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(gateway.file("cert.pem")).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            address: gateway.signalling_addr(),
            tls: Arc::new(tls),
        }
    }

    /// TCP only.
    pub fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
        stream
    }

    /// TCP and TLS.
    pub fn connect(&self) -> Wire {
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::clone(&self.tls), name).unwrap();
        Wire {
            stream: StreamOwned::new(connection, self.tcp()),
            read: Vec::new(),
        }
    }

    /// Sends `bytes` and reads the whole answer.
    pub fn exchange(&self, bytes: &[u8]) -> Answer {
        let mut wire = self.connect();
        wire.send(bytes);
        wire.answer()
    }

    /// A WebSocket whose first frame comes right behind the head.
    pub fn upgrade(&self, head: &str, first_frame: &[u8]) -> WebSocket<TlsStream> {
        let mut wire = self.connect();
        wire.send(&[head.as_bytes(), first_frame].concat());
        wire.into_web_socket()
    }
}

/// A whole HTTP answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The head as it came.
    pub head: String,
    /// Everything behind it.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// One TLS connection.
pub struct Wire {
    stream: TlsStream,
    read: Vec<u8>,
}

impl Wire {
    /// Writes bytes as one TLS record, if they fit.
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    /// The same, where the gateway may have closed already.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Reads an answer until the gateway closes.
    #[track_caller]
    pub fn answer(mut self) -> Answer {
        let mut buffer = [0; 4096];
        while self.read.len() < ANSWER_BYTES_MAX {
            match self.stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(len) => self.read.extend_from_slice(&buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&self.read)),
            }
        }
        let text = String::from_utf8(self.read).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split_whitespace().nth(1).and_then(|s| s.parse().ok());
        Answer {
            status: status.unwrap_or_else(|| panic!("no HTTP answer: {text:?}")),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    /// Reads the 101 alone.
    #[track_caller]
    pub fn upgraded(&mut self) -> String {
        let mut byte = [0; 1];
        while !self.read.ends_with(b"\r\n\r\n") && self.read.len() < ANSWER_BYTES_MAX {
            match self.stream.read(&mut byte) {
                Ok(1) => self.read.push(byte[0]),
                end => panic!("{end:?} after {:?}", String::from_utf8_lossy(&self.read)),
            }
        }
        let head = String::from_utf8(std::mem::take(&mut self.read)).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        head
    }

    /// Reads the 101; what comes behind it is the WebSocket's.
    #[track_caller]
    pub fn into_web_socket(mut self) -> WebSocket<TlsStream> {
        self.upgraded();
        WebSocket::from_raw_socket(self.stream, Role::Client, None)
    }
}

/// The head of an upgrade to the browser dialect, with further header lines.
pub fn upgrade_head(tenant: &str, token: Option<&str>, lines: &str) -> String {
    let bearer = token.map_or_else(String::new, |token| format!(", bearer.{token}"));
    let path = format!("/signal/browser/{tenant}");
    let protocols = format!("Sec-WebSocket-Protocol: clutchcall.v1{bearer}\r\n");
    vendor_upgrade_head(&path, &format!("{protocols}{lines}"))
}

/// The head of an upgrade that offers no subprotocol, with further header lines.
pub fn vendor_upgrade_head(target: &str, lines: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {WEB_SOCKET_KEY}\r\n{lines}\r\n"
    )
}

/// A final frame of a client (RFC 6455 section 5.2); `first` is its first byte, FIN and opcode.
pub fn masked_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = frame_start(first, 0x80, payload.len());
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
    frame
}

/// The same as only a server may send it.
pub fn unmasked_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = frame_start(first, 0, payload.len());
    frame.extend(payload);
    frame
}

fn frame_start(first: u8, mask_bit: u8, len: usize) -> Vec<u8> {
    match len {
        0..=125 => vec![first, mask_bit | len as u8],
        126..=0xffff => [&[first, mask_bit | 126][..], &(len as u16).to_be_bytes()].concat(),
        _ => [&[first, mask_bit | 127][..], &(len as u64).to_be_bytes()].concat(),
    }
}

/// FIN and opcode of a text frame.
pub const TEXT: u8 = 0x81;
/// FIN and opcode of a binary frame.
pub const BINARY: u8 = 0x82;

/// The next message of the dialect.
#[track_caller]
pub fn next_json(socket: &mut WebSocket<TlsStream>) -> serde_json::Value {
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => return serde_json::from_str(&text).unwrap(),
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            other => panic!("{other:?} instead of a message"),
        }
    }
}

/// Reads until the close frame: the messages before it, its code and its reason.
#[track_caller]
pub fn read_close(socket: &mut WebSocket<TlsStream>) -> (Vec<serde_json::Value>, u16, String) {
    let mut messages = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => messages.push(serde_json::from_str(&text).unwrap()),
            Ok(Message::Close(frame)) => {
                let frame = frame.expect("a close code");
                return (messages, frame.code.into(), frame.reason.to_string());
            }
            Ok(_) => {}
            Err(error) => panic!("{error} instead of a close frame; before it {messages:?}"),
        }
    }
}

/// A message of the dialect as a frame.
pub fn text_frame(message: &serde_json::Value) -> Vec<u8> {
    masked_frame(TEXT, message.to_string().as_bytes())
}

/// An offer of PCMU whose media never comes; lines end in a bare newline.
pub const OFFER: &str = "v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
m=audio 9 UDP/TLS/RTP/SAVPF 0
c=IN IP4 0.0.0.0
a=mid:0
a=ice-ufrag:abcd
a=ice-pwd:abcdefghijklmnopqrstuvwx
a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF
a=setup:actpass
a=sendrecv
a=rtcp-mux
a=rtpmap:0 PCMU/8000
";
