//! No media: the call ends and names the leg; on hold nobody asks.

use super::*;

const NO_MEDIA_TIMEOUT_S: u32 = 2;

fn start() -> (Gateway, RtpPeer, WebRtcCall, SocketAddr) {
    let peer = peer(AudioCodec::Pcmu);
    let mut setup = TrunkSetup::new(peer.local_addr(), AudioCodec::Pcmu);
    setup.no_media_timeout_s = NO_MEDIA_TIMEOUT_S;
    let gateway = setup.start();
    let call = dial(&gateway, AudioCodec::Opus);
    let source = peer.wait_for_source(0, in_time()).unwrap();
    (gateway, peer, call, source)
}

#[test]
fn a_peer_that_falls_silent_ends_the_call() {
    let (gateway, peer, call, source) = start();
    // As long again as the limit, so that only the silence below ends the call.
    std::thread::sleep(Duration::from_millis(u64::from(NO_MEDIA_TIMEOUT_S) * 1500));
    assert!(call.signalling().ended().is_none());
    peer.set_sending(source, false).unwrap();
    let silent_since = Instant::now();
    let report = call.wait_for_end().unwrap();
    let ended_after = silent_since.elapsed().as_secs_f64();
    println!("ended {ended_after:.2} s after the last packet");
    let limit = f64::from(NO_MEDIA_TIMEOUT_S);
    assert!(
        (limit - 0.1..limit + 1.5).contains(&ended_after),
        "{ended_after} s"
    );
    assert_events(&gateway, &report, &WHOLE_CALL);
    let record = record(&gateway, &report.call_sid);
    assert_eq!(record["event"]["q850_cause"], 102, "{record:#}");
    assert_eq!(record["end_reason"], "no media from the trunk leg for 2 s");
    assert_eq!(record["fault"], "trunk");
    peer.wait_for_goodbye(source, in_time()).unwrap();
    end(gateway);
}

#[test]
fn on_hold_a_silent_peer_is_waited_for() {
    let (gateway, peer, call, source) = start();
    call.hold().unwrap();
    peer.set_sending(source, false).unwrap();
    let limit = Duration::from_secs(NO_MEDIA_TIMEOUT_S.into());
    std::thread::sleep(limit * 2);
    assert!(call.signalling().ended().is_none(), "ended on hold");
    call.unhold().unwrap();
    // The far end needs a moment too; its time counts from the resumption, not from its last packet.
    std::thread::sleep(limit.mul_f64(0.6));
    assert!(call.signalling().ended().is_none(), "ended on resumption");
    peer.set_sending(source, true).unwrap();
    let (alpha, bravo) = (opening(speech::alpha(), 3), opening(speech::bravo(), 3));
    talk(&call, &peer, source, (&alpha, &bravo), Bar::OpusClean);
    let report = call.hang_up().unwrap();
    let wanted = [
        EventType::ChannelCreate,
        EventType::ChannelAnswer,
        EventType::ChannelHold,
        EventType::ChannelResume,
        EventType::ChannelHangupComplete,
    ];
    assert_events(&gateway, &report, &wanted);
    end(gateway);
}
