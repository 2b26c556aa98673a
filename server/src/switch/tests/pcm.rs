//! Calls whose vendor side is an AI agent on a WebSocket, with a bot of the test's behind a real TCP socket.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use shards::tick_stream::LiveStream;

use super::*;
use crate::call::dialled::{DialledPeer, DialledSocket, VapiControl, VapiDialled};
use crate::config::Secret;
use crate::fault::{Fault, RefusalCode};
use crate::metrics::PcmMessage;
use crate::pcm::{Ask, Dialect};
use crate::vendors::twilio::{ACCOUNT_SID_NONE, TwilioSession};
use crate::websocket::{Message, Reader, Role, Writer};

/// A bot that was made for Twilio's Media Streams.
struct Bot {
    socket: TcpStream,
    reader: Reader,
    writer: Writer,
    closed: Option<u16>,
}

impl Bot {
    /// The bot, and our end of the socket to it.
    fn new() -> (Self, LiveStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, peer) = listener.accept().unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(1)))
            .unwrap();
        let live = LiveStream {
            fd: ours.into(),
            tls: None,
            head: Vec::new(),
            peer,
        };
        let bot = Self {
            socket,
            reader: Reader::new(Role::Server, 1 << 16),
            writer: Writer::server(),
            closed: None,
        };
        (bot, live)
    }

    /// What it was sent since the last time.
    fn hears(&mut self) -> Vec<Value> {
        let mut bytes = [0; 65_536];
        if let Ok(len) = self.socket.read(&mut bytes) {
            self.reader.push(&bytes[..len]);
        }
        let mut heard = Vec::new();
        while let Some(message) = self.reader.next().unwrap() {
            match message {
                Message::Text(text) => heard.push(serde_json::from_str(text).unwrap()),
                Message::Close { code, .. } => self.closed = code,
                other => panic!("{other:?}"),
            }
        }
        heard
    }

    fn says(&mut self, message: &Value) {
        self.writer
            .text(|buffer| buffer.extend_from_slice(message.to_string().as_bytes()));
        self.socket.write_all(&self.writer.buffer).unwrap();
        self.writer.buffer.clear();
    }
}

/// Turns until `done` says so of what the bot hears.
fn until(shard: &Shard, bot: &mut Bot, mut done: impl FnMut(&Bot, Vec<Value>) -> bool) {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "the bot waits in vain");
        shard.turn();
        let heard = bot.hears();
        if done(bot, heard) {
            return;
        }
    }
}

fn agent() -> VendorDialTarget {
    VendorDialTarget::Agent("bot".parse().unwrap())
}

/// The bot's socket, as the control thread hands it on.
fn dialled(switch: &Switch, live: LiveStream) -> Box<DialledSocket> {
    let trunk = &switch.settings.config.trunks[&"bot".parse().unwrap()];
    let peer = DialledPeer::Agent(Arc::clone(trunk));
    Box::new(DialledSocket { live, peer })
}

/// A call from the SIP trunk that the agent has taken, the bot, and the name of its stream.
fn taken(shard: &mut Shard) -> (CallSid, Bot, String) {
    let call_sid = shard.incoming(1, IncomingTarget::Agent(agent()));
    assert_eq!(
        shard.said(),
        [
            Said::Event(EventType::ChannelCreate),
            Said::VendorDial(agent())
        ],
        "the far end is not answered before there is somebody"
    );
    let (mut bot, live) = Bot::new();
    let now = Instant::now();
    let mut switch = shard.handle.0.borrow_mut();
    let socket = dialled(&switch, live);
    switch.vendor_dialled(now, call_sid, Ok(socket));
    drop(switch);
    assert_eq!(shard.said(), [Said::Accept { early: false }]);
    let media = shard.answered(StreamDirection::SendRecv);
    shard.progress(call_sid, TrunkProgress::Answered(media));
    assert_eq!(shard.said(), [Said::Event(EventType::ChannelAnswer)]);
    let mut stream_sid = None;
    until(shard, &mut bot, |_, heard| {
        for message in heard {
            if message["event"] == "start" {
                assert_eq!(message["start"]["customParameters"]["from"], "+15550123");
                stream_sid = message["streamSid"].as_str().map(str::to_owned);
            }
        }
        stream_sid.is_some()
    });
    (call_sid, bot, stream_sid.unwrap())
}

#[test]
fn an_agent_hears_the_far_end_and_is_heard_by_it() {
    let mut shard = Shard::new(64);
    let (call_sid, mut bot, stream_sid) = taken(&mut shard);

    shard.far_says(call_sid, 0, 1, &[0x55; 160]);
    until(&shard, &mut bot, |_, heard| {
        heard.iter().any(|message| {
            message["event"] == "media"
                && STANDARD
                    .decode(message["media"]["payload"].as_str().unwrap())
                    .unwrap()
                    == [0x55; 160]
        })
    });

    let audio = STANDARD.encode([0x66; 480]);
    bot.says(&json!({"event": "media", "streamSid": stream_sid, "media": {"payload": audio}}));
    bot.says(&json!({"event": "mark", "streamSid": stream_sid, "mark": {"name": "said"}}));
    let heard = shard.far_hears(3);
    assert!(
        heard.iter().all(|packet| packet.1 == [0x66; 160]),
        "{heard:?}"
    );
    until(&shard, &mut bot, |_, heard| {
        let is_mark = |message: &Value| message["event"] == "mark";
        heard
            .iter()
            .any(|message| is_mark(message) && message["mark"]["name"] == "said")
    });
}

#[test]
fn the_far_end_hangs_up_and_the_agent_hears_stop_and_a_close() {
    let mut shard = Shard::new(64);
    let (call_sid, mut bot, _) = taken(&mut shard);
    let cause = crate::call::q850::Q850Cause::NORMAL;
    let text = "BYE".to_owned();
    shard.progress(
        call_sid,
        TrunkProgress::HungUp {
            cause,
            fault: None,
            text,
        },
    );
    let mut stopped = false;
    until(&shard, &mut bot, |bot, heard| {
        stopped |= heard.iter().any(|message| message["event"] == "stop");
        bot.closed.is_some()
    });
    assert!(stopped);
    assert_eq!(bot.closed, Some(1000));
    assert_eq!(
        shard.said(),
        [Said::End {
            cause: 16,
            answered: true
        }],
        "one end, and the far end is gone already"
    );
    drop(bot);
    let begun = Instant::now();
    while !shard.handle.0.borrow().pcm.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "the socket stays");
        shard.turn();
    }
    assert_eq!(shard.handle.0.borrow().sessions.len(), 0);
}

#[test]
fn an_agent_that_closes_or_breaks_the_rules_ends_its_call() {
    let mut shard = Shard::new(64);
    let (_, bot, _) = taken(&mut shard);
    drop(bot);
    let (said, record) = shard.said_to_the_end();
    assert_eq!(
        said.last(),
        Some(&Said::End {
            cause: 27,
            answered: true
        })
    );
    assert_eq!(record.fault, Some(Fault::Agent));

    let mut shard = Shard::new(64);
    let (_, mut bot, _) = taken(&mut shard);
    bot.says(&json!({"event": "media", "streamSid": "MZ0", "media": {"payload": ""}}));
    let (_, record) = shard.said_to_the_end();
    assert_eq!(record.fault, Some(Fault::Agent));
    until(&shard, &mut bot, |bot, _| bot.closed.is_some());
    assert_eq!(bot.closed, Some(1008));
    let metrics = Arc::clone(&shard.handle.0.borrow().metrics);
    let kind = crate::pcm::ViolationKind::WrongStream as usize;
    assert_eq!(
        metrics.pcm_violations[Fault::Agent as usize]
            .at(kind)
            .value(),
        1
    );
}

#[test]
fn a_socket_that_is_closed_already_breaks_no_second_rule() {
    let mut shard = Shard::new(64);
    let (_, mut bot, _) = taken(&mut shard);
    let due = Instant::now() + Duration::from_millis(30);
    let mut switch = shard.handle.0.borrow_mut();
    let key = switch.pcm.keys()[0];
    let dialect = &mut switch.pcm.get_mut(key).unwrap().dialect;
    dialect.state_mut().begin_by = Some(due);
    switch.arm_pcm(key);
    drop(switch);
    bot.socket.write_all(&[0xff; 4]).unwrap();
    until(&shard, &mut bot, |bot, _| bot.closed.is_some());
    assert_eq!(bot.closed, Some(1002));
    while Instant::now() < due + Duration::from_millis(30) {
        shard.turn();
    }
    let metrics = Arc::clone(&shard.handle.0.borrow().metrics);
    let counted: u64 = (0..crate::metrics::PCM_VIOLATIONS_MAX)
        .map(|kind| {
            metrics.pcm_violations[Fault::Agent as usize]
                .at(kind)
                .value()
        })
        .sum();
    assert_eq!(counted, 1);
}

#[test]
fn what_a_dialect_counts_is_in_the_metrics_and_what_was_missing_in_the_record() {
    let mut shard = Shard::new(64);
    let (_, mut bot, stream_sid) = taken(&mut shard);
    let audio = STANDARD.encode([0x66; 160]);
    bot.says(&json!({"event": "media", "streamSid": stream_sid, "media": {"payload": audio}}));
    bot.says(&json!({"event": "mark", "streamSid": stream_sid}));
    shard.far_hears(1);
    let mut switch = shard.handle.0.borrow_mut();
    let key = switch.pcm.keys()[0];
    let dialect = &mut switch.pcm.get_mut(key).unwrap().dialect;
    // As Twilio's numbers tell it.
    dialect.state_mut().statistics.media_missing = 3;
    drop(switch);
    bot.says(&json!({"event": "nonsense", "streamSid": stream_sid}));
    let (_, record) = shard.said_to_the_end();
    assert_eq!(record.account.legs[0].statistics.packets_lost, 3);
    let metrics = Arc::clone(&shard.handle.0.borrow().metrics);
    let count = |kind| metrics.pcm.messages.at(kind as usize).value();
    assert_eq!(count(PcmMessage::MediaReceived), 1);
    assert_eq!(count(PcmMessage::MediaMissing), 3);
    assert_eq!(count(PcmMessage::Ignored), 1);
    assert!(count(PcmMessage::MediaSent) > 0);
}

/// Twilio's dialect, its stream begun.
fn twilio() -> TwilioSession {
    let now = Instant::now();
    let mut session = TwilioSession::new(now, ACCOUNT_SID_NONE);
    let (stream_sid, call_sid) = (format!("MZ{:032}", 1), format!("CA{:032}", 1));
    let format = json!({"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1});
    let start = json!({"event": "start", "streamSid": stream_sid, "start": {"accountSid": ACCOUNT_SID_NONE,
        "callSid": call_sid, "mediaFormat": format}});
    for message in [json!({"event": "connected"}), start] {
        session.handle_text(now, &message.to_string(), None, &mut Writer::server());
    }
    assert!(matches!(session.poll_ask(), Some(Ask::Begin(_))));
    session
}

#[test]
fn a_mark_goes_to_twilio_behind_the_audio_that_waits() {
    let mut shard = Shard::new(64);
    let (call_sid, mut bot, _) = taken(&mut shard);
    let key = shard.handle.0.borrow().pcm.keys()[0];
    let mut switch = shard.handle.0.borrow_mut();
    switch.pcm.get_mut(key).unwrap().dialect = Box::new(twilio());
    drop(switch);
    shard.far_says(call_sid, 0, 1, &[0x55; 160]);
    // It comes, and waits for its time.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(10) {
        shard.turn();
    }
    let mut switch = shard.handle.0.borrow_mut();
    switch.pcm.get_mut(key).unwrap().mark("said");
    drop(switch);
    let mut heard = Vec::new();
    until(&shard, &mut bot, |_, messages| {
        heard.extend(messages);
        heard.iter().any(|message| message["event"] == "mark")
    });
    let payload = Value::from(STANDARD.encode([0x55; 160]));
    let place = |is_it: &dyn Fn(&Value) -> bool| heard.iter().position(is_it);
    let audio = place(&|message| message["media"]["payload"] == payload);
    let mark = place(&|message| message["mark"]["name"] == "said");
    assert!(audio.is_some() && audio < mark, "{heard:?}");
}

#[test]
fn an_agent_that_says_goodbye_and_closes_at_once_reads_our_close() {
    let mut shard = Shard::new(64);
    let (_, mut bot, stream_sid) = taken(&mut shard);
    // A broken rule and the end of its stream, in one segment.
    let broken = json!({"event": "nonsense", "streamSid": stream_sid}).to_string();
    bot.writer
        .text(|out| out.extend_from_slice(broken.as_bytes()));
    bot.writer.close(1000, "");
    bot.socket.write_all(&bot.writer.buffer).unwrap();
    shard.said_to_the_end();
    until(&shard, &mut bot, |bot, _| bot.closed.is_some());
    assert_eq!(bot.closed, Some(4400), "and not a bare end of the stream");
}

#[test]
fn a_bot_that_pings_and_does_not_read_costs_no_memory() {
    let mut shard = Shard::new(64);
    let (_, mut bot, _) = taken(&mut shard);
    for _ in 0..64 {
        bot.writer.ping(&[0x70; 125]);
    }
    bot.socket.set_nonblocking(true).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(500) {
        let _full = bot.socket.write(&bot.writer.buffer);
        shard.turn();
        let switch = shard.handle.0.borrow();
        let key = switch.pcm.keys()[0];
        let unsent = switch.pcm.get(key).unwrap().stream().waiting_bytes();
        assert!(unsent <= 20 << 10, "{unsent} bytes wait");
    }
}

#[test]
fn when_the_gateway_stops_an_agent_hears_stop_and_reads_why() {
    let mut shard = Shard::new(64);
    let (_, mut bot, _) = taken(&mut shard);
    let mut switch = shard.handle.0.borrow_mut();
    switch.stop(Instant::now());
    drop(switch);
    let mut stopped = false;
    until(&shard, &mut bot, |bot, heard| {
        stopped |= heard.iter().any(|message| message["event"] == "stop");
        bot.closed.is_some()
    });
    assert!(stopped);
    assert_eq!(bot.closed, Some(1012));
    let (_, record) = shard.said_to_the_end();
    assert_eq!(record.fault, Some(Fault::Us));
}

#[test]
fn a_panic_ends_a_call_with_1011() {
    let mut shard = Shard::new(64);
    let (call_sid, mut bot, _) = taken(&mut shard);
    let mut switch = shard.handle.0.borrow_mut();
    let key = switch.calls_by_sid[&call_sid];
    switch.guarded(Instant::now(), Timer::Call(key), |_| panic!("in a test"));
    drop(switch);
    until(&shard, &mut bot, |bot, _| bot.closed.is_some());
    assert_eq!(bot.closed, Some(1011));
    let (_, record) = shard.said_to_the_end();
    assert_eq!(record.fault, Some(Fault::Us));
    assert_eq!(shard.handle.0.borrow().sessions.len(), 0);
}

#[test]
fn a_call_is_not_made_on_a_session_that_came_after_the_one_that_asked() {
    let mut shard = Shard::new(64);
    let mut switch = shard.handle.0.borrow_mut();
    let tenant = Arc::clone(&switch.settings.config.tenants[&"acme".parse().unwrap()]);
    let open = |switch: &mut Switch| {
        let key = switch.insert_session(Arc::clone(&tenant), "twilio", |_| Rc::default());
        (key, switch.sessions[key.0].serial)
    };
    let (session, serial) = open(&mut switch);
    switch.remove_session(Instant::now(), session, calls::HangUp::caller("it left"));
    assert_eq!(open(&mut switch).0, session, "the key is used again");
    drop(switch);
    let begin = crate::pcm::Begin {
        vendor_call: None,
        to: Some("+15550100".to_owned()),
        call_from: String::new(),
        client_id: String::new(),
        trunk_id: None,
        token: None,
        encoding: crate::pcm::Encoding::Mulaw,
        listen_only: false,
    };
    let asked = AskedCall {
        session,
        serial,
        begin,
    };
    futures_lite::future::block_on(shard.handle.begin_pcm_call(asked));
    assert_eq!(shard.said(), []);
    assert!(shard.handle.0.borrow().calls.is_empty());
}

#[test]
fn an_agent_that_is_not_reached_ends_the_call_with_its_reason() {
    let mut shard = Shard::new(64);
    let call_sid = shard.incoming(1, IncomingTarget::Agent(agent()));
    let refusal = Refusal::new(
        RefusalCode::Timeout,
        Fault::Agent,
        "no answer within 5000 ms",
    );
    let mut switch = shard.handle.0.borrow_mut();
    switch.vendor_dialled(Instant::now(), call_sid, Err(refusal));
    drop(switch);
    let (_, record) = shard.said_to_the_end();
    assert_eq!(record.fault, Some(Fault::Agent));
    assert_eq!(shard.said(), [], "nothing follows the end");
    let switch = shard.handle.0.borrow();
    assert_eq!((switch.sessions.len(), switch.trunk_ports.in_use()), (0, 0));
}

#[test]
fn a_socket_that_comes_too_late_is_closed_with_a_word_and_vapis_call_ended() {
    let mut shard = Shard::new(64);
    let call_sid = shard.incoming(1, IncomingTarget::Agent(agent()));
    let cause = crate::call::q850::Q850Cause::NORMAL;
    let text = "CANCEL".to_owned();
    let fault = None;
    shard.progress(call_sid, TrunkProgress::HungUp { cause, fault, text });
    shard.said_to_the_end();

    let (mut bot, live) = Bot::new();
    let mut switch = shard.handle.0.borrow_mut();
    let socket = dialled(&switch, live);
    switch.vendor_dialled(Instant::now(), call_sid, Ok(socket));
    drop(switch);
    until(&shard, &mut bot, |bot, _| bot.closed.is_some());
    assert_eq!(bot.closed, Some(1000));
    assert_eq!(shard.said(), []);

    let (mut assistant, live) = Bot::new();
    let mut switch = shard.handle.0.borrow_mut();
    let tenants = &switch.settings.config.tenants;
    let peer = DialledPeer::Vapi(VapiDialled {
        tenant: Arc::clone(tenants.values().next().unwrap()),
        control: VapiControl::Url(Secret::new("https://control")),
    });
    let socket = Box::new(DialledSocket { live, peer });
    switch.vendor_dialled(Instant::now(), call_sid, Ok(socket));
    drop(switch);
    until(&shard, &mut assistant, |bot, _| bot.closed.is_some());
    assert_eq!(shard.said(), [Said::VapiHangUp]);
}

#[test]
fn whoever_ends_a_call_the_record_has_both_legs() {
    for bot_ends in [true, false] {
        let mut shard = Shard::new(64);
        let (call_sid, mut bot, stream_sid) = taken(&mut shard);
        let audio = STANDARD.encode([0x66; 160]);
        bot.says(&json!({"event": "media", "streamSid": stream_sid, "media": {"payload": audio}}));
        shard.far_says(call_sid, 0, 1, &[0x55; 160]);
        shard.far_hears(1);
        match bot_ends {
            true => bot.says(&json!({"event": "nonsense", "streamSid": stream_sid})),
            false => {
                let cause = crate::call::q850::Q850Cause::NORMAL;
                let text = "BYE".to_owned();
                shard.progress(
                    call_sid,
                    TrunkProgress::HungUp {
                        cause,
                        fault: None,
                        text,
                    },
                );
            }
        }
        let (_, record) = shard.said_to_the_end();
        let legs: Vec<u8> = record.account.legs.iter().map(|leg| leg.leg.0).collect();
        assert_eq!(legs, [0, 1], "ended by the bot: {bot_ends}");
        let vendor = record.account.legs[0].statistics;
        assert!(vendor.packets_received >= 1);
        assert_eq!(vendor.packets_lost, 0, "a bot that pauses loses nothing");
    }
}
