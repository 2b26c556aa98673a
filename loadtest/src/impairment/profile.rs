//! What a direction does to datagrams. The default does nothing.

use std::time::Duration;

/// How bad a direction is. The stages are passed in the order of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Profile {
    /// What gets lost.
    pub loss: Loss,
    /// The bottleneck.
    pub rate: Option<RateCap>,
    /// What every datagram takes.
    pub delay: Duration,
    /// What it takes longer by chance. Order is kept: a datagram that catches up with the one before waits for it, as in a
    /// router's queue.
    pub jitter: Jitter,
    /// Which datagrams are overtaken.
    pub reorder: Option<Reorder>,
    /// How probably a datagram comes twice; the copy has a jitter of its own.
    pub duplicate: f64,
}

impl Profile {
    /// Loses each datagram with this probability.
    pub fn losing(probability: f64) -> Self {
        Self {
            loss: Loss::Random { probability },
            ..Self::default()
        }
    }

    /// Throttles to so many bits per second, with [`RateCap::new`]'s bucket and queue.
    pub fn capped(bits_per_s: u32) -> Self {
        Self {
            rate: Some(RateCap::new(bits_per_s)),
            ..Self::default()
        }
    }
}

/// What gets lost.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Loss {
    /// Nothing.
    #[default]
    None,
    /// Each datagram by itself.
    Random {
        /// How probably.
        probability: f64,
    },
    /// Bursts.
    Bursts(GilbertElliott),
}

/// A line with two states, good and bad, each with losses of its own; it may change before each datagram (Gilbert 1960, Elliott
/// 1963). A bad state lasts `1 / bad_to_good` datagrams on average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GilbertElliott {
    /// How probably good turns bad.
    pub good_to_bad: f64,
    /// How probably bad turns good.
    pub bad_to_good: f64,
    /// How probably a datagram is lost while the line is good.
    pub lost_in_good: f64,
    /// And while it is bad.
    pub lost_in_bad: f64,
}

/// A bottleneck: a token bucket before a bounded queue. What doesn't fit in the queue is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateCap {
    /// Bits of UDP payload per second; 0 lets nothing pass.
    pub bits_per_s: u32,
    /// What an idle line lets pass at once.
    pub bucket_bytes: u32,
    /// What waits at most.
    pub queue_bytes: u32,
}

impl RateCap {
    /// With a bucket of one large datagram and a queue of 300 ms (but never less than two large datagrams).
    pub fn new(bits_per_s: u32) -> Self {
        Self {
            bits_per_s,
            bucket_bytes: 1_500,
            queue_bytes: (bits_per_s / 8 * 3 / 10).max(3_000),
        }
    }
}

/// By what chance a datagram takes longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Jitter {
    /// It does not.
    #[default]
    None,
    /// Anything up to `max`, all alike.
    Uniform {
        /// The longest.
        max: Duration,
    },
    /// Mostly little, sometimes much: at most five times the mean.
    Exponential {
        /// The mean.
        mean: Duration,
    },
    /// Around the mean, at most five deviations off, never below zero.
    Normal {
        /// The mean.
        mean: Duration,
        /// The standard deviation.
        deviation: Duration,
    },
}

/// Which datagrams are overtaken, and by how many.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reorder {
    /// How probably a datagram is.
    pub probability: f64,
    /// By so many later ones; it leaves with the last of them, or after 200 ms when so many don't come.
    pub by: u32,
}
