//! One direction of a bad network, sans I/O. The stages: chosen losses, blackout, loss, bottleneck, delay and jitter, reordering,
//! copies. Everything by chance comes from the seed, with dice of its own for each stage, so that a changed stage leaves what the
//! others do to a packet as it was.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::counters::{Counters, LossCause};
use super::dice::Dice;
use super::profile::{GilbertElliott, Loss, Profile};

/// The most datagrams on their way; further ones are lost as by a full queue.
const UNDER_WAY_MAX: usize = 10_000;
/// How long a datagram waits to be overtaken.
const OVERTAKEN_WITHIN: Duration = Duration::from_millis(200);

/// Says whether a datagram is to be lost.
type Predicate = Box<dyn FnMut(&[u8]) -> bool + Send>;

/// One direction. `T` is whatever the owner wants to know of a datagram when it comes out, such as whose it is.
pub struct Link<T> {
    profile: Profile,
    dice: StageDice,
    /// The state of [`Loss::Bursts`].
    is_bad: bool,
    selections: Vec<Selection>,
    is_cut: bool,
    blackout: Option<(Instant, Instant)>,
    /// When the bottleneck has sent all before; in the past by as much as the bucket is full.
    line_free_at: Option<Instant>,
    last_departure: Option<Instant>,
    /// How many datagrams were put under way: those that depart at once do so in this order.
    departures: u64,
    under_way: BinaryHeap<UnderWay<T>>,
    overtaken: Vec<Overtaken<T>>,
    counters: Counters,
}

struct StageDice {
    loss: Dice,
    jitter: Dice,
    reorder: Dice,
    duplicate: Dice,
}

struct Selection {
    predicate: Predicate,
    left: u32,
}

struct UnderWay<T> {
    departs_at: Instant,
    number: u64,
    tag: T,
    datagram: Vec<u8>,
}

struct Overtaken<T> {
    departs_at: Instant,
    left: u32,
    tag: T,
    datagram: Vec<u8>,
}

impl<T: Clone> Link<T> {
    /// A direction that does nothing yet.
    pub fn new(seed: u64) -> Self {
        Self {
            profile: Profile::default(),
            dice: StageDice {
                loss: Dice::new(seed, 1),
                jitter: Dice::new(seed, 2),
                reorder: Dice::new(seed, 3),
                duplicate: Dice::new(seed, 4),
            },
            is_bad: false,
            selections: Vec::new(),
            is_cut: false,
            blackout: None,
            line_free_at: None,
            last_departure: None,
            departures: 0,
            under_way: BinaryHeap::new(),
            overtaken: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// From now on; what is under way stays as it is.
    pub fn set(&mut self, profile: Profile) {
        self.profile = profile;
    }

    /// Loses the next `count` datagrams that `predicate` chooses.
    pub fn lose_selected(
        &mut self,
        count: u32,
        predicate: impl FnMut(&[u8]) -> bool + Send + 'static,
    ) {
        if count > 0 {
            self.selections.push(Selection {
                predicate: Box::new(predicate),
                left: count,
            });
        }
    }

    /// Loses all that comes in from `from` until before `until`.
    pub fn black_out(&mut self, from: Instant, until: Instant) {
        self.blackout = Some((from, until));
    }

    /// Loses all that comes in, or no longer.
    pub fn set_cut(&mut self, is_cut: bool) {
        self.is_cut = is_cut;
    }

    /// What it did so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// A datagram comes in.
    pub fn handle_datagram(&mut self, now: Instant, tag: T, datagram: &[u8]) {
        self.counters.count_received(datagram);
        // Every die is thrown for every datagram, whatever becomes of it.
        let lost_by_chance = self.is_lost_by_chance();
        let is_reordered = self
            .dice
            .reorder
            .happens(self.profile.reorder.map_or(0.0, |it| it.probability));
        let is_duplicated = self.dice.duplicate.happens(self.profile.duplicate);
        let jitter = self.dice.jitter.delay(self.profile.jitter);
        let copy_jitter = self.dice.jitter.delay(self.profile.jitter);

        let lost_by = if self.is_selected(datagram) {
            Some(LossCause::Selected)
        } else if self.is_blacked_out(now) {
            Some(LossCause::Blackout)
        } else {
            lost_by_chance
        };
        if let Some(cause) = lost_by {
            self.counters.count_lost(datagram, cause);
            return;
        }
        let Some(sent_at) = self.send_through_bottleneck(now, datagram.len()) else {
            self.counters.count_lost(datagram, LossCause::QueueFull);
            return;
        };
        let departs_at = self.in_order(sent_at + self.profile.delay + jitter);
        match self.profile.reorder.filter(|_| is_reordered) {
            Some(reorder) => {
                self.counters.count(datagram, |tally| &mut tally.reordered);
                self.overtaken.push(Overtaken {
                    departs_at,
                    left: reorder.by,
                    tag: tag.clone(),
                    datagram: datagram.to_vec(),
                });
            }
            None => {
                self.put_under_way(departs_at, tag.clone(), datagram.to_vec());
                self.overtake(departs_at);
            }
        }
        if is_duplicated {
            self.counters.count(datagram, |tally| &mut tally.duplicated);
            let departs_at = self.in_order(sent_at + self.profile.delay + copy_jitter);
            self.put_under_way(departs_at, tag, datagram.to_vec());
        }
    }

    /// The next datagram that is due at `now`.
    pub fn poll_datagram(&mut self, now: Instant) -> Option<(T, Vec<u8>)> {
        self.give_up_overtaking(now);
        if self.under_way.peek()?.departs_at > now {
            return None;
        }
        let UnderWay { tag, datagram, .. } = self.under_way.pop()?;
        self.counters.count(&datagram, |tally| &mut tally.delivered);
        Some((tag, datagram))
    }

    /// When [`Link::poll_datagram`] has the next one, if nothing comes in before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let departs_at = self.under_way.peek().map(|it| it.departs_at);
        let given_up_at = self
            .overtaken
            .iter()
            .map(|it| it.departs_at + OVERTAKEN_WITHIN);
        departs_at.into_iter().chain(given_up_at).min()
    }

    fn is_selected(&mut self, datagram: &[u8]) -> bool {
        let Some(chosen) = self
            .selections
            .iter_mut()
            .position(|selection| (selection.predicate)(datagram))
        else {
            return false;
        };
        // The position is of this list.
        let left = &mut self.selections[chosen].left;
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.selections.remove(chosen);
        }
        true
    }

    fn is_blacked_out(&self, now: Instant) -> bool {
        self.is_cut
            || self
                .blackout
                .is_some_and(|(from, until)| (from..until).contains(&now))
    }

    fn is_lost_by_chance(&mut self) -> Option<LossCause> {
        let dice = &mut self.dice.loss;
        match self.profile.loss {
            Loss::None => None,
            Loss::Random { probability } => dice.happens(probability).then_some(LossCause::Random),
            Loss::Bursts(GilbertElliott {
                good_to_bad,
                bad_to_good,
                lost_in_good,
                lost_in_bad,
            }) => {
                let changes = dice.happens(if self.is_bad {
                    bad_to_good
                } else {
                    good_to_bad
                });
                self.is_bad ^= changes;
                let lost = dice.happens(if self.is_bad {
                    lost_in_bad
                } else {
                    lost_in_good
                });
                lost.then_some(LossCause::Burst)
            }
        }
    }

    /// When the bottleneck has sent a datagram that comes now; none if it does not fit in the queue.
    fn send_through_bottleneck(&mut self, now: Instant, len: usize) -> Option<Instant> {
        if self.under_way.len() + self.overtaken.len() >= UNDER_WAY_MAX {
            return None;
        }
        let free_at = self.line_free_at.unwrap_or(now);
        let Some(rate) = self.profile.rate else {
            // What waited for a bottleneck that is gone is not overtaken.
            return Some(free_at.max(now));
        };
        if rate.bits_per_s == 0 {
            return None;
        }
        let time_of =
            |bytes: f64| Duration::from_secs_f64(bytes * 8.0 / f64::from(rate.bits_per_s));
        let bucket_full = now.checked_sub(time_of(f64::from(rate.bucket_bytes)));
        let begin = match (self.line_free_at, bucket_full) {
            (Some(free_at), Some(bucket_full)) => free_at.max(bucket_full),
            (None, Some(bucket_full)) => bucket_full,
            (_, None) => free_at,
        };
        let end = begin + time_of(len as f64);
        if end.saturating_duration_since(now) > time_of(f64::from(rate.queue_bytes)) {
            return None;
        }
        self.line_free_at = Some(end);
        Some(end.max(now))
    }

    fn in_order(&mut self, departs_at: Instant) -> Instant {
        let departs_at = self
            .last_departure
            .map_or(departs_at, |last| last.max(departs_at));
        self.last_departure = Some(departs_at);
        departs_at
    }

    fn put_under_way(&mut self, departs_at: Instant, tag: T, datagram: Vec<u8>) {
        self.departures += 1;
        self.under_way.push(UnderWay {
            departs_at,
            number: self.departures,
            tag,
            datagram,
        });
    }

    /// A datagram that departs at `departs_at` overtakes all that wait for that.
    fn overtake(&mut self, departs_at: Instant) {
        let overtaken = std::mem::take(&mut self.overtaken);
        for mut it in overtaken {
            it.left = it.left.saturating_sub(1);
            match it.left {
                0 => self.put_under_way(departs_at, it.tag, it.datagram),
                _ => self.overtaken.push(it),
            }
        }
    }

    fn give_up_overtaking(&mut self, now: Instant) {
        let is_due = |it: &Overtaken<T>| it.departs_at + OVERTAKEN_WITHIN <= now;
        let due: Vec<_> = self.overtaken.extract_if(.., |it| is_due(it)).collect();
        for it in due {
            self.put_under_way(it.departs_at + OVERTAKEN_WITHIN, it.tag, it.datagram);
        }
    }
}

/// The first to depart is the greatest, as the heap wants it.
impl<T> Ord for UnderWay<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.departs_at, other.number).cmp(&(self.departs_at, self.number))
    }
}

impl<T> PartialOrd for UnderWay<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for UnderWay<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for UnderWay<T> {}
