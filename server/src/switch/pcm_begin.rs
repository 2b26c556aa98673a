//! How the call of a peer with a WebSocket of audio begins: its token, where the tenant wants one, then the dial. Both ask the
//! control thread, so they are a task of their own, outside of the media loop's turn.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use shards::executor::task;

use super::sessions::DialRequest;
use super::{SessionKey, SwitchHandle};
use crate::auth;
use crate::auth::session_auth::SCOPE_DIAL;
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::pcm::Begin;

/// Begins what was asked for in this turn.
pub(super) fn begin_calls(switch: &SwitchHandle, begins: Vec<(SessionKey, Begin)>) {
    for (key, begin) in begins {
        let (this, metrics) = (switch.clone(), switch.0.borrow().metrics.clone());
        let begin = async move { this.begin_pcm_call(key, begin).await };
        task("call of a WebSocket of audio", begin, move |_| {
            metrics.panics.increment();
        });
    }
}

impl SwitchHandle {
    async fn begin_pcm_call(&self, key: SessionKey, begin: Begin) {
        let serial = self.serial_of(key);
        let begun = match self.check_token(key, &begin).await {
            Ok(()) => self.dial(key, request(begin)).await.map(drop),
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = begun
            && self.serial_of(key) == serial
        {
            let mut switch = self.0.borrow_mut();
            switch.refuse_pcm_session(Instant::now(), key, &refusal);
        }
    }

    /// Which session has this key now: it may have gone while the control thread was asked.
    fn serial_of(&self, key: SessionKey) -> Option<u64> {
        let switch = self.0.borrow();
        switch.sessions.get(key.0).map(|session| session.serial)
    }

    /// `require_token`: an upgrade's signature can be repeated by whoever has seen it; a token can be used once.
    async fn check_token(&self, key: SessionKey, begin: &Begin) -> Result<(), Refusal> {
        let (settings, tenant_id) = {
            let switch = self.0.borrow();
            let Some(session) = switch.sessions.get(key.0) else {
                return Ok(());
            };
            let twilio = session.tenant.twilio.as_ref();
            if session.vendor != "twilio" || !twilio.is_some_and(|twilio| twilio.require_token) {
                return Ok(());
            }
            (switch.settings.clone(), session.tenant.tenant_id.clone())
        };
        let Some(token) = &begin.token else {
            let message = "customParameters has no \"token\", and the tenant wants one";
            return Err(Refusal::new(
                RefusalCode::TokenInvalid,
                Fault::Vendor,
                message,
            ));
        };
        let tenant = settings.config.tenants.get(&tenant_id);
        let keys = tenant.and_then(|tenant| tenant.browser.as_ref());
        let keys = keys
            .map(|browser| browser.keys.as_slice())
            .unwrap_or_default();
        let now_unix_s = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let gateway_key = settings.gateway_key.as_deref();
        let grant = auth::verify(
            token.expose(),
            now_unix_s,
            &tenant_id,
            None,
            keys,
            gateway_key,
        )?;
        grant.require(SCOPE_DIAL)?;
        self.use_token(tenant_id, grant.token_id, grant.expires_unix_s)
            .await
    }
}

fn request(begin: Begin) -> DialRequest {
    DialRequest {
        to: begin.to.unwrap_or_default(),
        trunk_id: begin.trunk_id,
        call_from: begin.call_from,
        client_id: begin.client_id,
    }
}
