//! A leg of PCM that is talked to from both sides, on a clock of its own.

use std::time::{Duration, Instant};

use codecs::SampleRate;
use server::pcm::{
    Encoding, FRAME_BYTES_MAX, MAX_AHEAD_MS_DEFAULT, PcmConfig, PcmLeg, PcmSource, PcmStatistics,
};
use server::rtp::{MediaPacket, RtpTimestamp, SequenceNumber, Ssrc};

/// What is looked at.
pub const ENCODINGS: [Encoding; 3] = [
    Encoding::Mulaw,
    Encoding::Linear16(SampleRate::Hz16000),
    Encoding::Linear16(SampleRate::Hz24000),
];

pub struct Line {
    leg: PcmLeg,
    encoding: Encoding,
    now: Instant,
    /// A frame of noise.
    wire: Vec<u8>,
    /// Packets that the bridge has sent.
    sent: u32,
}

impl Line {
    pub fn new(encoding: Encoding) -> Self {
        let config = PcmConfig {
            encoding,
            queue_ms_max: 1_000,
            max_ahead_ms: MAX_AHEAD_MS_DEFAULT,
            continuous: true,
            // Listened for, and never found.
            source: PcmSource::RealTime,
            barge_in: Some(Duration::from_secs(3_600)),
            first_sequence_number: SequenceNumber(1),
            first_timestamp: RtpTimestamp(1),
        };
        let now = Instant::now();
        Self {
            leg: PcmLeg::new(config, now),
            encoding,
            now,
            wire: (0..encoding.frame_bytes())
                .map(|n| (n * 37 % 251) as u8)
                .collect(),
            sent: 0,
        }
    }

    /// 20 ms both ways, in order and in time.
    pub fn frame(&mut self) {
        self.leg.handle_audio(self.now, &self.wire);
        self.packet(self.sent);
        self.sent += 1;
        self.now += Duration::from_millis(20);
        self.poll();
    }

    /// Twenty seconds both ways; every 25th frame of the socket is late, every 25th packet of the bridge is lost, and
    /// they come in pairs the wrong way round.
    pub fn bad_talk(&mut self) -> PcmStatistics {
        for n in 0..1_000_u32 {
            if n % 25 != 24 {
                self.leg.handle_audio(self.now, &self.wire);
            }
            if n % 25 == 0 && n > 0 {
                self.leg.handle_audio(self.now, &self.wire);
            }
            let number = self.sent ^ 1;
            self.sent += 1;
            if number % 25 != 7 {
                self.packet(number);
            }
            for _ in 0..20 {
                self.now += Duration::from_millis(1);
                self.poll();
            }
        }
        self.leg.statistics()
    }

    pub fn statistics(&self) -> PcmStatistics {
        self.leg.statistics()
    }

    fn packet(&mut self, number: u32) {
        let frame_ticks = self.encoding.sample_rate().samples(20) as u32;
        let packet = MediaPacket {
            marker: false,
            payload_type: self.encoding.leg_format().sink.payload_type,
            sequence_number: SequenceNumber(number as u16),
            timestamp: RtpTimestamp(number.wrapping_mul(frame_ticks)),
            ssrc: Ssrc(1),
            payload: &self.wire,
        };
        self.leg.handle_packet(self.now, &packet);
    }

    fn poll(&mut self) {
        let mut buffer = [0; FRAME_BYTES_MAX];
        self.leg.handle_timeout(self.now);
        while self.leg.poll_packet(&mut buffer).is_some() {}
        while self.leg.poll_frame(&mut buffer).is_some() {}
        while self.leg.poll_event().is_some() {}
    }
}
