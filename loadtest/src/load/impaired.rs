//! Bad networks for a load test: `loss=5,jitter=30,reorder=2,duplicate=2,delay=20,rate=64`, done by a relay between each caller
//! and the gateway, both ways.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use is::Candidate;

use super::webrtc::RemoteAnswer;
use crate::impairment::{Direction, ImpairmentRelay, Jitter, Loss, Profile, RateCap, Reorder};

/// Overtaken datagrams are overtaken by so many.
const OVERTAKEN_BY: u32 = 2;
/// A datagram is held for so long at most, in ms.
const DELAY_MS_MAX: f64 = 10_000.0;

/// A profile with the words that it was written in.
#[derive(Debug, Clone, PartialEq)]
pub struct Impairment {
    text: String,
    profile: Profile,
}

impl Impairment {
    /// A relay in front of the gateway that answered; the answer's candidates become the relay.
    ///
    /// # Errors
    /// A socket, or an answer without a candidate.
    pub fn relay(&self, answer: &mut RemoteAnswer, seed: u64) -> io::Result<ImpairmentRelay> {
        let target = answer.candidates.first().map(Candidate::addr);
        let target = target.ok_or_else(|| io::Error::other("no candidate to relay to"))?;
        let relay = ImpairmentRelay::start(target, seed)?;
        for direction in Direction::BOTH {
            relay.set(direction, self.profile);
        }
        let candidate = Candidate::host(relay.local_addr(), "udp").map_err(io::Error::other)?;
        answer.candidates = vec![candidate];
        Ok(relay)
    }
}

impl fmt::Display for Impairment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Impairment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut profile = Profile::default();
        for part in text.split(',') {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?} is no NAME=NUMBER"))?;
            let number: f64 = value
                .parse()
                .map_err(|_| format!("{name}: {value:?} is no number"))?;
            set(&mut profile, name, number)?;
        }
        Ok(Self {
            text: text.to_owned(),
            profile,
        })
    }
}

fn set(profile: &mut Profile, name: &str, value: f64) -> Result<(), String> {
    let within = |most: f64, unit: &str| {
        if (0.0..=most).contains(&value) {
            Ok(value)
        } else {
            Err(format!("{name}={value}: between 0 and {most} {unit}"))
        }
    };
    let share = || Ok::<_, String>(within(100.0, "%")? / 100.0);
    let time = || {
        Ok::<_, String>(Duration::from_secs_f64(
            within(DELAY_MS_MAX, "ms")? / 1000.0,
        ))
    };
    match name {
        "loss" => {
            profile.loss = Loss::Random {
                probability: share()?,
            }
        }
        "jitter" => profile.jitter = Jitter::Uniform { max: time()? },
        "delay" => profile.delay = time()?,
        "duplicate" => profile.duplicate = share()?,
        "reorder" => {
            profile.reorder = Some(Reorder {
                probability: share()?,
                by: OVERTAKEN_BY,
            });
        }
        "rate" => profile.rate = Some(RateCap::new((within(1e6, "kbit/s")? * 1000.0) as u32)),
        _ => {
            return Err(format!(
                "{name}: there are loss, reorder, duplicate (%), delay, jitter (ms), rate (kbit/s)"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn a_profile_is_read() {
        let read: Impairment = "loss=5,jitter=30,reorder=2,delay=20,rate=64"
            .parse()
            .unwrap();
        assert_eq!(read.profile.loss, Loss::Random { probability: 0.05 });
        assert_eq!(read.profile.delay, Duration::from_millis(20));
        assert_eq!(read.profile.rate.unwrap().bits_per_s, 64_000);
        assert_eq!(
            read.to_string(),
            "loss=5,jitter=30,reorder=2,delay=20,rate=64"
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| text.parse::<Impairment>().unwrap_err();
        assert!(error("loss").contains("NAME=NUMBER"));
        assert!(error("loss=x").contains("no number"));
        assert!(error("loss=101").contains("between 0 and 100"));
        assert!(error("jitter=-1").contains("ms"));
        assert!(error("noise=1").contains("noise"));
    }
}
