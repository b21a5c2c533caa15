//! One run in a process of its own: this program again, its result read from the JSON that it writes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use synod_sim::command::CommandError;
use synod_sim::verdict::{Report, exit};

use crate::cannot;

/// How long a run may take in real time before it is taken for a hang.
const WALL_MAX: Duration = Duration::from_secs(180);

/// How a run ended for who started it.
#[derive(Clone, Debug)]
pub enum Ended {
    /// It wrote its result.
    Reported(Box<Report>),
    /// It ended without one: how, and what it said last.
    Died(String),
}

impl Ended {
    /// The report, if there is one.
    pub fn report(&self) -> Option<&Report> {
        match self {
            Ended::Reported(report) => Some(report),
            Ended::Died(_) => None,
        }
    }
}

/// Runs a scenario file with a seed, and with a planted bug if one is named.
pub fn run(file: &Path, seed: u64, plant: Option<&str>) -> Result<Ended, CommandError> {
    let result = scratch()?.join(format!("{}.json", next()));
    let errors = result.with_extension("err");
    let this = std::env::current_exe().map_err(|error| cannot("this program again", error))?;
    let said = std::fs::File::create(&errors)
        .map_err(|error| cannot("a run, for want of a file for its errors", error))?;
    let mut command = Command::new(this);
    command.args(["one", "--quiet", "--seed", &seed.to_string(), "--json"]).arg(&result);
    if let Some(plant) = plant {
        command.args(["--plant", plant]);
    }
    let mut child = command
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said)
        .spawn()
        .map_err(|error| cannot("this program again", error))?;
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|error| cannot("a run to its end", error))? {
            Some(status) => break Some(status),
            None if begun.elapsed() > WALL_MAX => {
                // Killing a child that ended just now fails, and then it needs none.
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let text = std::fs::read_to_string(&result).unwrap_or_default();
    let stderr = std::fs::read_to_string(&errors).unwrap_or_default();
    for file in [&result, &errors] {
        // Scratch files are removed with their folder at the latest.
        let _ = std::fs::remove_file(file);
    }
    let last = stderr
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("nothing on standard error")
        .to_owned();
    Ok(match (status, serde_json::from_str(&text)) {
        (None, _) => Ended::Died(format!("it hung: no end after {} s", WALL_MAX.as_secs())),
        (Some(_), Ok(report)) => Ended::Reported(Box::new(report)),
        (Some(status), Err(_)) if status.code() == Some(i32::from(exit::USAGE)) => {
            return Err(cannot("a run", last));
        }
        (Some(status), Err(_)) => Ended::Died(format!("it ended with {status} and no result: {last}")),
    })
}

fn next() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A folder for results on their way, this process's own.
fn scratch() -> Result<PathBuf, CommandError> {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder =
        FOLDER.get_or_init(|| std::env::temp_dir().join(format!("synod-chaos-{}", std::process::id())));
    std::fs::create_dir_all(folder).map_err(|error| CommandError::Write { file: folder.clone(), error })?;
    Ok(folder.clone())
}

/// Removes the folder for results on their way.
pub fn tidy() {
    if let Ok(folder) = scratch() {
        // Left-overs of a temporary folder harm nobody.
        let _ = std::fs::remove_dir_all(folder);
    }
}
