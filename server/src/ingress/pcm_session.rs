//! From an admitted head of a vendor whose socket carries audio to a session of the switch.

use std::rc::Rc;
use std::sync::Arc;

use super::accept::{Front, Place};
use super::browser_socket;
use super::connection::Connection;
use super::http::RequestHead;
use super::route::Vendor;
use crate::config::TenantConfig;
use crate::fault::{Fault, Refusal, RefusalCode};

/// Upgrades `connection` and closes it: the switch has no place for it yet.
pub(super) async fn open(
    _front: Rc<Front>,
    connection: Connection,
    head: RequestHead,
    _tenant: Arc<TenantConfig>,
    vendor: Vendor,
    place: Place,
) {
    let message = format!("{} calls are not carried yet", vendor.as_str());
    let refusal = Refusal::new(RefusalCode::Internal, Fault::Us, message);
    browser_socket::refuse(connection, &head, refusal, place).await;
}
