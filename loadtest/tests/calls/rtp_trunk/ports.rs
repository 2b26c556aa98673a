//! One port per call, RTCP on the next one or muxed, and all of them given back.

use super::*;
use loadtest::webrtc_client::CallError;

#[test]
fn each_call_has_a_port_of_its_own_and_gives_it_back() {
    let peer = peer(AudioCodec::Pcmu);
    let mut setup = TrunkSetup::new(peer.local_addr(), AudioCodec::Pcmu);
    setup.ports = free_port_pairs(2);
    let gateway = setup.start();

    let mut calls = vec![
        dial(&gateway, AudioCodec::Pcmu),
        dial(&gateway, AudioCodec::Opus),
    ];
    peer.wait_for_source(1, in_time()).unwrap();
    let mut ports: Vec<u16> = peer.sources().iter().map(SocketAddr::port).collect();
    ports.sort_unstable();
    assert_eq!(ports, [setup.ports.0, setup.ports.0 + 2]);
    assert_eq!(
        gateway.metrics().unwrap().sum("clutchcall_media_ports"),
        2.0
    );

    // There is no third pair.
    let refused = WebRtcCall::dial(&gateway.call_plan("acme").unwrap());
    let refused = refused.err().expect("a call without a port was answered");
    assert!(
        matches!(&refused, CallError::Refused { message, .. } if message == "no media ports"),
        "{refused}"
    );
    let failed = gateway
        .wait_for_events(in_time(), |events| {
            events
                .iter()
                .find(|event| event.event_type == EventType::ChannelHangupComplete)
                .cloned()
        })
        .unwrap();
    assert_eq!(failed.q850_cause, 34);
    let sid = failed.call_sid.as_str();
    assert_eq!(record(&gateway, sid)["end_reason"], "no media ports");
    assert_eq!(
        gateway.event_types(sid),
        [EventType::ChannelCreate, EventType::ChannelHangupComplete]
    );

    // A port that was given back serves the next call.
    calls.remove(0).hang_up().unwrap();
    calls.push(dial(&gateway, AudioCodec::Opus));
    assert_eq!(
        gateway.metrics().unwrap().sum("clutchcall_media_ports"),
        2.0
    );
    for call in calls {
        let report = call.hang_up().unwrap();
        assert_events(&gateway, &report, &WHOLE_CALL);
    }
    end(gateway);
}

#[test]
fn rtcp_goes_to_the_next_port() {
    let (source, rtcp) = where_rtcp_comes_from(false);
    assert_eq!(rtcp.port(), source.port() + 1);
}

#[test]
fn muxed_rtcp_goes_to_the_same_port() {
    let (source, rtcp) = where_rtcp_comes_from(true);
    assert_eq!(rtcp.port(), source.port());
}

/// The gateway's RTP and RTCP addresses, as a peer saw them; the far end hangs up at the end.
fn where_rtcp_comes_from(rtcp_mux: bool) -> (SocketAddr, SocketAddr) {
    let mut config = RtpPeerConfig::new(Ipv4Addr::LOCALHOST.into(), AudioCodec::Pcmu);
    config.rtcp_mux = rtcp_mux;
    let peer = RtpPeer::start(config).unwrap();
    let mut setup = TrunkSetup::new(peer.local_addr(), AudioCodec::Pcmu);
    setup.rtcp_mux = rtcp_mux;
    let gateway = setup.start();
    let call = dial(&gateway, AudioCodec::Opus);
    let source = peer.wait_for_source(0, in_time()).unwrap();
    let (alpha, bravo) = openings();
    talk(&call, &peer, source, (&alpha, &bravo), Bar::OpusClean);
    let in_call = peer.rtcp(source).unwrap();

    peer.hang_up(source).unwrap();
    let report = call.wait_for_end().unwrap();
    assert_events(&gateway, &report, &WHOLE_CALL);
    let record = record(&gateway, &report.call_sid);
    assert_eq!(record["event"]["q850_cause"], 16, "{record:#}");
    assert_eq!(record["end_reason"], "the far end hung up (RTCP BYE)");

    assert!(!in_call.sender_reports.is_empty(), "{in_call:?}");
    assert!(!in_call.report_blocks.is_empty(), "{in_call:?}");
    assert_eq!(in_call.canonical_names.len(), 1, "{in_call:?}");
    assert_eq!((in_call.malformed, in_call.goodbyes), (0, 0), "{in_call:?}");
    end(gateway);
    (source, in_call.remote.unwrap())
}
