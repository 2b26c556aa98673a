//! One WebSocket-PCM peer of a shard: its stream, its framing, its dialect and its media leg, without a task of its own.
//!
//! The media loop drains it at the tick and sends what it has to say once a tick ([`super::pcm_sockets`]). What the peer asks for
//! is carried out there and in [`super::pcm_calls`]; here is only what concerns the socket: messages in and out, pings, a peer
//! that does not read, the close (RFC 6455 sections 5.5 and 7).

use std::any::Any;
use std::time::{Duration, Instant};

use shards::tick_stream::{Flush, Read, TickStream};
use shards::wheel::Alarm;

use super::pcm_lag::{Lag, Send};
use super::{CallKey, SessionKey};
use crate::pcm::{
    Ask, Dialect, DialectStatistics, News, PcmEvent, PcmLeg, PcmStatistics, SocketEnd, Violation,
    ViolationKind,
};
use crate::websocket::{Message, Reader, Writer};

/// What is read of one socket per tick: 32 KiB are a second of what the fattest dialect sends.
const READ_BYTES_PER_TURN_MAX: usize = 32 << 10;
/// Audio is dropped rather than written while so much waits for a peer that does not read.
const UNSENT_AUDIO_BYTES_MAX: usize = 16 << 10;
/// A socket that takes nothing for so long is closed and counted.
const STALLED_MAX: Duration = Duration::from_secs(5);
/// What may wait for a peer that reads too slowly (contracts section 4); more, and it counts as stalled at once.
const UNSENT_BYTES_MAX: usize = 64 << 10;
/// How often a full socket is tried again. Nobody polls for room: a peer that reads has room at nearly every turn.
const RETRY_EVERY: Duration = Duration::from_millis(10);
/// A ping goes out when nothing has been heard for so long; twice as long, and the socket is lost.
const PING_AFTER: Duration = Duration::from_secs(20);
/// How long the peer has to answer our close. What it still sends is taken meanwhile: closing on unread bytes resets the connection
/// (RFC 9112 section 9.6), and it may lose the reason.
const CLOSE_WITHIN: Duration = Duration::from_secs(4);

/// A socket of this shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PcmKey(pub usize);

/// Whose a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PcmOwner {
    /// The vendor side of a call, or of none yet.
    Session(SessionKey),
    /// The trunk side of a call.
    Trunk(CallKey),
    /// Nobody's any more: it closes.
    Nobody,
}

/// See the module's documentation.
pub(super) struct PcmSocket {
    stream: TickStream,
    reader: Reader,
    writer: Writer,
    pub(super) dialect: Box<dyn Dialect>,
    /// None until the dialect knows how audio is coded.
    pub(super) leg: Option<PcmLeg>,
    pub(super) owner: PcmOwner,
    pub(super) alarm: Alarm,
    /// What the metrics know of the leg's counters already.
    pub(super) counted: PcmStatistics,
    /// The same of the dialect's.
    pub(super) messages_counted: DialectStatistics,
    /// In the list of those that have something to send.
    pub(super) is_dirty: bool,
    /// The stream may hold more than was read.
    pub(super) has_more: bool,
    last_heard: Instant,
    pinged: bool,
    blocked_since: Option<Instant>,
    retry_at: Option<Instant>,
    lag: Lag,
    /// We have closed; the peer has until then to do so.
    close_by: Option<Instant>,
    /// The stream brings nothing more.
    is_read_out: bool,
    /// The dialect knows that the socket is at its end.
    ended: bool,
    /// To be forgotten.
    gone: bool,
    /// Its place within the connection limits, given back with the socket.
    _place: Option<Box<dyn Any>>,
}

/// What came of a look at a socket.
pub(super) enum Step {
    /// The peer asks for something. Look again after it is done.
    Ask(Ask),
    /// Nothing now.
    Idle,
    /// Nothing ever again: forget it.
    Gone,
}

impl PcmSocket {
    pub(super) fn new(
        now: Instant,
        stream: TickStream,
        reader: Reader,
        writer: Writer,
        dialect: Box<dyn Dialect>,
        owner: PcmOwner,
        place: Option<Box<dyn Any>>,
    ) -> Self {
        Self {
            stream,
            reader,
            writer,
            dialect,
            leg: None,
            owner,
            alarm: Alarm::default(),
            counted: PcmStatistics::default(),
            messages_counted: DialectStatistics::default(),
            is_dirty: false,
            has_more: false,
            last_heard: now,
            pinged: false,
            blocked_since: None,
            retry_at: None,
            lag: Lag::default(),
            close_by: None,
            is_read_out: false,
            ended: false,
            gone: false,
            _place: place,
        }
    }

    /// Says what our side of the dialect begins with, on a socket that we opened.
    pub(super) fn open(&mut self, now: Instant) {
        self.dialect.open(now, &mut self.writer);
    }

    pub(super) fn stream(&self) -> &TickStream {
        &self.stream
    }

    /// When something was heard last; a peer that keeps its socket alive is no silent leg.
    pub(super) fn last_heard(&self) -> Instant {
        self.last_heard
    }

    /// Takes what has come up to the next thing that the peer asks for. `budget` is what may still be read in this turn.
    pub(super) fn step(&mut self, now: Instant, budget: &mut ReadBudget) -> Step {
        loop {
            if self.gone {
                return Step::Gone;
            }
            if let Some(ask) = self.dialect.poll_ask() {
                return Step::Ask(ask);
            }
            match self.reader.next() {
                Ok(Some(message)) => {
                    self.last_heard = now;
                    self.pinged = false;
                    let out = &mut self.writer;
                    let leg = self.leg.as_mut();
                    match message {
                        // Nobody listens any more.
                        Message::Text(_) | Message::Binary(_) if self.close_by.is_some() => {}
                        Message::Text(text) => {
                            self.dialect.handle_text(now, text, leg, out);
                        }
                        Message::Binary(bytes) => {
                            self.dialect.handle_binary(now, bytes, leg);
                        }
                        // Only the latest ping needs its pong (RFC 6455 section 5.5.3): who does not read gets none.
                        Message::Ping(_)
                            if self.stream.waiting_bytes() + out.buffer.len()
                                > UNSENT_AUDIO_BYTES_MAX => {}
                        Message::Ping(payload) => out.pong(payload),
                        Message::Pong(_) => {}
                        Message::Close { code, .. } => self.closed_by_peer(code),
                    }
                }
                Ok(None) if self.is_read_out && !self.ended => self.end(SocketEnd::Lost),
                Ok(None) if budget.0 == 0 || self.ended => return Step::Idle,
                Ok(None) => self.read(budget),
                Err(error) => {
                    if self.close_by.is_some() {
                        self.discard(budget);
                        return Step::Idle;
                    }
                    let fault = self.dialect.fault();
                    let mut violation =
                        Violation::new(ViolationKind::Protocol, fault, error.to_string());
                    violation.close_code = error.close_code();
                    return Step::Ask(Ask::Close(violation));
                }
            }
        }
    }

    fn read(&mut self, budget: &mut ReadBudget) {
        let before = self.reader.buffer().len();
        let outcome = self.stream.read(self.reader.buffer(), budget.0);
        let read = self.reader.buffer().len().saturating_sub(before);
        budget.0 = budget.0.saturating_sub(read);
        match outcome {
            Ok(Read::Empty) => {
                budget.0 = 0;
                self.has_more = false;
            }
            Ok(Read::More) => {
                self.has_more = true;
                // Records without a word in them hold nobody up.
                if read == 0 {
                    budget.0 = 0;
                }
            }
            // What came before it is read first.
            Ok(Read::End) | Err(_) => self.is_read_out = true,
        }
    }

    /// It has its close frame; what else it sends is taken and means nothing.
    fn discard(&mut self, budget: &mut ReadBudget) {
        let received = self.reader.buffer();
        received.clear();
        let outcome = self.stream.read(received, budget.0);
        received.clear();
        budget.0 = 0;
        self.has_more = matches!(outcome, Ok(Read::More));
        self.gone |= matches!(outcome, Ok(Read::End) | Err(_));
    }

    /// The peer's close frame: ours answers it, or is answered by it.
    fn closed_by_peer(&mut self, code: Option<u16>) {
        if self.close_by.is_none() {
            self.writer.close(code.unwrap_or(1000), "");
        }
        self.end(SocketEnd::Closed(code));
    }

    /// The socket brings nothing more; the dialect says what that means.
    fn end(&mut self, end: SocketEnd) {
        self.has_more = false;
        if self.close_by.is_some() {
            self.gone = true;
        } else if !self.ended {
            self.ended = true;
            self.dialect.handle_end(end);
        }
    }

    /// Tells the peer something.
    pub(super) fn tell(&mut self, news: News<'_>) {
        if self.close_by.is_none() {
            let out = &mut self.writer;
            self.dialect.handle_news(news, out);
        }
    }

    /// The leg has told something that the peer shall hear.
    pub(super) fn tell_leg_event(&mut self, event: PcmEvent) {
        if self.close_by.is_none() {
            let out = &mut self.writer;
            self.dialect.handle_leg_event(event, out);
        }
    }

    /// Writes what the leg has for the peer. Audio for a peer that does not read is dropped and counted.
    pub(super) fn write_frames(&mut self, now: Instant, frame: &mut [u8]) {
        let Some(leg) = self.leg.as_mut().filter(|_| self.close_by.is_none()) else {
            return;
        };
        let (dialect, writer) = (&mut self.dialect, &mut self.writer);
        while let Some(out) = leg.poll_frame(frame) {
            let written_before = writer.buffer.len();
            let unsent = self.stream.waiting_bytes() + written_before;
            let on_the_way = || self.stream.unacknowledged_bytes() + written_before;
            let send = match dialect.plays_on_arrival() {
                _ if unsent > UNSENT_AUDIO_BYTES_MAX => Send::Not,
                true => self.lag.next(now, on_the_way),
                false => Send::Now,
            };
            match send {
                Send::Not => {
                    leg.handle_unsent(out);
                    continue;
                }
                Send::AfterClear => dialect.handle_news(News::Cleared, writer),
                Send::Now => {}
            }
            let bytes = frame.get(..out.len).unwrap_or_default();
            let begin = writer.buffer.len();
            dialect.write_frame(now, bytes, writer);
            self.lag.written(writer.buffer.len() - begin);
            tell_marks(leg, dialect.as_mut(), writer);
        }
        // Those of a pause, and of audio that was dropped.
        tell_marks(leg, dialect.as_mut(), writer);
    }

    /// A mark for a peer that tells when it has played what came before it. It goes behind what its leg still holds, for else it
    /// would come back too early: at once if that is nothing, or with [`PcmSocket::write_frames`].
    pub(super) fn mark(&mut self, name: &str) {
        if let Some(leg) = self.leg.as_mut().filter(|_| self.close_by.is_none()) {
            leg.push_outgoing_mark(name);
            tell_marks(leg, self.dialect.as_mut(), &mut self.writer);
        }
    }

    /// Says why and closes; the peer's own close is waited for until [`PcmSocket::poll_timeout`].
    pub(super) fn close(&mut self, now: Instant, code: u16, reason: &str) {
        if self.close_by.is_some() {
            return;
        }
        let reason = &reason[..reason.floor_char_boundary(crate::pcm::CLOSE_REASON_LEN_MAX)];
        self.writer.close(code, reason);
        // A peer that has said its last word is waited for no longer than this turn's flush.
        self.close_by = Some(if self.ended { now } else { now + CLOSE_WITHIN });
    }

    /// Sends what waits once more, and ends the stream behind our Close; for a socket that is about to be dropped.
    pub(super) fn say_goodbye(&mut self) {
        self.stream.write(&self.writer.buffer);
        self.writer.buffer.clear();
        if self.close_by.is_some() {
            self.stream.close_notify();
        }
        // Whoever takes nothing now is not waited for.
        let _ = self.stream.flush();
    }

    /// Whether there is something to send, or somebody to be given up.
    pub(super) fn wants_flush(&self) -> bool {
        !self.writer.buffer.is_empty() || self.stream.waiting_bytes() > 0 || self.lag.is_behind()
    }

    /// Sends what waits, as far as the peer takes it: one system call. A peer that has taken nothing for 5 s is stalled, and one
    /// for which too much waits.
    pub(super) fn flush(&mut self, now: Instant) -> Result<(), Stalled> {
        if !self.writer.buffer.is_empty() {
            self.stream.write(&self.writer.buffer);
            self.writer.buffer.clear();
        }
        let lag = self.lag.duration(now);
        if lag.is_some_and(|lag| lag >= STALLED_MAX) {
            return Err(Stalled);
        }
        let before = self.stream.waiting_bytes();
        if before <= UNSENT_BYTES_MAX && self.retry_at.is_some_and(|at| now < at) {
            return Ok(());
        }
        self.retry_at = None;
        match self.stream.flush() {
            Ok(Flush::Done) => self.blocked_since = None,
            Ok(Flush::Blocked) => {
                self.retry_at = Some(now + RETRY_EVERY);
                if self.stream.waiting_bytes() > UNSENT_BYTES_MAX {
                    return Err(Stalled);
                }
                if self.stream.waiting_bytes() < before {
                    self.blocked_since = None;
                }
                let since = *self.blocked_since.get_or_insert(now);
                if now.saturating_duration_since(since) >= STALLED_MAX {
                    return Err(Stalled);
                }
            }
            // What is left to be read says more than that nothing can be written.
            Err(_) => {
                self.blocked_since = None;
                if self.close_by.is_some() {
                    self.gone = true;
                } else {
                    self.has_more = true;
                }
            }
        }
        Ok(())
    }

    /// The peer does not read: nothing can be told to it.
    pub(super) fn stalled(&self) -> Violation {
        let reason = match self.stream.waiting_bytes() > UNSENT_BYTES_MAX {
            true => format!(
                "read so slowly that more than {} KiB wait",
                UNSENT_BYTES_MAX >> 10
            ),
            false => format!("nothing was read for {} s", STALLED_MAX.as_secs()),
        };
        Violation::new(ViolationKind::Stalled, self.dialect.fault(), reason)
    }

    /// Does what is due: the leg's clock, the dialect's deadline, a ping, the end of our patience.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some(by) = self.close_by {
            // Nobody speaks any more: leg and dialect are there for their call's account alone.
            self.gone |= by <= now;
            return;
        }
        if let Some(leg) = &mut self.leg
            && leg.poll_timeout().is_some_and(|due| due <= now)
        {
            leg.handle_timeout(now);
        }
        self.dialect.handle_timeout(now);
        if self.ping_due() <= now {
            match self.pinged {
                false => {
                    self.pinged = true;
                    self.writer.ping(b"");
                }
                true => self.end(SocketEnd::Lost),
            }
        }
    }

    /// When [`PcmSocket::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if let Some(by) = self.close_by {
            return Some(by);
        }
        let dialect = self.dialect.poll_timeout();
        let leg = self.leg.as_ref().and_then(PcmLeg::poll_timeout);
        let ping = Some(self.ping_due());
        [dialect, leg, ping].into_iter().flatten().min()
    }

    fn ping_due(&self) -> Instant {
        let pings = if self.pinged { 2 } else { 1 };
        self.last_heard + pings * PING_AFTER
    }
}

fn tell_marks(leg: &mut PcmLeg, dialect: &mut dyn Dialect, writer: &mut Writer) {
    while let Some(name) = leg.poll_outgoing_mark() {
        dialect.handle_news(News::Mark { name: &name }, writer);
    }
}

/// What may be read of one socket in one turn, in bytes.
pub(super) struct ReadBudget(usize);

impl ReadBudget {
    /// Nothing is read: only what was read before is looked at.
    pub(super) fn none() -> Self {
        Self(0)
    }
}

impl Default for ReadBudget {
    fn default() -> Self {
        Self(READ_BYTES_PER_TURN_MAX)
    }
}

/// See [`PcmSocket::flush`].
pub(super) struct Stalled;
