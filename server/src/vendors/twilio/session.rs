//! Twilio dials us: the application's end of a Media Stream.
//!
//! Strict where Twilio is exact, since a stranger who has the URL may pretend to be Twilio: names that must be SIDs, one
//! `start`, audio of the one stream. There is no hang-up message: the owner closes the socket.

use std::collections::BTreeMap;
use std::time::Instant;

use codecs::SampleRate;

use super::messages::{CommandOut, MarkOut, Media, MediaFormat, Message, Start, Text, append};
use super::payload;
use super::stream::{check_stream, malformed, required, take_media, wrong_stream};
use crate::call::q850::Q850Cause;
use crate::config::{Secret, is_twilio_sid};
use crate::fault::Fault;
use crate::pcm::{
    Ask, Begin, DIGIT_MS_DEFAULT, Dialect, DialectState, Encoding, FRAME_MS, News, PARTY_LEN_MAX,
    PcmLeg, START_TIMEOUT, Violation, ViolationKind, digit_of,
};
use crate::websocket::Writer;

/// The longest token in a parameter: Twilio's own bound of a parameter, name and value together.
const TOKEN_LEN_MAX: usize = 4096;

/// Messages that may be missing between two, a minute: what is more is another count.
const MISSING_MAX: u64 = 3_000;

/// One stream of Twilio's.
#[derive(Debug)]
pub struct TwilioSession {
    /// The only account whose streams are taken.
    account_sid: String,
    phase: Phase,
    stream_sid: String,
    /// Nothing may be sent.
    listen_only: bool,
    /// The track that is heard.
    track: &'static str,
    encoding: Encoding,
    place: Place,
    /// What stands before the payload of each media message.
    media_head: Vec<u8>,
    state: DialectState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    WaitingForConnected,
    WaitingForStart,
    Streaming,
}

/// Where in its track the peer is: finds what never came.
#[derive(Debug, Default)]
struct Place {
    next_chunk: Option<u64>,
    next_timestamp_ms: Option<u64>,
}

impl TwilioSession {
    /// A session on a socket that was just upgraded, its signature checked; of the tenant's account alone.
    pub fn new(now: Instant, account_sid: &str) -> Self {
        let mut state = DialectState::new(now, Fault::Vendor);
        state.begin_by = Some(now + START_TIMEOUT);
        Self {
            account_sid: account_sid.to_owned(),
            phase: Phase::WaitingForConnected,
            stream_sid: String::new(),
            listen_only: false,
            track: INBOUND,
            encoding: Encoding::Mulaw,
            place: Place::default(),
            media_head: Vec::new(),
            state,
        }
    }
}

impl Dialect for TwilioSession {
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
        match message.event.as_ref() {
            "media" => {
                self.check_stream(&message)?;
                let media = required(&self.state, message.media, "media")?;
                self.handle_media(now, &media, leg)
            }
            "connected" => self.handle_connected(),
            "start" => {
                let start = required(&self.state, message.start, "start")?;
                self.handle_start(message.stream_sid, start)
            }
            "dtmf" => {
                self.check_stream(&message)?;
                let dtmf = required(&self.state, message.dtmf, "dtmf")?;
                let digit = digit_of(&dtmf.digit)
                    .ok_or_else(|| malformed(&self.state, "dtmf.digit is no digit"))?;
                let duration_ms = DIGIT_MS_DEFAULT;
                self.state.ask(Ask::Digit { digit, duration_ms });
                Ok(())
            }
            "mark" => {
                self.check_stream(&message)?;
                let mark = required(&self.state, message.mark, "mark")?;
                let name = mark.name.into_owned();
                self.state.ask(Ask::MarkPlayed { name });
                Ok(())
            }
            "stop" => {
                self.check_stream(&message)?;
                self.state.ask(Ask::HangUp {
                    cause: Q850Cause::NORMAL,
                    fault: None,
                    text: "Twilio stopped the stream".to_owned(),
                });
                Ok(())
            }
            _ => {
                let reason = "the event is none of Twilio's Media Streams";
                Err(self.state.violation(ViolationKind::UnknownMessage, reason))
            }
        }
    }

    /// Twilio hears of a flush and of marks; digits reach it as tones in the audio.
    fn tell(&mut self, news: News<'_>, out: &mut Writer) {
        match news {
            News::Cleared => self.command("clear", None, out),
            News::Mark { name } => self.command("mark", Some(MarkOut { name }), out),
            News::Ringing | News::Answered | News::Digit { .. } | News::Ended { .. } => {}
        }
    }

    fn write_audio(&mut self, _now: Instant, frame: &[u8], out: &mut Writer) {
        if !self.may_write() {
            return;
        }
        self.state.statistics.media_sent += 1;
        let head = &self.media_head;
        out.text(|buffer| {
            buffer.extend_from_slice(head);
            payload::encode(frame, buffer);
            buffer.extend_from_slice(br#""}}"#);
        });
    }

    fn hears_tones(&self) -> bool {
        true
    }

    fn tells_marks(&self) -> bool {
        self.may_write()
    }

    fn plays_on_arrival(&self) -> bool {
        true
    }
}

impl TwilioSession {
    fn handle_connected(&mut self) -> Result<(), Violation> {
        if self.phase != Phase::WaitingForConnected {
            return Err(self.out_of_order("connected came twice, or after start"));
        }
        self.phase = Phase::WaitingForStart;
        Ok(())
    }

    fn handle_start(
        &mut self,
        stream_sid: Option<Text<'_>>,
        start: Start<'_>,
    ) -> Result<(), Violation> {
        match self.phase {
            Phase::WaitingForStart => {}
            Phase::WaitingForConnected => return Err(self.out_of_order("start before connected")),
            Phase::Streaming => return Err(self.out_of_order("a second start")),
        }
        let stream_sid =
            stream_sid.ok_or_else(|| malformed(&self.state, "start has no streamSid"))?;
        for (prefix, sid, name) in [
            ("MZ", &stream_sid.0, "streamSid"),
            ("AC", &start.account_sid, "accountSid"),
            ("CA", &start.call_sid, "callSid"),
        ] {
            if !is_twilio_sid(prefix, sid) {
                let reason = format!("{name} is not {prefix} and 32 hex digits");
                return Err(malformed(&self.state, reason));
            }
        }
        if start.stream_sid.is_some_and(|sid| sid.0 != stream_sid.0) {
            return Err(wrong_stream(&self.state));
        }
        if start.account_sid != self.account_sid {
            let reason = "accountSid is not the tenant's account_sid";
            let kind = ViolationKind::WrongAccount;
            return Err(Violation::new(kind, Fault::Caller, reason));
        }
        self.encoding = encoding_of(&start.media_format)?;
        let has_track = |name: &str| start.tracks.iter().any(|track| track.0 == name);
        // `<Connect>` has the inbound track alone. A stream that forks the outbound track has no way back.
        let forks_outbound = has_track(OUTBOUND);
        self.track = match forks_outbound && !has_track(INBOUND) {
            true => OUTBOUND,
            false => INBOUND,
        };
        let parameters = Parameters(start.custom_parameters);
        self.listen_only = forks_outbound || parameters.says_yes("listen_only");
        self.stream_sid = stream_sid.0.into_owned();
        self.media_head = format!(
            r#"{{"event":"media","streamSid":"{}","media":{{"payload":""#,
            self.stream_sid
        )
        .into_bytes();
        self.phase = Phase::Streaming;
        self.state.begin_by = None;
        let call_sid = start.call_sid.into_owned();
        let begin = parameters.begin(self.encoding, self.listen_only, call_sid)?;
        self.state.ask(Ask::Begin(begin));
        Ok(())
    }

    fn handle_media(
        &mut self,
        now: Instant,
        media: &Media<'_>,
        leg: Option<&mut PcmLeg>,
    ) -> Result<(), Violation> {
        let track = media.track.as_ref().map_or(self.track, |track| &track.0);
        let leg = leg.filter(|_| track == self.track);
        let len = take_media(&mut self.state, now, &media.payload, leg)?;
        if track == self.track {
            let missing = self.place.pass(media, self.encoding.ms_of_bytes(len));
            let counted = &mut self.state.statistics.media_missing;
            *counted = counted.saturating_add(missing);
        }
        Ok(())
    }

    fn check_stream(&self, message: &Message<'_>) -> Result<(), Violation> {
        if self.phase != Phase::Streaming {
            return Err(self.out_of_order(format!("{} before start", message.event)));
        }
        check_stream(&self.state, message, &self.stream_sid)
    }

    fn out_of_order(&self, reason: impl Into<String>) -> Violation {
        self.state.violation(ViolationKind::OutOfOrder, reason)
    }

    /// There is a stream, and it has a way back.
    fn may_write(&self) -> bool {
        self.phase == Phase::Streaming && !self.listen_only
    }

    fn command(&mut self, event: &'static str, mark: Option<MarkOut<'_>>, out: &mut Writer) {
        if !self.may_write() {
            return;
        }
        let stream_sid = &self.stream_sid;
        out.text(|buffer| {
            append(
                buffer,
                &CommandOut {
                    event,
                    stream_sid,
                    mark,
                },
            );
        });
    }
}

const INBOUND: &str = "inbound";
const OUTBOUND: &str = "outbound";

impl Place {
    /// A message of `duration_ms` came: how many before it did not. Twilio numbers them; where only times are given, these
    /// tell it.
    fn pass(&mut self, media: &Media<'_>, duration_ms: u64) -> u64 {
        let by_chunk = media.chunk.map(|chunk| {
            let next = self.next_chunk.replace(chunk.0.saturating_add(1));
            next.map_or(0, |next| chunk.0.saturating_sub(next))
        });
        let by_time = media.timestamp.map(|timestamp| {
            let end = timestamp.0.saturating_add(duration_ms);
            let next = self.next_timestamp_ms.replace(end);
            let gap_ms = next.map_or(0, |next| timestamp.0.saturating_sub(next));
            gap_ms / u64::from(FRAME_MS)
        });
        let missing = by_chunk.or(by_time).unwrap_or(0);
        // Who counts on from somewhere else has lost nothing.
        if missing > MISSING_MAX { 0 } else { missing }
    }
}

/// The `customParameters` of a start.
struct Parameters(BTreeMap<String, String>);

impl Parameters {
    fn take(&mut self, name: &str, len_max: usize) -> Result<Option<String>, Violation> {
        let Some(text) = self.0.remove(name).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        if text.len() > len_max || text.chars().any(char::is_control) {
            let reason = format!(
                "customParameters.{name} is longer than {len_max} bytes, or has control characters"
            );
            return Err(Violation::new(
                ViolationKind::TooLong,
                Fault::Caller,
                reason,
            ));
        }
        Ok(Some(text))
    }

    fn says_yes(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|text| text == "true")
    }

    fn begin(
        mut self,
        encoding: Encoding,
        listen_only: bool,
        call_sid: String,
    ) -> Result<Begin, Violation> {
        let trunk_id = match self.take("trunk_id", PARTY_LEN_MAX)? {
            None => None,
            Some(id) => Some(id.parse().map_err(|error| {
                let reason = format!("customParameters.trunk_id: {error}");
                Violation::new(ViolationKind::Malformed, Fault::Caller, reason)
            })?),
        };
        let token = self.take("token", TOKEN_LEN_MAX)?;
        Ok(Begin {
            to: self.take("to", PARTY_LEN_MAX)?,
            trunk_id,
            call_from: self.take("call_from", PARTY_LEN_MAX)?.unwrap_or_default(),
            client_id: self.take("client_id", PARTY_LEN_MAX)?.unwrap_or_default(),
            encoding,
            listen_only,
            token: token.map(|token| Secret::new(&token)),
            vendor_call: Some(call_sid),
        })
    }
}

/// Twilio documents mu-law alone; the names for 16-bit samples are those that its `audioFormat` can plausibly have.
fn encoding_of(format: &MediaFormat<'_>) -> Result<Encoding, Violation> {
    let name = format.encoding.to_ascii_lowercase();
    let name = name.strip_prefix("audio/").unwrap_or(&name);
    let name = name.strip_prefix("x-").unwrap_or(name);
    let hz = u32::try_from(format.sample_rate.0).unwrap_or(0);
    let rate = SampleRate::from_hz(hz).filter(|rate| *rate != SampleRate::Hz48000);
    let mono = format.channels.is_none_or(|channels| channels.0 == 1);
    match (name, rate) {
        ("mulaw" | "pcmu" | "basic", Some(SampleRate::Hz8000)) if mono => Ok(Encoding::Mulaw),
        ("l16" | "linear16" | "pcm" | "pcm16" | "pcm_s16le", Some(rate)) if mono => {
            Ok(Encoding::Linear16(rate))
        }
        _ => Err(Violation::new(
            ViolationKind::WrongFormat,
            Fault::Config,
            "start.mediaFormat is neither audio/x-mulaw at 8000 Hz nor 16-bit mono at 8000, 16000 or 24000",
        )),
    }
}
