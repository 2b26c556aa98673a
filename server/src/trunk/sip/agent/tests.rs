#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends with a panic"
)]

mod calls;
mod established;
mod hostile;
mod requests;
mod torture;
mod trunks;

use super::*;
use crate::bridge::Codec;
use crate::call::{RtpMedia, TrunkMedia};
use crate::config::{Secret, SipCredentials, SipTrunkConfig};
use crate::trunk::sip::transaction::T1_64;
use shards::ShardIndex;

/// Two agents that are each other's trunk, and the network between them.
struct Pair {
    now: Instant,
    ours: Agent,
    theirs: Agent,
    /// What each agent told, ours first.
    told: [Vec<AgentEvent>; 2],
    /// Everything that went over the wire: who sent it, and the text.
    wire: Vec<(Side, String)>,
    /// Messages of that side whose text contains it are lost.
    loses: Option<(Side, &'static str)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Ours,
    Theirs,
}

const OURS: &str = "192.0.2.1";
const THEIRS: &str = "192.0.2.2";
/// Nobody is there.
const DEAD: &str = "192.0.2.77";

/// A trunk that says nothing of itself and takes calls.
fn sip_config(gateway_host: &str) -> SipTrunkConfig {
    SipTrunkConfig {
        destination_port: Some(5060),
        reject_incoming_calls: false,
        options_interval_s: 0,
        circuit_breaker_failures: 3,
        ..SipTrunkConfig::with_defaults(gateway_host.into())
    }
}

fn trunk_config(sip: SipTrunkConfig) -> Arc<TrunkConfig> {
    Arc::new(TrunkConfig::with_defaults(
        "carrier".parse().unwrap(),
        "acme".parse().unwrap(),
        TrunkKind::Sip(Box::new(sip)),
    ))
}

fn target(remote: &str, local: &str) -> Target {
    Target {
        remote: SocketAddr::new(remote.parse().unwrap(), 5060),
        local_ip: local.parse().unwrap(),
        server_name: None,
        host: 0,
    }
}

fn call(number: u8) -> CallSid {
    CallSid::new(ShardIndex(0), [number; 14])
}

fn is_of(dial: &AgentEvent, wanted: &str) -> bool {
    match dial {
        AgentEvent::Progress(_, progress) => format!("{progress:?}").starts_with(wanted),
        other => format!("{other:?}").starts_with(wanted),
    }
}

impl Pair {
    fn new() -> Self {
        Self::with(|_| {}, |_| {})
    }

    fn with(
        change_ours: impl FnOnce(&mut SipTrunkConfig),
        change_theirs: impl FnOnce(&mut SipTrunkConfig),
    ) -> Self {
        let now = Instant::now();
        let (mut our_sip, mut their_sip) = (sip_config(THEIRS), sip_config(OURS));
        change_ours(&mut our_sip);
        change_theirs(&mut their_sip);
        let agent = |seed: u8, sip: SipTrunkConfig, local: &str, remote: &str| {
            let mut agent = Agent::new("test", [seed; 32]);
            agent.configure(now, [trunk_config(sip)].iter());
            agent.handle_timeout(now);
            agent.handle_resolved(
                now,
                &"carrier".parse().unwrap(),
                Ok(vec![target(remote, local)]),
            );
            agent
        };
        let mut pair = Self {
            now,
            ours: agent(1, our_sip, OURS, THEIRS),
            theirs: agent(2, their_sip, THEIRS, OURS),
            told: [Vec::new(), Vec::new()],
            wire: Vec::new(),
            loses: None,
        };
        pair.deliver();
        pair.told = [Vec::new(), Vec::new()];
        pair
    }

    fn agent(&mut self, side: Side) -> &mut Agent {
        match side {
            Side::Ours => &mut self.ours,
            Side::Theirs => &mut self.theirs,
        }
    }

    /// Carries messages until nobody has any.
    fn deliver(&mut self) {
        let mut quiet = false;
        while !quiet {
            quiet = true;
            for side in [Side::Ours, Side::Theirs] {
                while let Some(transmit) = self.agent(side).poll_transmit() {
                    quiet = false;
                    let text = String::from_utf8_lossy(&transmit.payload).into_owned();
                    let lost = self
                        .loses
                        .is_some_and(|(loser, part)| loser == side && text.contains(part))
                        || transmit.flow.remote.ip().to_string() == DEAD;
                    self.wire.push((side, text));
                    if lost {
                        continue;
                    }
                    let (from, other) = match side {
                        Side::Ours => (OURS, Side::Theirs),
                        Side::Theirs => (THEIRS, Side::Ours),
                    };
                    let received = Received {
                        transport: SipTransport::Udp,
                        local: "[::]:5060".parse().unwrap(),
                        remote: SocketAddr::new(from.parse().unwrap(), 5060),
                        connection: None,
                        payload: &transmit.payload,
                    };
                    let now = self.now;
                    self.agent(other).handle_received(now, &received);
                }
            }
            for (index, side) in [Side::Ours, Side::Theirs].into_iter().enumerate() {
                while let Some(event) = self.agent(side).poll_event() {
                    self.told[index].push(event);
                }
            }
        }
    }

    /// Lets so much time pass, with everything that is due on the way.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let due = [self.ours.poll_timeout(), self.theirs.poll_timeout()]
                .into_iter()
                .flatten()
                .min();
            let Some(due) = due.filter(|due| *due <= end) else {
                break;
            };
            self.now = self.now.max(due);
            let now = self.now;
            self.ours.handle_timeout(now);
            self.theirs.handle_timeout(now);
            self.deliver();
        }
        self.now = end;
    }

    fn dial(&mut self, number: u8) {
        let (now, dial) = (
            self.now,
            Dial {
                call_sid: call(number),
                trunk_id: "carrier".parse().unwrap(),
                to: "+15550100".into(),
                from: "+15550199".into(),
                local_rtp: "[::]:20000".parse().unwrap(),
            },
        );
        self.ours.handle_dial(now, dial);
        self.deliver();
    }

    /// The leg of the last incoming call of their side.
    fn incoming(&mut self) -> IncomingInvite {
        let found = self.told[1].iter().rev().find_map(|event| match event {
            AgentEvent::Incoming(invite) => Some(invite.clone()),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("nobody called: {:?}", self.wire))
    }

    fn take(&mut self, number: u8) {
        let (now, leg) = (self.now, self.incoming().leg);
        self.theirs.take_incoming(now, leg, call(number), true);
        self.deliver();
    }

    fn accept(&mut self, number: u8) {
        let now = self.now;
        self.theirs
            .handle_accept(now, call(number), "[::]:30000".parse().unwrap(), false);
        self.deliver();
    }

    /// A call that both sides have: 1 is ours, 2 theirs.
    fn established() -> Self {
        Self::established_with(|_| {}, |_| {})
    }

    fn established_with(
        ours: impl FnOnce(&mut SipTrunkConfig),
        theirs: impl FnOnce(&mut SipTrunkConfig),
    ) -> Self {
        let mut pair = Self::with(ours, theirs);
        pair.dial(1);
        pair.take(2);
        pair.accept(2);
        assert!(pair.heard(Side::Ours, "Answered"), "{:?}", pair.told);
        assert!(pair.heard(Side::Theirs, "Answered"), "{:?}", pair.told);
        pair.clear();
        pair
    }

    fn clear(&mut self) {
        self.told = [Vec::new(), Vec::new()];
        self.wire.clear();
    }

    fn told(&self, side: Side) -> &[AgentEvent] {
        &self.told[usize::from(side == Side::Theirs)]
    }

    fn heard(&self, side: Side, wanted: &str) -> bool {
        self.told(side).iter().any(|event| is_of(event, wanted))
    }

    fn count(&self, side: Side, wanted: &str) -> usize {
        self.told(side)
            .iter()
            .filter(|event| is_of(event, wanted))
            .count()
    }

    /// The media that a side was told last.
    fn media(&self, side: Side) -> RtpMedia {
        let found = self.told(side).iter().rev().find_map(|event| match event {
            AgentEvent::Progress(
                _,
                TrunkProgress::Answered(TrunkMedia::Rtp(media))
                | TrunkProgress::Media(TrunkMedia::Rtp(media))
                | TrunkProgress::EarlyMedia(TrunkMedia::Rtp(media)),
            ) => Some((**media).clone()),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no media: {:?}", self.told))
    }

    /// How a side's call ended: cause and text.
    fn end(&self, side: Side) -> (u8, String) {
        let found = self.told(side).iter().rev().find_map(|event| match event {
            AgentEvent::Progress(_, TrunkProgress::HungUp { cause, text, .. }) => {
                Some((cause.0, text.clone()))
            }
            AgentEvent::Progress(_, TrunkProgress::Failed(refusal)) => {
                Some((refusal.cause.0, refusal.message.clone()))
            }
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no end: {:?}", self.told))
    }

    /// The messages of a side that begin so.
    fn sent(&self, side: Side, begin: &str) -> Vec<&str> {
        let of_side = self
            .wire
            .iter()
            .filter(|(sender, text)| *sender == side && text.starts_with(begin));
        of_side.map(|(_, text)| text.as_str()).collect()
    }

    /// A message of the far end that was not made by an agent.
    fn inject(&mut self, text: &str) {
        self.inject_from(THEIRS, text);
    }

    fn inject_from(&mut self, ip: &str, text: &str) {
        let received = Received {
            transport: SipTransport::Udp,
            local: "[::]:5060".parse().unwrap(),
            remote: SocketAddr::new(ip.parse().unwrap(), 5060),
            connection: None,
            payload: text.as_bytes(),
        };
        let now = self.now;
        self.ours.handle_received(now, &received);
        self.deliver();
    }

    /// After a minute nothing is left of any call.
    fn assert_nothing_is_left(&mut self) {
        self.pass(T1_64 * 3);
        for agent in [&self.ours, &self.theirs] {
            assert_eq!((agent.leg_count(), agent.transaction_count()), (0, 0));
            assert!(
                agent.clients.is_empty()
                    && agent.legs_by_dialog.is_empty()
                    && agent.legs_by_call.is_empty()
            );
            assert!(
                agent.legs_by_server.is_empty()
                    && agent.names.is_empty()
                    && agent.legs_by_invite.is_empty()
                    && agent.deadlines.is_empty()
            );
            assert_eq!(agent.counters().panics, 0);
        }
    }
}

/// The value of a header field of a message.
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
}
