//! The score: what the suite catches of the planted bugs.
//!
//! A suite seed draws one scenario; the run with the bug is caught if an oracle fires. The same run without the bug is its twin and
//! must be silent: twins are run once and serve all bugs. A bug that was never reached did not survive anything.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use synod_sim::command::CommandError;
use synod_sim::verdict::exit;

use crate::child::{self, Ended};
use crate::plants::{self, Catcher, Plant};
use crate::suite::{Case, Suite};
use crate::sweep::write_json;
use crate::{cannot, pool};

/// How to score.
pub struct Options {
    /// How many suite seeds.
    pub seeds: u64,
    /// Only the scenario named for the bug.
    pub named: bool,
    /// Processes at a time.
    pub jobs: Option<usize>,
    /// Where the table goes as JSON.
    pub json: Option<PathBuf>,
}

/// What one bug came to.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The bug.
    pub plant: String,
    /// What the code then does wrong.
    pub wrong: String,
    /// `caught`, `survived`, `not reached`, or which other command scores it.
    pub result: String,
    /// Suite seeds run with it.
    pub seeds: u64,
    /// Seeds in which the bug ran.
    pub reached: u64,
    /// Seeds in which an oracle fired.
    pub caught: u64,
    /// Median seeds to the first catch.
    pub median_seeds: Option<f64>,
    /// Which oracles fired, and in how many seeds.
    pub oracles: BTreeMap<String, u64>,
    /// Which was expected to, or the loom model or test.
    pub expected: Vec<String>,
    /// Whether an expected one did.
    pub as_expected: bool,
}

/// The table, as `--json` writes it.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// `plants`.
    pub kind: &'static str,
    /// Suite seeds for each bug.
    pub seeds: u64,
    /// Alarms of runs without a bug: none is allowed.
    pub twin_alarms: u64,
    /// Each bug.
    pub plants: Vec<Row>,
}

/// Median number of seeds to the first catch, when k of n caught it: ln 2 / -ln(1 - k/n), at least one.
pub fn median_seeds(caught: u64, seeds: u64) -> Option<f64> {
    if caught == 0 || seeds == 0 {
        return None;
    }
    if caught >= seeds {
        return Some(1.0);
    }
    let share = caught as f64 / seeds as f64;
    Some((std::f64::consts::LN_2 / -(1.0 - share).ln()).max(1.0))
}

/// The scenario that a suite seed draws: each in its turn, so that a few seeds are spread as evenly as many.
pub fn drawn(seed: u64, cases: usize) -> usize {
    ((seed - 1) % cases as u64) as usize
}

/// `cargo chaos plant`.
pub fn run(suite: &Suite, name: Option<&str>, options: &Options) -> Result<u8, CommandError> {
    let chosen: Vec<&Plant> = match name {
        None => plants::ALL.iter().collect(),
        Some(name) => vec![plants::find(name).ok_or_else(|| {
            let names: Vec<&str> = plants::ALL.iter().map(|plant| plant.name).collect();
            cannot(
                format!("the bug {name:?}"),
                format!("there is none of that name; there are {}", names.join(", ")),
            )
        })?],
    };
    let jobs = pool::jobs(options.jobs);
    let mut rows: Vec<Row> = chosen.iter().map(|plant| row(plant)).collect();

    // Which runs: (bug or none, case, seed). A twin is the same for every bug.
    let mut runs: Vec<(Option<usize>, usize, u64)> = Vec::new();
    for (index, plant) in chosen.iter().enumerate() {
        let Catcher::Oracle { scenario, .. } = plant.catcher else { continue };
        for seed in 1..=options.seeds {
            let case = if options.named {
                suite
                    .cases
                    .iter()
                    .position(|case| case.name() == scenario)
                    .ok_or_else(|| cannot(scenario, "no such scenario"))?
            } else {
                drawn(seed, suite.cases.len())
            };
            runs.push((Some(index), case, seed));
            if !runs.contains(&(None, case, seed)) {
                runs.push((None, case, seed));
            }
        }
    }
    println!(
        "{} bugs, {} suite seeds each, {} runs, {jobs} at a time",
        chosen.len(),
        options.seeds,
        runs.len()
    );
    let mut rest = runs.into_iter();
    let (mut twin_alarms, mut errors) = (Vec::new(), Vec::new());
    let work = |(plant, case, seed): (Option<usize>, usize, u64)| {
        let ended = child::run(&suite.cases[case].file, seed, plant.map(|index| chosen[index].name));
        (plant, case, seed, ended)
    };
    let (mut planted, mut alarmed) = (Vec::new(), Vec::new());
    pool::run(
        jobs,
        || rest.next(),
        work,
        |(plant, case, seed, ended)| match (plant, ended) {
            (_, Err(error)) => errors.push(error.to_string()),
            (Some(index), Ok(ended)) => planted.push((index, case, seed, ended)),
            (None, Ok(ended)) => {
                if let Some(what) = alarm(&suite.cases[case], seed, &ended) {
                    twin_alarms.push(what);
                    alarmed.push((case, seed));
                }
            }
        },
    );
    for (index, case, seed, ended) in planted {
        count(&mut rows[index], &ended, alarmed.contains(&(case, seed)));
    }
    child::tidy();
    if let Some(error) = errors.into_iter().next() {
        return Err(cannot("the score to its end", error));
    }
    for (row, plant) in rows.iter_mut().zip(&chosen) {
        conclude(row, plant);
    }
    let table =
        Table { kind: "plants", seeds: options.seeds, twin_alarms: twin_alarms.len() as u64, plants: rows };
    tell(&table, &twin_alarms);
    if let Some(file) = &options.json {
        write_json(file, &table)?;
    }
    let all_caught = table.plants.iter().all(|row| row.result == "caught" || elsewhere(row));
    Ok(if all_caught && twin_alarms.is_empty() { exit::PASS } else { 1 })
}

const LOOM: &str = "scored by cargo loom";
const TEST: &str = "scored by cargo test";

/// Whether another command scores it.
fn elsewhere(row: &Row) -> bool {
    row.result == LOOM || row.result == TEST
}

fn row(plant: &Plant) -> Row {
    Row {
        plant: plant.name.to_owned(),
        wrong: plant.wrong.to_owned(),
        result: if matches!(plant.catcher, Catcher::Test(_)) { TEST } else { LOOM }.to_owned(),
        seeds: 0,
        reached: 0,
        caught: 0,
        median_seeds: None,
        oracles: BTreeMap::new(),
        expected: match plant.catcher {
            Catcher::Oracle { oracles, .. } => oracles.iter().map(|name| (*name).to_owned()).collect(),
            Catcher::Model(name) | Catcher::Test(name) => vec![name.to_owned()],
        },
        as_expected: false,
    }
}

/// Counts a run with a bug. Where the twin raised an alarm too, the bug is not what was caught.
fn count(row: &mut Row, ended: &Ended, twin_alarmed: bool) {
    row.seeds += 1;
    match ended {
        Ended::Reported(report) if twin_alarmed => row.reached += u64::from(report.plant_reached > 0),
        Ended::Died(_) => {
            // It cannot tell any more whether the bug ran; dying is an alarm all the same.
            row.reached += 1;
            row.caught += 1;
            *row.oracles.entry("engine.process".to_owned()).or_default() += 1;
        }
        Ended::Reported(report) => {
            row.reached += u64::from(report.plant_reached > 0);
            row.caught += u64::from(!report.violations.is_empty());
            let mut names: Vec<&str> = report.violations.iter().map(|v| v.oracle.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                *row.oracles.entry(name.to_owned()).or_default() += 1;
            }
        }
    }
}

fn conclude(row: &mut Row, plant: &Plant) {
    let Catcher::Oracle { oracles, .. } = plant.catcher else { return };
    row.median_seeds = median_seeds(row.caught, row.seeds);
    row.as_expected = oracles.iter().any(|name| row.oracles.contains_key(*name));
    row.result = if row.caught > 0 {
        "caught"
    } else if row.reached > 0 {
        "survived"
    } else {
        "not reached"
    }
    .to_owned();
}

/// What a run without a bug said, if it said anything.
pub fn alarm(case: &Case, seed: u64, ended: &Ended) -> Option<String> {
    let what = match ended {
        Ended::Died(how) => how.clone(),
        Ended::Reported(report) => {
            let violation = report.violations.first()?;
            format!("{}: {}", violation.oracle, violation.what)
        }
    };
    Some(format!("{} with seed {seed}: {what}", case.name()))
}

fn tell(table: &Table, twin_alarms: &[String]) {
    let width = table.plants.iter().map(|row| row.plant.len()).max().unwrap_or(4);
    println!("{:width$}  {:>11}  {:>9} {:>9} {:>7}  oracles", "bug", "result", "reached", "caught", "median");
    for row in &table.plants {
        if elsewhere(row) {
            println!("{:width$}  {}: {}", row.plant, row.result, row.expected.join(", "));
            continue;
        }
        let median = row.median_seeds.map_or("-".to_owned(), |median| format!("{median:.1}"));
        let oracles: Vec<String> =
            row.oracles.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let surprise = match (row.caught > 0, row.as_expected) {
            (true, false) => format!(" (expected {})", row.expected.join(" or ")),
            _ => String::new(),
        };
        println!(
            "{:width$}  {:>11}  {:>9} {:>9} {median:>7}  {}{surprise}",
            row.plant,
            row.result,
            format!("{}/{}", row.reached, row.seeds),
            format!("{}/{}", row.caught, row.seeds),
            oracles.join(", ")
        );
    }
    for alarm in twin_alarms {
        println!("FALSE ALARM without a bug: {alarm}");
    }
    println!("alarms without a bug: {} (none is allowed)", twin_alarms.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_one_when_every_seed_catches_and_none_when_no_seed_does() {
        assert_eq!(median_seeds(0, 200), None);
        assert_eq!(median_seeds(200, 200), Some(1.0));
        assert_eq!(median_seeds(100, 200), Some(1.0));
        let rare = median_seeds(2, 200).unwrap();
        assert!((rare - 68.97).abs() < 0.01, "{rare}");
    }

    #[test]
    fn suite_seeds_draw_every_scenario() {
        let mut seen = [0; 8];
        for seed in 1..=200 {
            seen[drawn(seed, 8)] += 1;
        }
        assert_eq!(seen, [25; 8]);
    }

    #[test]
    fn a_run_that_dies_is_caught_but_not_as_expected() {
        let plant = plants::find("disk.ack-before-sync").expect("it is in the table");
        let died = Ended::Died("it hung".to_owned());
        let mut row = row(plant);
        count(&mut row, &died, false);
        assert_eq!((row.seeds, row.caught), (1, 1));
        conclude(&mut row, plant);
        assert_eq!((row.result.as_str(), row.as_expected), ("caught", false));
    }
}
