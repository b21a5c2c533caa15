//! The sweep: every scenario in turn, each time with a fresh seed, until the budget is spent.
//!
//! Every [`AGAIN_EVERY`]th run is run again in another process and must give the same trace. The canaries come first: if they
//! do not fail, nothing else is worth running.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use synod_sim::command::CommandError;
use synod_sim::verdict::{Kind, Verdict, Violation, exit};

use crate::child::{self, Ended};
use crate::suite::{Case, Suite};
use crate::{SweepArguments, cannot, keep, pool, reachable};

/// One run in so many is repeated to see whether it is deterministic.
const AGAIN_EVERY: u64 = 7;

/// What a scenario came to over the sweep.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    /// The scenario.
    pub scenario: String,
    /// Seeds run.
    pub seeds: u64,
    /// Of them passed.
    pub pass: u64,
    /// Of them failed.
    pub fail: u64,
    /// Of them unknown.
    pub unknown: u64,
    /// Runs repeated.
    pub repeated: u64,
    /// Repeated runs that differed.
    pub differed: u64,
    /// Virtual seconds, all runs together.
    pub sim_seconds: f64,
    /// Real seconds, all runs together.
    pub wall_seconds: f64,
    /// What the scenario expects to be reached and was not often enough: `event: seen of wanted`.
    pub unmet: Vec<String>,
    /// Rare events reached.
    pub reach: BTreeMap<String, u64>,
}

/// One failure.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// The scenario.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// What was wrong.
    pub violations: Vec<Violation>,
    /// Where it is kept.
    pub folder: String,
}

/// The whole sweep, as `--json` writes it.
#[derive(Clone, Debug, Serialize)]
pub struct Sweep {
    /// `sweep`.
    pub kind: &'static str,
    /// The verdict of the whole.
    pub verdict: Verdict,
    /// The first seed.
    pub seed_from: u64,
    /// Processes at a time.
    pub jobs: usize,
    /// Real seconds it took.
    pub seconds: f64,
    /// Whether every canary failed, as it must.
    pub canary_seen: bool,
    /// Rare events that no run reached.
    pub holes: Vec<String>,
    /// Each scenario.
    pub scenarios: Vec<Row>,
    /// Each failure.
    pub failures: Vec<Failure>,
    /// Scenarios that the engine cannot run, with why.
    pub unsupported: Vec<(String, Vec<String>)>,
}

struct Done {
    case: usize,
    seed: u64,
    ended: Result<Ended, CommandError>,
    again: Option<Result<Ended, CommandError>>,
}

/// `cargo chaos`.
pub fn run(suite: &Suite, arguments: &SweepArguments) -> Result<u8, CommandError> {
    let cases: Vec<&Case> = suite
        .cases
        .iter()
        .filter(|case| arguments.only.as_deref().is_none_or(|only| only == case.name()))
        .collect();
    if cases.is_empty() {
        let names: Vec<&str> = suite.cases.iter().map(Case::name).collect();
        return Err(cannot("the sweep", format!("no scenario of that name; there are {}", names.join(", "))));
    }
    let begun = Instant::now();
    // Seeds far apart for sweeps close together; small enough to type.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs());
    let seed_from = arguments.seed_from.unwrap_or(now % 1_000_000 * 1_000);
    let jobs = pool::jobs(arguments.jobs);
    let budget = arguments.budget.as_secs();
    println!("{} scenarios, seeds from {seed_from}, {jobs} at a time, for {budget} s", cases.len());

    let canary_seen = canaries_fail(&suite.canaries, seed_from)?;
    let kept = arguments.keep.join(format!("{seed_from}"));
    let mut rows: Vec<Row> =
        cases.iter().map(|case| Row { scenario: case.name().to_owned(), ..Row::default() }).collect();
    let (mut failures, mut errors) = (Vec::new(), Vec::new());
    let mut turn = 0_u64;
    let source = || {
        // Every scenario gets one seed, however small the budget.
        let first_round = turn < cases.len() as u64;
        let next = (first_round || begun.elapsed() < arguments.budget).then_some(turn);
        turn += 1;
        next
    };
    let work = |turn: u64| {
        let case = (turn % cases.len() as u64) as usize;
        let seed = seed_from + turn / cases.len() as u64;
        let ended = child::run(&cases[case].file, seed, None);
        // Counted within each scenario, with another phase for each, so that every scenario has its turn.
        let again = ((turn / cases.len() as u64 + case as u64).is_multiple_of(AGAIN_EVERY))
            .then(|| child::run(&cases[case].file, seed, None));
        Done { case, seed, ended, again }
    };
    pool::run(jobs, source, work, |done| match take(&mut rows[done.case], &done) {
        Err(error) => errors.push(error),
        Ok(violations) if violations.is_empty() => {}
        Ok(violations) => {
            let (case, seed) = (cases[done.case], done.seed);
            let why = violations.iter().map(|v| format!("{}: {}", v.oracle, v.what)).collect();
            let report = done.ended.as_ref().ok().and_then(Ended::report);
            match keep::keep(&kept, case, seed, report, why) {
                Ok(folder) => failures.push(Failure {
                    scenario: case.name().to_owned(),
                    seed,
                    violations,
                    folder: folder.display().to_string(),
                }),
                Err(error) => errors.push(error.to_string()),
            }
        }
    });
    child::tidy();
    if let Some(error) = errors.into_iter().next() {
        return Err(cannot("the sweep to its end", error));
    }
    for (row, case) in rows.iter_mut().zip(&cases) {
        row.unmet = case
            .scenario
            .expect
            .reach
            .iter()
            .filter_map(|(name, wanted)| {
                let seen = row.reach.get(name).copied().unwrap_or(0);
                (seen < *wanted).then(|| format!("{name}: {seen} of {wanted}"))
            })
            .collect();
    }
    let reached: BTreeSet<String> = rows.iter().flat_map(|row| row.reach.keys().cloned()).collect();
    let holes: Vec<String> = reachable::names().difference(&reached).cloned().collect();
    let is_unknown = rows.iter().any(|row| row.unknown > 0 || !row.unmet.is_empty());
    let verdict = match () {
        () if !failures.is_empty() || !canary_seen => Verdict::Fail,
        () if is_unknown => Verdict::Unknown,
        () => Verdict::Pass,
    };
    let sweep = Sweep {
        kind: "sweep",
        verdict,
        seed_from,
        jobs,
        seconds: begun.elapsed().as_secs_f64(),
        canary_seen,
        holes,
        scenarios: rows,
        failures,
        unsupported: suite.unsupported.clone(),
    };
    print!("{}", told(&sweep));
    if let Some(file) = &arguments.json {
        write_json(file, &sweep)?;
    }
    Ok(match verdict {
        Verdict::Pass => exit::PASS,
        Verdict::Fail => 1,
        Verdict::Unknown => exit::UNKNOWN,
    })
}

/// Writes a result as JSON, making its folder.
pub fn write_json(file: &Path, value: &impl Serialize) -> Result<(), CommandError> {
    let failed = |error| CommandError::Write { file: file.to_owned(), error };
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let text = format!("{:#}\n", serde_json::to_value(value).unwrap_or_default());
    std::fs::write(file, text).map_err(failed)
}

fn canaries_fail(canaries: &[Case], seed: u64) -> Result<bool, CommandError> {
    for canary in canaries {
        let ended = child::run(&canary.file, seed, None)?;
        if ended.report().is_none_or(|report| report.verdict != Verdict::Fail) {
            return Ok(false);
        }
    }
    Ok(!canaries.is_empty())
}

/// Counts a run into its row; answers what was wrong with it.
fn take(row: &mut Row, done: &Done) -> Result<Vec<Violation>, String> {
    row.seeds += 1;
    let crash = |oracle: &str, what: String| Violation { oracle: oracle.to_owned(), kind: Kind::Crash, what };
    let report = match &done.ended {
        Err(error) => return Err(error.to_string()),
        Ok(Ended::Died(how)) => {
            row.fail += 1;
            return Ok(vec![crash("engine.process", how.clone())]);
        }
        Ok(Ended::Reported(report)) => report,
    };
    row.sim_seconds += report.sim_seconds;
    row.wall_seconds += report.wall_seconds;
    for (name, count) in &report.reach {
        *row.reach.entry(name.clone()).or_default() += count;
    }
    let mut wrong = report.violations.clone();
    if let Some(again) = &done.again {
        row.repeated += 1;
        let same = match again {
            Err(error) => return Err(error.to_string()),
            Ok(Ended::Died(_)) => false,
            Ok(Ended::Reported(second)) => {
                second.trace_hash == report.trace_hash && second.verdict == report.verdict
            }
        };
        if !same {
            row.differed += 1;
            wrong.push(Violation {
                oracle: "engine.determinism".to_owned(),
                kind: Kind::Safety,
                what: format!(
                    "two processes with seed {} gave different traces: `cargo sim check` says where",
                    done.seed
                ),
            });
        }
    }
    match report.verdict {
        _ if !wrong.is_empty() => row.fail += 1,
        Verdict::Unknown => row.unknown += 1,
        Verdict::Pass | Verdict::Fail => row.pass += 1,
    }
    Ok(wrong)
}

/// The sweep for a person: holes first.
fn told(sweep: &Sweep) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = (|| {
        if !sweep.holes.is_empty() {
            writeln!(text, "never reached ({}): {}", sweep.holes.len(), sweep.holes.join(", "))?;
        }
        let width = sweep.scenarios.iter().map(|row| row.scenario.len()).max().unwrap_or(8).max(8);
        writeln!(
            text,
            "{:width$}  {:>5} {:>5} {:>5} {:>7}  {:>9}  {:>9} {:>8}",
            "scenario", "seeds", "pass", "fail", "unknown", "same", "simulated", "ratio"
        )?;
        for row in &sweep.scenarios {
            writeln!(
                text,
                "{:width$}  {:>5} {:>5} {:>5} {:>7}  {:>9}  {:>8.0}s {:>6.0}:1",
                row.scenario,
                row.seeds,
                row.pass,
                row.fail,
                row.unknown,
                format!("{}/{}", row.repeated - row.differed, row.repeated),
                row.sim_seconds,
                row.sim_seconds / row.wall_seconds.max(1e-9),
            )?;
            for unmet in &row.unmet {
                writeln!(text, "{:width$}  not reached as often as expected: {unmet}", "")?;
            }
        }
        for (name, why) in &sweep.unsupported {
            writeln!(text, "unsupported: {name}: {}", why.join("; "))?;
        }
        for failure in &sweep.failures {
            writeln!(text, "FAILED: {} with seed {}", failure.scenario, failure.seed)?;
            for violation in &failure.violations {
                writeln!(text, "  {}: {}", violation.oracle, violation.what)?;
            }
            writeln!(text, "  cargo chaos replay {}", failure.folder)?;
        }
        if !sweep.canary_seen {
            writeln!(text, "THE CANARY DID NOT FAIL: this suite would not see a failure")?;
        }
        let seeds: u64 = sweep.scenarios.iter().map(|row| row.seeds).sum();
        let simulated: f64 = sweep.scenarios.iter().map(|row| row.sim_seconds).sum();
        let verdict = match sweep.verdict {
            Verdict::Pass => "pass",
            Verdict::Fail => "FAIL",
            Verdict::Unknown => "unknown",
        };
        writeln!(
            text,
            "{verdict}: {seeds} runs, {simulated:.0} s simulated in {:.0} s; the canary {}",
            sweep.seconds,
            if sweep.canary_seen { "failed, as it must" } else { "passed, which it must not" }
        )
    })();
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_sim::verdict::Report;

    fn report(verdict: Verdict, hash: &str) -> Ended {
        Ended::Reported(Box::new(Report {
            scenario: "x".to_owned(),
            seed: 1,
            engine: "sim".to_owned(),
            verdict,
            violations: Vec::new(),
            unknown: Vec::new(),
            trace_hash: hash.to_owned(),
            events: 1,
            sim_seconds: 2.0,
            wall_seconds: 0.5,
            reach: BTreeMap::from([("a.b".to_owned(), 3)]),
            losses: BTreeMap::new(),
            judged: BTreeMap::new(),
            plant: None,
            plant_reached: 0,
        }))
    }

    fn done(ended: Ended, again: Option<Ended>) -> Done {
        Done { case: 0, seed: 1, ended: Ok(ended), again: again.map(Ok) }
    }

    #[test]
    fn a_repeated_run_that_differs_is_a_failure() {
        let mut row = Row::default();
        let same = done(report(Verdict::Pass, "aa"), Some(report(Verdict::Pass, "aa")));
        assert_eq!(take(&mut row, &same).unwrap(), []);
        let differs = done(report(Verdict::Pass, "aa"), Some(report(Verdict::Pass, "bb")));
        assert_eq!(take(&mut row, &differs).unwrap()[0].oracle, "engine.determinism");
        assert_eq!((row.seeds, row.pass, row.fail, row.repeated, row.differed), (2, 1, 1, 2, 1));
        assert_eq!(row.reach["a.b"], 6);
    }

    #[test]
    fn a_run_that_dies_is_a_failure_and_an_unknown_is_neither() {
        let mut row = Row::default();
        assert_eq!(take(&mut row, &done(Ended::Died("it hung".to_owned()), None)).unwrap().len(), 1);
        assert_eq!(take(&mut row, &done(report(Verdict::Unknown, "aa"), None)).unwrap(), []);
        assert_eq!((row.pass, row.fail, row.unknown), (0, 1, 1));
    }
}
