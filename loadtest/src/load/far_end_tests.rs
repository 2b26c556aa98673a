//! Callers and far ends against each other, without a gateway between them.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::LocalSet;

use super::agent_answerer::{AgentAnswerer, AgentConfig, AgentDialect};
use super::call::{CallClocks, CallNumber, first_frame};
use super::frames::FrameCounts;
use super::http_service::ServiceTls;
use super::media::{
    Direction, EncodedSpeech, FrameClock, LegRecord, MediaThreads, StreamPlan, Wire,
};
use super::signalling::{Endpoint, OpenError};
use super::sip_answerer::{Answerer, AnswererConfig};
use super::sip_caller::{SipCaller, SipCallerConfig};
use super::target::TwilioAccount;
use super::twilio::TwilioCaller;
use super::vapi_service::{VapiService, VapiServiceConfig};
use crate::media::AudioCodec;
use crate::signalling::{Trust, client_config};
use crate::speech;

const NUMBER: CallNumber = CallNumber(42);
const TALK: Duration = Duration::from_millis(700);
const RECORD: Duration = Duration::from_secs(60);
const END_WITHIN: Duration = Duration::from_secs(5);
const API_KEY: &str = "11111111-2222-3333-4444-555555555555";

/// Who shows a certificate, and who believes it.
struct Certificate {
    directory: TempDir,
}

impl Certificate {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
                .unwrap();
        std::fs::write(directory.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(
            directory.path().join("key.pem"),
            made.signing_key.serialize_pem(),
        )
        .unwrap();
        Self { directory }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn tls(&self) -> ServiceTls {
        ServiceTls::from_files(&self.file("cert.pem"), &self.file("key.pem")).unwrap()
    }

    fn endpoint(&self, port: u16) -> Endpoint {
        let trust = Trust::CertificateFile(self.file("cert.pem"));
        let tls = client_config(&trust).unwrap();
        Endpoint::new(&format!("wss://127.0.0.1:{port}"), tls).unwrap()
    }
}

fn clocks() -> CallClocks {
    let clock = || Arc::new(FrameClock::beginning_with(first_frame(NUMBER)));
    CallClocks {
        vendor: clock(),
        trunk: clock(),
    }
}

fn speeches(vendor: AudioCodec, trunk: AudioCodec) -> (Arc<EncodedSpeech>, Arc<EncodedSpeech>) {
    (
        Arc::new(EncodedSpeech::encode(vendor, &speech::alpha()).unwrap()),
        Arc::new(EncodedSpeech::encode(trunk, &speech::bravo()).unwrap()),
    )
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, work)
}

#[track_caller]
fn assert_heard(heard: &LegRecord, said: &LegRecord, speech: &EncodedSpeech) {
    let counts = FrameCounts::of(heard, said, speech);
    assert!(counts.equal > 20 && counts.are_all_equal(), "{counts:?}");
}

#[test]
fn twilio_calls_an_agent_that_was_made_for_it() {
    let certificate = Certificate::new();
    let media = Arc::new(MediaThreads::start(&[0]).unwrap());
    let (alpha, bravo) = speeches(AudioCodec::Pcmu, AudioCodec::Pcmu);
    run(async {
        let agent = AgentAnswerer::start(AgentConfig {
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            tls: Some(certificate.tls()),
            dialect: AgentDialect::Twilio,
            speech: Arc::clone(&bravo),
            media: Arc::clone(&media),
            record: RECORD,
        })
        .unwrap();
        let caller = TwilioCaller {
            endpoint: certificate.endpoint(agent.local_addr().port()),
            tenant: "acme".to_owned(),
            account: TwilioAccount {
                public_url: "wss://localhost".to_owned(),
                auth_token: "secret".to_owned(),
                account_sid: format!("AC{}", "0".repeat(32)),
            },
            speech: Arc::clone(&alpha),
            trunk_id: None,
            number_prefix: "+1555".to_owned(),
            media: Arc::clone(&media),
            record: RECORD,
        };
        let clocks = clocks();
        agent.expect(NUMBER, clocks.clone(), 20);
        let call = caller.place(NUMBER, 0, &clocks).await.unwrap();
        tokio::time::sleep(TALK).await;
        let (at_vendor, failure) = call.hang_up().await;
        assert_eq!(failure, None);
        let at_agent = agent.record_of(NUMBER, END_WITHIN).await.unwrap();
        let at_vendor = at_vendor.unwrap();
        assert_heard(&at_vendor, &at_agent, &bravo);
        assert_heard(&at_agent, &at_vendor, &alpha);

        // Nobody expects it: the agent closes.
        let failure = caller.place(CallNumber(7), 0, &clocks).await.err().unwrap();
        assert!(
            failure.reason.contains("losed") || failure.reason.contains("eset"),
            "{failure}"
        );
        assert_eq!(agent.record_of(CallNumber(7), END_WITHIN).await, None);
    });
    assert_eq!(media.legs(), 0);
}

#[test]
fn a_carrier_calls_a_carrier() {
    let media = Arc::new(MediaThreads::start(&[0]).unwrap());
    let (alpha, bravo) = speeches(AudioCodec::Pcmu, AudioCodec::Pcmu);
    run(async {
        let answerer = Answerer::start(AnswererConfig {
            socket: UdpSocket::bind("127.0.0.1:0").unwrap(),
            codec: AudioCodec::Pcmu,
            speech: Arc::clone(&alpha),
            media: Arc::clone(&media),
            record: RECORD,
        })
        .unwrap();
        let caller = SipCaller::start(SipCallerConfig {
            socket: UdpSocket::bind("127.0.0.1:0").unwrap(),
            gateway: answerer.local_addr(),
            codec: AudioCodec::Pcmu,
            speech: Arc::clone(&bravo),
            number_prefix: "+1555".to_owned(),
            media: Arc::clone(&media),
            record: RECORD,
        })
        .unwrap();
        let clocks = clocks();
        answerer.expect_next(NUMBER, clocks.clone(), 20);
        // Whatever number it dials.
        let call = caller.place(CallNumber(9), 0, &clocks).await.unwrap();
        answerer.came(NUMBER).await;
        tokio::time::sleep(TALK).await;
        let (at_caller, failure) = call.hang_up(true).await;
        assert_eq!(failure, None);
        let at_answerer = answerer.record_of(NUMBER, END_WITHIN).await.unwrap();
        let at_caller = at_caller.unwrap();
        assert_heard(&at_caller, &at_answerer, &alpha);
        assert_heard(&at_answerer, &at_caller, &bravo);

        let failure = caller.place(CallNumber(7), 0, &clocks).await.err().unwrap();
        assert_eq!(
            failure.to_string(),
            "dial to answer: refused with SIP/2.0 404 Not Found"
        );
    });
    assert_eq!(media.legs(), 0);
}

/// One request to the service, on a connection of its own.
async fn ask(
    endpoint: &Endpoint,
    method: &str,
    path: &str,
    key: &str,
    body: &Value,
) -> (u16, Value) {
    let tcp = tokio::net::TcpStream::connect(endpoint.address)
        .await
        .unwrap();
    let mut tls = tokio_rustls::TlsConnector::from(Arc::clone(&endpoint.tls))
        .connect(endpoint.server_name.clone(), tcp)
        .await
        .unwrap();
    let body = body.to_string();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    tls.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    loop {
        tls.read_buf(&mut answer).await.unwrap();
        let text = String::from_utf8(answer.clone()).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            break (head[9..12].parse().unwrap(), body);
        }
    }
}

fn call_request() -> Value {
    json!({
        "assistantId": "load",
        "transport": {
            "provider": "vapi.websocket",
            "audioFormat": {"format": "pcm_s16le", "container": "raw", "sampleRate": 16_000},
        },
    })
}

#[test]
fn a_call_that_was_made_at_vapi_is_behind_its_url() {
    let certificate = Certificate::new();
    let media = Arc::new(MediaThreads::start(&[0]).unwrap());
    let (alpha, bravo) = speeches(AudioCodec::L16, AudioCodec::L16);
    run(async {
        let service = VapiService::start(VapiServiceConfig {
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            tls: Some(certificate.tls()),
            host: "127.0.0.1".to_owned(),
            api_key: API_KEY.to_owned(),
            speech: Arc::clone(&alpha),
            media: Arc::clone(&media),
            record: RECORD,
        })
        .unwrap();
        let endpoint = certificate.endpoint(service.local_addr().port());
        let clocks = clocks();
        service.expect(NUMBER, clocks.clone(), 20);
        let (status, _) = ask(&endpoint, "POST", "/call", "wrong", &call_request()).await;
        assert_eq!(status, 401);
        let mut wrong = call_request();
        wrong["phoneNumberId"] = json!("x");
        let (status, answer) = ask(&endpoint, "POST", "/call", API_KEY, &wrong).await;
        assert_eq!(status, 400, "{answer}");
        let (status, call) = ask(&endpoint, "POST", "/call", API_KEY, &call_request()).await;
        assert_eq!(status, 201, "{call}");
        service.made(NUMBER).await;
        let url = call["transport"]["websocketCallUrl"].as_str().unwrap();
        let path = url.strip_prefix(&endpoint.url).unwrap();

        let socket = endpoint.open_stream(path, &[]).await.unwrap();
        let plan = StreamPlan {
            socket,
            wire: Wire::Binary {
                goodbye: super::vapi::END_CALL.to_owned(),
                their_goodbye: "end-call",
            },
            direction: Direction::BToA,
            frames: Arc::clone(&bravo),
            phase: 0,
            clock: Arc::clone(&clocks.trunk),
            heard_clock: Arc::clone(&clocks.vendor),
            record: RECORD,
        };
        let leg = media.open_stream(plan).unwrap();
        tokio::time::sleep(TALK).await;
        let at_gateway = leg.close_later().await.unwrap();
        let at_vapi = service.record_of(NUMBER, END_WITHIN).await.unwrap();
        assert_heard(&at_gateway, &at_vapi, &alpha);
        assert_heard(&at_vapi, &at_gateway, &bravo);
        // `status-update` there, `end-call` here.
        assert_eq!((at_gateway.other_messages, at_vapi.other_messages), (1, 1));

        let again = endpoint.open_stream(path, &[]).await.err();
        assert!(
            matches!(again, Some(OpenError::Refused { status: 404, .. })),
            "{again:?}"
        );
        let id = call["id"].as_str().unwrap();
        let (status, told) = ask(
            &endpoint,
            "GET",
            &format!("/call/{id}"),
            API_KEY,
            &Value::Null,
        )
        .await;
        assert_eq!((status, &told["status"]), (200, &json!("in-progress")));
    });
    assert_eq!(media.legs(), 0);
}
