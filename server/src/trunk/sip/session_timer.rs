//! Session timers (RFC 4028): who refreshes a session when, and when it is dead. Pure: it reads and names header values,
//! its owner sends the refreshes.

use std::time::{Duration, Instant};

use super::message::{HeaderName, Headers, value};

/// No session interval may be shorter (RFC 4028 section 4).
pub const MIN_SE_S: u32 = 90;

/// Who refreshes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresher {
    /// We do.
    Us,
    /// The far end does.
    FarEnd,
}

/// What a session timer says is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Refresh the session now.
    Refresh,
    /// The far end has not refreshed it: it is dead.
    Expired,
}

/// The timer of one session.
#[derive(Debug, Clone, Default)]
pub struct SessionTimer {
    state: Option<Running>,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    interval_s: u32,
    refresher: Refresher,
    refreshed_at: Instant,
}

/// A Session-Expires value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionExpires {
    /// The interval in seconds.
    pub interval_s: u32,
    /// `refresher=uac`, `refresher=uas`, or left open.
    pub refresher_is_uac: Option<bool>,
}

impl SessionExpires {
    /// Reads the header, if it is there and a number.
    pub fn read(headers: &Headers) -> Option<Self> {
        let interval_s = headers.number(&HeaderName::SessionExpires)?;
        let text = headers.get(&HeaderName::SessionExpires)?;
        let refresher = value::parameter(text, "refresher");
        Some(Self {
            interval_s,
            refresher_is_uac: refresher.map(|who| who.eq_ignore_ascii_case("uac")),
        })
    }

    /// The header's value.
    pub fn write(self) -> String {
        match self.refresher_is_uac {
            Some(true) => format!("{};refresher=uac", self.interval_s),
            Some(false) => format!("{};refresher=uas", self.interval_s),
            None => self.interval_s.to_string(),
        }
    }
}

impl SessionTimer {
    /// A 2xx to our request came (RFC 4028 section 7.2): without Session-Expires there is no timer.
    pub fn answered_to_us(&mut self, now: Instant, response: &Headers) {
        self.state = SessionExpires::read(response).map(|expires| Running {
            interval_s: expires.interval_s.max(MIN_SE_S),
            refresher: match expires.refresher_is_uac {
                Some(false) => Refresher::FarEnd,
                // An answer must name somebody; who does not say leaves it to the one who asked.
                Some(true) | None => Refresher::Us,
            },
            refreshed_at: now,
        });
    }

    /// We answer a request of the far end with 2xx (section 9): what our answer says, if it says anything, and whether
    /// it must demand the timer of the far end (`Require: timer`). `ours_s` is the longest interval that we want.
    pub fn answer(
        &mut self,
        now: Instant,
        request: &Headers,
        ours_s: u32,
    ) -> Option<(SessionExpires, bool)> {
        let supports = request.has_token(&HeaderName::Supported, "timer")
            || request.has_token(&HeaderName::Require, "timer");
        let asked = SessionExpires::read(request);
        let min_se_s = request
            .number(&HeaderName::MinSe)
            .unwrap_or(MIN_SE_S)
            .max(MIN_SE_S);
        let ours_s = ours_s.max(min_se_s);
        let interval_s = asked.map_or(ours_s, |asked| asked.interval_s.max(min_se_s).min(ours_s));
        // Who asked refreshes if it can and does not say otherwise; one who can't leaves it to us.
        let uac_refreshes = match (supports, asked.and_then(|asked| asked.refresher_is_uac)) {
            (false, _) => false,
            (true, Some(uac)) => uac,
            (true, None) => true,
        };
        let refresher = if uac_refreshes {
            Refresher::FarEnd
        } else {
            Refresher::Us
        };
        self.state = Some(Running {
            interval_s,
            refresher,
            refreshed_at: now,
        });
        let expires = SessionExpires {
            interval_s,
            refresher_is_uac: Some(uac_refreshes),
        };
        // A far end that does not know the timer is told nothing (section 9, table 2); we refresh it all the same.
        supports.then_some((expires, uac_refreshes))
    }

    /// What our refresh asks for: the interval, and that whoever refreshes now goes on to do so.
    pub fn refresh_request(&self, ours_s: u32) -> SessionExpires {
        SessionExpires {
            interval_s: self.state.map_or(ours_s, |running| running.interval_s),
            refresher_is_uac: self.state.map(|running| running.refresher == Refresher::Us),
        }
    }

    /// Who refreshes; none without a timer.
    pub fn refresher(&self) -> Option<Refresher> {
        self.state.map(|running| running.refresher)
    }

    /// When [`SessionTimer::due`] says something.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let running = self.state?;
        Some(running.refreshed_at + running.after())
    }

    /// What is due at `now`. A refresh is said once; it is our refresh's answer that starts the timer anew.
    pub fn due(&mut self, now: Instant) -> Option<Due> {
        let running = self.state.as_mut()?;
        if now < running.refreshed_at + running.after() {
            return None;
        }
        match running.refresher {
            Refresher::Us => {
                // Should our refresh get no answer, its transaction's end ends the session.
                running.refreshed_at = now;
                Some(Due::Refresh)
            }
            Refresher::FarEnd => {
                self.state = None;
                Some(Due::Expired)
            }
        }
    }
}

impl Running {
    /// A refresh at half of the interval; death a third of it, at most 32 s, before its end (RFC 4028 section 10).
    fn after(&self) -> Duration {
        let interval = Duration::from_secs(self.interval_s.into());
        match self.refresher {
            Refresher::Us => interval / 2,
            Refresher::FarEnd => interval - (interval / 3).min(Duration::from_secs(32)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(HeaderName, &str)]) -> Headers {
        let mut headers = Headers::default();
        for (name, value) in fields {
            headers.push(name.clone(), *value);
        }
        headers
    }

    #[test]
    fn we_refresh_at_half_of_the_interval() {
        let start = Instant::now();
        let mut timer = SessionTimer::default();
        timer.answered_to_us(
            start,
            &headers(&[(HeaderName::SessionExpires, "90;refresher=uac")]),
        );
        assert_eq!(timer.refresher(), Some(Refresher::Us));
        assert_eq!(timer.poll_timeout(), Some(start + Duration::from_secs(45)));
        assert_eq!(timer.due(start + Duration::from_secs(44)), None);
        let at = start + Duration::from_secs(45);
        assert_eq!(timer.due(at), Some(Due::Refresh));
        assert_eq!(timer.due(at), None, "said once");
    }

    #[test]
    fn a_far_end_that_does_not_refresh_is_dead() {
        let start = Instant::now();
        let mut timer = SessionTimer::default();
        let asked = headers(&[
            (HeaderName::Supported, "timer"),
            (HeaderName::SessionExpires, "90"),
        ]);
        let (expires, required) = timer
            .answer(start, &asked, 1800)
            .unwrap_or_else(|| panic!("it asked for one"));
        assert_eq!(expires.write(), "90;refresher=uac");
        assert!(required);
        let dead = start + Duration::from_secs(60);
        assert_eq!(timer.due(dead - Duration::from_millis(1)), None);
        assert_eq!(timer.due(dead), Some(Due::Expired));
        assert_eq!(timer.poll_timeout(), None);
    }

    #[test]
    fn a_refresh_of_the_far_end_starts_the_timer_anew() {
        let start = Instant::now();
        let mut timer = SessionTimer::default();
        let asked = headers(&[
            (HeaderName::Supported, "timer"),
            (HeaderName::SessionExpires, "90;refresher=uac"),
        ]);
        timer.answer(start, &asked, 1800);
        timer.answer(start + Duration::from_secs(45), &asked, 1800);
        assert_eq!(timer.due(start + Duration::from_secs(100)), None);
    }

    #[test]
    fn who_does_not_know_the_timer_is_refreshed_by_us() {
        let start = Instant::now();
        let mut timer = SessionTimer::default();
        assert_eq!(timer.answer(start, &headers(&[]), 1800), None);
        assert_eq!(timer.refresher(), Some(Refresher::Us));
        timer.answered_to_us(start, &headers(&[]));
        assert_eq!(timer.refresher(), None, "a 2xx without it ends it");
    }

    #[test]
    fn the_longer_minimum_counts() {
        let mut timer = SessionTimer::default();
        let asked = headers(&[
            (HeaderName::Supported, "timer"),
            (HeaderName::SessionExpires, "3600;refresher=uas"),
            (HeaderName::MinSe, "2400"),
        ]);
        let (expires, required) = timer
            .answer(Instant::now(), &asked, 1800)
            .unwrap_or_else(|| panic!("it asked for one"));
        assert_eq!(expires.write(), "2400;refresher=uas");
        assert!(!required);
    }
}
