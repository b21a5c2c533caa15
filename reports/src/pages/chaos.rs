//! Chaos: holes first, then verdicts of the sweep, what failed and how to replay it, and the suite's score against planted bugs.

use super::command;
use crate::figures::{count, figure};
use crate::input::{Plants, Sweep};
use crate::page::{Cell, Page};
use crate::plot::{Bar, stacked};
use crate::{ReportError, Results};

pub fn page(results: &Results) -> Result<Page, ReportError> {
    let mut page = Page::new(3);
    if results.sweeps.is_empty() {
        page.missing("a chaos sweep", command(results, 3));
    }
    for sweep in &results.sweeps {
        one_sweep(&mut page, sweep)?;
    }
    page.heading("Planted bugs");
    if results.plants.is_empty() {
        page.missing("scores of planted bugs", command(results, 4));
    }
    for plants in &results.plants {
        score(&mut page, plants)?;
    }
    Ok(page)
}

fn one_sweep(page: &mut Page, sweep: &Sweep) -> Result<(), ReportError> {
    page.heading("Sweep");
    holes(page, sweep);
    let runs: u64 = sweep.scenarios.iter().map(|swept| swept.runs()).sum();
    let mut facts = vec![
        vec![Cell::text("Runs"), Cell::number(runs.to_string())],
        vec![Cell::text("Real time, s"), Cell::number(figure(sweep.wall_seconds))],
        vec![Cell::text("Done again in another process"), Cell::number(sweep.rerun.to_string())],
        vec![Cell::text("Of those, with another trace"), Cell::zero_or_bad(sweep.differed)],
    ];
    match sweep.canary_failed {
        Some(true) => facts.push(vec![Cell::text("The canary, which must fail"), Cell::good("failed")]),
        Some(false) => {
            let blind = "did not fail: the suite is blind";
            facts.push(vec![Cell::text("The canary, which must fail"), Cell::bad(blind)]);
        }
        None => facts.push(vec![Cell::text("The canary, which must fail"), Cell::doubt("was not run")]),
    }
    page.table(&["", ""], &facts);
    let bars: Vec<Bar> = sweep
        .scenarios
        .iter()
        .map(|swept| Bar { label: swept.scenario.clone(), parts: [swept.pass, swept.fail, swept.unknown] })
        .collect();
    page.plot(&stacked("Runs by scenario: passed, failed, unknown", "runs", &bars)?);
    let rows: Vec<Vec<Cell>> = sweep
        .scenarios
        .iter()
        .map(|swept| {
            let ratio = swept.sim_seconds / swept.wall_seconds;
            vec![
                Cell::text(swept.scenario.as_str()),
                Cell::number(swept.pass.to_string()),
                Cell::zero_or_bad(swept.fail),
                Cell::number(swept.unknown.to_string()),
                Cell::number(figure(ratio)),
            ]
        })
        .collect();
    page.table(&["Scenario", "Pass", "Fail", "Unknown", "Simulated s / s"], &rows);
    if !sweep.failures.is_empty() {
        page.subheading("What failed");
        let rows: Vec<Vec<Cell>> = sweep
            .failures
            .iter()
            .map(|failure| {
                vec![
                    Cell::text(failure.scenario.as_str()),
                    Cell::number(failure.seed.to_string()),
                    Cell::text(failure.what.as_str()),
                    Cell::code(failure.replay.as_str()),
                ]
            })
            .collect();
        page.table(&["Scenario", "Seed", "What", "See it again"], &rows);
    }
    Ok(())
}

fn holes(page: &mut Page, sweep: &Sweep) {
    page.subheading("Rare events");
    if sweep.holes.is_empty() {
        page.text("No rare event is listed as never reached.");
    } else {
        page.text("Never reached, each a hole in the suite:");
        let rows: Vec<Vec<Cell>> =
            sweep.holes.iter().map(|hole| vec![Cell::code(hole.as_str()), Cell::bad("never")]).collect();
        page.table(&["Event", "Reached"], &rows);
    }
    let rows: Vec<Vec<Cell>> = sweep
        .reach
        .iter()
        .map(|(event, times)| {
            let times = Cell::number(count(i64::try_from(*times).unwrap_or(i64::MAX)));
            vec![Cell::code(event.as_str()), times]
        })
        .collect();
    if !rows.is_empty() {
        page.table(&["Event", "Times"], &rows);
    }
}

fn score(page: &mut Page, plants: &Plants) -> Result<(), ReportError> {
    page.text(
        "Each bug is put into the product on purpose. Green: seeds that caught it; amber: seeds that did not. A bug whose \
         code never ran has not survived, it was not reached.",
    );
    let bars: Vec<Bar> = plants
        .plants
        .iter()
        .map(|plant| {
            let parts = [plant.caught, 0, plant.seeds.saturating_sub(plant.caught)];
            Bar { label: plant.name.clone(), parts }
        })
        .collect();
    page.plot(&stacked("Seeds that caught each planted bug", "seeds", &bars)?);
    let rows: Vec<Vec<Cell>> = plants
        .plants
        .iter()
        .map(|plant| {
            let verdict = match (plant.caught, plant.reached) {
                (0, 0) => Cell::doubt("not reached"),
                (0, _) => Cell::bad("survived"),
                _ => Cell::good("caught"),
            };
            let fired: Vec<String> =
                plant.fired.iter().map(|(oracle, times)| format!("{oracle} {times}×")).collect();
            vec![
                Cell::code(plant.name.as_str()),
                verdict,
                Cell::number(format!("{} of {}", plant.caught, plant.seeds)),
                Cell::number(plant.median_seeds.map(figure).unwrap_or_default()),
                Cell::text(plant.expected.as_str()),
                Cell::text(fired.join(", ")),
                Cell::zero_or_bad(plant.false_alarms),
            ]
        })
        .collect();
    let head =
        ["Bug", "Verdict", "Seeds", "Median to catch", "Expected oracle", "Fired", "Alarms without it"];
    page.table(&head, &rows);
    Ok(())
}
