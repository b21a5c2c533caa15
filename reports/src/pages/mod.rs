//! The four pages, written side by side into one folder.

mod benchmarks;
mod chaos;
mod index;
mod peers;
mod scenarios;

use std::path::{Path, PathBuf};

use crate::page::Page;
use crate::{ReportError, Results};

/// Writes all pages into a folder, which is made if absent; answers their paths.
pub fn write_pages(results: &Results, folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |reason| ReportError::File { path, reason }
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    let pages: [Page; 4] =
        [index::page(results), benchmarks::page(results)?, scenarios::page(results)?, chaos::page(results)?];
    let mut written = Vec::new();
    for page in pages {
        let path = folder.join(page.file());
        std::fs::write(&path, page.finish()).map_err(failed(&path))?;
        written.push(path);
    }
    Ok(written)
}

/// The command that makes one of the five sources.
fn command(results: &Results, source: usize) -> &'static str {
    results.sources()[source].2
}
