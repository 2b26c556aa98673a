//! A front before the gateway that lets a page be called: it offers `incoming`, and makes an accepted call by dialling.
//!
//! Trunks that call in come with SIP. Until then this is how a page is called: everything else, page, session, negotiation, media and
//! the call itself, is the gateway's own. It speaks plain HTTP and WebSocket on loopback, where browsers allow a microphone.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::{Value, json};
use tungstenite::client::ClientRequestBuilder;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

use crate::gateway::Gateway;
use crate::signalling::client_config;

/// The call that is offered.
pub const CALL_SID: &str = "CS0000cdcdcdcdcdcdcdcdcdcdcdcdcd";
/// Who calls.
pub const CALLER: &str = "+15550123";
/// Whom.
pub const CALLED: &str = "alice";

/// An origin that the tenants of tests allow.
const ORIGIN: &str = "https://app.example.com";
/// How long one side is listened to before the other has its turn.
const TURN: Duration = Duration::from_millis(5);
/// For everything that is not such a turn.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest request head.
const HEAD_BYTES_MAX: usize = 16 * 1024;

type Upstream = WebSocket<StreamOwned<ClientConnection, TcpStream>>;

/// The running front.
pub struct IncomingFront {
    local: SocketAddr,
    heard: Arc<Mutex<Vec<Value>>>,
    stop: Arc<AtomicBool>,
}

impl IncomingFront {
    /// Stands before `gateway`.
    ///
    /// # Errors
    /// There is no port, or the gateway's certificate can't be read.
    pub fn start(gateway: &Gateway) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let local = listener.local_addr()?;
        let tls = client_config(&gateway.trust()).map_err(io::Error::other)?;
        let front = Self {
            local,
            heard: Arc::default(),
            stop: Arc::default(),
        };
        let (heard, stop) = (Arc::clone(&front.heard), Arc::clone(&front.stop));
        let gateway = gateway.signalling_addr();
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                let Ok((stream, _)) = listener.accept() else {
                    std::thread::sleep(TURN);
                    continue;
                };
                let way = Way {
                    gateway,
                    tls: Arc::clone(&tls),
                    heard: Arc::clone(&heard),
                    stop: Arc::clone(&stop),
                };
                std::thread::spawn(move || way.serve(stream));
            }
        });
        Ok(front)
    }

    /// The origin of the page behind it.
    pub fn origin(&self) -> String {
        format!("http://{}", self.local)
    }

    /// What the page said about the call: its `accept` and `reject` messages.
    pub fn heard(&self) -> Vec<Value> {
        self.heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for IncomingFront {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// The way of one connection.
struct Way {
    gateway: SocketAddr,
    tls: Arc<ClientConfig>,
    heard: Arc<Mutex<Vec<Value>>>,
    stop: Arc<AtomicBool>,
}

impl Way {
    fn serve(&self, stream: TcpStream) {
        let mut head = [0; 12];
        let ready = stream
            .set_nonblocking(false)
            .and_then(|()| stream.set_read_timeout(Some(TIMEOUT)))
            .and_then(|()| stream.peek(&mut head));
        // A browser that opens a connection ahead of its need and closes it asks for nothing.
        let served = match ready {
            Ok(_) if head.starts_with(b"GET /signal/") => self.signal(stream),
            Ok(1..) => self.fetch(stream),
            Ok(_) | Err(_) => return,
        };
        if let Err(error) = served {
            eprintln!("incoming front: {error}");
        }
    }

    /// One file of the page, as the gateway serves it.
    fn fetch(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let request = head.split("\r\n").next().unwrap_or_default();
        let mut upstream = self.dial()?;
        upstream.write_all(format!("{request}\r\nHost: localhost\r\n\r\n").as_bytes())?;
        upstream.flush()?;
        let mut answer = Vec::new();
        match upstream.read_to_end(&mut answer) {
            // The gateway may end TLS by closing TCP.
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => Err(error),
            _ => stream.write_all(&answer),
        }
    }

    /// One session, with a call offered as soon as the first offer is answered.
    #[expect(
        clippy::result_large_err,
        reason = "the type of tungstenite's callback"
    )]
    fn signal(&self, stream: TcpStream) -> io::Result<()> {
        let mut target = String::new();
        let mut protocols = Vec::new();
        let handshake = |request: &Request, mut response: Response| {
            target = request.uri().to_string();
            let offered = request.headers().get("sec-websocket-protocol");
            let offered = offered.and_then(|value| value.to_str().ok());
            protocols = offered
                .unwrap_or_default()
                .split(',')
                .map(|name| name.trim().to_owned())
                .collect();
            let dialect = tungstenite::http::HeaderValue::from_static("clutchcall.v1");
            response
                .headers_mut()
                .insert("sec-websocket-protocol", dialect);
            Ok(response)
        };
        let mut page = tungstenite::accept_hdr(stream, handshake)
            .map_err(|error| io::Error::other(error.to_string()))?;
        let mut gateway = self.open(&target, &protocols)?;
        page.get_ref().set_read_timeout(Some(TURN))?;
        gateway.get_ref().sock.set_read_timeout(Some(TURN))?;
        let mut offered = false;
        while !self.stop.load(Ordering::SeqCst) {
            let Some(said) = next(&mut page)? else { break };
            if let Some(said) = said.map(|text| self.hear(&text)) {
                match said {
                    Heard::Forward(text) => send(&mut gateway, text)?,
                    Heard::Rejected(cause) => {
                        let bye = json!({ "type": "bye", "q850_cause": cause, "reason": "call rejected" });
                        send(&mut page, bye.to_string())?;
                        break;
                    }
                }
            }
            let Some(said) = next(&mut gateway)? else {
                break;
            };
            if let Some(text) = said {
                let answered = !offered && text.starts_with(r#"{"type":"answer""#);
                send(&mut page, text)?;
                if answered {
                    offered = true;
                    let incoming = json!({ "type": "incoming", "call_sid": CALL_SID, "from": CALLER, "to": CALLED });
                    send(&mut page, incoming.to_string())?;
                }
            }
        }
        let normal = CloseFrame {
            code: 1000.into(),
            reason: "".into(),
        };
        close(&mut page, normal.clone());
        close(&mut gateway, normal);
        Ok(())
    }

    /// What becomes of a page's message.
    fn hear(&self, text: &str) -> Heard {
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        let keep = |message: Value| {
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.push(message);
        };
        match message["type"].as_str() {
            Some("accept") => {
                keep(message);
                Heard::Forward(json!({ "type": "dial", "to": CALLED }).to_string())
            }
            Some("reject") => {
                let cause = message["q850_cause"].clone();
                keep(message);
                Heard::Rejected(cause)
            }
            _ => Heard::Forward(text.to_owned()),
        }
    }

    fn dial(&self) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.gateway, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let tls = ClientConnection::new(Arc::clone(&self.tls), name).map_err(io::Error::other)?;
        Ok(StreamOwned::new(tls, stream))
    }

    fn open(&self, target: &str, protocols: &[String]) -> io::Result<Upstream> {
        let uri = format!("wss://localhost:{}{target}", self.gateway.port());
        let uri = uri.parse().map_err(io::Error::other)?;
        let mut request = ClientRequestBuilder::new(uri).with_header("Origin", ORIGIN);
        for protocol in protocols {
            request = request.with_sub_protocol(protocol);
        }
        tungstenite::client(request, self.dial()?)
            .map(|(socket, _)| socket)
            .map_err(|error| io::Error::other(error.to_string()))
    }
}

enum Heard {
    Forward(String),
    Rejected(Value),
}

/// The next text, if one comes in its turn; nothing at all once the socket is closed.
fn next<S: Read + Write>(socket: &mut WebSocket<S>) -> io::Result<Option<Option<String>>> {
    match socket.read() {
        Ok(Message::Text(text)) => Ok(Some(Some(text.to_string()))),
        Ok(Message::Close(_)) => Ok(None),
        Ok(_) => Ok(Some(None)),
        Err(tungstenite::Error::Io(error))
            if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
        {
            Ok(Some(None))
        }
        Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => Ok(None),
        Err(error) => Err(io::Error::other(error)),
    }
}

fn send<S: Read + Write>(socket: &mut WebSocket<S>, text: String) -> io::Result<()> {
    socket.send(Message::text(text)).map_err(io::Error::other)
}

/// Closes and waits until the other side has done so, or is too slow.
fn close<S: Read + Write>(socket: &mut WebSocket<S>, frame: CloseFrame) {
    let _ = socket.close(Some(frame));
    for _ in 0..100 {
        match socket.read() {
            Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
            Ok(_) => {}
        }
    }
}
