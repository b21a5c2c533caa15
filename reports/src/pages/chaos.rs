//! Chaos: holes first, then verdicts of the sweep, what failed and how to replay it, and the suite's score against planted bugs.

use std::collections::BTreeMap;

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
    page.heading(&format!("Sweep from seed {}: {}", sweep.seed_from, sweep.verdict.word()));
    holes(page, sweep);
    let sum = |part: fn(&crate::input::Swept) -> u64| sweep.scenarios.iter().map(part).sum::<u64>();
    let canary = match sweep.canary_seen {
        true => Cell::good("failed, as it must"),
        false => Cell::bad("was not seen to fail: the suite is blind"),
    };
    page.table(
        &["", ""],
        &[
            vec![Cell::text("Runs"), Cell::number(sum(|swept| swept.seeds).to_string())],
            vec![Cell::text("Real time, s"), Cell::number(figure(sweep.seconds))],
            vec![Cell::text("Done again in another process"), Cell::number(sum(|s| s.repeated).to_string())],
            vec![Cell::text("Of those, with another trace"), Cell::zero_or_bad(sum(|s| s.differed))],
            vec![Cell::text("The canary"), canary],
        ],
    );
    let bars: Vec<Bar> = sweep
        .scenarios
        .iter()
        .map(|swept| Bar { label: swept.scenario.clone(), parts: [swept.pass, swept.fail, swept.unknown] })
        .collect();
    if !bars.is_empty() {
        page.plot(&stacked("Runs by scenario: passed, failed, unknown", "runs", &bars)?);
    }
    let rows: Vec<Vec<Cell>> = sweep
        .scenarios
        .iter()
        .map(|swept| {
            vec![
                Cell::text(swept.scenario.as_str()),
                Cell::number(swept.pass.to_string()),
                Cell::zero_or_bad(swept.fail),
                Cell::number(swept.unknown.to_string()),
                Cell::zero_or_bad(swept.differed),
                Cell::number(figure(swept.sim_seconds / swept.wall_seconds)),
                Cell::text(swept.unmet.join(", ")),
            ]
        })
        .collect();
    let head = ["Scenario", "Pass", "Fail", "Unknown", "Differed", "Simulated s / s", "Not reached enough"];
    page.table(&head, &rows);
    if !sweep.failures.is_empty() {
        page.subheading("What failed");
        let rows: Vec<Vec<Cell>> = sweep
            .failures
            .iter()
            .map(|failure| {
                let what: Vec<String> = failure
                    .violations
                    .iter()
                    .map(|violation| format!("{}: {}", violation.oracle, violation.what))
                    .collect();
                vec![
                    Cell::text(failure.scenario.as_str()),
                    Cell::number(failure.seed.to_string()),
                    Cell::text(what.join("; ")),
                    Cell::code(format!("cargo chaos replay {}", failure.folder)),
                ]
            })
            .collect();
        page.table(&["Scenario", "Seed", "What", "See it again"], &rows);
    }
    if !sweep.unsupported.is_empty() {
        page.subheading("Not supported by this engine");
        let rows: Vec<Vec<Cell>> = sweep
            .unsupported
            .iter()
            .map(|(scenario, why)| vec![Cell::text(scenario.as_str()), Cell::text(why.join("; "))])
            .collect();
        page.table(&["Scenario", "Why"], &rows);
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
    let mut events: BTreeMap<&str, u64> = BTreeMap::new();
    for (event, times) in sweep.scenarios.iter().flat_map(|swept| &swept.reach) {
        *events.entry(event).or_default() += times;
    }
    let rows: Vec<Vec<Cell>> = events
        .into_iter()
        .map(|(event, times)| {
            vec![Cell::code(event), Cell::number(count(i64::try_from(times).unwrap_or(i64::MAX)))]
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
    let alarms = match plants.twin_alarms {
        0 => Cell::good("none"),
        n => Cell::bad(n.to_string()),
    };
    page.table(
        &["", ""],
        &[
            vec![Cell::text("Suite seeds for each bug"), Cell::number(plants.seeds.to_string())],
            vec![Cell::text("Alarms of the same runs without a bug"), alarms],
        ],
    );
    let bars: Vec<Bar> = plants
        .plants
        .iter()
        .filter(|plant| plant.seeds > 0)
        .map(|plant| {
            let parts = [plant.caught, 0, plant.seeds.saturating_sub(plant.caught)];
            Bar { label: plant.plant.clone(), parts }
        })
        .collect();
    if !bars.is_empty() {
        page.plot(&stacked("Seeds that caught each planted bug", "seeds", &bars)?);
    }
    let rows: Vec<Vec<Cell>> = plants
        .plants
        .iter()
        .map(|plant| {
            let result = match plant.result.as_str() {
                "caught" => Cell::good("caught"),
                "survived" => Cell::bad("survived"),
                other => Cell::doubt(other),
            };
            let fired: Vec<String> =
                plant.oracles.iter().map(|(oracle, seeds)| format!("{oracle} {seeds}×")).collect();
            let fired = match plant.as_expected || plant.caught == 0 {
                true => Cell::text(fired.join(", ")),
                false => Cell::bad(fired.join(", ")),
            };
            vec![
                Cell::code(plant.plant.as_str()),
                Cell::text(plant.wrong.as_str()),
                result,
                Cell::number(format!("{} of {}", plant.caught, plant.seeds)),
                Cell::number(plant.reached.to_string()),
                Cell::number(plant.median_seeds.map(figure).unwrap_or_default()),
                Cell::text(plant.expected.join(", ")),
                fired,
            ]
        })
        .collect();
    let head =
        ["Bug", "What is wrong", "Result", "Caught in", "Reached in", "Median to catch", "Expected", "Fired"];
    page.table(&head, &rows);
    Ok(())
}
