//! Datagrams of the far end and of strangers on a trunk's two sockets: media comes only from where we also send to.
#![no_main]

use libfuzzer_sys::fuzz_target;
use server::call::RtpMedia;
use server::rtp::{NtpTime, RTCP_REPORT_LEN_MAX, StreamDirection, rtcp_packets};
use server::trunk::{RtpLeg, RtpLegConfig, TrunkReceived};
use server_fuzz::{Script, address, format};

const WALL: NtpTime = NtpTime(0xe000_0000_0000_0000);

fuzz_target!(|input: &[u8]| {
    let mut script = Script::new(input);
    let choice = script.choice();
    let format = format(choice);
    let mut rtcp = address(0);
    rtcp.set_port(rtcp.port() + 1);
    let media = RtpMedia {
        remote: address(0),
        remote_rtcp: (choice & 0x80 == 0).then_some(rtcp),
        sends: format,
        receives: format,
        direction: StreamDirection::SendRecv,
        srtp: None,
    };
    let config = RtpLegConfig {
        media,
        strays: None,
        allowed: Vec::new(),
        entropy: [5; RtpLegConfig::ENTROPY_LEN],
    };
    let mut leg = RtpLeg::new(config, script.now()).expect("no keys to refuse");
    for step in script {
        let now = step.now;
        let mut datagram = step.bytes.to_vec();
        let received = match step.kind {
            0 => leg
                .handle_rtcp_datagram(now, step.from, &mut datagram)
                .map(TrunkReceived::Control),
            _ => leg.handle_datagram(now, step.from, &mut datagram),
        };
        if let Ok(TrunkReceived::Media(media)) = received {
            assert_eq!(leg.remote(), step.from);
            assert_eq!(leg.last_media_at(), now);
            let events = format.telephone_event.map(|events| events.payload_type);
            let number = media.payload_type;
            assert!(number == format.payload_type || Some(number) == events);
        }
        let mut out = [0; RTCP_REPORT_LEN_MAX];
        if let Some((len, to)) = leg.poll_report(now, WALL, &mut out) {
            assert_eq!(to.ip(), leg.remote().ip());
            assert!(rtcp_packets(&out[..len]).all(|packet| packet.is_ok()));
            assert!(leg.poll_timeout().is_none_or(|due| due > now));
        }
        let statistics = leg.statistics();
        assert!(statistics.jitter_ms.is_finite() && statistics.jitter_ms >= 0.0);
    }
});
