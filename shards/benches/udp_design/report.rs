//! Tables in Markdown: least and median of the rounds.

use std::fmt;

use crate::design::Measured;

/// The rounds of several designs under one condition.
pub struct Table {
    title: String,
    rows: Vec<(String, Vec<Measured>)>,
}

impl Table {
    pub fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            rows: Vec::new(),
        }
    }

    /// One more round; none: this machine can't.
    pub fn add(&mut self, name: &str, measured: Option<Measured>) {
        let position = self.rows.iter().position(|(known, _)| known == name);
        let position = position.unwrap_or_else(|| {
            self.rows.push((name.to_owned(), Vec::new()));
            self.rows.len() - 1
        });
        self.rows[position].1.extend(measured);
    }
}

/// The least and the median of a figure.
fn of(rounds: &[Measured], figure: impl Fn(&Measured) -> f64) -> (f64, f64) {
    let mut all: Vec<f64> = rounds.iter().map(figure).collect();
    all.sort_unstable_by(f64::total_cmp);
    let at = |index: usize| all.get(index).copied().unwrap_or(f64::NAN);
    (at(0), at(all.len() / 2))
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "| {} | CPU us/packet: least, median | of the first | CPU ms/call-s | p50 us | p99 us | lost | \
             out of buffers | memory KiB |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
            self.title
        )?;
        let first = self
            .rows
            .first()
            .map(|(_, rounds)| of(rounds, |m| m.cpu_us_per_packet).0);
        for (name, rounds) in &self.rows {
            if rounds.is_empty() {
                writeln!(out, "| {name} | not possible here | | | | | | | |")?;
                continue;
            }
            let (least, median) = of(rounds, |m| m.cpu_us_per_packet);
            writeln!(
                out,
                "| {name} | {least:.2}, {median:.2} | {:.2} | {:.3} | {:.0} | {:.0} | {} | {} | {} |",
                least / first.unwrap_or(f64::NAN),
                of(rounds, |m| m.cpu_ms_per_call_s).0,
                of(rounds, |m| m.p50_us).1,
                of(rounds, |m| m.p99_us).1,
                rounds.iter().map(|m| m.lost).sum::<u64>(),
                rounds.iter().map(|m| m.out_of_buffers).sum::<u64>(),
                rounds.iter().map(|m| m.memory_bytes).max().unwrap_or(0) / 1024,
            )?;
        }
        Ok(())
    }
}
