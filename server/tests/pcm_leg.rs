//! A frame of a running leg of PCM allocates nothing, whichever way it goes, in order or not.
//!
//! A binary of its own because it replaces the global allocator.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../benches/packet_path/allocations.rs"]
mod allocations;

use std::time::{Duration, Instant};

use codecs::SampleRate;
use server::pcm::{
    Encoding, FRAME_BYTES_MAX, MAX_AHEAD_MS_DEFAULT, PcmConfig, PcmLeg, PcmStatistics,
};
use server::rtp::{MediaPacket, RtpTimestamp, SequenceNumber, Ssrc};

struct Line {
    leg: PcmLeg,
    encoding: Encoding,
    now: Instant,
    /// Packets that the bridge has sent.
    sent: u32,
}

impl Line {
    fn new(encoding: Encoding) -> Self {
        let config = PcmConfig {
            encoding,
            queue_ms_max: 1_000,
            max_ahead_ms: MAX_AHEAD_MS_DEFAULT,
            continuous: true,
            barge_in: Some(Duration::from_secs(60)),
            first_sequence_number: SequenceNumber(1),
            first_timestamp: RtpTimestamp(1),
        };
        let now = Instant::now();
        Self {
            leg: PcmLeg::new(config, now),
            encoding,
            now,
            sent: 0,
        }
    }

    /// Twenty seconds both ways; every 25th frame of the socket is late, every 25th packet of the bridge is lost, and
    /// they come in pairs the wrong way round.
    fn talk(&mut self) -> PcmStatistics {
        let frame_bytes = self.encoding.frame_bytes();
        let wire = [0x35; FRAME_BYTES_MAX];
        for n in 0..1_000_u32 {
            if n % 25 != 24 {
                self.leg.handle_audio(self.now, &wire[..frame_bytes]);
            }
            if n % 25 == 0 && n > 0 {
                self.leg.handle_audio(self.now, &wire[..frame_bytes]);
            }
            let number = self.sent ^ 1;
            self.sent += 1;
            if number % 25 != 7 {
                self.packet(number, &wire[..frame_bytes]);
            }
            self.poll();
        }
        self.leg.statistics()
    }

    fn packet(&mut self, number: u32, payload: &[u8]) {
        let frame_ticks = self.encoding.sample_rate().samples(20) as u32;
        let packet = MediaPacket {
            marker: false,
            payload_type: self.encoding.leg_format().sink.payload_type,
            sequence_number: SequenceNumber(number as u16),
            timestamp: RtpTimestamp(number * frame_ticks),
            ssrc: Ssrc(1),
            payload,
        };
        self.leg.handle_packet(self.now, &packet);
    }

    /// Time goes on by 20 ms.
    fn poll(&mut self) {
        let mut buffer = [0; FRAME_BYTES_MAX];
        for _ in 0..20 {
            self.now += Duration::from_millis(1);
            self.leg.handle_timeout(self.now);
            while self.leg.poll_packet(&mut buffer).is_some() {}
            while self.leg.poll_frame(&mut buffer).is_some() {}
            while self.leg.poll_event().is_some() {}
        }
    }
}

#[test]
fn a_frame_of_a_running_leg_allocates_nothing() {
    for encoding in [
        Encoding::Mulaw,
        Encoding::Linear16(SampleRate::Hz16000),
        Encoding::Linear16(SampleRate::Hz24000),
    ] {
        let mut line = Line::new(encoding);
        line.talk();
        let before = allocations::so_far();
        let warm = line.talk();
        assert_eq!(allocations::so_far() - before, 0, "{encoding:?}");
        assert!(warm.from_socket.frames > 1_800, "{warm:?}");
        assert!(warm.to_socket.frames > 1_800, "{warm:?}");
        assert!(warm.to_socket.concealed > 10, "{warm:?}");
    }
}
