//! Calls that come over a trunk: to an echo, to a recording, to a page.

use super::*;
use crate::call::Announcement;
use crate::call::q850::Q850Cause;
use crate::config::EchoCodec;
use crate::fault::Fault;
use crate::switch::mailbox::SessionEvent;

fn announcement(frames: u32) -> Arc<Announcement> {
    let samples = frames * 160;
    let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    file.extend(8_000_u32.to_le_bytes());
    file.extend([0, 0, 0, 0, 2, 0, 16, 0]);
    file.extend(b"data");
    file.extend((samples * 2).to_le_bytes());
    file.extend((0..samples).flat_map(|n| ((n as i16 % 40 - 20) * 200).to_le_bytes()));
    Arc::new(Announcement::from_wav(&file).unwrap())
}

fn heard(mailbox: &Mailbox) -> Vec<SessionEvent> {
    std::iter::from_fn(|| mailbox.take()).collect()
}

#[test]
fn an_echo_gives_back_what_it_is_sent() {
    let mut shard = Shard::new(64);
    let call_sid = shard.incoming(1, IncomingTarget::Echo(EchoCodec::Same));
    assert_eq!(
        shard.said(),
        [
            Said::Event(EventType::ChannelCreate),
            Said::Accept { early: false }
        ]
    );
    let media = shard.answered(StreamDirection::SendRecv);
    shard.progress(call_sid, TrunkProgress::Answered(media));
    assert_eq!(shard.said(), [Said::Event(EventType::ChannelAnswer)]);
    for sequence in 1..=3 {
        shard.far_says(call_sid, 0, sequence, &[sequence as u8; 160]);
    }
    let heard = shard.far_hears(3);
    let payloads: Vec<u8> = heard.iter().map(|(_, payload, _)| payload[0]).collect();
    assert_eq!(payloads, [1, 2, 3]);
    shard.progress(
        call_sid,
        TrunkProgress::HungUp {
            cause: Q850Cause::NORMAL,
            fault: None,
            text: "the far end hung up".to_owned(),
        },
    );
    let (said, record) = shard.said_to_the_end();
    assert_eq!(said.len(), 1, "its far end knows: {said:?}");
    assert_eq!((record.event.q850_cause, record.fault), (16, None));
    assert_eq!(record.event.packets_received, 3);
    let set_up = record.account.set_up;
    assert!(set_up.media_from_trunk_ms.is_some() && set_up.media_to_trunk_ms.is_some());
    assert!(set_up.answered_ms.is_some() && set_up.invite_sent_ms.is_none());
}

#[test]
fn a_recording_is_played_once_and_ends_the_call() {
    let mut shard = Shard::new(64);
    let call_sid = shard.incoming(1, IncomingTarget::Play(announcement(5)));
    assert_eq!(shard.said().last(), Some(&Said::Accept { early: false }));
    let media = shard.answered(StreamDirection::SendRecv);
    shard.progress(call_sid, TrunkProgress::Answered(media));
    let heard = shard.far_hears(5);
    assert!(
        heard
            .iter()
            .all(|(number, payload, _)| *number == 0 && payload.len() == 160)
    );
    assert!(
        heard
            .windows(2)
            .all(|pair| pair[1].2 == pair[0].2.wrapping_add(1))
    );
    let (said, record) = shard.said_to_the_end();
    assert_eq!(
        said,
        [
            Said::Event(EventType::ChannelAnswer),
            Said::HangUp(16),
            Said::End {
                cause: 16,
                answered: true
            }
        ]
    );
    assert_eq!(record.fault, None);
}

#[test]
fn a_recording_before_a_refusal_is_early_media() {
    let mut shard = Shard::new(64);
    let target = IncomingTarget::PlayThenReject {
        announcement: announcement(2),
        cause: Q850Cause::CALL_REJECTED,
    };
    let call_sid = shard.incoming(1, target);
    assert_eq!(shard.said().last(), Some(&Said::Accept { early: true }));
    let media = shard.answered(StreamDirection::SendRecv);
    shard.progress(call_sid, TrunkProgress::EarlyMedia(media));
    assert_eq!(shard.far_hears(2).len(), 2);
    let (said, _) = shard.said_to_the_end();
    let end = Said::End {
        cause: 21,
        answered: false,
    };
    assert_eq!(said, [Said::HangUp(21), end], "never answered");
}

#[test]
fn a_page_hears_that_it_is_called_and_accepts_when_its_media_is_there() {
    let mut shard = Shard::new(64);
    let (key, mailbox, address) = shard.page();
    let call_sid = shard.incoming(1, IncomingTarget::Session(address));
    assert_eq!(
        shard.said(),
        [Said::Event(EventType::ChannelCreate), Said::NotWaiting]
    );
    let events = heard(&mailbox);
    assert!(matches!(
        &events[..],
        [SessionEvent::Incoming { from, to, created }]
            if from == "+15550123" && to == "+15550100" && created.call_sid == call_sid
    ));
    shard.handle.accept(key, call_sid).unwrap();
    assert_eq!(shard.said(), [], "DTLS is not done");
    shard.connect(key, call_sid);
    assert_eq!(shard.said(), [Said::Accept { early: false }]);
    let media = shard.answered(StreamDirection::SendRecv);
    shard.progress(call_sid, TrunkProgress::Answered(media));
    assert_eq!(shard.said(), [Said::Event(EventType::ChannelAnswer)]);
    assert!(
        shard.handle.accept(key, call_sid).is_err(),
        "it is accepted"
    );
    shard.handle.hang_up(key).unwrap();
    let (said, record) = shard.said_to_the_end();
    assert_eq!(said[0], Said::HangUp(16));
    assert!(record.account.set_up.authenticated_ms.is_some());
    assert!(record.account.set_up.media_ms.is_some());
    let events = heard(&mailbox);
    assert!(matches!(
        &events[..],
        [
            SessionEvent::Event(_),
            SessionEvent::Event(_),
            SessionEvent::Ended { .. }
        ]
    ));
}

#[test]
fn a_page_that_rejects_or_goes_or_is_given_up_ends_the_call() {
    for (way, cause, hangs_up) in [
        ("reject", 17, true),
        ("close", 18, true),
        ("given up", 16, false),
    ] {
        let mut shard = Shard::new(64);
        let (key, mailbox, address) = shard.page();
        let call_sid = shard.incoming(1, IncomingTarget::Session(address));
        match way {
            "reject" => {
                let busy = Q850Cause::USER_BUSY;
                shard.handle.reject(key, call_sid, busy).unwrap();
            }
            "close" => shard.handle.close_session(key, SessionEnd::Closed),
            _ => shard.progress(
                call_sid,
                TrunkProgress::HungUp {
                    cause: Q850Cause::NORMAL,
                    fault: None,
                    text: "the caller gave up".to_owned(),
                },
            ),
        }
        let (said, record) = shard.said_to_the_end();
        assert_eq!(said.contains(&Said::HangUp(cause)), hangs_up, "{way}");
        assert_eq!(record.event.q850_cause, i32::from(cause), "{way}");
        assert_eq!(record.fault, hangs_up.then_some(Fault::Caller), "{way}");
        let last = heard(&mailbox).pop().unwrap();
        assert!(matches!(last, SessionEvent::Ended { .. }), "{way}");
        assert_eq!(shard.handle.0.borrow().trunk_ports.in_use(), 0);
    }
}

#[test]
fn a_page_that_is_gone_or_busy_can_not_be_called() {
    let mut shard = Shard::new(64);
    let (key, mailbox, address) = shard.page();
    shard.incoming(1, IncomingTarget::Session(address));
    shard.said();
    shard.incoming(2, IncomingTarget::Session(address));
    let busy = [
        Said::Event(EventType::ChannelCreate),
        Said::HangUp(17),
        Said::End {
            cause: 17,
            answered: false,
        },
    ];
    assert_eq!(shard.said(), busy);
    assert_eq!(heard(&mailbox).len(), 1, "it hears of the first call only");
    shard.handle.close_session(key, SessionEnd::Closed);
    shard.said();
    // The slot is used again, the address is not.
    shard.page();
    shard.incoming(3, IncomingTarget::Session(address));
    let gone = Said::End {
        cause: 18,
        answered: false,
    };
    assert_eq!(shard.said().last(), Some(&gone));
}

#[test]
fn a_page_that_dials_meanwhile_is_busy_and_hears_nothing_of_the_call() {
    let mut shard = Shard::new(64);
    let (key, mailbox, address) = shard.page();
    shard.incoming(1, IncomingTarget::Session(address));
    let request = DialRequest {
        to: "echo".to_owned(),
        trunk_id: Some("carrier".parse().unwrap()),
        call_from: String::new(),
        client_id: String::new(),
    };
    let prepared = shard.handle.0.borrow_mut().prepare_call(key, request);
    assert!(prepared.is_ok());
    let (said, _) = shard.said_to_the_end();
    assert!(said.contains(&Said::HangUp(17)), "{said:?}");
    assert_eq!(heard(&mailbox).len(), 1, "what was there before it dialled");
}

#[test]
fn a_full_ring_refuses_the_call_and_its_far_end_hears_it() {
    let mut shard = Shard::new(2);
    shard.incoming(1, IncomingTarget::Echo(EchoCodec::Pcmu));
    assert_eq!(shard.said(), [Said::HangUp(42), Said::Release]);
    assert_eq!(shard.handle.0.borrow().trunk_ports.in_use(), 0);
}
