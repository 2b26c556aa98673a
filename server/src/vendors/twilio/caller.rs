//! We are Twilio: what a bot that was made for Media Streams hears and says when it is the agent behind a `websocket` trunk.
//!
//! The bot gets what Twilio would send, to the order of the members; what Twilio refuses (error 31924) is a violation here. It
//! hangs up by closing its socket. There is no message for a queue that ran over or for a barge-in: the marks come back.

use std::io::Write as _;
use std::time::Instant;

use super::messages::{
    ConnectedOut, CustomParametersOut, DtmfBody, DtmfOut, MarkBody, MarkOut, MediaFormatOut,
    Message, MessageOut, StartBody, StartOut, StopBody, StopOut, append,
};
use super::payload;
use super::stream::{check_stream, required, take_media};
use crate::fault::Fault;
use crate::pcm::{Ask, Dialect, DialectState, News, PcmEvent, PcmLeg, Violation, ViolationKind};
use crate::trunk::agent::AgentStart;
use crate::websocket::Writer;

/// The account of streams whose tenant has none configured.
pub const ACCOUNT_SID_NONE: &str = "AC00000000000000000000000000000000";

/// Twilio's side of one stream.
#[derive(Debug)]
pub struct TwilioCaller {
    start: AgentStart,
    account_sid: String,
    stream_sid: String,
    call_sid: String,
    /// When the start was written; none before.
    started: Option<Instant>,
    /// Messages since `connected`.
    sequence_number: u64,
    chunk: u64,
    state: DialectState,
}

impl TwilioCaller {
    /// Random bytes that [`TwilioCaller::new`] takes.
    pub const ENTROPY_LEN: usize = 32;

    /// A stream on a socket that the bot has just accepted; of the tenant's account, or of [`ACCOUNT_SID_NONE`].
    pub fn new(
        now: Instant,
        start: AgentStart,
        account_sid: Option<&str>,
        entropy: [u8; Self::ENTROPY_LEN],
    ) -> Self {
        let (of_stream, of_call) = entropy.split_at(Self::ENTROPY_LEN / 2);
        Self {
            start,
            account_sid: account_sid.unwrap_or(ACCOUNT_SID_NONE).to_owned(),
            stream_sid: sid("MZ", of_stream),
            call_sid: sid("CA", of_call),
            started: None,
            sequence_number: 0,
            chunk: 0,
            state: DialectState::new(now, Fault::Agent),
        }
    }

    fn write<Body: serde::Serialize>(&mut self, event: &'static str, body: Body, out: &mut Writer) {
        if self.started.is_none() {
            return;
        }
        self.sequence_number += 1;
        let message = MessageOut {
            event,
            sequence_number: self.sequence_number.to_string(),
            stream_sid: &self.stream_sid,
            body,
        };
        out.text(|buffer| append(buffer, &message));
    }
}

impl Dialect for TwilioCaller {
    fn state(&self) -> &DialectState {
        &self.state
    }

    fn state_mut(&mut self) -> &mut DialectState {
        &mut self.state
    }

    /// Says `connected` and `start`: the first messages, once.
    fn open(&mut self, now: Instant, out: &mut Writer) {
        if self.started.is_some() {
            return;
        }
        self.started = Some(now);
        let connected = ConnectedOut {
            event: "connected",
            protocol: "Call",
            version: "1.0.0",
        };
        out.text(|buffer| append(buffer, &connected));
        let told = &self.start;
        let start = StartOut {
            account_sid: &self.account_sid,
            stream_sid: &self.stream_sid,
            call_sid: &self.call_sid,
            tracks: ["inbound"],
            // Bots of Media Streams have nothing else.
            media_format: MediaFormatOut {
                encoding: "audio/x-mulaw",
                sample_rate: 8000,
                channels: 1,
            },
            custom_parameters: CustomParametersOut {
                call_sid: told.call_sid.as_str(),
                tenant_id: told.tenant_id.as_str(),
                from: &told.from,
                to: &told.to,
            },
        };
        self.sequence_number += 1;
        let message = MessageOut {
            event: "start",
            sequence_number: self.sequence_number.to_string(),
            stream_sid: &self.stream_sid,
            body: StartBody { start },
        };
        out.text(|buffer| append(buffer, &message));
    }

    fn read_text(
        &mut self,
        now: Instant,
        text: &str,
        leg: Option<&mut PcmLeg>,
        _out: &mut Writer,
    ) -> Result<(), Violation> {
        let message: Message<'_> = self.state.parse(text)?;
        let known = matches!(message.event.as_ref(), "media" | "mark" | "clear");
        if !known {
            let reason = "a bot sends media, mark and clear, and no other event";
            return Err(self.state.violation(ViolationKind::UnknownMessage, reason));
        }
        check_stream(&self.state, &message, &self.stream_sid)?;
        match (message.event.as_ref(), leg, message.mark) {
            ("media", leg, _) => {
                let media = required(&self.state, message.media, "media")?;
                take_media(&mut self.state, now, &media.payload, leg)?;
            }
            ("mark", Some(leg), Some(mark)) => leg
                .handle_mark(now, &mark.name)
                .map_err(|error| self.state.refused_mark(error))?,
            ("clear", Some(leg), _) => {
                leg.handle_clear(now);
                self.state.ask(Ask::Clear);
            }
            // As Twilio does with a mark without a name: it never comes back.
            _ => self.state.statistics.ignored += 1,
        }
        Ok(())
    }

    /// Digits and the end are what a bot is told.
    fn tell(&mut self, news: News<'_>, out: &mut Writer) {
        match news {
            News::Digit { digit, .. } => {
                let track = "inbound_track";
                let dtmf = DtmfOut { track, digit };
                self.write("dtmf", DtmfBody { dtmf }, out);
            }
            News::Ended { .. } => {
                let (account_sid, call_sid) = (self.account_sid.clone(), self.call_sid.clone());
                let stop = StopOut {
                    account_sid: &account_sid,
                    call_sid: &call_sid,
                };
                self.write("stop", StopBody { stop }, out);
            }
            News::Ringing | News::Answered | News::Cleared | News::Mark { .. } => {}
        }
    }

    /// A mark was played. That the caller barged in shows in its marks.
    fn tell_leg_event(&mut self, event: PcmEvent, out: &mut Writer) {
        if let PcmEvent::Played { mark } = event {
            let mark = MarkOut { name: &mark };
            self.write("mark", MarkBody { mark }, out);
        }
    }

    fn write_audio(&mut self, now: Instant, frame: &[u8], out: &mut Writer) {
        let Some(started) = self.started else {
            return;
        };
        self.sequence_number += 1;
        self.chunk += 1;
        self.state.statistics.media_sent += 1;
        let elapsed = now.saturating_duration_since(started);
        let timestamp_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        out.text(|buffer| {
            buffer.extend_from_slice(br#"{"event":"media","sequenceNumber":""#);
            append_number(buffer, self.sequence_number);
            buffer.extend_from_slice(br#"","media":{"track":"inbound","chunk":""#);
            append_number(buffer, self.chunk);
            buffer.extend_from_slice(br#"","timestamp":""#);
            append_number(buffer, timestamp_ms);
            buffer.extend_from_slice(br#"","payload":""#);
            payload::encode(frame, buffer);
            buffer.extend_from_slice(br#""},"streamSid":""#);
            buffer.extend_from_slice(self.stream_sid.as_bytes());
            buffer.extend_from_slice(br#""}"#);
        });
    }
}

fn append_number(buffer: &mut Vec<u8>, number: u64) {
    // A vector takes whatever is written.
    let _never_fails = write!(buffer, "{number}");
}

fn sid(prefix: &str, entropy: &[u8]) -> String {
    let mut text = prefix.to_owned();
    for byte in entropy {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
        }
    }
    text
}
