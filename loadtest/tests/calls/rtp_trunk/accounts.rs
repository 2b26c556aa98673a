//! What the record and `stats` say of a call is what happened: packets, losses, jitter, round trip, MOS.

use super::*;
use loadtest::signalling::ServerMessage;

/// One packet in twenty.
const LOSE_EVERY: u32 = 20;

#[test]
fn a_clean_call_is_accounted_for() {
    let peer = peer(AudioCodec::Pcmu);
    let gateway = TrunkSetup::new(peer.local_addr(), AudioCodec::Pcmu).start();
    let call = dial(&gateway, AudioCodec::Opus);
    let source = peer.wait_for_source(0, in_time()).unwrap();
    let (alpha, bravo) = (opening(speech::alpha(), 6), opening(speech::bravo(), 6));
    talk(&call, &peer, source, (&alpha, &bravo), Bar::OpusClean);
    let stats = call.signalling().received();
    let report = call.hang_up().unwrap();
    peer.wait_for_goodbye(source, in_time()).unwrap();

    let record = record(&gateway, &report.call_sid);
    println!("{record:#}");
    let legs = record["legs"].as_array().unwrap();
    assert_eq!(legs.len(), 2);
    assert_eq!((&legs[0]["leg"], &legs[1]["leg"]), (&0.into(), &1.into()));
    let codecs =
        [&legs[0]["codec"], &legs[1]["codec"]].map(|codec| codec.to_string().to_uppercase());
    assert_eq!(codecs, ["\"OPUS\"", "\"PCMU\""]);
    for leg in legs {
        let statistics = &leg["statistics"];
        assert_eq!(statistics["packets_lost"], 0, "{leg:#}");
        assert_eq!(statistics["remote_loss_fraction"], 0.0, "{leg:#}");
        let figure = |name: &str| statistics[name].as_f64().unwrap_or(f64::NAN);
        assert!(figure("packets_received") > 300.0, "{leg:#}");
        assert!(figure("packets_sent") > 300.0, "{leg:#}");
        assert!((0.0..20.0).contains(&figure("jitter_ms")), "{leg:#}");
        assert!(
            (0.0..100.0).contains(&figure("round_trip_time_ms")),
            "{leg:#}"
        );
        let mos = leg["mos_as_heard"].as_f64().unwrap();
        assert!((3.5..=4.5).contains(&mos), "{leg:#}");
    }
    // The trunk leg is what the event describes; the peer counted the same.
    let event = report.events.last().unwrap();
    let trunk = &legs[1]["statistics"];
    assert_eq!(trunk["packets_sent"], event.packets_sent);
    assert_eq!(trunk["packets_received"], event.packets_received);
    assert_eq!(trunk["bytes_sent"], event.bytes_sent);
    assert_eq!(event.codec, "PCMU");
    let at_peer = peer.recording(source).unwrap().statistics;
    assert_eq!(at_peer.lost, 0);
    assert_eq!(u64::from(event.packets_sent), at_peer.received);
    assert_eq!(event.bytes_sent, at_peer.received * 160);
    let mos_min = legs
        .iter()
        .filter_map(|leg| leg["mos_as_heard"].as_f64())
        .fold(f64::INFINITY, f64::min);
    assert!((event.estimated_mos - mos_min).abs() < 1e-9);

    // A message each 2 s while the call goes on, the figures only grow.
    let received_by_message: Vec<[u64; 2]> = stats
        .iter()
        .filter_map(|received| match &received.message {
            ServerMessage::Stats(stats) => {
                assert_eq!(stats["call_sid"], report.call_sid.as_str());
                Some(["caller", "far_end"].map(|leg| {
                    let leg = &stats[leg];
                    assert!(leg["mos"].as_f64().is_some_and(|mos| mos > 3.5), "{leg:#}");
                    leg["packets_received"].as_u64().unwrap()
                }))
            }
            _ => None,
        })
        .collect();
    println!("stats: {received_by_message:?}");
    assert!(received_by_message.len() >= 3);
    for pair in received_by_message.windows(2) {
        assert!(
            pair[0][0] < pair[1][0] && pair[0][1] < pair[1][1],
            "{pair:?}"
        );
    }
    assert_events(&gateway, &report, &WHOLE_CALL);
    end(gateway);
}

#[test]
fn lost_packets_are_counted_and_concealed() {
    let mut config = RtpPeerConfig::new(Ipv4Addr::LOCALHOST.into(), AudioCodec::Pcmu);
    config.lose_every = Some(LOSE_EVERY);
    let peer = RtpPeer::start(config).unwrap();
    let gateway = TrunkSetup::new(peer.local_addr(), AudioCodec::Pcmu).start();
    let call = dial(&gateway, AudioCodec::Opus);
    let source = peer.wait_for_source(0, in_time()).unwrap();
    talk(
        &call,
        &peer,
        source,
        (&speech::alpha(), &speech::bravo()),
        Bar::Loss5,
    );
    let report = call.hang_up().unwrap();

    let record = record(&gateway, &report.call_sid);
    let trunk = &record["legs"][1]["statistics"];
    let lost = trunk["packets_lost"].as_u64().unwrap();
    let sent = lost + trunk["packets_received"].as_u64().unwrap();
    println!("the trunk leg lost {lost} of {sent}; {record:#}");
    assert_eq!(lost, sent / u64::from(LOSE_EVERY), "of {sent}");
    assert_eq!(u64::from(report.events.last().unwrap().packets_lost), lost);
    let towards_browser = record["directions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|direction| direction["from"] == 1)
        .unwrap();
    let concealed = towards_browser["statistics"]["concealed"].as_u64().unwrap();
    // The last loss may still have been waited for at the hang-up.
    assert!(concealed + 1 >= lost, "{lost} lost, {concealed} concealed");
    // The browser's stream has no holes: losses are made good before it.
    let at_browser = report.recording.statistics;
    assert_eq!(at_browser.lost, 0, "{at_browser:?}");
    // Who hears the losses has the worse MOS.
    let mos = |leg: usize| record["legs"][leg]["mos_as_heard"].as_f64().unwrap();
    println!(
        "MOS at the browser {:.2}, at the peer {:.2}",
        mos(0),
        mos(1)
    );
    assert!(mos(0) < mos(1) - 0.1);
    assert_events(&gateway, &report, &WHOLE_CALL);
    end(gateway);
}
