//! The text of made-up reports, letter by letter.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use super::*;
use crate::load::report::BothWays;
use crate::load::samples;

const GOOD: &str = r"browser-sip, 200 calls: PASSED
Opus at the vendor's side, PCMU at the trunk's, transcoded; gateway on 1 core; steady for 20 s

  ok   calls set up     200 of 200
  ok   calls broken     0
  ok   audio passed     200 of 200
  ok   packets lost     0 %
  ok   events missing   0
  ok   objects leaked   0

Read this first
  - 2 cores of a shared virtual machine (Xeon 2.80 GHz): the gateway on one, the generator on the
    other.
  - All packets went over loopback: no network card, no driver, no wire.
  - Delay is without the codec's look-ahead of 6.5 ms (Opus) from the trunk to the vendor.

  Set-up time                         p50 38.4         p99 71.9   ms

  Delay, vendor to trunk              p50 0.82          p99 2.9   ms
  Delay, trunk to vendor              p50 0.74          p99 3.4   ms
  Delay p99, median of seconds   to trunk 2.52   to vendor 2.45   ms                  < 5 ok
  Loss, vendor to trunk                                       0   %                   <= 0.1 ok
  Loss, trunk to vendor                                       0   %                   <= 0.1 ok
  Estimated MOS                        p5 4.12         p50 4.27

  CPU of a call                                            2.87   ms per call and s   <= 3.3 ok
  CPU of a set-up                                          1.12   ms                  <= 1.25 ok
  Memory of a call                                         97.3   KiB                 <= 120 ok

  Gateway cores                                               1
  Steady window                                              20   s
  Packets to trunk                                      238 410
  Packets to vendor                                     238 377
  Generator late, p99                                      0.31   ms                  < 1 ok
  CPU stolen                                                1.4   % of one core       < 3 ok
";

const NOTHING_MEASURED: &str = r#"browser-echo, 20 calls: FAILED

  FAIL   calls set up     0 of 20
  ok     calls broken     0
  -      audio passed     not judged
  -      packets lost     not shown
  ok     events missing   0
  ok     objects leaked   0

Read this first
  - The gateway's process is not ours: neither CPU nor memory can be read.

Not shown
  - delay_ms: the generator was late (p99 48.2 ms), which would be counted as delay of the gateway
  - loss_pct: no call had media both ways
  - cpu_ms_per_call_s: the gateway was not started by the load test

  Set-up time                       not shown   not measured

  Delay, vendor to trunk            not shown   the generator was late (p99 48.2 ms), which would be counted as delay of the gateway
  Delay, trunk to vendor            not shown   the generator was late (p99 48.2 ms), which would be counted as delay of the gateway
  Delay p99, median of seconds      not shown   the generator was late (p99 48.2 ms), which would be counted as delay of the gateway
  Loss, vendor to trunk             not shown   no call had media both ways
  Loss, trunk to vendor             not shown   no call had media both ways
  Estimated MOS                     not shown   not measured

  CPU of a call                     not shown   the gateway was not started by the load test
  CPU of a set-up                   not shown   not measured
  Memory of a call                  not shown   not measured

  Gateway cores                             0
  Steady window                             0   s
  Packets to trunk                          0
  Packets to vendor                         0
  Generator late, p99                    48.2   ms              < 1 MISSED
  CPU stolen                               61   % of one core   < 3 MISSED

Failures
  20 calls   4401 <script>alert("token")</script> & 'expired'�[2J
"#;

/// The part below the delays.
const END_OF_LARGE: &str = r"  CPU of a call                                           0.61   ms per call and s   <= 0.5 MISSED
  CPU of a set-up                                    not shown   set-ups and media could not be told apart
  Memory of a call                                   not shown   memory still grew at the end of the steady window

  Gateway cores                                              2
  Steady window                                            780   s
  Packets to trunk                                 219 201 733
  Packets to vendor                                218 660 180
  Generator late, p99                                      3.2   ms                  < 1 MISSED
  CPU stolen                                               7.8   % of one core       < 3 MISSED

Failures
  96 calls   4429 limit: tenant acme has 4900 live calls
  33 calls   no ANSWER within 10 s
   9 calls   trunk to vendor: match 0.71, missing for 640 ms
";

const FIND_MAX: &str = r"browser-sip, the most calls: 325 (325 per core), limited by the gateway's core (97.5 % busy)
gateway on 1 core; limits: p99 delay 20 ms, loss 0.1 %

Read this first
  - All packets went over loopback: no network card, no driver, no wire.

           per   delay p99, ms                loss, %                ms per    CPU   late p99   steal
  calls   core        to trunk   to vendor   to trunk   to vendor   call, s      %         ms       %
     50     50             1.2        1.44          0           0      3.34     15      0.263     1.1   passed
    100    100             1.9        2.28          0           0      3.27     30      0.325     1.1   passed
    200    200             3.1        3.72          0           0      3.15     60       0.45     1.1   passed
    400    400              88         106          0        0.62       2.9     99        0.7     1.1   FAILED loss 0.62 % from trunk to vendor, p99 delay 106 ms
    300    300             6.4        7.68          0           0      3.02     90      0.575     1.1   passed
    350    350              24        28.8          0           -      2.96     99      0.637     1.1   FAILED p99 delay 28.8 ms
    325    325              11        13.2          0        0.02      2.99   97.5      0.606     1.1   passed
";

const COMPARE: &str = r"ClutchCall gateway and rtpengine 10.5.3.5: PASSED
SRTP Opus <-> RTP PCMU, transcoded

  median, ours        2.9   ms per call and s
  median, theirs     35.2   ms per call and s
  ratio of medians   12.2   times fewer (asked for: 10)

Read this first
  - Their encoder runs at its own settings, which can't be set: see both sides' settings.

                            audio    ms per   delay p99, ms                loss, %               late p99   steal
  round   side     calls   passed   call, s        to trunk   to vendor   to trunk   to vendor         ms       %
      1   ours       200      200      2.91             2.9        3.19          0           0        0.3     1.2
      1   theirs      20       20      34.8              38        41.8          0           0        0.3     1.2
      2   ours       200      200      2.84             2.9        3.19          0           0        0.3       2
      2   theirs      20       20      36.1              38        41.8          0           0        0.3       2
      3   ours       200      200         -             2.9        3.19          0           0        0.3      14
      3   theirs      20       20        39              38        41.8          0           0        0.3      14
      4   ours       200      200      2.88             2.9        3.19          0           0        0.3     0.8
      4   theirs      20       20      35.2              38        41.8          0           0        0.3     0.8
      5   ours       200      200      3.02             2.9        3.19          0           0        0.3     1.9
      5   theirs      20       20      34.1              38        41.8          0           0        0.3     1.9

Settings, ours
  Opus    24 kb/s, complexity 0, 8 kHz
  calls   200

Settings, rtpengine 10.5.3.5
  Opus      32 kb/s, complexity 10, 48 kHz stereo
  calls     20
  threads   1
";

#[test]
fn a_good_run() {
    assert_eq!(summary(&samples::good()), GOOD);
}

#[test]
fn nothing_measured_says_why() {
    assert_eq!(summary(&samples::nothing_measured()), NOTHING_MEASURED);
}

#[test]
fn failures_and_missed_targets() {
    let text = summary(&samples::large_with_failures());
    assert!(
        text.starts_with("browser-sip-pcmu, 5000 calls: FAILED\n"),
        "{text}"
    );
    assert!(
        text.contains("\n  FAIL   packets lost     0.013 / 0.24 %\n"),
        "{text}"
    );
    assert_eq!(&text[text.find("  CPU of a call").unwrap()..], END_OF_LARGE);
}

#[test]
fn many_kinds_of_failure_are_cut_short() {
    let failures = (1..=30)
        .map(|kind| Failure {
            calls: kind,
            reason: format!("kind {kind}"),
        })
        .collect();
    let text = summary(&Report {
        failures,
        ..Report::default()
    });
    assert!(
        text.contains("kind 10\n") && !text.contains("kind 11\n"),
        "{text}"
    );
    assert!(
        text.ends_with("410 calls   other reasons: see the JSON report\n"),
        "{text}"
    );
}

#[test]
fn a_search() {
    assert_eq!(find_max_summary(&samples::find_max()), FIND_MAX);
    let text = find_max_summary(&FindMaxReport::default());
    assert!(
        text.starts_with(", the most calls: NOT SHOWN, no limit was found\n"),
        "{text}"
    );
}

#[test]
fn a_step_on_one_line() {
    let steps = samples::find_max().steps;
    assert_eq!(
        step_line(&steps[0]),
        "50 calls: passed; p99 delay 1.2 ms to trunk, 1.44 ms to vendor, loss 0 % and 0 %, 3.34 ms per call and s, \
         gateway CPU 15 %"
    );
    assert!(
        step_line(&steps[5])
            .starts_with("350 calls: did not pass: p99 delay 28.8 ms; p99 delay 24 ms to trunk")
    );
}

#[test]
fn a_comparison() {
    assert_eq!(compare_summary(&samples::compare()), COMPARE);
    let mut report = samples::compare();
    report.ratio_target = Some(13.0);
    assert!(
        compare_summary(&report).starts_with("ClutchCall gateway and rtpengine 10.5.3.5: FAILED\n")
    );
    report.ratio_of_medians = None;
    assert!(
        compare_summary(&report)
            .starts_with("ClutchCall gateway and rtpengine 10.5.3.5: NOT SHOWN\n")
    );
}

#[test]
fn one_direction_alone_is_told() {
    let report = Report {
        loss_pct: BothWays {
            a_to_b: Some(0.0),
            b_to_a: None,
        },
        calls: 1,
        ..Report::default()
    };
    assert!(summary(&report).contains("packets lost     0 / not shown %\n"));
}
