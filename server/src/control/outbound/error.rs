//! Why somebody could not be dialled, whose fault that is, and the cause of the call that ends by it.

use std::time::Duration;

use thiserror::Error;

use crate::call::q850::Q850Cause;
use crate::fault::{Fault, Refusal, RefusalCode};

/// Why an exchange with somebody came to nothing. Never shows more of a URL than its host.
#[derive(Debug, Error)]
pub enum OutboundError {
    /// The URL can't be dialled.
    #[error("the URL is of no use: {0}")]
    Url(&'static str),
    /// It would go over the network without TLS.
    #[error("{host} would be reached without TLS")]
    Unprotected {
        /// Of the URL.
        host: String,
    },
    /// The tenant does not allow it.
    #[error("{host} is not one of the tenant's outbound_hosts")]
    HostNotAllowed {
        /// Of the URL.
        host: String,
    },
    /// What we would need for it is not configured (any more).
    #[error("{0}")]
    NotConfigured(&'static str),
    /// The authorities that we trust can't be read.
    #[error("nobody can be trusted: {0}")]
    Trust(String),
    /// The host has no address, or nobody knows it.
    #[error("{host} has no address: {reason}")]
    NotFound {
        /// Of the URL.
        host: String,
        /// What the name servers said, or did not.
        reason: String,
    },
    /// No TCP connection, or it broke.
    #[error("{host} can't be reached: {reason}")]
    Unreachable {
        /// With its port.
        host: String,
        /// What the kernel said.
        reason: String,
    },
    /// TLS failed: a certificate that is not its own, or no TLS at all.
    #[error("TLS with {host} failed: {reason}")]
    Tls {
        /// With its port.
        host: String,
        /// What did not fit.
        reason: String,
    },
    /// It took too long.
    #[error("{host} took longer than {} ms, in {step}", within.as_millis())]
    Timeout {
        /// Of the URL, or with its port.
        host: String,
        /// What was waited for.
        step: &'static str,
        /// The limit.
        within: Duration,
    },
    /// It sends us elsewhere, where we do not go.
    #[error("{host} answered {status}: redirects are not followed")]
    Redirect {
        /// With its port.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// It does not want us.
    #[error("{host} answered {status}{detail}")]
    Status {
        /// With its port.
        host: String,
        /// The HTTP status.
        status: u16,
        /// What it said about it, with a colon before it; or nothing.
        detail: String,
    },
    /// The WebSocket that a vendor named for its call: no operator can change it.
    #[error("the socket that it named: {0}")]
    NamedSocket(Box<OutboundError>),
    /// Nobody waits for it any more.
    #[error("the call ended meanwhile")]
    GivenUp,
    /// What came back is not what was asked for.
    #[error("{host} answered with something else: {reason}")]
    Malformed {
        /// With its port.
        host: String,
        /// What was expected.
        reason: String,
    },
}

/// What became of dials, the label of their counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum DialOutcome {
    /// There is a socket.
    Connected,
    /// The call ended meanwhile.
    GivenUp,
    /// Something that the operator has to change.
    Misconfigured,
    /// No address.
    NotFound,
    /// No connection.
    Unreachable,
    /// No TLS, or a wrong certificate.
    Tls,
    /// Too slow.
    Timeout,
    /// An HTTP status that refuses.
    Refused,
    /// A redirect, or no WebSocket.
    Malformed,
    /// Too many failed before.
    BreakerOpen,
    /// Too many are dialled already.
    Overload,
}

impl DialOutcome {
    /// Every outcome, in the order of its counter.
    pub const ALL: [Self; 11] = [
        Self::Connected,
        Self::GivenUp,
        Self::Misconfigured,
        Self::NotFound,
        Self::Unreachable,
        Self::Tls,
        Self::Timeout,
        Self::Refused,
        Self::Malformed,
        Self::BreakerOpen,
        Self::Overload,
    ];

    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::GivenUp => "given_up",
            Self::Misconfigured => "misconfigured",
            Self::NotFound => "not_found",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
            Self::BreakerOpen => "breaker_open",
            Self::Overload => "overload",
        }
    }
}

/// A dial that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialFailure {
    /// For the counter.
    pub outcome: DialOutcome,
    /// For the call.
    pub refusal: Refusal,
}

impl OutboundError {
    /// The failure of a dial to `whom` ("the agent of trunk t1"), who is to blame for what is not ours: [`Fault::Agent`], or
    /// [`Fault::Vendor`] for the API of one.
    pub fn failure(&self, whom: &str, theirs: Fault) -> DialFailure {
        let (outcome, code, fault, cause) = self.weigh(theirs);
        let refusal = Refusal::new(code, fault, format!("{whom}: {self}")).with_cause(cause);
        DialFailure { outcome, refusal }
    }

    fn weigh(&self, theirs: Fault) -> (DialOutcome, RefusalCode, Fault, Q850Cause) {
        use RefusalCode::{Internal, NotFound, Timeout};
        match self {
            Self::Url(_) | Self::NotConfigured(_) | Self::Trust(_) => (
                DialOutcome::Misconfigured,
                NotFound,
                Fault::Config,
                Q850Cause::NO_ROUTE_TO_DESTINATION,
            ),
            Self::Unprotected { .. } | Self::HostNotAllowed { .. } => (
                DialOutcome::Misconfigured,
                NotFound,
                Fault::Config,
                Q850Cause::CALL_REJECTED,
            ),
            Self::NotFound { .. } => (
                DialOutcome::NotFound,
                Internal,
                theirs,
                Q850Cause::NETWORK_OUT_OF_ORDER,
            ),
            Self::Unreachable { .. } => (
                DialOutcome::Unreachable,
                Internal,
                theirs,
                Q850Cause::DESTINATION_OUT_OF_ORDER,
            ),
            Self::Tls { .. } => (
                DialOutcome::Tls,
                Internal,
                theirs,
                Q850Cause::DESTINATION_OUT_OF_ORDER,
            ),
            Self::Timeout { .. } => (
                DialOutcome::Timeout,
                Timeout,
                theirs,
                Q850Cause::TIMER_EXPIRY,
            ),
            Self::Status { status, .. } => {
                let (fault, cause) = weigh_status(*status, theirs);
                (DialOutcome::Refused, Internal, fault, cause)
            }
            Self::Redirect { .. } => (
                DialOutcome::Malformed,
                Internal,
                theirs,
                Q850Cause::CALL_REJECTED,
            ),
            Self::GivenUp => (DialOutcome::GivenUp, Internal, Fault::Us, Q850Cause::NORMAL),
            Self::NamedSocket(error) => error.weigh_named(theirs),
            Self::Malformed { .. } => (
                DialOutcome::Malformed,
                Internal,
                theirs,
                Q850Cause::PROTOCOL_ERROR,
            ),
        }
    }

    /// No operator chose the URL, nor what is shown there.
    fn weigh_named(&self, theirs: Fault) -> (DialOutcome, RefusalCode, Fault, Q850Cause) {
        let (outcome, code, fault, cause) = self.weigh(theirs);
        match self {
            Self::Status { .. } => (outcome, code, theirs, cause),
            Self::Url(_) | Self::Unprotected { .. } => (
                DialOutcome::Malformed,
                RefusalCode::Internal,
                theirs,
                Q850Cause::PROTOCOL_ERROR,
            ),
            _ => (outcome, code, fault, cause),
        }
    }
}

fn weigh_status(status: u16, theirs: Fault) -> (Fault, Q850Cause) {
    match status {
        // What we showed is in our configuration.
        401 | 403 => (Fault::Config, Q850Cause::CALL_REJECTED),
        404 | 405 | 410 => (Fault::Config, Q850Cause::NO_ROUTE_TO_DESTINATION),
        // As is whom a vendor's API calls for us, and the account that pays for it.
        400 | 402 | 422 if theirs == Fault::Vendor => (Fault::Config, Q850Cause::CALL_REJECTED),
        429 | 503 => (theirs, Q850Cause::CONGESTION),
        500.. => (theirs, Q850Cause::TEMPORARY_FAILURE),
        _ => (theirs, Q850Cause::CALL_REJECTED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_cause_and_its_fault() {
        let host = || "a.example".to_owned();
        let status = |status| OutboundError::Status {
            host: host(),
            status,
            detail: String::new(),
        };
        let cases = [
            (OutboundError::Url("it has no host"), Fault::Config, 3),
            (
                OutboundError::HostNotAllowed { host: host() },
                Fault::Config,
                21,
            ),
            (
                OutboundError::NotFound {
                    host: host(),
                    reason: String::new(),
                },
                Fault::Agent,
                38,
            ),
            (
                OutboundError::Unreachable {
                    host: host(),
                    reason: String::new(),
                },
                Fault::Agent,
                27,
            ),
            (status(401), Fault::Config, 21),
            (status(404), Fault::Config, 3),
            (status(400), Fault::Agent, 21),
            (status(503), Fault::Agent, 42),
            (status(500), Fault::Agent, 41),
        ];
        for (error, fault, cause) in cases {
            let failure = error.failure("the agent", Fault::Agent);
            let refusal = failure.refusal;
            assert_eq!((refusal.fault, refusal.cause.0), (fault, cause), "{error}");
            assert_eq!(refusal.message, format!("the agent: {error}"));
        }
    }

    #[test]
    fn a_vendor_is_blamed_for_its_socket_and_the_operator_for_what_its_api_refuses() {
        let status = |status| OutboundError::Status {
            host: "api.vapi.ai:443".to_owned(),
            status,
            detail: String::new(),
        };
        let fault = |error: OutboundError| error.failure("Vapi", Fault::Vendor).refusal.fault;
        for code in [400, 401, 402, 403, 404, 422] {
            assert_eq!(fault(status(code)), Fault::Config, "{code}");
        }
        for code in [429, 500, 503] {
            assert_eq!(fault(status(code)), Fault::Vendor, "{code}");
        }
        let named = |error| fault(OutboundError::NamedSocket(Box::new(error)));
        for code in [400, 401, 403, 404, 500] {
            assert_eq!(named(status(code)), Fault::Vendor, "{code}");
        }
        assert_eq!(named(OutboundError::Url("it has no host")), Fault::Vendor);
        let host = "evil.test".to_owned();
        let not_allowed = OutboundError::HostNotAllowed { host };
        assert_eq!(named(not_allowed), Fault::Config);
    }

    #[test]
    fn every_outcome_has_its_place() {
        for (place, outcome) in DialOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place, "{}", outcome.as_str());
        }
    }
}
