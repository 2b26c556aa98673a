//! Who is dialled: an AI agent, Vapi's API with its sockets, Twilio's API. HTTP/1.1 and upgrades on one port of loopback.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use tungstenite::WebSocket;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;

use super::driver::{Bytes, Socket};
use super::{AudioWire, StreamPeer, StreamPeerError};

/// How long the listener sleeps in between.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// How long a connection may be silent.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest head, and the longest body.
const HEAD_BYTES_MAX: usize = 16 << 10;
const BODY_BYTES_MAX: usize = 1 << 20;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    /// When.
    pub at: Instant,
    /// `POST` and the like.
    pub method: String,
    /// With its query.
    pub path: String,
    /// In the order in which they came.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: String,
}

impl HttpRequest {
    /// A header by its name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// It asks for a WebSocket.
    pub fn is_upgrade(&self) -> bool {
        self.header("Upgrade")
            .is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket"))
    }
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// 101, and a stream.
    Upgrade,
    /// A status and JSON.
    Json(u16, Value),
    /// 307 to this URL.
    Redirect(String),
    /// Nothing, until the other side gives up.
    Silence,
}

/// How a service answers.
pub struct ServiceConfig {
    /// What its sockets carry.
    pub wire: AudioWire,
    /// None: plain.
    pub tls: Option<Arc<ServerConfig>>,
    /// Asked for each request, by many threads.
    pub answer: Box<dyn Fn(&HttpRequest) -> Reply + Send + Sync>,
}

impl ServiceConfig {
    /// Takes every upgrade, and knows no other request.
    pub fn new(wire: AudioWire) -> Self {
        Self {
            wire,
            tls: None,
            answer: Box::new(|request| match request.is_upgrade() {
                true => Reply::Upgrade,
                false => Reply::Json(404, Value::Null),
            }),
        }
    }
}

#[derive(Default)]
struct Taken {
    requests: Vec<HttpRequest>,
    streams: Vec<Arc<StreamPeer>>,
}

struct Shared {
    config: ServiceConfig,
    taken: Mutex<Taken>,
    changed: Condvar,
    stop: AtomicBool,
}

/// A running service. Dropping it closes its port; its streams live as long as somebody has them.
pub struct StreamService {
    shared: Arc<Shared>,
    local: SocketAddr,
}

impl StreamService {
    /// Listens at a free port of loopback.
    ///
    /// # Errors
    /// There is no port.
    pub fn start(config: ServiceConfig) -> io::Result<Self> {
        Self::listen(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, config)
    }

    /// Listens where its own address had to be known before.
    ///
    /// # Errors
    /// The socket.
    pub fn listen(listener: TcpListener, config: ServiceConfig) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let local = listener.local_addr()?;
        let shared = Arc::new(Shared {
            config,
            taken: Mutex::default(),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Ok(Self { shared, local })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Every request so far, upgrades too.
    pub fn requests(&self) -> Vec<HttpRequest> {
        self.lock().requests.clone()
    }

    /// How many streams there were.
    pub fn streams(&self) -> usize {
        self.lock().streams.len()
    }

    /// Waits for the `number`th request (from 0).
    ///
    /// # Errors
    /// [`StreamPeerError::Timeout`]
    pub fn wait_for_request(
        &self,
        number: usize,
        deadline: Instant,
    ) -> Result<HttpRequest, StreamPeerError> {
        self.wait(&format!("request {number}"), deadline, |taken| {
            taken.requests.get(number).cloned()
        })
    }

    /// Waits for the `number`th stream (from 0).
    ///
    /// # Errors
    /// [`StreamPeerError::Timeout`]
    pub fn wait_for_stream(
        &self,
        number: usize,
        deadline: Instant,
    ) -> Result<Arc<StreamPeer>, StreamPeerError> {
        self.wait(&format!("stream {number}"), deadline, |taken| {
            taken.streams.get(number).cloned()
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Taken> {
        let taken = self.shared.taken.lock();
        taken.unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<T>(
        &self,
        what: &str,
        deadline: Instant,
        look: impl Fn(&Taken) -> Option<T>,
    ) -> Result<T, StreamPeerError> {
        let mut taken = self.lock();
        loop {
            if let Some(found) = look(&taken) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let requests = taken.requests.iter();
                let seen: Vec<String> = requests
                    .map(|r| format!("{} {}", r.method, r.path))
                    .collect();
                return Err(StreamPeerError::Timeout {
                    what: what.to_owned(),
                    seen: seen.join(", "),
                });
            }
            let waited = self.shared.changed.wait_timeout(taken, left);
            (taken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for StreamService {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.stop.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((tcp, _)) => {
                let shared = Arc::clone(shared);
                std::thread::spawn(move || {
                    // Who says nothing sensible learns it from the end of the connection.
                    let _ = serve(tcp, &shared);
                });
            }
            Err(_) => std::thread::sleep(POLL_INTERVAL),
        }
    }
}

fn serve(tcp: TcpStream, shared: &Shared) -> io::Result<()> {
    tcp.set_nonblocking(false)?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(TIMEOUT))?;
    tcp.set_write_timeout(Some(TIMEOUT))?;
    let mut stream: Bytes = match &shared.config.tls {
        None => Box::new(tcp.try_clone()?),
        Some(tls) => {
            let connection = ServerConnection::new(Arc::clone(tls)).map_err(io::Error::other)?;
            Box::new(StreamOwned::new(connection, tcp.try_clone()?))
        }
    };
    let mut read = Vec::new();
    while let Some(request) = next_request(&mut stream, &mut read)? {
        shared.change(|taken| taken.requests.push(request.clone()));
        match (shared.config.answer)(&request) {
            Reply::Upgrade => {
                let key = request.header("Sec-WebSocket-Key").unwrap_or_default();
                let head = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Accept: {}\r\n\r\n",
                    derive_accept_key(key.as_bytes())
                );
                stream.write_all(head.as_bytes())?;
                stream.flush()?;
                let socket = WebSocket::from_partially_read(stream, read, Role::Server, None);
                let peer = StreamPeer::start(Socket { socket, tcp }, shared.config.wire.clone());
                shared.change(|taken| taken.streams.push(Arc::new(peer)));
                return Ok(());
            }
            Reply::Json(status, body) => respond(&mut stream, status, "", &body.to_string())?,
            Reply::Redirect(url) => {
                respond(&mut stream, 307, &format!("Location: {url}\r\n"), "{}")?;
            }
            Reply::Silence => {
                let mut nothing = [0; 1];
                let _ = stream.read(&mut nothing);
                return Ok(());
            }
        }
    }
    Ok(())
}

fn respond(stream: &mut Bytes, status: u16, headers: &str, body: &str) -> io::Result<()> {
    let answer = format!(
        "HTTP/1.1 {status} .\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes())?;
    stream.flush()
}

/// The next request; what came behind it stays in `read`. None at the end of the connection.
fn next_request(stream: &mut Bytes, read: &mut Vec<u8>) -> io::Result<Option<HttpRequest>> {
    let end = loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if read.len() > HEAD_BYTES_MAX || !read_more(stream, read)? {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    read.drain(..end);
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let mut request = HttpRequest {
        at: Instant::now(),
        method: words.next().unwrap_or_default().to_owned(),
        path: words.next().unwrap_or_default().to_owned(),
        headers: lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect(),
        body: String::new(),
    };
    let len = request.header("Content-Length").map_or(Ok(0), str::parse);
    let len: usize = len.map_err(io::Error::other)?;
    while read.len() < len.min(BODY_BYTES_MAX) {
        if !read_more(stream, read)? {
            return Ok(None);
        }
    }
    let body: Vec<u8> = read.drain(..len.min(BODY_BYTES_MAX)).collect();
    request.body = String::from_utf8_lossy(&body).into_owned();
    Ok(Some(request))
}

fn read_more(stream: &mut Bytes, read: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    let len = stream.read(&mut buffer)?;
    read.extend_from_slice(&buffer[..len]);
    Ok(len > 0)
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut Taken)) {
        change(&mut self.taken.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}
