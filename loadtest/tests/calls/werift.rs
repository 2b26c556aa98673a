//! werift as the caller: WebRTC written in TypeScript, a third implementation beside Chromium's and aiortc's.
//!
//! `peers/werift/peer.mjs` makes the call and does what this file tells it; it has no codecs, so that sound is made and judged
//! here and it carries the packets. It has no jitter buffer either: what it got is what the gateway sent.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use loadtest::audio::Audio;
use loadtest::gateway::{ECHO_TENANT, Gateway, GatewaySetup};
use loadtest::judge::{Bar, Playback, Question, judge};
use loadtest::media::{
    AudioCodec, FrameEncoder, ReceivedPacket, Recorder, Recording, telephone_events,
};
use loadtest::rtp_peer::{RtpPeer, RtpPeerConfig};
use loadtest::speech;
use serde_json::Value;
use server::call::EventType;

use crate::rtp_trunk::digits::assert_digits;
use crate::rtp_trunk::opening;

/// The environment variable that names the directory with werift's packages.
const WERIFT_VARIABLE: &str = "CLUTCHCALL_WERIFT";
/// Where `cargo xtask test` puts it, from the workspace's root.
const WERIFT_DEFAULT: &str = "target/test-peers/werift";
/// As the peer offers it.
const TELEPHONE_EVENT: u64 = 101;
const SPEECH_S: usize = 4;
const LINE_WITHIN: Duration = Duration::from_secs(30);
/// The last words travel so long at most.
const TAIL: Duration = Duration::from_millis(500);
/// How long the peer presses each digit.
const DIGIT_MS: u32 = 120;
/// Two packets: what a relay may add or take away.
const TOLERANCE_MS: u32 = 40;

const WHOLE_CALL: [EventType; 3] = [
    EventType::ChannelCreate,
    EventType::ChannelAnswer,
    EventType::ChannelHangupComplete,
];

fn werift() -> PathBuf {
    let workspace = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let modules = std::env::var_os(WERIFT_VARIABLE)
        .map_or_else(|| workspace.join(WERIFT_DEFAULT), PathBuf::from);
    assert!(
        modules.join("node_modules/werift").is_dir(),
        "werift is not in {}; it is installed by: cargo xtask test",
        modules.display()
    );
    modules.canonicalize().unwrap()
}

/// A running caller, in a call that was answered.
struct Werift {
    child: Child,
    commands: ChildStdin,
    lines: Receiver<(Instant, Value)>,
    codec: AudioCodec,
    /// Everything that it told but RTP.
    told: Vec<Value>,
    packets: Vec<ReceivedPacket>,
    begin: Instant,
    _directory: tempfile::TempDir,
}

impl Werift {
    fn call(gateway: &Gateway, trunk: &str, codec: AudioCodec, speech: &Audio) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let packets = directory.path().join("packets");
        std::fs::write(&packets, encoded(codec, speech)).unwrap();
        let mut child = Command::new("node")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/werift/peer.mjs"))
            .arg("--modules")
            .arg(werift())
            .args(["--url", &gateway.url(), "--tenant", "acme"])
            .args(["--token", &gateway.token("acme").unwrap()])
            .args(["--trunk", trunk, "--codec", codec.name()])
            .arg("--ca")
            .arg(gateway.file("cert.pem"))
            .arg("--packets")
            .arg(&packets)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "node does not start: {error}; install it with: apt-get install -y nodejs npm"
                )
            });
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        // Ends with the child, whose output it reads.
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send((Instant::now(), value)).is_err() {
                    return;
                }
            }
        });
        let mut peer = Self {
            commands: child.stdin.take().unwrap(),
            child,
            lines,
            codec,
            told: Vec::new(),
            packets: Vec::new(),
            begin: Instant::now(),
            _directory: directory,
        };
        let version = peer.wait_for("version");
        println!(
            "peer: werift {} on node {}",
            version["werift"], version["node"]
        );
        peer.wait_for("answered");
        peer
    }

    /// Has it do something, until it tells that it is done.
    fn run(&mut self, command: &str, done: &str) {
        writeln!(self.commands, "{command}").unwrap();
        self.wait_for(done);
    }

    /// Reads on until a line of `kind`.
    #[track_caller]
    fn wait_for(&mut self, kind: &str) -> Value {
        self.read_until(Instant::now() + LINE_WITHIN, |line| line["kind"] == kind)
            .unwrap_or_else(|| panic!("werift did not tell {kind:?} but {:#?}", self.told))
    }

    /// Reads on for this long.
    fn listen(&mut self, time: Duration) {
        let nothing = self.read_until(Instant::now() + time, |_| false);
        assert_eq!(nothing, None);
    }

    #[track_caller]
    fn read_until(&mut self, deadline: Instant, look: impl Fn(&Value) -> bool) -> Option<Value> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let (arrival, line) = self.lines.recv_timeout(left).ok()?;
            if line["kind"] == "rtp" {
                self.packets.push(packet(arrival, &line));
                continue;
            }
            self.told.push(line.clone());
            assert_ne!(line["kind"], "failed", "{:#?}", self.told);
            if look(&line) {
                return Some(line);
            }
        }
    }

    /// What it heard from `first` on, the index of a packet.
    fn heard(&self, first: usize) -> Recording {
        let packets = &self.packets[first..];
        let mut recorder = Recorder::new(packets.first().map_or(self.begin, |p| p.arrival));
        for packet in packets.iter().filter(|packet| !is_event(packet)) {
            recorder.handle_packet(packet.clone());
        }
        recorder.recording(self.codec).unwrap()
    }

    /// Says what it was given; what it hears meanwhile. `during` runs once a third was said.
    fn speak(&mut self, during: impl FnOnce(&mut Self)) -> Recording {
        let first = self.packets.len();
        writeln!(self.commands, "speak").unwrap();
        self.listen(Duration::from_secs(SPEECH_S as u64 / 3));
        during(self);
        self.wait_for("spoken");
        self.listen(TAIL);
        self.heard(first)
    }

    /// Reads on until the gateway has told `count` digits, and what comes behind them.
    fn wait_for_digits(&mut self, count: usize) {
        let deadline = Instant::now() + LINE_WITHIN;
        while self.told("dtmf").len() < count {
            let is_digit = |line: &Value| line["message"]["type"] == "dtmf";
            let told = self.read_until(deadline, is_digit);
            assert!(told.is_some(), "{:#?}", self.told);
        }
        self.listen(TAIL);
    }

    fn told(&self, message_type: &str) -> Vec<Value> {
        let messages = self.told.iter().map(|line| &line["message"]);
        messages
            .filter(|message| message["type"] == message_type)
            .cloned()
            .collect()
    }

    /// Hangs up; exactly the events of a whole call, in the dialect and at `/v1/events`.
    fn finish(mut self, gateway: Gateway) -> Self {
        self.run("hangup", "closed");
        let closed = self.told.last().unwrap();
        assert_eq!(closed["code"], 1000, "{:#?}", self.told);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {:#?}", self.told);
        let events = self.told("event");
        let numbers: Vec<i64> = events
            .iter()
            .filter_map(|event| event["event_type"].as_i64())
            .collect();
        let wanted = WHOLE_CALL.map(|event_type| i64::from(i32::from(event_type)));
        assert_eq!(numbers, wanted, "in the dialect");
        assert_eq!(events[2]["q850_cause"], 16);
        let call_sid = events[0]["call_sid"].as_str().unwrap();
        assert_eq!(gateway.event_types(call_sid), WHOLE_CALL, "at /v1/events");
        gateway.assert_drained();
        let status = gateway.stop().unwrap();
        assert!(status.success(), "the gateway ended with {status}");
        self
    }
}

impl Drop for Werift {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The payloads of a frame of silence and of `speech`, each behind its length.
fn encoded(codec: AudioCodec, speech: &Audio) -> Vec<u8> {
    let mut encoder = FrameEncoder::new(codec).unwrap();
    let samples = speech.resampled(codec.sample_rate().hz()).samples;
    let silence = vec![0; codec.packet_samples()];
    let mut bytes = Vec::new();
    for frame in
        std::iter::once(silence.as_slice()).chain(samples.chunks_exact(codec.packet_samples()))
    {
        let payload = encoder.encode(frame).unwrap();
        bytes.extend((payload.len() as u16).to_be_bytes());
        bytes.extend(payload);
    }
    bytes
}

fn packet(arrival: Instant, line: &Value) -> ReceivedPacket {
    let number = |key: &str| line[key].as_u64().unwrap();
    ReceivedPacket {
        arrival,
        ssrc: number("ssrc") as u32,
        sequence_number: number("sequence_number") as u16,
        timestamp: number("timestamp") as u32,
        payload_type: number("payload_type") as u8,
        marker: line["marker"].as_bool().unwrap(),
        payload: BASE64.decode(line["payload"].as_str().unwrap()).unwrap(),
    }
}

fn is_event(packet: &ReceivedPacket) -> bool {
    u64::from(packet.payload_type) == TELEPHONE_EVENT
}

#[track_caller]
fn assert_heard(whom: &str, spoken: &Audio, heard: &Recording, bar: Bar) {
    let verdict = judge(spoken, &heard.audio, &Question::new(bar)).unwrap();
    println!("{whom}: {verdict}, {:?}", heard.statistics);
    assert!(verdict.pass, "{verdict}");
}

#[test]
fn opus_goes_on_through_an_ice_restart() {
    let speech = opening(speech::alpha(), SPEECH_S);
    let gateway = Gateway::start(&GatewaySetup::new(ECHO_TENANT)).unwrap();
    let mut peer = Werift::call(&gateway, "echo", AudioCodec::Opus, &speech);
    let before = peer.speak(|_| {});
    assert_heard("before", &speech, &before, Bar::OpusClean);
    let across = peer.speak(|peer| peer.run("restart", "restarted"));
    assert_heard("across", &speech, &across, Bar::OpusClean);
    assert_eq!(across.statistics.streams, 1);
    let after = peer.speak(|_| {});
    assert_heard("after", &speech, &after, Bar::OpusClean);
    peer.finish(gateway);
}

#[test]
fn digits_arrive_once_each_before_and_after_an_ice_restart() {
    let (from_caller, from_far_end) = (
        opening(speech::alpha(), SPEECH_S),
        opening(speech::bravo(), SPEECH_S),
    );
    let far_end = RtpPeer::start(RtpPeerConfig::new(
        Ipv4Addr::LOCALHOST.into(),
        AudioCodec::Pcmu,
    ))
    .unwrap();
    let trunk = format!(
        "{ECHO_TENANT}\n[[trunks]]\ntrunk_id = \"far-end\"\ntenant_id = \"acme\"\nkind = \"rtp\"\n\
         remote = \"{}\"\ncodec_preferences = [\"PCMU\"]\nrtp_start_port = 9200\nrtp_end_port = 9299\n",
        far_end.local_addr()
    );
    let gateway = Gateway::start(&GatewaySetup::new(&trunk)).unwrap();
    let mut peer = Werift::call(&gateway, "far-end", AudioCodec::Pcmu, &from_caller);
    let source = far_end
        .wait_for_source(0, Instant::now() + LINE_WITHIN)
        .unwrap();
    peer.run("press 15#5", "pressed");
    far_end.send_digits(source, "46", DIGIT_MS, true).unwrap();
    peer.wait_for_digits(2);
    peer.run("restart", "restarted");
    far_end
        .speak(source, &from_far_end, Playback::Once)
        .unwrap();
    let heard = peer.speak(|_| {});
    assert_heard("at werift", &from_far_end, &heard, Bar::PcmuToRtp);
    peer.run("press *0D", "pressed");
    far_end.send_digits(source, "80", DIGIT_MS, true).unwrap();
    peer.wait_for_digits(4);
    let peer = peer.finish(gateway);

    let heard = far_end.recording(source).unwrap();
    assert_heard("at the far end", &from_caller, &heard, Bar::PcmuToRtp);
    let events = telephone_events(&far_end.telephone_event_packets(source).unwrap());
    assert_digits(&events, "15#5*0D", 8_000, TOLERANCE_MS);
    let digits: Vec<Value> = peer
        .told("dtmf")
        .iter()
        .map(|message| message["digit"].clone())
        .collect();
    assert_eq!(digits, ["4", "6", "8", "0"]);
    let in_media: Vec<ReceivedPacket> = peer
        .packets
        .iter()
        .filter(|p| is_event(p))
        .cloned()
        .collect();
    assert_digits(&telephone_events(&in_media), "4680", 8_000, TOLERANCE_MS);
}
