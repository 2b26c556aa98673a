//! What a page does in a call: digits both ways, hold, mute, hang-up from either side, with the exact CallEvents.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap is a failed test"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use loadtest::audio::Audio;
use loadtest::gateway::{ECHO_TENANT, Gateway};
use loadtest::judge::{Bar, Playback, Question, Verdict, judge};
use loadtest::media::{AudioCodec, TelephoneEvent};
use loadtest::rtp_peer::{RtpPeer, RtpPeerConfig};
use loadtest::softphone_page::SoftphonePage;
use loadtest::speech;
use serde_json::json;
use server::call::EventType::{
    ChannelAnswer, ChannelCreate, ChannelHangupComplete, ChannelHold, ChannelResume,
};

use crate::chromium::{RECORDINGS_MAX, assert_events, gateway_with_page, open_page};

/// Normal call clearing.
const NORMAL: i32 = 16;
const WITHIN: Duration = Duration::from_secs(8);
/// The digits that the tests press.
pub(crate) const DIGITS: &str = "159#";
/// How long each is pressed.
const DIGIT_MS: u16 = 120;
/// How often the end of a digit is told (RFC 4733 section 2.5.1.4).
const END_PACKETS: usize = 3;

/// A page in a call with a far end that speaks [`speech::bravo`] on plain RTP.
pub(crate) struct Call {
    pub(crate) gateway: Gateway,
    pub(crate) page: SoftphonePage,
    pub(crate) far_end: RtpPeer,
    pub(crate) source: SocketAddr,
}

impl Call {
    fn start() -> Self {
        Self::start_by(|gateway| {
            let mut page = open_page(gateway, "");
            page.connect("acme", &gateway.token("acme").unwrap(), None)
                .unwrap();
            page.dial("far-end").unwrap();
            page
        })
    }

    /// A call to the trunk `far-end` that `dial` makes on a page that it opens.
    pub(crate) fn start_by(dial: impl FnOnce(&Gateway) -> SoftphonePage) -> Self {
        let far_end = RtpPeer::start(RtpPeerConfig {
            speech: Some((speech::bravo(), Playback::Looped)),
            ..RtpPeerConfig::new(Ipv4Addr::LOCALHOST.into(), AudioCodec::Pcmu)
        })
        .unwrap();
        let trunk = format!(
            "{ECHO_TENANT}\n[[trunks]]\ntrunk_id = \"far-end\"\ntenant_id = \"acme\"\nkind = \"rtp\"\n\
             remote = \"{}\"\ncodec_preferences = [\"PCMU\"]\nrtp_start_port = 30000\nrtp_end_port = 30999\n",
            far_end.local_addr()
        );
        let gateway = gateway_with_page("", &trunk);
        let page = dial(&gateway);
        let source = far_end.wait_for_source(0, Instant::now() + WITHIN).unwrap();
        Self {
            gateway,
            page,
            far_end,
            source,
        }
    }

    /// The digits that the far end got, after as many as were pressed have come to their ends.
    pub(crate) fn digits(&self, count: usize) -> Vec<TelephoneEvent> {
        let deadline = Instant::now() + WITHIN;
        loop {
            let events = self.far_end.wait_for_digits(self.source, count, deadline);
            let events = events.unwrap();
            // The last packet is sent three times.
            if events[count - 1].end_packets >= END_PACKETS || Instant::now() > deadline {
                return events;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What the far end heard in the next `duration`.
    pub(crate) fn far_end_hears(&self, duration: Duration) -> Audio {
        let begin = Instant::now();
        // Sound takes its time.
        std::thread::sleep(duration);
        let recording = self.far_end.recording(self.source).unwrap();
        let rate = f64::from(recording.audio.sample_rate_hz) / 1000.0;
        let first = (recording.at_ms(begin) * rate) as usize;
        Audio {
            sample_rate_hz: recording.audio.sample_rate_hz,
            samples: recording
                .audio
                .samples
                .get(first..)
                .unwrap_or_default()
                .to_vec(),
        }
    }

    /// The page hears the far end and the far end hears the page, in one of [`RECORDINGS_MAX`] recordings.
    pub(crate) fn assert_heard_both_ways(&mut self) {
        let verdicts = (0..RECORDINGS_MAX).map(|_| self.hear_both_ways());
        let passed = verdicts.into_iter().any(|[page, far_end]| {
            println!("the page hears: {page}");
            println!("the far end hears: {far_end}");
            page.pass && far_end.pass
        });
        assert!(passed, "see the verdicts above");
    }

    fn hear_both_ways(&mut self) -> [Verdict; 2] {
        let begin = Instant::now();
        let at_page = self.page.record(4).unwrap();
        let recording = self.far_end.recording(self.source).unwrap();
        let first = recording.at_ms(begin) * f64::from(recording.audio.sample_rate_hz) / 1000.0;
        let at_far_end = Audio {
            sample_rate_hz: recording.audio.sample_rate_hz,
            samples: recording.audio.samples[first as usize..].to_vec(),
        };
        let question = Question::new(Bar::Chromium).looped();
        [
            judge(&speech::bravo(), &at_page, &question).unwrap(),
            judge(&speech::alpha(), &at_far_end, &question).unwrap(),
        ]
    }

    pub(crate) fn finish(self) {
        drop(self.page);
        self.gateway.assert_drained();
        assert_eq!(self.gateway.stop().unwrap().code(), Some(0));
    }
}

#[track_caller]
pub(crate) fn assert_pressed(events: &[TelephoneEvent], digits: &str) {
    let pressed: String = events.iter().map(|event| event.digit).collect();
    assert_eq!(pressed, digits, "{events:#?}");
    let shortest = DIGIT_MS * 8;
    for event in events {
        assert_eq!(event.end_packets, END_PACKETS, "{event:?}");
        // Senders round up to whole packets; at 48 kHz it would be six times as much.
        assert!(
            (shortest..=shortest + 40 * 8).contains(&event.duration),
            "{event:?} is not {DIGIT_MS} ms at 8 kHz"
        );
    }
}

#[test]
fn digits_arrive_once_each_in_both_directions() {
    let mut call = Call::start();
    call.page
        .run(&format!("phone.press('{DIGITS}', {DIGIT_MS})"))
        .unwrap();
    assert_pressed(&call.digits(DIGITS.len()), DIGITS);
    call.page
        .run(&format!("phone.dtmf('*07', {DIGIT_MS})"))
        .unwrap();
    assert_pressed(&call.digits(DIGITS.len() + 3), &format!("{DIGITS}*07"));

    call.far_end
        .send_digits(call.source, "4680#", u32::from(DIGIT_MS), true)
        .unwrap();
    call.page.wait_for("phone.digits.length >= 5").unwrap();
    // A senders' habit: no marker bit on the first packet.
    call.far_end
        .send_digits(call.source, "A4", u32::from(DIGIT_MS), false)
        .unwrap();
    call.page.wait_for("phone.digits.length >= 7").unwrap();
    call.page.run("phone.hangUp()").unwrap();
    let all = [ChannelCreate, ChannelAnswer, ChannelHangupComplete];
    let end = assert_events(&call.gateway, &mut call.page, &all);
    assert_eq!(end.q850_cause, NORMAL);
    // Only now: a digit told twice would have come by the end of the call.
    let told = call.page.run("phone.digits").unwrap();
    assert_eq!(told, json!(["4", "6", "8", "0", "#", "A", "4"]));
    assert_pressed(&call.digits(DIGITS.len() + 3), &format!("{DIGITS}*07"));
    call.finish();
}

#[test]
fn hold_by_message_and_by_offer_are_told_once_each() {
    let mut call = Call::start();
    call.page.record(1).unwrap();
    for (hold, resume) in [
        ("phone.hold(true)", "phone.hold(false)"),
        ("phone.holdByOffer(true)", "phone.holdByOffer(false)"),
    ] {
        call.page.run(hold).unwrap();
        call.page.wait_for_state("on hold").unwrap();
        call.page.run(resume).unwrap();
        call.page.wait_for_state("in call").unwrap();
    }
    call.assert_heard_both_ways();
    call.page.run("phone.hangUp()").unwrap();
    call.far_end
        .wait_for_goodbye(call.source, Instant::now() + WITHIN)
        .unwrap();
    let all = [
        ChannelCreate,
        ChannelAnswer,
        ChannelHold,
        ChannelResume,
        ChannelHold,
        ChannelResume,
        ChannelHangupComplete,
    ];
    let end = assert_events(&call.gateway, &mut call.page, &all);
    assert_eq!(end.q850_cause, NORMAL);
    call.finish();
}

#[test]
fn mute_is_silence_and_no_event_and_the_far_end_hangs_up() {
    let mut call = Call::start();
    call.assert_heard_both_ways();
    call.page.run("phone.mute(true)").unwrap();
    // What was said before is still on its way.
    call.far_end_hears(Duration::from_millis(500));
    let muted = call.far_end_hears(Duration::from_millis(1_500));
    println!("muted: {:.1} dBov", muted.level_dbov());
    assert!(muted.duration_ms() > 1_000.0, "{} ms", muted.duration_ms());
    assert!(muted.level_dbov() < -65.0, "{:.1} dBov", muted.level_dbov());
    call.page.run("phone.mute(false)").unwrap();
    let heard = call.far_end_hears(Duration::from_millis(2_000));
    println!("heard: {:.1} dBov", heard.level_dbov());
    assert!(heard.level_dbov() > -45.0, "{:.1} dBov", heard.level_dbov());

    call.far_end.hang_up(call.source).unwrap();
    let all = [ChannelCreate, ChannelAnswer, ChannelHangupComplete];
    let end = assert_events(&call.gateway, &mut call.page, &all);
    assert_eq!(end.q850_cause, NORMAL);
    let bye =
        "phone.messages.filter((message) => message.type === 'bye').map((bye) => bye.q850_cause)";
    assert_eq!(call.page.run(bye).unwrap(), json!([NORMAL]));
    call.finish();
}
