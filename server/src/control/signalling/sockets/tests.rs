#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends with a panic"
)]

use std::net::{TcpListener, TcpStream};

use shards::tick_stream::LiveStream;

use super::super::{Signalling, SignallingNews};
use super::*;
use crate::call::TrunkMedia;
use crate::call::rings::{TrunkDial, TrunkProgress, VendorDial, VendorDialTarget};
use crate::config::{AgentConfig, AgentDialect};
use crate::control::fixtures::{call, config, set_trunk, tenant, trunk};

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
        let failure = DialFailure { outcome, refusal };
        self.signalling.handle_dialled(self.now, key, Err(failure));
    }

    fn connect(&mut self, key: DialKey) {
        self.signalling
            .handle_dialled(self.now, key, Ok(Box::new(live_stream())));
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

    fn vendor_socket(&mut self) -> Option<Result<Box<LiveStream>, Refusal>> {
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

fn live_stream() -> LiveStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    LiveStream {
        peer: listener.local_addr().unwrap(),
        fd: stream.into(),
        tls: None,
        head: Vec::new(),
    }
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
