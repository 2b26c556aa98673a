//! How sound lies in the messages of a socket, and what Twilio's messages look like.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use codecs::g711::{self, Law};
use codecs::linear16;
use serde_json::{Map, Value, json};

use crate::audio::Audio;
use crate::media::PACKET_MS;

/// How samples are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PcmFormat {
    /// G.711 mu-law, 8 kHz.
    Mulaw,
    /// 16-bit little-endian, mono, at so many Hz.
    Linear16(u32),
}

impl PcmFormat {
    /// Samples per second.
    pub fn sample_rate_hz(self) -> u32 {
        match self {
            Self::Mulaw => 8_000,
            Self::Linear16(rate_hz) => rate_hz,
        }
    }

    /// The length of 20 ms.
    pub fn frame_bytes(self) -> usize {
        let samples = (self.sample_rate_hz() * PACKET_MS / 1000) as usize;
        match self {
            Self::Mulaw => samples,
            Self::Linear16(_) => samples * 2,
        }
    }

    /// A frame of silence.
    pub fn silence(self) -> Vec<u8> {
        let byte = match self {
            Self::Mulaw => 0xff,
            Self::Linear16(_) => 0,
        };
        vec![byte; self.frame_bytes()]
    }

    /// Frames of 20 ms; the last is filled up with silence.
    pub fn encode(self, speech: &Audio) -> Vec<Vec<u8>> {
        let samples = speech.resampled(self.sample_rate_hz()).samples;
        let len = (self.sample_rate_hz() * PACKET_MS / 1000) as usize;
        let encode = |frame: &[i16]| {
            let mut frame = frame.to_vec();
            frame.resize(len, 0);
            let mut bytes = vec![0; self.frame_bytes()];
            match self {
                Self::Mulaw => g711::encode(Law::Mu, &frame, &mut bytes),
                Self::Linear16(_) => linear16::to_le_bytes(&frame, &mut bytes),
            };
            bytes
        };
        samples.chunks(len).map(encode).collect()
    }

    /// Whole samples; a byte that is half of one is left out.
    pub fn decode(self, bytes: &[u8]) -> Vec<i16> {
        let mut samples = vec![0; bytes.len()];
        let count = match self {
            Self::Mulaw => g711::decode(Law::Mu, bytes, &mut samples),
            Self::Linear16(_) => linear16::from_le_bytes(bytes, &mut samples),
        };
        samples.truncate(count);
        samples
    }
}

/// What a socket's messages are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AudioWire {
    /// We are Twilio: numbered `media`, marks come back when they were played, `clear` is obeyed.
    Twilio(TwilioIds),
    /// We are a bot that Twilio calls; the stream's name comes with its `start`.
    TwilioBot,
    /// Sound in binary messages, everything else in JSON: Vapi, and agents of our own dialect.
    Binary(PcmFormat),
}

impl AudioWire {
    pub(super) fn format(&self) -> PcmFormat {
        match self {
            Self::Twilio(_) | Self::TwilioBot => PcmFormat::Mulaw,
            Self::Binary(format) => *format,
        }
    }
}

/// The names of a stream at Twilio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TwilioIds {
    /// `MZ` and 32 hexadecimal digits.
    pub stream_sid: String,
    /// `CA` and 32 hexadecimal digits.
    pub call_sid: String,
    /// `AC` and 32 hexadecimal digits.
    pub account_sid: String,
}

impl TwilioIds {
    /// A new stream of a new call.
    pub fn new(account_sid: &str) -> Self {
        let sid = |kind: &str| {
            format!(
                "{kind}{:016x}{:016x}",
                crate::random_u64(),
                crate::random_u64()
            )
        };
        Self {
            stream_sid: sid("MZ"),
            call_sid: sid("CA"),
            account_sid: account_sid.to_owned(),
        }
    }

    /// The first message.
    pub fn connected() -> Value {
        json!({"event": "connected", "protocol": "Call", "version": "1.0.0"})
    }

    /// The second message, of a stream both ways in mu-law.
    pub fn start(&self, custom_parameters: &[(&str, &str)]) -> Value {
        let parameters: Map<String, Value> = custom_parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        json!({
            "event": "start",
            "sequenceNumber": "1",
            "streamSid": self.stream_sid,
            "start": {
                "streamSid": self.stream_sid,
                "accountSid": self.account_sid,
                "callSid": self.call_sid,
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": parameters,
            },
        })
    }
}

/// Writes what goes out and reads what comes, with Twilio's numbers.
pub(super) struct Messages {
    wire: AudioWire,
    /// Of the bot's stream, once it began.
    stream_sid: Option<String>,
    sequence_number: u64,
    chunk: u64,
}

/// A message of text, understood.
pub(super) enum Understood {
    Audio(Vec<u8>),
    /// After all audio so far.
    Mark(String),
    Clear,
    Other,
}

impl Messages {
    pub(super) fn new(wire: AudioWire) -> Self {
        Self {
            stream_sid: match &wire {
                AudioWire::Twilio(ids) => Some(ids.stream_sid.clone()),
                AudioWire::TwilioBot | AudioWire::Binary(_) => None,
            },
            wire,
            sequence_number: 1,
            chunk: 0,
        }
    }

    pub(super) fn is_binary(&self) -> bool {
        matches!(self.wire, AudioWire::Binary(_))
    }

    /// The text message of some audio; none before the bot's stream has a name.
    pub(super) fn media(&mut self, bytes: &[u8]) -> Option<String> {
        let payload = STANDARD.encode(bytes);
        let media = match &self.wire {
            AudioWire::Binary(_) => return None,
            AudioWire::TwilioBot => json!({"payload": payload}),
            AudioWire::Twilio(_) => {
                self.chunk += 1;
                let timestamp_ms = (self.chunk - 1) * u64::from(PACKET_MS);
                json!({
                    "track": "inbound",
                    "chunk": self.chunk.to_string(),
                    "timestamp": timestamp_ms.to_string(),
                    "payload": payload,
                })
            }
        };
        self.event("media", Some(("media", media)))
    }

    /// Any other message of the stream.
    pub(super) fn event(&mut self, event: &str, body: Option<(&str, Value)>) -> Option<String> {
        let mut message = json!({"event": event, "streamSid": self.stream_sid.as_ref()?});
        if let AudioWire::Twilio(_) = self.wire {
            self.sequence_number += 1;
            message["sequenceNumber"] = json!(self.sequence_number.to_string());
        }
        if let Some((name, body)) = body {
            message[name] = body;
        }
        Some(message.to_string())
    }

    /// The last message of Twilio's side.
    pub(super) fn stop(&mut self) -> Option<String> {
        let AudioWire::Twilio(ids) = &self.wire else {
            return None;
        };
        let stop = json!({"accountSid": ids.account_sid, "callSid": ids.call_sid});
        self.event("stop", Some(("stop", stop)))
    }

    pub(super) fn understand(&mut self, message: &Value) -> Understood {
        if self.is_binary() {
            return Understood::Other;
        }
        match message["event"].as_str() {
            Some("media") => {
                let payload = message["media"]["payload"].as_str();
                let bytes = payload.and_then(|payload| STANDARD.decode(payload).ok());
                bytes.map_or(Understood::Other, Understood::Audio)
            }
            Some("start") => {
                self.stream_sid = message["streamSid"].as_str().map(str::to_owned);
                Understood::Other
            }
            Some("clear") => Understood::Clear,
            Some("mark") if matches!(self.wire, AudioWire::Twilio(_)) => message["mark"]["name"]
                .as_str()
                .map_or(Understood::Other, |name| Understood::Mark(name.to_owned())),
            _ => Understood::Other,
        }
    }
}
