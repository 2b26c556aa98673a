//! How 20 ms of sound stand in WebSocket messages: Twilio Media Streams, from both ends, and bare binary samples as Vapi and
//! simple agents have them. Written here once more, so that a fault of the gateway's own dialects can't cancel itself out.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tungstenite::Message;

use crate::media::{AudioCodec, PACKET_MS};

/// What a leg over a WebSocket speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wire {
    /// Media Streams as Twilio sends and takes them.
    Twilio {
        /// `MZ` and 32 hex digits.
        stream_sid: String,
        /// `CA` and 32 hex digits.
        call_sid: String,
        /// `AC` and 32 hex digits.
        account_sid: String,
        /// Of the last message: `start` was the first.
        sequence_number: u64,
    },
    /// Media Streams as a bot sends and takes them.
    TwilioBot {
        /// From its `start`.
        stream_sid: String,
    },
    /// Binary messages of samples, mu-law or 16-bit little-endian.
    Binary {
        /// The text that ends a call from our side.
        goodbye: String,
    },
}

/// What a message was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Sound, which was put behind what had come already.
    Audio,
    /// A message that is to be answered with this one at once.
    Answer(String),
    /// Anything else.
    Other,
}

#[derive(Deserialize)]
struct TwilioMessage<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, rename = "streamSid")]
    stream_sid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    media: Option<TwilioMedia<'a>>,
    #[serde(borrow)]
    mark: Option<TwilioMark<'a>>,
}

#[derive(Deserialize)]
struct TwilioMedia<'a> {
    #[serde(borrow)]
    payload: Cow<'a, str>,
}

#[derive(Deserialize)]
struct TwilioMark<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

impl Wire {
    /// Frame `number` of a call.
    pub(super) fn frame(&mut self, number: u64, codec: AudioCodec, payload: &[u8]) -> Message {
        match self {
            Self::Twilio {
                stream_sid,
                sequence_number,
                ..
            } => {
                *sequence_number += 1;
                Message::text(format!(
                    "{{\"event\":\"media\",\"sequenceNumber\":\"{sequence_number}\",\"streamSid\":\"{stream_sid}\",\
                     \"media\":{{\"track\":\"inbound\",\"chunk\":\"{}\",\"timestamp\":\"{}\",\"payload\":\"{}\"}}}}",
                    number + 1,
                    number * u64::from(PACKET_MS),
                    STANDARD.encode(payload),
                ))
            }
            Self::TwilioBot { stream_sid } => Message::text(format!(
                "{{\"event\":\"media\",\"streamSid\":\"{stream_sid}\",\"media\":{{\"payload\":\"{}\"}}}}",
                STANDARD.encode(payload),
            )),
            Self::Binary { .. } => {
                let mut samples = payload.to_vec();
                swap_bytes(codec, &mut samples);
                Message::binary(samples)
            }
        }
    }

    /// What ends a call from our side, before the socket is closed.
    pub(super) fn goodbye(&mut self) -> Option<String> {
        match self {
            Self::Twilio {
                stream_sid,
                call_sid,
                account_sid,
                sequence_number,
            } => {
                *sequence_number += 1;
                Some(format!(
                    "{{\"event\":\"stop\",\"sequenceNumber\":\"{sequence_number}\",\"streamSid\":\"{stream_sid}\",\
                     \"stop\":{{\"accountSid\":\"{account_sid}\",\"callSid\":\"{call_sid}\"}}}}"
                ))
            }
            Self::TwilioBot { .. } => None,
            Self::Binary { goodbye } => Some(goodbye.clone()),
        }
    }

    /// Takes a message; sound goes to the end of `audio`, as RTP has it.
    pub(super) fn hear(
        &mut self,
        codec: AudioCodec,
        message: &Message,
        audio: &mut Vec<u8>,
    ) -> Heard {
        match (self, message) {
            (Self::Binary { .. }, Message::Binary(bytes)) => {
                audio.extend_from_slice(bytes);
                Heard::Audio
            }
            (wire @ (Self::Twilio { .. } | Self::TwilioBot { .. }), Message::Text(text)) => {
                match serde_json::from_str::<TwilioMessage<'_>>(text.as_str()) {
                    Ok(message) => wire.hear_twilio(&message, codec, audio),
                    Err(_) => Heard::Other,
                }
            }
            _ => Heard::Other,
        }
    }

    fn hear_twilio(
        &mut self,
        message: &TwilioMessage<'_>,
        codec: AudioCodec,
        audio: &mut Vec<u8>,
    ) -> Heard {
        debug_assert!(codec == AudioCodec::Pcmu, "Media Streams are mu-law");
        let known = match self {
            Self::Twilio { stream_sid, .. } | Self::TwilioBot { stream_sid } => stream_sid,
            Self::Binary { .. } => return Heard::Other,
        };
        if message.stream_sid.as_deref() != Some(known) {
            return Heard::Other;
        }
        match (&*message.event, &message.media, &message.mark) {
            ("media", Some(media), _) => {
                let before = audio.len();
                if STANDARD.decode_vec(media.payload.as_bytes(), audio).is_ok() {
                    return Heard::Audio;
                }
                // What was decoded before the fault is not kept.
                audio.truncate(before);
                Heard::Other
            }
            // What was queued before it is played when it comes: we play nothing.
            ("mark", _, Some(mark)) => match self {
                Self::Twilio {
                    stream_sid,
                    sequence_number,
                    ..
                } => {
                    *sequence_number += 1;
                    let name = serde_json::Value::from(&*mark.name);
                    Heard::Answer(format!(
                        "{{\"event\":\"mark\",\"sequenceNumber\":\"{sequence_number}\",\
                         \"streamSid\":\"{stream_sid}\",\"mark\":{{\"name\":{name}}}}}"
                    ))
                }
                _ => Heard::Other,
            },
            _ => Heard::Other,
        }
    }

    /// Samples as RTP has them: L16 is big-endian there (RFC 3551 section 4.5.11).
    pub(super) fn rtp_samples(&self, codec: AudioCodec, samples: &mut [u8]) {
        if matches!(self, Self::Binary { .. }) {
            swap_bytes(codec, samples);
        }
    }
}

/// Little-endian to big-endian or back, where samples have two bytes.
fn swap_bytes(codec: AudioCodec, samples: &mut [u8]) {
    if codec == AudioCodec::L16 {
        for sample in samples.chunks_exact_mut(2) {
            sample.reverse();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn twilio() -> Wire {
        Wire::Twilio {
            stream_sid: "MZ1".to_owned(),
            call_sid: "CA1".to_owned(),
            account_sid: "AC1".to_owned(),
            sequence_number: 1,
        }
    }

    #[test]
    fn twilio_counts_every_message_and_every_chunk() {
        let mut wire = twilio();
        let first = wire.frame(0, AudioCodec::Pcmu, &[0xff, 0xfe]).to_string();
        assert_eq!(
            first,
            r#"{"event":"media","sequenceNumber":"2","streamSid":"MZ1","media":{"track":"inbound","chunk":"1","timestamp":"0","payload":"//4="}}"#
        );
        let mark = r#"{"event":"mark","streamSid":"MZ1","mark":{"name":"a \"b\""}}"#;
        let heard = wire.hear(AudioCodec::Pcmu, &Message::text(mark), &mut Vec::new());
        let echo =
            r#"{"event":"mark","sequenceNumber":"3","streamSid":"MZ1","mark":{"name":"a \"b\""}}"#;
        assert_eq!(heard, Heard::Answer(echo.to_owned()));
        let second = wire.frame(1, AudioCodec::Pcmu, &[]).to_string();
        assert!(
            second.contains(r#""sequenceNumber":"4""#)
                && second.contains(r#""chunk":"2","timestamp":"20""#)
        );
        let stop = wire.goodbye().unwrap_or_default();
        assert!(
            stop.contains(r#""event":"stop","sequenceNumber":"5""#),
            "{stop}"
        );
    }

    #[test]
    fn both_ends_understand_each_other_and_no_other_stream() {
        let (mut ours, mut bot) = (
            twilio(),
            Wire::TwilioBot {
                stream_sid: "MZ1".to_owned(),
            },
        );
        let mut audio = vec![7];
        let message = ours.frame(0, AudioCodec::Pcmu, &[1, 2, 3]);
        assert_eq!(
            bot.hear(AudioCodec::Pcmu, &message, &mut audio),
            Heard::Audio
        );
        let message = bot.frame(0, AudioCodec::Pcmu, &[4]);
        assert_eq!(
            ours.hear(AudioCodec::Pcmu, &message, &mut audio),
            Heard::Audio
        );
        assert_eq!(audio, [7, 1, 2, 3, 4]);
        for wrong in [
            r#"{"event":"media","streamSid":"MZ2","media":{"payload":"AQ=="}}"#,
            r#"{"event":"media","streamSid":"MZ1","media":{"payload":"AQ="}}"#,
            r#"{"event":"clear","streamSid":"MZ1"}"#,
            "{",
        ] {
            let heard = ours.hear(AudioCodec::Pcmu, &Message::text(wrong), &mut audio);
            assert_eq!(heard, Heard::Other, "{wrong}");
        }
        assert_eq!(audio.len(), 5);
    }

    #[test]
    fn binary_samples_are_little_endian_on_the_wire() {
        let mut wire = Wire::Binary {
            goodbye: "{}".to_owned(),
        };
        let message = wire.frame(0, AudioCodec::L16, &[1, 2, 3, 4]);
        assert_eq!(message, Message::binary(vec![2, 1, 4, 3]));
        let mut audio = Vec::new();
        assert_eq!(
            wire.hear(AudioCodec::L16, &message, &mut audio),
            Heard::Audio
        );
        wire.rtp_samples(AudioCodec::L16, &mut audio);
        assert_eq!(audio, [1, 2, 3, 4]);
        let text = Message::text("{\"type\":\"start\"}");
        assert_eq!(wire.hear(AudioCodec::L16, &text, &mut audio), Heard::Other);
    }
}
