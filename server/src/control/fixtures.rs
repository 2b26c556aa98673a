//! What the tests of this room share: a configuration, events, and a running control thread with a shard's ring ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on ends with a panic"
)]

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use shards::ShardIndex;
use shards::ring::{Consumer, Producer, ring};
use tokio::sync::mpsc;

use super::admin::AdminListener;
use super::links::ShardLink;
use super::reload::ReloadSource;
use super::state::ControlState;
use super::thread::{ControlError, ControlInputs, Requests, now, serve};
use crate::call::rings::{AskId, Question, ToControl, ToShard};
use crate::call::{CallEvent, CallRecord, CallStatus, EventType};
use crate::config::{
    AdminConfig, CodecName, ConfigFiles, EchoCodec, Effective, GatewayConfig, Machine, Secret,
    ServerConfig, TenantConfig, TrunkConfig, TrunkKind, WebRtcConfig,
};
use crate::fault::Refusal;
use crate::id::{CallSid, TenantId, TrunkId};
use crate::metrics::{ProcessState, ShardMetrics};

pub(super) const TOKEN: &str = "operator-token";
/// Nothing in these tests takes longer unless it hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

pub(super) fn trunk(name: &str) -> TrunkId {
    name.parse().unwrap()
}

pub(super) fn call(shard: u16, number: u16) -> CallSid {
    let mut entropy = [0; CallSid::ENTROPY_LEN];
    entropy[..2].copy_from_slice(&number.to_be_bytes());
    CallSid::new(ShardIndex(shard), entropy)
}

/// Tenant `acme` with trunks `echo` and `desk-phone`, tenant `other` with trunk `other-echo`; no limit is near.
pub(super) fn config() -> GatewayConfig {
    let mut config = GatewayConfig {
        server: ServerConfig {
            listen: Vec::new(),
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
            token_key_file: None,
            public_url: String::new(),
            demo_page: false,
            drain_timeout_s: 1,
            signal_grace_ms: 15_000,
        },
        admin: AdminConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            token: Some(Secret::new(TOKEN)),
        },
        webrtc: WebRtcConfig::default(),
        tenants: BTreeMap::new(),
        trunks: BTreeMap::new(),
    };
    set_tenant(&mut config, "acme", 1000, 1000);
    set_tenant(&mut config, "other", 1000, 1000);
    set_trunk(
        &mut config,
        "acme",
        "echo",
        1000,
        TrunkKind::Echo(EchoCodec::Pcmu),
    );
    set_trunk(
        &mut config,
        "other",
        "other-echo",
        1000,
        TrunkKind::Echo(EchoCodec::Same),
    );
    let remote = "192.0.2.7:4000".parse().unwrap();
    let desk_phone = TrunkKind::Rtp {
        remote,
        rtcp_mux: false,
    };
    set_trunk(&mut config, "acme", "desk-phone", 1000, desk_phone);
    config
}

/// TLS that no handshake succeeds with.
pub(super) fn no_certificate() -> Arc<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let names = rustls::server::ResolvesServerCertUsingSni::new();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(names));
    Arc::new(config)
}

/// The state of a gateway with `config`.
pub(super) fn state_of(config: GatewayConfig, shards: u16) -> ControlState {
    ControlState::new(now(), &Arc::new(config), shards, [7; 32])
}

/// A source whose files are not there.
pub(super) fn no_files() -> ReloadSource {
    let effective = || Effective {
        file: PathBuf::from("no-such.toml").into(),
        settings: Vec::new(),
    };
    ReloadSource {
        files: ConfigFiles {
            gateway: "no-such.toml".into(),
            shards: None,
            machine: Machine {
                cores: vec![0],
                local_ports: 32_768..=60_999,
                reserved_ports: Vec::new(),
            },
        },
        at_start: [effective(), effective()],
    }
}

pub(super) fn set_tenant(
    config: &mut GatewayConfig,
    name: &str,
    max_calls: u32,
    setups_per_s: u32,
) {
    let settings = TenantConfig {
        max_calls,
        setups_per_s,
        ..tenant_config(name)
    };
    config.tenants.insert(tenant(name), Arc::new(settings));
}

/// A tenant that has nothing but its limits.
pub(super) fn tenant_config(name: &str) -> TenantConfig {
    TenantConfig {
        tenant_id: tenant(name),
        max_calls: 100,
        setups_per_s: 20,
        browser: None,
        twilio: None,
        vapi: None,
        outbound_hosts: Vec::new(),
        routes: Vec::new(),
        inbound: Vec::new(),
    }
}

pub(super) fn set_trunk(
    config: &mut GatewayConfig,
    owner: &str,
    name: &str,
    channel_limit: u32,
    kind: TrunkKind,
) {
    let settings = TrunkConfig {
        channel_limit,
        codec_preferences: vec![CodecName::Pcmu, CodecName::Opus],
        ..TrunkConfig::with_defaults(trunk(name), tenant(owner), kind)
    };
    config.trunks.insert(trunk(name), Arc::new(settings));
}

pub(super) fn event(call_sid: CallSid, event_type: EventType) -> CallEvent {
    let answered = event_type != EventType::ChannelCreate;
    let status = match event_type {
        EventType::ChannelCreate => CallStatus::Initiated,
        EventType::ChannelHangupComplete => CallStatus::Completed,
        _ => CallStatus::Answered,
    };
    CallEvent {
        call_sid,
        event_type,
        status,
        start_timestamp_ms: 1_000_000,
        q850_cause: 0,
        recording_url: String::new(),
        duration_seconds: 0,
        answer_timestamp_ms: if answered { 1_002_000 } else { 0 },
        end_timestamp_ms: 0,
        packets_sent: 0,
        packets_received: 0,
        packets_lost: 0,
        bytes_sent: 0,
        jitter_ms: 0.0,
        estimated_mos: 0.0,
        trunk_id: trunk("echo"),
        tenant_id: tenant("acme"),
        codec: "opus".to_owned(),
        timestamp_ms: 1_002_000,
        client_id: "page-1".to_owned(),
    }
}

pub(super) fn told(call_sid: CallSid, event_type: EventType) -> ToControl {
    ToControl::Event(Box::new(event(call_sid, event_type)))
}

pub(super) fn ended(call_sid: CallSid) -> ToControl {
    let event = event(call_sid, EventType::ChannelHangupComplete);
    ToControl::Ended(Box::new(CallRecord::without_account(
        event,
        "the caller hung up",
        None,
    )))
}

pub(super) fn open_call(call_sid: CallSid) -> Question {
    Question::OpenCall {
        call_sid,
        tenant_id: tenant("acme"),
        trunk_id: trunk("echo"),
    }
}

/// A control thread that runs, and the shards' ends of its rings.
pub(super) struct Running {
    pub(super) shards: Vec<ShardEnd>,
    pub(super) process: Arc<ProcessState>,
    pub(super) admin: SocketAddr,
    pub(super) stop: mpsc::Sender<()>,
    thread: JoinHandle<Result<(), ControlError>>,
}

/// What a shard holds.
pub(super) struct ShardEnd {
    pub(super) to_control: Producer<ToControl>,
    pub(super) from_control: Consumer<ToShard>,
    pub(super) metrics: Arc<ShardMetrics>,
    asked: u64,
}

impl Running {
    pub(super) fn start(config: GatewayConfig, shard_count: usize) -> Self {
        let admin = AdminListener::bind(config.admin.listen).unwrap();
        let address = admin.local_address();
        let process = Arc::new(ProcessState::default());
        let (links, ends) = (0..shard_count).map(|_| shard_ring()).unzip();
        let inputs = ControlInputs {
            config: Arc::new(config),
            tls: no_certificate(),
            reload: no_files(),
            shards: links,
            process: Arc::clone(&process),
            admin,
        };
        let (stop, stop_requests) = mpsc::channel(2);
        let requests = Requests {
            stop: stop_requests,
            reload: mpsc::channel(1).1,
        };
        let thread = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(serve(inputs, requests))
        });
        Self {
            shards: ends,
            process,
            admin: address,
            stop,
            thread,
        }
    }

    /// Drops the shards' ring ends, as their threads do when they end, and waits for the control thread.
    pub(super) fn join(self) -> Result<(), ControlError> {
        drop(self.shards);
        self.thread.join().unwrap()
    }

    pub(super) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    pub(super) fn get(&self, path: &str) -> Reply {
        request(self.admin, "GET", path, Some(TOKEN))
    }

    pub(super) fn events(&self, query: &str) -> EventReader {
        EventReader::connect(TcpStream::connect(self.admin).unwrap(), query)
    }
}

pub(super) fn shard_ring() -> (ShardLink, ShardEnd) {
    let metrics = Arc::new(ShardMetrics::default());
    let (to_shard, from_control) = ring(64, None);
    let (to_control, from_shard) = ring(4096, None);
    let link = ShardLink {
        metrics: Arc::clone(&metrics),
        to_shard,
        from_shard,
        exited: Arc::new(AtomicBool::new(false)),
    };
    let end = ShardEnd {
        to_control,
        from_control,
        metrics,
        asked: 0,
    };
    (link, end)
}

impl ShardEnd {
    pub(super) fn say(&mut self, message: ToControl) {
        let mut message = Some(message);
        eventually(|| match self.to_control.push(message.take()?) {
            Ok(()) => Some(()),
            Err(full) => {
                message = Some(full.0);
                None
            }
        });
    }

    pub(super) fn hear(&mut self) -> ToShard {
        eventually(|| self.from_control.pop())
    }

    pub(super) fn ask(&mut self, question: Question) -> Result<(), Refusal> {
        self.asked += 1;
        let asked = AskId(self.asked);
        self.say(ToControl::Ask(asked, question));
        match self.hear() {
            ToShard::Answer(ask_id, answer) if ask_id == asked => answer,
            other => panic!("an answer was due, not {other:?}"),
        }
    }

    /// A call as a shard makes it: granted and created.
    pub(super) fn begin_call(&mut self, call_sid: CallSid) {
        assert_eq!(self.ask(open_call(call_sid)), Ok(()));
        self.say(told(call_sid, EventType::ChannelCreate));
    }
}

/// Polls until there is something, within [`PATIENCE`].
pub(super) fn eventually<T>(mut poll: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = poll() {
            return found;
        }
        assert!(Instant::now() < deadline, "nothing came of it");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The value of one line of the metrics.
    pub(super) fn sample(&self, series: &str) -> f64 {
        let line = self.body.lines().find_map(|line| line.strip_prefix(series));
        line.and_then(|value| value.trim().parse().ok())
            .unwrap_or_else(|| panic!("no {series} in {}", self.body))
    }
}

pub(super) fn request(address: SocketAddr, method: &str, path: &str, token: Option<&str>) -> Reply {
    let authorization = token.map_or(String::new(), |token| {
        format!("Authorization: Bearer {token}\r\n")
    });
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: gateway\r\n{authorization}Connection: close\r\n\r\n"
    );
    raw_request(address, &head)
}

pub(super) fn raw_request(address: SocketAddr, head: &str) -> Reply {
    try_request(address, head).unwrap()
}

pub(super) fn try_request(address: SocketAddr, head: &str) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(head.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok(Reply {
        status,
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    })
}

/// A reader of the event stream. Chunk borders are lines of their own, which it passes over.
pub(super) struct EventReader {
    stream: TcpStream,
    text: String,
}

impl EventReader {
    pub(super) fn connect(mut stream: TcpStream, query: &str) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "GET /v1/events{query} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut reader = Self {
            stream,
            text: String::new(),
        };
        while !reader.line().starts_with(": subscribed") {}
        reader
    }

    /// The next line; empty at the end of the stream.
    fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.text.find('\n') {
                return self.text.drain(..=end).collect();
            }
            let mut bytes = [0; 4096];
            let length = self.stream.read(&mut bytes).unwrap();
            if length == 0 {
                return String::new();
            }
            self.text
                .push_str(std::str::from_utf8(&bytes[..length]).unwrap());
        }
    }

    /// The next event; none at the end of the stream.
    pub(super) fn next(&mut self) -> Option<CallEvent> {
        loop {
            let line = self.line();
            if line.is_empty() {
                return None;
            }
            if let Some(json) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(json).unwrap());
            }
        }
    }
}
