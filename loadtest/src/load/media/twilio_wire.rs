//! Media Streams as both ends hear them, as strict as a peer may be: members and types as Twilio documents them (numbers of messages,
//! chunks and times are texts), nothing else beside them, nothing left out, nothing twice.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;

/// What a bot knows of its stream: whose it is, and what came last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BotStream {
    stream_sid: String,
    call_sid: String,
    account_sid: String,
    sequence_number: u64,
    chunk: u64,
    timestamp_ms: u64,
}

/// What a message to a bot was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ToBot<'a> {
    /// 20 ms or so, in base64.
    Media(Cow<'a, str>),
    /// A digit, or a mark that was played.
    Other,
    /// The call is over.
    Stop,
}

/// What a message to Twilio was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ToTwilio<'a> {
    /// Some ms, in base64.
    Media(Cow<'a, str>),
    /// Comes back when it was played.
    Mark(Cow<'a, str>),
    /// What waits shall not be played.
    Clear,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Connected<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    protocol: Cow<'a, str>,
    #[serde(borrow)]
    version: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StartMessage<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    sequence_number: Cow<'a, str>,
    #[serde(borrow)]
    stream_sid: Cow<'a, str>,
    #[serde(borrow)]
    start: Start<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Start<'a> {
    #[serde(borrow)]
    stream_sid: Cow<'a, str>,
    account_sid: String,
    call_sid: String,
    tracks: Vec<String>,
    custom_parameters: HashMap<String, String>,
    media_format: MediaFormat,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MediaFormat {
    encoding: String,
    sample_rate: u32,
    channels: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MessageToBot<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    sequence_number: Cow<'a, str>,
    #[serde(borrow)]
    stream_sid: Cow<'a, str>,
    #[serde(borrow)]
    media: Option<TrackMedia<'a>>,
    #[serde(borrow)]
    dtmf: Option<Dtmf<'a>>,
    #[serde(borrow)]
    mark: Option<Mark<'a>>,
    #[serde(borrow)]
    stop: Option<Stop<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrackMedia<'a> {
    #[serde(borrow)]
    track: Cow<'a, str>,
    #[serde(borrow)]
    chunk: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    payload: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dtmf<'a> {
    #[serde(borrow)]
    track: Cow<'a, str>,
    digit: char,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stop<'a> {
    #[serde(borrow)]
    account_sid: Cow<'a, str>,
    #[serde(borrow)]
    call_sid: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MessageToTwilio<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    stream_sid: Cow<'a, str>,
    #[serde(borrow)]
    media: Option<Media<'a>>,
    #[serde(borrow)]
    mark: Option<Mark<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Media<'a> {
    #[serde(borrow)]
    payload: Cow<'a, str>,
}

/// The first message to a bot.
///
/// # Errors
/// What is wrong with it.
pub fn read_connected(text: &str) -> Result<(), String> {
    let message: Connected<'_> = parsed(text)?;
    same("event", &message.event, "connected")?;
    same("protocol", &message.protocol, "Call")?;
    same("version", &message.version, "1.0.0")
}

impl BotStream {
    /// The second message to a bot, and its parameters.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read_start(text: &str) -> Result<(Self, HashMap<String, String>), String> {
        let message: StartMessage<'_> = parsed(text)?;
        same("event", &message.event, "start")?;
        same("sequenceNumber", &message.sequence_number, "1")?;
        let start = message.start;
        same("start.streamSid", &start.stream_sid, &message.stream_sid)?;
        for (kind, sid) in [
            ("MZ", &*message.stream_sid),
            ("CA", start.call_sid.as_str()),
            ("AC", start.account_sid.as_str()),
        ] {
            let digits = sid.strip_prefix(kind).unwrap_or_default();
            if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(format!("{sid:?} is no {kind} with 32 hex digits"));
            }
        }
        let mulaw = MediaFormat {
            encoding: "audio/x-mulaw".to_owned(),
            sample_rate: 8_000,
            channels: 1,
        };
        if start.tracks != ["inbound"] || start.media_format != mulaw {
            return Err("start has other tracks or another format".to_owned());
        }
        let stream = Self {
            stream_sid: message.stream_sid.into_owned(),
            call_sid: start.call_sid,
            account_sid: start.account_sid,
            sequence_number: 1,
            chunk: 0,
            timestamp_ms: 0,
        };
        Ok((stream, start.custom_parameters))
    }

    /// The stream's name.
    pub fn stream_sid(&self) -> &str {
        &self.stream_sid
    }

    /// A message behind `start`.
    pub(super) fn read<'a>(&mut self, text: &'a str) -> Result<ToBot<'a>, String> {
        let message: MessageToBot<'a> = parsed(text)?;
        same("streamSid", &message.stream_sid, &self.stream_sid)?;
        follows(
            "sequenceNumber",
            &message.sequence_number,
            &mut self.sequence_number,
        )?;
        match (
            &*message.event,
            message.media,
            message.dtmf,
            message.mark,
            message.stop,
        ) {
            ("media", Some(media), None, None, None) => {
                same("media.track", &media.track, "inbound")?;
                follows("media.chunk", &media.chunk, &mut self.chunk)?;
                let timestamp_ms = number("media.timestamp", &media.timestamp)?;
                if timestamp_ms < self.timestamp_ms {
                    let before = self.timestamp_ms;
                    return Err(format!("media.timestamp {timestamp_ms} follows {before}"));
                }
                self.timestamp_ms = timestamp_ms;
                Ok(ToBot::Media(media.payload))
            }
            ("dtmf", None, Some(dtmf), None, None) => {
                same("dtmf.track", &dtmf.track, "inbound_track")?;
                match dtmf.digit {
                    '0'..='9' | '*' | '#' | 'A'..='D' => Ok(ToBot::Other),
                    digit => Err(format!("dtmf.digit is {digit:?}")),
                }
            }
            ("mark", None, None, Some(_), None) => Ok(ToBot::Other),
            ("stop", None, None, None, Some(stop)) => {
                same("stop.callSid", &stop.call_sid, &self.call_sid)?;
                same("stop.accountSid", &stop.account_sid, &self.account_sid)?;
                Ok(ToBot::Stop)
            }
            (event, ..) => Err(format!("{event} is no event, or has other members")),
        }
    }
}

/// A message to Twilio.
pub(super) fn read_to_twilio<'a>(text: &'a str, stream_sid: &str) -> Result<ToTwilio<'a>, String> {
    let message: MessageToTwilio<'a> = parsed(text)?;
    same("streamSid", &message.stream_sid, stream_sid)?;
    match (&*message.event, message.media, message.mark) {
        ("media", Some(media), None) => Ok(ToTwilio::Media(media.payload)),
        ("mark", None, Some(mark)) => Ok(ToTwilio::Mark(mark.name)),
        ("clear", None, None) => Ok(ToTwilio::Clear),
        (event, ..) => Err(format!("{event} is no event, or has other members")),
    }
}

fn parsed<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn same(member: &str, value: &str, wanted: &str) -> Result<(), String> {
    if value == wanted {
        Ok(())
    } else {
        Err(format!("{member} is {value:?}, not {wanted:?}"))
    }
}

fn number(member: &str, value: &str) -> Result<u64, String> {
    let canonical = value.bytes().all(|byte| byte.is_ascii_digit())
        && (value == "0" || !value.starts_with('0'));
    let number = value.parse().ok().filter(|_| canonical);
    number.ok_or_else(|| format!("{member} is {value:?}, no number"))
}

/// One more than the last one.
fn follows(member: &str, value: &str, last: &mut u64) -> Result<(), String> {
    let before = std::mem::replace(last, number(member, value)?);
    if *last == before + 1 {
        Ok(())
    } else {
        Err(format!("{member} {value} follows {before}"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    const SID: &str = "0123456789abcdef0123456789abcdef";

    fn start() -> String {
        serde_json::json!({
            "event": "start",
            "sequenceNumber": "1",
            "streamSid": format!("MZ{SID}"),
            "start": {
                "accountSid": format!("AC{SID}"),
                "streamSid": format!("MZ{SID}"),
                "callSid": format!("CA{SID}"),
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": {"to": "+15550000042"},
            },
        })
        .to_string()
    }

    fn media(sequence_number: &str, chunk: &str, timestamp: &str) -> String {
        format!(
            r#"{{"event":"media","sequenceNumber":{sequence_number},"media":{{"track":"inbound","chunk":{chunk},"timestamp":{timestamp},"payload":"/w=="}},"streamSid":"MZ{SID}"}}"#
        )
    }

    fn stream() -> BotStream {
        BotStream::read_start(&start()).unwrap().0
    }

    #[test]
    fn a_stream_is_read_from_its_beginning_to_its_end() {
        read_connected(r#"{"event":"connected","protocol":"Call","version":"1.0.0"}"#).unwrap();
        let (mut stream, parameters) = BotStream::read_start(&start()).unwrap();
        assert_eq!(parameters["to"], "+15550000042");
        assert_eq!(stream.stream_sid(), format!("MZ{SID}"));
        let first = media(r#""2""#, r#""1""#, r#""0""#);
        assert_eq!(stream.read(&first), Ok(ToBot::Media("/w==".into())));
        let mark = format!(
            r#"{{"event":"mark","sequenceNumber":"3","streamSid":"MZ{SID}","mark":{{"name":"m"}}}}"#
        );
        assert_eq!(stream.read(&mark), Ok(ToBot::Other));
        let second = media(r#""4""#, r#""2""#, r#""20""#);
        assert!(stream.read(&second).is_ok());
        let stop = format!(
            r#"{{"event":"stop","sequenceNumber":"5","streamSid":"MZ{SID}","stop":{{"accountSid":"AC{SID}","callSid":"CA{SID}"}}}}"#
        );
        assert_eq!(stream.read(&stop), Ok(ToBot::Stop));
    }

    #[test]
    fn numbers_are_texts_and_follow_each_other() {
        for (wrong, why) in [
            (media("2", r#""1""#, r#""0""#), "invalid type: integer"),
            (media(r#""2""#, "1", r#""0""#), "invalid type: integer"),
            (media(r#""2""#, r#""1""#, "0"), "invalid type: integer"),
            (
                media(r#""3""#, r#""1""#, r#""0""#),
                "sequenceNumber 3 follows 1",
            ),
            (
                media(r#""1""#, r#""1""#, r#""0""#),
                "sequenceNumber 1 follows 1",
            ),
            (
                media(r#""2""#, r#""2""#, r#""0""#),
                "media.chunk 2 follows 0",
            ),
            (media(r#""2""#, r#""1""#, r#""x""#), "no number"),
            (media(r#""02""#, r#""1""#, r#""0""#), "no number"),
            (
                media(r#""2""#, r#""1""#, r#""0""#).replace("inbound", "outbound"),
                "media.track",
            ),
            (
                media(r#""2""#, r#""1""#, r#""0""#).replace("MZ0", "MZ1"),
                "streamSid",
            ),
            (
                media(r#""2""#, r#""1""#, r#""0""#).replace("{\"event\"", "{\"x\":1,\"event\""),
                "unknown field",
            ),
        ] {
            let told = stream().read(&wrong).unwrap_err();
            assert!(told.contains(why), "{told} of {wrong}");
        }
        let mut stream = stream();
        stream.read(&media(r#""2""#, r#""1""#, r#""40""#)).unwrap();
        let earlier = media(r#""3""#, r#""2""#, r#""20""#);
        assert!(stream.read(&earlier).is_err());
    }

    #[test]
    fn a_start_of_another_kind_is_none() {
        for (right, wrong) in [
            ("\"1\"", "1"),
            ("8000", "\"8000\""),
            ("8000", "16000"),
            ("MZ0", "MX0"),
            ("\"inbound\"", "\"inbound\",\"outbound\""),
        ] {
            let text = start().replace(right, wrong);
            assert!(BotStream::read_start(&text).is_err(), "{text}");
        }
        let connected = r#"{"event":"connected","protocol":"Call"}"#;
        assert!(read_connected(connected).is_err());
    }

    #[test]
    fn twilio_takes_three_events_and_no_more() {
        let media = r#"{"event":"media","streamSid":"MZ1","media":{"payload":"AQ=="}}"#;
        assert_eq!(
            read_to_twilio(media, "MZ1"),
            Ok(ToTwilio::Media("AQ==".into()))
        );
        let clear = r#"{"event":"clear","streamSid":"MZ1"}"#;
        assert_eq!(read_to_twilio(clear, "MZ1"), Ok(ToTwilio::Clear));
        for wrong in [
            r#"{"event":"media","streamSid":"MZ2","media":{"payload":"AQ=="}}"#,
            r#"{"event":"media","streamSid":"MZ1"}"#,
            r#"{"event":"media","streamSid":"MZ1","media":{"payload":"AQ==","track":"x"}}"#,
            r#"{"event":"stop","streamSid":"MZ1"}"#,
            r#"{"event":"mark","streamSid":"MZ1"}"#,
            "{",
        ] {
            assert!(read_to_twilio(wrong, "MZ1").is_err(), "{wrong}");
        }
    }
}
