//! Results, found by looking at every JSON file under one folder: what a file holds tells what it is.

mod chaos;
mod criterion;
mod peers;
mod scenario;

use std::path::{Path, PathBuf};

use serde_json::Value;

pub use chaos::{Plants, Sweep, Swept};
pub use criterion::Estimate;
pub use peers::{Peers, Row};
pub use scenario::{Run, Verdict, Violation};

use crate::ReportError;

/// Folders deeper than this are not searched.
const DEPTH_MAX: usize = 6;

/// Everything that was found.
#[derive(Debug, Default)]
pub struct Results {
    /// Measurements beside peers.
    pub(crate) peers: Vec<Peers>,
    /// What `cargo bench` left.
    pub(crate) estimates: Vec<Estimate>,
    /// Single scenario runs.
    pub(crate) runs: Vec<Run>,
    /// Sweeps over scenarios and seeds.
    pub(crate) sweeps: Vec<Sweep>,
    /// Scores of planted bugs.
    pub(crate) plants: Vec<Plants>,
    /// JSON files that are none of these, and why that was concluded.
    pub unread: Vec<(PathBuf, String)>,
}

impl Results {
    /// Reads what lies under `results`, and criterion's estimates under `criterion`. An absent folder holds nothing; a file
    /// that is broken is an error.
    pub fn read(results: &Path, criterion: &Path) -> Result<Self, ReportError> {
        let mut found = Self::default();
        for file in json_files(results)? {
            found.read_file(&file)?;
        }
        found.estimates = criterion::read(criterion)?;
        found.runs.sort_by(|a, b| (&a.scenario, a.seed).cmp(&(&b.scenario, b.seed)));
        Ok(found)
    }

    fn read_file(&mut self, file: &Path) -> Result<(), ReportError> {
        let text = read_text(file)?;
        let wrong = |reason| ReportError::Json { path: file.to_owned(), reason };
        let value: Value = serde_json::from_str(&text).map_err(wrong)?;
        // Each kind is read again from the text, so that an error can name its line.
        let has = |key: &str| value.get(key).is_some();
        if has("trace_hash") && has("scenario") {
            self.runs.push(serde_json::from_str(&text).map_err(wrong)?);
        } else if has("rows") {
            self.peers.push(serde_json::from_str(&text).map_err(wrong)?);
        } else if has("plants") {
            self.plants.push(serde_json::from_str(&text).map_err(wrong)?);
        } else if has("scenarios") {
            self.sweeps.push(serde_json::from_str(&text).map_err(wrong)?);
        } else {
            match value.as_array().and_then(|items| items.first()) {
                Some(first) if first.get("metric").is_some() => {
                    let rows = serde_json::from_str(&text).map_err(wrong)?;
                    self.peers.push(Peers {
                        machine: None,
                        rows,
                        observations: Vec::new(),
                        unavailable: Vec::new(),
                    });
                }
                Some(first) if first.get("trace_hash").is_some() => {
                    self.runs.append(&mut serde_json::from_str(&text).map_err(wrong)?);
                }
                _ => {
                    let why = "no kind of result: it has neither rows, nor a trace hash, scenarios or plants";
                    self.unread.push((file.to_owned(), why.to_owned()));
                }
            }
        }
        Ok(())
    }

    /// Each source, how much of it was found, and the command that makes it.
    pub fn sources(&self) -> [(&'static str, usize, &'static str); 5] {
        let rows = self.peers.iter().map(|peers| peers.rows.len()).sum();
        let plants = self.plants.iter().map(|plants| plants.plants.len()).sum();
        [
            ("measurements beside peers", rows, "cargo peers --json results/peers.json"),
            ("criterion estimates", self.estimates.len(), "cargo bench -p synod-benches"),
            ("scenario runs", self.runs.len(), "cargo sim run FILE --seed N --json results/NAME.json"),
            ("chaos sweeps", self.sweeps.len(), "cargo chaos --json results/chaos.json"),
            ("planted bugs scored", plants, "cargo chaos plant --all --json results/plants.json"),
        ]
    }
}

fn read_text(path: &Path) -> Result<String, ReportError> {
    std::fs::read_to_string(path).map_err(|reason| ReportError::File { path: path.to_owned(), reason })
}

/// All JSON files under a folder, in order of their paths; none when it does not exist.
fn json_files(folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let mut files = Vec::new();
    collect(folder, 0, &mut files)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    Ok(files)
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), ReportError> {
    let failed = |reason| ReportError::File { path: folder.to_owned(), reason };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && depth == 0 => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_file() {
            files.push(entry.path());
        } else if kind.is_dir() && depth < DEPTH_MAX {
            collect(&entry.path(), depth + 1, files)?;
        }
    }
    Ok(())
}
