//! A published framework's serializer, from its package and unchanged, is the agent: `peers/pipecat_agent.py`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use super::*;
use loadtest::audio::Audio;
use serde_json::Value;

use crate::aiortc::python;

const LINE_WITHIN: Duration = Duration::from_secs(30);
/// Pipecat's resampler keeps back what it needs to go on: the last words come out of it only so.
const PADDING_MS: u32 = 400;

struct Pipecat {
    child: Child,
    commands: ChildStdin,
    lines: Receiver<(Instant, Value)>,
    told: Vec<Value>,
    directory: tempfile::TempDir,
    port: u64,
}

impl Pipecat {
    fn start(speech: &Audio) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let wav = directory.path().join("speech.wav");
        speech.resampled(16_000).write_wav(&wav).unwrap();
        let mut child = Command::new(python())
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/pipecat_agent.py"))
            .arg("--speech")
            .arg(&wav)
            .arg("--heard")
            .arg(directory.path().join("heard"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
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
        let mut pipecat = Self {
            commands: child.stdin.take().unwrap(),
            child,
            lines,
            told: Vec::new(),
            directory,
            port: 0,
        };
        let version = pipecat.wait_for("version").1;
        println!(
            "peer: pipecat-ai {} on Python {}",
            version["pipecat"], version["python"]
        );
        pipecat.port = pipecat.wait_for("listening").1["port"].as_u64().unwrap();
        pipecat
    }

    fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/ws", self.port)
    }

    /// Has it do something, until it tells that it is done.
    fn run(&mut self, command: &str, done: &str) -> Instant {
        writeln!(self.commands, "{command}").unwrap();
        self.wait_for(done).0
    }

    #[track_caller]
    fn wait_for(&mut self, kind: &str) -> (Instant, Value) {
        let deadline = Instant::now() + LINE_WITHIN;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok((at, line)) = self.lines.recv_timeout(left) else {
                panic!("Pipecat did not tell {kind:?} but {:#?}", self.told);
            };
            self.told.push(line.clone());
            if line["kind"] == kind {
                return (at, line);
            }
        }
    }

    /// What it heard; after the end of the call.
    fn heard(&self) -> Audio {
        let bytes = std::fs::read(self.directory.path().join("heard")).unwrap();
        let samples = bytes
            .chunks_exact(2)
            .map(|two| i16::from_le_bytes([two[0], two[1]]));
        Audio {
            sample_rate_hz: 16_000,
            samples: samples.collect(),
        }
    }
}

impl Drop for Pipecat {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn padded(mut speech: Audio) -> Audio {
    let padding = Audio::silence(speech.sample_rate_hz, PADDING_MS);
    speech.samples.extend(padding.samples);
    speech
}

#[track_caller]
fn assert_heard(whom: &str, spoken: &Audio, heard: &Audio) {
    let question = loadtest::judge::Question::new(Bar::OpusClean);
    let verdict = loadtest::judge::judge(spoken, heard, &question).unwrap();
    println!("{whom}: {verdict}");
    assert!(verdict.pass, "{whom}: {verdict}");
}

#[test]
fn pipecat_and_a_caller_on_sip_hear_each_other() {
    let (alpha, bravo) = (
        opening(speech::alpha(), OPENING_S),
        opening(speech::bravo(), OPENING_S),
    );
    let mut pipecat = Pipecat::start(&padded(bravo.clone()));
    let carrier = far_end(AudioCodec::Pcmu);
    let mut setup = StreamSetup::new(&carrier);
    setup.add_agent(&pipecat.url(), "");
    setup.inbound =
        "[[tenants.inbound]]\ntrunk_id = \"carrier\"\nnumber = \"*\"\ntarget = \"agent\"\n\
                     agent_trunk_id = \"agent\"\n"
            .to_owned();
    let gateway = setup.start();
    let call = carrier.call(OutgoingCall::new(&setup.uri("+15550123")));
    carrier
        .wait_for_state(call, CallState::Answered, in_time())
        .unwrap();
    let source = carrier.view(call).remote_rtp.unwrap();
    pipecat.wait_for("started");
    pipecat.wait_for("hearing");
    carrier
        .rtp()
        .speak(source, &padded(alpha.clone()), Playback::Once)
        .unwrap();
    pipecat.run("say", "spoken");
    pipecat.run("mark all", "marked");
    let mark = pipecat.wait_for("event").1;
    assert_eq!(mark["event"]["mark"]["name"], "all", "{mark}");
    carrier.rtp().send_digits(source, "5", 120, true).unwrap();
    assert_eq!(pipecat.wait_for("digit").1["digit"], "5");
    std::thread::sleep(TAIL);
    let at_carrier = carrier.rtp().recording(source).unwrap().audio;
    carrier.hang_up(call);
    let stop = pipecat.wait_for("event").1;
    assert_eq!(stop["event"]["event"], "stop", "{stop}");
    let closed = pipecat.wait_for("closed").1;
    assert_eq!(closed["code"], 1000, "{closed}");
    pipecat.wait_for("ended");
    assert_heard("the caller", &bravo, &at_carrier);
    assert_heard("Pipecat", &alpha, &pipecat.heard());
    assert_eq!(whole_call(&gateway).0.q850_cause, 16);
    end(gateway);
}

#[test]
fn an_interruption_of_pipecats_stops_playout_within_a_frame() {
    let mut long = speech::alpha();
    long.samples.extend(speech::bravo().samples);
    let mut pipecat = Pipecat::start(&long);
    let carrier = far_end(AudioCodec::Pcmu);
    let mut setup = StreamSetup::new(&carrier);
    setup.carrier_lines = format!(
        "inbound_rule = 3\ninbound_ai_websocket_url = \"{}\"\n",
        pipecat.url()
    );
    let gateway = setup.start();
    let call = carrier.call(OutgoingCall::new(&setup.uri("+15550123")));
    carrier
        .wait_for_state(call, CallState::Answered, in_time())
        .unwrap();
    let source = carrier.view(call).remote_rtp.unwrap();
    pipecat.wait_for("started");
    // All of it at once: most of it waits in the gateway.
    pipecat.run("speak", "spoken");
    std::thread::sleep(Duration::from_millis(1_500));
    let cleared = pipecat.run("interrupt", "interrupted");
    std::thread::sleep(Duration::from_secs(1));
    let heard = carrier.rtp().recording(source).unwrap();
    let last = last_sound(&heard).unwrap();
    let after = last.saturating_duration_since(cleared);
    println!("heard until {after:?} after the interruption");
    assert!(
        last > cleared - Duration::from_millis(500),
        "it had ended before"
    );
    // The frame that was on its way, and as much for a clock of this machine.
    assert!(after < Duration::from_millis(40), "{after:?}");
    writeln!(pipecat.commands, "hangup").unwrap();
    let view = carrier.wait_for_state(call, CallState::Ended, in_time());
    assert!(view.unwrap().ended_by_other);
    assert_eq!(whole_call(&gateway).0.q850_cause, 16);
    end(gateway);
}
