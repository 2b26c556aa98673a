#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends with a panic"
)]

use std::time::Duration;

use proptest::prelude::*;

use super::super::fixtures::{call, config, event, set_tenant, set_trunk, tenant, trunk};
use super::*;
use crate::config::{EchoCodec, TrunkKind};

fn limited(max_calls: u32, setups_per_s: u32, channel_limit: u32) -> Desk {
    let mut config = config();
    set_tenant(&mut config, "acme", max_calls, setups_per_s);
    let echo = TrunkKind::Echo(EchoCodec::Pcmu);
    set_trunk(&mut config, "acme", "echo", channel_limit, echo);
    Desk::new(&config)
}

fn open(desk: &mut Desk, now: Instant, call_sid: CallSid) -> Result<(), Refusal> {
    desk.open_call(now, call_sid, &tenant("acme"), &trunk("echo"))
}

fn refused(desk: &Desk, reason: DeskRefusal) -> u64 {
    desk.refusals()
        .find_map(|(found, count)| (found == reason).then_some(count))
        .unwrap()
}

#[test]
fn fifty_dials_for_five_slots_give_five_calls_and_every_slot_comes_back() {
    let now = Instant::now();
    let mut desk = limited(5, 1000, 50);
    for round in 0..3 {
        let dials: Vec<_> = (0..50)
            .map(|number| {
                (
                    call(number % 2, number),
                    open(&mut desk, now, call(number % 2, number)),
                )
            })
            .collect();
        let granted: Vec<CallSid> = dials
            .iter()
            .filter(|(_, answer)| answer.is_ok())
            .map(|(call_sid, _)| *call_sid)
            .collect();
        assert_eq!(granted.len(), 5);
        for refusal in dials.iter().filter_map(|(_, answer)| answer.as_ref().err()) {
            assert_eq!(refusal.code, RefusalCode::Limit);
            assert_eq!(refusal.cause, Q850Cause::NO_CIRCUIT);
            assert_eq!(refusal.message, "tenant acme has its 5 calls");
        }
        assert_eq!(refused(&desk, DeskRefusal::TenantCalls), 45 * (round + 1));
        assert_eq!(desk.live_call_count(), 5);
        for call_sid in granted {
            assert!(desk.close_call(call_sid).is_some());
            assert!(
                desk.close_call(call_sid).is_none(),
                "a slot comes back once"
            );
        }
    }
    assert_eq!(desk.live_call_count(), 0);
}

#[test]
fn a_trunks_channels_and_a_tenants_rate_are_limits_of_their_own() {
    let now = Instant::now();
    let mut desk = limited(100, 4, 3);
    for number in 0..3 {
        assert_eq!(open(&mut desk, now, call(0, number)), Ok(()));
    }
    let refusal = open(&mut desk, now, call(0, 3)).unwrap_err();
    assert_eq!(refusal.message, "trunk echo has its 3 channels");
    desk.close_call(call(0, 0));
    assert_eq!(
        open(&mut desk, now, call(0, 4)),
        Ok(()),
        "the refusal before did not use up the rate"
    );
    desk.close_call(call(0, 1));
    let refusal = open(&mut desk, now, call(0, 5)).unwrap_err();
    assert_eq!(refusal.message, "tenant acme may set up 4 calls per second");
    assert_eq!(
        (refusal.cause, refusal.fault),
        (Q850Cause::NO_CIRCUIT, Fault::Caller)
    );
    let later = now + Duration::from_millis(250);
    assert_eq!(open(&mut desk, later, call(0, 6)), Ok(()));
}

#[test]
fn a_call_that_an_agent_takes_counts_against_its_trunk_too() {
    let now = Instant::now();
    let mut config = config();
    let agent = TrunkKind::Echo(EchoCodec::Pcmu);
    set_trunk(&mut config, "acme", "agent", 2, agent);
    let mut desk = Desk::new(&config);
    for number in 0..3 {
        open(&mut desk, now, call(0, number)).unwrap();
    }
    let take = |desk: &mut Desk, number| {
        desk.take_agent_channel(call(0, number), &trunk("agent"))
            .map_err(|refusal| refusal.message)
    };
    assert_eq!(take(&mut desk, 0), Ok(()));
    assert_eq!(take(&mut desk, 1), Ok(()));
    let full = Err("trunk agent has its 2 channels".to_owned());
    assert_eq!(take(&mut desk, 2), full);
    desk.close_call(call(0, 0));
    assert_eq!(take(&mut desk, 2), Ok(()), "the channel came back");

    desk.set_health(trunk("agent"), TrunkHealth::BreakerOpen);
    desk.close_call(call(0, 1));
    open(&mut desk, now, call(0, 3)).unwrap();
    assert!(take(&mut desk, 3).is_err());
    assert_eq!(refused(&desk, DeskRefusal::TrunkBreaker), 1);
}

#[test]
fn anothers_trunk_is_answered_like_one_that_does_not_exist() {
    let mut desk = Desk::new(&config());
    let mut dial = |name: &str| {
        desk.open_call(Instant::now(), call(0, 1), &tenant("acme"), &trunk(name))
            .unwrap_err()
    };
    let anothers = dial("other-echo");
    let missing = dial("no-such");
    assert_eq!(anothers.code, RefusalCode::NotFound);
    assert_eq!(anothers.message, "tenant acme has no trunk other-echo");
    assert_eq!(missing.message, "tenant acme has no trunk no-such");
    assert_eq!(refused(&desk, DeskRefusal::TrunkUnknown), 2);
    assert_eq!(desk.live_call_count(), 0);
}

#[test]
fn a_draining_desk_refuses_calls_with_cause_41() {
    let mut desk = Desk::new(&config());
    desk.begin_drain();
    let refusal = open(&mut desk, Instant::now(), call(0, 1)).unwrap_err();
    assert_eq!(
        (refusal.code, refusal.cause),
        (RefusalCode::Draining, Q850Cause::TEMPORARY_FAILURE)
    );
}

#[test]
fn tokens_are_answered_with_their_codes() {
    let mut desk = Desk::new(&config());
    let mut use_token =
        |now, tenant_id: &str| desk.use_token(now, &tenant(tenant_id), "iss/jti", 1300);
    assert_eq!(use_token(1000, "acme"), Ok(()));
    assert_eq!(
        use_token(1000, "acme").unwrap_err().code,
        RefusalCode::Replayed
    );
    assert_eq!(
        use_token(1400, "acme").unwrap_err().code,
        RefusalCode::TokenExpired
    );
    desk.tokens = UsedTokens::with_limit(0);
    let full = desk
        .use_token(1000, &tenant("acme"), "next", 1300)
        .unwrap_err();
    assert_eq!((full.code, full.fault), (RefusalCode::Limit, Fault::Us));
    assert_eq!(full.message, "token store is full");
    for reason in [
        DeskRefusal::TokenReplayed,
        DeskRefusal::TokenExpired,
        DeskRefusal::TokenStoreFull,
    ] {
        assert_eq!(refused(&desk, reason), 1, "{reason:?}");
    }
}

#[test]
fn a_refused_call_is_mirrored_from_create_to_end_and_holds_no_slot() {
    let now = Instant::now();
    let mut desk = limited(1, 1000, 50);
    open(&mut desk, now, call(0, 1)).unwrap();
    assert!(open(&mut desk, now, call(0, 2)).is_err());
    desk.handle_event(&event(call(0, 2), EventType::ChannelCreate))
        .unwrap();
    assert_eq!(desk.live_call_count(), 2);
    assert!(desk.close_call(call(0, 2)).is_some());
    assert!(
        open(&mut desk, now, call(0, 3)).is_err(),
        "the slot of call 1 is still taken"
    );
    desk.close_call(call(0, 1));
    assert_eq!(open(&mut desk, now, call(0, 3)), Ok(()));
}

#[test]
fn a_dead_shard_gives_its_slots_back_and_no_others() {
    let now = Instant::now();
    let mut desk = limited(4, 1000, 4);
    for number in 0..4 {
        open(&mut desk, now, call(number % 2, number)).unwrap();
    }
    let lost = desk.shard_died(ShardIndex(1));
    assert_eq!(lost.len(), 2);
    assert!(
        lost.iter()
            .all(|call| call.shard == 1 && !call.was_created())
    );
    assert_eq!(desk.live_call_count(), 2);
    assert_eq!(open(&mut desk, now, call(0, 8)), Ok(()));
    assert_eq!(open(&mut desk, now, call(0, 9)), Ok(()));
    assert!(open(&mut desk, now, call(0, 10)).is_err());
}

#[test]
fn a_reload_counts_the_calls_of_before_against_the_new_limits() {
    let now = Instant::now();
    let mut desk = limited(3, 1000, 50);
    for number in 0..3 {
        open(&mut desk, now, call(0, number)).unwrap();
    }
    let mut smaller = config();
    set_tenant(&mut smaller, "acme", 2, 1000);
    desk.reconfigure(&smaller);
    desk.close_call(call(0, 0));
    assert!(open(&mut desk, now, call(0, 5)).is_err());
    desk.close_call(call(0, 1));
    assert_eq!(open(&mut desk, now, call(0, 5)), Ok(()));
    let mut without = config();
    without.tenants.clear();
    desk.reconfigure(&without);
    let refusal = open(&mut desk, now, call(0, 6)).unwrap_err();
    assert_eq!(refusal.message, "there is no tenant acme");
    desk.close_call(call(0, 2));
    desk.close_call(call(0, 5));
    assert_eq!(desk.live_call_count(), 0);
}

proptest! {
    /// Whatever shards ask, tell and lose, no more calls hold slots than the limit, and all slots come back.
    #[test]
    fn slots_are_conserved(operations in prop::collection::vec((0u8..5, 0u16..12), 0..200)) {
        let now = Instant::now();
        let mut desk = limited(4, 1_000_000, 3);
        for (operation, number) in operations {
            let call_sid = call(number % 2, number);
            match operation {
                0 | 1 => drop(open(&mut desk, now, call_sid)),
                2 => drop(desk.handle_event(&event(call_sid, EventType::ChannelCreate))),
                3 => drop(desk.close_call(call_sid)),
                _ => drop(desk.shard_died(ShardIndex(number % 2))),
            }
            let holding = desk.live_calls().filter(|call| call.holds_slot).count() as u32;
            prop_assert!(holding <= 3);
            prop_assert_eq!(desk.tenant_use.get(&tenant("acme")).map_or(0, |used| used.calls), holding);
            prop_assert_eq!(desk.trunk_use.get(&trunk("echo")).copied().unwrap_or(0), holding);
        }
        desk.shard_died(ShardIndex(0));
        desk.shard_died(ShardIndex(1));
        prop_assert_eq!(desk.live_call_count(), 0);
        for number in 100..103 {
            prop_assert!(open(&mut desk, now, call(0, number)).is_ok());
        }
    }
}
