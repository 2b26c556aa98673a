//! What both ends of a Media Stream do with a message of the other: whose it is, and its audio.

use std::time::Instant;

use super::messages::Message;
use super::payload;
use crate::pcm::{DialectState, PcmLeg, Violation, ViolationKind};

/// The message is of the stream with this name.
pub(super) fn check_stream(
    state: &DialectState,
    message: &Message<'_>,
    stream_sid: &str,
) -> Result<(), Violation> {
    match &message.stream_sid {
        Some(sid) if sid.0 == stream_sid => Ok(()),
        Some(_) => Err(wrong_stream(state)),
        None => Err(malformed(state, "the message has no streamSid")),
    }
}

/// Puts the audio of a media message into the leg, if there is one. Returns its length in bytes.
pub(super) fn take_media(
    state: &mut DialectState,
    now: Instant,
    payload: &str,
    mut leg: Option<&mut PcmLeg>,
) -> Result<usize, Violation> {
    match leg {
        Some(_) => state.statistics.media_received += 1,
        None => state.statistics.media_unused += 1,
    }
    let mut len = 0;
    let decoded = payload::decode(payload, |bytes| {
        len += bytes.len();
        if let Some(leg) = &mut leg {
            leg.handle_audio(now, bytes);
        }
    });
    match decoded {
        Ok(()) => Ok(len),
        Err(_) => {
            let reason = "media.payload is no base64";
            Err(state.violation(ViolationKind::WrongBase64, reason))
        }
    }
}

/// The member that messages of this event have.
pub(super) fn required<T>(
    state: &DialectState,
    member: Option<T>,
    name: &str,
) -> Result<T, Violation> {
    member.ok_or_else(|| malformed(state, format!("the message has no {name}")))
}

pub(super) fn malformed(state: &DialectState, reason: impl Into<String>) -> Violation {
    state.violation(ViolationKind::Malformed, reason)
}

pub(super) fn wrong_stream(state: &DialectState) -> Violation {
    state.violation(ViolationKind::WrongStream, "streamSid is another stream's")
}
