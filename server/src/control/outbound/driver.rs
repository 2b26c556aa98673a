//! Does what the state orders: a task per dial, given up with its call, and what came of it handed back; errands beside.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use shards::tick_stream::LiveStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;

use super::websocket::Dial;
use super::{Connector, DialFailure, OutboundError, twilio_rest, vapi, webhook};
use crate::config::{AgentConfig, GatewayConfig};
use crate::control::signalling::{DialKey, DialOrder, DialPlan};
use crate::control::state::{ControlState, Errand};
use crate::fault::Fault;

/// Dials whose outcome may wait to be handed back; those beyond wait in their task.
const DIALLED_MAX: usize = 1024;
/// Errands that are run at once; those beyond wait with the state.
const ERRANDS_AT_ONCE_MAX: usize = 64;

/// What became of a dial.
pub type Dialled = (DialKey, Result<Box<LiveStream>, DialFailure>);

/// See the module's documentation.
#[derive(Debug)]
pub struct OutboundDriver {
    connector: Arc<Connector>,
    config: Arc<GatewayConfig>,
    dialling: HashMap<DialKey, AbortHandle>,
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
            dialled: mpsc::channel(DIALLED_MAX),
            errands: Arc::new(Semaphore::new(ERRANDS_AT_ONCE_MAX)),
        }
    }

    /// The next dial that is over. Cancel-safe.
    pub async fn receive(&mut self) -> Dialled {
        match self.dialled.1.recv().await {
            Some(dialled) => {
                self.dialling.remove(&dialled.0);
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
                DialOrder::GiveUp(key) => {
                    if let Some(dialling) = self.dialling.remove(&key) {
                        dialling.abort();
                    }
                }
            }
        }
        while let Ok(permit) = Arc::clone(&self.errands).try_acquire_owned() {
            match state.poll_errand() {
                Some(errand) => self.run(errand, permit),
                None => break,
            }
        }
    }

    fn dial(&mut self, key: DialKey, plan: DialPlan) {
        let (connector, sender) = (Arc::clone(&self.connector), self.dialled.0.clone());
        let task = tokio::spawn(async move {
            let dialled = dial(&connector, &plan).await.map(Box::new);
            let (whom, fault) = (plan.whom(), plan.fault());
            let dialled = dialled.map_err(|error| error.failure(&whom, fault));
            // The control thread ends before it hears of this only when it ends for good.
            let _ = sender.send((key, dialled)).await;
        });
        self.dialling.insert(key, task.abort_handle());
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
            }
        });
    }
}

async fn dial(connector: &Connector, plan: &DialPlan) -> Result<LiveStream, OutboundError> {
    match plan {
        DialPlan::Agent { tenant, trunk } => {
            let agent = trunk
                .agent()
                .ok_or(OutboundError::NotConfigured("the trunk has no agent"))?;
            of_agent(agent).connect(connector, tenant).await
        }
        DialPlan::Vapi { tenant, call } => vapi::dial(connector, tenant, call).await,
    }
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
