//! From an admitted head to a socket of the switch: the 101, then the connection leaves glommio ([`shards::tls::detach`]) and the
//! media loop drains it at its tick. Twilio and Vapi relays come this way; no task is left behind.

use std::rc::Rc;
use std::sync::Arc;

use futures_lite::AsyncWriteExt;
use shards::tls;
use tracing::{debug, info};

use super::accept::{Front, Place};
use super::connection::{ANSWER_WITHIN, Connection, TimedOut, within};
use super::http::{self, RequestHead};
use super::route::Vendor;
use crate::config::TenantConfig;
use crate::metrics::ConnectionRefusal;
use crate::switch::PcmVendor;
use crate::websocket::handshake::accept_of;

/// Upgrades `connection` and gives it to the shard's switch. No subprotocol is selected: neither vendor offers one.
pub(super) async fn open(
    front: Rc<Front>,
    connection: Connection,
    head: RequestHead,
    tenant: Arc<TenantConfig>,
    vendor: Vendor,
    place: Place,
) {
    let vendor = match vendor {
        Vendor::Twilio => PcmVendor::Twilio,
        Vendor::Vapi => PcmVendor::Vapi,
        // Admission lets nobody else come here.
        Vendor::Browser | Vendor::LiveKit | Vendor::Daily | Vendor::Chime => return,
    };
    let Connection {
        mut tls,
        peer,
        read,
    } = connection;
    let Some(websocket_key) = head.websocket_key.as_deref() else {
        // Admission has seen that it is there.
        return front.metrics.refused(ConnectionRefusal::HttpMalformed);
    };
    let accept_key = accept_of(websocket_key);
    let answer = http::switching_protocols(&accept_key, None);
    let write = async {
        tls.write_all(answer.as_bytes()).await?;
        tls.flush().await
    };
    match within(ANSWER_WITHIN, write).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) | Err(TimedOut) => return,
    }
    let leftover = read.get(head.len..).unwrap_or_default().to_vec();
    let live = match tls::detach(*tls, leftover, peer) {
        Ok(live) => live,
        Err(error) => {
            front.metrics.refused(ConnectionRefusal::HandOff);
            debug!(%peer, %error, "a connection could not be detached");
            return;
        }
    };
    let tenant_id = tenant.tenant_id.clone();
    let opened = front
        .switch
        .open_pcm_session(tenant, vendor, live.into(), Box::new(place));
    match opened {
        Ok(()) => {
            debug!(%peer, %tenant_id, vendor = vendor.as_str(), shard = front.shard.0, "session opened");
        }
        Err(refusal) => {
            info!(%peer, %tenant_id, vendor = vendor.as_str(), shard = front.shard.0,
                reason = refusal.message, "a session could not be opened");
        }
    }
}
