//! What every command that measures is told: the generator's cores and seed, and where its report goes.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

/// Common to `run`, `find-max` and `compare`.
#[derive(Debug, Args)]
pub(super) struct MeasuringArguments {
    /// Cores of the generator: a media thread on each
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = [1], help_heading = "Generator")]
    pub(super) load_cores: Vec<usize>,
    /// Spreads the calls' phases: the same seed, the same spread
    #[arg(long, default_value_t = 1, help_heading = "Generator")]
    pub(super) seed: u64,
    /// No live view
    #[arg(long, short, help_heading = "Output")]
    pub(super) quiet: bool,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    json: Option<PathBuf>,
    /// Write the report as one HTML file with pictures
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    html: Option<PathBuf>,
}

impl MeasuringArguments {
    /// Writes a report where it was asked for.
    pub(super) fn write<R: Serialize>(
        &self,
        report: &R,
        page: impl FnOnce(&R) -> String,
    ) -> Result<(), Box<dyn Error>> {
        if let Some(file) = &self.json {
            fs::write(file, serde_json::to_string_pretty(report)?)?;
        }
        if let Some(file) = &self.html {
            fs::write(file, page(report))?;
        }
        Ok(())
    }
}
