//! `synod store`: what a store holds and what is wrong with it, and cutting it where it is damaged.

use std::fmt::Write;

use synod_platform::task;
use synod_store::OpenError;
use synod_store::check::{Cut, Found, check, cut, try_cut};

use super::arguments::{StoreCommand, StoreRepair};
use super::{Exit, Problem, text};

pub fn main(command: &StoreCommand) -> Result<Exit, Problem> {
    let found = task::block_on(async {
        match command {
            StoreCommand::Check(options) => check(&options.directory).await.map_err(problem),
            StoreCommand::Repair(options) => repair(options).await,
        }
    })?;
    text::print(&page(&found))?;
    Ok(if found.problem.is_some() { Exit::Found } else { Exit::Fine })
}

async fn repair(options: &StoreRepair) -> Result<Found, Problem> {
    let place = options.truncate_at.rsplit_once(':');
    let place = place
        .and_then(|(segment, offset)| Some(Cut { segment: segment.into(), offset: offset.parse().ok()? }));
    let place = place.ok_or_else(|| {
        Problem::usage(
            format!("`{}` names no place in a store", options.truncate_at),
            "write it as `synod store check` does: 00000003.segment:81920",
        )
    })?;
    match &options.backup {
        Some(backup) if !options.dry_run => cut(&options.directory, &place, backup).await,
        _ => try_cut(&options.directory, &place).await,
    }
    .map_err(problem)
}

fn problem(error: OpenError) -> Problem {
    Problem::failed(error.to_string())
}

fn page(found: &Found) -> String {
    let mut page = String::new();
    for segment in &found.segments {
        let name = segment.file.file_name().unwrap_or_default().to_string_lossy();
        let torn =
            if segment.torn > 0 { format!(", torn tail of {} bytes", segment.torn) } else { String::new() };
        let _ = writeln!(page, "{name}: {} records up to byte {}{torn}", segment.records, segment.end);
    }
    for log in &found.logs {
        let _ = if log.last < log.first {
            writeln!(page, "log `{}`: empty, goes on with {}", log.name, log.first)
        } else {
            writeln!(page, "log `{}`: {} to {}", log.name, log.first, log.last)
        };
    }
    let _ = match &found.problem {
        None => writeln!(page, "sound"),
        Some(OpenError::Corrupt { file, offset, number }) => {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            writeln!(page, "damaged at {name}:{offset}, where record {number} should be")
        }
        Some(problem) => writeln!(page, "not sound: {problem}"),
    };
    page
}
