//! The whole way on a running control thread: ring, dial, ring.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};

use super::*;
use crate::call::TrunkMedia;
use crate::call::rings::{
    ToControl, ToShard, TrunkDial, TrunkProgress, VendorDial, VendorDialTarget,
};
use crate::config::{AgentConfig, AgentDialect, GatewayConfig, TrunkKind};
use crate::control::fixtures::{Running, config, eventually, set_trunk, tenant, trunk};

/// An agent without TLS, and a gateway that has a trunk to it.
struct Agent {
    listener: std::net::TcpListener,
    gateway: Running,
}

impl Agent {
    fn new(change: impl FnOnce(&mut GatewayConfig)) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/bot", listener.local_addr().unwrap());
        let mut config = config();
        config.tenants.insert(tenant("acme"), Arc::new(acme()));
        let agent = AgentConfig::with_defaults(url, AgentDialect::Pcm16);
        let kind = TrunkKind::WebSocket(Box::new(agent));
        set_trunk(&mut config, "acme", "agent", 10, kind);
        change(&mut config);
        let gateway = Running::start(config, 1);
        Self { listener, gateway }
    }

    fn dial(&mut self) {
        self.say(ToControl::TrunkDial(Box::new(TrunkDial {
            call_sid: call(0, 1),
            trunk_id: trunk("agent"),
            to: String::new(),
            from: String::new(),
            local_rtp: None,
        })));
    }

    fn dial_vendor(&mut self) {
        self.say(ToControl::VendorDial(Box::new(VendorDial {
            call_sid: call(0, 1),
            tenant_id: tenant("acme"),
            to: VendorDialTarget::Agent(trunk("agent")),
            from: String::new(),
            to_number: String::new(),
        })));
    }

    fn say(&mut self, message: ToControl) {
        self.gateway.shards[0].say(message);
    }

    fn hear(&mut self) -> ToShard {
        self.gateway.shards[0].hear()
    }

    /// Takes a connection and reads the request.
    fn accept(&self) -> (std::net::TcpStream, String) {
        let (mut stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = String::new();
        while !request.contains("\r\n\r\n") {
            let mut bytes = [0; 1024];
            let len = stream.read(&mut bytes).unwrap();
            request.push_str(std::str::from_utf8(&bytes[..len]).unwrap());
        }
        (stream, request)
    }

    fn answer(&self) -> std::net::TcpStream {
        let (mut stream, request) = self.accept();
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            accept_of(&request)
        );
        stream.write_all(answer.as_bytes()).unwrap();
        stream
    }

    fn sample(&self, series: &str) -> f64 {
        self.gateway.get("/metrics").sample(series)
    }
}

#[test]
fn a_dialled_agent_is_the_shards() {
    let mut agent = Agent::new(|_| {});
    agent.dial();
    let _far = agent.answer();
    let ToShard::Trunk(call_sid, TrunkProgress::Answered(TrunkMedia::Socket(live))) = agent.hear()
    else {
        panic!("an open socket was due");
    };
    assert_eq!(call_sid, call(0, 1));
    assert_eq!(live.peer, agent.listener.local_addr().unwrap());

    agent.dial_vendor();
    let _far = agent.answer();
    assert!(matches!(agent.hear(), ToShard::VendorSocket(of, Ok(_)) if of == call_sid));
    let connected = "clutchcall_outbound_dials_total{outcome=\"connected\"}";
    assert_eq!(agent.sample(connected), 2.0);
    assert_eq!(agent.sample("clutchcall_outbound_dials "), 0.0);
    assert_eq!(agent.sample("clutchcall_agent_up{trunk_id=\"agent\"}"), 1.0);
}

#[test]
fn who_hangs_up_first_leaves_no_connection_behind() {
    let mut agent = Agent::new(|_| {});
    for is_vendor in [false, true] {
        let call_sid = call(0, 1);
        let hang_up = match is_vendor {
            false => {
                agent.dial();
                let cause = Q850Cause::NORMAL;
                ToControl::TrunkHangup { call_sid, cause }
            }
            true => {
                agent.dial_vendor();
                ToControl::Release(call_sid)
            }
        };
        let (mut far, _) = agent.accept();
        agent.say(hang_up);
        assert_eq!(far.read(&mut [0]).unwrap(), 0, "the connection is closed");
    }
    let given_up = "clutchcall_outbound_dials_total{outcome=\"given_up\"}";
    assert_eq!(agent.sample(given_up), 2.0);
    assert!(agent.gateway.shards[0].from_control.pop().is_none());
}

#[test]
fn an_agent_that_refuses_fails_the_call() {
    let mut agent = Agent::new(|_| {});
    agent.dial();
    let (mut far, _) = agent.accept();
    far.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
        .unwrap();
    let ToShard::Trunk(_, TrunkProgress::Failed(refusal)) = agent.hear() else {
        panic!("a refusal was due");
    };
    assert_eq!((refusal.fault, refusal.cause.0), (Fault::Agent, 42));
    let address = agent.listener.local_addr().unwrap();
    let told = format!("the agent of trunk agent: {address} answered 503");
    assert_eq!(refusal.message, told);
}

#[test]
fn twilio_hears_of_a_hang_up() {
    let api = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let api_url = format!("http://{}", api.local_addr().unwrap());
    let mut agent = Agent::new(|config| {
        let rest = TwilioRest {
            api_url,
            ca_file: None,
            api_key_sid: "SK1".into(),
            api_key_secret: Secret::new("secret"),
        };
        let acme = config.tenants.get_mut(&tenant("acme")).unwrap();
        Arc::make_mut(acme).twilio = Some(TwilioConfig {
            rest: Some(rest),
            ..TwilioConfig::with_defaults(ACCOUNT_SID.into(), None)
        });
    });
    agent.say(ToControl::TwilioHangUp {
        tenant_id: tenant("acme"),
        vendor_call: CALL_SID.into(),
    });
    agent.listener = api;
    let (mut far, request) = agent.accept();
    assert!(request.contains(CALL_SID), "{request}");
    far.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    let closed = eventually(|| far.read(&mut [0; 1024]).ok().filter(|len| *len == 0));
    assert_eq!(closed, 0);
}
