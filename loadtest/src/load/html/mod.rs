//! A report as one HTML file that needs nothing else: style and drawings inside, no script, for light, dark and paper.
//!
//! What must be known before any figure stands before the figures. A figure that is not shown is named with its reason.

mod compare_page;
mod find_max_page;
mod markup;
mod page_parts;
mod plot;
mod run_page;
mod run_plots;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod well_formed;

pub use compare_page::compare_page;
pub use find_max_page::find_max_page;
pub use run_page::page;
