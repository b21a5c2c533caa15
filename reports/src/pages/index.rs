//! The overview: what was found, what is missing, and the few figures to see first.

use crate::Results;
use crate::figures::{count, figure};
use crate::input::Verdict;
use crate::page::{Cell, Page};

pub fn page(results: &Results) -> Page {
    let mut page = Page::new(0);
    headlines(&mut page, results);
    page.heading("What these pages were made from");
    let rows: Vec<Vec<Cell>> = results
        .sources()
        .into_iter()
        .map(|(what, found, command)| {
            let found = match found {
                0 => Cell::doubt("missing"),
                n => Cell::number(count(i64::try_from(n).unwrap_or(i64::MAX))),
            };
            vec![Cell::text(what), found, Cell::code(command)]
        })
        .collect();
    page.table(&["Source", "Found", "Made by"], &rows);
    if !results.unread.is_empty() {
        page.subheading("Files that are no results");
        let rows: Vec<Vec<Cell>> = results
            .unread
            .iter()
            .map(|(file, why)| vec![Cell::code(file.display().to_string()), Cell::text(why.as_str())])
            .collect();
        page.table(&["File", "Why"], &rows);
    }
    page
}

fn headlines(page: &mut Page, results: &Results) {
    let mut rows = Vec::new();
    let failed =
        results.runs.iter().filter(|run| run.verdict == Verdict::Fail && run.plant.is_none()).count();
    if !results.runs.is_empty() {
        let verdict = match failed {
            0 => Cell::good("none failed"),
            n => Cell::bad(format!("{n} failed")),
        };
        rows.push(vec![Cell::text(format!("{} scenario runs", results.runs.len())), verdict]);
    }
    for sweep in &results.sweeps {
        let runs: u64 = sweep.scenarios.iter().map(|swept| swept.seeds).sum();
        let failed: u64 = sweep.scenarios.iter().map(|swept| swept.fail).sum();
        let verdict = match failed {
            0 => Cell::good("none failed"),
            n => Cell::bad(format!("{n} failed")),
        };
        let what = format!("A chaos sweep of {runs} runs over {} scenarios", sweep.scenarios.len());
        rows.push(vec![Cell::text(what), verdict]);
    }
    for plants in &results.plants {
        // Those without seeds are scored elsewhere, under the memory model checker.
        let scored: Vec<_> = plants.plants.iter().filter(|plant| plant.seeds > 0).collect();
        let caught = scored.iter().filter(|plant| plant.caught > 0).count();
        let text = format!("{caught} of {} caught", scored.len());
        let verdict = if caught == scored.len() { Cell::good(text) } else { Cell::bad(text) };
        rows.push(vec![Cell::text("Planted bugs"), verdict]);
    }
    let ratios =
        results.peers.iter().flat_map(|peers| &peers.rows).filter(|row| row.ours() && row.unit == "x");
    for row in ratios {
        let what =
            format!("{}, {}, {}: {}", row.group, crate::figures::bytes(row.size_bytes), row.mode, row.metric);
        let span = format!("{}× [{} … {}]", figure(row.median), figure(row.low), figure(row.high));
        rows.push(vec![Cell::text(what), Cell::text(span)]);
    }
    match rows.is_empty() {
        true => page.text("No results were found, so there is nothing to report yet: each source below names the command that makes it."),
        false => page.table(&["What", "Result"], &rows),
    }
}
