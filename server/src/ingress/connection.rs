//! One connection from top to bottom: TLS, the HTTP head, the route; then an answer, a hand-off to the owning shard,
//! or a session on this one.
//!
//! Before 101 a refusal is an HTTP status with `{code,message,fault}`; what a page must be able to read is a close
//! after 101 (contracts section 4), because browsers hide the status of a failed upgrade.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use std::sync::Arc;

use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt};
use shards::executor::sleep;
use shards::tls::{self, LiveConnection, TlsStream};
use shards::{ShardIndex, owner};
use smallvec::SmallVec;
use tracing::{debug, info};

use super::accept::{Front, Pending, Place};
use super::http::{self, HeadError, RequestHead};
use super::route::{Route, Vendor, route};
use super::{browser_socket, page, pcm_session, vendor_upgrade};
use crate::auth::{ResumeToken, origin_allowed};
use crate::config::TenantConfig;
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::id::TenantId;
use crate::metrics::ConnectionRefusal;
use crate::settings::Settings;

/// How long an answer may take to leave.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long a caller that is refused in the middle of what it sends may pause before the socket is closed on it.
const LINGER_IDLE: Duration = Duration::from_millis(250);
/// The most that is read of what it sends.
const LINGER_BYTES_MAX: usize = 1 << 20;
/// Read size for the head; the WebSocket's own buffers are tungstenite's.
const READ_LEN: usize = 4096;

/// A fresh connection: TLS first.
pub(super) async fn serve_accepted(
    front: Rc<Front>,
    stream: glommio::net::TcpStream,
    peer: SocketAddr,
    place: Place,
) {
    let pending = Pending::new(&front.metrics);
    let handshake_within =
        Duration::from_millis(front.shards_config.tls_handshake_timeout_ms.into());
    let tls = match within(
        handshake_within,
        tls::accept(Arc::clone(&front.settings().tls), stream),
    )
    .await
    {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => {
            front.metrics.refused(ConnectionRefusal::Tls);
            debug!(%peer, %error, "TLS handshake failed");
            return;
        }
        Err(TimedOut) => {
            front.metrics.refused(ConnectionRefusal::TlsTimeout);
            return;
        }
    };
    let mut connection = Connection {
        tls: Box::new(tls),
        peer,
        read: Vec::new(),
    };
    let head_within = Duration::from_millis(front.shards_config.http_head_timeout_ms.into());
    let head = within(
        head_within,
        connection.read_head(front.shards_config.http_head_bytes_max),
    )
    .await;
    drop(pending);
    match head {
        Ok(Ok(head)) => dispatch(front, connection, head, place).await,
        Ok(Err(failure)) => connection.refuse_head(&front, failure).await,
        Err(TimedOut) => {
            front.metrics.refused(ConnectionRefusal::HttpTimeout);
            let refusal = Refusal::new(
                RefusalCode::Timeout,
                Fault::Caller,
                "the request head came too slowly",
            );
            connection.answer(&http::refusal_response(&refusal)).await;
        }
    }
}

/// A connection that another shard accepted and found to be ours: the head is in `live.head`, read already.
pub(super) async fn serve_handed_over(front: Rc<Front>, live: LiveConnection, place: Place) {
    let tls_config = Arc::clone(&front.settings().tls);
    let (tls, read, peer) = match tls::attach(live, tls_config).await {
        Ok(attached) => attached,
        Err(error) => {
            front.metrics.refused(ConnectionRefusal::Tls);
            debug!(%error, "a handed-over connection could not be taken up");
            return;
        }
    };
    let tls = Box::new(tls);
    let connection = Connection { tls, peer, read };
    match http::parse_head(&connection.read) {
        Ok(Some(head)) => dispatch(front, connection, head, place).await,
        // The accepting shard has parsed the same bytes.
        Ok(None) | Err(_) => front.metrics.refused(ConnectionRefusal::HttpMalformed),
    }
}

/// A TLS stream with what was read of it so far.
pub(super) struct Connection {
    /// Boxed, for it goes through many a future, and each keeps room for what it was given.
    pub(super) tls: Box<TlsStream>,
    pub(super) peer: SocketAddr,
    pub(super) read: Vec<u8>,
}

enum HeadFailure {
    Invalid(HeadError),
    TooLong,
    Closed,
}

impl Connection {
    async fn read_head(&mut self, bytes_max: usize) -> Result<RequestHead, HeadFailure> {
        let mut buffer = vec![0; READ_LEN];
        loop {
            if let Some(head) = http::parse_head(&self.read).map_err(HeadFailure::Invalid)? {
                return Ok(head);
            }
            if self.read.len() >= bytes_max {
                return Err(HeadFailure::TooLong);
            }
            match self.tls.read(&mut buffer).await {
                Ok(0) | Err(_) => return Err(HeadFailure::Closed),
                Ok(len) => self.read.extend_from_slice(&buffer[..len]),
            }
        }
    }

    async fn refuse_head(mut self, front: &Front, failure: HeadFailure) {
        let (reason, status, message) = match failure {
            HeadFailure::Invalid(error) => {
                (ConnectionRefusal::HttpMalformed, None, error.to_string())
            }
            HeadFailure::TooLong => {
                let message = format!(
                    "the head is longer than {} bytes",
                    front.shards_config.http_head_bytes_max
                );
                (ConnectionRefusal::HttpTooLong, Some(431), message)
            }
            HeadFailure::Closed => return,
        };
        front.metrics.refused(reason);
        let refusal = Refusal::new(RefusalCode::Malformed, Fault::Caller, message);
        let answer = match status {
            Some(status) => http::refusal_response_with_status(&refusal, status),
            None => http::refusal_response(&refusal),
        };
        self.write_answer(&answer).await;
        if matches!(reason, ConnectionRefusal::HttpTooLong) {
            linger(&mut self.tls).await;
        }
    }

    /// Writes a whole answer and closes.
    pub(super) async fn answer(mut self, answer: &str) {
        self.write_answer(answer).await;
    }

    async fn write_answer(&mut self, answer: &str) {
        let write = async {
            self.tls.write_all(answer.as_bytes()).await?;
            self.tls.flush().await?;
            self.tls.close().await
        };
        if let Ok(Err(error)) = within(ANSWER_WITHIN, write).await {
            debug!(peer = %self.peer, %error, "an answer did not leave");
        }
    }
}

async fn dispatch(front: Rc<Front>, connection: Connection, head: RequestHead, place: Place) {
    let route = match route(head.path()) {
        Ok(route) => route,
        Err(error) => {
            front.metrics.refused(ConnectionRefusal::NotFound);
            let refusal = Refusal::new(RefusalCode::NotFound, Fault::Caller, error.to_string());
            return connection.answer(&http::refusal_response(&refusal)).await;
        }
    };
    if head.method != "GET" {
        let refusal = Refusal::new(
            RefusalCode::Malformed,
            Fault::Caller,
            "only GET is served here",
        );
        return connection
            .answer(&http::refusal_response_with_status(&refusal, 405))
            .await;
    }
    match route {
        Route::Healthz => {
            let failed = front.state.unhealthy.load(Ordering::Relaxed);
            connection
                .answer(&status_page(!failed, "a shard has died"))
                .await;
        }
        Route::Readyz => {
            let ready = front.state.ready.load(Ordering::Relaxed)
                && !front.state.draining.load(Ordering::Relaxed);
            connection
                .answer(&status_page(ready, "starting or draining"))
                .await;
        }
        Route::Page(asset) if front.settings().config.server.demo_page => {
            connection.answer(&page::response(asset)).await
        }
        Route::Page(_) => {
            let refusal = Refusal::new(
                RefusalCode::NotFound,
                Fault::Config,
                "the page is off: [server] demo_page",
            );
            connection.answer(&http::refusal_response(&refusal)).await;
        }
        Route::Signal {
            vendor,
            tenant_id,
            rest: _,
        } => signal(front, connection, head, vendor, tenant_id, place).await,
    }
}

fn status_page(good: bool, otherwise: &str) -> String {
    match good {
        true => http::response(200, "text/plain; charset=utf-8", "ok\n"),
        false => http::response(503, "text/plain; charset=utf-8", &format!("{otherwise}\n")),
    }
}

/// What ends soon is on the heap, so that the future of a session has no room for it.
async fn signal(
    front: Rc<Front>,
    connection: Connection,
    head: RequestHead,
    vendor: Vendor,
    tenant_id: TenantId,
    place: Place,
) {
    let admitted = match admit(&front, &head, vendor, &tenant_id) {
        Ok(admitted) => admitted,
        Err((reason, how)) => {
            front.metrics.refused(reason);
            return match how {
                Told::ByStatus(refusal, status) => {
                    connection
                        .answer(&http::refusal_response_with_status(&refusal, status))
                        .await;
                }
                Told::ByClose(refusal) => {
                    Box::pin(browser_socket::refuse(connection, &head, refusal, place)).await;
                }
            };
        }
    };
    let resumed = resumed_shard(&head).filter(|_| vendor == Vendor::Browser);
    if let Some(shard) = resumed.filter(|shard| shard.0 < front.shards) {
        // The call's own shard, which need not be the first that the tenant's hash names.
        if shard == front.shard {
            let tenant = admitted.tenant;
            return browser_socket::run(front, connection, head, tenant_id, tenant, place).await;
        }
        return Box::pin(hand_off(&front, connection, shard)).await;
    }
    let owners: SmallVec<[ShardIndex; 4]> =
        owner::owners(tenant_id.as_str(), front.shards, admitted.spread).collect();
    if owners.contains(&front.shard) {
        // Before the token and the DTLS handshake. A page that comes back to its call was let through above.
        if let Err(refusal) = front.switch.has_room_for_a_page() {
            front.metrics.refused(ConnectionRefusal::Overload);
            if vendor != Vendor::Browser {
                let answer = http::refusal_response(&refusal);
                return Box::pin(connection.answer(&answer)).await;
            }
            return Box::pin(browser_socket::refuse(connection, &head, refusal, place)).await;
        }
        let tenant = admitted.tenant;
        if vendor == Vendor::Browser {
            return browser_socket::run(front, connection, head, tenant_id, tenant, place).await;
        }
        // Only a page that comes back may have no tenant.
        let Some(tenant) = tenant else { return };
        return Box::pin(pcm_session::open(
            front, connection, head, tenant, vendor, place,
        ))
        .await;
    }
    let owner = owners[usize::from(connection.peer.port()) % owners.len()];
    Box::pin(hand_off(&front, connection, owner)).await;
}

/// The shard that a head's resume token names.
fn resumed_shard(head: &RequestHead) -> Option<ShardIndex> {
    let token: ResumeToken = browser_socket::offered_resume(head)?.parse().ok()?;
    Some(token.shard())
}

struct Admitted {
    /// None where a socket of a tenant that was taken out comes back.
    tenant: Option<Arc<TenantConfig>>,
    spread: u16,
}

enum Told {
    ByStatus(Refusal, u16),
    ByClose(Refusal),
}

/// What the head alone decides, on whatever shard accepted it.
fn admit(
    front: &Front,
    head: &RequestHead,
    vendor: Vendor,
    tenant_id: &TenantId,
) -> Result<Admitted, (ConnectionRefusal, Told)> {
    let by_status = |code: RefusalCode, fault, message: String| {
        let refusal = Refusal::new(code, fault, message);
        Told::ByStatus(refusal, code.http_status())
    };
    let browser = vendor == Vendor::Browser;
    let resumes = browser && browser_socket::offered_resume(head).is_some();
    // Calls go on while the gateway drains, so their pages may come back.
    if front.state.draining.load(Ordering::Relaxed) && !resumes {
        let told = by_status(
            RefusalCode::Draining,
            Fault::Us,
            "the gateway drains; try another".into(),
        );
        return Err((ConnectionRefusal::Draining, told));
    }
    let settings = front.settings();
    let tenant = (settings.config.tenants.get(tenant_id))
        .filter(|tenant| vendor_upgrade::is_configured(vendor, tenant));
    if head.websocket_key.is_none() {
        let told = by_status(
            RefusalCode::Malformed,
            Fault::Caller,
            "a WebSocket upgrade is needed here".into(),
        );
        return Err((ConnectionRefusal::HttpMalformed, told));
    }
    let Some(tenant) = tenant else {
        if resumes {
            // A call outlives its tenant's entry; the token is bound to tenant and Origin.
            return Ok(Admitted {
                tenant: None,
                spread: 1,
            });
        }
        let message = format!(
            "no tenant {tenant_id} that takes {} callers",
            vendor.as_str()
        );
        let refusal = Refusal::new(RefusalCode::NotFound, Fault::Config, message);
        let told = if browser {
            Told::ByClose(refusal)
        } else {
            Told::ByStatus(refusal, 404)
        };
        return Err((ConnectionRefusal::NotFound, told));
    };
    check_caller(&settings, head, vendor, tenant)?;
    let spread = front
        .shards_config
        .spread
        .get(tenant_id)
        .copied()
        .unwrap_or(1);
    Ok(Admitted {
        tenant: Some(Arc::clone(tenant)),
        spread,
    })
}

/// What the tenant wants of a caller before 101: a page's Origin, a vendor's credential.
fn check_caller(
    settings: &Settings,
    head: &RequestHead,
    vendor: Vendor,
    tenant: &TenantConfig,
) -> Result<(), (ConnectionRefusal, Told)> {
    let (reason, refusal) = if let (Vendor::Browser, Some(browser)) = (vendor, &tenant.browser) {
        if origin_allowed(&browser.origins, head.origin.as_deref()) {
            return Ok(());
        }
        let message = "this Origin is not allowed for the tenant";
        let refusal = Refusal::new(RefusalCode::Scope, Fault::Caller, message);
        (ConnectionRefusal::Origin, refusal)
    } else {
        let public_url = &settings.config.server.public_url;
        let Err(refusal) = vendor_upgrade::verify(vendor, head, public_url, tenant) else {
            return Ok(());
        };
        (ConnectionRefusal::Auth, refusal)
    };
    info!(tenant_id = %tenant.tenant_id, vendor = vendor.as_str(), fault = refusal.fault.as_str(),
        reason = refusal.message, "upgrade refused");
    let status = refusal.code.http_status();
    Err((reason, Told::ByStatus(refusal, status)))
}

async fn hand_off(front: &Front, connection: Connection, owner: ShardIndex) {
    let Connection { tls, peer, read } = connection;
    let live = match tls::detach(*tls, read, peer) {
        Ok(live) => live,
        Err(error) => {
            front.metrics.refused(ConnectionRefusal::HandOff);
            debug!(%peer, %error, "a connection could not be detached");
            return;
        }
    };
    let sent = front.mesh.borrow_mut().send(owner, live);
    match sent {
        Ok(()) => front.metrics.hand_offs_sent.increment(),
        Err(full) => {
            front.metrics.ring_full.increment();
            front.metrics.refused(ConnectionRefusal::HandOff);
            refuse_full_ring(front, full.0).await;
        }
    }
}

/// The owner is busy: take the connection back and say so.
async fn refuse_full_ring(front: &Front, live: LiveConnection) {
    let tls_config = Arc::clone(&front.settings().tls);
    if let Ok((tls, read, peer)) = tls::attach(live, tls_config).await {
        let refusal = Refusal::new(
            RefusalCode::Overload,
            Fault::Us,
            "the tenant's shard takes no more connections now",
        );
        let tls = Box::new(tls);
        Connection { tls, peer, read }
            .answer(&http::refusal_response(&refusal))
            .await;
    }
}

/// Takes what a refused caller is still sending. Closing on unread bytes resets the connection (RFC 9112 section 9.6), and the
/// caller may lose the refusal.
pub(super) async fn linger(tls: &mut TlsStream) {
    // On the heap: a session's task has this future in it as long as the session lives.
    let mut rest = vec![0; READ_LEN];
    let mut taken = 0;
    while taken < LINGER_BYTES_MAX {
        match within(LINGER_IDLE, tls.read(&mut rest)).await {
            Ok(Ok(len)) if len > 0 => taken += len,
            Ok(_) | Err(TimedOut) => return,
        }
    }
}

/// A deadline passed.
pub(super) struct TimedOut;

/// Runs `future` for at most `limit`. It goes to the heap: a caller's own future lives as long as its call, and would keep
/// room for the handshake.
pub(super) fn within<T>(
    limit: Duration,
    future: impl Future<Output = T>,
) -> impl Future<Output = Result<T, TimedOut>> {
    let future = Box::pin(future);
    let late = async move {
        sleep(limit).await;
        Err(TimedOut)
    };
    async move { Ok(future.await) }.or(late)
}
