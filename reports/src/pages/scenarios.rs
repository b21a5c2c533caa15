//! Scenario runs: verdicts by scenario, what failed and how to see it again, speed, and rare events reached.

use std::collections::BTreeMap;

use super::command;
use crate::figures::{count, figure};
use crate::input::{Run, Verdict};
use crate::page::{Cell, Page};
use crate::plot::{Bar, Interval, intervals, stacked};
use crate::{ReportError, Results};

pub fn page(results: &Results) -> Result<Page, ReportError> {
    let mut page = Page::new(2);
    let (planted, runs): (Vec<&Run>, Vec<&Run>) = results.runs.iter().partition(|run| run.plant.is_some());
    if runs.is_empty() {
        page.missing("scenario runs", command(results, 2));
    } else {
        verdicts(&mut page, &runs)?;
        failures(&mut page, &runs);
        speed(&mut page, &runs)?;
        reach(&mut page, &runs);
    }
    if !planted.is_empty() {
        page.heading("Runs with a planted bug");
        table(&mut page, &planted);
    }
    if !runs.is_empty() {
        page.heading("Every run");
        table(&mut page, &runs);
    }
    Ok(page)
}

fn by_scenario<'a>(runs: &[&'a Run]) -> BTreeMap<&'a str, Vec<&'a Run>> {
    let mut scenarios: BTreeMap<&str, Vec<&Run>> = BTreeMap::new();
    for run in runs {
        scenarios.entry(&run.scenario).or_default().push(run);
    }
    scenarios
}

fn verdicts(page: &mut Page, runs: &[&Run]) -> Result<(), ReportError> {
    page.heading("Verdicts");
    page.text("Runs of each scenario: passed, failed, and unknown, where an oracle had nothing to judge.");
    let bars: Vec<Bar> = by_scenario(runs)
        .into_iter()
        .map(|(scenario, runs)| {
            let of = |verdict| runs.iter().filter(|run| run.verdict == verdict).count() as u64;
            let parts = [of(Verdict::Pass), of(Verdict::Fail), of(Verdict::Unknown)];
            Bar { label: scenario.to_owned(), parts }
        })
        .collect();
    page.plot(&stacked("Verdicts by scenario", "runs", &bars)?);
    Ok(())
}

fn failures(page: &mut Page, runs: &[&Run]) {
    let rows: Vec<Vec<Cell>> = runs
        .iter()
        .flat_map(|run| run.violations.iter().map(move |violation| (run, violation)))
        .map(|(run, violation)| {
            vec![
                Cell::text(run.scenario.as_str()),
                Cell::number(run.seed.to_string()),
                Cell::bad(violation.oracle.as_str()),
                Cell::text(violation.kind.as_str()),
                Cell::text(violation.what.as_str()),
            ]
        })
        .collect();
    if !rows.is_empty() {
        page.heading("What was wrong");
        page.table(&["Scenario", "Seed", "Oracle", "Kind", "What it saw"], &rows);
    }
}

fn speed(page: &mut Page, runs: &[&Run]) -> Result<(), ReportError> {
    page.heading("Speed");
    page.text("Simulated seconds for each second of real time: the slowest, the median and the fastest run.");
    let mut lines = Vec::new();
    for (scenario, runs) in by_scenario(runs) {
        let mut ratios: Vec<f64> = runs
            .iter()
            .filter(|run| run.wall_seconds > 0.0)
            .map(|run| run.sim_seconds / run.wall_seconds)
            .collect();
        ratios.sort_by(f64::total_cmp);
        if let (Some(slowest), Some(fastest)) = (ratios.first(), ratios.last()) {
            let span = [*slowest, ratios[ratios.len() / 2], *fastest];
            lines.push(Interval { label: scenario.to_owned(), span, tail: Vec::new(), ours: true });
        }
    }
    page.plot(&intervals("Simulated seconds a second", "simulated s / s", None, &lines)?);
    Ok(())
}

fn reach(page: &mut Page, runs: &[&Run]) {
    page.heading("Rare events reached");
    page.text("An event that was never reached is a hole in the suite; those come first.");
    let mut events: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for run in runs {
        for (event, times) in &run.reach {
            let (all, in_runs) = events.entry(event).or_default();
            *all += times;
            *in_runs += u64::from(*times > 0);
        }
    }
    let mut events: Vec<(&str, (u64, u64))> = events.into_iter().collect();
    events.sort_by_key(|(name, (all, _))| (*all > 0, *name));
    let rows: Vec<Vec<Cell>> = events
        .into_iter()
        .map(|(event, (all, in_runs))| {
            let times = match all {
                0 => Cell::bad("never"),
                n => Cell::number(count(i64::try_from(n).unwrap_or(i64::MAX))),
            };
            vec![Cell::code(event), times, Cell::number(in_runs.to_string())]
        })
        .collect();
    page.table(&["Event", "Times", "In runs"], &rows);
}

fn table(page: &mut Page, runs: &[&Run]) {
    let rows: Vec<Vec<Cell>> = runs
        .iter()
        .map(|run| {
            let verdict = match run.verdict {
                Verdict::Pass => Cell::good(run.verdict.word()),
                Verdict::Fail => Cell::bad(run.verdict.word()),
                Verdict::Unknown => Cell::doubt(run.verdict.word()),
            };
            vec![
                Cell::text(run.scenario.as_str()),
                Cell::number(run.seed.to_string()),
                Cell::text(run.engine.as_str()),
                Cell::code(run.plant.as_deref().unwrap_or("")),
                verdict,
                Cell::number(count(i64::try_from(run.events).unwrap_or(i64::MAX))),
                Cell::number(figure(run.sim_seconds)),
                Cell::number(figure(run.wall_seconds)),
                Cell::number(run.losses.values().sum::<u64>().to_string()),
                Cell::code(run.trace_hash.chars().take(16).collect::<String>()),
            ]
        })
        .collect();
    let head = [
        "Scenario",
        "Seed",
        "Engine",
        "Bug",
        "Verdict",
        "Events",
        "Simulated s",
        "Real s",
        "Losses",
        "Trace",
    ];
    page.table(&head, &rows);
}
