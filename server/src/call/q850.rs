//! The cause values of ITU-T Q.850 (05/2018, table 1): numbers, names, words for people, and the final status of a
//! call that they lead to.
//!
//! The mapping from SIP responses is not here: it belongs to the trunk that speaks SIP.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::CallStatus;

/// A cause value of ITU-T Q.850, 1..=127. Values that the table does not name are carried on as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Q850Cause(pub u8);

macro_rules! causes {
    ($($number:literal $name:ident $description:literal,)*) => {
        impl Q850Cause {
            $(
                #[doc = concat!(stringify!($number), ", ", $description, ".")]
                pub const $name: Self = Self($number);
            )*

            /// Every cause that Q.850 names, ascending.
            pub const NAMED: &'static [Self] = &[$(Self($number),)*];

            /// The words of Q.850 for a person, in lower case; "unassigned cause" for a value that it does not name.
            pub fn description(self) -> &'static str {
                match self.0 {
                    $($number => $description,)*
                    _ => "unassigned cause",
                }
            }

            /// The name in upper case with underscores, for logs and metric labels; "UNASSIGNED" for a value that
            /// Q.850 does not name.
            pub fn name(self) -> &'static str {
                match self.0 {
                    $($number => stringify!($name),)*
                    _ => "UNASSIGNED",
                }
            }
        }
    };
}

causes! {
    1 UNALLOCATED_NUMBER "unallocated number",
    2 NO_ROUTE_TO_NETWORK "no route to specified transit network",
    3 NO_ROUTE_TO_DESTINATION "no route to destination",
    4 SPECIAL_INFORMATION_TONE "send special information tone",
    5 MISDIALLED_TRUNK_PREFIX "misdialled trunk prefix",
    6 CHANNEL_UNACCEPTABLE "channel unacceptable",
    7 CALL_AWARDED "call awarded and being delivered in an established channel",
    8 PREEMPTION "preemption",
    9 PREEMPTION_RESERVED "preemption, circuit reserved for reuse",
    14 NUMBER_PORTED "query on release: ported number",
    16 NORMAL "normal call clearing",
    17 USER_BUSY "user busy",
    18 NO_USER_RESPONDING "no user responding",
    19 NO_ANSWER "no answer from user (user alerted)",
    20 SUBSCRIBER_ABSENT "subscriber absent",
    21 CALL_REJECTED "call rejected",
    22 NUMBER_CHANGED "number changed",
    23 REDIRECTED "redirection to new destination",
    24 FEATURE_REJECTED "call rejected due to feature at the destination",
    25 EXCHANGE_ROUTING_ERROR "exchange routing error",
    26 NON_SELECTED_USER "non-selected user clearing",
    27 DESTINATION_OUT_OF_ORDER "destination out of order",
    28 INVALID_NUMBER_FORMAT "invalid number format (address incomplete)",
    29 FACILITY_REJECTED "facility rejected",
    30 STATUS_ENQUIRY_RESPONSE "response to STATUS ENQUIRY",
    31 NORMAL_UNSPECIFIED "normal, unspecified",
    34 NO_CIRCUIT "no circuit or channel available",
    38 NETWORK_OUT_OF_ORDER "network out of order",
    39 FRAME_MODE_OUT_OF_SERVICE "permanent frame mode connection out of service",
    40 FRAME_MODE_OPERATIONAL "permanent frame mode connection operational",
    41 TEMPORARY_FAILURE "temporary failure",
    42 CONGESTION "switching equipment congestion",
    43 ACCESS_INFORMATION_DISCARDED "access information discarded",
    44 REQUESTED_CIRCUIT_UNAVAILABLE "requested circuit or channel not available",
    46 PRECEDENCE_CALL_BLOCKED "precedence call blocked",
    47 RESOURCE_UNAVAILABLE "resource unavailable, unspecified",
    49 QUALITY_OF_SERVICE_UNAVAILABLE "quality of service not available",
    50 FACILITY_NOT_SUBSCRIBED "requested facility not subscribed",
    53 OUTGOING_BARRED_IN_GROUP "outgoing calls barred within closed user group",
    55 INCOMING_BARRED_IN_GROUP "incoming calls barred within closed user group",
    57 BEARER_NOT_AUTHORISED "bearer capability not authorised",
    58 BEARER_NOT_AVAILABLE "bearer capability not presently available",
    62 INCONSISTENT_ACCESS_INFORMATION "inconsistency in outgoing access information and subscriber class",
    63 SERVICE_UNAVAILABLE "service or option not available, unspecified",
    65 BEARER_NOT_IMPLEMENTED "bearer capability not implemented",
    66 CHANNEL_TYPE_NOT_IMPLEMENTED "channel type not implemented",
    69 FACILITY_NOT_IMPLEMENTED "requested facility not implemented",
    70 ONLY_RESTRICTED_DIGITAL "only restricted digital information bearer capability is available",
    79 SERVICE_NOT_IMPLEMENTED "service or option not implemented, unspecified",
    81 INVALID_CALL_REFERENCE "invalid call reference value",
    82 CHANNEL_DOES_NOT_EXIST "identified channel does not exist",
    83 SUSPENDED_CALL_OTHER_IDENTITY "a suspended call exists, but this call identity does not",
    84 CALL_IDENTITY_IN_USE "call identity in use",
    85 NO_CALL_SUSPENDED "no call suspended",
    86 CALL_CLEARED "call having the requested call identity has been cleared",
    87 NOT_MEMBER_OF_GROUP "user not member of closed user group",
    88 INCOMPATIBLE_DESTINATION "incompatible destination",
    90 GROUP_DOES_NOT_EXIST "non-existent closed user group",
    91 INVALID_TRANSIT_NETWORK "invalid transit network selection",
    95 INVALID_MESSAGE "invalid message, unspecified",
    96 MANDATORY_ELEMENT_MISSING "mandatory information element is missing",
    97 MESSAGE_TYPE_NOT_IMPLEMENTED "message type non-existent or not implemented",
    98 MESSAGE_NOT_COMPATIBLE "message not compatible with call state or message type not implemented",
    99 ELEMENT_NOT_IMPLEMENTED "information element or parameter non-existent or not implemented",
    100 INVALID_ELEMENT_CONTENTS "invalid information element contents",
    101 MESSAGE_NOT_COMPATIBLE_WITH_STATE "message not compatible with call state",
    102 TIMER_EXPIRY "recovery on timer expiry",
    103 PARAMETER_PASSED_ON "parameter non-existent or not implemented, passed on",
    110 MESSAGE_WITH_UNKNOWN_PARAMETER "message with unrecognised parameter, discarded",
    111 PROTOCOL_ERROR "protocol error, unspecified",
    127 INTERWORKING "interworking, unspecified",
}

impl fmt::Display for Q850Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0, self.description())
    }
}

/// The final status of a call that ends with `cause`.
///
/// A call that was answered is COMPLETED whatever ended it; before the answer 17 is BUSY, 18, 19 and 102 are
/// NO_ANSWER, and everything else is FAILED.
pub fn status_for(cause: Q850Cause, answered: bool) -> CallStatus {
    match cause {
        _ if answered => CallStatus::Completed,
        Q850Cause::USER_BUSY => CallStatus::Busy,
        Q850Cause::NO_USER_RESPONDING | Q850Cause::NO_ANSWER | Q850Cause::TIMER_EXPIRY => {
            CallStatus::NoAnswer
        }
        _ => CallStatus::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_follows_cause_and_answer() {
        let cases = [
            (16, true, CallStatus::Completed),
            (41, true, CallStatus::Completed),
            (17, true, CallStatus::Completed),
            (17, false, CallStatus::Busy),
            (18, false, CallStatus::NoAnswer),
            (19, false, CallStatus::NoAnswer),
            (102, false, CallStatus::NoAnswer),
            (16, false, CallStatus::Failed),
            (34, false, CallStatus::Failed),
            (0, false, CallStatus::Failed),
            (255, false, CallStatus::Failed),
        ];
        for (cause, answered, status) in cases {
            assert_eq!(
                status_for(Q850Cause(cause), answered),
                status,
                "{cause} {answered}"
            );
        }
    }

    #[test]
    fn causes_speak_to_people() {
        assert_eq!(Q850Cause::USER_BUSY.to_string(), "17 (user busy)");
        assert_eq!(Q850Cause(102).name(), "TIMER_EXPIRY");
        assert_eq!(Q850Cause(77).description(), "unassigned cause");
        assert!(
            Q850Cause::NAMED.is_sorted_by(|a, b| a.0 < b.0),
            "each cause once, ascending"
        );
    }
}
