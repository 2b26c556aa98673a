//! A SIP trunk's far end and our side, one step a line, played on an agent. The far end knows the dialogs that there
//! really are, so that a mutation is another conversation:
//!
//! | line | step |
//! | --- | --- |
//! | `!dial`, `!take`, `!accept`, `!early`, `!refuse`, `!hold`, `!unhold`, `!digits 12`, `!transfer 3`, `!hangup`, `!drain` | our side, on the newest call |
//! | `!wait 500` | so many milliseconds pass |
//! | `<INVITE 200 a\|Require: 100rel\|sdp` | a response to our newest request of that method, with that To tag, fields, SDP |
//! | `>BYE\|Reason: Q.850;cause=17` | a request in the newest dialog |
//! | `+INVITE 7\|sdp` | a request in no dialog, with that number |
//! | `~tag\|other` | our newest message comes back with some text replaced |
//! | `=...` | the bytes as they are |
//!
//! However they are mixed: nothing panics, a call ends once and is told nothing after it, and in the end nothing is left.
#![no_main]

use std::collections::HashSet;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use server::call::q850::Q850Cause;
use server::call::rings::TrunkProgress;
use server::config::SipTransport;
use server::id::CallSid;
use server::trunk::sip::agent::{Agent, AgentEvent, Dial, Received, TransferTarget};
use server::trunk::sip::leg::LegKey;
use server::trunk::sip::message::StatusCode;
use server::trunk::sip::trunk_line::Target;
use server_fuzz::{SIP_FAR_END, SIP_OURS, sip_trunk};
use shards::ShardIndex;

/// Lines of one input.
const LINES_MAX: usize = 64;
/// Messages that one step may lead to, and legs that it may make.
const TRANSMITS_MAX: usize = 512;
/// The longest pause of one step.
const WAIT_MAX_MS: u64 = 120_000;
/// After this nothing may be left: the longest that a request of ours waits is 180 s.
const DRAIN: Duration = Duration::from_secs(400);
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8\r\n";

struct Conversation {
    agent: Agent,
    now: Instant,
    calls: Vec<CallSid>,
    ended: HashSet<CallSid>,
    incoming: Vec<LegKey>,
    sent: Vec<String>,
    /// Call-ID, our tag, the far end's.
    dialogs: Vec<(String, String, String)>,
    cseq: u32,
    numbers: u8,
}

fuzz_target!(|input: &[u8]| {
    let now = Instant::now();
    let input = String::from_utf8_lossy(input);
    let mut lines = input.split('\n').peekable();
    let config = lines
        .next_if(|line| line.starts_with('#'))
        .unwrap_or_default();
    let trunk = sip_trunk(config.contains('p'), config.contains('s'));
    let mut agent = Agent::new("fuzz", [7; 32]);
    agent.configure(now, [trunk].iter());
    let mut conversation = Conversation {
        agent,
        now,
        calls: Vec::new(),
        ended: HashSet::new(),
        incoming: Vec::new(),
        sent: Vec::new(),
        dialogs: Vec::new(),
        cseq: 100,
        numbers: 0,
    };
    conversation.pass(Duration::ZERO);
    for line in lines.take(LINES_MAX) {
        conversation.play(line);
        conversation.settle();
    }
    conversation.end();
});

impl Conversation {
    fn play(&mut self, line: &str) {
        let Some(kind) = line.chars().next() else {
            return;
        };
        let rest = &line[kind.len_utf8()..];
        match kind {
            '!' => self.command(rest),
            '<' => self.respond(rest),
            '>' => self.request(rest, true),
            '+' => self.request(rest, false),
            '~' => self.send_back(rest),
            '=' => self.receive(rest),
            _ => {}
        }
    }

    fn command(&mut self, line: &str) {
        let (name, argument) = line.split_once(' ').unwrap_or((line, ""));
        let now = self.now;
        let media = "[::]:20000".parse().expect("an address");
        let call = self.calls.last().copied();
        match (name, call) {
            ("dial", _) => {
                let call_sid = self.new_call();
                let dial = Dial {
                    call_sid,
                    trunk_id: "carrier".parse().expect("a trunk id"),
                    to: if argument.is_empty() {
                        "+15550100"
                    } else {
                        argument
                    }
                    .into(),
                    from: "+15550199".into(),
                    local_rtp: media,
                };
                self.agent.handle_dial(now, dial);
            }
            ("take", _) => {
                if let Some(leg) = self.incoming.pop() {
                    let call_sid = self.new_call();
                    self.agent
                        .take_incoming(now, leg, call_sid, argument.is_empty());
                }
            }
            ("refuse", _) => {
                if let Some(leg) = self.incoming.pop() {
                    self.agent
                        .refuse_incoming(now, leg, StatusCode(486), Q850Cause::USER_BUSY);
                }
            }
            ("accept", Some(call)) => self.agent.handle_accept(now, call, media, false),
            ("early", Some(call)) => self.agent.handle_accept(now, call, media, true),
            ("hold", Some(call)) => self.agent.handle_hold(now, call, true),
            ("unhold", Some(call)) => self.agent.handle_hold(now, call, false),
            ("digits", Some(call)) => self.agent.handle_digits(now, call, argument, 100),
            ("transfer", Some(call)) => {
                let to = match self.calls.first() {
                    Some(first) if argument.is_empty() => TransferTarget::Call(*first),
                    _ => TransferTarget::Number(argument.into()),
                };
                let _refused = self.agent.handle_transfer(now, call, &to);
            }
            ("hangup", Some(call)) => self.hang_up(call),
            ("drain", _) => self.agent.begin_drain(now),
            ("wait", _) => {
                let ms = argument.trim().parse().unwrap_or(500).min(WAIT_MAX_MS);
                self.pass(Duration::from_millis(ms));
            }
            _ => {}
        }
    }

    fn new_call(&mut self) -> CallSid {
        self.numbers += 1;
        let number = self.numbers;
        let call = CallSid::new(ShardIndex(0), [number; 14]);
        self.calls.push(call);
        call
    }

    fn hang_up(&mut self, call: CallSid) {
        self.ended.insert(call);
        self.agent.handle_hang_up(self.now, call, Q850Cause::NORMAL);
        self.settle();
        // The first call stays known: others are transferred to it.
        let first = self.calls.first().copied();
        self.calls
            .retain(|known| *known != call || Some(call) == first);
    }

    fn respond(&mut self, line: &str) {
        let mut parts = line.split('|');
        let mut head = parts.next().unwrap_or_default().split(' ');
        let (method, status, tag) = (
            head.next().unwrap_or_default(),
            head.next().unwrap_or("200"),
            head.next().unwrap_or("a"),
        );
        let Some(request) = self.sent.iter().rev().find(|sent| {
            sent.starts_with(method) && !sent.starts_with("SIP/") && !sent.starts_with("ACK")
        }) else {
            return;
        };
        let mut to = field(request, "To").to_owned();
        if !to.contains(";tag=") && !tag.is_empty() {
            to.push_str(";tag=");
            to.push_str(tag);
        }
        let text = format!(
            "SIP/2.0 {status} Because\r\nVia: {}\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n",
            field(request, "Via"),
            field(request, "From"),
            field(request, "Call-ID"),
            field(request, "CSeq")
        );
        let dialog = (
            field(request, "Call-ID").to_owned(),
            tag_of(field(request, "From")),
            tag_of(&to),
        );
        self.remember(dialog);
        self.receive(&with_extra(text, parts));
    }

    fn request(&mut self, line: &str, in_dialog: bool) {
        let mut parts = line.split('|');
        let mut head = parts.next().unwrap_or_default().split(' ');
        let (method, number) = (
            head.next().unwrap_or_default(),
            head.next().unwrap_or_default(),
        );
        let (call_id, ours, theirs) = match self.dialogs.last() {
            Some(dialog) if in_dialog => dialog.clone(),
            _ => (format!("c{number}"), String::new(), format!("t{number}")),
        };
        self.cseq += 1;
        let cseq = number.parse().unwrap_or(self.cseq);
        let to = if ours.is_empty() {
            String::new()
        } else {
            format!(";tag={ours}")
        };
        let text = format!(
            "{method} sip:1@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bK{method}{cseq};rport\r\n\
             From: <sip:2@192.0.2.2>;tag={theirs}\r\nTo: <sip:1@192.0.2.1>{to}\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} {method}\r\nMax-Forwards: 70\r\n"
        );
        self.receive(&with_extra(text, parts));
    }

    fn send_back(&mut self, line: &str) {
        let Some(last) = self.sent.last() else {
            return;
        };
        let (from, to) = line.split_once('|').unwrap_or((line, ""));
        let text = if from.is_empty() {
            last.clone()
        } else {
            last.replace(from, to)
        };
        self.receive(&text);
    }

    fn receive(&mut self, text: &str) {
        let received = Received {
            transport: SipTransport::Udp,
            local: SIP_OURS,
            remote: SIP_FAR_END,
            connection: None,
            payload: text.as_bytes(),
        };
        self.agent.handle_received(self.now, &received);
    }

    fn remember(&mut self, dialog: (String, String, String)) {
        if !dialog.1.is_empty() && !dialog.2.is_empty() {
            self.dialogs.retain(|known| *known != dialog);
            self.dialogs.push(dialog);
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.agent.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.agent.handle_timeout(self.now);
            self.settle();
            let next = self.agent.poll_timeout();
            assert!(
                next.is_none_or(|next| next > self.now),
                "what is due stays due"
            );
        }
        self.now = end;
    }

    fn settle(&mut self) {
        let mut count = 0;
        while let Some(transmit) = self.agent.poll_transmit() {
            count += 1;
            assert!(count < TRANSMITS_MAX, "one step led to {count} messages");
            let text = String::from_utf8_lossy(&transmit.payload).into_owned();
            if text.starts_with("SIP/2.0") && field(&text, "CSeq").ends_with("INVITE") {
                let dialog = (
                    field(&text, "Call-ID").to_owned(),
                    tag_of(field(&text, "To")),
                    tag_of(field(&text, "From")),
                );
                self.remember(dialog);
            }
            if self.sent.len() > 256 {
                self.sent.remove(0);
            }
            self.sent.push(text);
        }
        while let Some(event) = self.agent.poll_event() {
            self.take_event(event);
        }
        assert_eq!(self.agent.counters().panics, 0);
    }

    fn take_event(&mut self, event: AgentEvent) {
        match event {
            AgentEvent::Progress(call, progress) => {
                assert!(!self.ended.contains(&call), "{progress:?} after the end");
                if matches!(
                    progress,
                    TrunkProgress::HungUp { .. } | TrunkProgress::Failed(_)
                ) {
                    self.ended.insert(call);
                }
            }
            AgentEvent::Incoming(invite) => self.incoming.push(invite.leg),
            AgentEvent::Resolve { trunk_id, .. } => {
                let target = Target {
                    remote: SIP_FAR_END,
                    local_ip: SIP_OURS.ip(),
                    server_name: None,
                    host: 0,
                };
                self.agent
                    .handle_resolved(self.now, &trunk_id, Ok(vec![target]));
            }
            AgentEvent::Transferred { .. } | AgentEvent::Health { .. } => {}
        }
    }

    /// Our side ends everything; then nothing may be left.
    fn end(&mut self) {
        for call in self.calls.clone() {
            self.hang_up(call);
        }
        for leg in std::mem::take(&mut self.incoming) {
            self.agent
                .refuse_incoming(self.now, leg, StatusCode(486), Q850Cause::USER_BUSY);
        }
        self.settle();
        self.pass(DRAIN);
        assert_eq!(
            (self.agent.leg_count(), self.agent.transaction_count()),
            (0, 0)
        );
    }
}

fn with_extra<'a>(mut text: String, parts: impl Iterator<Item = &'a str>) -> String {
    let (mut body, mut has_contact) = ("", false);
    for part in parts {
        if part == "sdp" {
            body = SDP;
            text.push_str("Content-Type: application/sdp\r\n");
        } else {
            has_contact |= part.starts_with("Contact");
            text.push_str(part);
            text.push_str("\r\n");
        }
    }
    if !has_contact {
        text.push_str("Contact: <sip:2@192.0.2.2>\r\n");
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    text
}

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .unwrap_or_default()
}

fn tag_of(field: &str) -> String {
    let (_, tag) = field.split_once(";tag=").unwrap_or_default();
    tag.split(';').next().unwrap_or_default().to_owned()
}
