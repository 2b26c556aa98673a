//! A TOML file in which every value knows its place, and what was found while it was read.
//!
//! Its tables are read through [`super::section::Section`].

use std::cell::RefCell;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeTable;

use super::{ConfigError, Effective, Position, Problem, Report, Setting, Warnings};

/// The longest configuration file, in bytes.
pub(super) const FILE_LEN_MAX: u64 = 4 * 1024 * 1024;

/// The longest key, certificate or secret file, in bytes.
pub(super) const KEY_FILE_LEN_MAX: u64 = 256 * 1024;

/// A file's text and what was found in it.
pub(super) struct Document {
    path: Arc<Path>,
    text: String,
    findings: RefCell<Findings>,
}

#[derive(Default)]
struct Findings {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    settings: Vec<Setting>,
}

impl Document {
    /// Reads a file.
    pub(super) fn open(path: &Path) -> Result<Self, ConfigError> {
        let text = read_bounded(path, FILE_LEN_MAX)
            .and_then(|bytes| {
                String::from_utf8(bytes)
                    .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
            })
            .map_err(|error| ConfigError::Unreadable {
                path: path.to_owned(),
                error,
            })?;
        Ok(Self::from_text(path, text))
    }

    /// A document without a file, or a test's.
    pub(super) fn from_text(path: &Path, text: String) -> Self {
        Self {
            path: Arc::from(path),
            text,
            findings: RefCell::default(),
        }
    }

    /// Parses the text.
    pub(super) fn parse(&self) -> Result<Spanned<DeTable<'_>>, ConfigError> {
        DeTable::parse(&self.text).map_err(|error| {
            let message = error.message().trim_end().replace('\n', "; ");
            ConfigError::Invalid(vec![self.problem(error.span(), String::new(), message)])
        })
    }

    /// A path of the file, relative to the file's own directory.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// Ends the reading: the problems, or the report about a file without any.
    pub(super) fn finish(self) -> Result<Report, ConfigError> {
        let findings = self.findings.into_inner();
        if !findings.problems.is_empty() {
            let mut problems = findings.problems;
            problems.sort_by_key(|problem| problem.position);
            return Err(ConfigError::Invalid(problems));
        }
        Ok(Report {
            warnings: Warnings(findings.warnings),
            effective: Effective {
                file: self.path,
                settings: findings.settings,
            },
        })
    }

    /// Something is wrong; without a span it has no place in the file.
    pub(super) fn add_problem(&self, span: Option<Range<usize>>, key: String, message: String) {
        let problem = self.problem(span, key, message);
        self.findings.borrow_mut().problems.push(problem);
    }

    /// Something is worth a warning.
    pub(super) fn add_warning(&self, span: Option<Range<usize>>, key: String, message: String) {
        let warning = self.problem(span, key, message);
        self.findings.borrow_mut().warnings.push(warning);
    }

    /// A value is in effect; without a span by default.
    pub(super) fn record(&self, key: String, value: String, span: Option<Range<usize>>) {
        let position = span.map(|span| self.position(span.start));
        let setting = Setting {
            key,
            value,
            position,
        };
        self.findings.borrow_mut().settings.push(setting);
    }

    fn problem(&self, span: Option<Range<usize>>, key: String, message: String) -> Problem {
        Problem {
            file: self.path.clone(),
            position: span.map(|span| self.position(span.start)),
            key,
            message,
        }
    }

    fn position(&self, byte: usize) -> Position {
        let before = self.text.get(..byte).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before
            .get(line_start..)
            .map_or(0, |line| line.chars().count())
            + 1;
        Position {
            line: before.matches('\n').count() + 1,
            column,
        }
    }
}

/// Reads a file of bounded size; a longer one is an error, not a cut.
pub(super) fn read_bounded(path: &Path, len_max: u64) -> std::io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > len_max {
        return Err(std::io::Error::other(format!(
            "the file is longer than {len_max} bytes"
        )));
    }
    fs::read(path)
}

/// A text as TOML writes it.
pub(super) fn quote(text: &str) -> String {
    toml::Value::from(text).to_string()
}
