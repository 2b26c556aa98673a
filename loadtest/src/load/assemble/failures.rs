//! Why calls failed or did not pass the judge, by kind.

use std::collections::BTreeMap;

use super::super::report::Failure;
use super::Found;

pub(super) fn failures(found: &Found) -> Vec<Failure> {
    let mut by_reason: BTreeMap<String, u64> = BTreeMap::new();
    for outcome in &found.outcomes {
        if let Some(failure) = &outcome.failure {
            *by_reason.entry(kind_of(&failure.to_string())).or_default() += 1;
        }
    }
    for verdict in &found.verdicts {
        let named = [
            ("vendor to trunk", &verdict.directions.a_to_b),
            ("trunk to vendor", &verdict.directions.b_to_a),
        ];
        for (direction, judged) in named {
            let reasons = match judged {
                Some(Ok(judged)) if !judged.verdict.pass => judged.verdict.reasons.clone(),
                Some(Err(error)) => vec![error.clone()],
                _ => continue,
            };
            for reason in reasons {
                let reason = format!("{direction}: {}", kind_of(&reason));
                *by_reason.entry(reason).or_default() += 1;
            }
        }
    }
    let mut failures: Vec<Failure> = by_reason
        .into_iter()
        .map(|(reason, calls)| Failure { calls, reason })
        .collect();
    failures.sort_by_key(|failure| std::cmp::Reverse(failure.calls));
    failures
}

/// Reasons that differ only in a figure or in the name of a call are one: words with digits become `#`, but for the number of a
/// close code, an HTTP status or a cause.
fn kind_of(reason: &str) -> String {
    let mut told = String::new();
    let mut before = "";
    for word in reason.split(' ') {
        let is_code = ["with", "HTTP", "cause"].contains(&before);
        let has_digits = word.bytes().any(|byte| byte.is_ascii_digit());
        if !told.is_empty() {
            told.push(' ');
        }
        told.push_str(if has_digits && !is_code { "#" } else { word });
        before = word;
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_differ_in_figures_are_one_kind() {
        let busy =
            |pct: u32| format!("closed with 1013: the shard is {pct} % busy; its limit is 85 %");
        assert_eq!(kind_of(&busy(75)), kind_of(&busy(9)));
        assert_eq!(
            kind_of(&busy(75)),
            "closed with 1013: the shard is # % busy; its limit is # %"
        );
        assert_eq!(
            kind_of("cause 34: no media ports"),
            "cause 34: no media ports"
        );
    }
}
