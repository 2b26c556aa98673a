//! Which entry of [`Report::not_shown`](super::report::Report::not_shown) is about which figure.
//!
//! An entry is `figure: reason`. The figure is its key in the report, or words for one or more of them.

/// The key of a figure, and words that mean it.
const WORDS: [(&str, &[&str]); 7] = [
    ("setup_ms", &["set-up time"]),
    ("delay_ms", &["delay", "all figures"]),
    ("loss_pct", &["loss", "all figures"]),
    ("mos", &["mos"]),
    (
        "cpu_ms_per_call_s",
        &["cpu per call", "cpu and memory per call", "all figures"],
    ),
    ("cpu_ms_per_setup", &["cpu per set-up"]),
    ("rss_kb_per_call", &["memory per call", "all figures"]),
];

/// The reason for one figure, without the words that name it; a key may be of one direction, such as `delay_ms.a_to_b`.
pub fn reason(not_shown: &[String], key: &str) -> Option<String> {
    let whole = key.split('.').next().unwrap_or(key);
    let (known, words) = WORDS
        .into_iter()
        .find(|(known, _)| whole.starts_with(known))
        .unwrap_or((whole, &[]));
    let entries = || not_shown.iter().filter_map(|entry| entry.split_once(": "));
    let by_key = |key: &str| entries().find(|(figure, _)| *figure == key);
    let by_words = || {
        entries().find(|(figure, _)| {
            let figure = format!(" {} ", figure.to_lowercase());
            words
                .iter()
                .any(|word| figure.contains(&format!(" {word} ")))
        })
    };
    let (_, reason) = by_key(key).or_else(|| by_key(known)).or_else(by_words)?;
    Some(reason.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_found_by_key_or_words() {
        let not_shown = [
            "delay_ms.b_to_a: the one",
            "delay: the generator was late",
            "CPU and memory per call: calls come and go",
            "jitter of the moon: unrelated: words",
            "without a figure",
        ]
        .map(str::to_owned);
        let of = |key| reason(&not_shown, key);
        assert_eq!(of("delay_ms.b_to_a").as_deref(), Some("the one"));
        assert_eq!(
            of("delay_ms.a_to_b").as_deref(),
            Some("the generator was late")
        );
        assert_eq!(
            of("delay_ms_p99_median").as_deref(),
            Some("the generator was late")
        );
        assert_eq!(
            of("cpu_ms_per_call_s").as_deref(),
            Some("calls come and go")
        );
        assert_eq!(of("rss_kb_per_call").as_deref(), Some("calls come and go"));
        assert_eq!(of("cpu_ms_per_setup"), None);
        assert_eq!(of("jitter_ms"), None);
        let all = ["all figures of the steady time: it had 2 looks".to_owned()];
        assert_eq!(
            reason(&all, "loss_pct.a_to_b").as_deref(),
            Some("it had 2 looks")
        );
    }
}
