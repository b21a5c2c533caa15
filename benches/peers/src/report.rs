//! The table people read, the ratios spelled out, and the JSON that the reports are made of.

use crate::groups::{Group, Row, Rows, Unavailable};
use crate::machine::Machine;
use crate::measure::Plan;
use serde::Serialize;

/// What was measured, on what, with which versions.
pub fn heading(machine: &Machine, plan: &Plan, smoke: bool) {
    println!(
        "The ring and the fabric beside their peers, slices of {} ms alternating on the same cores",
        plan.slice.as_millis()
    );
    println!("  processor  {} ({} usable)", machine.processor, machine.cores);
    println!("  kernel     {}", machine.kernel);
    match (machine.pinned.sender, machine.pinned.receiver) {
        (Some(sender), Some(receiver)) => {
            println!("  pinned     sender to core {sender}, receiver to core {receiver}")
        }
        _ => println!("  pinned     no: fewer than two cores, figures between threads mean little"),
    }
    let versions: Vec<String> =
        machine.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    println!("  peers      {}, std of this compiler", versions.join(", "));
    println!("  load       {} before the run", machine.load);
    println!("  rounds     {}; medians, with their 95 % interval in brackets", plan.rounds);
    println!(
        "  messages   synod ring: 16 bytes of header and the rest payload; \"header apart\": all payload, header on top"
    );
    println!(
        "  processes  between two processes a message is N bytes of payload, but for \"synod ring\" as above"
    );
    if smoke {
        println!("  SMOKE: shows that everything runs; the figures mean nothing");
    }
}

/// One group's table.
pub fn group(group: &Group, rows: &[Row]) {
    let size = match group.size {
        0 => String::new(),
        size => format!(", {size} B"),
    };
    println!("\n{}{size}, {}: {} ({})", group.name, group.mode, group.about, group.unit);
    for subject in &group.subjects {
        let cells: Vec<String> = rows
            .iter()
            .filter(|row| row.subject == subject.name)
            .map(|row| {
                let interval = format!("[{} .. {}]", figure(row.low), figure(row.high));
                match row.unit {
                    "x" => format!("= {}x {interval} {}", figure(row.median), row.metric),
                    _ if row.metric.contains(" - ") => {
                        format!("= {} {} {interval} above the ring", figure(row.median), row.unit)
                    }
                    _ => format!("{:>8} {:>9} {interval:<20}", row.metric, figure(row.median)),
                }
            })
            .collect();
        let cells = match &subject.lacks {
            Some(needs) => format!("unavailable: needs {needs}"),
            None => cells.join("  "),
        };
        println!("  {:<30}{cells}", subject.name);
    }
}

/// What was seen once.
#[cfg(feature = "fabric")]
pub fn observed(about: &str, rows: &[Row], unavailable: &[Unavailable]) {
    println!("\n{about}");
    for row in rows {
        let who = format!("{}, {}", row.subject, row.mode);
        println!("  {who:<36}{:>46} {:>9} {}", row.metric, figure(row.median), row.unit);
    }
    for absent in unavailable {
        println!("  {:<36}unavailable: needs {}", absent.subject, absent.needs);
    }
}

/// Three digits that matter, or so.
fn figure(value: f64) -> String {
    match value.abs() {
        small if small > 0.0 && small < 0.1 => format!("{value:.4}"),
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The ratios that matter in words.
pub fn verdict(rows: &Rows, smoke: bool) {
    let ours: Vec<&Row> = rows
        .iter()
        .filter(|row| row.unit == "x" && row.subject == "synod ring" && row.metric.contains("rtrb"))
        .collect();
    if ours.is_empty() {
        return;
    }
    println!("\nThe ring and rtrb:");
    for row in ours {
        let more_is_better = row.metric.starts_with("messages");
        let (better, worse) =
            if more_is_better { (row.low, row.high) } else { (1.0 / row.high, 1.0 / row.low) };
        let word = if better >= 1.0 {
            "better"
        } else if worse <= 1.0 {
            "worse"
        } else {
            "within noise"
        };
        println!(
            "  {:<12} {:>5} B  {:<9} {:<26} {:>5}x [{} .. {}]  {word}",
            row.group,
            row.size_bytes,
            row.mode,
            row.metric,
            figure(row.median),
            figure(row.low),
            figure(row.high),
        );
    }
    println!("  Between two cores of a virtual machine a difference under 1.5x means nothing by itself.");
    if smoke {
        println!("  SMOKE: nothing here means anything.");
    }
}

/// What the JSON holds.
#[derive(Serialize)]
pub struct Results {
    /// The machine.
    pub machine: Machine,
    /// What was measured in rounds.
    pub rows: Rows,
    /// What was observed once.
    pub observations: Rows,
    /// Who could not be measured.
    pub unavailable: Vec<Unavailable>,
}

impl Results {
    /// As JSON.
    pub fn json(&self) -> Result<String, String> {
        serde_json::to_string_pretty(self).map_err(|error| format!("results as JSON: {error}"))
    }
}
