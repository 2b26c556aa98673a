//! A dialect of WebSocket-PCM on a script of lines: a text is a message of the peer, `!` begins what else happens.
//!
//! However they are mixed: nothing is asked after the end, the end is one, the queue stays within its bound, and what is written
//! is WebSocket messages, JSON or audio.

use std::time::{Duration, Instant};

use server::bridge::PAYLOAD_LEN_MAX;
use server::call::q850::Q850Cause;
use server::pcm::{
    ASKS_MAX, Ask, CLOSE_REASON_LEN_MAX, Dialect, Encoding, FRAME_BYTES_MAX, MAX_AHEAD_MS_DEFAULT,
    News, PcmConfig, PcmLeg, PcmSource, SocketEnd, Violation, ViolationKind,
};
use server::rtp::{RtpTimestamp, SequenceNumber};
use server::trunk::agent::AgentStart;
use server::websocket::{Message, Reader, Role, Writer};

/// Lines of one input.
const LINES_MAX: usize = 64;
/// What may wait of the peer's audio, in ms.
const QUEUE_MS_MAX: u32 = 400;

struct Play<'a> {
    dialect: &'a mut dyn Dialect,
    now: Instant,
    encoding: Encoding,
    leg: Option<PcmLeg>,
    out: Writer,
    reader: Reader,
    /// The last ask came, or our side has ended the call.
    over: bool,
}

/// Plays the lines on a dialect; `leg` says whether its call is there already.
pub fn play(
    now: Instant,
    dialect: &mut dyn Dialect,
    leg: Option<Encoding>,
    out: Writer,
    script: &str,
) {
    let mut play = Play {
        dialect,
        now,
        encoding: leg.unwrap_or(Encoding::Mulaw),
        leg: leg.map(|encoding| new_leg(now, encoding)),
        out,
        reader: Reader::new(Role::Client, 1 << 20),
        over: false,
    };
    play.settle();
    for line in script.lines().take(LINES_MAX) {
        play.line(line);
        play.settle();
    }
    play.dialect.handle_end(SocketEnd::Lost);
    play.settle();
    assert!(play.over, "the end of the socket ends the call");
}

impl Play<'_> {
    fn line(&mut self, line: &str) {
        let leg = self.leg.as_mut();
        let out = &mut self.out;
        match line.split_once(' ').unwrap_or((line, "")) {
            ("!binary", bytes) => {
                self.dialect.handle_binary(self.now, bytes.as_bytes(), leg);
            }
            ("!frame", _) => {
                let frame = [0x5a; FRAME_BYTES_MAX];
                let len = self.encoding.frame_bytes();
                self.dialect.write_frame(self.now, &frame[..len], out);
            }
            ("!wait", ms) => {
                self.now += Duration::from_millis(ms.parse().unwrap_or(20_u64).min(20_000));
                self.dialect.handle_timeout(self.now);
                let due = self.dialect.poll_timeout();
                assert!(due.is_none_or(|due| due > self.now));
            }
            ("!ringing", _) => self.dialect.handle_news(News::Ringing, out),
            ("!answered", _) => self.dialect.handle_news(News::Answered, out),
            ("!cleared", _) => self.dialect.handle_news(News::Cleared, out),
            ("!mark", name) => self.dialect.handle_news(News::Mark { name }, out),
            ("!digit", _) => {
                let (digit, duration_ms) = ('#', 100);
                let news = News::Digit { digit, duration_ms };
                self.dialect.handle_news(news, out);
            }
            ("!ended", reason) => {
                let cause = Q850Cause::NORMAL;
                self.dialect.handle_news(News::Ended { cause, reason }, out);
                self.over = true;
            }
            ("!closed", code) => self
                .dialect
                .handle_end(SocketEnd::Closed(code.parse().ok())),
            _ => self.dialect.handle_text(self.now, line, leg, out),
        }
    }

    /// Everything that follows from a line.
    fn settle(&mut self) {
        let mut payload = [0; PAYLOAD_LEN_MAX];
        if let Some(leg) = &mut self.leg {
            while leg.poll_timeout().is_some_and(|due| due <= self.now) {
                leg.handle_timeout(self.now);
                while leg.poll_packet(&mut payload).is_some() {}
                let mut frame = [0; FRAME_BYTES_MAX];
                while leg.poll_frame(&mut frame).is_some() {}
            }
            while let Some(event) = leg.poll_event() {
                self.dialect.handle_leg_event(event, &mut self.out);
            }
            assert!(leg.statistics().queue_ms <= u64::from(QUEUE_MS_MAX) + 20);
        }
        for count in 0.. {
            let Some(ask) = self.dialect.poll_ask() else {
                break;
            };
            assert!(count <= ASKS_MAX, "one line led to {count} asks");
            self.take(ask);
        }
        self.read_what_was_written();
    }

    fn take(&mut self, ask: Ask) {
        assert!(!self.over, "{ask:?} after the end");
        match ask {
            Ask::Begin(begin) => {
                assert!(self.leg.is_none(), "a second call on one socket");
                self.encoding = begin.encoding;
                self.leg = Some(new_leg(self.now, begin.encoding));
            }
            Ask::HangUp { cause, .. } => {
                assert!((1..=127).contains(&cause.0));
                self.over = true;
            }
            Ask::Close(violation) => {
                check(&violation);
                self.over = true;
            }
            Ask::Digit { digit, .. } => assert!("0123456789*#ABCD".contains(digit)),
            Ask::Clear | Ask::MarkPlayed { .. } => {}
        }
    }

    fn read_what_was_written(&mut self) {
        self.reader.buffer().append(&mut self.out.buffer);
        while let Some(message) = self.reader.next().expect("a WebSocket message") {
            match message {
                Message::Text(text) => assert!(text.starts_with('{') && text.ends_with('}')),
                Message::Binary(bytes) => assert_eq!(bytes.len(), self.encoding.frame_bytes()),
                other => panic!("{other:?}"),
            }
        }
    }
}

fn check(violation: &Violation) {
    assert!(ViolationKind::ALL.contains(&violation.kind));
    let code = violation.close_code;
    assert!((1002..=1009).contains(&code) || (4400..4500).contains(&code));
    assert!(!violation.reason.is_empty() && violation.reason.len() <= CLOSE_REASON_LEN_MAX);
}

/// What an agent is told about the call.
pub fn agent_start(encoding: Encoding) -> AgentStart {
    AgentStart {
        call_sid: "CS00000123456789abcdef0123456789ab"
            .parse()
            .expect("a call sid"),
        tenant_id: "acme".parse().expect("a tenant"),
        from: String::new(),
        to: String::new(),
        encoding,
    }
}

fn new_leg(now: Instant, encoding: Encoding) -> PcmLeg {
    let config = PcmConfig {
        encoding,
        queue_ms_max: QUEUE_MS_MAX,
        max_ahead_ms: MAX_AHEAD_MS_DEFAULT,
        continuous: true,
        source: PcmSource::RealTime,
        barge_in: None,
        first_sequence_number: SequenceNumber(1),
        first_timestamp: RtpTimestamp(0),
    };
    PcmLeg::new(config, now)
}
