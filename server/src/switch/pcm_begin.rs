//! How the call of a peer with a WebSocket of audio begins: its token, where the tenant wants one, then the dial. Both ask the
//! control thread, so they are a task of their own, outside of the media loop's turn.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use shards::executor::task;
use tracing::info;

use super::sessions::DialRequest;
use super::{SessionKey, SwitchHandle, Timer};
use crate::auth;
use crate::auth::session_auth::SCOPE_DIAL;
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::metrics::ConnectionRefusal;
use crate::pcm::Begin;

/// What a peer asked for in this turn.
pub(super) struct AskedCall {
    pub(super) session: SessionKey,
    /// [`super::sessions::Session::serial`]: another session may have the key by the time somebody has answered.
    pub(super) serial: u64,
    pub(super) begin: Begin,
}

/// Begins what was asked for in this turn.
pub(super) fn begin_calls(switch: &SwitchHandle, asked: Vec<AskedCall>) {
    for call in asked {
        let (key, serial) = (call.session, call.serial);
        let (this, after) = (switch.clone(), switch.clone());
        let begin = async move { this.begin_pcm_call(call).await };
        task("call of a WebSocket of audio", begin, move |panicked| {
            let is_there = after.is_session(key, serial);
            let mut switch = after.0.borrow_mut();
            match is_there {
                true => {
                    switch.after_panic(Instant::now(), Timer::Session(key), &panicked.message);
                }
                false => switch.count_panic(&panicked.message, "the call of a session that left"),
            }
        });
    }
}

impl SwitchHandle {
    pub(super) async fn begin_pcm_call(&self, call: AskedCall) {
        let (key, serial) = (call.session, call.serial);
        if !self.is_session(key, serial) {
            return;
        }
        let allowed = self.check_token(key, &call.begin).await;
        // Nobody is asked between this look and the call's own memory of its session.
        if !self.is_session(key, serial) {
            return;
        }
        let begun = match allowed {
            Ok(()) => self.dial(key, request(call.begin)).await.map(drop),
            Err(refusal) => {
                self.token_refused(key, &refusal);
                Err(refusal)
            }
        };
        if let Err(refusal) = begun
            && self.is_session(key, serial)
        {
            let mut switch = self.0.borrow_mut();
            switch.refuse_pcm_session(Instant::now(), key, &refusal);
        }
    }

    /// Whether it is still the same session that has this key.
    fn is_session(&self, key: SessionKey, serial: u64) -> bool {
        let switch = self.0.borrow();
        let session = switch.sessions.get(key.0);
        session.is_some_and(|session| session.serial == serial)
    }

    fn token_refused(&self, key: SessionKey, refusal: &Refusal) {
        let switch = self.0.borrow();
        let Some(session) = switch.sessions.get(key.0) else {
            return;
        };
        switch.metrics.refused(ConnectionRefusal::Auth);
        info!(
            shard = switch.shard.0,
            tenant_id = %session.tenant.tenant_id,
            code = refusal.code.as_str(),
            fault = refusal.fault.as_str(),
            reason = refusal.message,
            "session refused"
        );
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
                Fault::Caller,
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
