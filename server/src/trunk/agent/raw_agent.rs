//! One agent that speaks the raw dialect.

use std::time::{Duration, Instant};

use super::messages::{DIGITS_MAX, Format, FromAgent, ToAgent};
use crate::call::q850::Q850Cause;
use crate::fault::Fault;
use crate::id::{CallSid, TenantId};
use crate::pcm::{
    Ask, DIGIT_MS_DEFAULT, Dialect, DialectState, Encoding, News, PcmEvent, PcmLeg, Violation,
    ViolationKind, digit_of,
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
    state: DialectState,
}

impl RawAgent {
    /// A socket that the agent has just accepted.
    pub fn new(now: Instant, start: AgentStart) -> Self {
        Self {
            start,
            opened: false,
            overflow_ms: 0,
            overflow_told: None,
            state: DialectState::new(now, Fault::Agent),
        }
    }

    fn press(&mut self, digits: &str) -> Result<(), Violation> {
        if digits.is_empty() || digits.len() > DIGITS_MAX {
            let reason = format!("dtmf.digits has not 1 to {DIGITS_MAX} digits");
            return Err(self.state.violation(ViolationKind::Malformed, &reason));
        }
        let all: Option<Vec<char>> = digits
            .split_inclusive(|_: char| true)
            .map(digit_of)
            .collect();
        let all = all.ok_or_else(|| {
            let reason = "dtmf.digits has something else than 0-9 * # A-D";
            self.state.violation(ViolationKind::Malformed, reason)
        })?;
        for digit in all {
            let duration_ms = DIGIT_MS_DEFAULT;
            self.state.ask(Ask::Digit { digit, duration_ms });
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

impl Dialect for RawAgent {
    fn state(&self) -> &DialectState {
        &self.state
    }

    fn state_mut(&mut self) -> &mut DialectState {
        &mut self.state
    }

    /// Says `start`: the first message, once.
    fn open(&mut self, _now: Instant, out: &mut Writer) {
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

    fn read_text(
        &mut self,
        now: Instant,
        text: &str,
        leg: Option<&mut PcmLeg>,
        out: &mut Writer,
    ) -> Result<(), Violation> {
        let message: FromAgent<'_> = self.state.parse(text)?;
        match message.kind.as_ref() {
            "clear" => {
                let played_ms = leg.map_or(0, |leg| leg.handle_clear(now));
                write(out, &ToAgent::Cleared { played_ms });
                self.state.ask(Ask::Clear);
            }
            "mark" => {
                let name = message.name.ok_or_else(|| {
                    self.state
                        .violation(ViolationKind::Malformed, "the mark has no name")
                })?;
                match leg {
                    Some(leg) => leg
                        .handle_mark(now, &name)
                        .map_err(|error| self.state.refused_mark(error))?,
                    None => self.state.statistics.ignored += 1,
                }
            }
            "dtmf" => self.press(message.digits.as_deref().unwrap_or_default())?,
            "hangup" => {
                let cause = message.q850_cause.unwrap_or(Q850Cause::NORMAL.0);
                if !(1..=127).contains(&cause) {
                    let reason = "hangup.q850_cause is not 1 to 127";
                    return Err(self.state.violation(ViolationKind::Malformed, reason));
                }
                self.state.ask(Ask::HangUp {
                    cause: Q850Cause(cause),
                    fault: None,
                    text: "the agent hung up".to_owned(),
                });
            }
            _ => {
                let reason = "the type is none of clear, mark, dtmf and hangup";
                return Err(self.state.violation(ViolationKind::UnknownMessage, reason));
            }
        }
        Ok(())
    }

    fn read_binary(
        &mut self,
        now: Instant,
        bytes: &[u8],
        leg: Option<&mut PcmLeg>,
    ) -> Result<(), Violation> {
        self.state.take_audio(now, bytes, leg);
        Ok(())
    }

    /// Digits and the end are what an agent is told.
    fn tell(&mut self, news: News<'_>, out: &mut Writer) {
        match news {
            _ if !self.opened => {}
            News::Digit { digit, duration_ms } => {
                write(out, &ToAgent::Dtmf { digit, duration_ms });
            }
            News::Ended { cause, reason } => {
                let q850_cause = cause.0;
                write(out, &ToAgent::Stop { q850_cause, reason });
            }
            News::Ringing | News::Answered | News::Cleared | News::Mark { .. } => {}
        }
    }

    fn tell_leg_event(&mut self, event: PcmEvent, out: &mut Writer) {
        match event {
            PcmEvent::Played { mark } => write(out, &ToAgent::Mark { name: &mark }),
            PcmEvent::BargeIn { played_ms } => {
                write(out, &ToAgent::Interrupted { played_ms });
            }
            PcmEvent::Overflow { dropped_ms } => self.overflow_ms += dropped_ms,
        }
    }

    fn write_audio(&mut self, now: Instant, frame: &[u8], out: &mut Writer) {
        if !self.opened {
            return;
        }
        self.tell_overflow(now, out);
        self.state.statistics.media_sent += 1;
        out.binary(frame);
    }
}

fn write(out: &mut Writer, message: &ToAgent<'_>) {
    out.text(|buffer| {
        // Nothing but texts and numbers, into a vector.
        let _never_fails = serde_json::to_writer(buffer, message);
    });
}
