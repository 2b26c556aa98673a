//! One file per credential; pure functions, test vectors beside them.
//!
//! | file | credential |
//! | --- | --- |
//! | [`session_auth`] | the SessionAuth token of the browser dialect |
//! | [`gateway_key`] | the gateway's own key, which signs tokens for operators and tests |
//! | [`origin`] | the `Origin` header against a tenant's list |
//!
//! Nothing here keeps state: that a token is used once is the control thread's desk.

pub mod gateway_key;
pub mod origin;
pub mod session_auth;

pub use gateway_key::{GatewayKey, InvalidGatewayKey};
pub use origin::origin_allowed;
pub use session_auth::{SessionGrant, SignError, TokenRequest, sign, verify};
