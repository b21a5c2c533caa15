//! Turns results into pages and plots: reads what benchmarks, scenarios and chaos runs wrote, and writes static HTML.
//!
//! The pages are self-contained (styles and SVG inside, nothing fetched), follow the reader's light or dark setting, and work on a
//! phone. The same results give the same bytes: no clock is read. A result that is missing is named, never made up.

mod error;
mod figures;
mod input;
mod page;
mod pages;
mod plot;

pub use error::ReportError;
pub use input::Results;
pub use pages::write_pages;
