//! Two far ends call each other.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::Ipv4Addr;

use super::*;
use crate::judge::{Bar, Playback, Question, judge};
use crate::speech;

fn in_s(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

fn config() -> SipPeerConfig {
    SipPeerConfig::new(Ipv4Addr::LOCALHOST.into(), AudioCodec::Pcmu)
}

/// A caller, and who answers as `change` says.
fn pair(change: impl FnOnce(&mut SipPeerConfig)) -> (SipPeer, SipPeer) {
    let mut callee = config();
    change(&mut callee);
    let caller = SipPeer::start(config()).unwrap();
    (caller, SipPeer::start(callee).unwrap())
}

/// A call that was answered, as both see it.
fn answered(caller: &SipPeer, callee: &SipPeer, call: OutgoingCall) -> (CallId, CallId) {
    let number = callee.calls().iter().filter(|call| call.incoming).count();
    let ours = caller.call(call);
    let theirs = callee.wait_for_incoming(number, in_s(5)).unwrap();
    caller
        .wait_for_state(ours, CallState::Answered, in_s(5))
        .unwrap();
    callee
        .wait_for_state(theirs, CallState::Answered, in_s(5))
        .unwrap();
    (ours, theirs)
}

#[test]
fn a_call_by_either_transport_rings_speaks_and_ends() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let (caller, callee) = pair(|_| {});
        let outgoing = OutgoingCall {
            transport,
            ..OutgoingCall::new(&callee.uri())
        };
        let (ours, theirs) = answered(&caller, &callee, outgoing);
        assert_eq!(caller.view(ours).statuses, [180, 200]);
        let source = caller.view(ours).remote_rtp.unwrap();
        let heard = callee.view(theirs).remote_rtp.unwrap();
        caller.rtp().wait_for_source(0, in_s(5)).unwrap();
        callee.rtp().wait_for_source(0, in_s(5)).unwrap();
        let alpha = speech::alpha();
        caller.rtp().speak(source, &alpha, Playback::Once).unwrap();
        std::thread::sleep(Duration::from_millis(alpha.duration_ms() as u64 + 300));
        let recording = callee.rtp().recording(heard).unwrap();
        let verdict = judge(&alpha, &recording.audio, &Question::new(Bar::PcmuToRtp)).unwrap();
        assert!(verdict.pass, "{verdict}");
        caller.hang_up(ours);
        let ended = callee
            .wait_for_state(theirs, CallState::Ended, in_s(5))
            .unwrap();
        assert!(ended.ended_by_other);
        caller
            .wait_for(ours, "200 to BYE", in_s(5), |call| {
                (call.answers == [("BYE".to_owned(), 200)]).then_some(())
            })
            .unwrap();
        assert!(
            callee
                .messages(Some(theirs))
                .iter()
                .all(|logged| logged.remote.transport == transport)
        );
    }
}

#[test]
fn late_offers_early_media_and_reliable_responses() {
    let (caller, callee) = pair(|config| {
        config.script = vec![
            Action::Respond(Response::progress().reliably()),
            Action::Wait(Duration::from_millis(100)),
            Action::Respond(Response::ok()),
            Action::AwaitAck,
            Action::Send(Request::info_digit('5', 160)),
        ];
    });
    let (ours, theirs) = answered(&caller, &callee, OutgoingCall::new(&callee.uri()));
    assert_eq!(caller.view(ours).statuses, [183, 200]);
    callee
        .wait_for_message("PRACK", in_s(5), |message| message.is("PRACK"))
        .unwrap();
    let info = caller
        .wait_for_message("INFO", in_s(5), |message| message.is("INFO"))
        .unwrap();
    assert!(info.body.contains("Signal=5"));
    callee.hang_up(theirs);

    callee.set_script(answer_after(Duration::ZERO));
    let late = OutgoingCall {
        offer: None,
        ..OutgoingCall::new(&callee.uri())
    };
    let (ours, theirs) = answered(&caller, &callee, late);
    let ack = callee.wait_for_message("ACK with SDP", in_s(5), |message| {
        message.is("ACK") && !message.body.is_empty()
    });
    assert!(RemoteSdp::parse(&ack.unwrap().body).is_some());
    assert_eq!(
        caller.view(ours).remote_rtp,
        Some(callee.rtp().local_addr())
    );
    assert_eq!(
        callee.view(theirs).remote_rtp,
        Some(caller.rtp().local_addr())
    );
}

#[test]
fn hold_resume_and_transfer() {
    let (caller, callee) = pair(|_| {});
    let (ours, theirs) = answered(&caller, &callee, OutgoingCall::new(&callee.uri()));
    let holds = [
        (
            SdpChange::direction(Direction::SendOnly),
            Direction::RecvOnly,
        ),
        (
            SdpChange::direction(Direction::Inactive),
            Direction::Inactive,
        ),
        (
            SdpChange {
                zero_address: true,
                ..SdpChange::default()
            },
            Direction::SendRecv,
        ),
        (SdpChange::default(), Direction::SendRecv),
    ];
    for (number, (change, answer)) in holds.into_iter().enumerate() {
        caller.send(ours, Request::reinvite(Some(change)));
        caller
            .wait_for(ours, "re-INVITE", in_s(5), |call| {
                (call.answers.len() > number).then_some(())
            })
            .unwrap();
        let held = callee.view(theirs);
        assert_eq!(held.direction, answer, "{change:?}");
        assert_eq!(
            held.remote_sdp.unwrap().rtp.ip().is_unspecified(),
            change.zero_address
        );
    }
    // A late offer in the middle, and an UPDATE.
    callee.send(theirs, Request::reinvite(None));
    callee.send(theirs, Request::update(Some(SdpChange::default())));
    callee
        .wait_for(theirs, "both", in_s(5), |call| {
            (call.answers.len() == 2).then_some(())
        })
        .unwrap();
    callee.send(theirs, Request::refer("sip:elsewhere@127.0.0.1"));
    let told = |line: &'static str| {
        let wanted =
            move |message: &SipMessage| message.is("NOTIFY") && message.body.contains(line);
        callee.wait_for_message(line, in_s(5), wanted).unwrap()
    };
    told("100 Trying");
    assert!(
        told("200 OK")
            .header("Subscription-State")
            .unwrap()
            .starts_with("terminated")
    );
}

#[test]
fn cancel_refusal_forks_and_silence() {
    let (caller, callee) =
        pair(|config| config.script = vec![Action::Respond(Response::ringing())]);
    let ours = caller.call(OutgoingCall::new(&callee.uri()));
    let theirs = callee.wait_for_incoming(0, in_s(5)).unwrap();
    caller
        .wait_for_state(ours, CallState::Ringing, in_s(5))
        .unwrap();
    caller.send(ours, Request::cancel().with("Reason", "Q.850;cause=16"));
    let cancelled = caller
        .wait_for_state(ours, CallState::Ended, in_s(5))
        .unwrap();
    assert_eq!(cancelled.statuses, [180, 487]);
    assert!(callee.view(theirs).ended_by_other);

    callee.set_script(refuse(486, "Busy Here"));
    let ours = caller.call(OutgoingCall::new(&callee.uri()));
    assert_eq!(
        caller
            .wait_for_state(ours, CallState::Ended, in_s(5))
            .unwrap()
            .statuses,
        [486]
    );

    callee.set_script(vec![
        Action::Respond(Response::ringing()),
        Action::Respond(Response::ringing().of_fork(1)),
        Action::Respond(Response::ok().of_fork(1)),
    ]);
    let ours = caller.call(OutgoingCall::new(&callee.uri()));
    let forked = caller
        .wait_for_state(ours, CallState::Answered, in_s(5))
        .unwrap();
    assert_eq!(forked.statuses, [180, 180, 200]);
    caller.send(ours, Request::reinvite(Some(SdpChange::default())));
    let again = caller.wait_for(ours, "re-INVITE", in_s(5), |call| {
        call.answers.first().cloned()
    });
    assert_eq!(
        again.unwrap().1,
        200,
        "the branch that answered is the dialog"
    );

    let elsewhere = Response::new(302, "Moved").with("Contact", "<sip:elsewhere@127.0.0.1>");
    callee.set_script(vec![Action::Respond(elsewhere)]);
    caller.call(OutgoingCall::new(&callee.uri()));
    let moved = caller
        .wait_for_message("302", in_s(5), |message| message.status() == Some(302))
        .unwrap();
    assert_eq!(
        moved.all("Contact").collect::<Vec<_>>(),
        ["<sip:elsewhere@127.0.0.1>"]
    );
    let port = parameter(moved.header("Via").unwrap(), "rport")
        .unwrap()
        .to_owned();
    assert_eq!(port, caller.local_addr().port().to_string());

    callee.set_silent(true);
    caller.call(OutgoingCall::new(&callee.uri()));
    let sent = || {
        let messages = callee.messages(None);
        messages
            .iter()
            .filter(|logged| logged.received && logged.message.is("INVITE"))
            .count()
    };
    let before = sent();
    std::thread::sleep(Duration::from_millis(1200));
    assert!(sent() > before, "an INVITE is sent again");
}

#[test]
fn challenges_and_session_timers() {
    for algorithm in [DigestAlgorithm::Md5, DigestAlgorithm::Sha256] {
        let callee = SipPeer::start(SipPeerConfig {
            challenge: Some(Challenge {
                realm: "pbx".to_owned(),
                username: "acme".to_owned(),
                password: "secret".to_owned(),
                algorithm,
                nonce_uses_max: 5,
            }),
            session_timer: Some(SessionTimer {
                expires_s: 2,
                min_s: 1,
                refreshes: false,
                by_update: false,
            }),
            ..config()
        })
        .unwrap();
        let caller = |password: &str| {
            SipPeer::start(SipPeerConfig {
                credentials: Some(Credentials {
                    username: "acme".to_owned(),
                    password: password.to_owned(),
                }),
                session_timer: Some(SessionTimer {
                    expires_s: 2,
                    min_s: 1,
                    refreshes: true,
                    by_update: algorithm == DigestAlgorithm::Md5,
                }),
                ..config()
            })
            .unwrap()
        };
        let wrong = caller("wrong");
        let ours = wrong.call(OutgoingCall::new(&callee.uri()));
        assert_eq!(
            wrong
                .wait_for_state(ours, CallState::Ended, in_s(5))
                .unwrap()
                .statuses,
            [407]
        );
        let right = caller("secret");
        let (ours, theirs) = answered(&right, &callee, OutgoingCall::new(&callee.uri()));
        callee
            .wait_for(theirs, "two refreshes", in_s(6), |call| {
                (call.refreshes_received >= 2).then_some(())
            })
            .unwrap();
        assert!(right.view(ours).refreshes_sent >= 2);
    }
}

#[test]
fn five_hundred_calls_at_fifty_a_second() {
    const CALLS: usize = 500;
    let (caller, callee) = pair(|config| config.script = answer_after(Duration::from_millis(50)));
    let begin = Instant::now();
    let calls: Vec<CallId> = (0..CALLS)
        .map(|number| {
            let due = begin + Duration::from_millis(20) * number as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            caller.call(OutgoingCall::new(&callee.uri()))
        })
        .collect();
    for call in &calls {
        caller
            .wait_for_state(*call, CallState::Answered, in_s(10))
            .unwrap();
        caller.hang_up(*call);
    }
    for call in callee.calls() {
        callee
            .wait_for_state(call.id, CallState::Ended, in_s(10))
            .unwrap();
    }
    let invites = callee.messages(None);
    let invites = invites
        .iter()
        .filter(|logged| logged.received && logged.message.is("INVITE"));
    assert_eq!(invites.count(), CALLS, "nothing was sent twice");
}
