//! A one-time token against repeated upgrades, and the one account whose streams are taken.

use super::*;
use loadtest::gateway::Gateway;
use loadtest::sip_peer::SipPeer;
use loadtest::stream_peer::{StreamEnd, TwilioIds};

/// The setup has the files of the secrets, which every new token reads the configuration with.
fn require_token() -> (SipPeer, StreamSetup, Gateway) {
    let carrier = far_end(AudioCodec::Pcmu);
    let mut setup = StreamSetup::new(&carrier);
    setup.twilio_lines = "require_token = true\n".to_owned();
    let gateway = setup.start();
    (carrier, setup, gateway)
}

fn refused_end(twilio: &Twilio) -> StreamEnd {
    let end = twilio.peer.wait_for_end(in_time()).unwrap();
    println!("{} {}", end.code, end.reason);
    assert!(!end.reason.is_empty(), "{end:?}");
    end
}

#[test]
fn a_token_is_good_for_one_call() {
    let (carrier, _setup, gateway) = require_token();
    let token = gateway.token("acme").unwrap();
    let first = Twilio::start(&gateway, &[("token", &token)]);
    let (call, _) = answered(&carrier, 0);

    // The upgrade can be repeated by who has seen it, the token can not.
    let replayed = Twilio::start(&gateway, &[("token", &token)]);
    let end_of_replay = refused_end(&replayed);
    assert!(
        matches!(end_of_replay.code, 4401 | 4406),
        "{end_of_replay:?}"
    );
    assert_eq!(carrier.calls().len(), 1);
    assert!(!end_of_replay.reason.contains(&token));
    assert!(first.peer.ended().is_none(), "the first call goes on");

    let another = Twilio::start(&gateway, &[("token", &gateway.token("acme").unwrap())]);
    let (second, _) = answered(&carrier, 1);
    for (twilio, call) in [(&first, call), (&another, second)] {
        twilio.peer.stop();
        carrier
            .wait_for_state(call, CallState::Ended, in_time())
            .unwrap();
    }
    assert!(!gateway.log().contains(&token), "the token is in the log");
    end(gateway);
}

#[test]
fn without_a_good_token_there_is_no_call() {
    let (carrier, _setup, gateway) = require_token();
    for parameters in [&[][..], &[("token", "eyJhbGciOiJub25lIn0.e30.")]] {
        let twilio = Twilio::start(&gateway, parameters);
        assert_eq!(refused_end(&twilio).code, 4401, "{parameters:?}");
    }
    assert_eq!(carrier.calls().len(), 0);
    end(gateway);
}

#[test]
fn another_account_is_refused() {
    let carrier = far_end(AudioCodec::Pcmu);
    let gateway = StreamSetup::new(&carrier).start();
    let twilio = Twilio::connect(&gateway);
    let other = TwilioIds {
        account_sid: "AC00000000000000000000000000000002".to_owned(),
        ..twilio.ids.clone()
    };
    twilio.peer.send(&TwilioIds::connected());
    twilio.peer.send(&other.start(&[]));
    let refused = refused_end(&twilio);
    assert_eq!(refused.code, 1008, "{refused:?}");
    assert_eq!(carrier.calls().len(), 0);
    end(gateway);
}
