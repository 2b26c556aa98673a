//! The loss rule, a table for each plan: what comes in, what goes out, what is counted.
//!
//! **In**, in the order of arrival: `3` is the source's fourth packet, with sequence number 3 and the clock at 60 ms; `3@500` is
//! the same with its clock at 500 ms; `b0` is the first packet of another source; `(400)` is 400 ms without a packet. A packet
//! comes 20 ms after the one that it follows for each step of the sequence, and at once when it is older than another that came.
//!
//! **Out**: `4@80` has sequence number and clock so far after the first; `!` is the marker; `~` was made up; `^` was recovered from
//! the LBRR of the packet after it; nothing behind it means decoded, or passed through.

use super::script::{Source, counters, written};
use super::*;

/// Name, in, out, what is counted.
type Row = (&'static str, &'static str, &'static str, &'static str);

const TRANSCODING: &[Row] = &[
    ("nothing is lost", "0 1 2 3", "0@0! 1@20 2@40 3@60", ""),
    ("one", "0 1 3 4", "0@0! 1@20 2@40~ 3@60 4@80", "concealed 1"),
    ("two", "0 3 4", "0@0! 1@20~ 2@40~ 3@60 4@80", "concealed 2"),
    (
        "two, not in a row",
        "0 2 4 5",
        "0@0! 1@20~ 2@40 3@60~ 4@80 5@100",
        "concealed 2",
    ),
    (
        "ten: 100 ms are made up",
        "0 11 12",
        "0@0! 1@20~ 2@40~ 3@60~ 4@80~ 5@100~ 6@220! 7@240",
        "concealed 5",
    ),
    ("the last: nothing is missing", "0 1", "0@0! 1@20", ""),
    ("overtaken by one", "0 2 1 3", "0@0! 1@20 2@40 3@60", ""),
    (
        "overtaken by three at once",
        "0 4 1 3 2 5",
        "0@0! 1@20 2@40 3@60 4@80 5@100",
        "",
    ),
    (
        "overtaken by three in 40 ms, which is longer than the wait",
        "0 2 3 4 1 5",
        "0@0! 1@20~ 2@40 3@60 4@80 5@100",
        "concealed 1, late 1",
    ),
    ("copies", "0 0 1 0 1 2", "0@0! 1@20 2@40", "duplicates 3"),
    (
        "a late one and its copy",
        "0 2 (30) 1 1 3",
        "0@0! 1@20~ 2@40 3@60",
        "concealed 1, late 1, duplicates 1",
    ),
    (
        "silence of the source (DTX)",
        "0 1 (940) 2@1000 3@1020",
        "0@0! 1@20 2@1000! 3@1020",
        "",
    ),
    (
        "one beside silence: what a packet holds",
        "0 1 (940) 3@1020 4@1040",
        "0@0! 1@20 2@40~ 3@1020! 4@1040",
        "concealed 1",
    ),
    (
        "the clock jumps ahead",
        "0 1@9000000 2@9000020",
        "0@0! 1@20! 2@40",
        "",
    ),
    (
        "the clock jumps back",
        "0 1 2@-9000 3@-8980",
        "0@0! 1@20 2@40! 3@60",
        "",
    ),
    (
        "one before the clock jumps: nobody knows how much is missing",
        "0 2@9000000 3@9000020",
        "0@0! 1@40! 2@60",
        "",
    ),
    (
        "one comes after the clock jumped",
        "0 2@10040 1 3@10060",
        "0@0! 1@40! 2@60",
        "late 1",
    ),
    (
        "another source, and the first one's straggler",
        "0 1 b0 b1 2 b2",
        "0@0! 1@20 2@40! 3@60 4@80",
        "late 1, restarts 1",
    ),
    (
        "another source after a pause",
        "0 1 (480) b0 b1",
        "0@0! 1@20 2@520! 3@540",
        "restarts 1",
    ),
    (
        "one of another source",
        "0 1 b0 b2 b3",
        "0@0! 1@20 2@40! 3@60~ 4@80 5@100",
        "concealed 1, restarts 1",
    ),
    (
        "numbers that jump are believed from the second on",
        "0 1 30000@40 30001@60 30002@80",
        "0@0! 1@20 2@60! 3@80",
        "late 1, restarts 1",
    ),
];

const PASSTHROUGH: &[Row] = &[
    ("nothing is lost", "0 1 2 3", "0@0! 1@20 2@40 3@60", ""),
    ("one", "0 1 3 4", "0@0! 1@20 3@60 4@80", ""),
    ("two", "0 3 4", "0@0! 3@60 4@80", ""),
    ("ten", "0 11 12", "0@0! 11@220 12@240", ""),
    ("overtaken by one", "0 2 1 3", "0@0! 2@40 1@20 3@60", ""),
    (
        "overtaken by three",
        "0 2 3 4 1 5",
        "0@0! 2@40 3@60 4@80 1@20 5@100",
        "",
    ),
    (
        "older than the window",
        "0 2 66 1",
        "0@0! 2@40 66@1320",
        "late 1",
    ),
    ("copies", "0 0 1 0 1 2", "0@0! 1@20 2@40", "duplicates 3"),
    (
        "a late one and its copy",
        "0 2 (30) 1 1 3",
        "0@0! 2@40 1@20 3@60",
        "duplicates 1",
    ),
    (
        "silence of the source (DTX): the marker is the source's",
        "0 1 (940) 2@1000 3@1020",
        "0@0! 1@20 2@1000 3@1020",
        "",
    ),
    (
        "one beside silence",
        "0 1 (940) 3@1020 4@1040",
        "0@0! 1@20 3@1020 4@1040",
        "",
    ),
    (
        "the clock jumps ahead",
        "0 1@9000000 2@9000020",
        "0@0! 1@20! 2@40",
        "",
    ),
    (
        "the clock jumps back",
        "0 1 2@-9000 3@-8980",
        "0@0! 1@20 2@40! 3@60",
        "",
    ),
    (
        "one before the clock jumps",
        "0 2@9000000 3@9000020",
        "0@0! 2@40! 3@60",
        "",
    ),
    (
        "one comes after the clock jumped: with the clock from before",
        "0 2@10040 1 3@10060",
        "0@0! 2@40! 1@20 3@60",
        "",
    ),
    (
        "another source, and the first one's straggler",
        "0 1 b0 b1 2 b2",
        "0@0! 1@20 2@40! 3@60 4@80",
        "late 1, restarts 1",
    ),
    (
        "another source after a pause",
        "0 1 (480) b0 b1",
        "0@0! 1@20 2@520! 3@540",
        "restarts 1",
    ),
    (
        "one of another source",
        "0 1 b0 b2 b3",
        "0@0! 1@20 2@40! 4@80 5@100",
        "restarts 1",
    ),
    (
        "numbers that jump are believed from the second on",
        "0 1 30000@40 30001@60 30002@80",
        "0@0! 1@20 2@60! 3@80",
        "late 1, restarts 1",
    ),
];

/// Where Opus differs from a codec without in-band FEC.
const OPUS_WITH_LBRR: &[Row] = &[
    ("one", "0 1 3 4", "0@0! 1@20 2@40^ 3@60 4@80", "recovered 1"),
    (
        "two",
        "0 3 4",
        "0@0! 1@20~ 2@40^ 3@60 4@80",
        "concealed 1, recovered 1",
    ),
    (
        "two, not in a row",
        "0 2 4 5",
        "0@0! 1@20^ 2@40 3@60^ 4@80 5@100",
        "recovered 2",
    ),
    (
        "six: 80 ms are made up, and the last comes back in its place",
        "0 7 8",
        "0@0! 1@20~ 2@40~ 3@60~ 4@80~ 5@120^! 6@140 7@160",
        "concealed 4, recovered 1",
    ),
    ("overtaken by one", "0 2 1 3", "0@0! 1@20 2@40 3@60", ""),
    (
        "overtaken by three in 40 ms, which is longer than the wait",
        "0 2 3 4 1 5",
        "0@0! 1@20^ 2@40 3@60 4@80 5@100",
        "recovered 1, late 1",
    ),
    ("copies", "0 0 1 0 1 2", "0@0! 1@20 2@40", "duplicates 3"),
    (
        "silence of the source (DTX)",
        "0 1 (940) 2@1000 3@1020",
        "0@0! 1@20 2@1000! 3@1020",
        "",
    ),
    (
        "one beside silence: it spoke up again",
        "0 1 (940) 3@1020 4@1040",
        "0@0! 1@20 2@1000^! 3@1020 4@1040",
        "recovered 1",
    ),
    (
        "the clock jumps",
        "0 1@9000000 2@9000020",
        "0@0! 1@20! 2@40",
        "",
    ),
    (
        "one of another source",
        "0 1 b0 b2 b3",
        "0@0! 1@20 2@40! 3@60^ 4@80 5@100",
        "recovered 1, restarts 1",
    ),
];

const OPUS_WITHOUT_LBRR: &[Row] = &[
    ("one", "0 1 3 4", "0@0! 1@20 2@40~ 3@60 4@80", "concealed 1"),
    (
        "six: 100 ms are made up",
        "0 7 8",
        "0@0! 1@20~ 2@40~ 3@60~ 4@80~ 5@100~ 6@140! 7@160",
        "concealed 5",
    ),
];

#[test]
fn transcoding() {
    let payloads = vec![vec![0x7f; 160]; 100];
    check(TRANSCODING, Codec::Pcmu, Codec::Pcma, &payloads);
}

#[test]
fn passthrough() {
    let payloads = vec![vec![0x7f; 160]; 100];
    check(PASSTHROUGH, Codec::Pcmu, Codec::Pcmu, &payloads);
}

#[test]
fn opus_with_lbrr() {
    // Of a steady tone the first packets: to SILK it is background noise after a while, and gets no LBRR.
    let payloads = opus_packets(20, 20).split_off(4);
    let all_have_lbrr = payloads
        .iter()
        .all(|payload| codecs::opus::has_lbrr(payload));
    assert!(all_have_lbrr, "the encoder saved on LBRR");
    check(OPUS_WITH_LBRR, Codec::Opus, Codec::Pcmu, &payloads);
}

#[test]
fn opus_without_lbrr() {
    let payloads = opus_packets_without_fec(20, 20).split_off(4);
    check(OPUS_WITHOUT_LBRR, Codec::Opus, Codec::Pcmu, &payloads);
}

/// Every row with numbers and clock from somewhere in the middle, and once more with both wrapping within the row.
fn check(table: &[Row], source: Codec, sink: Codec, payloads: &[Vec<u8>]) {
    for (name, arrivals, out, counted) in table {
        for (sequence, clock) in [(1_000, 1_000_000), (65_534, u32::MAX - 200)] {
            let mut harness = Harness::new(&format(source), &format(sink));
            let mut source = Source::new(sequence, clock, source.clock_rate_hz() / 1_000);
            for arrival in arrivals.split(' ') {
                source.send(&mut harness, arrival, payloads);
            }
            harness.pass(200);
            let about = format!("{name}, from number {sequence}");
            assert_eq!(written(&harness, sink), *out, "{about}");
            assert_eq!(counters(&harness.statistics()), *counted, "{about}");
        }
    }
}
