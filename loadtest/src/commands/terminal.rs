//! Colours, on a terminal only.

use std::io::IsTerminal;

/// `text` in green or red when standard output is a terminal, else as it is.
pub(super) fn verdict_coloured(text: &str, good: bool) -> String {
    if !std::io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some() {
        return text.to_owned();
    }
    let colour = if good { 32 } else { 31 };
    format!("\x1b[{colour}m{text}\x1b[0m")
}
