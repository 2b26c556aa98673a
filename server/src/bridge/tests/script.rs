//! The text of the loss rule's tables (see `loss_rule`): arrivals to packets, and packets back to text.

use super::*;

/// Turns the text of arrivals into packets.
pub(super) struct Source {
    sequence: u16,
    clock: u32,
    ticks_per_ms: u32,
    /// Of each source the newest packet so far.
    newest: [Option<u16>; 2],
}

impl Source {
    pub(super) fn new(sequence: u16, clock: u32, ticks_per_ms: u32) -> Self {
        Self {
            sequence,
            clock,
            ticks_per_ms,
            newest: [None; 2],
        }
    }

    pub(super) fn send(&mut self, harness: &mut Harness, arrival: &str, payloads: &[Vec<u8>]) {
        if let Some(pause) = arrival.strip_prefix('(') {
            harness.pass(pause.trim_end_matches(')').parse().unwrap());
            return;
        }
        let (source, packet) = match arrival.strip_prefix('b') {
            Some(packet) => (1, packet),
            None => (0, arrival),
        };
        let (number, clock_ms) = match packet.split_once('@') {
            Some((number, clock_ms)) => (number.parse().unwrap(), clock_ms.parse().unwrap()),
            None => {
                let number: u16 = packet.parse().unwrap();
                (number, i64::from(number) * 20)
            }
        };
        self.wait(harness, source, number);
        let offset = source as u16 * 20_000;
        harness.ssrc = source as u32 + 1;
        harness.audio(
            self.sequence.wrapping_add(offset).wrapping_add(number),
            self.clock
                .wrapping_add(u32::from(offset) * 1_000)
                .wrapping_add((clock_ms * i64::from(self.ticks_per_ms)) as u32),
            &payloads[usize::from(number) % payloads.len()],
        );
    }

    fn wait(&mut self, harness: &mut Harness, source: usize, number: u16) {
        let is_first_of_all = self.newest == [None; 2];
        let steps = match self.newest[source] {
            _ if is_first_of_all => 0,
            None => 1,
            Some(newest) if number <= newest => return,
            // Numbers that jump take no longer than the next one.
            Some(newest) if number - newest > 1_000 => 1,
            Some(newest) => number - newest,
        };
        self.newest[source] = Some(number);
        harness.pass(u64::from(steps) * 20);
    }
}

/// What came out, as a row has it.
pub(super) fn written(harness: &Harness, sink: Codec) -> String {
    let ticks_per_ms = sink.clock_rate_hz() / 1_000;
    let packet = |seen: &Seen| {
        assert_eq!(seen.ticks % ticks_per_ms, 0, "{seen:?}");
        let made = match seen.made {
            Made::Decoded => "",
            Made::Concealed => "~",
            Made::Recovered => "^",
        };
        let marker = if seen.marker { "!" } else { "" };
        format!(
            "{}@{}{made}{marker}",
            seen.sequence,
            seen.ticks / ticks_per_ms
        )
    };
    harness
        .seen
        .iter()
        .map(packet)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The counters that moved, as a row has them.
pub(super) fn counters(statistics: &DirectionStatistics) -> String {
    let counted = [
        ("concealed", statistics.concealed),
        ("recovered", statistics.fec_recovered),
        ("late", statistics.late),
        ("duplicates", statistics.duplicates),
        ("restarts", statistics.source_restarts),
        ("overrun", statistics.overrun),
        ("errors", statistics.codec_errors),
    ];
    let named = counted
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name} {count}"));
    named.collect::<Vec<_>>().join(", ")
}
