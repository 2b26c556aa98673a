//! Lines of the Prometheus text format.

use std::fmt::{Display, Write};

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Gauge,
    Counter,
}

/// A label's name and value; values are numbers or words of ours, so that nothing needs escaping.
pub(super) type Label<'a> = (&'static str, &'a dyn Display);

#[derive(Default)]
pub(super) struct Page {
    pub(super) text: String,
}

impl Page {
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        self.line(format_args!("# HELP clutchcall_{name} {help}"));
        self.line(format_args!("# TYPE clutchcall_{name} {kind}"));
    }

    pub(super) fn sample(&mut self, name: &str, labels: &[Label<'_>], value: impl Display) {
        let mut braces = String::new();
        for (index, (label, label_value)) in labels.iter().enumerate() {
            let opening = if index == 0 { '{' } else { ',' };
            let written = write!(braces, "{opening}{label}=\"{label_value}\"");
            debug_assert!(written.is_ok(), "a String takes everything");
        }
        if !labels.is_empty() {
            braces.push('}');
        }
        self.line(format_args!("clutchcall_{name}{braces} {value}"));
    }

    /// A family with a sample for each value of one label.
    pub(super) fn by_label<Word: Display, Value: Display>(
        &mut self,
        name: &str,
        kind: Kind,
        help: &str,
        label: &'static str,
        samples: impl IntoIterator<Item = (Word, Value)>,
    ) {
        self.family(name, kind, help);
        for (word, value) in samples {
            self.sample(name, &[(label, &word)], value);
        }
    }

    /// A family of one sample without labels.
    pub(super) fn figure(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let written = self.text.write_fmt(line);
        debug_assert!(written.is_ok(), "a String takes everything");
        self.text.push('\n');
    }
}
