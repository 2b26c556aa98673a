//! Q.850 causes and how they map to a call's final status.

use serde::{Deserialize, Serialize};

/// A cause value of ITU-T Q.850.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Q850Cause(pub u8);

impl Q850Cause {
    /// 16, normal call clearing.
    pub const NORMAL: Self = Self(16);
    /// 17, user busy.
    pub const USER_BUSY: Self = Self(17);
    /// 18, no user responding.
    pub const NO_USER_RESPONDING: Self = Self(18);
    /// 19, no answer from user.
    pub const NO_ANSWER: Self = Self(19);
    /// 21, call rejected.
    pub const CALL_REJECTED: Self = Self(21);
    /// 34, no circuit available.
    pub const NO_CIRCUIT: Self = Self(34);
    /// 41, temporary failure.
    pub const TEMPORARY_FAILURE: Self = Self(41);
    /// 42, switching equipment congestion.
    pub const CONGESTION: Self = Self(42);
    /// 65, bearer capability not implemented.
    pub const BEARER_NOT_IMPLEMENTED: Self = Self(65);
    /// 102, recovery on timer expiry.
    pub const TIMER_EXPIRY: Self = Self(102);
}
