//! Whose call an incoming INVITE is: the trunk's owner, its inbound route, a waiting page or what the route names, else the
//! trunk's `inbound_rule`. Pure; the slot is the desk's, the signalling the agent's.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::waiting::WaitingSessions;
use crate::call::Announcement;
use crate::call::q850::Q850Cause;
use crate::call::rings::{IncomingTarget, VendorDialTarget};
use crate::config::{
    EchoCodec, GatewayConfig, InboundRule, InboundTarget, SipTrunkConfig, TenantConfig, TrunkKind,
};
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::id::TrunkId;
use crate::trunk::sip::message::StatusCode;

/// The recordings that trunks name, read when the configuration is.
#[derive(Debug, Default)]
pub struct Announcements(HashMap<PathBuf, Arc<Announcement>>);

/// What becomes of an incoming call.
#[derive(Debug)]
pub enum Decision {
    /// Somebody takes it.
    Take(IncomingTarget),
    /// It is refused.
    Refuse(IncomingRefusal),
}

/// Why an incoming call is refused, and with what.
#[derive(Debug, Clone)]
pub struct IncomingRefusal {
    /// For the far end.
    pub status: StatusCode,
    /// For the record.
    pub refusal: Refusal,
    /// Tell this URL first.
    pub webhook_url: Option<String>,
}

impl Announcements {
    /// Reads the files that `config`'s trunks name. One that can't be read is told, and its calls are refused.
    pub fn read(config: &GatewayConfig) -> Self {
        let mut read = HashMap::new();
        for trunk in config.trunks.values() {
            let TrunkKind::Sip(sip) = &trunk.kind else {
                continue;
            };
            for path in [&sip.inbound_audio_file, &sip.reject_audio_file]
                .into_iter()
                .flatten()
            {
                let announcement =
                    fs::read(path)
                        .map_err(|error| error.to_string())
                        .and_then(|file| {
                            Announcement::from_wav(&file).map_err(|error| error.to_string())
                        });
                match announcement {
                    Ok(announcement) => {
                        read.insert(path.clone(), Arc::new(announcement));
                    }
                    Err(error) => {
                        tracing::warn!(trunk_id = %trunk.trunk_id, path = %path.display(), error, "a trunk's recording can't be played");
                    }
                }
            }
        }
        Self(read)
    }

    fn of(&self, path: Option<&PathBuf>) -> Option<Arc<Announcement>> {
        self.0.get(path?).cloned()
    }
}

/// Who takes a call to `number` that came over `trunk_id`.
pub fn decide(
    tenant: &TenantConfig,
    trunk_id: &TrunkId,
    sip: &SipTrunkConfig,
    number: &str,
    waiting: &mut WaitingSessions,
    announcements: &Announcements,
) -> Decision {
    if sip.reject_incoming_calls {
        let text = "the trunk takes no incoming calls (reject_incoming_calls)";
        return reject(sip, text, announcements);
    }
    let route = tenant
        .inbound
        .iter()
        .find(|route| route.trunk_id == *trunk_id && route.number.matches(number));
    match route.map(|route| &route.target) {
        Some(InboundTarget::Echo) => Decision::Take(IncomingTarget::Echo(EchoCodec::Same)),
        Some(InboundTarget::Browser { subject }) => {
            match waiting.take(&tenant.tenant_id, subject.as_deref()) {
                Some(session) => Decision::Take(IncomingTarget::Session(session)),
                None => refuse(
                    480,
                    Q850Cause::NO_USER_RESPONDING,
                    Fault::Caller,
                    "no page of the tenant waits for calls",
                ),
            }
        }
        Some(InboundTarget::Vapi) => Decision::Take(IncomingTarget::Agent(VendorDialTarget::Vapi)),
        Some(InboundTarget::Agent { trunk_id }) => {
            let agent = VendorDialTarget::Agent(trunk_id.clone());
            Decision::Take(IncomingTarget::Agent(agent))
        }
        None => by_rule(trunk_id, sip, announcements),
    }
}

fn by_rule(trunk_id: &TrunkId, sip: &SipTrunkConfig, announcements: &Announcements) -> Decision {
    match sip.inbound_rule {
        InboundRule::Reject => reject(sip, "no inbound route takes this number", announcements),
        InboundRule::PlayAndHangUp => match announcements.of(sip.inbound_audio_file.as_ref()) {
            Some(announcement) => Decision::Take(IncomingTarget::Play(announcement)),
            None => refuse(
                480,
                Q850Cause::TEMPORARY_FAILURE,
                Fault::Config,
                "the trunk's inbound_audio_url can't be played",
            ),
        },
        InboundRule::NotifyAndHangUp => {
            let text = "no inbound route takes this number; inbound_webhook_url was told";
            match refuse(480, Q850Cause::NO_USER_RESPONDING, Fault::Config, text) {
                Decision::Refuse(refusal) => Decision::Refuse(IncomingRefusal {
                    webhook_url: sip.inbound_webhook_url.clone(),
                    ..refusal
                }),
                taken @ Decision::Take(_) => taken,
            }
        }
        InboundRule::HandleAi if sip.agent.is_some() => {
            let agent = VendorDialTarget::Agent(trunk_id.clone());
            Decision::Take(IncomingTarget::Agent(agent))
        }
        InboundRule::HandleAi => refuse(
            480,
            Q850Cause::NO_USER_RESPONDING,
            Fault::Config,
            "inbound_rule 3 (HANDLE_AI) needs inbound_ai_websocket_url",
        ),
    }
}

/// `reject_sip_code`, after `reject_audio_file` where there is one.
fn reject(sip: &SipTrunkConfig, text: &str, announcements: &Announcements) -> Decision {
    match announcements.of(sip.reject_audio_file.as_ref()) {
        Some(announcement) => Decision::Take(IncomingTarget::PlayThenReject {
            announcement,
            cause: Q850Cause::CALL_REJECTED,
        }),
        None => refuse(
            sip.reject_sip_code,
            Q850Cause::CALL_REJECTED,
            Fault::Config,
            text,
        ),
    }
}

fn refuse(status: u16, cause: Q850Cause, fault: Fault, text: &str) -> Decision {
    Decision::Refuse(IncomingRefusal {
        status: StatusCode(status),
        refusal: Refusal::new(RefusalCode::NotFound, fault, text).with_cause(cause),
        webhook_url: None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::fixtures::{tenant_config, trunk};
    use super::*;
    use crate::config::{AgentConfig, AgentDialect, InboundRoute, NumberPattern};

    fn sip(inbound_rule: InboundRule) -> SipTrunkConfig {
        SipTrunkConfig {
            inbound_rule,
            reject_incoming_calls: false,
            ..SipTrunkConfig::with_defaults("192.0.2.1".into())
        }
    }

    fn decided(tenant: &TenantConfig, sip: &SipTrunkConfig) -> Result<VendorDialTarget, Refusal> {
        let (mut waiting, announcements) = Default::default();
        let trunk_id = trunk("pbx");
        match decide(tenant, &trunk_id, sip, "100", &mut waiting, &announcements) {
            Decision::Take(IncomingTarget::Agent(agent)) => Ok(agent),
            Decision::Take(other) => panic!("an agent was due, not {other:?}"),
            Decision::Refuse(refused) => Err(refused.refusal),
        }
    }

    #[test]
    fn handle_ai_is_the_trunks_own_agent() {
        let tenant = tenant_config("acme");
        let mut sip = sip(InboundRule::HandleAi);
        assert_eq!(decided(&tenant, &sip).unwrap_err().fault, Fault::Config);
        let url = "wss://agent.example/".to_owned();
        sip.agent = Some(AgentConfig::with_defaults(url, AgentDialect::Twilio));
        let agent = VendorDialTarget::Agent(trunk("pbx"));
        assert_eq!(decided(&tenant, &sip), Ok(agent));
        sip.reject_incoming_calls = true;
        assert!(decided(&tenant, &sip).is_err());
    }

    #[test]
    fn a_route_may_name_an_agent_or_the_assistant() {
        let mut tenant = tenant_config("acme");
        let sip = sip(InboundRule::Reject);
        let targets = [
            (InboundTarget::Vapi, VendorDialTarget::Vapi),
            (
                InboundTarget::Agent {
                    trunk_id: trunk("agent"),
                },
                VendorDialTarget::Agent(trunk("agent")),
            ),
        ];
        for (target, dialled) in targets {
            tenant.inbound = vec![InboundRoute {
                trunk_id: trunk("pbx"),
                number: NumberPattern::Any,
                target,
            }];
            assert_eq!(decided(&tenant, &sip), Ok(dialled));
        }
    }
}
