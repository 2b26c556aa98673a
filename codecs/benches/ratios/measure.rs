//! Contests: several ways to do the same work, timed turn about in one run, because only ratios taken side by side mean anything on a
//! machine that others use too.

use std::hint::black_box;

/// Rounds of a contest. The best of them counts: noise only ever adds time.
const PASSES: usize = 5;
/// CPU time that one contestant works in one pass.
const PASS_NS: u64 = 20_000_000;

/// One way to do the work.
pub struct Contestant<'a> {
    name: String,
    /// Does the work once: 20 ms of audio, unless the contest says otherwise.
    work: Box<dyn FnMut() + 'a>,
    best_ns: f64,
}

/// A question and its contestants; the first one is the yardstick.
pub struct Contest<'a> {
    title: String,
    contestants: Vec<Contestant<'a>>,
    /// How often each contestant does the work in a pass; by its speed if none.
    rounds: Option<u64>,
    bars: Vec<(usize, Bar)>,
}

/// What a contestant should reach against the yardstick.
#[derive(Clone, Copy)]
pub enum Bar {
    /// At least so many times as fast.
    TimesFaster(f64),
    /// At most this part of its time.
    PartOf(f64),
}

impl<'a> Contest<'a> {
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            contestants: Vec::new(),
            rounds: None,
            bars: Vec::new(),
        }
    }

    /// Each contestant does the work so often in a pass: for work that differs from one time to the next.
    pub fn rounds(mut self, rounds: usize) -> Self {
        self.rounds = Some(rounds as u64);
        self
    }

    pub fn enter<R>(&mut self, name: impl Into<String>, mut work: impl FnMut() -> R + 'a) {
        let work = move || {
            black_box(work());
        };
        self.contestants.push(Contestant {
            name: name.into(),
            work: Box::new(work),
            best_ns: f64::INFINITY,
        });
    }

    /// The last one entered has a bar to reach.
    pub fn bar(&mut self, bar: Bar) {
        self.bars.push((self.contestants.len() - 1, bar));
    }

    /// Runs all passes and prints the rows of the table. Returns how many bars were missed.
    pub fn run(mut self) -> usize {
        // `cargo bench` adds an option of its own; a word chooses the contests whose titles have it.
        let mut words = std::env::args()
            .skip(1)
            .filter(|word| !word.starts_with("--"));
        if words.any(|word| !self.title.contains(&word)) {
            return 0;
        }
        let rounds: Vec<u64> = match self.rounds {
            Some(rounds) => vec![rounds; self.contestants.len()],
            None => self.contestants.iter_mut().map(calibrate).collect(),
        };
        for _ in 0..PASSES {
            for (contestant, &rounds) in self.contestants.iter_mut().zip(&rounds) {
                let ns = time_ns(&mut contestant.work, rounds) as f64 / rounds as f64;
                contestant.best_ns = contestant.best_ns.min(ns);
            }
        }
        self.print()
    }

    fn print(&self) -> usize {
        println!("\n{}", self.title);
        let yardstick_ns = self.contestants.first().map_or(1.0, |first| first.best_ns);
        let mut missed = 0;
        for (index, contestant) in self.contestants.iter().enumerate() {
            let part = contestant.best_ns / yardstick_ns;
            let ratio = match index {
                0 => String::new(),
                _ => format!("{part:7.3} of it, {:6.2} times as fast", 1.0 / part),
            };
            let bar = self
                .bars
                .iter()
                .find(|(of, _)| *of == index)
                .map(|(_, bar)| *bar);
            let bar = bar.map_or(String::new(), |bar| {
                let (is_met, text) = match bar {
                    Bar::TimesFaster(times) => {
                        (1.0 / part >= times, format!(">= {times} times as fast"))
                    }
                    Bar::PartOf(limit) => (part <= limit, format!("<= {limit} of it")),
                };
                missed += usize::from(!is_met);
                format!("   {text}: {}", if is_met { "met" } else { "MISSED" })
            });
            println!(
                "  {:<44} {:>9.0} ns {ratio}{bar}",
                contestant.name, contestant.best_ns
            );
        }
        missed
    }
}

/// How often to do the work so that a pass lasts long enough. Warms up as well.
fn calibrate(contestant: &mut Contestant<'_>) -> u64 {
    let mut rounds = 1;
    loop {
        let ns = time_ns(&mut contestant.work, rounds);
        if ns > PASS_NS / 4 {
            return (rounds * PASS_NS / ns).max(1);
        }
        rounds *= 4;
    }
}

fn time_ns(work: &mut dyn FnMut(), rounds: u64) -> u64 {
    let begin = thread_cpu_ns();
    for _ in 0..rounds {
        work();
    }
    thread_cpu_ns() - begin
}

/// CPU time of this thread: what other processes take does not count.
fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes a timespec that lives through the call. This clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
