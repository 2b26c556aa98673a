//! The browser adapter: our own dialect over a WebSocket (`Sec-WebSocket-Protocol: clutchcall.v1`).
//!
//! JSON text frames, `type` + fields; one call per socket. This folder knows the dialect and nothing of sockets,
//! media or trunks: [`BrowserSession`] takes frames and the answers of our side, and gives [`Action`]s.
//!
//! | the page says | action | our side answers | the page hears |
//! | --- | --- | --- | --- |
//! | `bearer.<jwt>` in the handshake, or `auth` | [`Action::Authenticate`] | [`BrowserSession::authenticated`] | `session` |
//! | `offer` | [`Action::Offer`] | [`BrowserSession::offer_answered`] | `answer` |
//! | `candidate` | [`Action::Candidate`] | | |
//! | `dial` | [`Action::Dial`] | [`BrowserSession::call_event`] CHANNEL_CREATE, [`BrowserSession::ringing`], CHANNEL_ANSWER | `event`, `ringing`, `event` |
//! | | | [`BrowserSession::call_refused`] | `error`, `bye`, close by the refusal's code |
//! | | | [`BrowserSession::incoming`] | `incoming` |
//! | `accept`, `reject` | [`Action::Accept`], [`Action::Reject`] | [`BrowserSession::call_event`], [`BrowserSession::ended`] | `event`, `bye` |
//! | `hold`, `unhold` | [`Action::Hold`], [`Action::Unhold`] | CHANNEL_HOLD, CHANNEL_RESUME | `event` |
//! | `dtmf` | [`Action::Dtmf`] | | |
//! | | | [`BrowserSession::digit`] | `dtmf` |
//! | `hangup` | [`Action::Hangup`] | CHANNEL_HANGUP_COMPLETE, [`BrowserSession::ended`] | `event`, `bye`, close 1000 |
//! | `ping` | | | `pong` |
//! | a new `offer` in a call | [`Action::Offer`]: hold, another direction, an ICE restart | [`BrowserSession::offer_answered`] | `answer` |
//! | `resume.<resume_token>` in the handshake of another socket | | [`BrowserSession::resumed`] | `session`, then what it missed |
//! | nothing: the socket is lost | [`Action::Abandon`] once `signal_grace_ms` is over | [`BrowserSession::handle_loss`] | |
//!
//! A close frame without a code, with 1000 or 1001 hangs up; every other end of a socket is a loss ([`says_goodbye`]).

mod messages;
mod session;
mod subprotocol;

pub use messages::*;
pub use session::*;
pub use subprotocol::*;
