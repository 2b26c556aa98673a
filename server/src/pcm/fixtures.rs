//! What tests of the dialects share: a leg, and a reader of what was written.

use std::time::Instant;

use serde_json::Value;

use super::{Ask, Encoding, FRAME_BYTES_MAX, MAX_AHEAD_MS_DEFAULT, PcmConfig, PcmLeg, PcmSource};
use crate::bridge::PAYLOAD_LEN_MAX;
use crate::rtp::{RtpTimestamp, SequenceNumber};
use crate::websocket::{Message, Reader, Role, Writer};

/// The bytes that a server writes, as messages.
pub(crate) struct Wire {
    pub out: Writer,
    reader: Reader,
}

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Written {
    Text(Value),
    Binary(Vec<u8>),
}

impl Wire {
    pub fn new() -> Self {
        Self {
            out: Writer::server(),
            reader: Reader::new(Role::Client, 1 << 20),
        }
    }

    /// What was written since the last time.
    pub fn take(&mut self) -> Vec<Written> {
        self.reader.buffer().append(&mut self.out.buffer);
        let mut all = Vec::new();
        while let Some(message) = self.reader.next().unwrap() {
            all.push(match message {
                Message::Text(text) => Written::Text(serde_json::from_str(text).unwrap()),
                Message::Binary(bytes) => Written::Binary(bytes.to_vec()),
                other => panic!("a dialect wrote {other:?}"),
            });
        }
        all
    }

    /// The same, where nothing but texts may be.
    pub fn texts(&mut self) -> Vec<Value> {
        let text = |written| match written {
            Written::Text(value) => value,
            Written::Binary(_) => panic!("a binary message"),
        };
        self.take().into_iter().map(text).collect()
    }
}

/// A leg that lets `queue_ms_max` of audio wait.
pub(crate) fn leg(now: Instant, encoding: Encoding, queue_ms_max: u32) -> PcmLeg {
    let config = PcmConfig {
        encoding,
        queue_ms_max,
        max_ahead_ms: MAX_AHEAD_MS_DEFAULT,
        continuous: true,
        source: PcmSource::RealTime,
        barge_in: None,
        first_sequence_number: SequenceNumber(1),
        first_timestamp: RtpTimestamp(0),
    };
    PcmLeg::new(config, now)
}

/// The audio that the leg gives the bridge until `end`, in mu-law or big-endian samples.
pub(crate) fn played(leg: &mut PcmLeg, end: Instant) -> Vec<u8> {
    let mut audio = Vec::new();
    let mut payload = [0; PAYLOAD_LEN_MAX];
    while let Some(due) = leg.poll_timeout().filter(|due| *due <= end) {
        leg.handle_timeout(due);
        while let Some(packet) = leg.poll_packet(&mut payload) {
            audio.extend_from_slice(packet.payload);
        }
        while leg.poll_frame(&mut [0; FRAME_BYTES_MAX]).is_some() {}
    }
    audio
}

/// All that a dialect asks for.
pub(crate) fn all_asks(poll: impl FnMut() -> Option<Ask>) -> Vec<Ask> {
    std::iter::from_fn(poll).collect()
}
