//! aiortc as the caller: another implementation of WebRTC than ours and than Chromium.
//!
//! `peers/aiortc_peer.py` makes the call and records what it hears; judged is here. aiortc has a jitter buffer and its own
//! clock, so the delay is not judged, and time may be stretched by a frame.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use loadtest::audio::Audio;
use loadtest::gateway::{ECHO_TENANT, Gateway, GatewaySetup};
use loadtest::judge::{Bar, Playback, Question, judge};
use loadtest::media::AudioCodec;
use loadtest::rtp_peer::{RtpPeer, RtpPeerConfig};
use loadtest::speech;
use serde_json::Value;
use server::call::EventType;

use crate::rtp_trunk::opening;

/// The environment variable that names the Python with aiortc.
const PYTHON_VARIABLE: &str = "CLUTCHCALL_PYTHON";
/// Where `cargo xtask test` puts it, from the workspace's root.
const PYTHON_DEFAULT: &str = "target/test-peers/python/bin/python";
const SPEECH_S: usize = 5;
const LINE_WITHIN: Duration = Duration::from_secs(30);

const WHOLE_CALL: [EventType; 3] = [
    EventType::ChannelCreate,
    EventType::ChannelAnswer,
    EventType::ChannelHangupComplete,
];

/// aiortc does not gather loopback addresses, so a gateway on the same host tells those of its interfaces.
fn start(tenants_and_trunks: &str) -> Gateway {
    let mut setup = GatewaySetup::new(tenants_and_trunks);
    setup.webrtc_lines = String::new();
    Gateway::start(&setup).unwrap()
}

/// A gateway that is asked at loopback by a caller at an interface's address: an answer that left from where the route
/// leads, and not from where the question came, would be a stranger's to the caller.
fn start_at_loopback(tenants_and_trunks: &str) -> Gateway {
    let setup = GatewaySetup::new(tenants_and_trunks);
    assert!(setup.webrtc_lines.contains("127.0.0.1"));
    Gateway::start(&setup).unwrap()
}

fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

pub(crate) fn python() -> PathBuf {
    let python = std::env::var_os(PYTHON_VARIABLE)
        .map_or_else(|| workspace().join(PYTHON_DEFAULT), PathBuf::from);
    assert!(
        python.is_file(),
        "{} is missing; it is installed by: cargo xtask test",
        python.display()
    );
    python
}

/// What the peer does besides speaking and hanging up.
#[derive(Default)]
struct Wish<'a> {
    speech_after_hold: Option<&'a Audio>,
    far_end_hangs_up: bool,
}

/// A running caller.
struct Aiortc {
    child: Child,
    lines: Receiver<Value>,
    told: Vec<Value>,
    record: PathBuf,
    _directory: tempfile::TempDir,
}

impl Aiortc {
    fn call(gateway: &Gateway, trunk: &str, codec: &str, speech: &Audio, wish: &Wish<'_>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let speech_file = directory.path().join("speech.wav");
        speech.write_wav(&speech_file).unwrap();
        let record = directory.path().join("record.wav");
        let mut command = Command::new(python());
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/aiortc_peer.py"))
            .args(["--url", &gateway.url(), "--tenant", "acme"])
            .args(["--token", &gateway.token("acme").unwrap()])
            .args(["--trunk", trunk, "--codec", codec])
            .arg("--ca")
            .arg(gateway.file("cert.pem"))
            .arg("--speech")
            .arg(&speech_file)
            .arg("--record")
            .arg(&record)
            .stdout(Stdio::piped());
        if let Some(speech) = wish.speech_after_hold {
            let file = directory.path().join("speech-after-hold.wav");
            speech.write_wav(&file).unwrap();
            command.arg("--speech-after-hold").arg(file);
        }
        if wish.far_end_hangs_up {
            command.arg("--far-end-hangs-up");
        }
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        // Ends with the child, whose output it reads.
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        let mut peer = Self {
            child,
            lines,
            told: Vec::new(),
            record,
            _directory: directory,
        };
        let version = peer.wait_for("version");
        println!(
            "peer: aiortc {} on Python {}",
            version["aiortc"], version["python"]
        );
        peer
    }

    /// Reads on until a line of `kind`.
    fn wait_for(&mut self, kind: &str) -> Value {
        loop {
            let line = self.lines.recv_timeout(LINE_WITHIN);
            let Ok(line) = line else {
                panic!("aiortc did not tell {kind:?} but {:#?}", self.told);
            };
            self.told.push(line.clone());
            assert_ne!(line["kind"], "failed", "{:#?}", self.told);
            if line["kind"] == kind {
                return line;
            }
        }
    }

    /// Waits for the end of the session, then for that of the process.
    fn finish(mut self) -> Finished {
        let inbound = self.wait_for("inbound");
        let closed = self.wait_for("closed");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {:#?}", self.told);
        println!(
            "aiortc received {} packets, lost {}",
            inbound["packets"], inbound["lost"]
        );
        let events = self
            .told
            .iter()
            .filter(|line| line["message"]["type"] == "event")
            .map(|line| line["message"].clone())
            .collect();
        Finished {
            recording: Audio::read_wav(&self.record).unwrap(),
            events,
            lost: inbound["lost"].clone(),
            close_code: closed["code"].clone(),
        }
    }
}

impl Drop for Aiortc {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Finished {
    recording: Audio,
    /// CallEvents as the dialect told them.
    events: Vec<Value>,
    lost: Value,
    close_code: Value,
}

impl Finished {
    fn assert_heard(&self, spoken: &Audio, bar: Bar) {
        let verdict = judge(spoken, &self.recording, &Question::new(bar)).unwrap();
        println!("at aiortc: {verdict}");
        assert!(verdict.pass, "{verdict}");
        assert_eq!(self.lost, 0);
    }

    /// These and no others, in the dialect and at `/v1/events`; a clean end of the session.
    fn assert_events(&self, gateway: &Gateway, wanted: &[EventType]) {
        let told: Vec<i64> = self
            .events
            .iter()
            .filter_map(|event| event["event_type"].as_i64())
            .collect();
        let numbers: Vec<i64> = wanted
            .iter()
            .map(|event_type| i32::from(*event_type).into())
            .collect();
        assert_eq!(told, numbers, "in the dialect");
        let call_sid = self.events[0]["call_sid"].as_str().unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        let ended = gateway.wait_for_events(deadline, |events| {
            let last = events
                .iter()
                .rfind(|event| event.call_sid.as_str() == call_sid)?;
            (last.event_type == EventType::ChannelHangupComplete).then_some(last.q850_cause)
        });
        assert_eq!(ended, Some(16));
        assert_eq!(gateway.event_types(call_sid), wanted, "at /v1/events");
        assert_eq!(self.close_code, 1000);
    }
}

fn end(gateway: Gateway) {
    gateway.assert_drained();
    let status = gateway.stop().unwrap();
    assert!(status.success(), "the gateway ended with {status}");
}

/// One call to an echo; the caller hangs up.
fn echoed(gateway: Gateway, trunk: &str, codec: &str, bar: Bar) {
    let speech = opening(speech::alpha(), SPEECH_S);
    let peer = Aiortc::call(&gateway, trunk, codec, &speech, &Wish::default());
    let finished = peer.finish();
    finished.assert_heard(&speech, bar);
    finished.assert_events(&gateway, &WHOLE_CALL);
    assert_eq!(
        finished.events[2]["codec"].as_str().unwrap().to_lowercase(),
        codec
    );
    end(gateway);
}

#[test]
fn opus_is_heard_through_pcmu() {
    echoed(start(ECHO_TENANT), "echo", "opus", Bar::OpusClean);
}

#[test]
fn pcmu_is_heard() {
    echoed(start(ECHO_TENANT), "echo", "pcmu", Bar::PcmuToRtp);
}

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    echoed(
        start_at_loopback(ECHO_TENANT),
        "echo",
        "opus",
        Bar::OpusClean,
    );
}

#[test]
fn hold_and_resume_by_offer() {
    let gateway = start(ECHO_TENANT);
    let (before, after) = (
        opening(speech::alpha(), SPEECH_S),
        opening(speech::bravo(), SPEECH_S),
    );
    let wish = Wish {
        speech_after_hold: Some(&after),
        ..Wish::default()
    };
    let peer = Aiortc::call(&gateway, "echo", "opus", &before, &wish);
    let finished = peer.finish();
    finished.assert_heard(&before, Bar::OpusClean);
    finished.assert_heard(&after, Bar::OpusClean);
    finished.assert_events(
        &gateway,
        &[
            EventType::ChannelCreate,
            EventType::ChannelAnswer,
            EventType::ChannelHold,
            EventType::ChannelResume,
            EventType::ChannelHangupComplete,
        ],
    );
    end(gateway);
}

#[test]
fn pcma_to_a_far_end_that_hangs_up() {
    let far_end = RtpPeer::start(RtpPeerConfig::new(
        Ipv4Addr::LOCALHOST.into(),
        AudioCodec::Pcmu,
    ))
    .unwrap();
    let gateway = start(&format!(
        r#"
[[tenants]]
tenant_id = "acme"
[tenants.browser]
origins = ["https://app.example.com"]

[[trunks]]
trunk_id = "far-end"
tenant_id = "acme"
kind = "rtp"
remote = "{}"
codec_preferences = ["PCMU"]
rtp_start_port = 9000
rtp_end_port = 9099
"#,
        far_end.local_addr()
    ));
    let (from_caller, from_far_end) = (
        opening(speech::alpha(), SPEECH_S),
        opening(speech::bravo(), SPEECH_S),
    );
    let wish = Wish {
        far_end_hangs_up: true,
        ..Wish::default()
    };
    let mut peer = Aiortc::call(&gateway, "far-end", "pcma", &from_caller, &wish);
    let source = far_end
        .wait_for_source(0, Instant::now() + LINE_WITHIN)
        .unwrap();
    far_end
        .speak(source, &from_far_end, Playback::Once)
        .unwrap();
    peer.wait_for("spoken");
    far_end.hang_up(source).unwrap();
    let finished = peer.finish();
    finished.assert_heard(&from_far_end, Bar::PcmuToRtp);
    let heard = far_end.recording(source).unwrap();
    let verdict = judge(&from_caller, &heard.audio, &Question::new(Bar::PcmuToRtp)).unwrap();
    println!("at the far end: {verdict}");
    assert!(verdict.pass, "{verdict}");
    finished.assert_events(&gateway, &WHOLE_CALL);
    end(gateway);
}
