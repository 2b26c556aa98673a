//! RTCP compounds, one per step, read alone and by a session; its own reports are always readable.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use server::rtp::{
    MediaPacket, NtpTime, PayloadType, RTCP_PACKETS_MAX, RTCP_REPORT_LEN_MAX, ReportBlock,
    RtcpPacket, RtcpSession, RtcpSessionConfig, RtcpWriter, RtpTimestamp, SequenceNumber, Ssrc,
    rtcp_packets,
};
use server_fuzz::Script;

const WALL: NtpTime = NtpTime(0xe000_0000_0000_0000);

fuzz_target!(|input: &[u8]| {
    let script = Script::new(input);
    let config = RtcpSessionConfig {
        ssrc: Ssrc(1),
        cname: "cname".to_owned(),
        clock_rate_hz: 8000,
        report_interval: Duration::from_secs(1),
        random_seed: 2,
    };
    let mut session = RtcpSession::new(config, script.now());
    for step in script {
        let now = step.now;
        match (step.kind, step.bytes) {
            (0, [s0, s1, t0, t1, t2, t3, source, payload @ ..]) => {
                let packet = MediaPacket {
                    marker: false,
                    payload_type: PayloadType(0),
                    sequence_number: SequenceNumber(u16::from_be_bytes([*s0, *s1])),
                    timestamp: RtpTimestamp(u32::from_be_bytes([*t0, *t1, *t2, *t3])),
                    ssrc: Ssrc(u32::from(*source)),
                    payload,
                };
                session.handle_rtp_received(now, &packet, 8000);
            }
            (1, payload) => {
                session.handle_rtp_sent(now, RtpTimestamp(payload.len() as u32), payload.len());
            }
            (_, datagram) => {
                read_again(datagram);
                let read = rtcp_packets(datagram).filter(Result::is_ok).count();
                if let Ok(received) = session.handle_rtcp(now, datagram) {
                    assert_eq!(received.packets, read);
                }
            }
        }
        let mut out = [0; RTCP_REPORT_LEN_MAX];
        if let Some(len) = session.poll_report(now, WALL, &mut out) {
            assert!(rtcp_packets(&out[..len]).all(|packet| packet.is_ok()));
            assert!(session.poll_timeout() > now);
        }
        let summary = session.summary();
        assert!(summary.jitter_ms.is_finite() && summary.jitter_ms >= 0.0);
        assert!((0.0..=1.0).contains(&summary.remote_loss_fraction));
    }
});

/// What can be read can be written and read again, unchanged.
fn read_again(datagram: &[u8]) {
    let mut count = 0;
    for packet in rtcp_packets(datagram) {
        count += 1;
        let mut out = [0; 1024];
        let mut writer = RtcpWriter::new(&mut out);
        match packet {
            Ok(RtcpPacket::SenderReport(report)) => {
                let blocks: Vec<ReportBlock> = report.reports.collect();
                writer
                    .sender_report(&report.sender, &blocks)
                    .expect("room for 31 blocks");
            }
            Ok(RtcpPacket::ReceiverReport(report)) => {
                let blocks: Vec<ReportBlock> = report.reports.collect();
                writer
                    .receiver_report(report.ssrc, &blocks)
                    .expect("room for 31 blocks");
            }
            Ok(RtcpPacket::SourceDescription(description)) => {
                assert!(description.canonical_names().count() <= 31);
                continue;
            }
            Ok(RtcpPacket::Goodbye(goodbye)) => {
                assert!(goodbye.sources().count() <= 31);
                continue;
            }
            Ok(RtcpPacket::TransportFeedback(feedback)) => {
                assert_eq!(
                    feedback.packets().count(),
                    usize::from(feedback.packet_count)
                );
                continue;
            }
            Ok(RtcpPacket::Other { .. }) | Err(_) => continue,
        }
        let len = writer.len();
        let again = rtcp_packets(&out[..len]).next();
        match (packet, again) {
            (Ok(RtcpPacket::SenderReport(before)), Some(Ok(RtcpPacket::SenderReport(after)))) => {
                assert_eq!(before.sender, after.sender);
                assert!(before.reports.eq(after.reports));
            }
            (
                Ok(RtcpPacket::ReceiverReport(before)),
                Some(Ok(RtcpPacket::ReceiverReport(after))),
            ) => {
                assert_eq!(before.ssrc, after.ssrc);
                assert!(before.reports.eq(after.reports));
            }
            _ => panic!("a report was read as something else"),
        }
    }
    assert!(count <= RTCP_PACKETS_MAX);
}
