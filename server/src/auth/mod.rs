//! One file per credential; pure functions, test vectors beside them.
//!
//! | file | credential |
//! | --- | --- |
//! | [`session_auth`] | the SessionAuth token of the browser dialect |
//! | [`resume_token`] | what a page shows to go on with a session whose socket was lost |
//! | [`gateway_key`] | the gateway's own key, which signs tokens for operators and tests |
//! | [`turn_rest`] | the username and password with which a page gets a relay from a TURN server |
//! | [`twilio_signature`] | `X-Twilio-Signature` of an upgrade |
//! | [`bearer`] | a bearer token that the configuration pins |
//! | [`origin`] | the `Origin` header against a tenant's list |
//!
//! Nothing here keeps state: that a SessionAuth token is used once is the control thread's desk; that a resume token is, the
//! front door's.

pub mod bearer;
pub mod gateway_key;
pub mod origin;
pub mod resume_token;
pub mod session_auth;
pub mod turn_rest;
pub mod twilio_signature;

pub use gateway_key::{GatewayKey, InvalidGatewayKey};
pub use origin::origin_allowed;
pub use resume_token::{InvalidResumeToken, ResumeToken, ResumeTokenDigest};
pub use session_auth::{SessionGrant, SignError, TokenRequest, sign, verify};
pub use turn_rest::TurnCredentials;
