//! `cargo report`: reads results, writes pages, and says what it found and what was missing.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use synod_reports::{Results, write_pages};

/// Turns results into static pages with plots, which open in any browser and fetch nothing.
///
/// Four kinds of results are read, wherever they lie under the results folder; what a
/// file holds tells its kind:
///
///   cargo peers --json results/peers.json                our ring beside its peers
///   cargo sim run FILE --seed N --json results/NAME.json one scenario run
///   cargo chaos --json results/chaos.json                a sweep over scenarios and seeds
///   cargo chaos plant --all --json results/plants.json   what the suite catches
///
/// and from another folder what `cargo bench` left there. What is missing is said on the
/// pages. A file that is no JSON, or lacks a field that its kind must have, ends the
/// command with its name and the place.
#[derive(Parser)]
#[command(name = "cargo report", bin_name = "cargo report", verbatim_doc_comment)]
struct Arguments {
    /// Where the results lie; searched with its subfolders
    #[arg(long, value_name = "DIR", default_value = "results")]
    results: PathBuf,
    /// Where criterion keeps its estimates
    #[arg(long, value_name = "DIR", default_value = "target/criterion")]
    criterion: PathBuf,
    /// Where the pages go; made if absent, pages of the same names are replaced
    #[arg(long, value_name = "DIR", default_value = "results/report")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let written = Results::read(&arguments.results, &arguments.criterion)
        .and_then(|results| Ok((write_pages(&results, &arguments.out)?, results)));
    match written {
        Ok((pages, results)) => {
            // A reader that has seen enough and left is no failure.
            let _ = std::io::stdout().write_all(summary(&results, &pages).as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn summary(results: &Results, pages: &[PathBuf]) -> String {
    let mut lines: Vec<String> = results
        .sources()
        .into_iter()
        .map(|(what, found, command)| match found {
            0 => format!("missing  {what}: {command}"),
            n => format!("{n:>7}  {what}"),
        })
        .collect();
    lines.extend(results.unread.iter().map(|(file, why)| format!("skipped  {}: {why}", file.display())));
    lines.extend(pages.iter().map(|page| format!("wrote    {}", page.display())));
    lines.join("\n") + "\n"
}
