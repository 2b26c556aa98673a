//! The sockets of audio that a call gets: one that a vendor opened to us, one to an agent that we dialled, and how their legs are
//! set up from the tenant's tables or the agent's configuration.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use codecs::SampleRate;
use shards::tick_stream::LiveStream;

use super::calls::HangUp;
use super::mailbox::Mailbox;
use super::pcm_socket::{PcmKey, PcmOwner};
use super::trunk_media::TrunkLeg;
use super::{CallKey, SessionKey, Switch, SwitchHandle, entropy};
use crate::call::dialled::{DialledPeer, DialledSocket, say_goodbye};
use crate::call::rings::{ToControl, VendorDialTarget};
use crate::config::{AgentConfig, AgentDialect, TenantConfig, TrunkKind, VapiAudioFormat};
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::id::CallSid;
use crate::pcm::{Dialect, Encoding, MAX_AHEAD_MS_DEFAULT, PcmConfig, PcmLeg, PcmSource};
use crate::rtp::{RtpTimestamp, SequenceNumber};
use crate::trunk::agent::{AgentStart, RawAgent};
use crate::vendors::twilio::{TwilioCaller, TwilioSession};
use crate::vendors::vapi::VapiSession;
use crate::websocket::Role;

/// Whom the session of a call that came over a trunk stands for: none of `[[tenants.routes]]`.
const AGENT: &str = "agent";
/// Audio of a caller that speaks in real time may wait so long where its table says nothing.
const QUEUE_MS_MAX_DEFAULT: u32 = 1_000;

/// The leg of a vendor that dialled us.
pub(super) fn of_caller(vendor: &str, tenant: &TenantConfig, encoding: Encoding) -> PcmConfig {
    let queue_ms_max = match (vendor, &tenant.twilio, &tenant.vapi) {
        ("twilio", Some(twilio), _) => twilio.queue_ms_max,
        ("vapi", _, Some(vapi)) => vapi.queue_ms_max,
        _ => QUEUE_MS_MAX_DEFAULT,
    };
    config(encoding, queue_ms_max)
}

/// The leg of an agent that we dialled. Bots listen all the time, and may be spoken over.
fn of_agent(agent: &AgentConfig) -> PcmConfig {
    let encoding = match agent.dialect {
        AgentDialect::Twilio => Encoding::Mulaw,
        AgentDialect::Pcm16 => linear16(agent.sample_rate_hz),
    };
    PcmConfig {
        continuous: true,
        source: PcmSource::Ahead,
        barge_in: agent.barge_in,
        ..config(encoding, agent.queue_ms_max)
    }
}

fn config(encoding: Encoding, queue_ms_max: u32) -> PcmConfig {
    let [s0, s1, timestamp @ ..] = entropy::<6>();
    PcmConfig {
        encoding,
        queue_ms_max,
        max_ahead_ms: MAX_AHEAD_MS_DEFAULT,
        continuous: false,
        source: PcmSource::RealTime,
        barge_in: None,
        first_sequence_number: SequenceNumber(u16::from_be_bytes([s0, s1])),
        first_timestamp: RtpTimestamp(u32::from_be_bytes(timestamp)),
    }
}

fn linear16(sample_rate_hz: u32) -> Encoding {
    // The file's reader takes no other rate.
    Encoding::Linear16(SampleRate::from_hz(sample_rate_hz).unwrap_or(SampleRate::Hz16000))
}

/// How audio is coded on a tenant's Vapi sockets.
fn of_vapi(tenant: &TenantConfig) -> Encoding {
    match &tenant.vapi {
        Some(vapi) if vapi.audio_format == VapiAudioFormat::Mulaw => Encoding::Mulaw,
        Some(vapi) => linear16(vapi.sample_rate_hz),
        None => Encoding::Linear16(SampleRate::Hz16000),
    }
}

impl SwitchHandle {
    /// Takes the socket of a vendor that has dialled us, behind its upgrade. `place` is given back when it is closed.
    ///
    /// # Errors
    /// The socket is gone, or the shard is dead.
    pub fn open_pcm_session(
        &self,
        tenant: Arc<TenantConfig>,
        vendor: PcmVendor,
        live: LiveStream,
        place: Box<dyn Any>,
    ) -> Result<(), Refusal> {
        let switch = &mut *self.0.borrow_mut();
        if switch.dead {
            let message = super::calls::INTERNAL_ERROR;
            return Err(Refusal::new(RefusalCode::Internal, Fault::Us, message));
        }
        let now = Instant::now();
        let dialect: Box<dyn Dialect> = match vendor {
            PcmVendor::Twilio => {
                let account_sid = tenant.twilio.as_ref().map(|of| of.account_sid.as_str());
                let session = TwilioSession::new(now, account_sid.unwrap_or_default());
                Box::new(session)
            }
            PcmVendor::Vapi => Box::new(VapiSession::server(now, of_vapi(&tenant))),
        };
        let key = switch.insert_pcm_session(tenant, vendor.as_str());
        let owner = PcmOwner::Session(key);
        match switch.adopt_pcm_socket(live, Role::Server, dialect, owner, Some(place)) {
            Ok(pcm) => {
                if let Some(session) = switch.sessions.get_mut(key.0) {
                    session.pcm = Some(pcm);
                }
                Ok(())
            }
            Err(refusal) => {
                switch.remove_session(now, key, HangUp::from(&refusal));
                Err(refusal)
            }
        }
    }
}

/// A vendor whose sockets carry audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PcmVendor {
    /// Media Streams.
    Twilio,
    /// A relay in Vapi's framing.
    Vapi,
}

impl PcmVendor {
    /// The word in the path and in `[[tenants.routes]]`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Twilio => "twilio",
            Self::Vapi => "vapi",
        }
    }
}

impl Switch {
    fn insert_pcm_session(
        &mut self,
        tenant: Arc<TenantConfig>,
        vendor: &'static str,
    ) -> SessionKey {
        let told = Rc::clone(&self.told);
        self.insert_session(tenant, vendor, |key| Rc::new(Mailbox::delivered(key, told)))
    }

    /// The vendor side of a call that came over a trunk, until the control thread has dialled it.
    pub(super) fn insert_dialled_session(
        &mut self,
        tenant: Arc<TenantConfig>,
        dials: VendorDialTarget,
    ) -> SessionKey {
        let key = self.insert_pcm_session(tenant, AGENT);
        if let Some(session) = self.sessions.get_mut(key.0) {
            session.dials = Some(dials);
            session.engaged = true;
        }
        key
    }

    /// The control thread has dialled the vendor side of a call that came over a trunk, or could not.
    pub(super) fn vendor_dialled(
        &mut self,
        now: Instant,
        call_sid: CallSid,
        dialled: Result<Box<DialledSocket>, Refusal>,
    ) {
        let key = self.calls_by_sid.get(&call_sid).copied();
        let call = key.and_then(|key| Some((key, self.calls.get(key.0)?.vendor.session()?)));
        let (call, dialled) = match (call, dialled) {
            (Some(call), Ok(dialled)) => (call, *dialled),
            (Some((key, _)), Err(refusal)) => {
                return self.end_call(now, key, HangUp::from(&refusal));
            }
            // The call ended meanwhile.
            (None, Ok(dialled)) => {
                say_goodbye(dialled.live);
                return self.leave_dialled(call_sid, dialled.peer);
            }
            (None, Err(_)) => return,
        };
        let (key, session) = call;
        match self.attach_vendor_socket(now, key, session, dialled.live, &dialled.peer) {
            Ok(()) => self.accept_when_ready(now, key),
            Err(refusal) => {
                self.leave_dialled(call_sid, dialled.peer);
                self.end_call(now, key, HangUp::from(&refusal));
            }
        }
    }

    /// Who was dialled is not needed: a call at Vapi does not end with its socket alone.
    fn leave_dialled(&mut self, call_sid: CallSid, peer: DialledPeer) {
        if let DialledPeer::Vapi(vapi) = peer {
            let message = ToControl::VapiHangUp(call_sid, Box::new(vapi));
            self.to_control.tell(message);
        }
    }

    fn attach_vendor_socket(
        &mut self,
        now: Instant,
        key: CallKey,
        session: SessionKey,
        live: LiveStream,
        peer: &DialledPeer,
    ) -> Result<(), Refusal> {
        let (dialect, config): (Box<dyn Dialect>, _) = match peer {
            DialledPeer::Vapi(dialled) => {
                let encoding = of_vapi(&dialled.tenant);
                let vapi = dialled.tenant.vapi.as_ref();
                let queue_ms_max = vapi.map(|vapi| vapi.queue_ms_max);
                let config = config(encoding, queue_ms_max.unwrap_or(QUEUE_MS_MAX_DEFAULT));
                let session = VapiSession::client(now, encoding);
                // An assistant listens all the time.
                let config = PcmConfig {
                    continuous: true,
                    source: PcmSource::Ahead,
                    ..config
                };
                (Box::new(session), config)
            }
            DialledPeer::Agent(trunk) => {
                let agent = agent_of(&trunk.kind).ok_or_else(|| {
                    let message = format!("trunk {} has no AI agent", trunk.trunk_id);
                    Refusal::new(RefusalCode::Internal, Fault::Us, message)
                })?;
                (self.agent_dialect(now, key, agent)?, of_agent(agent))
            }
        };
        let owner = PcmOwner::Session(session);
        let pcm = self.adopt_dialled(now, live, dialect, owner, config)?;
        if let Some(session) = self.sessions.get_mut(session.0) {
            session.pcm = Some(pcm);
            session.connected = true;
        }
        Ok(())
    }

    /// The agent behind a call's trunk was reached.
    pub(super) fn attach_trunk_socket(
        &mut self,
        now: Instant,
        key: CallKey,
        live: LiveStream,
    ) -> Result<(), Refusal> {
        let trunk = self
            .calls
            .get(key.0)
            .map(|call| Arc::clone(&call.trunk.config));
        let agent = trunk.as_ref().and_then(|trunk| agent_of(&trunk.kind));
        let Some(agent) = agent else {
            return Err(Refusal::new(
                RefusalCode::Internal,
                Fault::Us,
                "the call's trunk has no AI agent",
            ));
        };
        let dialect = self.agent_dialect(now, key, agent)?;
        let config = of_agent(agent);
        let pcm = self.adopt_dialled(now, live, dialect, PcmOwner::Trunk(key), config)?;
        if let Some(call) = self.calls.get_mut(key.0) {
            call.trunk.leg = TrunkLeg::Pcm {
                key: pcm,
                format: config.encoding.leg_format(),
            };
        }
        Ok(())
    }

    fn adopt_dialled(
        &mut self,
        now: Instant,
        live: LiveStream,
        dialect: Box<dyn Dialect>,
        owner: PcmOwner,
        config: PcmConfig,
    ) -> Result<PcmKey, Refusal> {
        let pcm = self.adopt_pcm_socket(live, Role::Client, dialect, owner, None)?;
        if let Some(socket) = self.pcm.get_mut(pcm) {
            socket.leg = Some(PcmLeg::new(config, now));
            socket.open(now);
        }
        self.pcm.mark_dirty(pcm);
        Ok(pcm)
    }

    fn agent_dialect(
        &self,
        now: Instant,
        key: CallKey,
        agent: &AgentConfig,
    ) -> Result<Box<dyn Dialect>, Refusal> {
        let Some(call) = self.calls.get(key.0) else {
            let message = "the call is over";
            return Err(Refusal::new(RefusalCode::Internal, Fault::Us, message));
        };
        let identity = call.machine.identity();
        let start = AgentStart {
            call_sid: identity.call_sid,
            tenant_id: identity.tenant_id.clone(),
            from: call.parties.from.clone(),
            to: call.parties.to.clone(),
            encoding: of_agent(agent).encoding,
        };
        Ok(match agent.dialect {
            AgentDialect::Twilio => {
                let tenant = self.settings.config.tenants.get(&start.tenant_id);
                let twilio = tenant.and_then(|tenant| tenant.twilio.as_ref());
                let account_sid = twilio.map(|of| of.account_sid.clone());
                let caller = TwilioCaller::new(now, start, account_sid.as_deref(), entropy());
                Box::new(caller)
            }
            AgentDialect::Pcm16 => Box::new(RawAgent::new(now, start)),
        })
    }
}

/// The agent of a trunk: of a `websocket` trunk, or of a SIP trunk with `inbound_rule = 3`.
fn agent_of(kind: &TrunkKind) -> Option<&AgentConfig> {
    match kind {
        TrunkKind::WebSocket(agent) => Some(agent),
        TrunkKind::Sip(sip) => sip.agent.as_ref(),
        TrunkKind::Echo(_) | TrunkKind::Rtp { .. } => None,
    }
}
