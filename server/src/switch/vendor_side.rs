//! The vendor side of a call on its shard: a page's session, or, of a call that came over a trunk, an echo or a recording.

use std::sync::Arc;
use std::time::{Duration, Instant};

use codecs::SampleRate;

use super::calls::HangUp;
use super::media_path::ECHO_SSRC;
use super::{SessionKey, Switch};
use crate::bridge::{Codec, StreamFormat};
use crate::call::Announcement;
use crate::config::EchoCodec;
use crate::rtp::{MediaPacket, PayloadType, RtpTimestamp, SequenceNumber};

/// What a recording is cut into, in ms.
const FRAME_MS: u32 = 20;
const FRAME_SAMPLES: usize = Announcement::RATE.samples(FRAME_MS);
const FRAME: Duration = Duration::from_millis(FRAME_MS as u64);
/// How long a call goes on after its recording: what the far end's jitter buffer still holds.
const TAIL: Duration = Duration::from_millis(200);
/// A player that is later than this does not catch up: the recording goes on where it stands.
const LATE_MAX: Duration = Duration::from_millis(200);
/// Dynamic, and ours alone: it never leaves the shard.
const L16_PAYLOAD_TYPE: PayloadType = PayloadType(97);

/// See the module's documentation.
pub(super) enum VendorSide {
    /// A page.
    Session(SessionKey),
    /// The far end hears itself.
    Echo(EchoCodec),
    /// The far end hears a recording.
    Player(Box<Player>),
}

impl VendorSide {
    pub fn session(&self) -> Option<SessionKey> {
        match self {
            Self::Session(key) => Some(*key),
            Self::Echo(_) | Self::Player(_) => None,
        }
    }

    /// When the player has something.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Player(player) => player.next_at,
            Self::Session(_) | Self::Echo(_) => None,
        }
    }
}

/// Plays a recording once, on a clock of 20 ms.
pub(super) struct Player {
    announcement: Arc<Announcement>,
    /// It is all that the far end gets: it is not answered.
    pub is_early: bool,
    /// How the call ends after it.
    pub then: HangUp,
    /// Frames that were played.
    played: usize,
    /// When the next frame is due; none before [`Player::start`].
    next_at: Option<Instant>,
}

/// What a player has now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Played<'a> {
    /// Nothing yet.
    NotYet,
    /// The next frame.
    Frame(MediaPacket<'a>),
    /// It was all played, and heard.
    Over,
}

impl Player {
    pub fn new(announcement: Arc<Announcement>, is_early: bool, then: HangUp) -> Self {
        Self {
            announcement,
            is_early,
            then,
            played: 0,
            next_at: None,
        }
    }

    /// What it plays, as a leg of the bridge.
    pub fn format() -> StreamFormat {
        StreamFormat {
            codec: Codec::L16(SampleRate::Hz16000),
            payload_type: L16_PAYLOAD_TYPE,
            ptime_ms: FRAME_MS as u8,
            telephone_event: None,
        }
    }

    /// Begins to play, if it has not.
    pub fn start(&mut self, now: Instant) {
        self.next_at.get_or_insert(now);
    }

    /// What is due at `now`. Ask again until there is nothing.
    pub fn poll(&mut self, now: Instant) -> Played<'_> {
        let Some(due) = self.next_at.filter(|due| *due <= now) else {
            return Played::NotYet;
        };
        let mut frames = self.announcement.l16().chunks(FRAME_SAMPLES * 2);
        let Some(payload) = frames.nth(self.played) else {
            return Played::Over;
        };
        let is_last = frames.next().is_none();
        let on_time = match now.saturating_duration_since(due) > LATE_MAX {
            true => now,
            false => due,
        };
        self.next_at = Some(on_time + FRAME + if is_last { TAIL } else { Duration::ZERO });
        let index = self.played;
        self.played += 1;
        Played::Frame(MediaPacket {
            marker: index == 0,
            payload_type: L16_PAYLOAD_TYPE,
            sequence_number: SequenceNumber(index as u16),
            timestamp: RtpTimestamp((index * FRAME_SAMPLES) as u32),
            ssrc: ECHO_SSRC,
            payload,
        })
    }
}

impl Switch {
    /// The session of a call's page, if it has one that lives.
    pub(super) fn session_of(&self, side: &VendorSide) -> Option<&super::sessions::Session> {
        self.sessions.get(side.session()?.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn player(samples: u32) -> Player {
        let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        file.extend(16_000_u32.to_le_bytes());
        file.extend([0, 0, 0, 0, 2, 0, 16, 0]);
        file.extend(b"data");
        file.extend((samples * 2).to_le_bytes());
        file.extend(vec![1; samples as usize * 2]);
        let announcement = Announcement::from_wav(&file).unwrap();
        Player::new(Arc::new(announcement), false, HangUp::caller("played"))
    }

    #[test]
    fn plays_once_on_its_clock_and_leaves_time_to_hear_the_end() {
        let start = Instant::now();
        let mut player = player(700);
        assert_eq!(player.poll(start), Played::NotYet, "not started");
        player.start(start);
        let mut lens = Vec::new();
        let mut over_at = None;
        for at_ms in 0..400 {
            let now = start + Duration::from_millis(at_ms);
            player.start(now);
            loop {
                match player.poll(now) {
                    Played::NotYet => break,
                    Played::Frame(packet) => {
                        lens.push((at_ms, packet.payload.len(), packet.timestamp.0));
                    }
                    Played::Over => {
                        over_at.get_or_insert(at_ms);
                        break;
                    }
                }
            }
        }
        assert_eq!(lens, [(0, 640, 0), (20, 640, 320), (40, 120, 640)]);
        assert_eq!(over_at, Some(260));
    }

    #[test]
    fn a_late_player_does_not_rush() {
        let start = Instant::now();
        let mut player = player(16_000);
        player.start(start);
        let late = start + Duration::from_secs(2);
        assert!(matches!(player.poll(late), Played::Frame(_)));
        assert_eq!(player.poll(late), Played::NotYet);
    }
}
