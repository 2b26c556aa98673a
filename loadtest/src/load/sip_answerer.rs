//! The SIP far end of many calls: answers every INVITE at once, speaks and listens on a socket of its own for each call.
//!
//! [`crate::sip_peer`] is the far end of tests, which forks, holds and refuses; this one only answers, for thousands. What it must
//! do for that by itself: repeat a 200 until its ACK, know a repeated request, answer re-INVITE, UPDATE and OPTIONS. UDP only.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::call::{CallClocks, CallNumber};
use super::far_end;
use super::media::{Direction, EncodedSpeech, Leg, LegPlan, LegRecord, MediaThreads, Protection};
use super::sip_socket::{SipSocket, T1, T2};
use crate::media::{AudioCodec, OutgoingFormat};
use crate::sip_peer::{RemoteSdp, SipMessage};

/// A 200 without ACK is given up.
const ACK_TIMEOUT: Duration = Duration::from_secs(32);
/// How often what is to be repeated is looked at.
const REPEAT_EVERY: Duration = Duration::from_millis(100);

/// How calls are answered.
pub struct AnswererConfig {
    /// Where SIP is listened for; media sockets are bound at its address.
    pub socket: std::net::UdpSocket,
    /// The only codec it takes.
    pub codec: AudioCodec,
    /// Said over and over from the answer on.
    pub speech: Arc<EncodedSpeech>,
    /// Who sends and receives.
    pub media: Arc<MediaThreads>,
    /// So much of each call is kept for the judge.
    pub record: Duration,
}

/// A running far end; lives on one thread.
#[derive(Clone)]
pub struct Answerer {
    shared: Rc<Shared>,
}

struct Shared {
    config: AnswererConfig,
    socket: SipSocket,
    state: RefCell<State>,
    ended: Notify,
    came: Notify,
}

#[derive(Default)]
struct State {
    expected: HashMap<CallNumber, (CallClocks, u8)>,
    /// Calls whose number is not dialled, in their order.
    awaited: VecDeque<CallNumber>,
    dialogs: HashMap<String, Dialog>,
    records: HashMap<CallNumber, LegRecord>,
    unacknowledged: Vec<Unacknowledged>,
}

struct Dialog {
    number: CallNumber,
    leg: Leg,
    to_tag: String,
    sdp: String,
    /// The answer to the request with this CSeq, for repetitions of it.
    last: (u32, String),
}

struct Unacknowledged {
    call_id: String,
    cseq: u32,
    remote: SocketAddr,
    text: String,
    first_sent: Instant,
    next: Instant,
    pause: Duration,
}

impl Answerer {
    /// Listens from now on. Must be called within a `LocalSet`.
    ///
    /// # Errors
    /// The socket.
    pub fn start(config: AnswererConfig) -> io::Result<Self> {
        let socket = SipSocket::open(&config.socket)?;
        let shared = Rc::new(Shared {
            config,
            socket,
            state: RefCell::default(),
            ended: Notify::new(),
            came: Notify::new(),
        });
        let answering = Rc::clone(&shared);
        tokio::task::spawn_local(async move {
            let answer = |message: SipMessage, remote| answering.answer(&message, remote);
            answering.socket.serve(answer).await;
        });
        tokio::task::spawn_local(repeat(Rc::clone(&shared)));
        Ok(Self { shared })
    }

    /// Where SIP is listened for.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.socket.local()
    }

    /// A call with this number will come.
    pub fn expect(&self, number: CallNumber, clocks: CallClocks, phase: u8) {
        let mut state = self.shared.state.borrow_mut();
        state.expected.insert(number, (clocks, phase));
    }

    /// The next call is this one, whatever number is dialled: its caller can't choose one.
    pub fn expect_next(&self, number: CallNumber, clocks: CallClocks, phase: u8) {
        self.expect(number, clocks, phase);
        self.shared.state.borrow_mut().awaited.push_back(number);
    }

    /// Waits until a call came that was [`Answerer::expect_next`]ed. Safe to drop at any time.
    pub async fn came(&self, number: CallNumber) {
        loop {
            let came = self.shared.came.notified();
            if !self.shared.state.borrow().awaited.contains(&number) {
                return;
            }
            came.await;
        }
    }

    /// Waits until the call has been ended by the gateway; what was heard. None: it never came, or was not ended in time; then it
    /// is ended here.
    pub async fn record_of(&self, number: CallNumber, within: Duration) -> Option<LegRecord> {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let ended = self.shared.ended.notified();
            let came = {
                let mut state = self.shared.state.borrow_mut();
                if let Some(record) = state.records.remove(&number) {
                    return Some(record);
                }
                state.expected.remove(&number);
                state.awaited.retain(|awaited| *awaited != number);
                state.dialogs.values().any(|dialog| dialog.number == number)
            };
            if !came && tokio::time::Instant::now() >= deadline {
                return None;
            }
            if tokio::time::timeout_at(deadline, ended).await.is_err() {
                self.give_up(number);
                return None;
            }
        }
    }

    /// Nobody has hung up: the leg is dropped, which ends it.
    fn give_up(&self, number: CallNumber) {
        let mut state = self.shared.state.borrow_mut();
        state.dialogs.retain(|_, dialog| dialog.number != number);
    }
}

async fn repeat(shared: Rc<Shared>) {
    loop {
        tokio::time::sleep(REPEAT_EVERY).await;
        let now = Instant::now();
        let due: Vec<(SocketAddr, String)> = {
            let mut state = shared.state.borrow_mut();
            state
                .unacknowledged
                .retain(|waiting| now - waiting.first_sent < ACK_TIMEOUT);
            let waiting = state.unacknowledged.iter_mut();
            waiting
                .filter(|waiting| waiting.next <= now)
                .map(|waiting| {
                    waiting.pause = (waiting.pause * 2).min(T2);
                    waiting.next = now + waiting.pause;
                    (waiting.remote, waiting.text.clone())
                })
                .collect()
        };
        for (remote, text) in due {
            shared.socket.send(&text, remote).await;
        }
    }
}

impl Shared {
    /// The answer to a request; none to ACK and to responses.
    fn answer(self: &Rc<Self>, message: &SipMessage, remote: SocketAddr) -> Option<String> {
        let (cseq, _) = message.cseq();
        match message.method()? {
            "ACK" => {
                let call_id = message.call_id();
                let mut state = self.state.borrow_mut();
                state
                    .unacknowledged
                    .retain(|waiting| waiting.call_id != call_id || waiting.cseq != cseq);
                None
            }
            "INVITE" => Some(self.invite(message, cseq, remote)),
            "UPDATE" => Some(self.in_dialog(message, |dialog| {
                let answer = response(message, 200, "OK", &dialog.to_tag);
                if message.body.is_empty() {
                    answer.to_string()
                } else {
                    answer
                        .with_body("application/sdp", dialog.sdp.clone())
                        .to_string()
                }
            })),
            "BYE" => Some(self.bye(message)),
            "OPTIONS" => Some(response(message, 200, "OK", "load").to_string()),
            "CANCEL" => Some(response(message, 481, "Call Does Not Exist", "load").to_string()),
            _ => Some(response(message, 501, "Not Implemented", "load").to_string()),
        }
    }

    fn in_dialog(&self, message: &SipMessage, answer: impl FnOnce(&Dialog) -> String) -> String {
        let state = self.state.borrow();
        match state.dialogs.get(message.call_id()) {
            Some(dialog) => answer(dialog),
            None => response(message, 481, "Call Does Not Exist", "load").to_string(),
        }
    }

    fn invite(self: &Rc<Self>, message: &SipMessage, cseq: u32, remote: SocketAddr) -> String {
        let contact = self.contact();
        let mut state = self.state.borrow_mut();
        let answer = match state.dialogs.get_mut(message.call_id()) {
            Some(dialog) if dialog.last.0 == cseq => return dialog.last.1.clone(),
            // A re-INVITE changes nothing here: the same SDP.
            Some(dialog) => {
                let answer = response(message, 200, "OK", &dialog.to_tag)
                    .with("Contact", contact)
                    .with_body("application/sdp", dialog.sdp.clone())
                    .to_string();
                dialog.last = (cseq, answer.clone());
                answer
            }
            None => match self.new_call(&mut state, message, cseq, &contact) {
                Ok(answer) => answer,
                Err((status, reason)) => {
                    return response(message, status, reason, "load").to_string();
                }
            },
        };
        let now = Instant::now();
        state.unacknowledged.push(Unacknowledged {
            call_id: message.call_id().to_owned(),
            cseq,
            remote,
            text: answer.clone(),
            first_sent: now,
            next: now + T1,
            pause: T1,
        });
        answer
    }

    fn new_call(
        &self,
        state: &mut State,
        message: &SipMessage,
        cseq: u32,
        contact: &str,
    ) -> Result<String, (u16, &'static str)> {
        let dialled = || message.uri().and_then(number_of);
        let awaited = state.awaited.pop_front();
        self.came.notify_waiters();
        let number = awaited.or_else(dialled).ok_or((404, "Not Found"))?;
        let (clocks, phase) = state.expected.remove(&number).ok_or((404, "Not Found"))?;
        let offer = RemoteSdp::parse(&message.body).ok_or((488, "Not Acceptable Here"))?;
        let failed = |_| (500, "No Media Socket");
        let socket = std::net::UdpSocket::bind((self.socket.local().ip(), 0)).map_err(failed)?;
        let local = socket.local_addr().map_err(failed)?;
        let ours = OutgoingFormat {
            codec: self.config.codec,
            payload_type: self.config.codec.usual_payload_type(),
            telephone_event: Some((101, self.config.codec.clock_rate_hz())),
        };
        let format = offer.format_for(ours).ok_or((488, "Not Acceptable Here"))?;
        let sdp = sdp(format, local);
        let to_tag = format!("load-{}", number.0);
        let answer = response(message, 200, "OK", &to_tag)
            .with("Contact", contact)
            .with("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE")
            .with_body("application/sdp", sdp.clone())
            .to_string();
        let leg = self.config.media.open(LegPlan {
            socket,
            remote: offer.rtp,
            protection: Protection::Plain,
            consent: None,
            direction: Direction::BToA,
            frames: Arc::clone(&self.config.speech),
            payload_type: format.payload_type,
            phase,
            clock: clocks.trunk,
            heard_clock: clocks.vendor,
            record: self.config.record,
            rtcp: false,
        });
        let leg = leg.map_err(|_| (500, "No Media"))?;
        state.dialogs.insert(
            message.call_id().to_owned(),
            Dialog {
                number,
                leg,
                to_tag,
                sdp,
                last: (cseq, answer.clone()),
            },
        );
        Ok(answer)
    }

    fn bye(self: &Rc<Self>, message: &SipMessage) -> String {
        let dialog = self.state.borrow_mut().dialogs.remove(message.call_id());
        let Some(dialog) = dialog else {
            // Repeated: the first one has ended the call.
            return response(message, 200, "OK", "load").to_string();
        };
        let shared = Rc::clone(self);
        let (number, to_tag) = (dialog.number, dialog.to_tag);
        tokio::task::spawn_local(async move {
            if let Ok(record) = dialog.leg.close_later().await {
                shared.state.borrow_mut().records.insert(number, record);
            }
            shared.ended.notify_waiters();
        });
        response(message, 200, "OK", &to_tag).to_string()
    }

    fn contact(&self) -> String {
        format!("<sip:load@{}>", self.socket.local())
    }
}

fn response(request: &SipMessage, status: u16, reason: &str, to_tag: &str) -> SipMessage {
    SipMessage::response(request, status, reason, to_tag)
}

/// `sip:+15550000042@host`: the last seven digits.
fn number_of(uri: &str) -> Option<CallNumber> {
    let user = uri.split_once(':')?.1.split(['@', ';']).next()?;
    far_end::number_of(user)
}

/// Digits are taken as telephone-events where they are offered, as carriers do: else the gateway listens for tones.
pub(super) fn sdp(format: OutgoingFormat, local: SocketAddr) -> String {
    let OutgoingFormat {
        codec,
        payload_type,
        telephone_event,
    } = format;
    let family = if local.is_ipv4() { "IP4" } else { "IP6" };
    let (ip, port, name, clock) = (
        local.ip(),
        local.port(),
        codec.name(),
        codec.clock_rate_hz(),
    );
    let channels = if codec == AudioCodec::Opus { "/2" } else { "" };
    let (events, event_map) = match telephone_event {
        Some((number, clock)) => (
            format!(" {number}"),
            format!("a=rtpmap:{number} telephone-event/{clock}\r\na=fmtp:{number} 0-15\r\n"),
        ),
        None => Default::default(),
    };
    format!(
        "v=0\r\no=load 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP {payload_type}{events}\r\na=rtpmap:{payload_type} {name}/{clock}{channels}\r\n{event_map}\
         a=ptime:20\r\na=sendrecv\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_called_number_tells_which_call_it_is() {
        assert_eq!(
            number_of("sip:+15550000042@127.0.0.1:5060"),
            Some(CallNumber(42))
        );
        assert_eq!(number_of("sip:42@127.0.0.1"), None);
        assert_eq!(number_of("sip:carrier@127.0.0.1"), None);
    }
}
