//! What is kept of a failure, and how it is run again.
//!
//! A folder holds the scenario as it was, the seed, the report, and `replay.txt`: the command that runs it again.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use synod_sim::command::{self, CommandError, RunArguments};
use synod_sim::verdict::Report;

use crate::suite::Case;

/// What is needed to run a failure again.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    scenario: String,
    seed: u64,
    plant: Option<String>,
    /// What went wrong, in words.
    why: Vec<String>,
}

/// Keeps a failure below `folder`, and answers its folder.
pub fn keep(
    folder: &Path,
    case: &Case,
    seed: u64,
    report: Option<&Report>,
    why: Vec<String>,
) -> Result<PathBuf, CommandError> {
    let place = folder.join(format!("{}-{seed}", case.name()));
    let failed = |error| CommandError::Write { file: place.clone(), error };
    std::fs::create_dir_all(&place).map_err(failed)?;
    std::fs::copy(&case.file, place.join("scenario.toml")).map_err(failed)?;
    let kept = Kept { scenario: case.name().to_owned(), seed, plant: None, why };
    let json = |value: serde_json::Value| format!("{value:#}\n");
    let text = json(serde_json::to_value(&kept).unwrap_or_default());
    std::fs::write(place.join("failure.json"), text).map_err(failed)?;
    if let Some(report) = report {
        let text = json(serde_json::to_value(report).unwrap_or_default());
        std::fs::write(place.join("report.json"), text).map_err(failed)?;
    }
    let command = format!("cargo chaos replay {}\n", place.display());
    std::fs::write(place.join("replay.txt"), command).map_err(failed)?;
    Ok(place)
}

/// `replay`: the run again, in this process, with its trace beside it.
pub fn replay(folder: &Path) -> Result<u8, CommandError> {
    let file = folder.join("failure.json");
    let text =
        std::fs::read_to_string(&file).map_err(|error| CommandError::Read { file: file.clone(), error })?;
    let kept: Kept = serde_json::from_str(&text).map_err(|error| CommandError::Read {
        file,
        error: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
    })?;
    for why in &kept.why {
        println!("then: {why}");
    }
    let trace = folder.join("trace.txt");
    let status = command::run(&RunArguments {
        file: folder.join("scenario.toml"),
        seed: kept.seed,
        json: None,
        trace: Some(trace.clone()),
        plant: kept.plant,
        quiet: false,
    })?;
    println!("  trace in {}", trace.display());
    Ok(status)
}
