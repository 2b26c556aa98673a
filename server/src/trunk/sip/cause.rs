//! Between SIP statuses and Q.850 causes (RFC 3398 sections 7.2.4.1 and 8.2.6.1, where the project's contract chooses
//! otherwise the contract), and the Reason header (RFC 3326).

use super::message::{HeaderName, Headers, StatusCode, value};
use crate::call::q850::Q850Cause;

/// The cause that a failed INVITE's status stands for. `rang`: the far end was being alerted.
pub fn of_status(status: StatusCode, rang: bool) -> Q850Cause {
    match status.0 {
        401 | 402 | 403 | 407 | 603 => Q850Cause::CALL_REJECTED,
        404 | 485 | 604 => Q850Cause::UNALLOCATED_NUMBER,
        408 if rang => Q850Cause::NO_ANSWER,
        408 => Q850Cause::TIMER_EXPIRY,
        410 => Q850Cause::NUMBER_CHANGED,
        413 | 414 | 416 | 420 | 421 | 423 | 439 | 482 | 505 | 513 => Q850Cause::INTERWORKING,
        480 if rang => Q850Cause::NO_ANSWER,
        480 => Q850Cause::NO_USER_RESPONDING,
        483 => Q850Cause::EXCHANGE_ROUTING_ERROR,
        484 => Q850Cause::INVALID_NUMBER_FORMAT,
        486 | 600 => Q850Cause::USER_BUSY,
        487 => Q850Cause::NORMAL,
        415 | 488 | 606 => Q850Cause::BEARER_NOT_IMPLEMENTED,
        405 | 501 => Q850Cause::SERVICE_NOT_IMPLEMENTED,
        500 | 503 | 580 => Q850Cause::TEMPORARY_FAILURE,
        502 => Q850Cause::NETWORK_OUT_OF_ORDER,
        504 => Q850Cause::TIMER_EXPIRY,
        300..=399 => Q850Cause::NUMBER_CHANGED,
        400..=499 => Q850Cause::INTERWORKING,
        500..=599 => Q850Cause::TEMPORARY_FAILURE,
        600..=699 => Q850Cause::CALL_REJECTED,
        _ => Q850Cause::NORMAL_UNSPECIFIED,
    }
}

/// The status that refuses an INVITE for `cause`.
pub fn status_of(cause: Q850Cause) -> StatusCode {
    StatusCode(match cause.0 {
        1..=3 => 404,
        17 => 486,
        16 | 18 | 19 | 20 | 31 => 480,
        21 | 24 => 603,
        22 => 410,
        27 => 502,
        28 => 484,
        29 | 79 => 501,
        34 | 38 | 41 | 42 | 44 | 47 => 503,
        55 | 57 => 403,
        58 | 65 | 70 | 88 => 488,
        102 => 504,
        127 => 500,
        _ => 480,
    })
}

/// The Q.850 cause of the first Reason value that has one.
pub fn read_reason(headers: &Headers) -> Option<Q850Cause> {
    headers.values(&HeaderName::Reason).find_map(|reason| {
        let protocol = reason.split(';').next()?.trim();
        if !protocol.eq_ignore_ascii_case("Q.850") {
            return None;
        }
        let cause: u8 = value::parameter(reason, "cause")?.parse().ok()?;
        (1..=127).contains(&cause).then_some(Q850Cause(cause))
    })
}

/// Reason's value for `cause`.
pub fn write_reason(cause: Q850Cause) -> String {
    format!("Q.850;cause={};text=\"{}\"", cause.0, cause.description())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_become_the_contracts_causes() {
        let cases = [
            (404, false, 1),
            (486, false, 17),
            (600, true, 17),
            (408, false, 102),
            (480, false, 18),
            (480, true, 19),
            (603, true, 21),
            (403, false, 21),
            (410, false, 22),
            (484, false, 28),
            (488, false, 65),
            (606, false, 65),
            (500, false, 41),
            (503, false, 41),
            (504, false, 102),
            (487, false, 16),
            (499, false, 127),
            (599, false, 41),
            (699, false, 21),
        ];
        for (status, rang, cause) in cases {
            assert_eq!(of_status(StatusCode(status), rang).0, cause, "{status}");
        }
    }

    #[test]
    fn a_reason_is_read_and_written() {
        let mut headers = Headers::default();
        headers.push(
            HeaderName::Reason,
            "SIP;cause=200;text=\"x\", Q.850 ;cause=19",
        );
        assert_eq!(read_reason(&headers), Some(Q850Cause::NO_ANSWER));
        let mut headers = Headers::default();
        headers.push(HeaderName::Reason, write_reason(Q850Cause::USER_BUSY));
        assert_eq!(read_reason(&headers), Some(Q850Cause::USER_BUSY));
        let mut headers = Headers::default();
        headers.push(HeaderName::Reason, "Q.850;cause=300");
        assert_eq!(read_reason(&headers), None);
    }

    #[test]
    fn busy_stays_busy_through_both_tables() {
        for cause in [17, 1, 21, 22, 28, 65] {
            let status = status_of(Q850Cause(cause));
            assert_eq!(of_status(status, false).0, cause, "{status}");
        }
    }
}
