//! A caller like a browser, but light: the browser dialect for signalling, `str0m` for ICE (full, controlling), DTLS and SRTP.
//!
//! [`call`] makes one whole call from a plan; [`WebRtcCall`] is the same in steps, for tests of hold, digits, hang-up. It has no
//! jitter buffer, no echo canceller and no device: what it records is what came, where it came.

mod driver;
mod peer;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use serde::Serialize;
use server::call::{CallEvent, EventType};
use str0m::media::Direction;
use thiserror::Error;

pub use peer::MediaStatistics;

use crate::audio::Audio;
use crate::impairment::with_candidates_at;
use crate::judge::{self, Bar, JudgeError, Playback, Question, Verdict};
use crate::media::{
    AudioCodec, DigitPlan, OutgoingFormat, PACKET_MS, ReceivedPacket, Recording,
    TelephoneEventError,
};
use crate::signalling::{
    ClientMessage, Connect, Received, ServerMessage, Signalling, SignallingError, TokenVia, Trust,
};
use peer::MediaPeer;

/// How long the last words may be on their way before the call is hung up.
const TAIL: Duration = Duration::from_millis(600);

/// Which DTLS versions the caller offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum DtlsChoice {
    /// 1.3 and 1.2.
    #[default]
    Auto,
    /// 1.2.
    Only12,
    /// 1.3.
    Only13,
}

/// One call. [`CallPlan::new`] has the defaults.
#[derive(Clone)]
pub struct CallPlan {
    /// `wss://host:port`; a URL with a path is used as it is.
    pub url: String,
    /// Whom to believe.
    pub trust: Trust,
    /// In the path of the URL.
    pub tenant: String,
    /// The SessionAuth token.
    pub token: String,
    /// How it travels.
    pub token_via: TokenVia,
    /// The `Origin` header.
    pub origin: Option<String>,
    /// Whom to call.
    pub to: String,
    /// Over which trunk; none: the tenant's route.
    pub trunk_id: Option<String>,
    /// Who calls.
    pub call_from: Option<String>,
    /// Comes back in every CallEvent.
    pub client_id: Option<String>,
    /// Opus, PCMU or PCMA; the only one that is offered.
    pub codec: AudioCodec,
    /// DTLS versions.
    pub dtls: DtlsChoice,
    /// Where media sockets are bound, one candidate each; default: [`local_ips`].
    pub local_ips: Vec<IpAddr>,
    /// Media goes there instead of to the gateway: an [`ImpairmentRelay`](crate::impairment::ImpairmentRelay).
    pub relay: Option<SocketAddr>,
    /// What is said after the answer.
    pub speech: Audio,
    /// For each step up to the answer.
    pub step_timeout: Duration,
}

impl CallPlan {
    /// A call in Opus, saying [`crate::speech::alpha`].
    pub fn new(url: &str, trust: Trust, tenant: &str, token: &str) -> Self {
        Self {
            url: url.to_owned(),
            trust,
            tenant: tenant.to_owned(),
            token: token.to_owned(),
            token_via: TokenVia::default(),
            origin: None,
            to: "+15550100".to_owned(),
            trunk_id: None,
            call_from: None,
            client_id: None,
            codec: AudioCodec::Opus,
            dtls: DtlsChoice::default(),
            local_ips: local_ips(),
            relay: None,
            speech: crate::speech::alpha(),
            step_timeout: Duration::from_secs(10),
        }
    }

    fn signalling_url(&self) -> String {
        let host_begin = self.url.find("://").map_or(0, |index| index + 3);
        match self.url.get(host_begin..).and_then(|rest| rest.find('/')) {
            Some(slash) if host_begin + slash + 1 < self.url.len() => self.url.clone(),
            _ => format!(
                "{}/signal/browser/{}",
                self.url.trim_end_matches('/'),
                self.tenant
            ),
        }
    }
}

/// Loopback, and the address that packets to other hosts come from, if this machine has one. IPv4 only: a plan for IPv6 names
/// its addresses.
pub fn local_ips() -> Vec<IpAddr> {
    let mut ips = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    // Connecting a UDP socket sends nothing; it asks for the route to an address of the documentation (RFC 5737).
    let outward = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    if let Ok(outward) = outward
        && !ips.contains(&outward.ip())
    {
        ips.push(outward.ip());
    }
    ips
}

/// Why a call could not be made or ended badly.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum CallError {
    /// The plan can't be carried out by anybody.
    #[error("the plan is wrong: {0}")]
    Plan(String),
    /// The WebSocket, or what was said on it.
    #[error("signalling: {0}")]
    Signalling(#[from] SignallingError),
    /// Socket, ICE, DTLS, SRTP or codec.
    #[error("media: {0}")]
    Media(String),
    /// The gateway answered with `error{code,message,fault}`.
    #[error("refused: {message} ({code}, fault {fault})")]
    Refused {
        /// Its code.
        code: String,
        /// Its sentence.
        message: String,
        /// Whose fault it was.
        fault: String,
    },
    /// The call ended before it was answered.
    #[error("the call ended before the answer with cause {q850_cause}: {reason}")]
    Unanswered {
        /// Q.850.
        q850_cause: u8,
        /// The gateway's sentence.
        reason: String,
    },
    /// Digits.
    #[error("digits: {0}")]
    Digits(#[from] TelephoneEventError),
    /// The judge could not judge.
    #[error("the judge: {0}")]
    Judge(#[from] JudgeError),
}

/// What a call was.
#[derive(Debug, Clone)]
pub struct CallReport {
    /// The gateway's name of the call.
    pub call_sid: String,
    /// Every CallEvent, in order.
    pub events: Vec<CallEvent>,
    /// Every message of the gateway, in order.
    pub messages: Vec<Received>,
    /// How the signalling socket ended.
    pub signalling_end: Option<SignallingError>,
    /// What was heard, from ICE and DTLS on.
    pub recording: Recording,
    /// When the first sample of the speech was spoken, in ms of the recording; a frame is sent when its last sample was spoken.
    pub spoken_at_ms: Option<f64>,
    /// From the first TCP packet to `CHANNEL_ANSWER`, in ms.
    pub setup_ms: f64,
    /// The codec's delay at the sender beyond its packet, in ms.
    pub lookahead_ms: f64,
    /// Codec and payload types.
    pub format: Option<OutgoingFormat>,
    /// Telephone-events from the gateway.
    pub telephone_events: Vec<ReceivedPacket>,
    /// The media path.
    pub media: MediaStatistics,
}

impl CallReport {
    /// Judges what was heard of `reference`, which was said as the plan's speech.
    ///
    /// # Errors
    /// [`JudgeError`] for a useless reference.
    pub fn verdict(&self, reference: &Audio, bar: Bar) -> Result<Verdict, JudgeError> {
        let mut question = Question::new(bar);
        question.spoken_at_ms = self.spoken_at_ms;
        judge::judge(reference, &self.recording.audio, &question)
    }

    /// Of a verdict's delay, what the path added: without the packetisation and the look-ahead of the sender's codec.
    pub fn transit_ms(&self, verdict: &Verdict) -> Option<f64> {
        verdict
            .delay_ms
            .map(|delay_ms| delay_ms - f64::from(PACKET_MS) - self.lookahead_ms)
    }
}

/// Makes one call: connects, dials, waits for the answer, speaks, hangs up.
///
/// # Errors
/// [`CallError`] names the step that failed.
pub fn call(plan: &CallPlan) -> Result<CallReport, CallError> {
    let call = WebRtcCall::dial(plan)?;
    call.speak(&plan.speech, Playback::Once);
    let speech = Duration::from_millis(plan.speech.duration_ms() as u64);
    call.wait_until_spoken(Instant::now() + speech + plan.step_timeout)?;
    std::thread::sleep(TAIL);
    call.hang_up()
}

/// A call that is up.
pub struct WebRtcCall {
    signalling: Signalling,
    /// How it was connected, for a resume.
    connect: Connect,
    /// What came on sockets before this one.
    earlier: Vec<Received>,
    peer: MediaPeer,
    call_sid: String,
    setup_ms: f64,
    step_timeout: Duration,
    relay: Option<SocketAddr>,
}

impl WebRtcCall {
    /// Connects, negotiates, dials and waits for `CHANNEL_ANSWER`.
    ///
    /// # Errors
    /// [`CallError`] names the step that failed.
    pub fn dial(plan: &CallPlan) -> Result<Self, CallError> {
        let began = Instant::now();
        let mut call = Self::connect(plan)?;
        call.place(plan)?;
        call.setup_ms = began.elapsed().as_secs_f64() * 1000.0;
        Ok(call)
    }

    /// Signalling and media up to a connected peer, but no call.
    ///
    /// # Errors
    /// As [`WebRtcCall::dial`].
    pub fn connect(plan: &CallPlan) -> Result<Self, CallError> {
        let call = Self::open(plan)?;
        call.peer.wait_connected(call.deadline())?;
        Ok(call)
    }

    /// Signalling up to the SDP answer; whether media comes is not waited for.
    ///
    /// # Errors
    /// As [`WebRtcCall::dial`].
    pub fn open(plan: &CallPlan) -> Result<Self, CallError> {
        if plan.codec == AudioCodec::L16 {
            return Err(CallError::Plan(
                "WebRTC has no L16; say opus, pcmu or pcma".to_owned(),
            ));
        }
        let connect = Connect {
            url: plan.signalling_url(),
            trust: plan.trust.clone(),
            token: plan.token.clone(),
            token_via: plan.token_via,
            origin: plan.origin.clone(),
            timeout: plan.step_timeout,
        };
        let signalling = Signalling::connect(&connect)?;
        signalling.wait_for_message("session", Instant::now() + plan.step_timeout, |message| {
            matches!(message, ServerMessage::Session { .. }).then_some(())
        })?;
        let peer = MediaPeer::start(plan.codec, plan.dtls, &plan.local_ips)?;
        let call = Self {
            signalling,
            connect,
            earlier: Vec::new(),
            peer,
            call_sid: String::new(),
            setup_ms: 0.0,
            step_timeout: plan.step_timeout,
            relay: plan.relay,
        };
        call.negotiate(call.peer.offer().to_owned())?;
        Ok(call)
    }

    /// Dials, and waits for `CHANNEL_ANSWER`, which needs a connected peer.
    ///
    /// # Errors
    /// As [`WebRtcCall::dial`].
    pub fn place(&mut self, plan: &CallPlan) -> Result<(), CallError> {
        self.signalling.send(&ClientMessage::Dial {
            to: plan.to.clone(),
            trunk_id: plan.trunk_id.clone(),
            call_from: plan.call_from.clone(),
            client_id: plan.client_id.clone(),
        });
        let answer =
            self.signalling
                .wait_for_message("CHANNEL_ANSWER", self.deadline(), |message| match message {
                    ServerMessage::Event(event) if event.event_type == EventType::ChannelAnswer => {
                        Some(Ok(event.call_sid.to_string()))
                    }
                    // The final event comes first; the reason comes with `error` or `bye`.
                    ServerMessage::Bye { q850_cause, reason } => Some(Err(CallError::Unanswered {
                        q850_cause: *q850_cause,
                        reason: reason.clone(),
                    })),
                    other => refusal(other).map(Err),
                })?;
        self.call_sid = answer?;
        Ok(())
    }

    /// Waits until somebody calls; `look` sees who calls whom. The call's name.
    ///
    /// # Errors
    /// As [`WebRtcCall::dial`].
    pub fn wait_for_incoming(&self, look: impl Fn(&str, &str)) -> Result<String, CallError> {
        let called = self
            .signalling
            .wait_for_message("incoming", self.deadline(), |message| match message {
                ServerMessage::Incoming { call_sid, from, to } => {
                    look(from, to);
                    Some(call_sid.clone())
                }
                _ => None,
            })?;
        Ok(called)
    }

    /// Takes an incoming call, and waits for `CHANNEL_ANSWER`.
    ///
    /// # Errors
    /// As [`WebRtcCall::dial`].
    pub fn accept(&mut self, call_sid: &str) -> Result<(), CallError> {
        self.call_sid = call_sid.to_owned();
        self.signalling.send(&ClientMessage::Accept {
            call_sid: call_sid.to_owned(),
        });
        self.wait_for_event(EventType::ChannelAnswer, 1)
    }

    /// Refuses an incoming call.
    pub fn reject(&mut self, call_sid: &str, q850_cause: Option<u8>) {
        self.call_sid = call_sid.to_owned();
        self.signalling.send(&ClientMessage::Reject {
            call_sid: call_sid.to_owned(),
            q850_cause,
        });
    }

    /// The gateway's name of the call; empty before it was dialled.
    pub fn call_sid(&self) -> &str {
        &self.call_sid
    }

    /// Loses the signalling socket, as a network that goes away. Media goes on.
    pub fn lose_socket(&self) {
        self.signalling.lose();
    }

    /// Goes on with the session on another socket; what is left of the one before comes back.
    ///
    /// # Errors
    /// [`CallError`] when the session is not resumed.
    pub fn resume(&mut self) -> Result<Signalling, CallError> {
        let token = self
            .signalling
            .resume_token()
            .ok_or_else(|| CallError::Plan("there was no resume token".to_owned()))?;
        let signalling = Signalling::connect(&Connect {
            token,
            token_via: TokenVia::Resume,
            ..self.connect.clone()
        })?;
        signalling.wait_for_message("session", self.deadline(), |message| {
            matches!(message, ServerMessage::Session { .. }).then_some(())
        })?;
        let before = std::mem::replace(&mut self.signalling, signalling);
        self.earlier.extend(before.received());
        Ok(before)
    }

    /// Restarts ICE from new sockets, as a phone that changes its network: what comes to the old ones is lost. Returns once
    /// the answer is there; the path follows.
    ///
    /// # Errors
    /// [`CallError`] when the offer is refused or no socket can be bound.
    pub fn restart_ice(&mut self, local_ips: &[IpAddr]) -> Result<(), CallError> {
        let offer = self.peer.restart_ice(local_ips)?;
        self.negotiate(offer)
    }

    /// How the socket of this call was connected, for tests of others.
    pub fn connection(&self) -> &Connect {
        &self.connect
    }

    /// Everything that came, on all sockets.
    fn messages(&self) -> Vec<Received> {
        let mut messages = self.earlier.clone();
        messages.extend(self.signalling.received());
        messages
    }

    /// The CallEvents that came, on all sockets.
    pub fn events(&self) -> Vec<CallEvent> {
        events_of(&self.messages())
    }

    /// Signalling, for whatever has no method here.
    pub fn signalling(&self) -> &Signalling {
        &self.signalling
    }

    /// The first SDP offer.
    pub fn offer(&self) -> &str {
        self.peer.offer()
    }

    /// Codec and payload types of the answer.
    pub fn format(&self) -> Option<OutgoingFormat> {
        self.peer.format()
    }

    /// Says something from the next frame on; silence is sent before and after it.
    pub fn speak(&self, speech: &Audio, playback: Playback) {
        self.peer.speak(speech, playback);
    }

    /// Waits until everything was said.
    ///
    /// # Errors
    /// [`CallError::Media`] at the deadline, or when the media path broke.
    pub fn wait_until_spoken(&self, deadline: Instant) -> Result<(), CallError> {
        self.peer.wait_silent(deadline)
    }

    /// Mutes the microphone: silence is sent instead of speech.
    pub fn set_muted(&self, muted: bool) {
        self.peer.set_muted(muted);
    }

    /// Sends digits in the media path (RFC 4733), each so long.
    ///
    /// # Errors
    /// [`CallError::Digits`] for what is no digit or was not negotiated.
    pub fn send_digits(&self, digits: &str, duration_ms: u32) -> Result<(), CallError> {
        if self
            .peer
            .format()
            .is_none_or(|format| format.telephone_event.is_none())
        {
            return Err(TelephoneEventError::NotNegotiated.into());
        }
        let plans = digits
            .chars()
            .map(|digit| DigitPlan::new(digit, duration_ms, true))
            .collect::<Result<_, _>>()?;
        self.peer.send_digits(plans);
        Ok(())
    }

    /// Sends digits as `dtmf` message; the gateway plays them to the far end.
    pub fn send_digits_by_message(&self, digits: &str, duration_ms: u16) {
        self.signalling.send(&ClientMessage::Dtmf {
            digits: digits.to_owned(),
            duration_ms: Some(duration_ms),
        });
    }

    /// Puts the far end on hold by message, and waits for the event.
    ///
    /// # Errors
    /// [`CallError`] when `CHANNEL_HOLD` does not come.
    pub fn hold(&self) -> Result<(), CallError> {
        let seen = self.count(EventType::ChannelHold);
        self.signalling.send(&ClientMessage::Hold);
        self.wait_for_event(EventType::ChannelHold, seen + 1)
    }

    /// Takes the far end back by message, and waits for the event.
    ///
    /// # Errors
    /// [`CallError`] when `CHANNEL_RESUME` does not come.
    pub fn unhold(&self) -> Result<(), CallError> {
        let seen = self.count(EventType::ChannelResume);
        self.signalling.send(&ClientMessage::Unhold);
        self.wait_for_event(EventType::ChannelResume, seen + 1)
    }

    /// Holds (`sendonly`) or resumes (`sendrecv`) by a further offer (RFC 3264 section 8.4), and waits for the answer.
    ///
    /// # Errors
    /// [`CallError`] when the offer is refused.
    pub fn hold_by_offer(&self, hold: bool) -> Result<(), CallError> {
        let direction = if hold {
            Direction::SendOnly
        } else {
            Direction::SendRecv
        };
        self.negotiate(self.peer.offer_direction(direction)?)
    }

    /// Waits until `event_type` came `count` times.
    ///
    /// # Errors
    /// [`CallError::Signalling`] at the deadline of a step.
    pub fn wait_for_event(&self, event_type: EventType, count: usize) -> Result<(), CallError> {
        let what = format!("{event_type:?}");
        let of_type = |events: &[CallEvent]| {
            events
                .iter()
                .filter(|event| event.event_type == event_type)
                .count()
        };
        let earlier = of_type(&events_of(&self.earlier));
        self.signalling
            .wait_for(&what, self.deadline(), |received| {
                (earlier + of_type(&events_of(received)) >= count).then_some(())
            })?;
        Ok(())
    }

    /// What was heard so far.
    ///
    /// # Errors
    /// [`CallError::Media`] when it can't be decoded.
    pub fn recording(&self) -> Result<Recording, CallError> {
        self.peer.recording()
    }

    /// The audio packets that came so far, in the order of arrival.
    pub fn audio_packets(&self) -> Vec<ReceivedPacket> {
        self.peer.audio_packets()
    }

    /// What was measured on the media path so far.
    pub fn media_statistics(&self) -> MediaStatistics {
        self.peer.statistics()
    }

    /// When the first sample of the speech was spoken.
    pub fn spoken_at(&self) -> Option<Instant> {
        self.peer.spoken_at()
    }

    /// Hangs up, and waits for the final event and the end of the session.
    ///
    /// # Errors
    /// [`CallError`] when the final event does not come.
    pub fn hang_up(self) -> Result<CallReport, CallError> {
        self.signalling.send(&ClientMessage::Hangup);
        self.wait_for_end()
    }

    /// Waits until the other side has hung up: the final event, then the end of the session.
    ///
    /// # Errors
    /// [`CallError`] when the final event does not come.
    pub fn wait_for_end(self) -> Result<CallReport, CallError> {
        self.wait_for_event(EventType::ChannelHangupComplete, 1)?;
        let signalling_end = self.signalling.wait_for_end(self.deadline()).ok();
        let recording = self.peer.recording()?;
        Ok(CallReport {
            call_sid: self.call_sid.clone(),
            events: self.events(),
            messages: self.messages(),
            signalling_end,
            spoken_at_ms: self.peer.spoken_at().map(|at| recording.at_ms(at)),
            recording,
            setup_ms: self.setup_ms,
            lookahead_ms: self.peer.lookahead_ms(),
            format: self.peer.format(),
            telephone_events: self.peer.telephone_events(),
            media: self.peer.statistics(),
        })
    }

    /// Goes away without a word, as a browser tab that is closed.
    pub fn vanish(self) {
        drop(self);
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.step_timeout
    }

    fn count(&self, event_type: EventType) -> usize {
        self.events()
            .iter()
            .filter(|event| event.event_type == event_type)
            .count()
    }

    /// Sends an offer, and takes the answer that comes after it.
    fn negotiate(&self, offer: String) -> Result<(), CallError> {
        let before = self.signalling.received().len();
        self.signalling.send(&ClientMessage::Offer { sdp: offer });
        let answer = self
            .signalling
            .wait_for("answer", self.deadline(), |received| {
                received
                    .iter()
                    .skip(before)
                    .find_map(|received| match &received.message {
                        ServerMessage::Answer { sdp } => Some(Ok(sdp.clone())),
                        other => refusal(other).map(Err),
                    })
            })?;
        let answer = answer?;
        self.peer.accept(match self.relay {
            Some(relay) => with_candidates_at(&answer, relay),
            None => answer,
        });
        Ok(())
    }
}

fn events_of(received: &[Received]) -> Vec<CallEvent> {
    let event = |received: &Received| match &received.message {
        ServerMessage::Event(event) => Some(event.clone()),
        _ => None,
    };
    received.iter().filter_map(event).collect()
}

fn refusal(message: &ServerMessage) -> Option<CallError> {
    match message {
        ServerMessage::Error {
            code,
            message,
            fault,
        } => Some(CallError::Refused {
            code: code.clone(),
            message: message.clone(),
            fault: fault.clone(),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_gets_the_tenants() {
        let mut plan = CallPlan::new("wss://gw.example.com:7443", Trust::Anybody, "acme", "");
        assert_eq!(
            plan.signalling_url(),
            "wss://gw.example.com:7443/signal/browser/acme"
        );
        plan.url = "wss://gw.example.com:7443/".to_owned();
        assert_eq!(
            plan.signalling_url(),
            "wss://gw.example.com:7443/signal/browser/acme"
        );
        plan.url = "wss://gw.example.com:7443/else/where".to_owned();
        assert_eq!(
            plan.signalling_url(),
            "wss://gw.example.com:7443/else/where"
        );
    }
}
