#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends with a panic"
)]

use codecs::SampleRate;

use super::super::fixtures::{call, config, set_trunk, trunk};
use super::*;
use crate::bridge::Codec;
use crate::call::TrunkMedia;
use crate::config::{CodecName, EchoCodec, SipTrunkConfig};

fn dial(signalling: &mut Signalling, name: &str, local_rtp: Option<&str>) -> TrunkProgress {
    signalling.handle_dial(
        Instant::now(),
        &TrunkDial {
            call_sid: call(0, 1),
            trunk_id: trunk(name),
            to: "+15550100".to_owned(),
            from: "page".to_owned(),
            local_rtp: local_rtp.map(|address| address.parse().unwrap()),
        },
    );
    let (call_sid, progress) = signalling.poll_progress().unwrap();
    assert_eq!(call_sid, call(0, 1));
    assert!(signalling.poll_progress().is_none());
    progress
}

fn refusal(progress: TrunkProgress) -> Refusal {
    match progress {
        TrunkProgress::Failed(refusal) => refusal,
        other => panic!("a refusal was due, not {other:?}"),
    }
}

#[test]
fn an_echo_answers_at_once_with_its_codec() {
    let mut signalling = Signalling::new(Instant::now(), &config(), [0; 32]);
    let progress = dial(&mut signalling, "echo", None);
    assert!(matches!(
        progress,
        TrunkProgress::Answered(TrunkMedia::Echo(EchoCodec::Pcmu))
    ));
}

#[test]
fn a_fixed_peer_answers_at_once_in_the_trunks_first_codec() {
    let expected = [
        (CodecName::Pcmu, Codec::Pcmu, 0, 8_000),
        (CodecName::Pcma, Codec::Pcma, 8, 8_000),
        (CodecName::L16, Codec::L16(SampleRate::Hz16000), 97, 16_000),
        (CodecName::Opus, Codec::Opus, 111, 48_000),
    ];
    for (name, codec, payload_type, clock_rate_hz) in expected {
        let mut config = config();
        let desk_phone = config.trunks.get_mut(&trunk("desk-phone")).unwrap();
        Arc::make_mut(desk_phone).codec_preferences = vec![name, CodecName::Pcmu];
        let mut signalling = Signalling::new(Instant::now(), &config, [0; 32]);
        let progress = dial(&mut signalling, "desk-phone", Some("192.0.2.1:16384"));
        let TrunkProgress::Answered(TrunkMedia::Rtp(media)) = progress else {
            panic!("an answer was due, not {progress:?}");
        };
        assert_eq!(media.remote, "192.0.2.7:4000".parse().unwrap());
        assert_eq!(media.remote_rtcp, Some("192.0.2.7:4001".parse().unwrap()));
        assert_eq!(media.sends, media.receives);
        let format = media.sends;
        assert_eq!(
            (format.codec, format.payload_type.0, format.ptime_ms),
            (codec, payload_type, 20)
        );
        let telephone_event = format.telephone_event.unwrap();
        assert_eq!(telephone_event.payload_type.0, 101);
        assert_eq!(telephone_event.clock_rate_hz, clock_rate_hz);
    }
}

#[test]
fn what_can_not_be_dialled_fails_and_says_whose_fault_it_is() {
    let mut config = config();
    let sip = SipTrunkConfig::with_defaults("192.0.2.1".into());
    let kind = TrunkKind::Sip(Box::new(sip));
    set_trunk(&mut config, "acme", "carrier", 10, kind);
    let mut signalling = Signalling::new(Instant::now(), &config, [0; 32]);
    let unknown = refusal(dial(&mut signalling, "no-such", None));
    assert_eq!(
        (unknown.code, unknown.fault),
        (RefusalCode::NotFound, Fault::Config)
    );
    for with_port in ["desk-phone", "carrier"] {
        let portless = refusal(dial(&mut signalling, with_port, None));
        assert_eq!(
            (portless.code, portless.fault),
            (RefusalCode::Internal, Fault::Us)
        );
    }
}

#[test]
fn a_reload_brings_new_trunks() {
    let mut config = config();
    let mut signalling = Signalling::new(Instant::now(), &config, [0; 32]);
    set_trunk(
        &mut config,
        "acme",
        "second",
        1,
        TrunkKind::Echo(EchoCodec::Same),
    );
    signalling.reconfigure(Instant::now(), &config);
    let progress = dial(&mut signalling, "second", None);
    assert!(matches!(
        progress,
        TrunkProgress::Answered(TrunkMedia::Echo(EchoCodec::Same))
    ));
}
