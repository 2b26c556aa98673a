#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends with a panic"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use shards::tick_stream::LiveStream;

use super::super::{Signalling, SignallingNews};
use super::*;
use crate::call::TrunkMedia;
use crate::call::dialled::{DialledSocket, VapiControl, VapiDialled};
use crate::call::rings::{TrunkDial, TrunkProgress, VendorDial, VendorDialTarget};
use crate::config::{AgentConfig, AgentDialect, Secret};
use crate::control::fixtures::{call, config, set_trunk, tenant, trunk};
use crate::websocket::{Message, Reader, Role};

struct Agents {
    signalling: Signalling,
    config: GatewayConfig,
    now: Instant,
}

impl Agents {
    /// `config()` with a `websocket` trunk `agent`.
    fn new() -> Self {
        let mut config = config();
        let agent = AgentConfig::with_defaults("wss://agent.example/".into(), AgentDialect::Twilio);
        let kind = TrunkKind::WebSocket(Box::new(agent));
        set_trunk(&mut config, "acme", "agent", 10, kind);
        let now = Instant::now();
        let signalling = Signalling::new(now, &config, [0; 32]);
        Self {
            signalling,
            config,
            now,
        }
    }

    fn dial(&mut self, number: u16) {
        let dial = TrunkDial {
            call_sid: call(0, number),
            trunk_id: trunk("agent"),
            to: "+15550100".to_owned(),
            from: "page".to_owned(),
            local_rtp: None,
        };
        self.signalling.handle_dial(self.now, &dial);
    }

    fn dial_vendor(&mut self, number: u16, to: VendorDialTarget) {
        self.signalling.handle_vendor_dial(VendorDial {
            call_sid: call(0, number),
            tenant_id: tenant("acme"),
            to,
            from: "+15550100".to_owned(),
            to_number: "+15550199".to_owned(),
        });
    }

    /// The dial that is ordered next.
    fn ordered(&mut self) -> Option<(DialKey, DialPlan)> {
        match self.signalling.poll_dial_order()? {
            DialOrder::Dial(key, plan) => Some((key, *plan)),
            DialOrder::GiveUp(key) => panic!("{key:?} is given up"),
        }
    }

    fn given_up(&mut self) -> Option<DialKey> {
        match self.signalling.poll_dial_order()? {
            DialOrder::GiveUp(key) => Some(key),
            DialOrder::Dial(key, _) => panic!("{key:?} is dialled"),
        }
    }

    fn fail(&mut self, key: DialKey, fault: Fault) {
        let refusal = Refusal::new(RefusalCode::Internal, fault, "it does not answer");
        let outcome = DialOutcome::Unreachable;
        self.dialled(key, Err(DialFailure { outcome, refusal }));
    }

    fn connect(&mut self, key: DialKey) {
        self.dialled(key, Ok(Box::new(live_stream().0)));
    }

    /// Of the agent's trunk.
    fn dialled(&mut self, key: DialKey, outcome: Result<Box<LiveStream>, DialFailure>) {
        let peer = DialledPeer::Agent(Arc::clone(&self.config.trunks[&trunk("agent")]));
        self.peer_dialled(key, peer, outcome);
    }

    fn peer_dialled(
        &mut self,
        key: DialKey,
        peer: DialledPeer,
        outcome: Result<Box<LiveStream>, DialFailure>,
    ) {
        let dialled = Dialled { key, peer, outcome };
        self.signalling.handle_dialled(self.now, dialled);
    }

    fn vapi(&self, control: VapiControl) -> DialledPeer {
        let tenant = Arc::clone(&self.config.tenants[&tenant("acme")]);
        DialledPeer::Vapi(VapiDialled { tenant, control })
    }

    fn left(&mut self) -> Option<VapiControl> {
        match self.signalling.poll_news()? {
            SignallingNews::VapiLeft(call_sid, left) => {
                assert_eq!(call_sid, call(0, 1));
                Some(left.control)
            }
            other => panic!("a call at Vapi was due, not {other:?}"),
        }
    }

    fn progress(&mut self) -> Option<TrunkProgress> {
        Some(self.signalling.poll_progress()?.1)
    }

    fn refused(&mut self) -> Refusal {
        match self.progress() {
            Some(TrunkProgress::Failed(refusal)) => refusal,
            other => panic!("a refusal was due, not {other:?}"),
        }
    }

    fn vendor_socket(&mut self) -> Option<Result<Box<DialledSocket>, Refusal>> {
        match self.signalling.poll_news()? {
            SignallingNews::VendorSocket(call_sid, socket) => {
                assert_eq!(call_sid, call(0, 1));
                Some(socket)
            }
            other => panic!("a socket was due, not {other:?}"),
        }
    }

    fn health(&mut self) -> Option<TrunkHealth> {
        match self.signalling.poll_news()? {
            SignallingNews::Health(trunk_id, health) if trunk_id == trunk("agent") => Some(health),
            other => panic!("health was due, not {other:?}"),
        }
    }

    fn count(&self, outcome: DialOutcome) -> u64 {
        let mut outcomes = self.signalling.dial_outcomes();
        outcomes.find(|(of, _)| *of == outcome).unwrap().1
    }
}

/// An open socket, and its far end.
fn live_stream() -> (LiveStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let live = LiveStream {
        peer: listener.local_addr().unwrap(),
        fd: stream.into(),
        tls: None,
        head: Vec::new(),
    };
    (live, listener.accept().unwrap().0)
}

#[test]
fn a_websocket_trunk_answers_when_its_socket_is_open() {
    let mut agents = Agents::new();
    agents.dial(1);
    assert!(agents.progress().is_none());
    assert_eq!(agents.signalling.dialling(), 1);
    let (key, plan) = agents.ordered().unwrap();
    assert!(matches!(plan, DialPlan::Agent { trunk, .. } if trunk.trunk_id.as_str() == "agent"));
    agents.connect(key);
    assert!(matches!(
        agents.progress(),
        Some(TrunkProgress::Answered(TrunkMedia::Socket(_)))
    ));
    assert_eq!(agents.signalling.dialling(), 0);
    assert_eq!(agents.count(DialOutcome::Connected), 1);
    // The socket is the shard's now: a hang-up has nothing to give up.
    agents
        .signalling
        .handle_hang_up(agents.now, key.call_sid, Q850Cause::NORMAL);
    assert!(agents.given_up().is_none());
}

#[test]
fn who_hangs_up_while_we_dial_gives_the_dial_up() {
    let mut agents = Agents::new();
    agents.dial(1);
    let (key, _) = agents.ordered().unwrap();
    agents
        .signalling
        .handle_hang_up(agents.now, key.call_sid, Q850Cause::NORMAL);
    assert_eq!(agents.given_up(), Some(key));
    agents.connect(key);
    agents.fail(key, Fault::Agent);
    assert!(agents.progress().is_none());
    assert_eq!(agents.count(DialOutcome::GivenUp), 1);
    assert_eq!(agents.count(DialOutcome::Connected), 0);

    agents.dial_vendor(1, VendorDialTarget::Vapi);
    let (key, _) = agents.ordered().unwrap();
    agents.signalling.handle_over(key.call_sid);
    assert_eq!(agents.given_up(), Some(key));
}

#[test]
fn who_takes_an_incoming_call_is_dialled_and_handed_on() {
    let mut agents = Agents::new();
    for to in [
        VendorDialTarget::Vapi,
        VendorDialTarget::Agent(trunk("agent")),
    ] {
        agents.dial_vendor(1, to);
        let (key, _) = agents.ordered().unwrap();
        assert_eq!(key.side, DialSide::Vendor);
        agents.connect(key);
        assert!(agents.vendor_socket().unwrap().is_ok());
    }
    agents.dial_vendor(1, VendorDialTarget::Vapi);
    // One answer for who asks twice.
    agents.dial_vendor(1, VendorDialTarget::Vapi);
    let (key, _) = agents.ordered().unwrap();
    assert!(agents.ordered().is_none());
    agents.fail(key, Fault::Vendor);
    let refusal = agents.vendor_socket().unwrap().unwrap_err();
    assert_eq!(refusal.fault, Fault::Vendor);
    assert!(agents.vendor_socket().is_none());
}

/// With which codes a peer is closed, to the end of the stream.
fn closes(mut far: TcpStream) -> Vec<u16> {
    let mut bytes = Vec::new();
    far.read_to_end(&mut bytes).unwrap();
    let mut reader = Reader::new(Role::Server, 1 << 16);
    reader.push(&bytes);
    let mut closes = Vec::new();
    while let Some(message) = reader.next().unwrap() {
        let Message::Close { code, .. } = message else {
            panic!("{message:?}");
        };
        closes.push(code.unwrap_or_default());
    }
    closes
}

#[test]
fn a_socket_that_nobody_waits_for_is_closed_with_a_word() {
    let mut agents = Agents::new();
    agents.dial(1);
    let (key, _) = agents.ordered().unwrap();
    agents.signalling.handle_over(key.call_sid);
    let (live, mut far) = live_stream();
    far.write_all(b"\x82\x01x").unwrap();
    agents.dialled(key, Ok(Box::new(live)));
    assert_eq!(closes(far), [1000]);
}

#[test]
fn a_call_at_vapi_that_nobody_needs_is_ended() {
    let url = || VapiControl::Url(Secret::new("https://control"));
    let mut agents = Agents::new();
    let begin = |agents: &mut Agents| {
        agents.dial_vendor(1, VendorDialTarget::Vapi);
        agents.ordered().unwrap().0
    };
    let refused = || {
        Err(DialFailure {
            outcome: DialOutcome::Refused,
            refusal: Refusal::new(RefusalCode::Internal, Fault::Vendor, "403"),
        })
    };
    // Its socket was refused.
    let key = begin(&mut agents);
    let peer = agents.vapi(url());
    agents.peer_dialled(key, peer, refused());
    assert_eq!(agents.left(), Some(url()));
    assert!(agents.vendor_socket().unwrap().is_err());
    // The caller hung up before the socket was open.
    let key = begin(&mut agents);
    agents.signalling.handle_over(key.call_sid);
    assert_eq!(agents.given_up(), Some(key));
    let peer = agents.vapi(url());
    agents.peer_dialled(key, peer, Ok(Box::new(live_stream().0)));
    assert_eq!(agents.left(), Some(url()));
    // It is used: who it is goes with it.
    let key = begin(&mut agents);
    let peer = agents.vapi(url());
    agents.peer_dialled(key, peer, Ok(Box::new(live_stream().0)));
    let socket = agents.vendor_socket().unwrap().unwrap();
    assert!(matches!(socket.peer, DialledPeer::Vapi(vapi) if vapi.control == url()));
    assert!(agents.signalling.poll_news().is_none());
}

#[test]
fn trunks_of_others_are_not_dialled() {
    let mut agents = Agents::new();
    for no_such in ["no-such", "other-echo"] {
        agents.dial_vendor(1, VendorDialTarget::Agent(trunk(no_such)));
        assert!(agents.vendor_socket().unwrap().is_err(), "{no_such}");
        assert!(agents.ordered().is_none());
    }
}

#[test]
fn an_agent_that_fails_again_and_again_is_left_alone_for_a_while() {
    let mut agents = Agents::new();
    for number in 0..BREAKER_FAILURES_MAX as u16 {
        assert!(agents.health().is_none());
        agents.dial(number);
        let (key, _) = agents.ordered().unwrap();
        agents.fail(key, Fault::Agent);
        agents.refused();
    }
    assert_eq!(agents.health(), Some(TrunkHealth::BreakerOpen));
    assert!(agents.signalling.agents().all(|(_, is_up)| !is_up));
    agents.dial(100);
    let refusal = agents.refused();
    assert_eq!(
        (refusal.fault, refusal.cause),
        (Fault::Agent, Q850Cause::NO_CIRCUIT)
    );
    assert!(agents.ordered().is_none());

    // A reload forgets nothing.
    let config = agents.config.clone();
    agents.signalling.reconfigure(agents.now, &config);
    agents.now += BREAKER_OPEN_FOR;
    agents.signalling.handle_timeout(agents.now);
    assert_eq!(agents.health(), Some(TrunkHealth::Up));
    agents.dial(101);
    let (key, _) = agents.ordered().unwrap();
    agents.fail(key, Fault::Agent);
    agents.refused();
    assert_eq!(agents.health(), Some(TrunkHealth::BreakerOpen));

    agents.now += BREAKER_OPEN_FOR;
    agents.signalling.handle_timeout(agents.now);
    assert_eq!(agents.health(), Some(TrunkHealth::Up));
    for number in 200..202 {
        agents.dial(number);
        let (key, _) = agents.ordered().unwrap();
        match number {
            200 => agents.connect(key),
            _ => agents.fail(key, Fault::Agent),
        }
        agents.progress();
        assert!(agents.health().is_none(), "one that works closes it");
    }
}

#[test]
fn what_the_operator_has_to_change_opens_no_breaker() {
    let mut agents = Agents::new();
    for number in 0..2 * BREAKER_FAILURES_MAX as u16 {
        agents.dial(number);
        let (key, _) = agents.ordered().unwrap();
        agents.fail(key, Fault::Config);
        agents.refused();
        assert!(agents.health().is_none());
    }
}
