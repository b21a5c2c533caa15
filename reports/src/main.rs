//! `cargo report`: reads results, writes pages, and says what it found and what was missing.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use synod_reports::{Results, write_pages};

/// Turns results into static pages with plots, which open in any browser and fetch nothing.
///
/// Four kinds of results are read, wherever they lie under the results folder (a file's content tells its kind):
///
///   cargo peers --json results/peers.json            our ring beside its peers
///   cargo sim run FILE --seed N --json results/F.N.json   one scenario run
///   cargo chaos --json results/chaos.json            a sweep over scenarios and seeds
///   cargo chaos plant --all --json results/plants.json    what the suite catches
///
/// and from another folder what `cargo bench` left there. What is missing is said on the pages; a file that is no
/// JSON, or lacks a field that its kind must have, ends the command with its name and the place.
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
            for (what, found, command) in results.sources() {
                match found {
                    0 => println!("missing  {what}: {command}"),
                    n => println!("{n:>7}  {what}"),
                }
            }
            for (file, why) in &results.unread {
                println!("skipped  {}: {why}", file.display());
            }
            for page in pages {
                println!("wrote    {}", page.display());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
