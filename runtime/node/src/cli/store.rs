//! `synod store`: what a store and its streams hold, what is wrong with it, and cutting it where it is damaged.

use std::fmt::Write;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use synod_agents::report::figures;
use synod_agents::report::safe::visible;
use synod_platform::time::Wall;
use synod_platform::{files, task, time};
use synod_store::check::{Cut, Found, check, check_with, cut, try_cut};
use synod_store::mend::{Mended, mend};
use synod_store::streams::{Offline, Start, StreamError};
use synod_store::{Look, OpenError, Progress};

use super::arguments::{StoreCommand, StoreRead, StoreRepair, StoreStreams};
use super::{Exit, Problem, pubsub, text};

pub fn main(command: &StoreCommand) -> Result<Exit, Problem> {
    let found = task::block_on(async {
        match command {
            StoreCommand::Check(options) => {
                exists(&options.directory).await?;
                let bar = bar();
                let found = check_with(&options.directory, |progress| move_on(&bar, progress)).await;
                bar.finish_and_clear();
                found.map_err(problem).map(Some)
            }
            StoreCommand::Repair(options) => repair(options).await,
            StoreCommand::Streams(options) => streams(options).await.map(|()| None),
            StoreCommand::Read(options) => read(options).await.map(|()| None),
        }
    })?;
    let Some(found) = found else { return Ok(Exit::Fine) };
    text::print(&page(&found))?;
    Ok(if found.problem.is_some() { Exit::Found } else { Exit::Fine })
}

/// How far a reading has come, on a terminal.
fn bar() -> ProgressBar {
    let template = "{bar:24} {bytes} of {total_bytes}, {binary_bytes_per_sec}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}

fn move_on(bar: &ProgressBar, progress: Progress) {
    bar.set_length(progress.total);
    bar.set_position(progress.read);
}

async fn open(directory: &Path) -> Result<Offline, Problem> {
    exists(directory).await?;
    let bar = bar();
    let look = Look::open(directory, |progress| move_on(&bar, progress)).await;
    bar.finish_and_clear();
    Offline::read_in(look.map_err(problem)?).await.map_err(failed)
}

fn failed(error: StreamError) -> Problem {
    Problem::failed(error.to_string())
}

async fn streams(options: &StoreStreams) -> Result<(), Problem> {
    let offline = open(&options.directory).await?;
    let machine = offline.machine();
    let mut rows = vec![["STREAM", "FIRST", "LAST", "MESSAGES", "BYTES", "CONSUMERS"].map(String::from)];
    let mut all = Vec::new();
    for (name, number) in machine.names().filter_map(|name| Some((name, machine.find(name)?))) {
        let state = machine.state(number).map_err(failed)?;
        let consumers = machine.consumers(number).map_err(failed)?;
        let told = consumers.iter().map(|consumer| {
            format!("{} at {}, {} behind", visible(&consumer.name), consumer.done, consumer.behind)
        });
        rows.push([
            visible(name),
            state.first.to_string(),
            (state.next - 1).to_string(),
            state.messages.to_string(),
            figures::bytes(state.bytes),
            told.collect::<Vec<_>>().join("; "),
        ]);
        let consumers = consumers.iter().map(
            |consumer| json!({ "name": *consumer.name, "done": consumer.done, "behind": consumer.behind }),
        );
        all.push(json!({
            "name": name, "first": state.first, "last": state.next - 1, "messages": state.messages,
            "bytes": state.bytes, "ids": state.ids, "consumers": consumers.collect::<Vec<_>>(),
        }));
    }
    if options.json {
        text::print_json(&json!({ "store": options.directory, "streams": all }))?;
    } else if all.is_empty() {
        text::print(&format!("no streams in {}\n", options.directory.display()))?;
    } else {
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [0, 1, 2, 3, 4].map(width);
        let line = |[name, first, last, messages, bytes, consumers]: &[String; 6]| {
            let [a, b, c, d, e] = widths;
            let line =
                format!("{name:<a$}  {first:>b$}  {last:>c$}  {messages:>d$}  {bytes:>e$}  {consumers}");
            line.trim_end().to_owned() + "\n"
        };
        text::print(&rows.iter().map(line).collect::<String>())?;
    }
    Ok(())
}

async fn read(options: &StoreRead) -> Result<(), Problem> {
    let offline = open(&options.directory).await?;
    let machine = offline.machine();
    let number = machine.find(&options.stream).ok_or_else(|| {
        Problem::usage(
            format!("the store has no stream `{}`", options.stream),
            format!("`synod store streams {}` lists those that it has", options.directory.display()),
        )
    })?;
    let start = match options.since {
        None => Start::Sequence(options.from),
        Some(age) => {
            let age = u64::try_from(age.get().as_nanos()).unwrap_or(u64::MAX);
            Start::Time(Wall::from_nanos(time::wall().as_nanos().saturating_sub(age)))
        }
    };
    let messages = offline.read(number, start, options.max).await.map_err(failed)?;
    for message in &messages {
        let line = if options.json {
            let payload = pubsub::told(&message.payload);
            json!({
                "sequence": message.sequence, "at": message.at.to_string(), "subject": *message.subject, "payload": payload,
            })
            .to_string()
        } else {
            let payload = visible(&String::from_utf8_lossy(&message.payload));
            format!("{}  {}  {}  {payload}", message.sequence, message.at, visible(&message.subject))
        };
        text::print(&(line + "\n"))?;
    }
    let last = messages.last().map_or(0, |last| last.sequence);
    let next = machine.start(number, Start::Sequence(last + 1)).map_err(failed)?;
    if messages.len() == options.max && next < machine.state(number).map_err(failed)?.next {
        eprintln!("more follow: --from {next}");
    }
    Ok(())
}

const NAME_A_STORE: &str = "name the directory of a store";

/// A store is looked at, never made.
async fn exists(directory: &Path) -> Result<(), Problem> {
    if files::exists(directory).await.is_ok_and(|exists| exists) {
        return Ok(());
    }
    Err(Problem::usage(format!("{} is not there", directory.display()), NAME_A_STORE))
}

async fn repair(options: &StoreRepair) -> Result<Option<Found>, Problem> {
    exists(&options.directory).await?;
    if let Some(from) = &options.from_store {
        exists(from).await?;
        let backup = options.backup.as_deref().filter(|_| !options.dry_run);
        let mended = mend(&options.directory, from, backup).await;
        let mended = mended.map_err(|error| Problem::failed(error.to_string()))?;
        let verb = if backup.is_some() { "were" } else { "would be" };
        for Mended { log, first, last } in mended {
            text::print(&format!("log `{}`: {first} to {last} {verb} put back\n", visible(&log)))?;
        }
        return match backup {
            Some(_) => check(&options.directory).await.map_err(problem).map(Some),
            None => Ok(None),
        };
    }
    let truncate_at = options.truncate_at.as_deref().unwrap_or_default();
    let place = truncate_at.rsplit_once(':');
    let place = place
        .and_then(|(segment, offset)| Some(Cut { segment: segment.into(), offset: offset.parse().ok()? }));
    let place = place.ok_or_else(|| {
        Problem::usage(
            format!("`{truncate_at}` names no place in a store"),
            "write it as `synod store check` does: 00000003.segment:81920",
        )
    })?;
    match &options.backup {
        Some(backup) if !options.dry_run => cut(&options.directory, &place, backup).await,
        _ => try_cut(&options.directory, &place).await,
    }
    .map_err(problem)
    .map(Some)
}

fn problem(error: OpenError) -> Problem {
    match error {
        OpenError::NoStore { .. } => Problem::usage(error.to_string(), NAME_A_STORE),
        _ => Problem::failed(error.to_string()),
    }
}

fn page(found: &Found) -> String {
    let mut page = format!("written {}\n", found.write_path);
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
