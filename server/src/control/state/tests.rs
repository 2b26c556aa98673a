#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends with a panic"
)]

use futures_lite::future::block_on;

use super::super::desk::LiveState;
use super::super::events::{Next, Subscription};
use super::super::fixtures::{
    call, config, ended, event, open_call, state_of, tenant, told, trunk,
};
use super::super::outbound::DialFailure;
use super::super::signalling::Dialled;
use super::errands::ERRANDS_MAX;
use super::*;
use crate::call::dialled::{DialledPeer, VapiControl, VapiDialled};
use crate::call::rings::{AskId, TrunkDial, TrunkProgress, VendorDial, VendorDialTarget};
use crate::call::{CallStatus, EventType};
use crate::config::{Secret, TwilioConfig, TwilioRest};

const SHARD: ShardIndex = ShardIndex(0);

struct Told {
    state: ControlState,
    events: Subscription,
    now: Now,
}

impl Told {
    fn new() -> Self {
        let mut state = state_of(config(), 2);
        let events = state.events().subscribe(None).unwrap();
        let now = Now {
            instant: Instant::now(),
            unix: UnixMillis(1_010_500),
        };
        Self { state, events, now }
    }

    fn handle(&mut self, message: ToControl) {
        self.state.handle_message(self.now, SHARD, message);
    }

    fn begin_call(&mut self, call_sid: CallSid) {
        self.handle(ToControl::Ask(AskId(1), open_call(call_sid)));
        assert!(matches!(
            self.state.poll_message(),
            Some((SHARD, ToShard::Answer(AskId(1), Ok(()))))
        ));
        self.handle(told(call_sid, EventType::ChannelCreate));
    }

    /// Everything that was told, in order.
    fn told(mut self) -> Vec<CallEvent> {
        self.state.events().close();
        std::iter::from_fn(|| match block_on(self.events.next()) {
            Next::Event(delivery) => Some(serde_json::from_str(&delivery.json).unwrap()),
            Next::TooSlow | Next::Closed => None,
        })
        .collect()
    }

    fn types(self) -> Vec<EventType> {
        self.told().iter().map(|event| event.event_type).collect()
    }
}

#[test]
fn a_call_is_told_from_create_to_end_and_kept_as_a_record() {
    let mut told_state = Told::new();
    let call_sid = call(0, 1);
    told_state.begin_call(call_sid);
    for event_type in [
        EventType::ChannelAnswer,
        EventType::ChannelHold,
        EventType::ChannelResume,
    ] {
        told_state.handle(told(call_sid, event_type));
    }
    let live = told_state.state.desk().live_call(call_sid).unwrap();
    assert_eq!(
        (live.state, live.codec.as_str()),
        (LiveState::Answered, "opus")
    );
    told_state.handle(ended(call_sid));
    assert_eq!(told_state.state.desk().live_call_count(), 0);
    assert!(told_state.state.archive().record(call_sid).is_some());
    assert_eq!(told_state.state.events_missing(), 0);
    let expected = [
        EventType::ChannelCreate,
        EventType::ChannelAnswer,
        EventType::ChannelHold,
        EventType::ChannelResume,
        EventType::ChannelHangupComplete,
    ];
    assert_eq!(told_state.types(), expected);
}

#[test]
fn what_breaks_exactly_one_create_and_one_end_is_counted_and_not_told() {
    let mut told_state = Told::new();
    let call_sid = call(0, 1);
    told_state.handle(told(call_sid, EventType::ChannelAnswer));
    told_state.begin_call(call_sid);
    told_state.handle(told(call_sid, EventType::ChannelCreate));
    told_state.handle(ended(call_sid));
    told_state.handle(ended(call_sid));
    told_state.handle(told(call_sid, EventType::ChannelHold));
    assert_eq!(told_state.state.events_missing(), 4);
    let expected = [EventType::ChannelCreate, EventType::ChannelHangupComplete];
    assert_eq!(told_state.types(), expected);
}

#[test]
fn a_release_gives_the_slot_back_and_after_create_tells_the_end_too() {
    let mut told_state = Told::new();
    told_state.handle(ToControl::Ask(AskId(1), open_call(call(0, 1))));
    told_state.handle(ToControl::Release(call(0, 1)));
    told_state.handle(ToControl::Release(call(0, 1)));
    assert_eq!(told_state.state.desk().live_call_count(), 0);
    assert_eq!(told_state.state.events_missing(), 0);
    told_state.state.poll_message().unwrap();
    told_state.begin_call(call(0, 2));
    told_state.handle(ToControl::Release(call(0, 2)));
    assert_eq!(told_state.state.desk().live_call_count(), 0);
    assert_eq!(told_state.state.events_missing(), 1);
    let expected = [EventType::ChannelCreate, EventType::ChannelHangupComplete];
    assert_eq!(told_state.types(), expected);
}

#[test]
fn the_calls_of_a_dead_shard_end_with_cause_41_once() {
    let mut told_state = Told::new();
    let (answered, ringing, granted, elsewhere) = (call(0, 1), call(0, 2), call(0, 3), call(1, 4));
    for call_sid in [answered, ringing, elsewhere] {
        told_state.begin_call(call_sid);
    }
    told_state.handle(ToControl::Ask(AskId(1), open_call(granted)));
    told_state.handle(told(answered, EventType::ChannelAnswer));
    assert_eq!(
        told_state.state.handle_shard_death(told_state.now, SHARD),
        3
    );
    assert_eq!(
        told_state.state.handle_shard_death(told_state.now, SHARD),
        0
    );
    assert_eq!(told_state.state.desk().live_call_count(), 1);
    told_state.handle(ended(answered));
    let ends: Vec<CallEvent> = told_state
        .told()
        .into_iter()
        .filter(|event| event.event_type == EventType::ChannelHangupComplete)
        .collect();
    let summary: Vec<_> = ends
        .iter()
        .map(|end| {
            (
                end.call_sid,
                end.status,
                end.q850_cause,
                end.duration_seconds,
            )
        })
        .collect();
    assert_eq!(
        summary,
        [
            (answered, CallStatus::Completed, 41, 8),
            (ringing, CallStatus::Failed, 41, 0),
        ]
    );
    assert_eq!(ends[0].end_timestamp_ms, 1_010_500);
    assert_eq!(ends[0].client_id, "page-1");
    assert_eq!(
        ends[0].start_timestamp_ms,
        event(answered, EventType::ChannelCreate).start_timestamp_ms
    );
}

#[test]
fn an_operator_ends_a_call_once() {
    let mut told_state = Told::new();
    let call_sid = call(3, 1);
    told_state.begin_call(call_sid);
    let end = |state: &mut ControlState| state.end_call(call_sid, Q850Cause::NORMAL, Fault::Us);
    assert_eq!(end(&mut told_state.state), Ok(()));
    assert_eq!(end(&mut told_state.state), Ok(()));
    let message = told_state.state.poll_message();
    assert!(
        matches!(
            message,
            Some((ShardIndex(3), ToShard::EndCall { call_sid: ended, cause: Q850Cause::NORMAL, fault: Fault::Us }))
                if ended == call_sid
        ),
        "{message:?}"
    );
    assert!(told_state.state.poll_message().is_none());
    told_state.handle(ended(call_sid));
    assert_eq!(end(&mut told_state.state), Err(NoSuchCall(call_sid)));
}

#[test]
fn a_dialled_trunk_answers_to_the_calls_own_shard() {
    let mut told_state = Told::new();
    let dial = TrunkDial {
        call_sid: call(5, 1),
        trunk_id: trunk("echo"),
        to: String::new(),
        from: String::new(),
        local_rtp: None,
    };
    told_state.handle(ToControl::TrunkDial(Box::new(dial)));
    assert!(matches!(
        told_state.state.poll_message(),
        Some((ShardIndex(5), ToShard::Trunk(_, TrunkProgress::Answered(_))))
    ));
}

#[test]
fn an_assistant_is_dialled_until_its_call_is_over() {
    let mut told_state = Told::new();
    let call_sid = call(0, 1);
    let dial = |told_state: &mut Told| {
        told_state.handle(ToControl::VendorDial(Box::new(VendorDial {
            call_sid,
            tenant_id: tenant("acme"),
            to: VendorDialTarget::Vapi,
            from: String::new(),
            to_number: String::new(),
        })));
        match told_state.state.poll_dial_order() {
            Some(DialOrder::Dial(key, _)) => key,
            other => panic!("a dial was due, not {other:?}"),
        }
    };
    told_state.begin_call(call_sid);
    let key = dial(&mut told_state);
    let refusal = Refusal::new(crate::fault::RefusalCode::Timeout, Fault::Vendor, "slow");
    let failure = DialFailure {
        outcome: super::super::outbound::DialOutcome::Timeout,
        refusal: refusal.clone(),
    };
    let control_url = Secret::new("https://control");
    let peer = DialledPeer::Vapi(VapiDialled {
        tenant: Arc::clone(&told_state.state.config().tenants[&tenant("acme")]),
        control: VapiControl::Url(control_url.clone()),
    });
    let outcome = Err(failure);
    let dialled = Dialled { key, peer, outcome };
    told_state.state.handle_dialled(told_state.now, dialled);
    assert_eq!(told_state.state.errand_count(), 1);
    assert!(matches!(
        told_state.state.poll_errand(),
        Some(Errand::VapiHangUp { call_sid: of, control_url: url, .. }) if of == call_sid && url == control_url
    ));
    assert!(matches!(
        told_state.state.poll_message(),
        Some((SHARD, ToShard::VendorSocket(of, Err(told)))) if of == call_sid && told == refusal
    ));

    let key = dial(&mut told_state);
    told_state.handle(ended(call_sid));
    assert!(matches!(
        told_state.state.poll_dial_order(),
        Some(DialOrder::GiveUp(of)) if of == key
    ));
}

#[test]
fn a_shard_has_vapi_end_what_it_does_not_use() {
    let mut told_state = Told::new();
    let controls = [
        (VapiControl::NoCall, 0),
        (VapiControl::Unnamed, 0),
        (VapiControl::Url(Secret::new("https://control")), 1),
    ];
    for (control, errands) in controls {
        let tenant = Arc::clone(&told_state.state.config().tenants[&tenant("acme")]);
        let left = VapiDialled { tenant, control };
        told_state.handle(ToControl::VapiHangUp(call(0, 1), Box::new(left)));
        assert_eq!(told_state.state.errand_count(), errands);
    }
}

#[test]
fn twilio_is_told_of_a_hang_up_only_with_credentials() {
    let mut told_state = Told::new();
    let hang_up = || ToControl::TwilioHangUp {
        tenant_id: tenant("acme"),
        vendor_call: "CA1".to_owned(),
    };
    told_state.handle(hang_up());
    assert!(told_state.state.poll_errand().is_none());

    let mut config = config();
    let acme = config.tenants.get_mut(&tenant("acme")).unwrap();
    let rest = TwilioRest {
        api_url: TwilioConfig::API_URL.to_owned(),
        ca_file: None,
        api_key_sid: "SK1".to_owned(),
        api_key_secret: Secret::new("secret"),
    };
    Arc::make_mut(acme).twilio = Some(TwilioConfig {
        rest: Some(rest),
        ..TwilioConfig::with_defaults("AC1".to_owned(), None)
    });
    told_state.state = state_of(config, 1);
    told_state.handle(hang_up());
    assert!(matches!(
        told_state.state.poll_errand(),
        Some(Errand::TwilioHangUp { vendor_call, .. }) if vendor_call == "CA1"
    ));
    for _ in 0..=ERRANDS_MAX {
        told_state.handle(hang_up());
    }
    let waiting = std::iter::from_fn(|| told_state.state.poll_errand()).count();
    assert_eq!(waiting, ERRANDS_MAX);
}
