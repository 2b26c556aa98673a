//! The live view of a run on stderr: a few lines drawn in place on a terminal, one plain line every 5 s elsewhere.
//!
//! It draws what it is given, once a second, and reads no clock. It takes no keys. A stderr that is gone is no reason to end a run.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Stderr, Write};
use std::time::Duration;

use super::number::{count, one_line, short};
use super::report::BothWays;
use super::targets::{GENERATOR_LATE_MS_P99_MAX, LOSS_PCT_MAX};

/// Values of a sparkline at most.
const HISTORY_MAX: usize = 60;
/// Between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Below this a drawing in place has no room.
const COLUMNS_MIN: usize = 40;
/// Of a terminal that does not tell.
const COLUMNS_DEFAULT: usize = 80;
const BAR_COLUMNS: usize = 30;
/// Of the names at the left, with a space after them.
const NAME_COLUMNS: usize = 12;
const NAME_WIDTH: usize = NAME_COLUMNS - 1;
const SPARKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

const WARNING: &str = "\x1b[33m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// How a run is doing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    /// Such as `ramp`, `steady` or `judging 120/400`.
    pub phase: String,
    /// Since the beginning.
    pub elapsed: Duration,
    /// Of all phases whose length is known; zero where none is.
    pub planned: Duration,
    /// Calls that are up.
    pub calls_up: u64,
    /// Calls that were answered so far.
    pub answered: u64,
    /// Calls that failed so far.
    pub failed: u64,
    /// Answered in the last second.
    pub setups_per_s: f64,
    /// Of the worse direction in the last second, in percent.
    pub loss_pct: Option<f64>,
    /// Of the last second, in ms.
    pub delay_ms_p99: BothWays<Option<f64>>,
    /// CPU of all gateway threads in the last second, in percent of one core.
    pub gateway_cpu_pct: Option<f64>,
    /// How late the generator sent in the last second, 99th percentile, in ms.
    pub generator_late_ms_p99: f64,
}

/// In which way progress is shown.
#[derive(Debug, Clone, Copy)]
pub enum Drawing {
    /// Over the lines of before.
    InPlace {
        /// How wide the terminal is now.
        columns: fn() -> usize,
        /// With colours for what is wrong.
        coloured: bool,
    },
    /// One below the other, seldom.
    Lines,
    /// Not at all.
    Silent,
}

/// Shows [`Progress`].
#[derive(Debug)]
pub struct ProgressView<Output> {
    output: Output,
    drawing: Drawing,
    /// Lines above the cursor that are drawn over.
    drawn: usize,
    delays_ms: VecDeque<Option<f64>>,
    cpus_pct: VecDeque<Option<f64>>,
    last_line: Option<(Duration, String)>,
}

impl ProgressView<Stderr> {
    /// On stderr, in the way that suits it.
    pub fn on_stderr(quiet: bool) -> Self {
        let stderr = std::io::stderr();
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|terminal| terminal == "dumb");
        let drawing = if quiet {
            Drawing::Silent
        } else if stderr.is_terminal() && !dumb && stderr_columns() >= COLUMNS_MIN {
            Drawing::InPlace {
                columns: stderr_columns,
                coloured: !is_set("NO_COLOR"),
            }
        } else {
            Drawing::Lines
        };
        Self::new(stderr, drawing)
    }
}

impl<Output: Write> ProgressView<Output> {
    /// On anything.
    pub fn new(output: Output, drawing: Drawing) -> Self {
        Self {
            output,
            drawing,
            drawn: 0,
            delays_ms: VecDeque::with_capacity(HISTORY_MAX),
            cpus_pct: VecDeque::with_capacity(HISTORY_MAX),
            last_line: None,
        }
    }

    /// To be called once a second.
    pub fn show(&mut self, now: &Progress) {
        let BothWays { a_to_b, b_to_a } = now.delay_ms_p99;
        remember(
            &mut self.delays_ms,
            [a_to_b, b_to_a].into_iter().flatten().reduce(f64::max),
        );
        remember(&mut self.cpus_pct, now.gateway_cpu_pct);
        match self.drawing {
            Drawing::InPlace { columns, coloured } => {
                let lines = self.lines(now, columns().max(COLUMNS_MIN) - 1);
                self.draw(&lines, coloured);
            }
            Drawing::Lines => self.line(now),
            Drawing::Silent => {}
        }
    }

    /// A line that stays, such as the beginning of a round.
    pub fn note(&mut self, text: &str) {
        if matches!(self.drawing, Drawing::Silent) {
            return;
        }
        let text = format!("{}{}\n", self.over_the_drawn(), one_line(text));
        self.drawn = 0;
        self.write(&text);
    }

    /// Takes a drawing away, so that a summary can follow.
    pub fn finish(&mut self) {
        let text = self.over_the_drawn();
        self.drawn = 0;
        self.write(&text);
    }

    fn lines(&self, now: &Progress, columns: usize) -> Vec<Line> {
        let late = now.generator_late_ms_p99;
        let loss = now.loss_pct;
        let spark_columns = columns.saturating_sub(NAME_COLUMNS + 14).min(HISTORY_MAX);
        let mut lines = vec![
            Line {
                text: format!("{:NAME_WIDTH$} {}", one_line(&now.phase), bar(now)),
                style: BOLD,
            },
            Line {
                text: format!(
                    "{:NAME_WIDTH$} {} up   {} answered   {} failed   {} set-ups/s",
                    "calls",
                    count(now.calls_up),
                    count(now.answered),
                    count(now.failed),
                    short(now.setups_per_s)
                ),
                style: warning(now.failed > 0),
            },
            Line {
                text: format!("{:NAME_WIDTH$} {}", "loss", with_unit(loss, "%")),
                style: warning(loss.is_some_and(|loss| loss > LOSS_PCT_MAX)),
            },
            Line {
                text: format!(
                    "{:NAME_WIDTH$} {} to trunk   {} to vendor",
                    "delay p99",
                    with_unit(now.delay_ms_p99.a_to_b, "ms"),
                    with_unit(now.delay_ms_p99.b_to_a, "ms")
                ),
                style: "",
            },
            Line {
                text: sparkline(&self.delays_ms, spark_columns, "ms"),
                style: "",
            },
            Line {
                text: format!(
                    "{:NAME_WIDTH$} {}",
                    "gateway CPU",
                    with_unit(now.gateway_cpu_pct, "% of one core")
                ),
                style: "",
            },
            Line {
                text: sparkline(&self.cpus_pct, spark_columns, "%"),
                style: "",
            },
            Line {
                text: format!(
                    "{:NAME_WIDTH$} {} late, p99",
                    "generator",
                    with_unit(Some(late), "ms")
                ),
                style: warning(late >= GENERATOR_LATE_MS_P99_MAX),
            },
        ];
        for line in &mut lines {
            // A line that wraps would be two to draw over.
            line.text = line.text.chars().take(columns).collect();
        }
        lines
    }

    fn draw(&mut self, lines: &[Line], coloured: bool) {
        let mut text = if self.drawn > 0 {
            format!("\x1b[{}A", self.drawn)
        } else {
            String::new()
        };
        for line in lines {
            let style = if coloured { line.style } else { "" };
            let plain = if style.is_empty() { "" } else { PLAIN };
            text.push_str(&format!("\r{style}{}{plain}\x1b[K\n", line.text.trim_end()));
        }
        self.drawn = lines.len();
        self.write(&text);
    }

    fn line(&mut self, now: &Progress) {
        // `judging 120/400` is the same phase as `judging 121/400`.
        let phase = now.phase.split_whitespace().next().unwrap_or_default();
        let due = self.last_line.as_ref().is_none_or(|(at, last_phase)| {
            last_phase != phase || now.elapsed.saturating_sub(*at) >= LINE_EVERY
        });
        if !due {
            return;
        }
        self.last_line = Some((now.elapsed, phase.to_owned()));
        let text = format!(
            "{}, {}: {} up, {} answered, {} failed, {} set-ups/s, loss {}, delay p99 {} to trunk, {} to vendor, \
             gateway CPU {}, generator late {} ms\n",
            time(now),
            one_line(&now.phase),
            count(now.calls_up),
            count(now.answered),
            count(now.failed),
            short(now.setups_per_s),
            with_unit(now.loss_pct, "%"),
            with_unit(now.delay_ms_p99.a_to_b, "ms"),
            with_unit(now.delay_ms_p99.b_to_a, "ms"),
            with_unit(now.gateway_cpu_pct, "%"),
            short(now.generator_late_ms_p99)
        );
        self.write(&text);
    }

    /// Up to the first drawn line, and nothing below it.
    fn over_the_drawn(&self) -> String {
        if self.drawn > 0 {
            format!("\x1b[{}A\r\x1b[J", self.drawn)
        } else {
            String::new()
        }
    }

    fn write(&mut self, text: &str) {
        // In one piece, else a terminal flickers. When it is gone there is nobody to tell.
        let _ = self.output.write_all(text.as_bytes());
        let _ = self.output.flush();
    }
}

struct Line {
    text: String,
    style: &'static str,
}

fn warning(is_wrong: bool) -> &'static str {
    if is_wrong { WARNING } else { "" }
}

fn remember(history: &mut VecDeque<Option<f64>>, value: Option<f64>) {
    if history.len() == HISTORY_MAX {
        history.pop_front();
    }
    history.push_back(value.filter(|value| value.is_finite()));
}

fn with_unit(value: Option<f64>, unit: &str) -> String {
    value.map_or_else(
        || "-".to_owned(),
        |value| format!("{} {unit}", short(value)),
    )
}

fn time(now: &Progress) -> String {
    if now.planned.is_zero() {
        return seconds(now.elapsed);
    }
    format!("{} of {}", seconds(now.elapsed), seconds(now.planned))
}

fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round() as u64;
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes}:{seconds:02} min"),
        (hours, minutes, seconds) => format!("{hours}:{minutes:02}:{seconds:02} h"),
    }
}

fn bar(now: &Progress) -> String {
    if now.planned.is_zero() {
        return time(now);
    }
    let share = (now.elapsed.as_secs_f64() / now.planned.as_secs_f64()).clamp(0.0, 1.0);
    let full = (share * BAR_COLUMNS as f64).round() as usize;
    format!(
        "{}{}  {}",
        "█".repeat(full),
        "░".repeat(BAR_COLUMNS - full),
        time(now)
    )
}

/// The last values from 0 to their largest; what was not measured is a gap.
fn sparkline(history: &VecDeque<Option<f64>>, columns: usize, unit: &str) -> String {
    let shown = history.iter().skip(history.len().saturating_sub(columns));
    let Some(largest) = shown.clone().flatten().copied().reduce(f64::max) else {
        return String::new();
    };
    let step = |value: f64| {
        let share = if largest > 0.0 {
            value.max(0.0) / largest
        } else {
            0.0
        };
        SPARKS[((share * 7.0).round() as usize).min(7)]
    };
    let sparks: String = shown.map(|value| value.map_or(' ', step)).collect();
    format!(
        "{:NAME_WIDTH$} {sparks}  0 to {} {unit}",
        "",
        short(largest)
    )
}

fn stderr_columns() -> usize {
    // SAFETY: `winsize` is plain numbers, for which all zeros are valid.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: TIOCGWINSZ writes one `winsize`, to which the pointer is valid and exclusive.
    let outcome = unsafe { libc::ioctl(libc::STDERR_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    if outcome == 0 && size.ws_col > 0 {
        usize::from(size.ws_col)
    } else {
        COLUMNS_DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady(second: u64) -> Progress {
        Progress {
            phase: "steady".to_owned(),
            elapsed: Duration::from_secs(second),
            planned: Duration::from_secs(32),
            calls_up: 200,
            answered: 200,
            failed: 0,
            setups_per_s: 50.0,
            loss_pct: Some(0.0),
            delay_ms_p99: BothWays {
                a_to_b: Some(1.2),
                b_to_a: Some(second as f64),
            },
            gateway_cpu_pct: Some(60.0),
            generator_late_ms_p99: 0.31,
        }
    }

    fn in_place(columns: fn() -> usize, coloured: bool) -> ProgressView<Vec<u8>> {
        ProgressView::new(Vec::new(), Drawing::InPlace { columns, coloured })
    }

    fn text(view: ProgressView<Vec<u8>>) -> String {
        String::from_utf8_lossy(&view.output).into_owned()
    }

    #[test]
    fn a_terminal_has_it_drawn_in_place() {
        let mut view = in_place(|| 80, false);
        view.show(&steady(8));
        view.show(&Progress {
            delay_ms_p99: BothWays::default(),
            ..steady(9)
        });
        view.show(&steady(16));
        let text = text(view);
        let drawings: Vec<&str> = text.split("\x1b[8A").collect();
        assert_eq!(drawings.len(), 3);
        let lines: Vec<&str> = drawings[2]
            .split("\x1b[K\n")
            .map(|line| line.trim_start_matches('\r'))
            .collect();
        assert_eq!(
            lines,
            [
                "steady      ███████████████░░░░░░░░░░░░░░░  16 s of 32 s",
                "calls       200 up   200 answered   0 failed   50 set-ups/s",
                "loss        0 %",
                "delay p99   1.2 ms to trunk   16 ms to vendor",
                "            ▅ █  0 to 16 ms",
                "gateway CPU 60 % of one core",
                "            ███  0 to 60 %",
                "generator   0.31 ms late, p99",
                "",
            ]
        );
    }

    #[test]
    fn no_line_wraps_and_a_sparkline_has_the_last_values() {
        let mut view = in_place(|| 48, true);
        for second in 0..200 {
            view.show(&Progress {
                phase: "judging \x1b[2J 120/400 of a long name".to_owned(),
                ..steady(second)
            });
        }
        assert_eq!(view.delays_ms.len(), HISTORY_MAX);
        let text = text(view);
        let last = text.rsplit("\x1b[8A").next().unwrap_or_default();
        assert!(!last.contains("\x1b[2J"), "a phase moved the cursor");
        assert!(last.contains("0 to 199 ms"), "{last}");
        for line in last.split("\x1b[K\n") {
            let line = line.replace(BOLD, "").replace(PLAIN, "");
            assert!(line.trim_start_matches('\r').chars().count() < 48, "{line}");
        }
    }

    #[test]
    fn a_long_phase_has_room() {
        let mut view = in_place(|| 80, false);
        view.show(&Progress {
            phase: "judging 120/400".to_owned(),
            planned: Duration::ZERO,
            ..steady(40)
        });
        assert!(text(view).contains("judging 120/400 40 s"));
    }

    #[test]
    fn what_is_wrong_is_coloured_unless_colours_are_unwanted() {
        let wrong = Progress {
            failed: 1,
            loss_pct: Some(0.2),
            generator_late_ms_p99: 1.0,
            ..steady(1)
        };
        let mut view = in_place(|| 80, true);
        view.show(&wrong);
        assert_eq!(text(view).matches(WARNING).count(), 3);
        let mut view = in_place(|| 80, false);
        view.show(&wrong);
        assert!(!text(view).contains(WARNING));
    }

    #[test]
    fn a_note_stays_above_and_the_end_leaves_nothing() {
        let mut view = in_place(|| 80, false);
        view.note("round 1");
        view.show(&steady(1));
        view.note("round 2");
        view.show(&steady(2));
        view.finish();
        view.finish();
        let text = text(view);
        assert!(text.starts_with("round 1\n\rsteady"), "{text:?}");
        assert!(
            text.contains("\x1b[8A\r\x1b[Jround 2\n\rsteady"),
            "{text:?}"
        );
        assert_eq!(text.matches("\x1b[J").count(), 2);
        assert!(text.ends_with("\x1b[8A\r\x1b[J"), "{text:?}");
    }

    #[test]
    fn elsewhere_there_is_a_line_every_five_seconds_and_at_each_phase() {
        let mut view = ProgressView::new(Vec::new(), Drawing::Lines);
        for second in 1..=11 {
            let mut now = steady(second);
            if second < 4 {
                now.phase = "ramp".to_owned();
                now.gateway_cpu_pct = None;
            }
            view.show(&now);
        }
        view.finish();
        let text = text(view);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(
            lines[0],
            "1 s of 32 s, ramp: 200 up, 200 answered, 0 failed, 50 set-ups/s, loss 0 %, delay p99 1.2 ms to trunk, \
             1 ms to vendor, gateway CPU -, generator late 0.31 ms"
        );
        assert!(
            lines[1].starts_with("4 s of 32 s, steady:") && lines[2].starts_with("9 s"),
            "{text}"
        );
    }

    #[test]
    fn quiet_is_silent() {
        let mut view = ProgressView::new(Vec::new(), Drawing::Silent);
        view.note("round 1");
        view.show(&steady(1));
        view.finish();
        assert!(view.output.is_empty());
    }

    #[test]
    fn long_times_are_in_minutes_and_hours() {
        let texts = [59, 61, 3_600, 7_325].map(|second| seconds(Duration::from_secs(second)));
        assert_eq!(texts, ["59 s", "1:01 min", "1:00:00 h", "2:02:05 h"]);
    }
}
