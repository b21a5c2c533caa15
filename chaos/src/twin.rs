//! The clean twin: suite seeds without any bug, as many as it takes, none of which may raise an alarm.
//!
//! What was run is written down after each round, so that it may be interrupted at any time and goes on where it was. The file
//! belongs to one list of scenarios; another list would draw other runs for the same seeds, and is refused.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use synod_sim::command::CommandError;
use synod_sim::verdict::exit;

use crate::score::{alarm, drawn};
use crate::suite::{Case, Suite};
use crate::sweep::write_json;
use crate::{cannot, child, pool};

/// Seeds of a round, for each job.
const ROUND: u64 = 16;

/// What to run.
pub struct Options {
    /// Up to which suite seed.
    pub seeds: u64,
    /// Only scenarios whose names have this in them.
    pub only: String,
    /// Processes at a time.
    pub jobs: Option<usize>,
    /// Where it is written down.
    pub file: PathBuf,
}

/// What was run so far.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Progress {
    /// The scenarios that seeds draw from.
    scenarios: Vec<String>,
    /// All seeds from 1 up to here were run.
    seeds: u64,
    /// What raised an alarm.
    alarms: Vec<String>,
    /// Real seconds it took.
    seconds: f64,
}

/// `cargo chaos twin`.
pub fn run(suite: &Suite, options: &Options) -> Result<u8, CommandError> {
    let cases: Vec<&Case> = suite.cases.iter().filter(|case| case.name().contains(&options.only)).collect();
    if cases.is_empty() {
        return Err(cannot("the twin", format!("no scenario has {:?} in its name", options.only)));
    }
    let names: Vec<String> = cases.iter().map(|case| case.name().to_owned()).collect();
    let mut progress =
        read(&options.file)?.unwrap_or_else(|| Progress { scenarios: names.clone(), ..Progress::default() });
    if progress.scenarios != names {
        let told = format!("{} is about other scenarios: name another file", options.file.display());
        return Err(cannot("the twin", told));
    }
    let jobs = pool::jobs(options.jobs);
    while progress.seeds < options.seeds {
        let begun = Instant::now();
        let last = options.seeds.min(progress.seeds + ROUND * jobs as u64);
        let mut rest = progress.seeds + 1..=last;
        let work = |seed| {
            let case = cases[drawn(seed, cases.len())];
            (case, seed, child::run(&case.file, seed, None))
        };
        let (mut alarms, mut errors) = (Vec::new(), Vec::new());
        pool::run(
            jobs,
            || rest.next(),
            work,
            |(case, seed, ended)| match ended {
                Ok(ended) => alarms.extend(alarm(case, seed, &ended)),
                Err(error) => errors.push(error),
            },
        );
        if let Some(error) = errors.into_iter().next() {
            return Err(error);
        }
        for alarm in &alarms {
            println!("FALSE ALARM without a bug: {alarm}");
        }
        let seconds = begun.elapsed().as_secs_f64();
        let each = seconds / (last - progress.seeds) as f64;
        progress.alarms.extend(alarms);
        progress.seeds = last;
        progress.seconds += seconds;
        write_json(&options.file, &progress)?;
        println!(
            "{last} of {} seeds, {} alarms, {each:.2} s each, {:.0} min left",
            options.seeds,
            progress.alarms.len(),
            each * (options.seeds - last) as f64 / 60.0
        );
    }
    child::tidy();
    println!(
        "{} seeds without a bug over {} scenarios in {:.0} s: {} alarms (none is allowed)",
        progress.seeds,
        names.len(),
        progress.seconds,
        progress.alarms.len()
    );
    Ok(if progress.alarms.is_empty() { exit::PASS } else { 1 })
}

fn read(file: &Path) -> Result<Option<Progress>, CommandError> {
    let failed = |error| CommandError::Read { file: file.to_owned(), error };
    match std::fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| failed(std::io::Error::new(std::io::ErrorKind::InvalidData, error))),
    }
}
