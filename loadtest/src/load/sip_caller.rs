//! A SIP carrier that calls: INVITE, ACK, BYE, and sound on a socket of its own for each call, for thousands. UDP only.
//!
//! What it must do for that by itself: repeat an INVITE and a BYE until they are answered, acknowledge repeated answers, answer
//! the gateway's requests. No digest: the gateway knows its carrier by the address.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use super::call::{
    CallClocks, CallFailure, CallNumber, Stage, StageTimes, Stopwatch, failed, failed_at,
};
use super::media::{Direction, EncodedSpeech, Leg, LegPlan, LegRecord, MediaThreads, Protection};
use super::sip_answerer::sdp;
use super::sip_socket::{SipSocket, T1, T2};
use crate::media::{AudioCodec, OutgoingFormat};
use crate::sip_peer::{RemoteSdp, SipMessage};

/// From the INVITE to its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// From the BYE to its answer.
const BYE_WITHIN: Duration = Duration::from_secs(5);

/// How calls are made.
pub struct SipCallerConfig {
    /// Where SIP is sent from; media sockets are bound at its address.
    pub socket: std::net::UdpSocket,
    /// Where the gateway listens for the trunk's calls.
    pub gateway: SocketAddr,
    /// The only codec that is offered.
    pub codec: AudioCodec,
    /// Said over and over from the answer on.
    pub speech: Arc<EncodedSpeech>,
    /// Where calls go; the call's number follows.
    pub number_prefix: String,
    /// Who sends and receives.
    pub media: Arc<MediaThreads>,
    /// So much of each call is kept for the judge.
    pub record: Duration,
}

/// Makes calls; lives on one thread.
#[derive(Clone)]
pub struct SipCaller {
    shared: Rc<Shared>,
}

struct Shared {
    config: SipCallerConfig,
    socket: SipSocket,
    local: SocketAddr,
    dialogs: RefCell<HashMap<String, Dialog>>,
}

struct Dialog {
    responses: mpsc::UnboundedSender<SipMessage>,
    ended: Rc<Notify>,
    /// Repeats of the 200 are acknowledged with it.
    acknowledgement: Option<String>,
}

/// A call that is up.
pub struct SipCall {
    shared: Rc<Shared>,
    leg: Leg,
    dialog: OurDialog,
    responses: mpsc::UnboundedReceiver<SipMessage>,
    ended: Rc<Notify>,
    /// Its set-up.
    pub setup: StageTimes,
}

/// What requests of ours need.
struct OurDialog {
    call_id: String,
    from: String,
    to: String,
    target: String,
}

impl SipCaller {
    /// Ready to call. Must be called within a `LocalSet`.
    ///
    /// # Errors
    /// The socket.
    pub fn start(config: SipCallerConfig) -> io::Result<Self> {
        let socket = SipSocket::open(&config.socket)?;
        let local = socket.local();
        let shared = Rc::new(Shared {
            config,
            socket,
            local,
            dialogs: RefCell::default(),
        });
        let calling = Rc::clone(&shared);
        tokio::task::spawn_local(async move {
            let handle = |message, _| calling.handle(message);
            calling.socket.serve(handle).await;
        });
        Ok(Self { shared })
    }

    /// Makes the call `number`, up to its answer.
    ///
    /// # Errors
    /// [`CallFailure`] says what the gateway said.
    pub async fn place(
        &self,
        number: CallNumber,
        phase: u8,
        clocks: &CallClocks,
    ) -> Result<SipCall, CallFailure> {
        let shared = &self.shared;
        let mut watch = Stopwatch::start();
        let wrong = |error: &dyn std::fmt::Display| failed(Stage::Answer, error);
        let socket = std::net::UdpSocket::bind((shared.local.ip(), 0));
        let socket = socket.map_err(|error| wrong(&error))?;
        let media_address = socket.local_addr().map_err(|error| wrong(&error))?;
        let codec = shared.config.codec;
        let offered = OutgoingFormat {
            codec,
            payload_type: codec.usual_payload_type(),
            telephone_event: Some((101, codec.clock_rate_hz())),
        };
        let to = format!(
            "sip:{}{:07}@{}",
            shared.config.number_prefix, number.0, shared.config.gateway
        );
        let dialog = OurDialog {
            call_id: format!("load-{}-{:016x}", number.0, crate::random_u64()),
            from: format!(
                "<sip:+1444{:07}@{}>;tag=load-{}",
                number.0, shared.local, number.0
            ),
            to: format!("<{to}>"),
            target: to,
        };
        let (tell, mut responses) = mpsc::unbounded_channel();
        let ended = Rc::new(Notify::new());
        let place = Place::take(shared, &dialog.call_id, tell, &ended);
        let invite = dialog
            .request(shared, "INVITE", 1)
            .with("Contact", format!("<sip:load@{}>", shared.local))
            .with("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE")
            .with_body("application/sdp", sdp(offered, media_address));
        let answer = shared.ask(&invite, &mut responses, ANSWER_WITHIN).await;
        let answer = answer.ok_or_else(|| wrong(&"no answer to the INVITE"))?;
        let status = answer.status().unwrap_or(0);
        let dialog = dialog.answered(&answer);
        if !(200..300).contains(&status) {
            shared
                .send(&dialog.acknowledgement(shared, &invite, status))
                .await;
            return Err(refused(&answer));
        }
        let acknowledgement = dialog.acknowledgement(shared, &invite, status);
        place.acknowledged(&acknowledgement);
        shared.send(&acknowledgement).await;
        let theirs = RemoteSdp::parse(&answer.body)
            .and_then(|answer| Some((answer.rtp, answer.format_for(offered)?)));
        let (remote, format) = theirs.ok_or_else(|| wrong(&"an answer without our codec"))?;
        let leg = shared.config.media.open(LegPlan {
            socket,
            remote,
            protection: Protection::Plain,
            consent: None,
            direction: Direction::BToA,
            frames: Arc::clone(&shared.config.speech),
            payload_type: format.payload_type,
            phase,
            clock: Arc::clone(&clocks.trunk),
            heard_clock: Arc::clone(&clocks.vendor),
            record: shared.config.record,
            rtcp: false,
        });
        let leg = leg.map_err(|error| wrong(&error))?;
        watch.lap(Stage::Answer);
        place.keep();
        Ok(SipCall {
            shared: Rc::clone(shared),
            leg,
            dialog,
            responses,
            ended,
            setup: watch.times,
        })
    }
}

impl SipCall {
    /// Waits until the gateway ends the call by itself. Safe to drop at any time.
    pub async fn ended_by_gateway(&mut self) -> CallFailure {
        self.ended.notified().await;
        failed_at(None, &"the gateway sent BYE")
    }

    /// Hangs up, unless the gateway has; what was heard, if the media thread still tells.
    pub async fn hang_up(mut self, say_so: bool) -> (Option<LegRecord>, Option<CallFailure>) {
        let mut failure = None;
        if say_so {
            let bye = self.dialog.request(&self.shared, "BYE", 2);
            let answer = self.shared.ask(&bye, &mut self.responses, BYE_WITHIN).await;
            if answer.and_then(|answer| answer.status()) != Some(200) {
                failure = Some(failed_at(None, &"no 200 to our BYE"));
            }
        }
        self.shared.forget(&self.dialog.call_id);
        (self.leg.close_later().await.ok(), failure)
    }
}

/// A dialog's place in the table, which is given back when there is no call.
struct Place<'a> {
    shared: &'a Shared,
    call_id: Option<String>,
}

impl<'a> Place<'a> {
    fn take(
        shared: &'a Shared,
        call_id: &str,
        responses: mpsc::UnboundedSender<SipMessage>,
        ended: &Rc<Notify>,
    ) -> Self {
        let dialog = Dialog {
            responses,
            ended: Rc::clone(ended),
            acknowledgement: None,
        };
        let mut dialogs = shared.dialogs.borrow_mut();
        dialogs.insert(call_id.to_owned(), dialog);
        Self {
            shared,
            call_id: Some(call_id.to_owned()),
        }
    }

    fn acknowledged(&self, acknowledgement: &SipMessage) {
        let mut dialogs = self.shared.dialogs.borrow_mut();
        let dialog = self.call_id.as_ref().and_then(|id| dialogs.get_mut(id));
        if let Some(dialog) = dialog {
            dialog.acknowledgement = Some(acknowledgement.to_string());
        }
    }

    fn keep(mut self) {
        self.call_id = None;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(call_id) = &self.call_id {
            self.shared.forget(call_id);
        }
    }
}

impl OurDialog {
    fn request(&self, shared: &Shared, method: &str, cseq: u32) -> SipMessage {
        let branch = format!("z9hG4bK{:016x}", crate::random_u64());
        SipMessage::request(method, &self.target)
            .with(
                "Via",
                format!("SIP/2.0/UDP {};rport;branch={branch}", shared.local),
            )
            .with("Max-Forwards", 70)
            .with("From", &self.from)
            .with("To", &self.to)
            .with("Call-ID", &self.call_id)
            .with("CSeq", format!("{cseq} {method}"))
    }

    /// With the tag and the contact of the answer.
    fn answered(self, answer: &SipMessage) -> Self {
        Self {
            to: answer.header("To").unwrap_or(&self.to).to_owned(),
            target: answer.contact().unwrap_or(self.target),
            ..self
        }
    }

    /// Of a 2xx a request of its own (RFC 3261 section 13.2.2.4), of others a part of the INVITE's transaction (17.1.1.3).
    fn acknowledgement(&self, shared: &Shared, invite: &SipMessage, status: u16) -> SipMessage {
        let mut request = self.request(shared, "ACK", 1);
        if status >= 300 {
            let via = invite.header("Via").unwrap_or_default().to_owned();
            if let Some((_, own)) = request.headers.iter_mut().find(|(name, _)| name == "Via") {
                *own = via;
            }
        }
        request
    }
}

fn refused(answer: &SipMessage) -> CallFailure {
    let reason = answer.to_string();
    let reason = reason.lines().next().unwrap_or_default();
    failed(Stage::Answer, &format!("refused with {reason}"))
}

impl Shared {
    fn forget(&self, call_id: &str) {
        self.dialogs.borrow_mut().remove(call_id);
    }

    async fn send(&self, message: &SipMessage) {
        let text = message.to_string();
        self.socket.send(&text, self.config.gateway).await;
    }

    /// Sends a request until it has a final response.
    async fn ask(
        &self,
        request: &SipMessage,
        responses: &mut mpsc::UnboundedReceiver<SipMessage>,
        within: Duration,
    ) -> Option<SipMessage> {
        let deadline = tokio::time::Instant::now() + within;
        let cseq = request.cseq();
        let (mut pause, mut provisional) = (T1, false);
        self.send(request).await;
        loop {
            let repeat = tokio::time::Instant::now() + pause;
            match tokio::time::timeout_at(repeat.min(deadline), responses.recv()).await {
                Ok(response) => {
                    let response = response?;
                    if response.cseq() == cseq {
                        if response.status().is_some_and(|status| status >= 200) {
                            return Some(response);
                        }
                        provisional = true;
                    }
                }
                Err(_) if tokio::time::Instant::now() >= deadline => return None,
                Err(_) => {
                    // An INVITE that is being worked on is not repeated (RFC 3261 section 17.1.1.2).
                    if !provisional {
                        self.send(request).await;
                    }
                    pause = (pause * 2).min(T2);
                }
            }
        }
    }

    /// What a message is answered with, if it is.
    fn handle(&self, message: SipMessage) -> Option<String> {
        let dialogs = self.dialogs.borrow();
        let dialog = dialogs.get(message.call_id());
        let Some(method) = message.method() else {
            let dialog = dialog?;
            if message.cseq().1 == "INVITE"
                && message.status().is_some_and(|status| status >= 200)
                && let Some(acknowledgement) = &dialog.acknowledgement
            {
                return Some(acknowledgement.clone());
            }
            // The call may have ended.
            let _ = dialog.responses.send(message);
            return None;
        };
        let (status, reason) = match (method, dialog) {
            ("ACK", _) => return None,
            ("BYE", Some(dialog)) => {
                dialog.ended.notify_one();
                (200, "OK")
            }
            ("OPTIONS", _) => (200, "OK"),
            (_, None) => (481, "Call Does Not Exist"),
            _ => (501, "Not Implemented"),
        };
        Some(SipMessage::response(&message, status, reason, "load").to_string())
    }
}
