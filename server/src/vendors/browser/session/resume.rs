//! A session between two sockets: what counts as lost, what waits for the page, and when nobody waits any more.
//!
//! A page that is done says so: `hangup`, or a close frame without a code, with 1000 or with 1001 (a page that goes away takes
//! its media with it). Anything else is a lost socket, and a session with something worth going on with, a call or connected
//! media, waits for the next one. CallEvents that the page could not hear wait in order and are told once; what only matters
//! to the moment (statistics, pongs, the answer to an offer that the page has to make again anyhow) does not.

use std::time::{Duration, Instant};

use super::{Action, BrowserSession, Call, ServerMessage, State, Welcome};

/// Messages that wait for a page that is away. Digits may take half of them and then go missing; a call that has more events
/// than the whole is ended.
pub const BACKLOG_MAX: usize = 256;

/// Whether there is a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    Up,
    Lost { until: Instant },
}

/// Does a close frame with this code say that the page is done? Otherwise it means to come back.
pub fn says_goodbye(code: Option<u16>) -> bool {
    // 1005 is what a library may say for a frame without a code (RFC 6455 section 7.4.1).
    matches!(code, None | Some(1000 | 1001 | 1005))
}

impl BrowserSession {
    /// The socket was lost, or the page closed it to come back. `unsent` is what was said and did not reach the page; `media`:
    /// its media leg is connected. Actions that are not about the socket stay to be carried out.
    pub fn handle_loss(&mut self, now: Instant, unsent: Vec<ServerMessage>, media: bool) {
        let mut undelivered = unsent;
        for action in std::mem::take(&mut self.actions) {
            match action {
                Action::Send(message) => undelivered.push(message),
                // It stays the farewell.
                Action::Close { .. } => {}
                other => self.actions.push_back(other),
            }
        }
        let may_resume = self.grant.is_some() && self.settings.signal_grace > Duration::ZERO;
        let worth_it = match self.state {
            State::Ended => self.farewell.is_some() && !undelivered.is_empty(),
            State::Parted => true,
            _ => self.call != Call::None || (media && !self.draining),
        };
        if !may_resume || !worth_it {
            return self.abandon("the caller's signalling socket was lost".to_owned());
        }
        if self.state == State::Ended {
            self.state = State::Parted;
        }
        let until = now + self.settings.signal_grace;
        self.line = Line::Lost { until };
        for message in undelivered {
            self.keep(message);
        }
    }

    /// The page has come back on another socket, with the token that was told it last; `welcome` has the next one. Everything that waited follows
    /// `session`.
    pub fn resumed(&mut self, welcome: Welcome) {
        if self.state == State::Ended {
            return;
        }
        self.line = Line::Up;
        let session = self.session_message(welcome);
        self.actions.push_back(Action::Send(session));
        let backlog = std::mem::take(&mut self.backlog);
        self.actions.extend(backlog.into_iter().map(Action::Send));
        if self.state == State::Parted {
            self.actions.extend(self.farewell.clone());
            self.end();
        }
    }

    /// Whether the page is away, and may come back.
    pub fn waits_for_page(&self) -> bool {
        matches!(self.line, Line::Lost { .. }) && self.state != State::Ended
    }

    /// Whether nothing is left to be said or done.
    pub fn is_over(&self) -> bool {
        self.state == State::Ended && self.actions.is_empty()
    }

    pub(super) fn given_up_at(&self) -> Option<Instant> {
        match self.line {
            Line::Lost { until } if self.state != State::Ended => Some(until),
            Line::Lost { .. } | Line::Up => None,
        }
    }

    /// The page did not come back in time.
    pub(super) fn give_up(&mut self) {
        let grace_ms = self.settings.signal_grace.as_millis();
        self.abandon(format!(
            "the caller's signalling socket was lost and the session not resumed within {grace_ms} ms"
        ));
    }

    pub(super) fn abandon(&mut self, reason: String) {
        if self.state != State::Ended {
            self.call = Call::None;
            self.actions.push_back(Action::Abandon { reason });
        }
        self.farewell = None;
        self.backlog.clear();
        self.end();
    }

    /// Keeps a message for the page that is away.
    pub(super) fn keep(&mut self, message: ServerMessage) {
        let room = match message {
            ServerMessage::Session { .. }
            | ServerMessage::Answer { .. }
            | ServerMessage::Stats(_)
            | ServerMessage::Pong { .. } => return,
            ServerMessage::Dtmf { .. } => BACKLOG_MAX / 2,
            _ => BACKLOG_MAX,
        };
        if self.backlog.len() < room {
            self.backlog.push_back(message);
        } else if room == BACKLOG_MAX {
            self.abandon(format!(
                "the caller was away while its call had more than {BACKLOG_MAX} events"
            ));
        }
    }
}
