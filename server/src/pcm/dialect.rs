//! What is spoken on a WebSocket-PCM socket: the trait of all dialects, and what every one of them keeps.
//!
//! A dialect is sans-I/O, and knows its messages alone. What is the same for all is done here, once: no message is read and
//! nothing is written after the last ask or the end of the call, every message takes from an allowance, a broken rule closes
//! the socket.
//!
//! | whoever owns the socket calls | when |
//! | --- | --- |
//! | `open` | on a socket that we dialled: the first messages |
//! | `handle_text`, `handle_binary` | a message came; audio goes into the leg at once, the rest comes out of `poll_ask` |
//! | `handle_end` | the socket is gone, or the peer closed it |
//! | `handle_news` | our side has something to tell the peer |
//! | `handle_leg_event` | the leg's `poll_event` gave something |
//! | `write_frame` | the leg's `poll_frame` gave 20 ms of audio |
//! | `poll_ask` | after each of these, until there is none |
//! | `poll_timeout`, `handle_timeout` | the peer's time to begin |
//!
//! A dialect never writes a close frame: the owner does, after [`Ask::Close`] with the violation's code, after
//! [`News::Ended`] and [`Ask::HangUp`] with 1000.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::{Ask, Asks, MarkError, News, PcmEvent, PcmLeg, SocketEnd, Violation, ViolationKind};
use crate::fault::Fault;
use crate::websocket::Writer;

/// How long a peer has to begin its stream after the upgrade.
pub const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages per second that a peer may send for long: twenty times what 20 ms frames need.
pub const MESSAGES_PER_S_MAX: u32 = 1000;
/// Messages that a peer may send at once: minutes of speech, cut into 20 ms.
pub const MESSAGES_BURST_MAX: u32 = 20_000;

/// A dialect at one socket. It has the methods without a body, and those of the others that it needs; the rest, from
/// [`Dialect::handle_text`] on, is the same for all.
pub trait Dialect {
    /// What every dialect keeps.
    fn state(&self) -> &DialectState;

    /// The same, to be changed.
    fn state_mut(&mut self) -> &mut DialectState;

    /// Reads a text message; its audio goes into the leg, if there is one already.
    ///
    /// # Errors
    /// The peer broke a rule.
    fn read_text(
        &mut self,
        now: Instant,
        text: &str,
        leg: Option<&mut PcmLeg>,
        out: &mut Writer,
    ) -> Result<(), Violation>;

    /// Reads a binary message.
    ///
    /// # Errors
    /// The peer broke a rule: where the dialect says nothing else, it has none.
    fn read_binary(
        &mut self,
        _now: Instant,
        _bytes: &[u8],
        _leg: Option<&mut PcmLeg>,
    ) -> Result<(), Violation> {
        let reason = "the dialect has no binary messages";
        Err(self
            .state()
            .violation(ViolationKind::WrongFrameKind, reason))
    }

    /// Writes what the peer shall hear of news; after [`News::Ended`] it is not called again.
    fn tell(&mut self, news: News<'_>, out: &mut Writer);

    /// Writes what the peer shall hear of its leg.
    fn tell_leg_event(&mut self, _event: PcmEvent, _out: &mut Writer) {}

    /// Writes 20 ms of audio.
    fn write_audio(&mut self, now: Instant, frame: &[u8], out: &mut Writer);

    /// Writes what our side begins with, once, on a socket that we dialled.
    fn open(&mut self, _now: Instant, _out: &mut Writer) {}

    /// Digits for this peer are played as tones: its dialect has no message for them.
    fn hears_tones(&self) -> bool {
        false
    }

    /// It tells when it has played what was sent before a mark.
    fn tells_marks(&self) -> bool {
        false
    }

    /// It plays audio as it comes, without ever making up for what came late.
    fn plays_on_arrival(&self) -> bool {
        false
    }

    /// A text message came.
    fn handle_text(
        &mut self,
        now: Instant,
        text: &str,
        leg: Option<&mut PcmLeg>,
        out: &mut Writer,
    ) {
        if self.state().is_over() {
            return;
        }
        let allowed = self.state_mut().take_message(now);
        if let Err(violation) = allowed.and_then(|()| self.read_text(now, text, leg, out)) {
            self.state_mut().ask(Ask::Close(violation));
        }
    }

    /// A binary message came.
    fn handle_binary(&mut self, now: Instant, bytes: &[u8], leg: Option<&mut PcmLeg>) {
        if self.state().is_over() {
            return;
        }
        let allowed = self.state_mut().take_message(now);
        if let Err(violation) = allowed.and_then(|()| self.read_binary(now, bytes, leg)) {
            self.state_mut().ask(Ask::Close(violation));
        }
    }

    /// The socket ended. After the peer's last word that is as it should be.
    fn handle_end(&mut self, end: SocketEnd) {
        let ask = end.hang_up(self.fault());
        self.state_mut().ask(ask);
    }

    /// Our side has news.
    fn handle_news(&mut self, news: News<'_>, out: &mut Writer) {
        if self.state().is_over() {
            return;
        }
        self.tell(news, out);
        if matches!(news, News::Ended { .. }) {
            self.state_mut().asks.end();
        }
    }

    /// The leg has news.
    fn handle_leg_event(&mut self, event: PcmEvent, out: &mut Writer) {
        if !self.state().is_over() {
            self.tell_leg_event(event, out);
        }
    }

    /// The leg has 20 ms of audio for the peer.
    fn write_frame(&mut self, now: Instant, frame: &[u8], out: &mut Writer) {
        if !self.state().is_over() {
            self.write_audio(now, frame, out);
        }
    }

    /// What the peer asks for.
    fn poll_ask(&mut self) -> Option<Ask> {
        self.state_mut().asks.pop()
    }

    /// When [`Dialect::handle_timeout`] wants to be called.
    fn poll_timeout(&self) -> Option<Instant> {
        let state = self.state();
        state.begin_by.filter(|_| !state.is_over())
    }

    /// Time has passed.
    fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|due| due <= now) {
            let state = self.state_mut();
            state.begin_by = None;
            let violation = state.violation(ViolationKind::Timeout, "no start came in time");
            state.ask(Ask::Close(violation));
        }
    }

    /// Whom a broken rule is blamed on.
    fn fault(&self) -> Fault {
        self.state().fault
    }

    /// What was counted.
    fn statistics(&self) -> DialectStatistics {
        self.state().statistics
    }
}

/// What every dialect keeps.
#[derive(Debug)]
pub struct DialectState {
    fault: Fault,
    asks: Asks,
    allowance: MessageAllowance,
    /// When the peer has to have begun, while it has not.
    pub begin_by: Option<Instant>,
    /// What is counted.
    pub statistics: DialectStatistics,
}

impl DialectState {
    /// That of a socket that was just upgraded; `fault` is whom a broken rule is blamed on.
    pub fn new(now: Instant, fault: Fault) -> Self {
        Self {
            fault,
            asks: Asks::default(),
            allowance: MessageAllowance::new(now),
            begin_by: None,
            statistics: DialectStatistics::default(),
        }
    }

    /// The peer asks for this.
    pub fn ask(&mut self, ask: Ask) {
        self.asks.push(ask);
    }

    /// Audio of a binary message: the leg's, if there is one.
    pub fn take_audio(&mut self, now: Instant, bytes: &[u8], leg: Option<&mut PcmLeg>) {
        match leg {
            Some(leg) => {
                self.statistics.media_received += 1;
                leg.handle_audio(now, bytes);
            }
            None => self.statistics.media_unused += 1,
        }
    }

    /// A broken rule of the peer's.
    pub fn violation(&self, kind: ViolationKind, reason: impl Into<String>) -> Violation {
        Violation::new(kind, self.fault, reason)
    }

    /// A mark of the peer's that is not taken.
    pub fn refused_mark(&self, error: MarkError) -> Violation {
        let kind = match error {
            MarkError::TooMany => ViolationKind::TooMany,
            MarkError::NameTooLong(_) => ViolationKind::TooLong,
        };
        self.violation(kind, error.to_string())
    }

    /// A text as the message that it has to be.
    ///
    /// # Errors
    /// It is not the JSON that the dialect has.
    pub fn parse<'a, Message: Deserialize<'a>>(&self, text: &'a str) -> Result<Message, Violation> {
        serde_json::from_str(text).map_err(|error| Violation::unreadable(&error, self.fault))
    }

    /// The last ask was made, or the call has ended: nothing is read or written any more.
    fn is_over(&self) -> bool {
        self.asks.is_over()
    }

    fn take_message(&mut self, now: Instant) -> Result<(), Violation> {
        self.allowance.take(now, self.fault)
    }
}

/// What a dialect counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DialectStatistics {
    /// Messages with audio that came.
    pub media_received: u64,
    /// Messages with audio that were written.
    pub media_sent: u64,
    /// Messages that the peer numbered and that never came.
    pub media_missing: u64,
    /// Messages with audio that nobody could take: before the leg, muted, of another track.
    pub media_unused: u64,
    /// Messages that mean nothing to us and were ignored.
    pub ignored: u64,
}

/// Lets [`MESSAGES_PER_S_MAX`] messages pass per second, and [`MESSAGES_BURST_MAX`] at once.
#[derive(Debug)]
struct MessageAllowance {
    left: u32,
    /// Up to when the allowance was filled.
    filled: Instant,
}

impl MessageAllowance {
    /// The whole burst, from now on.
    pub fn new(now: Instant) -> Self {
        Self {
            left: MESSAGES_BURST_MAX,
            filled: now,
        }
    }

    /// Takes one message.
    ///
    /// # Errors
    /// It is one too many: a flood.
    pub fn take(&mut self, now: Instant, fault: Fault) -> Result<(), Violation> {
        if self.left == 0 {
            self.fill(now);
        }
        let Some(left) = self.left.checked_sub(1) else {
            let reason = format!("more than {MESSAGES_PER_S_MAX} messages per second");
            return Err(Violation::new(ViolationKind::Flood, fault, reason));
        };
        self.left = left;
        Ok(())
    }

    fn fill(&mut self, now: Instant) {
        let passed_ms = now.saturating_duration_since(self.filled).as_millis();
        let earned = passed_ms * u128::from(MESSAGES_PER_S_MAX) / 1000;
        self.left = u32::try_from(earned).map_or(MESSAGES_BURST_MAX, |n| n.min(MESSAGES_BURST_MAX));
        self.filled = now;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Reads anything, and writes a letter of whatever it is told.
    struct Echo(DialectState);

    impl Dialect for Echo {
        fn state(&self) -> &DialectState {
            &self.0
        }

        fn state_mut(&mut self) -> &mut DialectState {
            &mut self.0
        }

        fn read_text(
            &mut self,
            _: Instant,
            text: &str,
            _: Option<&mut PcmLeg>,
            _: &mut Writer,
        ) -> Result<(), Violation> {
            self.0.statistics.ignored += 1;
            match text {
                "bad" => Err(self.0.violation(ViolationKind::UnknownMessage, text)),
                _ => Ok(()),
            }
        }

        fn tell(&mut self, _: News<'_>, out: &mut Writer) {
            out.text(|buffer| buffer.push(b'n'));
        }

        fn tell_leg_event(&mut self, _: PcmEvent, out: &mut Writer) {
            out.text(|buffer| buffer.push(b'e'));
        }

        fn write_audio(&mut self, _: Instant, _: &[u8], out: &mut Writer) {
            out.text(|buffer| buffer.push(b'a'));
        }
    }

    /// All that a dialect may be told; says how many bytes that led to.
    fn written(echo: &mut Echo, now: Instant) -> usize {
        let mut out = Writer::server();
        echo.handle_news(News::Cleared, &mut out);
        echo.handle_leg_event(PcmEvent::BargeIn { played_ms: 1 }, &mut out);
        echo.write_frame(now, &[0; 160], &mut out);
        out.buffer.len()
    }

    #[test]
    fn nothing_is_read_or_written_after_the_end() {
        let now = Instant::now();
        for end in 0..4 {
            let mut echo = Echo(DialectState::new(now, Fault::Vendor));
            echo.state_mut().begin_by = Some(now + START_TIMEOUT);
            let mut out = Writer::server();
            echo.handle_text(now, "good", None, &mut out);
            assert_eq!(written(&mut echo, now), 9, "three messages of a letter");
            assert_eq!(echo.poll_ask(), None);
            match end {
                0 => echo.handle_text(now, "bad", None, &mut out),
                1 => echo.handle_binary(now, &[1], None),
                2 => echo.handle_end(SocketEnd::Lost),
                _ => {
                    let (cause, reason) = (crate::call::q850::Q850Cause::NORMAL, "over");
                    echo.handle_news(News::Ended { cause, reason }, &mut out);
                    assert_eq!(out.buffer.len(), 3, "the end itself is told");
                }
            }
            let read = echo.statistics().ignored;
            assert_eq!(written(&mut echo, now), 0);
            echo.handle_text(now, "good", None, &mut out);
            echo.handle_binary(now, &[1], None);
            echo.handle_timeout(now + START_TIMEOUT);
            assert_eq!(echo.poll_timeout(), None);
            assert_eq!(echo.statistics().ignored, read);
            let asks = std::iter::from_fn(|| echo.poll_ask()).count();
            assert_eq!(asks, usize::from(end < 3));
        }
    }

    #[test]
    fn every_message_takes_from_the_allowance() {
        let now = Instant::now();
        let mut echo = Echo(DialectState::new(now, Fault::Agent));
        for _ in 0..MESSAGES_BURST_MAX {
            echo.handle_text(now, "good", None, &mut Writer::server());
        }
        echo.handle_binary(now, &[1], None);
        let flood = echo.poll_ask();
        assert!(
            matches!(flood, Some(Ask::Close(of)) if (of.kind, of.fault) == (ViolationKind::Flood, Fault::Agent))
        );
    }

    #[test]
    fn floods_are_stopped_and_speech_is_not() {
        let mut now = Instant::now();
        let mut allowance = MessageAllowance::new(now);
        for _ in 0..MESSAGES_BURST_MAX {
            allowance.take(now, Fault::Agent).unwrap();
        }
        let flood = allowance.take(now, Fault::Agent).unwrap_err();
        assert_eq!(flood.kind, ViolationKind::Flood);
        for _ in 0..60_000 {
            now += Duration::from_millis(1);
            allowance.take(now, Fault::Agent).unwrap();
        }
        assert!(allowance.take(now, Fault::Agent).is_err());
    }
}
