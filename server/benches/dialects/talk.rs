//! Talk in each dialect, one way at a time: batches of messages of 20 ms.

use std::time::{Duration, Instant};

use codecs::SampleRate;
use server::bridge::PAYLOAD_LEN_MAX;
use server::pcm::{Dialect, Encoding, MAX_AHEAD_MS_DEFAULT, PcmConfig, PcmLeg, PcmSource};
use server::rtp::{RtpTimestamp, SequenceNumber};
use server::trunk::agent::{AgentStart, RawAgent};
use server::vendors::twilio::{ACCOUNT_SID_NONE, TwilioCaller, TwilioSession};
use server::vendors::vapi::VapiSession;
use server::websocket::{Message, Reader, Role, Writer};

use crate::allocations;

/// Messages between two looks at the clock; as much audio waits in the leg.
const BATCH: u32 = 40;
const FRAME: Duration = Duration::from_millis(20);
const HZ16000: Encoding = Encoding::Linear16(SampleRate::Hz16000);

/// What a message cost.
#[derive(Debug, Default, Clone, Copy)]
pub struct Account {
    pub messages: u32,
    pub allocations: u64,
    pub time: Duration,
}

impl Account {
    /// Per message.
    pub fn ns(&self) -> f64 {
        self.time.as_nanos() as f64 / f64::from(self.messages)
    }
}

/// Whose messages.
#[derive(Debug, Clone, Copy)]
pub enum Talk {
    FromTwilio,
    ToTwilio,
    FromBot,
    ToBot,
    FromVapi,
    ToVapi,
    FromAgent,
    ToAgent,
}

impl Talk {
    pub const ALL: [Self; 8] = [
        Self::FromTwilio,
        Self::ToTwilio,
        Self::FromBot,
        Self::ToBot,
        Self::FromVapi,
        Self::ToVapi,
        Self::FromAgent,
        Self::ToAgent,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::FromTwilio => "from Twilio (base64)",
            Self::ToTwilio => "to Twilio (base64)",
            Self::FromBot => "from a bot (base64)",
            Self::ToBot => "to a bot (base64)",
            Self::FromVapi => "from Vapi (16 kHz)",
            Self::ToVapi => "to Vapi (16 kHz)",
            Self::FromAgent => "from an agent (16 kHz)",
            Self::ToAgent => "to an agent (16 kHz)",
        }
    }

    fn encoding(self) -> Encoding {
        match self {
            Self::FromTwilio | Self::ToTwilio | Self::FromBot | Self::ToBot => Encoding::Mulaw,
            _ => HZ16000,
        }
    }
}

/// The four dialects on one clock.
pub struct Talker {
    now: Instant,
    out: Writer,
    twilio: TwilioSession,
    bot: TwilioCaller,
    vapi: VapiSession,
    agent: RawAgent,
}

impl Talker {
    pub fn new() -> Self {
        let now = Instant::now();
        let mut talker = Self {
            now,
            out: Writer::server(),
            twilio: TwilioSession::new(now, ACCOUNT_SID_NONE),
            bot: TwilioCaller::new(
                now,
                start(Encoding::Mulaw),
                None,
                [0; TwilioCaller::ENTROPY_LEN],
            ),
            vapi: VapiSession::client(now, HZ16000),
            agent: RawAgent::new(now, start(HZ16000)),
        };
        // What the one end of Media Streams says opens the other.
        talker.bot.open(now, &mut talker.out);
        for text in talker.take_texts() {
            let out = &mut talker.out;
            talker.twilio.handle_text(now, &text, None, out);
        }
        let begin = talker.twilio.poll_ask();
        assert!(matches!(begin, Some(server::pcm::Ask::Begin(_))));
        talker.agent.open(now, &mut talker.out);
        talker.out.buffer.clear();
        talker
    }

    /// Batches of talk; the clock runs while messages are handled, and not while the audio is taken away.
    pub fn talk(&mut self, talk: Talk, batches: u32) -> Account {
        let encoding = talk.encoding();
        let mut leg = leg(self.now, encoding);
        let texts = self.texts(talk);
        let frame = vec![0x55; encoding.frame_bytes()];
        let mut account = Account::default();
        let mut payload = [0; PAYLOAD_LEN_MAX];
        for batch in 0..=batches {
            let allocations = allocations::so_far();
            let began = Instant::now();
            for text in &texts {
                self.message(talk, text, &frame, &mut leg);
            }
            let time = began.elapsed();
            // The first batch makes the buffers.
            if batch > 0 {
                account.messages += BATCH;
                account.allocations += allocations::so_far() - allocations;
                account.time += time;
            }
            self.out.buffer.clear();
            for _ in 0..2 * BATCH {
                self.now += FRAME;
                leg.handle_timeout(self.now);
                while leg.poll_packet(&mut payload).is_some() {}
            }
        }
        account
    }

    fn message(&mut self, talk: Talk, text: &str, frame: &[u8], leg: &mut PcmLeg) {
        let (now, out) = (self.now, &mut self.out);
        match talk {
            Talk::FromTwilio => self.twilio.handle_text(now, text, Some(leg), out),
            Talk::ToTwilio => self.twilio.write_frame(now, frame, out),
            Talk::FromBot => self.bot.handle_text(now, text, Some(leg), out),
            Talk::ToBot => self.bot.write_frame(now, frame, out),
            Talk::FromVapi => self.vapi.handle_binary(now, frame, Some(leg)),
            Talk::ToVapi => self.vapi.write_frame(now, frame, out),
            Talk::FromAgent => self.agent.handle_binary(now, frame, Some(leg)),
            Talk::ToAgent => self.agent.write_frame(now, frame, out),
        }
    }

    /// A batch of what the peer says: each end of Media Streams writes what the other reads.
    fn texts(&mut self, talk: Talk) -> Vec<String> {
        let frame = [0x55; 160];
        for _ in 0..BATCH {
            match talk {
                Talk::FromTwilio => self.bot.write_frame(self.now, &frame, &mut self.out),
                Talk::FromBot => self.twilio.write_frame(self.now, &frame, &mut self.out),
                _ => return vec![String::new(); BATCH as usize],
            }
        }
        self.take_texts()
    }

    fn take_texts(&mut self) -> Vec<String> {
        let mut reader = Reader::new(Role::Client, 1 << 20);
        reader.buffer().append(&mut self.out.buffer);
        let mut texts = Vec::new();
        while let Some(Message::Text(text)) = reader.next().unwrap() {
            texts.push(text.to_owned());
        }
        texts
    }

    /// Nothing that was said broke a rule.
    pub fn assert_fine(&mut self) {
        assert_eq!(self.twilio.poll_ask(), None);
        assert_eq!(self.bot.poll_ask(), None);
        assert_eq!(self.vapi.poll_ask(), None);
        assert_eq!(self.agent.poll_ask(), None);
    }
}

fn start(encoding: Encoding) -> AgentStart {
    AgentStart {
        call_sid: "CS00000123456789abcdef0123456789ab".parse().unwrap(),
        tenant_id: "acme".parse().unwrap(),
        from: String::new(),
        to: String::new(),
        encoding,
    }
}

fn leg(now: Instant, encoding: Encoding) -> PcmLeg {
    let config = PcmConfig {
        encoding,
        queue_ms_max: 2_000,
        max_ahead_ms: MAX_AHEAD_MS_DEFAULT,
        continuous: true,
        source: PcmSource::RealTime,
        barge_in: None,
        first_sequence_number: SequenceNumber(1),
        first_timestamp: RtpTimestamp(0),
    };
    PcmLeg::new(config, now)
}
