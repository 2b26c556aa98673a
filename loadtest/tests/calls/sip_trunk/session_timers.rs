//! Session timers (RFC 4028) in real time, at the shortest interval there is: each side refreshes five times, or fails to.

use std::time::{Duration, Instant};

use super::*;
use loadtest::sip_peer::{Action, Request, Response, SdpChange, SessionTimer};

const INTERVAL_S: u32 = 90;
const REFRESHES: usize = 5;
/// A refresh is due at half of the interval.
const REFRESH_EVERY: Duration = Duration::from_secs(45);
/// The far end's death is told a third of the interval, at most 32 s, before its end.
const DEAD_AFTER: Duration = Duration::from_secs(60);
/// Clocks, threads, two cores.
const LATE_MAX: Duration = Duration::from_secs(2);

/// A gateway that asks for the shortest interval, and ends no call for want of media.
fn gateway(peer: &SipPeer) -> Gateway {
    let mut setup = SipSetup::new(peer, AudioCodec::Pcmu);
    setup.trunk_lines = format!("session_expires_s = {INTERVAL_S}\nno_media_timeout_s = 0\n");
    setup.start()
}

fn timer(refreshes: bool, by_update: bool) -> SessionTimer {
    SessionTimer {
        expires_s: INTERVAL_S,
        min_s: INTERVAL_S,
        refreshes,
        by_update,
    }
}

/// When requests with Session-Expires came to the far end (or went from it), the call's first INVITE included.
fn refreshed_at(peer: &SipPeer, at_peer: CallId, received: bool) -> Vec<Instant> {
    let mut seen = Vec::new();
    let mut at = Vec::new();
    for logged in peer.messages(Some(at_peer)) {
        let message = &logged.message;
        let is_refresh = message.method().is_some() && message.header("Session-Expires").is_some();
        // A request that is sent again is none.
        if is_refresh && logged.received == received && !seen.contains(&message.cseq().0) {
            seen.push(message.cseq().0);
            at.push(logged.at);
        }
    }
    at
}

fn assert_every_45_s(at: &[Instant]) {
    let gaps: Vec<Duration> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let in_time = |gap: &Duration| {
        (REFRESH_EVERY - Duration::from_millis(500)..REFRESH_EVERY + LATE_MAX).contains(gap)
    };
    assert!(gaps.iter().all(in_time), "{gaps:?}");
}

/// Waits for the fifth refresh; the call lives on, is heard, and ends as others do.
fn lives(gateway: Gateway, peer: &SipPeer, (call, at_peer): (WebRtcCall, CallId), ours: bool) {
    let deadline = Instant::now() + REFRESH_EVERY * REFRESHES as u32 + LATE_MAX * 5;
    peer.wait_for(at_peer, "five refreshes", deadline, |view| {
        let count = if ours {
            view.refreshes_received
        } else {
            view.refreshes_sent
        };
        (count as usize >= REFRESHES || view.state == CallState::Ended).then_some(())
    })
    .unwrap();
    // Whoever was not the refresher sent none.
    let view = peer.view(at_peer);
    let (refreshes, others) = if ours {
        (view.refreshes_received, view.refreshes_sent)
    } else {
        (view.refreshes_sent, view.refreshes_received)
    };
    assert_eq!((refreshes as usize, others), (REFRESHES, 0), "{view:?}");
    both_talk(&call, peer, at_peer, Bar::OpusClean);
    assert_eq!(peer.view(at_peer).state, CallState::Answered);
    let report = call.hang_up().unwrap();
    assert_events(&gateway, &report, &WHOLE_CALL);
    end(gateway);
}

/// Each takes minutes and hardly any CPU: together they take as long as one.
#[test]
fn sessions_live_by_refreshes_and_end_without() {
    let all: [fn(); 4] = [
        we_refresh_five_times_and_the_call_lives,
        || the_far_end_refreshes(false),
        || the_far_end_refreshes(true),
        a_far_end_that_stops_to_refresh_is_dead,
    ];
    std::thread::scope(|scope| {
        for one in all {
            scope.spawn(one);
        }
    });
}

fn we_refresh_five_times_and_the_call_lives() {
    let peer = far_end_with(AudioCodec::Pcmu, |config| {
        config.session_timer = Some(timer(false, false));
    });
    let gateway = gateway(&peer);
    let (call, at_peer) = dial(&gateway, &peer, AudioCodec::Opus);
    lives(gateway, &peer, (call, at_peer), true);
    let at = refreshed_at(&peer, at_peer, true);
    assert_eq!(at.len(), REFRESHES + 1, "the INVITE, and the refreshes");
    assert_every_45_s(&at);
}

fn the_far_end_refreshes(by_update: bool) {
    let peer = far_end_with(AudioCodec::Pcmu, |config| {
        config.session_timer = Some(timer(true, by_update));
    });
    let gateway = gateway(&peer);
    let (call, at_peer) = dial(&gateway, &peer, AudioCodec::Opus);
    lives(gateway, &peer, (call, at_peer), false);
    let at = refreshed_at(&peer, at_peer, false);
    assert_eq!(at.len(), REFRESHES);
    assert_every_45_s(&at);
    // Each was answered, and the answer leaves it to refresh again.
    let answers: Vec<String> = peer
        .messages(Some(at_peer))
        .iter()
        .filter(|logged| logged.received && logged.message.status() == Some(200))
        .filter_map(|logged| logged.message.header("Session-Expires").map(str::to_owned))
        .collect();
    assert_eq!(
        answers,
        vec![format!("{INTERVAL_S};refresher=uac"); REFRESHES]
    );
}

fn a_far_end_that_stops_to_refresh_is_dead() {
    // It promises to refresh, does it once when the test says so, and never again.
    let promise = format!("{INTERVAL_S};refresher=uas");
    let peer = far_end_with(AudioCodec::Pcmu, |config| {
        config.script = vec![Action::Respond(
            Response::ok()
                .with("Require", "timer")
                .with("Session-Expires", &promise),
        )];
    });
    let gateway = gateway(&peer);
    let (call, at_peer) = dial(&gateway, &peer, AudioCodec::Opus);
    std::thread::sleep(REFRESH_EVERY);
    let refresh = Request::reinvite(Some(SdpChange::default()))
        .with("Supported", "timer")
        .with("Session-Expires", &format!("{INTERVAL_S};refresher=uac"));
    peer.send(at_peer, refresh);
    let refreshed = Instant::now();
    let ended = peer
        .wait_for_state(at_peer, CallState::Ended, refreshed + DEAD_AFTER + LATE_MAX)
        .unwrap();
    let lived = ended.ended_at.unwrap() - refreshed;
    assert!(
        lived >= DEAD_AFTER - Duration::from_millis(500),
        "{lived:?} after the refresh"
    );
    assert!(ended.ended_by_other);
    assert!(
        ended
            .reason
            .as_deref()
            .is_some_and(|reason| reason.contains("cause=102")),
        "{ended:?}"
    );
    let report = call.wait_for_end().unwrap();
    assert_events(&gateway, &report, &WHOLE_CALL);
    let record = record(&gateway, &report.call_sid);
    assert_eq!(record["event"]["q850_cause"], 102);
    assert_eq!(record["fault"], "trunk");
    let reason = record["end_reason"].as_str().unwrap();
    assert!(reason.contains("Session-Expires"), "{reason}");
    end(gateway);
}
