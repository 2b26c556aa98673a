//! What is told to somebody outside that no call waits for: webhooks, and hang-ups at Twilio and Vapi.

use std::sync::Arc;

use super::ControlState;
use crate::call::dialled::{VapiControl, VapiDialled};
use crate::config::{Secret, TenantConfig};
use crate::id::{CallSid, TenantId, TrunkId};

/// Something to be told to somebody that no call waits for.
#[derive(Debug, Clone)]
pub enum Errand {
    /// A webhook is to be told.
    Webhook(Box<IncomingWebhook>),
    /// Twilio is to end its call.
    TwilioHangUp {
        /// Whose credentials.
        tenant: Arc<TenantConfig>,
        /// Twilio's name for the call.
        vendor_call: String,
    },
    /// Vapi is to end a call whose socket nobody uses.
    VapiHangUp {
        /// The call, as our events name it: Vapi's own name is the key to its socket.
        call_sid: CallSid,
        /// Whose call.
        tenant: Arc<TenantConfig>,
        /// Where it is ended.
        control_url: Secret,
    },
}

/// A webhook that is to be told of an incoming call (`NOTIFY_AND_HANGUP`).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct IncomingWebhook {
    /// Where.
    #[serde(skip)]
    pub url: String,
    /// Always `incoming_call`.
    pub event: &'static str,
    /// The call, as its CallEvents name it.
    pub call_sid: CallSid,
    /// Whose trunk.
    pub tenant_id: TenantId,
    /// Over which trunk.
    pub trunk_id: TrunkId,
    /// Who called.
    pub from: String,
    /// The number that was called.
    pub to: String,
    /// Unix ms.
    pub timestamp_ms: i64,
}

/// Errands that may wait; those beyond are not run.
pub(super) const ERRANDS_MAX: usize = 1024;

impl ControlState {
    /// The next errand to run.
    pub fn poll_errand(&mut self) -> Option<Errand> {
        self.errands.pop_front()
    }

    pub(super) fn hang_up_at_twilio(&mut self, tenant_id: &TenantId, vendor_call: String) {
        // Without credentials, or a tenant by now, closing the stream is all that can be done.
        let tenant = self.config.tenants.get(tenant_id);
        let with_rest = |tenant: &&Arc<TenantConfig>| {
            let twilio = tenant.twilio.as_ref();
            twilio.is_some_and(|twilio| twilio.rest.is_some())
        };
        if let Some(tenant) = tenant.filter(with_rest) {
            let tenant = Arc::clone(tenant);
            self.order_errand(Errand::TwilioHangUp {
                tenant,
                vendor_call,
            });
        }
    }

    pub(super) fn hang_up_at_vapi(&mut self, call_sid: CallSid, vapi: VapiDialled) {
        let VapiDialled { tenant, control } = vapi;
        match control {
            VapiControl::NoCall => {}
            VapiControl::Url(control_url) => self.order_errand(Errand::VapiHangUp {
                call_sid,
                tenant,
                control_url,
            }),
            VapiControl::Unnamed => {
                let tenant_id = &tenant.tenant_id;
                tracing::warn!(%call_sid, %tenant_id,
                    "Vapi's call goes on until its own timeouts: it has no monitor.controlUrl");
            }
        }
    }

    /// Errands that wait.
    pub fn errand_count(&self) -> usize {
        self.errands.len()
    }

    pub(super) fn order_errand(&mut self, errand: Errand) {
        if self.errands.len() < ERRANDS_MAX {
            self.errands.push_back(errand);
        } else {
            tracing::warn!("a webhook or a hang-up is not told: too many wait");
        }
    }
}
