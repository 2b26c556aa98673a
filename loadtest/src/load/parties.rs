//! Whoever calls and whoever answers in a run against our gateway, behind one face.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::agent_answerer::{AgentAnswerer, AgentConfig};
use super::browser::{BrowserCall, BrowserCaller};
use super::call::{self, CallClocks, CallFailure, CallNumber, StageTimes};
use super::drive::{self, Ended, NotPlaced, Parties, Placed};
use super::judges::Standard;
use super::media::{EncodedSpeech, FrameClock, LegRecord, MediaThreads};
use super::run::{RunError, RunPlan};
use super::scenario::FarEnd;
use super::sip_answerer::{Answerer, AnswererConfig};
use super::sip_caller::{SipCall, SipCaller, SipCallerConfig};
use super::stream_call::StreamCall;
use super::target::{CallersAre, FarEndAt, Target};
use super::twilio::TwilioCaller;
use super::vapi::VapiCaller;
use super::vapi_service::{VapiService, VapiServiceConfig};
use super::webrtc::Identity;

/// Where all calls go; the call's number follows.
const NUMBER_PREFIX: &str = "+1555";
/// From the gateway's end of a call to its end at the far end.
const END_WITHIN: Duration = Duration::from_secs(10);

/// Both sides of a run.
pub(super) struct CallParties {
    caller: Caller,
    answerer: Option<FarEndOf>,
    /// Held from a call's first word to its far end's: for far ends that are not told whose call it is.
    one_at_a_time: Mutex<()>,
}

enum Caller {
    Browser(Box<BrowserCaller>),
    Twilio(TwilioCaller),
    Vapi(VapiCaller),
    Sip(SipCaller),
}

#[derive(Clone)]
enum FarEndOf {
    Sip(Answerer),
    Agent(AgentAnswerer),
    Vapi(VapiService),
}

/// A call that is up.
pub(super) enum UpCall {
    Browser(Box<BrowserCall>),
    Stream(StreamCall),
    Sip(Box<SipCall>),
}

impl CallParties {
    /// Starts both. Must be called within a `LocalSet`.
    pub(super) fn start(
        plan: &RunPlan,
        target: Target,
        media: &Arc<MediaThreads>,
        standard: &Standard,
    ) -> Result<Self, RunError> {
        let answerer = start_far_end(plan, target.far_end, media, standard)?;
        let caller = match target.callers {
            CallersAre::Browsers(tokens) => Caller::Browser(Box::new(BrowserCaller {
                endpoint: target.endpoint,
                tokens: *tokens,
                tenant: target.tenant,
                identity: Identity::new()?,
                local_ip: plan.local_ip,
                codec: plan.scenario.codec_a(),
                speech: Arc::clone(&standard.said_by_vendor),
                trunk_id: target.trunk_id,
                number_prefix: NUMBER_PREFIX.to_owned(),
                media: Arc::clone(media),
                record: plan.recorded(),
                impairment: plan.impairment.clone(),
                seed: plan.seed,
            })),
            CallersAre::Twilio(account) => Caller::Twilio(TwilioCaller {
                endpoint: target.endpoint,
                tenant: target.tenant,
                account,
                speech: Arc::clone(&standard.said_by_vendor),
                trunk_id: target.trunk_id,
                number_prefix: NUMBER_PREFIX.to_owned(),
                media: Arc::clone(media),
                record: plan.recorded(),
            }),
            CallersAre::VapiRelays(bearer_token) => Caller::Vapi(VapiCaller {
                endpoint: target.endpoint,
                tenant: target.tenant,
                bearer_token,
                speech: Arc::clone(&standard.said_by_vendor),
                media: Arc::clone(media),
                record: plan.recorded(),
            }),
            CallersAre::Sip { socket, gateway } => {
                Caller::Sip(SipCaller::start(SipCallerConfig {
                    socket,
                    gateway,
                    codec: plan.scenario.codec_b(),
                    speech: said_by_trunk(plan, standard)?,
                    number_prefix: NUMBER_PREFIX.to_owned(),
                    media: Arc::clone(media),
                    record: plan.recorded(),
                })?)
            }
        };
        Ok(Self {
            caller,
            answerer,
            one_at_a_time: Mutex::new(()),
        })
    }

    /// The vendor's side answers, the trunk's calls.
    fn is_reversed(&self) -> bool {
        matches!(self.answerer, Some(FarEndOf::Vapi(_)))
    }

    async fn call(
        &self,
        number: CallNumber,
        phase: u8,
        clocks: &CallClocks,
    ) -> Result<Placed<UpCall>, CallFailure> {
        let (call, call_sid, setup) = match &self.caller {
            Caller::Browser(caller) => {
                let call = caller.place(number, phase, clocks).await?;
                let (call_sid, setup) = (call.call_sid.clone(), call.setup.clone());
                (UpCall::Browser(Box::new(call)), Some(call_sid), setup)
            }
            Caller::Twilio(caller) => stream(caller.place(number, phase, clocks).await?),
            Caller::Vapi(caller) => stream(caller.place(phase, clocks).await?),
            Caller::Sip(caller) => {
                let call = caller.place(number, phase, clocks).await?;
                let setup = call.setup.clone();
                (UpCall::Sip(Box::new(call)), None, setup)
            }
        };
        Ok(Placed {
            call,
            call_sid,
            setup,
        })
    }

    /// One call after the other, each until its far end has `come`: for calls that carry no number of ours.
    async fn call_in_turn(
        &self,
        number: CallNumber,
        phase: u8,
        clocks: &CallClocks,
        expect: impl FnOnce(),
        come: impl Future<Output = ()>,
    ) -> Result<Placed<UpCall>, CallFailure> {
        let turn = self.one_at_a_time.lock().await;
        expect();
        let call = self.call(number, phase, clocks);
        tokio::pin!(call);
        tokio::select! {
            placed = &mut call => return placed,
            () = come => {}
        }
        drop(turn);
        call.await
    }
}

fn stream(call: StreamCall) -> (UpCall, Option<String>, StageTimes) {
    let setup = call.setup.clone();
    (UpCall::Stream(call), None, setup)
}

fn said_by_trunk(plan: &RunPlan, standard: &Standard) -> Result<Arc<EncodedSpeech>, RunError> {
    let said = standard.said_by_trunk.as_ref().map(Arc::clone);
    said.ok_or(RunError::NoFarEnd(plan.scenario))
}

fn start_far_end(
    plan: &RunPlan,
    far_end: FarEndAt,
    media: &Arc<MediaThreads>,
    standard: &Standard,
) -> Result<Option<FarEndOf>, RunError> {
    Ok(Some(match (plan.scenario.far_end(), far_end) {
        (FarEnd::Echo, _) => return Ok(None),
        (FarEnd::Sip, FarEndAt::Sip(socket)) => FarEndOf::Sip(Answerer::start(AnswererConfig {
            socket,
            codec: plan.scenario.codec_b(),
            speech: said_by_trunk(plan, standard)?,
            media: Arc::clone(media),
            record: plan.recorded(),
        })?),
        (FarEnd::Agent(dialect), FarEndAt::Agent { listener, tls }) => {
            FarEndOf::Agent(AgentAnswerer::start(AgentConfig {
                listener,
                tls,
                dialect,
                speech: said_by_trunk(plan, standard)?,
                media: Arc::clone(media),
                record: plan.recorded(),
            })?)
        }
        (
            FarEnd::Vapi,
            FarEndAt::Vapi {
                listener,
                tls,
                host,
                api_key,
            },
        ) => FarEndOf::Vapi(VapiService::start(VapiServiceConfig {
            listener,
            tls,
            host,
            api_key,
            speech: Arc::clone(&standard.said_by_vendor),
            media: Arc::clone(media),
            record: plan.recorded(),
        })?),
        _ => return Err(RunError::NoFarEnd(plan.scenario)),
    }))
}

impl FarEndOf {
    async fn record_of(&self, number: CallNumber, within: Duration) -> Option<LegRecord> {
        match self {
            Self::Sip(answerer) => answerer.record_of(number, within).await,
            Self::Agent(answerer) => answerer.record_of(number, within).await,
            Self::Vapi(service) => service.record_of(number, within).await,
        }
    }

    /// What was wrong with a call there, or with its end; without a record it had none.
    fn fault(&self, record: Option<&LegRecord>) -> Option<String> {
        let whose = match self {
            Self::Sip(_) => {
                return record
                    .is_none()
                    .then(|| "the far end got no BYE".to_owned());
            }
            Self::Agent(_) => "the agent's socket",
            Self::Vapi(_) => "Vapi's socket",
        };
        match record {
            Some(record) => Some(format!("{whose}: {}", record.stream_fault()?)),
            None => Some(format!("{whose} was not closed")),
        }
    }
}

impl Parties for CallParties {
    type Call = UpCall;

    fn clocks(&self, number: CallNumber) -> CallClocks {
        let clock = || Arc::new(FrameClock::beginning_with(call::first_frame(number)));
        let vendor = clock();
        CallClocks {
            trunk: match &self.answerer {
                Some(_) => clock(),
                // What the echo sends is what the caller sent.
                None => Arc::clone(&vendor),
            },
            vendor,
        }
    }

    async fn place(
        &self,
        number: CallNumber,
        phase: u8,
        clocks: &CallClocks,
    ) -> Result<Placed<UpCall>, NotPlaced> {
        let of_far_end = drive::opposite(phase);
        let placed = match &self.answerer {
            Some(FarEndOf::Vapi(service)) => {
                let expect = || service.expect(number, clocks.clone(), of_far_end);
                let come = service.made(number);
                self.call_in_turn(number, phase, clocks, expect, come).await
            }
            Some(FarEndOf::Sip(answerer)) if matches!(self.caller, Caller::Vapi(_)) => {
                let expect = || answerer.expect_next(number, clocks.clone(), of_far_end);
                let come = answerer.came(number);
                self.call_in_turn(number, phase, clocks, expect, come).await
            }
            Some(FarEndOf::Sip(answerer)) => {
                answerer.expect(number, clocks.clone(), of_far_end);
                self.call(number, phase, clocks).await
            }
            Some(FarEndOf::Agent(answerer)) => {
                answerer.expect(number, clocks.clone(), of_far_end);
                self.call(number, phase, clocks).await
            }
            None => self.call(number, phase, clocks).await,
        };
        match placed {
            Ok(placed) => Ok(placed),
            Err(failure) => Err(NotPlaced {
                failure,
                at_trunk: match &self.answerer {
                    Some(answerer) => answerer.record_of(number, Duration::ZERO).await,
                    None => None,
                },
            }),
        }
    }

    async fn ended_by_gateway(call: &mut UpCall) -> CallFailure {
        match call {
            UpCall::Browser(call) => call.ended_by_gateway().await,
            UpCall::Stream(call) => call.ended_by_gateway().await,
            UpCall::Sip(call) => call.ended_by_gateway().await,
        }
    }

    async fn hang_up(&self, number: CallNumber, call: UpCall, say_so: bool) -> Ended {
        let (at_caller, mut failure) = match call {
            UpCall::Browser(call) => call.hang_up(say_so).await,
            UpCall::Stream(call) => call.hang_up().await,
            UpCall::Sip(call) => call.hang_up(say_so).await,
        };
        let mut at_far_end = None;
        if let Some(answerer) = &self.answerer {
            at_far_end = answerer.record_of(number, END_WITHIN).await;
            let fault = answerer.fault(at_far_end.as_ref());
            failure = failure.or(fault.map(|reason| CallFailure {
                stage: None,
                reason,
            }));
        }
        let (at_vendor, at_trunk) = if self.is_reversed() {
            (at_far_end, at_caller)
        } else {
            (at_caller, at_far_end)
        };
        Ended {
            at_vendor,
            at_trunk,
            failure,
        }
    }
}
