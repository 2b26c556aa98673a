//! What a far end does: the steps of a script, and orders of a test.

use std::time::Duration;

use super::sdp::Direction;

/// One step of a call.
#[derive(Debug, Clone)]
pub enum Action {
    /// Nothing for so long.
    Wait(Duration),
    /// Nothing until the INVITE's final response is acknowledged.
    AwaitAck,
    /// A response to the INVITE that waits for one.
    Respond(Response),
    /// A request within the dialog; `CANCEL` for an INVITE of ours that has no final response.
    Send(Request),
    /// Digits by RFC 4733, each so long in ms.
    Digits(String, u32),
    /// From now on nothing of this call is answered, sent again or sent, media neither.
    Vanish,
}

/// A response to an INVITE.
#[derive(Debug, Clone)]
pub struct Response {
    /// 100 to 699.
    pub status: u16,
    /// For people.
    pub reason: String,
    /// What it carries.
    pub body: Body,
    /// Besides those that it must have.
    pub headers: Vec<(String, String)>,
    /// Which To-tag it has: 0 for the dialog that goes on, others for branches of a fork.
    pub fork: u8,
    /// With `Require: 100rel`, sent again until there is a PRACK (RFC 3262).
    pub reliable: bool,
}

/// A request within a dialog.
#[derive(Debug, Clone)]
pub struct Request {
    /// `BYE` and the like.
    pub method: String,
    /// What it carries.
    pub body: Body,
    /// Besides those that it must have.
    pub headers: Vec<(String, String)>,
}

/// What a message carries.
#[derive(Debug, Clone, Default)]
pub enum Body {
    /// Nothing: of an INVITE a late offer.
    #[default]
    None,
    /// Our description: an offer, or the answer to the one that came.
    Sdp(SdpChange),
    /// Content type and text.
    Text(String, String),
}

/// How our description differs from sending and listening with the first medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SdpChange {
    /// Who sends.
    pub direction: Direction,
    /// Another of [`super::SipPeerConfig::media`] from now on.
    pub media: Option<usize>,
    /// `c=IN IP4 0.0.0.0`, as RFC 2543 held.
    pub zero_address: bool,
}

impl SdpChange {
    /// Holds, or takes back.
    pub fn direction(direction: Direction) -> Self {
        Self {
            direction,
            ..Self::default()
        }
    }
}

impl Response {
    /// Without a body.
    pub fn new(status: u16, reason: &str) -> Self {
        Self {
            status,
            reason: reason.to_owned(),
            body: Body::None,
            headers: Vec::new(),
            fork: 0,
            reliable: false,
        }
    }

    /// `180 Ringing`
    pub fn ringing() -> Self {
        Self::new(180, "Ringing")
    }

    /// `183 Session Progress` with a description: early media.
    pub fn progress() -> Self {
        Self::new(183, "Session Progress").with_sdp()
    }

    /// `200 OK` with a description.
    pub fn ok() -> Self {
        Self::new(200, "OK").with_sdp()
    }

    /// With our description.
    #[must_use]
    pub fn with_sdp(self) -> Self {
        Self {
            body: Body::Sdp(SdpChange::default()),
            ..self
        }
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Of another branch.
    #[must_use]
    pub fn of_fork(self, fork: u8) -> Self {
        Self { fork, ..self }
    }

    /// With `100rel`.
    #[must_use]
    pub fn reliably(self) -> Self {
        Self {
            reliable: true,
            ..self
        }
    }
}

impl Request {
    /// Without a body.
    pub fn new(method: &str) -> Self {
        Self {
            method: method.to_owned(),
            body: Body::None,
            headers: Vec::new(),
        }
    }

    /// `BYE`
    pub fn bye() -> Self {
        Self::new("BYE")
    }

    /// `CANCEL`
    pub fn cancel() -> Self {
        Self::new("CANCEL")
    }

    /// An offer in the middle of the call; without SDP it asks for one.
    pub fn reinvite(change: Option<SdpChange>) -> Self {
        let body = change.map_or(Body::None, Body::Sdp);
        Self {
            body,
            ..Self::new("INVITE")
        }
    }

    /// `UPDATE` with or without an offer (RFC 3311).
    pub fn update(change: Option<SdpChange>) -> Self {
        Self {
            method: "UPDATE".to_owned(),
            ..Self::reinvite(change)
        }
    }

    /// A digit as `application/dtmf-relay`.
    pub fn info_digit(digit: char, duration_ms: u32) -> Self {
        let text = format!("Signal={digit}\r\nDuration={duration_ms}\r\n");
        Self {
            body: Body::Text("application/dtmf-relay".to_owned(), text),
            ..Self::new("INFO")
        }
    }

    /// Asks the other side to call somebody else (RFC 3515).
    pub fn refer(to: &str) -> Self {
        Self::new("REFER").with("Refer-To", &format!("<{to}>"))
    }

    /// How a transfer goes (RFC 3515 section 2.4.4).
    pub fn notify_refer(status_line: &str, subscription_state: &str) -> Self {
        Self {
            body: Body::Text("message/sipfrag".to_owned(), format!("{status_line}\r\n")),
            ..Self::new("NOTIFY")
        }
        .with("Event", "refer")
        .with("Subscription-State", subscription_state)
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Rings, and answers `after` that.
pub fn answer_after(after: Duration) -> Vec<Action> {
    vec![
        Action::Respond(Response::ringing()),
        Action::Wait(after),
        Action::Respond(Response::ok()),
    ]
}

/// Refuses at once.
pub fn refuse(status: u16, reason: &str) -> Vec<Action> {
    vec![Action::Respond(Response::new(status, reason))]
}
