//! The controller against a link in virtual time: what it sends passes a bottleneck, and the peer's own recorder writes the
//! feedback.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::rtp::{
    RtcpPacket, Ssrc, TRANSPORT_FEEDBACK_LEN_MAX, TransportFeedbackRecorder, rtcp_packets,
};

const STEP: Duration = Duration::from_millis(20);
/// Headers, extension and tag of one packet.
const OVERHEAD_LEN: usize = 36;
/// What the codec wants: Opus with FEC at 48 kHz.
const WANTED_BPS: f64 = 48_000.0;
const ONE_WAY: Duration = Duration::from_millis(30);

/// One direction of a path, and the sender at its one end.
struct Link {
    controller: CongestionController,
    recorder: TransportFeedbackRecorder,
    now: Instant,
    started: Instant,
    /// Bits per second of the bottleneck; none: as much as comes.
    cap_bps: Option<f64>,
    /// What waits at most before the bottleneck.
    queue_max: Duration,
    /// When the bottleneck is free again.
    busy_until: Instant,
    one_way: Duration,
    jitter_max: Duration,
    loss: f64,
    /// How much faster the peer's clock runs.
    drift: f64,
    dark: bool,
    feeds_back: bool,
    /// The codec wants a byte a packet.
    silent: bool,
    random: u64,
    arrivals: VecDeque<(Instant, SequenceNumber)>,
    feedback: VecDeque<(Instant, Vec<u8>)>,
    sent_bits: u64,
}

impl Link {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            controller: CongestionController::new(now),
            recorder: TransportFeedbackRecorder::new(Ssrc(1)),
            now,
            started: now,
            cap_bps: None,
            queue_max: Duration::from_millis(300),
            busy_until: now,
            one_way: ONE_WAY,
            jitter_max: Duration::ZERO,
            loss: 0.0,
            drift: 0.0,
            dark: false,
            feeds_back: true,
            silent: false,
            random: 1,
            arrivals: VecDeque::new(),
            feedback: VecDeque::new(),
            sent_bits: 0,
        }
    }

    fn dice(&mut self) -> f64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.random >> 33) as f64 / f64::from(1_u32 << 31)
    }

    /// As the peer's clock shows it.
    fn at_peer(&self, at: Instant) -> Instant {
        self.started + (at - self.started).mul_f64(1.0 + self.drift)
    }

    fn send(&mut self) {
        let budget_bps = f64::from(self.controller.target_bps()) - (OVERHEAD_LEN * 8 * 50) as f64;
        let audio_bps = budget_bps.clamp(8_000.0, WANTED_BPS);
        let audio_len = if self.silent {
            1
        } else {
            (audio_bps / 400.0) as usize
        };
        let len = OVERHEAD_LEN + audio_len;
        let number = self.controller.next_sequence_number();
        self.controller.handle_sent(self.now, len);
        self.sent_bits += 8 * len as u64;
        if self.dark || self.dice() < self.loss {
            return;
        }
        let mut leaves = self.now;
        if let Some(cap_bps) = self.cap_bps {
            leaves = leaves.max(self.busy_until);
            if leaves - self.now > self.queue_max {
                return;
            }
            leaves += Duration::from_secs_f64(8.0 * len as f64 / cap_bps);
            self.busy_until = leaves;
        }
        let jitter = self.jitter_max.mul_f64(self.dice());
        self.arrivals
            .push_back((leaves + self.one_way + jitter, number));
    }

    fn step(&mut self) {
        self.send();
        self.now += STEP;
        while let Some(&(at, number)) = self.arrivals.front().filter(|(at, _)| *at <= self.now) {
            self.arrivals.pop_front();
            self.recorder
                .handle_packet(self.at_peer(at), Ssrc(2), number);
        }
        let mut out = [0; TRANSPORT_FEEDBACK_LEN_MAX];
        let peer_now = self.at_peer(self.now);
        while let Some(len) = self.recorder.poll_feedback(peer_now, &mut out) {
            if self.feeds_back && !self.dark {
                self.feedback
                    .push_back((self.now + ONE_WAY, out[..len].to_vec()));
            }
        }
        while let Some((_, bytes)) = self.feedback.pop_front_if(|(at, _)| *at <= self.now) {
            let Some(Ok(RtcpPacket::TransportFeedback(feedback))) = rtcp_packets(&bytes).next()
            else {
                panic!("not a feedback");
            };
            self.controller.handle_feedback(self.now, &feedback);
        }
    }

    /// Goes on for so long; the rate that was sent, in bits per second.
    fn pass(&mut self, duration: Duration) -> f64 {
        let (bits, until) = (self.sent_bits, self.now + duration);
        while self.now < until {
            self.step();
        }
        (self.sent_bits - bits) as f64 / duration.as_secs_f64()
    }

    fn pass_s(&mut self, seconds: u64) -> f64 {
        self.pass(Duration::from_secs(seconds))
    }
}

/// What the codec wants, on the wire.
fn wanted_bps() -> f64 {
    WANTED_BPS + (OVERHEAD_LEN * 8 * 50) as f64
}

#[track_caller]
fn assert_unlimited(link: &mut Link, seconds: u64) {
    let sent_bps = link.pass_s(seconds);
    assert!((sent_bps - wanted_bps()).abs() < 500.0, "{sent_bps}");
}

#[test]
fn a_clean_path_takes_all() {
    let mut link = Link::new();
    assert_unlimited(&mut link, 60);
    assert_eq!(link.controller.loss_fraction(link.now), Some(0.0));
}

#[test]
fn a_cap_is_obeyed_within_3_s_and_left_again() {
    for cap_bps in [60_000.0, 40_000.0, 30_000.0] {
        let mut link = Link::new();
        link.pass_s(10);
        link.cap_bps = Some(cap_bps);
        link.pass_s(3);
        let at_cap = link.pass_s(5);
        assert!(at_cap < cap_bps, "{at_cap} of {cap_bps}");
        // It is used, too: what lies below is for the queue.
        let later = link.pass_s(30);
        assert!(
            (0.75 * cap_bps..1.02 * cap_bps).contains(&later),
            "{later} of {cap_bps}"
        );
        link.cap_bps = None;
        link.pass_s(20);
        assert_unlimited(&mut link, 5);
    }
}

#[test]
fn a_call_that_begins_under_a_cap_is_not_starved() {
    let mut link = Link::new();
    link.cap_bps = Some(60_000.0);
    link.pass_s(3);
    let sent_bps = link.pass_s(10);
    assert!((42_000.0..60_000.0).contains(&sent_bps), "{sent_bps}");
}

#[test]
fn a_policer_without_a_queue_is_obeyed_by_its_losses() {
    let mut link = Link::new();
    link.queue_max = Duration::from_millis(20);
    link.cap_bps = Some(40_000.0);
    link.pass_s(10);
    let sent_bps = link.pass_s(10);
    assert!(sent_bps < 40_000.0 * 1.15, "{sent_bps}");
}

#[test]
fn jitter_and_random_loss_are_no_congestion() {
    let mut link = Link::new();
    link.jitter_max = Duration::from_millis(60);
    assert_unlimited(&mut link, 60);
    link.loss = 0.05;
    assert_unlimited(&mut link, 60);
    let loss = link.controller.loss_fraction(link.now).unwrap();
    assert!((0.01..0.12).contains(&loss), "{loss}");
    link.loss = 0.0;
    link.pass_s(5);
    assert_eq!(link.controller.loss_fraction(link.now), Some(0.0));
}

#[test]
fn clocks_may_drift() {
    for drift in [300e-6, -300e-6] {
        let mut link = Link::new();
        link.drift = drift;
        assert_unlimited(&mut link, 600);
    }
}

#[test]
fn a_longer_path_is_no_queue_when_it_is_told() {
    let mut link = Link::new();
    link.pass_s(10);
    link.one_way += Duration::from_millis(200);
    link.controller.handle_path_change();
    assert_unlimited(&mut link, 20);
}

#[test]
fn a_longer_path_that_nobody_told_is_a_queue_for_10_s_at_most() {
    let mut link = Link::new();
    link.pass_s(10);
    link.one_way += Duration::from_millis(200);
    link.pass_s(40);
    assert_unlimited(&mut link, 5);
}

/// In a pause of the speaker others fill the path for a while: what passed then says nothing of what the voice may take.
#[test]
fn a_queue_during_silence_does_not_cost_the_voice_after_it() {
    let mut link = Link::new();
    link.pass_s(10);
    link.silent = true;
    link.pass_s(5);
    link.one_way += Duration::from_millis(200);
    link.pass_s(2);
    link.one_way -= Duration::from_millis(200);
    link.pass_s(3);
    link.silent = false;
    let sent_bps = link.pass_s(2);
    // Backed off once, by 0.85, and no more.
    assert!(sent_bps > 0.8 * wanted_bps(), "{sent_bps}");
}

/// And a path that became narrow meanwhile is obeyed by the voice that comes back.
#[test]
fn a_cap_that_came_in_silence_is_obeyed() {
    for cap_bps in [40_000.0, 25_000.0, 18_000.0] {
        let mut link = Link::new();
        link.pass_s(10);
        link.silent = true;
        link.pass_s(5);
        link.cap_bps = Some(cap_bps);
        link.pass_s(5);
        link.silent = false;
        link.pass_s(3);
        let sent_bps = link.pass_s(10);
        // The codec's own floor takes 22.4 kb/s.
        assert!(
            sent_bps < f64::max(1.02 * cap_bps, 22_500.0),
            "{sent_bps} of {cap_bps}"
        );
    }
}

#[test]
fn a_blackout_teaches_nothing_of_the_rate() {
    let mut link = Link::new();
    link.pass_s(10);
    link.dark = true;
    assert_unlimited(&mut link, 10);
    assert_eq!(link.controller.loss_fraction(link.now), None);
    link.dark = false;
    link.pass_s(15);
    assert_unlimited(&mut link, 5);
}

#[test]
fn without_feedback_the_reports_count() {
    let mut link = Link::new();
    link.feeds_back = false;
    for second in 0..60 {
        link.pass_s(1);
        let loss = if (10..20).contains(&second) {
            0.25
        } else {
            0.0
        };
        link.controller.handle_report(link.now, loss);
        match second {
            9 => assert_eq!(link.controller.target_bps(), TARGET_MAX_BPS),
            19 => assert!(link.controller.target_bps() < 40_000),
            _ => {}
        }
    }
    assert!(f64::from(link.controller.target_bps()) > 60_000.0);
}

#[test]
fn reports_are_ignored_beside_feedback() {
    let mut link = Link::new();
    link.pass_s(5);
    link.controller.handle_report(link.now, 0.5);
    assert_eq!(link.controller.target_bps(), TARGET_MAX_BPS);
}

/// A feedback of `arrived` packets from `base` on, all of them 1 ms apart.
fn feedback_of(count: u8, base: u16, arrived: u8) -> Vec<u8> {
    let mut packet = vec![0x8f, 205, 0, 0];
    packet.extend([0; 8]);
    packet.extend(base.to_be_bytes());
    packet.extend([0, arrived, 0, 0, 1, count, 0x20, arrived]);
    packet.extend(vec![4; arrived.into()]);
    packet.resize(packet.len().next_multiple_of(4), 0);
    packet[3] = (packet.len() / 4 - 1) as u8;
    packet
}

#[test]
fn what_lies_between_two_feedbacks_is_lost_unless_one_is_missing() {
    let start = Instant::now();
    let mut controller = CongestionController::new(start);
    for index in 0..40 {
        controller.handle_sent(start + STEP * index, 100);
    }
    let now = start + STEP * 40;
    // Number 5 is told by nobody; then the third feedback is missing, and nothing is known of 11 to 19.
    for (count, base) in [(0, 0), (1, 6), (3, 20)] {
        let bytes = feedback_of(count, base, 5);
        let Some(Ok(RtcpPacket::TransportFeedback(feedback))) = rtcp_packets(&bytes).next() else {
            panic!("not a feedback");
        };
        controller.handle_feedback(now, &feedback);
    }
    assert_eq!(controller.loss_fraction(now), Some(1.0 / 16.0));
}

proptest! {
    /// Whatever an authenticated peer may write: no panic, and a target within its limits.
    #[test]
    fn no_feedback_breaks_it(
        sent in 0_usize..400,
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 16..80), 1..20),
    ) {
        let started = Instant::now();
        let mut controller = CongestionController::new(started);
        for index in 0..sent {
            controller.handle_sent(started + STEP * index as u32, 100);
        }
        for (index, body) in bodies.iter().enumerate() {
            let mut packet = vec![0x8f, 205, 0, (body.len() / 4) as u8];
            packet.extend_from_slice(&body[..body.len() / 4 * 4]);
            let now = started + STEP * (sent + index) as u32;
            if let Some(Ok(RtcpPacket::TransportFeedback(feedback))) = rtcp_packets(&packet).next() {
                controller.handle_feedback(now, &feedback);
            }
            prop_assert!((TARGET_MIN_BPS..=TARGET_MAX_BPS).contains(&controller.target_bps()));
            if let Some(loss) = controller.loss_fraction(now) {
                prop_assert!((0.0..=1.0).contains(&loss));
            }
        }
    }
}
