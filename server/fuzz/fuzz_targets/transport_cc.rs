//! Packets with arbitrary transport-wide numbers: the feedback is readable and tells nothing that did not arrive. And
//! arbitrary feedback of a peer: it tells as many packets as it counts.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use server::rtp::{
    RtcpPacket, SequenceNumber, Ssrc, TRANSPORT_CC_WINDOW, TRANSPORT_FEEDBACK_LEN_MAX,
    TransportFeedback, TransportFeedbackRecorder, rtcp_packets,
};
use server_fuzz::Script;

fuzz_target!(|input: &[u8]| {
    let mut recorder = TransportFeedbackRecorder::new(Ssrc(1));
    let mut arrived = HashSet::new();
    let mut last = 0_u16;
    for step in Script::new(input) {
        match (step.kind, step.bytes) {
            (0, gaps) => {
                for gap in gaps {
                    last = last.wrapping_add_signed(i16::from(*gap as i8));
                    arrived.insert(last);
                    recorder.handle_packet(step.now, Ssrc(2), SequenceNumber(last));
                }
            }
            (1, [high, low, ..]) => {
                last = u16::from_be_bytes([*high, *low]);
                arrived.insert(last);
                recorder.handle_packet(step.now, Ssrc(2), SequenceNumber(last));
            }
            (_, datagram) => {
                rtcp_packets(datagram)
                    .filter_map(|packet| feedback(packet.ok()?))
                    .for_each(check);
            }
        }
        let mut out = [0; TRANSPORT_FEEDBACK_LEN_MAX];
        for count in 0.. {
            let Some(len) = recorder.poll_feedback(step.now, &mut out) else {
                break;
            };
            assert!(count <= TRANSPORT_CC_WINDOW && len % 4 == 0);
            let packet = rtcp_packets(&out[..len]).next().and_then(Result::ok);
            let feedback = packet.and_then(feedback).expect("our own feedback");
            check(feedback);
            for packet in feedback.packets() {
                let number = packet.sequence_number.0;
                assert!(packet.arrival_ticks.is_none() || arrived.contains(&number));
            }
        }
        assert!(recorder.poll_timeout().is_none_or(|due| due > step.now));
    }
});

fn feedback(packet: RtcpPacket<'_>) -> Option<TransportFeedback<'_>> {
    match packet {
        RtcpPacket::TransportFeedback(feedback) => Some(feedback),
        _ => None,
    }
}

fn check(feedback: TransportFeedback<'_>) {
    assert_eq!(
        feedback.packets().count(),
        usize::from(feedback.packet_count)
    );
}
