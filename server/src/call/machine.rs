//! The call machine: one call from CREATE to exactly one HANGUP_COMPLETE.
//!
//! It knows states, times and events, and nothing of legs' media or signalling: its owner tells it what happened and
//! carries the events away. Out-of-order calls are harmless: they give no event.

use super::q850::{Q850Cause, status_for};
use super::{CallAccount, CallEvent, CallRecord, CallStatus, EventType, LegAccount};
use crate::bridge::Codec;
use crate::fault::Fault;
use crate::id::{CallSid, LegId, TenantId, TrunkId, UnixMillis};

/// Whose call it is and where it goes: what every event of it repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallIdentity {
    /// The call.
    pub call_sid: CallSid,
    /// Whose call.
    pub tenant_id: TenantId,
    /// Over which trunk.
    pub trunk_id: TrunkId,
    /// The subscriber's own name for its events; empty when it gave none.
    pub client_id: String,
}

/// Why a call ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HangupReason {
    /// For the event.
    pub cause: Q850Cause,
    /// Who has to change something; none for a normal hang-up.
    pub fault: Option<Fault>,
    /// One sentence for a person; never holds a secret.
    pub text: String,
}

impl HangupReason {
    /// Somebody hung up: cause 16 and nobody's fault.
    pub fn normal(text: impl Into<String>) -> Self {
        Self {
            cause: Q850Cause::NORMAL,
            fault: None,
            text: text.into(),
        }
    }
}

impl From<crate::fault::Refusal> for HangupReason {
    fn from(refusal: crate::fault::Refusal) -> Self {
        Self {
            cause: refusal.cause,
            fault: Some(refusal.fault),
            text: refusal.message,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Created,
    Ringing,
    Answered,
    Ended,
}

/// The life of one call: created, ringing, answered, any number of holds, ended.
#[derive(Debug)]
pub struct CallMachine {
    identity: CallIdentity,
    state: State,
    started: UnixMillis,
    answered: Option<UnixMillis>,
    codec: Option<Codec>,
    on_hold: LegSet,
}

impl CallMachine {
    /// A call begins at `now`: the machine and its CREATE event (status INITIATED).
    pub fn create(identity: CallIdentity, now: UnixMillis) -> (Self, CallEvent) {
        let machine = Self {
            identity,
            state: State::Created,
            started: now,
            answered: None,
            codec: None,
            on_hold: LegSet::default(),
        };
        let event = machine.event(EventType::ChannelCreate, CallStatus::Initiated, now);
        (machine, event)
    }

    /// Whose call it is.
    pub fn identity(&self) -> &CallIdentity {
        &self.identity
    }

    /// When the call was created.
    pub fn started(&self) -> UnixMillis {
        self.started
    }

    /// When the call was answered.
    pub fn answered(&self) -> Option<UnixMillis> {
        self.answered
    }

    /// Whether the final event was given.
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether any leg holds the call.
    pub fn is_on_hold(&self) -> bool {
        !self.on_hold.is_empty()
    }

    /// What a list of live calls shows. A call that ended shows COMPLETED; its real final status is in its record.
    pub fn status(&self) -> CallStatus {
        match self.state {
            State::Created => CallStatus::Initiated,
            State::Ringing => CallStatus::Ringing,
            State::Answered => CallStatus::Answered,
            State::Ended => CallStatus::Completed,
        }
    }

    /// The far end is being alerted. No event; an end with cause 18 becomes 19 from here on.
    pub fn ringing(&mut self) {
        if self.state == State::Created {
            self.state = State::Ringing;
        }
    }

    /// The far end answered with `codec` (that of the described leg). The ANSWER event, once.
    pub fn answer(&mut self, now: UnixMillis, codec: Codec) -> Option<CallEvent> {
        if !matches!(self.state, State::Created | State::Ringing) {
            return None;
        }
        self.state = State::Answered;
        self.answered = Some(now);
        self.codec = Some(codec);
        Some(self.event(EventType::ChannelAnswer, CallStatus::Answered, now))
    }

    /// The described leg renegotiated to `codec`; later events name it.
    pub fn change_codec(&mut self, codec: Codec) {
        if self.state == State::Answered {
            self.codec = Some(codec);
        }
    }

    /// A leg put the call on hold. HOLD if it is the first that does; holds before the answer are no holds.
    pub fn hold(&mut self, leg: LegId, now: UnixMillis) -> Option<CallEvent> {
        if self.state != State::Answered {
            return None;
        }
        let first = self.on_hold.is_empty();
        self.on_hold.insert(leg);
        first.then(|| self.event(EventType::ChannelHold, CallStatus::Answered, now))
    }

    /// A leg takes the call back. RESUME if no other leg holds it any more.
    pub fn resume(&mut self, leg: LegId, now: UnixMillis) -> Option<CallEvent> {
        if self.state != State::Answered || !self.on_hold.remove(leg) {
            return None;
        }
        let last = self.on_hold.is_empty();
        last.then(|| self.event(EventType::ChannelResume, CallStatus::Answered, now))
    }

    /// The call is over: its record with the final event. None if that was given before.
    ///
    /// `duration_seconds` counts whole seconds from answer to end. `estimated_mos` is that of the leg that heard
    /// worst, 0 when nobody heard anything.
    pub fn end(
        &mut self,
        now: UnixMillis,
        reason: HangupReason,
        account: CallAccount,
    ) -> Option<CallRecord> {
        if self.state == State::Ended {
            return None;
        }
        // Q.850: 18 is for a user who was never alerted.
        let cause = match reason.cause {
            Q850Cause::NO_USER_RESPONDING if self.state == State::Ringing => Q850Cause::NO_ANSWER,
            cause => cause,
        };
        self.state = State::Ended;
        let status = status_for(cause, self.answered.is_some());
        let mut event = self.event(EventType::ChannelHangupComplete, status, now);
        event.q850_cause = i32::from(cause.0);
        event.end_timestamp_ms = now.0;
        event.duration_seconds = self.answered.map_or(0, |answered| {
            let milliseconds = now.0.saturating_sub(answered.0).max(0);
            i32::try_from(milliseconds / 1000).unwrap_or(i32::MAX)
        });
        event.estimated_mos = worst_mos(&account.legs).unwrap_or(0.0);
        if let Some(leg) = described(&account) {
            event.packets_sent = saturate(leg.statistics.packets_sent);
            event.packets_received = saturate(leg.statistics.packets_received);
            event.packets_lost = saturate(leg.statistics.packets_lost);
            event.bytes_sent = leg.statistics.bytes_sent;
            event.jitter_ms = leg.statistics.jitter_ms;
        }
        Some(CallRecord {
            event,
            end_reason: reason.text,
            fault: reason.fault,
            account,
        })
    }

    fn event(&self, event_type: EventType, status: CallStatus, now: UnixMillis) -> CallEvent {
        CallEvent {
            call_sid: self.identity.call_sid,
            event_type,
            status,
            start_timestamp_ms: self.started.0,
            q850_cause: 0,
            recording_url: String::new(),
            duration_seconds: 0,
            answer_timestamp_ms: self.answered.map_or(0, |answered| answered.0),
            end_timestamp_ms: 0,
            packets_sent: 0,
            packets_received: 0,
            packets_lost: 0,
            bytes_sent: 0,
            jitter_ms: 0.0,
            estimated_mos: 0.0,
            trunk_id: self.identity.trunk_id.clone(),
            tenant_id: self.identity.tenant_id.clone(),
            codec: self.codec.map_or("", Codec::name).to_owned(),
            timestamp_ms: now.0,
            client_id: self.identity.client_id.clone(),
        }
    }
}

fn described(account: &CallAccount) -> Option<&LegAccount> {
    let described_leg = account.described_leg?;
    account.legs.iter().find(|leg| leg.leg == described_leg)
}

fn worst_mos(legs: &[LegAccount]) -> Option<f64> {
    legs.iter()
        .filter_map(|leg| leg.mos_as_heard)
        .min_by(f64::total_cmp)
}

fn saturate(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A set of legs; one bit for each of the 256 that a [`LegId`] can name.
#[derive(Debug, Default)]
struct LegSet([u128; 2]);

impl LegSet {
    fn is_empty(&self) -> bool {
        self.0 == [0, 0]
    }

    fn insert(&mut self, leg: LegId) {
        self.0[usize::from(leg.0 >> 7)] |= 1 << (leg.0 & 127);
    }

    fn remove(&mut self, leg: LegId) -> bool {
        let word = &mut self.0[usize::from(leg.0 >> 7)];
        let bit = 1 << (leg.0 & 127);
        let present = *word & bit != 0;
        *word &= !bit;
        present
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test fails by panicking"
    )]

    use proptest::prelude::*;
    use shards::ShardIndex;

    use super::*;
    use crate::rtp::LegStatistics;

    fn identity() -> CallIdentity {
        CallIdentity {
            call_sid: CallSid::new(ShardIndex(1), [7; CallSid::ENTROPY_LEN]),
            tenant_id: "acme".parse().unwrap(),
            trunk_id: "t1".parse().unwrap(),
            client_id: "client".to_owned(),
        }
    }

    fn leg(leg: LegId, codec: Codec, packets_sent: u64, mos: f64) -> LegAccount {
        LegAccount {
            leg,
            codec,
            statistics: LegStatistics {
                packets_sent,
                bytes_sent: packets_sent * 160,
                ..LegStatistics::default()
            },
            mos_as_heard: Some(mos),
        }
    }

    #[test]
    fn an_answered_call_tells_its_life() {
        let (mut call, create) = CallMachine::create(identity(), UnixMillis(1_000));
        assert_eq!(create.event_type, EventType::ChannelCreate);
        assert_eq!(create.status, CallStatus::Initiated);
        assert_eq!(create.start_timestamp_ms, 1_000);
        assert_eq!(create.codec, "");
        call.ringing();
        assert_eq!(call.status(), CallStatus::Ringing);
        let answer = call.answer(UnixMillis(3_000), Codec::Pcmu).unwrap();
        assert_eq!(
            (answer.answer_timestamp_ms, answer.codec.as_str()),
            (3_000, "PCMU")
        );
        assert_eq!(call.answer(UnixMillis(3_100), Codec::Pcmu), None);
        let account = CallAccount {
            legs: vec![
                leg(LegId::VENDOR, Codec::Opus, 10, 3.2),
                leg(LegId::TRUNK, Codec::Pcmu, 20, 4.1),
            ],
            described_leg: Some(LegId::TRUNK),
            ..CallAccount::default()
        };
        let record = call
            .end(
                UnixMillis(7_999),
                HangupReason::normal("the caller hung up"),
                account,
            )
            .unwrap();
        let event = &record.event;
        assert_eq!(event.event_type, EventType::ChannelHangupComplete);
        assert_eq!(event.status, CallStatus::Completed);
        assert_eq!((event.q850_cause, event.duration_seconds), (16, 4));
        assert_eq!(
            (event.packets_sent, event.bytes_sent, event.estimated_mos),
            (20, 3_200, 3.2)
        );
        assert_eq!(event.codec, "PCMU");
        let json = serde_json::to_value(&record).unwrap();
        assert_eq!(json["event"]["call_sid"], call.identity().call_sid.as_str());
        assert_eq!(json["legs"][0]["codec"], "opus");
        assert_eq!(json["end_reason"], "the caller hung up");
        assert_eq!(json["fault"], serde_json::Value::Null);
    }

    #[test]
    fn no_answer_after_ringing_is_nineteen() {
        for (ringing, cause) in [(false, 18), (true, 19)] {
            let (mut call, _) = CallMachine::create(identity(), UnixMillis(0));
            if ringing {
                call.ringing();
            }
            let reason = HangupReason {
                cause: Q850Cause::NO_USER_RESPONDING,
                fault: Some(Fault::Trunk),
                text: "nobody answered".to_owned(),
            };
            let record = call
                .end(UnixMillis(1), reason, CallAccount::default())
                .unwrap();
            assert_eq!(record.event.q850_cause, cause);
            assert_eq!(record.event.status, CallStatus::NoAnswer);
            assert_eq!(record.event.duration_seconds, 0);
        }
    }

    #[test]
    fn hold_is_of_the_call_as_a_whole() {
        let now = UnixMillis(5);
        let (mut call, _) = CallMachine::create(identity(), now);
        assert_eq!(call.hold(LegId::VENDOR, now), None, "not answered yet");
        call.answer(now, Codec::Opus).unwrap();
        assert_eq!(call.resume(LegId::VENDOR, now), None, "nobody holds");
        let hold = call.hold(LegId::VENDOR, now).unwrap();
        assert_eq!(hold.event_type, EventType::ChannelHold);
        assert_eq!(call.hold(LegId::TRUNK, now), None);
        assert_eq!(call.hold(LegId::VENDOR, now), None);
        assert_eq!(
            call.resume(LegId::VENDOR, now),
            None,
            "the trunk holds still"
        );
        let resume = call.resume(LegId::TRUNK, now).unwrap();
        assert_eq!(resume.event_type, EventType::ChannelResume);
        assert!(!call.is_on_hold());
    }

    #[derive(Debug, Clone)]
    enum Operation {
        Ringing,
        Answer,
        Hold(u8),
        Resume(u8),
        End(u8),
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            Just(Operation::Ringing),
            Just(Operation::Answer),
            any::<u8>().prop_map(Operation::Hold),
            any::<u8>().prop_map(Operation::Resume),
            any::<u8>().prop_map(Operation::End),
        ]
    }

    proptest! {
        #[test]
        fn any_life_has_one_create_one_end_and_alternating_holds(
            operations in proptest::collection::vec((operation(), any::<i64>()), 0..60),
        ) {
            let (mut call, create) = CallMachine::create(identity(), UnixMillis(0));
            let mut events = vec![create];
            for (operation, now) in operations {
                let now = UnixMillis(now);
                match operation {
                    Operation::Ringing => call.ringing(),
                    Operation::Answer => events.extend(call.answer(now, Codec::Pcma)),
                    Operation::Hold(leg) => events.extend(call.hold(LegId(leg % 3), now)),
                    Operation::Resume(leg) => events.extend(call.resume(LegId(leg % 3), now)),
                    Operation::End(cause) => {
                        let reason = HangupReason {
                            cause: Q850Cause(cause),
                            fault: None,
                            text: String::new(),
                        };
                        let record = call.end(now, reason, CallAccount::default());
                        events.extend(record.map(|record| record.event));
                    }
                }
            }
            let last_reason = HangupReason::normal("over");
            let last = call.end(UnixMillis(9), last_reason.clone(), CallAccount::default());
            events.extend(last.map(|record| record.event));
            prop_assert!(call.end(UnixMillis(10), last_reason, CallAccount::default()).is_none());

            let types: Vec<_> = events.iter().map(|event| event.event_type).collect();
            prop_assert_eq!(types[0], EventType::ChannelCreate);
            prop_assert_eq!(*types.last().unwrap(), EventType::ChannelHangupComplete);
            let ends = types.iter().filter(|t| **t == EventType::ChannelHangupComplete).count();
            prop_assert_eq!(ends, 1);
            let answers = types.iter().filter(|t| **t == EventType::ChannelAnswer).count();
            prop_assert!(answers <= 1);
            let holds: Vec<_> = types
                .iter()
                .filter(|t| matches!(t, EventType::ChannelHold | EventType::ChannelResume))
                .collect();
            for (index, hold) in holds.iter().enumerate() {
                let wanted = if index % 2 == 0 { EventType::ChannelHold } else { EventType::ChannelResume };
                prop_assert_eq!(**hold, wanted);
            }
            prop_assert!(events.iter().all(|event| event.duration_seconds >= 0));
        }
    }
}
