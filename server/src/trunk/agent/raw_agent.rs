//! One agent that speaks the raw dialect.

use std::time::{Duration, Instant};

use super::messages::{DIGITS_MAX, Format, FromAgent, ToAgent};
use crate::call::q850::Q850Cause;
use crate::fault::Fault;
use crate::id::{CallSid, TenantId};
use crate::pcm::{
    Ask, Asks, DIGIT_MS_DEFAULT, DialectStatistics, Encoding, MessageAllowance, News, PcmEvent,
    PcmLeg, SocketEnd, Violation, ViolationKind, digit_of, unreadable,
};
use crate::websocket::Writer;

/// How often an agent is told that it sends too much.
const OVERFLOW_INTERVAL: Duration = Duration::from_secs(1);

/// What the agent is told about the call.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names are those of `start`")]
pub struct AgentStart {
    pub call_sid: CallSid,
    pub tenant_id: TenantId,
    pub from: String,
    pub to: String,
    pub encoding: Encoding,
}

/// Our side of the socket to an agent.
#[derive(Debug)]
pub struct RawAgent {
    start: AgentStart,
    opened: bool,
    /// Dropped audio that the agent was not told of yet.
    overflow_ms: u64,
    overflow_told: Option<Instant>,
    allowance: MessageAllowance,
    asks: Asks,
    statistics: DialectStatistics,
}

impl RawAgent {
    /// A socket that the agent has just accepted.
    pub fn new(now: Instant, start: AgentStart) -> Self {
        Self {
            start,
            opened: false,
            overflow_ms: 0,
            overflow_told: None,
            allowance: MessageAllowance::new(now),
            asks: Asks::default(),
            statistics: DialectStatistics::default(),
        }
    }

    /// Says `start`: the first message, once.
    pub fn open(&mut self, _now: Instant, out: &mut Writer) {
        if self.opened {
            return;
        }
        self.opened = true;
        let start = &self.start;
        let encoding = match start.encoding {
            Encoding::Mulaw => "mulaw",
            Encoding::Linear16(_) => "linear16",
        };
        write(
            out,
            &ToAgent::Start {
                call_sid: start.call_sid.as_str(),
                tenant_id: start.tenant_id.as_str(),
                from: &start.from,
                to: &start.to,
                format: Format {
                    encoding,
                    sample_rate_hz: start.encoding.sample_rate().hz(),
                    channels: 1,
                },
            },
        );
    }

    /// A text message of the agent came.
    pub fn handle_text(
        &mut self,
        now: Instant,
        text: &str,
        leg: Option<&mut PcmLeg>,
        out: &mut Writer,
    ) {
        if self.asks.is_over() {
            return;
        }
        if let Err(violation) = self.read(now, text, leg, out) {
            self.asks.push(Ask::Close(violation));
        }
    }

    /// Audio of the agent came; it goes into the leg, if there is one already.
    pub fn handle_binary(
        &mut self,
        now: Instant,
        bytes: &[u8],
        leg: Option<&mut PcmLeg>,
        _out: &mut Writer,
    ) {
        if self.asks.is_over() {
            return;
        }
        if let Err(violation) = self.allowance.take(now, Fault::Agent) {
            self.asks.push(Ask::Close(violation));
            return;
        }
        match leg {
            Some(leg) => {
                self.statistics.media_received += 1;
                leg.handle_audio(now, bytes);
            }
            None => self.statistics.media_unused += 1,
        }
    }

    /// The socket ended: an agent may hang up so, too.
    pub fn handle_end(&mut self, end: SocketEnd) {
        self.asks.push(end.hang_up(Fault::Agent));
    }

    /// Our side has news: digits and the end are what an agent is told.
    pub fn handle_news(&mut self, news: News<'_>, out: &mut Writer) {
        if !self.opened || self.asks.is_over() {
            return;
        }
        match news {
            News::Digit { digit, duration_ms } => {
                write(out, &ToAgent::Dtmf { digit, duration_ms });
            }
            News::Ended { cause, reason } => {
                let q850_cause = cause.0;
                write(out, &ToAgent::Stop { q850_cause, reason });
                self.asks.end();
            }
            News::Ringing | News::Answered | News::Cleared | News::Mark { .. } => {}
        }
    }

    /// The leg has news.
    pub fn handle_leg_event(&mut self, event: PcmEvent, out: &mut Writer) {
        if self.asks.is_over() {
            return;
        }
        match event {
            PcmEvent::Played { mark } => write(out, &ToAgent::Mark { name: &mark }),
            PcmEvent::BargeIn { played_ms } => {
                write(out, &ToAgent::Interrupted { played_ms });
            }
            PcmEvent::Overflow { dropped_ms } => self.overflow_ms += dropped_ms,
        }
    }

    /// Sends 20 ms of audio.
    pub fn write_frame(&mut self, now: Instant, frame: &[u8], out: &mut Writer) {
        if !self.opened || self.asks.is_over() {
            return;
        }
        self.tell_overflow(now, out);
        self.statistics.media_sent += 1;
        out.binary(frame);
    }

    /// What the agent asks for.
    pub fn poll_ask(&mut self) -> Option<Ask> {
        self.asks.pop()
    }

    /// When [`RawAgent::handle_timeout`] wants to be called: never, an agent may be silent.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// What was counted.
    pub fn statistics(&self) -> DialectStatistics {
        self.statistics
    }

    fn read(
        &mut self,
        now: Instant,
        text: &str,
        leg: Option<&mut PcmLeg>,
        out: &mut Writer,
    ) -> Result<(), Violation> {
        self.allowance.take(now, Fault::Agent)?;
        let message: FromAgent<'_> =
            serde_json::from_str(text).map_err(|error| unreadable(&error, Fault::Agent))?;
        match message.kind.as_ref() {
            "clear" => {
                let played_ms = leg.map_or(0, |leg| leg.handle_clear(now));
                write(out, &ToAgent::Cleared { played_ms });
                self.asks.push(Ask::Clear);
            }
            "mark" => {
                let name = message
                    .name
                    .ok_or_else(|| broken(ViolationKind::Malformed, "the mark has no name"))?;
                match leg {
                    Some(leg) => leg
                        .handle_mark(now, &name)
                        .map_err(|error| broken(ViolationKind::TooMany, &error.to_string()))?,
                    None => self.statistics.ignored += 1,
                }
            }
            "dtmf" => self.press(message.digits.as_deref().unwrap_or_default())?,
            "hangup" => {
                let cause = message.q850_cause.unwrap_or(Q850Cause::NORMAL.0);
                if !(1..=127).contains(&cause) {
                    let reason = "hangup.q850_cause is not 1 to 127";
                    return Err(broken(ViolationKind::Malformed, reason));
                }
                self.asks.push(Ask::HangUp {
                    cause: Q850Cause(cause),
                    fault: None,
                    text: "the agent hung up".to_owned(),
                });
            }
            _ => {
                let reason = "the type is none of clear, mark, dtmf and hangup";
                return Err(broken(ViolationKind::UnknownMessage, reason));
            }
        }
        Ok(())
    }

    fn press(&mut self, digits: &str) -> Result<(), Violation> {
        if digits.is_empty() || digits.len() > DIGITS_MAX {
            let reason = format!("dtmf.digits has not 1 to {DIGITS_MAX} digits");
            return Err(broken(ViolationKind::Malformed, &reason));
        }
        let all: Option<Vec<char>> = digits
            .split_inclusive(|_: char| true)
            .map(digit_of)
            .collect();
        let all = all.ok_or_else(|| {
            let reason = "dtmf.digits has something else than 0-9 * # A-D";
            broken(ViolationKind::Malformed, reason)
        })?;
        for digit in all {
            let duration_ms = DIGIT_MS_DEFAULT;
            self.asks.push(Ask::Digit { digit, duration_ms });
        }
        Ok(())
    }

    fn tell_overflow(&mut self, now: Instant, out: &mut Writer) {
        let told_lately = self
            .overflow_told
            .is_some_and(|told| now < told + OVERFLOW_INTERVAL);
        if self.overflow_ms == 0 || told_lately {
            return;
        }
        self.overflow_told = Some(now);
        let dropped_ms = std::mem::take(&mut self.overflow_ms);
        write(out, &ToAgent::Overflow { dropped_ms });
    }
}

fn broken(kind: ViolationKind, reason: &str) -> Violation {
    Violation::new(kind, Fault::Agent, reason)
}

fn write(out: &mut Writer, message: &ToAgent<'_>) {
    out.text(|buffer| {
        // Nothing but texts and numbers, into a vector.
        let _never_fails = serde_json::to_writer(buffer, message);
    });
}
