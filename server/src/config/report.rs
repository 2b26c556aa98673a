//! What loading tells people: problems and warnings with their place, and effective values with their origin.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

/// Line and column in a file, both counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// One thing that is wrong, or worth a warning, in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: Arc<Path>,
    /// Where in the file; none when the value is a default.
    pub position: Option<Position>,
    /// The key with its tables, for example `tenants[0].max_calls`; empty for a fault of the whole file.
    pub key: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(Position { line, column }) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        if self.key.is_empty() {
            write!(f, ": {}", self.message)
        } else {
            write!(f, ": {}: {}", self.key, self.message)
        }
    }
}

/// Why a configuration was refused. Nothing of it was taken over.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file itself can't be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The system does not tell what it has.
    #[error("this machine's cores can't be read: {0}")]
    Machine(std::io::Error),
    /// The content is wrong; every problem stands on a line of its own.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
}

impl ConfigError {
    /// Both errors in one, where they can be told together.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Invalid(mut problems), Self::Invalid(more)) => {
                problems.extend(more);
                Self::Invalid(problems)
            }
            (Self::Invalid(_), other) => other,
            (unreadable, _) => unreadable,
        }
    }
}

/// What an operator should know although the configuration works.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Warnings(pub Vec<Problem>);

impl fmt::Display for Warnings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&lines(&self.0))
    }
}

/// One value that is in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key with its tables.
    pub key: String,
    /// The value as the file would write it; a secret's value is never here.
    pub value: String,
    /// Where the file says so; none: the default.
    pub position: Option<Position>,
}

/// The values of one file that are in effect, in the order of the documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The file, as it was named; `(no file)` when there is none.
    pub file: Arc<Path>,
    /// Its values.
    pub settings: Vec<Setting>,
}

impl Effective {
    /// Where `key` was set; none: it has its default, or is unknown.
    pub fn position(&self, key: &str) -> Option<Position> {
        self.settings
            .iter()
            .find(|setting| setting.key == key)
            .and_then(|setting| setting.position)
    }

    /// A problem with the value of `key`.
    pub fn problem(&self, key: &str, message: impl Into<String>) -> Problem {
        Problem {
            file: self.file.clone(),
            position: self.position(key),
            key: key.to_owned(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# {}", self.file.display())?;
        for Setting {
            key,
            value,
            position,
        } in &self.settings
        {
            match position {
                Some(Position { line, .. }) => {
                    writeln!(f, "{key} = {value}  # {}:{line}", self.file.display())?
                }
                None => writeln!(f, "{key} = {value}  # default")?,
            }
        }
        Ok(())
    }
}

/// What reading one file gives besides its typed form.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) warnings: Warnings,
    pub(super) effective: Effective,
}

fn lines(problems: &[Problem]) -> String {
    let texts: Vec<String> = problems.iter().map(Problem::to_string).collect();
    texts.join("\n")
}
