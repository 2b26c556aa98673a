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
        Self::with_urls(|config, _| change(config))
    }

    fn with_urls(change: impl FnOnce(&mut GatewayConfig, SocketAddr)) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("ws://{address}/bot");
        let mut config = config();
        config.tenants.insert(tenant("acme"), Arc::new(acme()));
        let agent = AgentConfig::with_defaults(url, AgentDialect::Pcm16);
        let kind = TrunkKind::WebSocket(Box::new(agent));
        set_trunk(&mut config, "acme", "agent", 10, kind);
        change(&mut config, address);
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

/// A service of Vapi's without TLS: one listener for its API, its sockets and its control.
struct Vapi(Agent);

impl Vapi {
    fn new() -> Self {
        Self(Agent::with_urls(|config, address| {
            let acme = config.tenants.get_mut(&tenant("acme")).unwrap();
            Arc::make_mut(acme).vapi = Some(VapiConfig {
                api_key: Some(Secret::new("vapi-api-key")),
                api_url: format!("http://{address}"),
                assistant_id: Some("assistant-1".into()),
                ..VapiConfig::with_defaults()
            });
        }))
    }

    fn dial(&mut self) {
        self.0.say(ToControl::VendorDial(Box::new(VendorDial {
            call_sid: call(0, 1),
            tenant_id: tenant("acme"),
            to: VendorDialTarget::Vapi,
            from: String::new(),
            to_number: String::new(),
        })));
    }

    /// Takes the order of a call, to be answered by [`Vapi::make`].
    fn ordered(&self) -> std::net::TcpStream {
        let (far, request) = self.0.accept();
        assert!(request.starts_with("POST /call "), "{request}");
        far
    }

    fn make(&self, mut far: std::net::TcpStream) {
        let address = self.0.listener.local_addr().unwrap();
        let body = format!(
            r#"{{"transport":{{"websocketCallUrl":"ws://{address}/id/transport"}},"monitor":{{"controlUrl":"http://{address}/id/control"}}}}"#
        );
        let answer = json_answer("201 Created", &body);
        far.write_all(answer.as_bytes()).unwrap();
    }

    /// The call is ended at its control URL.
    fn is_told_to_end_it(&self) {
        let (mut far, request) = self.0.accept();
        assert!(request.starts_with("POST /id/control "), "{request}");
        far.write_all(json_answer("200 OK", "{}").as_bytes())
            .unwrap();
    }
}

#[test]
fn a_call_at_vapi_that_nobody_wants_any_more_is_ended() {
    for made_before in [false, true] {
        let mut vapi = Vapi::new();
        vapi.dial();
        let far = vapi.ordered();
        let _slow = match made_before {
            // The caller hangs up while Vapi makes the call.
            false => {
                vapi.0.say(ToControl::Release(call(0, 1)));
                let given_up = "clutchcall_outbound_dials_total{outcome=\"given_up\"}";
                eventually(|| (vapi.0.sample(given_up) == 1.0).then_some(()));
                vapi.make(far);
                None
            }
            // Its socket does not answer before he does.
            true => {
                vapi.make(far);
                let (slow, request) = vapi.0.accept();
                assert!(request.starts_with("GET /id/transport "), "{request}");
                vapi.0.say(ToControl::Release(call(0, 1)));
                Some(slow)
            }
        };
        vapi.is_told_to_end_it();
        assert!(vapi.0.gateway.shards[0].from_control.pop().is_none());
    }
}

#[test]
fn a_call_at_vapi_whose_socket_is_refused_is_ended() {
    let mut vapi = Vapi::new();
    vapi.dial();
    vapi.make(vapi.ordered());
    let (mut far, _) = vapi.0.accept();
    far.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    let ToShard::VendorSocket(_, Err(refusal)) = vapi.0.hear() else {
        panic!("a refusal was due");
    };
    assert_eq!(refusal.fault, Fault::Vendor);
    vapi.is_told_to_end_it();
}

/// A gateway that ends calls of Twilio's by REST, and Twilio.
fn with_twilio() -> Agent {
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
    agent.listener = api;
    agent.say(ToControl::TwilioHangUp {
        tenant_id: tenant("acme"),
        vendor_call: CALL_SID.into(),
    });
    agent
}

#[test]
fn a_hang_up_is_told_before_the_process_ends() {
    let agent = with_twilio();
    let (listener, gateway) = (agent.listener, agent.gateway);
    gateway.stop.blocking_send(()).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    let ended = std::thread::spawn(move || gateway.join());
    std::thread::sleep(Duration::from_millis(300));
    assert!(!ended.is_finished(), "Twilio has not answered yet");
    far.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    ended.join().unwrap().unwrap();
}

#[test]
fn twilio_hears_of_a_hang_up() {
    let agent = with_twilio();
    let (mut far, request) = agent.accept();
    assert!(request.contains(CALL_SID), "{request}");
    far.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    let closed = eventually(|| far.read(&mut [0; 1024]).ok().filter(|len| *len == 0));
    assert_eq!(closed, 0);
}
