//! One socket of the Vapi transport, from either end.

use std::borrow::Cow;
use std::fmt;
use std::time::Instant;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::ended_reason::{cause_of, fault_of, reason_of};
use crate::call::q850::Q850Cause;
use crate::fault::Fault;
use crate::pcm::{
    Ask, Begin, Dialect, DialectState, Encoding, FRAME_BYTES_MAX, News, PARTY_LEN_MAX, PcmLeg,
    Violation,
};
use crate::websocket::Writer;

/// One socket of the Vapi transport.
#[derive(Debug)]
pub struct VapiSession {
    role: Role,
    encoding: Encoding,
    /// What goes to the peer is silence.
    customer_muted: bool,
    /// What comes from the peer goes nowhere.
    assistant_muted: bool,
    state: DialectState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// We dialled Vapi.
    Client,
    /// A relay dialled us.
    Server,
}

impl VapiSession {
    /// The gateway's end of a `websocketCallUrl`. The call is there already: it asks for none.
    pub fn client(now: Instant, encoding: Encoding) -> Self {
        Self::new(now, Role::Client, encoding)
    }

    /// A relay on a socket that was just upgraded, its token checked. It asks for its call at once: the transport has no
    /// message that begins one.
    pub fn server(now: Instant, encoding: Encoding) -> Self {
        let mut session = Self::new(now, Role::Server, encoding);
        session.state.ask(Ask::Begin(Begin {
            to: None,
            trunk_id: None,
            call_from: String::new(),
            client_id: String::new(),
            encoding,
            listen_only: false,
            token: None,
            vendor_call: None,
        }));
        session
    }

    fn new(now: Instant, role: Role, encoding: Encoding) -> Self {
        Self {
            role,
            encoding,
            customer_muted: false,
            assistant_muted: false,
            state: DialectState::new(now, Fault::Vendor),
        }
    }

    fn hang_up(&mut self, cause: Q850Cause, fault: Option<Fault>, reason: &str) {
        let mut text: String = reason.chars().filter(|char| !char.is_control()).collect();
        while text.len() > PARTY_LEN_MAX {
            text.pop();
        }
        self.state.ask(Ask::HangUp { cause, fault, text });
    }
}

impl Dialect for VapiSession {
    fn state(&self) -> &DialectState {
        &self.state
    }

    fn state_mut(&mut self) -> &mut DialectState {
        &mut self.state
    }

    fn read_text(
        &mut self,
        now: Instant,
        text: &str,
        leg: Option<&mut PcmLeg>,
        _out: &mut Writer,
    ) -> Result<(), Violation> {
        let message: Message<'_> = self.state.parse(text)?;
        match message.kind.as_ref() {
            "end-call" | "hangup" => self.hang_up(Q850Cause::NORMAL, None, "the peer hung up"),
            "status-update" if message.status.is("ended") => {
                let reason = message.ended_reason.0.unwrap_or_default();
                let cause = cause_of(&reason);
                let text = match reason.trim() {
                    "" => "Vapi ended the call",
                    text => text,
                };
                self.hang_up(cause, fault_of(cause), text);
            }
            "user-interrupted" => {
                if let Some(leg) = leg {
                    leg.handle_clear(now);
                }
                self.state.ask(Ask::Clear);
            }
            "control" => match message.control.0.as_deref() {
                Some("mute-customer") => self.customer_muted = true,
                Some("unmute-customer") => self.customer_muted = false,
                Some("mute-assistant") => self.assistant_muted = true,
                Some("unmute-assistant") => self.assistant_muted = false,
                _ => self.state.statistics.ignored += 1,
            },
            _ => self.state.statistics.ignored += 1,
        }
        Ok(())
    }

    fn read_binary(
        &mut self,
        now: Instant,
        bytes: &[u8],
        leg: Option<&mut PcmLeg>,
    ) -> Result<(), Violation> {
        let leg = leg.filter(|_| !self.assistant_muted);
        self.state.take_audio(now, bytes, leg);
        Ok(())
    }

    fn tell(&mut self, news: News<'_>, out: &mut Writer) {
        let relay = self.role == Role::Server;
        match news {
            News::Ringing if relay => write(out, &Out::status("ringing")),
            News::Answered if relay => write(out, &Out::status("in-progress")),
            News::Cleared if relay => write(out, &Out::of_kind("user-interrupted")),
            News::Ended { cause, .. } => {
                if relay {
                    let mut ended = Out::status("ended");
                    ended.ended_reason = Some(reason_of(cause));
                    write(out, &ended);
                }
                write(out, &Out::of_kind("end-call"));
            }
            _ => {}
        }
    }

    fn write_audio(&mut self, _now: Instant, frame: &[u8], out: &mut Writer) {
        self.state.statistics.media_sent += 1;
        if self.customer_muted {
            // The clock goes on, so that the assistant hears that nobody speaks.
            let silence = [self.encoding.silence(); FRAME_BYTES_MAX];
            out.binary(&silence[..frame.len().min(FRAME_BYTES_MAX)]);
        } else {
            out.binary(frame);
        }
    }

    fn hears_tones(&self) -> bool {
        true
    }
}

/// The members of a message that mean something to us.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    status: Word<'a>,
    #[serde(borrow, default)]
    ended_reason: Word<'a>,
    #[serde(borrow, default)]
    control: Word<'a>,
}

/// A text, or nothing where a message that we do not know has something else of the same name.
#[derive(Default)]
struct Word<'a>(Option<Cow<'a, str>>);

impl Word<'_> {
    fn is(&self, word: &str) -> bool {
        self.0.as_deref() == Some(word)
    }
}

impl<'a, 'de: 'a> Deserialize<'de> for Word<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordVisitor)
    }
}

struct WordVisitor;

impl<'de> Visitor<'de> for WordVisitor {
    type Value = Word<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Word(Some(Cow::Borrowed(text))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Word(Some(Cow::Owned(text.to_owned()))))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Word(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Word(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Word(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Word(None))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Word(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        while members.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Word(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Word(None))
    }
}

/// A message of ours.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Out {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_reason: Option<&'static str>,
}

impl Out {
    fn of_kind(kind: &'static str) -> Self {
        Self {
            kind,
            status: None,
            ended_reason: None,
        }
    }

    fn status(status: &'static str) -> Self {
        Self {
            status: Some(status),
            ..Self::of_kind("status-update")
        }
    }
}

fn write(out: &mut Writer, message: &Out) {
    out.text(|buffer| {
        // Nothing but texts, into a vector.
        let _never_fails = serde_json::to_writer(buffer, message);
    });
}
