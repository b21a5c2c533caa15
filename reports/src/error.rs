//! Why no report was written, with the file and the place.

use std::path::PathBuf;

/// Why no report was written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file or folder cannot be read or written.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// A file is no JSON, or lacks what its kind must have. The reason names line and column.
    #[error("{}: {reason}", path.display())]
    Json {
        /// Which one.
        path: PathBuf,
        /// What is wrong, and where.
        reason: serde_json::Error,
    },
    /// A plot could not be drawn.
    #[error("the plot `{plot}` cannot be drawn: {reason}")]
    Plot {
        /// Its title.
        plot: String,
        /// What the plotting library said.
        reason: String,
    },
}
