//! How 20 ms of sound stand in WebSocket messages: Twilio Media Streams, from both ends, and bare binary samples as Vapi and
//! simple agents have them. Written here once more, so that a fault of the gateway's own dialects can't cancel itself out.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tungstenite::Message;

use super::twilio_wire::{BotStream, ToBot, ToTwilio, read_to_twilio};
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
    /// Media Streams as a bot sends and takes them, behind `start`.
    TwilioBot(BotStream),
    /// Binary messages of samples, mu-law or 16-bit little-endian.
    Binary {
        /// The text that ends a call from our side.
        goodbye: String,
        /// The `type` of the text that ends it from the other.
        their_goodbye: &'static str,
    },
}

/// What a message was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Sound, which was put behind what had come already.
    Audio,
    /// A message that is to be answered with this one at once.
    Answer(String),
    /// The far end has ended the call.
    Goodbye,
    /// Anything else that the dialect has.
    Other,
    /// What it does not have, and why.
    Wrong(String),
}

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
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
            Self::TwilioBot(stream) => Message::text(format!(
                "{{\"event\":\"media\",\"streamSid\":\"{}\",\"media\":{{\"payload\":\"{}\"}}}}",
                stream.stream_sid(),
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
            Self::TwilioBot(_) => None,
            Self::Binary { goodbye, .. } => Some(goodbye.clone()),
        }
    }

    /// The far end says goodbye before it closes. To Twilio nobody does: there is no message for it.
    pub(super) fn has_goodbye(&self) -> bool {
        !matches!(self, Self::Twilio { .. })
    }

    /// Takes a message; sound goes to the end of `audio`, as RTP has it.
    pub(super) fn hear(
        &mut self,
        codec: AudioCodec,
        message: &Message,
        audio: &mut Vec<u8>,
    ) -> Heard {
        match (self, message) {
            (_, Message::Ping(_) | Message::Pong(_)) => Heard::Other,
            (Self::Binary { .. }, Message::Binary(bytes)) => {
                audio.extend_from_slice(bytes);
                Heard::Audio
            }
            (Self::Binary { their_goodbye, .. }, Message::Text(text)) => {
                match serde_json::from_str::<Typed<'_>>(text.as_str()) {
                    Ok(message) if message.kind == *their_goodbye => Heard::Goodbye,
                    Ok(_) => Heard::Other,
                    Err(error) => Heard::Wrong(error.to_string()),
                }
            }
            (wire @ Self::Twilio { .. }, Message::Text(text)) => {
                wire.hear_as_twilio(text.as_str(), codec, audio)
            }
            (Self::TwilioBot(stream), Message::Text(text)) => match stream.read(text.as_str()) {
                Ok(ToBot::Media(payload)) => take_mulaw(&payload, codec, audio),
                Ok(ToBot::Other) => Heard::Other,
                Ok(ToBot::Stop) => Heard::Goodbye,
                Err(why) => Heard::Wrong(why),
            },
            _ => Heard::Wrong("a message that is no text".to_owned()),
        }
    }

    fn hear_as_twilio(&mut self, text: &str, codec: AudioCodec, audio: &mut Vec<u8>) -> Heard {
        let Self::Twilio {
            stream_sid,
            sequence_number,
            ..
        } = self
        else {
            return Heard::Other;
        };
        match read_to_twilio(text, stream_sid) {
            Ok(ToTwilio::Media(payload)) => take_mulaw(&payload, codec, audio),
            // What was queued before it is played when it comes: we play nothing.
            Ok(ToTwilio::Mark(name)) => {
                *sequence_number += 1;
                let name = serde_json::Value::from(&*name);
                Heard::Answer(format!(
                    "{{\"event\":\"mark\",\"sequenceNumber\":\"{sequence_number}\",\
                     \"streamSid\":\"{stream_sid}\",\"mark\":{{\"name\":{name}}}}}"
                ))
            }
            Ok(ToTwilio::Clear) => Heard::Other,
            Err(why) => Heard::Wrong(why),
        }
    }

    /// Samples as RTP has them: L16 is big-endian there (RFC 3551 section 4.5.11).
    pub(super) fn rtp_samples(&self, codec: AudioCodec, samples: &mut [u8]) {
        if matches!(self, Self::Binary { .. }) {
            swap_bytes(codec, samples);
        }
    }
}

fn take_mulaw(payload: &str, codec: AudioCodec, audio: &mut Vec<u8>) -> Heard {
    debug_assert!(codec == AudioCodec::Pcmu, "Media Streams are mu-law");
    let before = audio.len();
    match STANDARD.decode_vec(payload.as_bytes(), audio) {
        Ok(()) => Heard::Audio,
        Err(error) => {
            // What was decoded before the fault is not kept.
            audio.truncate(before);
            Heard::Wrong(error.to_string())
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
    fn twilio_understands_what_a_bot_may_say_and_nothing_else() {
        let mut ours = twilio();
        let mut audio = vec![7];
        let media = r#"{"event":"media","streamSid":"MZ1","media":{"payload":"BA=="}}"#;
        let mut hear = |text: &str| {
            let heard = ours.hear(AudioCodec::Pcmu, &Message::text(text), &mut audio);
            (heard, audio.len())
        };
        assert_eq!(hear(media), (Heard::Audio, 2));
        let clear = r#"{"event":"clear","streamSid":"MZ1"}"#;
        assert_eq!(hear(clear), (Heard::Other, 2));
        for wrong in [
            r#"{"event":"media","streamSid":"MZ2","media":{"payload":"AQ=="}}"#,
            r#"{"event":"media","streamSid":"MZ1","media":{"payload":"AQ="}}"#,
            r#"{"event":"bye","streamSid":"MZ1"}"#,
            "{",
        ] {
            let (heard, len) = hear(wrong);
            assert!(matches!(heard, Heard::Wrong(_)), "{wrong}: {heard:?}");
            assert_eq!(len, 2);
        }
        let binary = Message::binary(vec![0]);
        let heard = ours.hear(AudioCodec::Pcmu, &binary, &mut Vec::new());
        assert!(matches!(heard, Heard::Wrong(_)), "{heard:?}");
    }

    #[test]
    fn binary_samples_are_little_endian_on_the_wire() {
        let mut wire = Wire::Binary {
            goodbye: "{}".to_owned(),
            their_goodbye: "stop",
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
        for (text, expected) in [
            (r#"{"type":"start"}"#, Heard::Other),
            (r#"{"type":"stop","q850_cause":16}"#, Heard::Goodbye),
        ] {
            let heard = wire.hear(AudioCodec::L16, &Message::text(text), &mut audio);
            assert_eq!(heard, expected);
        }
        for wrong in ["stop", r#"{"kind":"stop"}"#, r#"{"type":1}"#] {
            let heard = wire.hear(AudioCodec::L16, &Message::text(wrong), &mut audio);
            assert!(matches!(heard, Heard::Wrong(_)), "{wrong}: {heard:?}");
        }
    }
}
