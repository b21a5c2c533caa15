//! Benchmarks: how we stand beside peers, then criterion's estimates of our own parts.

use std::collections::BTreeMap;

use super::{command, peers::beside_peers};
use crate::figures::{figure, time_unit};
use crate::input::Estimate;
use crate::page::{Cell, Page};
use crate::plot::{Interval, intervals};
use crate::{ReportError, Results};

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

fn own(page: &mut Page, group: &str, estimates: &[&Estimate]) -> Result<(), ReportError> {
    page.subheading(group);
    let largest = estimates.iter().map(|estimate| estimate.high).fold(0.0, f64::max);
    let (factor, unit) = time_unit(largest);
    let lines: Vec<Interval> = estimates
        .iter()
        .map(|estimate| Interval {
            label: estimate.name.clone(),
            span: [estimate.low, estimate.median, estimate.high].map(|nanos| nanos * factor),
            tail: Vec::new(),
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
