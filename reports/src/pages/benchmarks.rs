//! Benchmarks: ratios to peers first, then each group's figures, then criterion's estimates.

use std::collections::{BTreeMap, BTreeSet};

use super::command;
use crate::figures::{bytes, figure, time_unit};
use crate::input::{Estimate, Peers, Row};
use crate::page::{Cell, Page};
use crate::plot::{Interval, intervals};
use crate::{ReportError, Results};

/// Fewer rounds than these say nothing.
const ROUNDS_MIN: u64 = 15;

pub fn page(results: &Results) -> Result<Page, ReportError> {
    let mut page = Page::new(1);
    page.heading("Beside peers");
    if results.peers.is_empty() {
        page.missing("measurements beside peers", command(results, 0));
    }
    for peers in &results.peers {
        beside_peers(&mut page, peers)?;
    }
    page.heading("Our own parts");
    if results.estimates.is_empty() {
        page.missing("criterion estimates", command(results, 1));
    } else {
        page.text("Time of one iteration: the median, with its 95 % interval.");
    }
    let mut groups: BTreeMap<&str, Vec<&Estimate>> = BTreeMap::new();
    for estimate in &results.estimates {
        groups.entry(&estimate.group).or_default().push(estimate);
    }
    for (group, estimates) in groups {
        own(&mut page, group, &estimates)?;
    }
    Ok(page)
}

fn beside_peers(page: &mut Page, peers: &Peers) -> Result<(), ReportError> {
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
         slices on the same cores. Between two cores of a virtual machine a difference under 1.5× means nothing by itself.",
    );
    let (ratios, figures): (Vec<&Row>, Vec<&Row>) = peers.rows.iter().partition(|row| row.unit == "x");
    let fewest = peers.rows.iter().map(|row| row.rounds).min().unwrap_or(0);
    if fewest < ROUNDS_MIN {
        page.raw(&format!(
            "<p class=\"missing\">Only {fewest} rounds, where {ROUNDS_MIN} are wanted: these figures show that \
             everything ran, not how fast it is.</p>\n"
        ));
    }
    let mut by_metric: BTreeMap<(&str, &str), Vec<&Row>> = BTreeMap::new();
    for row in ratios.into_iter().filter(|row| row.ours()) {
        by_metric.entry((&row.group, &row.metric)).or_default().push(row);
    }
    for ((group, metric), rows) in by_metric {
        let title = format!("Ratio, {group}: {metric}");
        page.subheading(&title);
        let better = if metric.starts_with("messages") { "more" } else { "less" };
        let axis = format!("× (1 is equal, {better} is better)");
        draw(page, &title, &axis, Some(1.0), &rows, |row| {
            format!("{}, {}, {}", row.subject, size(row), row.mode)
        })?;
    }
    let mut groups: BTreeMap<(&str, u64, &str, &str, &str), Vec<&Row>> = BTreeMap::new();
    for row in figures {
        let group =
            (row.group.as_str(), row.size_bytes, row.mode.as_str(), row.metric.as_str(), row.unit.as_str());
        groups.entry(group).or_default().push(row);
    }
    for ((group, _, mode, metric, unit), rows) in groups {
        let title = format!("{group}, {}, {mode}: {metric}", size(rows[0]));
        page.subheading(&title);
        draw(page, &title, unit, None, &rows, |row| row.subject.clone())?;
    }
    observed(page, peers)?;
    let absent: BTreeSet<(&str, &str)> =
        peers.unavailable.iter().map(|absent| (absent.subject.as_str(), absent.needs.as_str())).collect();
    for (subject, needs) in absent {
        page.text(&format!("{subject}: unavailable: needs {needs}."));
    }
    Ok(())
}

/// What was seen once: each figure in a plot of its own, in the file's order.
fn observed(page: &mut Page, peers: &Peers) -> Result<(), ReportError> {
    let mut metrics: Vec<(&str, &str, &str)> = Vec::new();
    for row in &peers.observations {
        let metric = (row.group.as_str(), row.metric.as_str(), row.unit.as_str());
        if !metrics.contains(&metric) {
            metrics.push(metric);
        }
    }
    for (group, metric, unit) in metrics {
        let rows: Vec<&Row> =
            peers.observations.iter().filter(|row| row.group == group && row.metric == metric).collect();
        let title = format!("{group}, seen once: {metric}");
        page.subheading(&title);
        draw(page, &title, unit, None, &rows, |row| format!("{}, {}", row.subject, row.mode))?;
    }
    Ok(())
}

fn size(row: &Row) -> String {
    if row.size_bytes == 0 { "any size".to_owned() } else { bytes(row.size_bytes) }
}

/// A plot of the rows, and the same figures in a table.
fn draw(
    page: &mut Page,
    title: &str,
    axis: &str,
    mark: Option<f64>,
    rows: &[&Row],
    label: impl Fn(&Row) -> String,
) -> Result<(), ReportError> {
    let span = |row: &Row| [row.low, row.median, row.high];
    let lines: Vec<Interval> =
        rows.iter().map(|row| Interval { label: label(row), span: span(row), ours: row.ours() }).collect();
    page.plot(&intervals(title, axis, mark, &lines)?);
    let table: Vec<Vec<Cell>> = lines
        .iter()
        .zip(rows)
        .map(|(line, row)| {
            let mut cells = vec![Cell::text(line.label.as_str())];
            cells.extend(line.span.map(|value| Cell::number(figure(value))));
            cells.push(Cell::number(row.rounds.to_string()));
            cells
        })
        .collect();
    page.table(&["", "low", "median", "high", "rounds"], &table);
    Ok(())
}

fn own(page: &mut Page, group: &str, estimates: &[&Estimate]) -> Result<(), ReportError> {
    page.subheading(group);
    let largest = estimates.iter().map(|estimate| estimate.high).fold(0.0, f64::max);
    let (factor, unit) = time_unit(largest);
    let lines: Vec<Interval> = estimates
        .iter()
        .map(|estimate| Interval {
            label: estimate.name.clone(),
            span: [estimate.low, estimate.median, estimate.high].map(|nanos| nanos * factor),
            ours: true,
        })
        .collect();
    page.plot(&intervals(group, unit, None, &lines)?);
    let table: Vec<Vec<Cell>> = lines
        .iter()
        .zip(estimates)
        .map(|(line, estimate)| {
            let mut cells = vec![Cell::text(line.label.as_str())];
            cells.extend(line.span.map(|value| Cell::number(format!("{} {unit}", figure(value)))));
            // Bytes a nanosecond are gigabytes a second.
            let rate = estimate.bytes.map(|bytes| format!("{} GB/s", figure(bytes as f64 / estimate.median)));
            cells.push(Cell::number(rate.unwrap_or_default()));
            cells
        })
        .collect();
    page.table(&["", "low", "median", "high", "rate"], &table);
    Ok(())
}
