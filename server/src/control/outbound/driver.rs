//! Does what the state orders: a task per dial, given up with its call, and what came of it handed back; errands beside.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use shards::tick_stream::LiveStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;

use super::vapi::VapiCall;
use super::websocket::Dial;
use super::{Connector, OutboundError, twilio_rest, vapi, webhook};
use crate::call::dialled::{DialledPeer, VapiControl, VapiDialled};
use crate::config::{AgentConfig, GatewayConfig, TenantConfig, TrunkConfig};
use crate::control::signalling::{DialKey, DialOrder, DialPlan, Dialled};
use crate::control::state::{ControlState, Errand};
use crate::fault::Fault;

/// Dials whose outcome may wait to be handed back; those beyond wait in their task.
const DIALLED_MAX: usize = 1024;
/// Errands that are run at once; those beyond wait with the state.
const ERRANDS_AT_ONCE_MAX: usize = 64;

/// A dial under way.
#[derive(Debug)]
enum UnderWay {
    /// Ended at once when it is given up.
    Agent(AbortHandle),
    /// Gives up when this is dropped: by then Vapi may have made a call, which somebody has to end.
    Vapi {
        _wanted: oneshot::Sender<Infallible>,
    },
}

/// See the module's documentation.
#[derive(Debug)]
pub struct OutboundDriver {
    connector: Arc<Connector>,
    config: Arc<GatewayConfig>,
    dialling: HashMap<DialKey, UnderWay>,
    /// Dials to Vapi that were given up and are not over.
    given_up: HashSet<DialKey>,
    dialled: (mpsc::Sender<Dialled>, mpsc::Receiver<Dialled>),
    errands: Arc<Semaphore>,
}

impl OutboundDriver {
    /// Inside of a tokio runtime only.
    pub fn new(config: &Arc<GatewayConfig>) -> Self {
        Self {
            connector: Arc::new(Connector::default()),
            config: Arc::clone(config),
            dialling: HashMap::new(),
            given_up: HashSet::new(),
            dialled: mpsc::channel(DIALLED_MAX),
            errands: Arc::new(Semaphore::new(ERRANDS_AT_ONCE_MAX)),
        }
    }

    /// The next dial that is over. Cancel-safe.
    pub async fn receive(&mut self) -> Dialled {
        match self.dialled.1.recv().await {
            Some(dialled) => {
                self.dialling.remove(&dialled.key);
                self.given_up.remove(&dialled.key);
                dialled
            }
            // We hold a sender ourselves.
            None => std::future::pending().await,
        }
    }

    /// Begins what is ordered, and follows a reload.
    pub fn flush(&mut self, state: &mut ControlState) {
        if !Arc::ptr_eq(&self.config, state.config()) {
            self.config = Arc::clone(state.config());
            self.connector.forget_trust();
        }
        while let Some(order) = state.poll_dial_order() {
            match order {
                DialOrder::Dial(key, plan) => self.dial(key, *plan),
                DialOrder::GiveUp(key) => match self.dialling.remove(&key) {
                    Some(UnderWay::Agent(task)) => task.abort(),
                    Some(UnderWay::Vapi { .. }) => {
                        self.given_up.insert(key);
                    }
                    None => {}
                },
            }
        }
        while let Ok(permit) = Arc::clone(&self.errands).try_acquire_owned() {
            match state.poll_errand() {
                Some(errand) => self.run(errand, permit),
                None => break,
            }
        }
    }

    /// Errands that are run, and calls at Vapi that nobody wants and that are not made yet.
    pub fn errands_under_way(&self) -> usize {
        ERRANDS_AT_ONCE_MAX - self.errands.available_permits() + self.given_up.len()
    }

    fn dial(&mut self, key: DialKey, plan: DialPlan) {
        let (connector, sender) = (Arc::clone(&self.connector), self.dialled.0.clone());
        let (wanted, given_up) = oneshot::channel();
        let is_agent = matches!(plan, DialPlan::Agent { .. });
        let task = tokio::spawn(async move {
            let (whom, fault) = (plan.whom(), plan.fault());
            let (peer, outcome) = match plan {
                DialPlan::Agent { tenant, trunk } => {
                    let outcome = dial_agent(&connector, &tenant, &trunk).await;
                    (DialledPeer::Agent(trunk), outcome)
                }
                DialPlan::Vapi { tenant, call } => {
                    let (control, outcome) = dial_vapi(&connector, &tenant, &call, given_up).await;
                    (DialledPeer::Vapi(VapiDialled { tenant, control }), outcome)
                }
            };
            let outcome = outcome
                .map(Box::new)
                .map_err(|error| error.failure(&whom, fault));
            // The control thread ends before it hears of this only when it ends for good.
            let _ = sender.send(Dialled { key, peer, outcome }).await;
        });
        let under_way = match is_agent {
            true => UnderWay::Agent(task.abort_handle()),
            false => UnderWay::Vapi { _wanted: wanted },
        };
        self.dialling.insert(key, under_way);
    }

    fn run(&self, errand: Errand, permit: OwnedSemaphorePermit) {
        let connector = Arc::clone(&self.connector);
        tokio::spawn(async move {
            let _permit = permit;
            match errand {
                Errand::Webhook(message) => webhook::tell(&connector, &message).await,
                Errand::TwilioHangUp {
                    tenant,
                    vendor_call,
                } => {
                    let tenant_id = &tenant.tenant_id;
                    match twilio_rest::hang_up(&connector, &tenant, &vendor_call).await {
                        Ok(()) => tracing::debug!(%tenant_id, vendor_call, "Twilio ends its call"),
                        Err(error) => {
                            tracing::warn!(%tenant_id, vendor_call, %error, "Twilio's call was not ended");
                        }
                    }
                }
                Errand::VapiHangUp {
                    call_sid,
                    tenant,
                    control_url,
                } => {
                    let tenant_id = &tenant.tenant_id;
                    match vapi::hang_up(&connector, &tenant, &control_url).await {
                        Ok(()) => tracing::debug!(%call_sid, %tenant_id, "Vapi ends its call"),
                        Err(error) => {
                            tracing::warn!(%call_sid, %tenant_id, %error, "Vapi's call was not ended");
                        }
                    }
                }
            }
        });
    }
}

async fn dial_agent(
    connector: &Connector,
    tenant: &TenantConfig,
    trunk: &TrunkConfig,
) -> Result<LiveStream, OutboundError> {
    let no_agent = OutboundError::NotConfigured("the trunk has no agent");
    let agent = trunk.agent().ok_or(no_agent)?;
    of_agent(agent).connect(connector, tenant).await
}

/// The call at Vapi, if there is one, and its socket.
async fn dial_vapi(
    connector: &Connector,
    tenant: &TenantConfig,
    call: &VapiCall,
    given_up: oneshot::Receiver<Infallible>,
) -> (VapiControl, Result<LiveStream, OutboundError>) {
    let created = match vapi::create(connector, tenant, call).await {
        Ok(created) => created,
        Err(error) => return (VapiControl::NoCall, Err(error)),
    };
    let connected = tokio::select! {
        biased;
        _ = given_up => Err(OutboundError::GivenUp),
        connected = vapi::connect(connector, tenant, &created) => connected,
    };
    (created.control, connected)
}

fn of_agent(agent: &AgentConfig) -> Dial<'_> {
    Dial {
        url: &agent.url,
        bearer_token: agent.bearer_token.as_ref(),
        ca_file: agent.ca_file.as_deref(),
        within: Duration::from_millis(agent.connect_timeout_ms.into()),
    }
}

impl DialPlan {
    /// Who is dialled, for a person.
    fn whom(&self) -> String {
        match self {
            Self::Agent { trunk, .. } => format!("the agent of trunk {}", trunk.trunk_id),
            Self::Vapi { .. } => "Vapi".to_owned(),
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Agent { .. } => Fault::Agent,
            Self::Vapi { .. } => Fault::Vendor,
        }
    }
}
