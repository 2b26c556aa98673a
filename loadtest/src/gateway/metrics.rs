//! `/metrics`, read: Prometheus' text format into numbers.

use std::collections::BTreeMap;

/// One reading of all series.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metrics {
    /// By the series' whole name, labels included, as `clutchcall_calls{shard="0"}`.
    pub series: BTreeMap<String, f64>,
}

impl Metrics {
    /// Reads the text; lines that are no samples are passed over.
    pub fn parse(text: &str) -> Self {
        let sample = |line: &str| {
            let line = line.trim();
            let (name, value) = line.rsplit_once(' ')?;
            (!line.starts_with('#')).then_some((name.to_owned(), value.parse().ok()?))
        };
        Self {
            series: text.lines().filter_map(sample).collect(),
        }
    }

    /// The sum over all series of a metric, 0 when there is none.
    pub fn sum(&self, name: &str) -> f64 {
        self.matching(name, "")
    }

    /// The sum over all series of a metric that have a label, as `reason="srtp_auth"`.
    pub fn matching(&self, name: &str, label: &str) -> f64 {
        let of_metric = |series: &str| match series.split_once('{') {
            Some((metric, labels)) => metric == name && labels.contains(label),
            None => series == name && label.is_empty(),
        };
        self.series
            .iter()
            .filter(|(series, _)| of_metric(series))
            .map(|(_, value)| value)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_over_labels() {
        let text = "# HELP clutchcall_calls Live calls.\n# TYPE clutchcall_calls gauge\n\
                    clutchcall_calls{shard=\"0\"} 2\nclutchcall_calls{shard=\"1\"} 3\nclutchcall_calls_total{shard=\"0\"} 9\n\
                    clutchcall_fds 40\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sum("clutchcall_calls"), 5.0);
        assert_eq!(metrics.matching("clutchcall_calls", "shard=\"1\""), 3.0);
        assert_eq!(metrics.sum("clutchcall_fds"), 40.0);
        assert_eq!(metrics.sum("clutchcall_nothing"), 0.0);
    }
}
