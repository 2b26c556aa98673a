//! `check`: whether `serve` would start with these files on this machine.

use super::{CommandError, Files};

/// Prints the verdict, and with `print` every effective value.
pub(super) fn check(files: &Files, print: bool) -> Result<(), CommandError> {
    let (_, loaded) = files.load()?;
    for warning in &loaded.warnings.0 {
        eprintln!("warning: {warning}");
    }
    if print {
        for effective in &loaded.effective {
            println!("{effective}");
        }
    }
    println!(
        "{}: ok: {}, {}, {}",
        files.config.display(),
        counted(loaded.gateway.tenants.len(), "tenant"),
        counted(loaded.gateway.trunks.len(), "trunk"),
        counted(loaded.shards.cores.len(), "shard"),
    );
    Ok(())
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
