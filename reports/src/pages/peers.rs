//! Beside peers: our ratios to them first; then every group with its figures, round trips with their tails, long messages against their size;
//! then what idle agents cost, and who could not be measured.

use std::collections::BTreeSet;

use crate::ReportError;
use crate::figures::{bytes, figure};
use crate::input::{Peers, Row};
use crate::page::{Cell, Page};
use crate::plot::{Curve, Interval, curves, intervals};

/// Fewer rounds than these say nothing.
const ROUNDS_MIN: u64 = 15;

/// The slow ends of a round trip, told with its middle.
const TAILS: [&str; 2] = ["p99", "p99.9"];

/// One run of the peers.
pub fn beside_peers(page: &mut Page, peers: &Peers) -> Result<(), ReportError> {
    introduction(page, peers);
    let (ratios, figures): (Vec<&Row>, Vec<&Row>) = peers.rows.iter().partition(|row| row.unit == "x");
    let ours = ratios.into_iter().filter(|row| row.ours());
    // A ratio of tails says little that their plot does not.
    let told = ours.filter(|row| !TAILS.iter().any(|tail| row.metric.starts_with(&format!("{tail} "))));
    for ((group, metric), rows) in sorted(told, |row| (row.group.as_str(), row.metric.as_str())) {
        let better = if more_is_better(metric) { "more" } else { "less" };
        let axis = format!("× (1 is equal, {better} is better)");
        draw(page, &format!("Ratio, {group}: {metric}"), &axis, Some(1.0), &rows, |row| {
            format!("{}, {}, {}", row.subject, size(row), row.mode)
        })?;
    }
    // A difference to the baseline stands beside the figures, in a plot of its own.
    let kind =
        |row: &Row| (row.group.clone(), row.mode.clone(), family(&row.metric).to_owned(), row.unit.clone());
    for ((group, mode, metric, unit), rows) in sorted(figures, kind) {
        let sizes = sorted(rows.iter().copied(), |row| row.size_bytes);
        if group.ends_with("-large") && sizes.len() > 1 {
            against_size(page, &format!("{group}, {mode}: {metric} against size"), &unit, &rows)?;
            continue;
        }
        for (_, rows) in sizes {
            let title = format!("{group}, {}, {mode}: {metric}", size(rows[0]));
            draw(page, &title, &unit, None, &rows, |row| row.subject.clone())?;
        }
    }
    observed(page, peers)?;
    let absent: BTreeSet<(&str, &str)> =
        peers.unavailable.iter().map(|absent| (absent.subject.as_str(), absent.needs.as_str())).collect();
    for (subject, needs) in absent {
        page.text(&format!("{subject}: unavailable: needs {needs}."));
    }
    Ok(())
}

fn introduction(page: &mut Page, peers: &Peers) {
    if let Some(machine) = &peers.machine {
        let versions: Vec<String> =
            machine.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        page.text(&format!(
            "Measured on {}, {} usable cores, kernel {}{}. Peers: {}.",
            machine.processor,
            machine.cores,
            machine.kernel,
            if machine.load.is_empty() { String::new() } else { format!(", load {} before", machine.load) },
            versions.join(", ")
        ));
    }
    page.text(
        "Medians over rounds with their 95 % interval. A ratio is taken inside each round, both sides in alternating \
         slices on the same cores. Between two cores of a virtual machine a difference under 1.5× means nothing by itself. \
         A round trip is drawn as its median, with ticks at its 99th and 99.9th percentile.",
    );
    let fewest = peers.rows.iter().map(|row| row.rounds).min().unwrap_or(0);
    if fewest < ROUNDS_MIN {
        page.raw(&format!(
            "<p class=\"missing\">Only {fewest} rounds, where {ROUNDS_MIN} are wanted: these figures show that \
             everything ran, not how fast it is.</p>\n"
        ));
    }
}

/// Rows by what they have in common, in the order in which that first comes.
fn sorted<'a, K: PartialEq>(
    rows: impl IntoIterator<Item = &'a Row>,
    key: impl Fn(&'a Row) -> K,
) -> Vec<(K, Vec<&'a Row>)> {
    let mut groups: Vec<(K, Vec<&Row>)> = Vec::new();
    for row in rows {
        let of = key(row);
        match groups.iter_mut().find(|(key, _)| *key == of) {
            Some((_, rows)) => rows.push(row),
            None => groups.push((of, vec![row])),
        }
    }
    groups
}

/// What a metric is drawn with: tails with their median.
fn family(metric: &str) -> &str {
    if metric == "p50" || TAILS.contains(&metric) { "p50 to p99.9" } else { metric }
}

fn more_is_better(metric: &str) -> bool {
    ["messages", "bytes", "appends", "records", "payload"].iter().any(|more| metric.starts_with(more))
}

/// Times against the size of a message, one line for each subject.
fn against_size(page: &mut Page, title: &str, unit: &str, rows: &[&Row]) -> Result<(), ReportError> {
    let lines: Vec<Curve> = sorted(rows.iter().copied(), |row| row.subject.as_str())
        .into_iter()
        .map(|(subject, rows)| Curve {
            label: subject.to_owned(),
            points: rows.iter().map(|row| (row.size_bytes as f64, row.median)).collect(),
            ours: rows[0].ours(),
        })
        .collect();
    page.subheading(title);
    page.plot(&curves(title, ["bytes of a message", unit], |size| bytes(size as u64), &lines)?);
    table(page, rows, |row| format!("{}, {}", row.subject, size(row)));
    Ok(())
}

/// What was seen once: each figure against how many there were, in the file's order.
fn observed(page: &mut Page, peers: &Peers) -> Result<(), ReportError> {
    let metric = |row: &'_ Row| (row.group.clone(), row.metric.clone(), row.unit.clone());
    for ((group, metric, unit), rows) in sorted(&peers.observations, metric) {
        let title = format!("{group}, seen once: {metric}");
        draw(page, &title, &unit, None, &rows, |row| format!("{}, {}", row.subject, row.mode))?;
    }
    Ok(())
}

fn size(row: &Row) -> String {
    if row.size_bytes == 0 { "any size".to_owned() } else { bytes(row.size_bytes) }
}

/// A plot of the rows, and the same figures in a table. Tails lie on the line of their median.
fn draw(
    page: &mut Page,
    title: &str,
    axis: &str,
    mark: Option<f64>,
    rows: &[&Row],
    label: impl Fn(&Row) -> String,
) -> Result<(), ReportError> {
    let is_tail = |row: &&&Row| TAILS.contains(&row.metric.as_str());
    let lines: Vec<Interval> = rows
        .iter()
        .filter(|row| !is_tail(row))
        .map(|row| {
            let own = rows.iter().filter(is_tail).filter(|tail| tail.subject == row.subject);
            let tail = own.map(|tail| tail.median).collect();
            Interval { label: label(row), span: [row.low, row.median, row.high], tail, ours: row.ours() }
        })
        .collect();
    page.subheading(title);
    page.plot(&intervals(title, axis, mark, &lines)?);
    let tailed = rows.iter().any(|row| TAILS.contains(&row.metric.as_str()));
    table(page, rows, |row| if tailed { format!("{}, {}", label(row), row.metric) } else { label(row) });
    Ok(())
}

/// Figures with their interval and rounds.
fn table(page: &mut Page, rows: &[&Row], label: impl Fn(&Row) -> String) {
    let cells: Vec<Vec<Cell>> = rows
        .iter()
        .map(|row| {
            let mut cells = vec![Cell::text(label(row))];
            cells.extend([row.low, row.median, row.high].map(|value| Cell::number(figure(value))));
            cells.push(Cell::number(row.rounds.to_string()));
            cells
        })
        .collect();
    page.table(&["", "low", "median", "high", "rounds"], &cells);
}
