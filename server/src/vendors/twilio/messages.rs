//! The messages of Twilio's Media Streams as they stand in JSON, both ways; one reader for the gateway as a server and for the
//! gateway in Twilio's place.
//!
//! A media message is read without an allocation: its strings are borrowed from the text. Unknown members are skipped, as
//! Twilio adds some now and then; unknown events are not.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};

/// A message of any event: which members it has says `event`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub event: Cow<'a, str>,
    #[serde(borrow, default)]
    pub stream_sid: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub media: Option<Media<'a>>,
    #[serde(borrow, default)]
    pub start: Option<Start<'a>>,
    #[serde(borrow, default)]
    pub dtmf: Option<Dtmf<'a>>,
    #[serde(borrow, default)]
    pub mark: Option<Mark<'a>>,
}

/// The `media` of a message. Only `payload` stands in what a bot sends.
#[derive(Deserialize)]
pub(super) struct Media<'a> {
    #[serde(borrow, default)]
    pub track: Option<Text<'a>>,
    #[serde(default)]
    pub chunk: Option<Number>,
    #[serde(default)]
    pub timestamp: Option<Number>,
    #[serde(borrow)]
    pub payload: Cow<'a, str>,
}

/// The `start` of a message.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Start<'a> {
    #[serde(borrow, default)]
    pub stream_sid: Option<Text<'a>>,
    #[serde(borrow)]
    pub account_sid: Cow<'a, str>,
    #[serde(borrow)]
    pub call_sid: Cow<'a, str>,
    #[serde(borrow, default)]
    pub tracks: Vec<Text<'a>>,
    #[serde(borrow)]
    pub media_format: MediaFormat<'a>,
    /// Texts by name; Twilio sends what the TwiML's `<Parameter>`s say.
    #[serde(default)]
    pub custom_parameters: BTreeMap<String, String>,
}

/// How the stream's audio is coded.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MediaFormat<'a> {
    #[serde(borrow)]
    pub encoding: Cow<'a, str>,
    pub sample_rate: Number,
    #[serde(default)]
    pub channels: Option<Number>,
}

/// The `dtmf` of a message.
#[derive(Deserialize)]
pub(super) struct Dtmf<'a> {
    #[serde(borrow)]
    pub digit: Cow<'a, str>,
}

/// The `mark` of a message.
#[derive(Deserialize)]
pub(super) struct Mark<'a> {
    #[serde(borrow)]
    pub name: Cow<'a, str>,
}

/// A text that is borrowed also where it may be missing, which a `Cow` in an `Option` is not.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// A number that Twilio writes as a text, and others as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number(pub u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;
        impl Visitor<'_> for NumberVisitor {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, or a text that holds one")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Number, E> {
                Ok(Number(number))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Number, E> {
                text.parse()
                    .map(Number)
                    .map_err(|_| E::custom("a text that holds no whole number"))
            }
        }
        deserializer.deserialize_any(NumberVisitor)
    }
}

/// `connected`, the first message.
#[derive(Serialize)]
pub(super) struct ConnectedOut {
    pub event: &'static str,
    pub protocol: &'static str,
    pub version: &'static str,
}

/// Every other message of Twilio's but media, with the one member that its event has.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessageOut<'a, Body: Serialize> {
    pub event: &'static str,
    /// Counts from 1.
    pub sequence_number: String,
    pub stream_sid: &'a str,
    #[serde(flatten)]
    pub body: Body,
}

/// The body of `start`.
#[derive(Serialize)]
pub(super) struct StartBody<'a> {
    pub start: StartOut<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StartOut<'a> {
    pub account_sid: &'a str,
    pub stream_sid: &'a str,
    pub call_sid: &'a str,
    pub tracks: [&'static str; 1],
    pub media_format: MediaFormatOut,
    pub custom_parameters: CustomParametersOut<'a>,
}

/// What the TwiML would have said: names as the gateway has them.
#[derive(Serialize)]
pub(super) struct CustomParametersOut<'a> {
    pub call_sid: &'a str,
    pub tenant_id: &'a str,
    pub from: &'a str,
    pub to: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MediaFormatOut {
    pub encoding: &'static str,
    pub sample_rate: u32,
    pub channels: u32,
}

/// The body of `dtmf`.
#[derive(Serialize)]
pub(super) struct DtmfBody {
    pub dtmf: DtmfOut,
}

#[derive(Serialize)]
pub(super) struct DtmfOut {
    pub track: &'static str,
    pub digit: char,
}

/// The body of `mark`.
#[derive(Serialize)]
pub(super) struct MarkBody<'a> {
    pub mark: MarkOut<'a>,
}

#[derive(Serialize)]
pub(super) struct MarkOut<'a> {
    pub name: &'a str,
}

/// The body of `stop`.
#[derive(Serialize)]
pub(super) struct StopBody<'a> {
    pub stop: StopOut<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StopOut<'a> {
    pub account_sid: &'a str,
    pub call_sid: &'a str,
}

/// What we send to Twilio besides media.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CommandOut<'a> {
    pub event: &'static str,
    pub stream_sid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark: Option<MarkOut<'a>>,
}

/// Appends a message that holds nothing but texts and numbers: it can't fail.
pub(super) fn append(buffer: &mut Vec<u8>, message: &impl Serialize) {
    let _never_fails = serde_json::to_writer(buffer, message);
}
