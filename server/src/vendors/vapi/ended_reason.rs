//! Vapi's `endedReason` as a Q.850 cause, and back.
//!
//! Vapi has some 600 reasons and adds to them; nine tenths are errors of the services behind an assistant. So the rules go by
//! the beginning of a reason, and what no rule knows is a temporary failure of the vendor.

use crate::call::q850::Q850Cause;
use crate::fault::Fault;

/// Reasons by their beginning; the first that fits counts.
const RULES: &[(&str, Q850Cause)] = &[
    ("customer-busy", Q850Cause::USER_BUSY),
    ("customer-did-not-answer", Q850Cause::NO_ANSWER),
    ("customer-ended-call", Q850Cause::NORMAL),
    (
        "customer-did-not-give-microphone-permission",
        Q850Cause::CALL_REJECTED,
    ),
    ("assistant-ended-call", Q850Cause::NORMAL),
    ("assistant-said-end-call-phrase", Q850Cause::NORMAL),
    ("assistant-forwarded-call", Q850Cause::NORMAL),
    ("assistant-join-timed-out", Q850Cause::TIMER_EXPIRY),
    ("manually-canceled", Q850Cause::NORMAL),
    ("call-deleted", Q850Cause::NORMAL),
    ("scheduled-call-deleted", Q850Cause::NORMAL),
    ("voicemail", Q850Cause::NORMAL),
    ("exceeded-max-duration", Q850Cause::TIMER_EXPIRY),
    ("silence-timed-out", Q850Cause::TIMER_EXPIRY),
    ("call.ending.hook-executed", Q850Cause::NORMAL),
    ("call.ringing.hook-executed", Q850Cause::NORMAL),
    ("call.ringing.sip-inbound-caller-hungup", Q850Cause::NORMAL),
    ("call.in-progress.sip-completed-call", Q850Cause::NORMAL),
    ("call.in-progress.twilio-completed-call", Q850Cause::NORMAL),
    (
        "call.in-progress.error-sip-outbound-call-failed-to-connect",
        Q850Cause::DESTINATION_OUT_OF_ORDER,
    ),
    (
        "call.in-progress.error-providerfault-outbound-sip-403",
        Q850Cause::CALL_REJECTED,
    ),
    (
        "call.in-progress.error-providerfault-outbound-sip-408",
        Q850Cause::TIMER_EXPIRY,
    ),
    (
        "call.in-progress.error-providerfault-outbound-sip-480",
        Q850Cause::NO_USER_RESPONDING,
    ),
    ("call.forwarding.operator-busy", Q850Cause::USER_BUSY),
    ("call.forwarding.no-answer", Q850Cause::NO_ANSWER),
    (
        "call.start.error-subscription-concurrency-limit",
        Q850Cause::NO_CIRCUIT,
    ),
    (
        "call.start.error-subscription",
        Q850Cause::FACILITY_NOT_SUBSCRIBED,
    ),
    (
        "call.start.error-fraud-check-failed",
        Q850Cause::CALL_REJECTED,
    ),
    (
        "phone-call-provider-closed-websocket",
        Q850Cause::DESTINATION_OUT_OF_ORDER,
    ),
    (
        "twilio-reported-customer-misdialed",
        Q850Cause::INVALID_NUMBER_FORMAT,
    ),
    (
        "twilio-failed-to-connect-call",
        Q850Cause::DESTINATION_OUT_OF_ORDER,
    ),
    ("vonage-completed", Q850Cause::NORMAL),
    ("vonage-rejected", Q850Cause::CALL_REJECTED),
    (
        "vonage-failed-to-connect-call",
        Q850Cause::DESTINATION_OUT_OF_ORDER,
    ),
    ("vonage-disconnected", Q850Cause::DESTINATION_OUT_OF_ORDER),
];

/// The cause of a call that Vapi ended for this reason. No reason at all is a normal end.
pub fn cause_of(reason: &str) -> Q850Cause {
    if reason.is_empty() {
        return Q850Cause::NORMAL;
    }
    RULES
        .iter()
        .find(|(beginning, _)| reason.starts_with(beginning))
        .map_or(Q850Cause::TEMPORARY_FAILURE, |(_, cause)| *cause)
}

/// Who has to change something, if anybody has: what only Vapi can know is Vapi's.
pub(super) fn fault_of(cause: Q850Cause) -> Option<Fault> {
    match cause {
        Q850Cause::NORMAL
        | Q850Cause::USER_BUSY
        | Q850Cause::NO_USER_RESPONDING
        | Q850Cause::NO_ANSWER
        | Q850Cause::TIMER_EXPIRY => None,
        Q850Cause::INVALID_NUMBER_FORMAT => Some(Fault::Caller),
        Q850Cause::FACILITY_NOT_SUBSCRIBED | Q850Cause::NO_CIRCUIT => Some(Fault::Config),
        _ => Some(Fault::Vendor),
    }
}

/// The reason that a relay hears when our side ended the call.
pub(super) fn reason_of(cause: Q850Cause) -> &'static str {
    match cause {
        Q850Cause::NORMAL | Q850Cause::NORMAL_UNSPECIFIED => "customer-ended-call",
        Q850Cause::USER_BUSY => "customer-busy",
        Q850Cause::NO_USER_RESPONDING | Q850Cause::NO_ANSWER => "customer-did-not-answer",
        Q850Cause::TIMER_EXPIRY => "silence-timed-out",
        _ => "phone-call-provider-closed-websocket",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_their_causes() {
        for (reason, cause) in [
            ("customer-ended-call", 16),
            ("customer-ended-call-after-warm-transfer-attempt", 16),
            ("assistant-ended-call-with-hangup-task", 16),
            ("assistant-said-end-call-phrase", 16),
            ("exceeded-max-duration", 102),
            ("silence-timed-out", 102),
            ("customer-busy", 17),
            ("customer-did-not-answer", 19),
            (
                "call.in-progress.error-sip-outbound-call-failed-to-connect",
                27,
            ),
            ("call.forwarding.operator-busy", 17),
            ("call.in-progress.sip-completed-call", 16),
            ("call.in-progress.error-providerfault-openai-llm-failed", 41),
            (
                "call.in-progress.error-vapifault-transport-never-connected",
                41,
            ),
            ("pipeline-error-xai-429-exceeded-quota", 41),
            ("pipeline-no-available-llm-model", 41),
            ("phone-call-provider-closed-websocket", 27),
            (
                "call.start.error-subscription-concurrency-limit-reached",
                34,
            ),
            ("call.start.error-subscription-frozen", 50),
            ("assistant-not-found", 41),
            ("worker-shutdown", 41),
            ("a-reason-of-next-year", 41),
            ("", 16),
        ] {
            assert_eq!(cause_of(reason).0, cause, "{reason}");
        }
        assert_eq!(fault_of(cause_of("customer-busy")), None);
        assert_eq!(
            fault_of(cause_of("pipeline-error-xai-llm-failed")),
            Some(Fault::Vendor)
        );
    }

    #[test]
    fn what_a_relay_hears_means_the_same_again() {
        for cause in [16, 17, 19, 27, 102] {
            assert_eq!(cause_of(reason_of(Q850Cause(cause))).0, cause);
        }
    }
}
