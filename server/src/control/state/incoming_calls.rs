//! A call that a SIP trunk brings: who takes it, on which shard, or why nobody does.

use std::sync::Arc;

use shards::owner::owner;

use super::{ControlState, Errand, IncomingWebhook, Now};
use crate::call::q850::Q850Cause;
use crate::call::rings::{IncomingCall, IncomingTarget, ToShard, VendorDialTarget};
use crate::call::{CallAccount, CallIdentity, CallMachine, HangupReason};
use crate::config::TrunkKind;
use crate::control::incoming::{self, Decision, IncomingRefusal};
use crate::fault::Refusal;
use crate::id::{CallSid, TenantId, TrunkId};
use crate::trunk::sip::agent::IncomingInvite;
use crate::trunk::sip::cause;
use crate::trunk::sip::message::StatusCode;

impl ControlState {
    /// Somebody calls over a SIP trunk.
    pub(super) fn handle_incoming(&mut self, now: Now, invite: IncomingInvite) {
        let config = Arc::clone(&self.config);
        let trunk = config.trunks.get(&invite.trunk_id);
        let tenant = trunk.and_then(|trunk| config.tenants.get(&trunk.tenant_id));
        let (Some(trunk), Some(tenant)) = (trunk, tenant) else {
            // A reload took the trunk away in this very moment.
            let (status, cause) = (StatusCode(480), Q850Cause::TEMPORARY_FAILURE);
            return self
                .signalling
                .refuse_incoming(now.instant, invite.leg, status, cause);
        };
        let TrunkKind::Sip(sip) = &trunk.kind else {
            return;
        };
        let decision = incoming::decide(
            tenant,
            &invite.trunk_id,
            sip,
            &invite.to,
            &mut self.waiting,
            &self.announcements,
        );
        let shard = match &decision {
            Decision::Take(IncomingTarget::Session(session)) => session.shard,
            _ => owner(tenant.tenant_id.as_str(), self.shards),
        };
        let call_sid = CallSid::new(shard, self.call_names.bytes());
        let opened = match decision {
            Decision::Refuse(refused) => Err(refused),
            Decision::Take(target) => self
                .desk
                .open_incoming_call(now.instant, call_sid, &tenant.tenant_id, &invite.trunk_id)
                .and_then(|()| self.take_agent_channel(call_sid, &invite.trunk_id, &target))
                .map(|()| target)
                .map_err(|refusal| IncomingRefusal {
                    status: cause::status_of(refusal.cause),
                    refusal,
                    webhook_url: None,
                }),
        };
        match opened {
            Ok(target) => {
                let rings = matches!(
                    target,
                    IncomingTarget::Session(_) | IncomingTarget::Agent(_)
                );
                self.signalling
                    .take_incoming(now.instant, invite.leg, call_sid, rings);
                let call = IncomingCall {
                    call_sid,
                    tenant_id: tenant.tenant_id.clone(),
                    trunk_id: invite.trunk_id,
                    from: invite.from,
                    to: invite.to,
                    target,
                };
                self.outbox
                    .push_back((shard, ToShard::Incoming(Box::new(call))));
            }
            Err(refused) => self.refuse_incoming(now, call_sid, &tenant.tenant_id, invite, refused),
        }
    }

    /// A call that the agent of another trunk takes counts against that trunk too.
    fn take_agent_channel(
        &mut self,
        call_sid: CallSid,
        came_over: &TrunkId,
        target: &IncomingTarget,
    ) -> Result<(), Refusal> {
        let IncomingTarget::Agent(VendorDialTarget::Agent(trunk_id)) = target else {
            return Ok(());
        };
        if trunk_id == came_over {
            return Ok(());
        }
        let taken = self.desk.take_agent_channel(call_sid, trunk_id);
        if taken.is_err() {
            self.desk.close_call(call_sid);
        }
        taken
    }

    /// A refused call is told like any other: CREATE and HANGUP_COMPLETE.
    fn refuse_incoming(
        &mut self,
        now: Now,
        call_sid: CallSid,
        tenant_id: &TenantId,
        invite: IncomingInvite,
        refused: IncomingRefusal,
    ) {
        let IncomingRefusal {
            status,
            refusal,
            webhook_url,
        } = refused;
        self.signalling
            .refuse_incoming(now.instant, invite.leg, status, refusal.cause);
        tracing::info!(%call_sid, %tenant_id, trunk_id = %invite.trunk_id, status = status.0,
            fault = refusal.fault.as_str(), reason = refusal.message, "incoming call refused");
        if let Some(url) = webhook_url {
            self.order_errand(Errand::Webhook(Box::new(IncomingWebhook {
                url,
                event: "incoming_call",
                call_sid,
                tenant_id: tenant_id.clone(),
                trunk_id: invite.trunk_id.clone(),
                from: invite.from,
                to: invite.to,
                timestamp_ms: now.unix.0,
            })));
        }
        let identity = CallIdentity {
            call_sid,
            tenant_id: tenant_id.clone(),
            trunk_id: invite.trunk_id,
            client_id: String::new(),
        };
        let (mut machine, created) = CallMachine::create(identity, now.unix);
        self.handle_event(&created);
        if let Some(record) = machine.end(
            now.unix,
            HangupReason::from(refusal),
            CallAccount::default(),
        ) {
            self.handle_end(Arc::new(record));
        }
    }
}
