//! The packet path allocates nothing once a stream is known: parse, protect, unprotect, count, report.
//!
//! A binary of its own because it replaces the global allocator. C code inside the crypto library is not counted.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use server::rtp::{
    NtpTime, PayloadType, RtcpSession, RtcpSessionConfig, RtpHeader, RtpPacket, RtpTimestamp,
    SequenceNumber, Ssrc, TRANSPORT_FEEDBACK_LEN_MAX, TransportFeedbackRecorder,
};
use server::srtp::{Profile, ReceiveContext, SendContext, SrtpKeys};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed on to the system's allocator unchanged; the counter is a thread-local without a
// destructor, so touching it neither allocates nor fails.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on; the pointer is the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_packet_of_a_known_stream_allocates_nothing() {
    for profile in [
        Profile::Aes128CmHmacSha1_80,
        Profile::Aes128CmHmacSha1_32,
        Profile::AeadAes128Gcm,
        Profile::AeadAes256Gcm,
    ] {
        let material = vec![7; profile.keying_material_len()];
        let keys = SrtpKeys::from_keying_material(profile, &material)
            .unwrap()
            .server_write;
        let mut send = SendContext::new(&keys).unwrap();
        let mut receive = ReceiveContext::new(&keys).unwrap();
        let start = Instant::now();
        let config = RtcpSessionConfig {
            ssrc: Ssrc(1),
            cname: "c".to_owned(),
            clock_rate_hz: 48_000,
            report_interval: Duration::from_secs(1),
            random_seed: 1,
        };
        let mut session = RtcpSession::new(config, start);
        let mut recorder = TransportFeedbackRecorder::new(Ssrc(1));
        let mut buffer = [0; 1500];
        let mut reports = 0;

        let mut one_packet = |i: u16| {
            let now = start + Duration::from_millis(20) * u32::from(i);
            let header = RtpHeader {
                marker: i == 0,
                payload_type: PayloadType(111),
                sequence_number: SequenceNumber(i),
                timestamp: RtpTimestamp(960 * u32::from(i)),
                ssrc: Ssrc(2),
            };
            let number = i.to_be_bytes();
            let header_len = header
                .write_with_extensions(&[(3, &number)], &mut buffer)
                .unwrap();
            let len = send.protect_rtp(&mut buffer, header_len + 80).unwrap();
            session.handle_rtp_sent(now, header.timestamp, 80);

            let len = receive.unprotect_rtp(&mut buffer[..len]).unwrap();
            let packet = RtpPacket::parse(&buffer[..len]).unwrap();
            assert_eq!(packet.extension(3), Some(&number[..]));
            session.handle_rtp_received(now, &packet.media(), 48_000);
            recorder.handle_packet(now, Ssrc(2), SequenceNumber(i));

            let mut feedback = [0; TRANSPORT_FEEDBACK_LEN_MAX + 20];
            if let Some(len) = recorder.poll_feedback(now, &mut feedback) {
                let len = send.protect_rtcp(&mut feedback, len).unwrap();
                receive.unprotect_rtcp(&mut feedback[..len]).unwrap();
                reports += 1;
            }
            if let Some(len) = session.poll_report(now, NtpTime(u64::from(i) << 32), &mut buffer) {
                let len = send.protect_rtcp(&mut buffer, len).unwrap();
                let len = receive.unprotect_rtcp(&mut buffer[..len]).unwrap();
                session.handle_rtcp(now, &buffer[..len]).unwrap();
                reports += 1;
            }
        };

        one_packet(0);
        let before = ALLOCATIONS.get();
        for i in 1..2000 {
            one_packet(i);
        }
        assert_eq!(ALLOCATIONS.get() - before, 0, "{profile:?}");
        assert!(
            reports > 300,
            "feedback and reports were on the way too: {reports}"
        );
    }
}
