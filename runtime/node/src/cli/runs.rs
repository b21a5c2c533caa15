//! `synod runs`: what was run here, how it stands, how two runs differ, and making room again.
//!
//! Reads run folders and removes whole ones; it changes none. A run that is under way is never removed.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;
use synod_agents::report::compare::compare;
use synod_agents::report::safe::visible;
use synod_agents::report::shelf::{self, FindError, Shelved, Standing};
use synod_agents::report::{self, PAGE, ReportError, RunResult, figures};
use synod_platform::time::{Duration, Wall};
use synod_platform::{files, task, time};

use super::arguments::{CleanOptions, CompareOptions, Runs, RunsOptions, ShowOptions};
use super::{Exit, Problem, place, text};

/// The command that goes on with a run that was cut off.
fn resume(id: &str, options: &RunsOptions) -> String {
    let out = options.out.as_ref().map_or_else(String::new, |out| format!(" --out {}", out.display()));
    format!("synod run --resume {id}{out}")
}

pub fn main(options: &RunsOptions) -> Result<Exit, Problem> {
    let runs = place::runs(options.out.as_deref())?;
    task::block_on(async {
        match &options.command {
            None => list(&runs, options).await,
            Some(Runs::Show(show)) => self::show(&runs, show, options).await,
            Some(Runs::Compare(compare)) => self::compared(&runs, compare, options.json).await,
            Some(Runs::Clean(clean)) => self::clean(&runs, clean, options.json).await,
        }
    })
}

async fn list(runs: &Path, options: &RunsOptions) -> Result<Exit, Problem> {
    let mut all = Vec::new();
    for id in ids(runs).await? {
        all.push(look(runs, &id).await?);
    }
    if options.json {
        return text::print_json(&json!({ "folder": runs, "runs": all }));
    }
    text::print(&listed(&all, runs, options))
}

fn listed(all: &[Shelved], runs: &Path, options: &RunsOptions) -> String {
    if all.is_empty() {
        return format!("no runs in {}; `synod run review --path .` makes one\n", runs.display());
    }
    let widest = all.iter().map(|run| run.run.len()).max().unwrap_or(0);
    let mut out = format!(
        "{:<widest$}  {:<16}  {:<10}  {:<24}  {:>12}  {:>9}  TREE\n",
        "RUN", "BEGUN (UTC)", "VERDICT", "FINDINGS", "TOOK", "SIZE"
    );
    for run in all {
        let _ = writeln!(
            out,
            "{:<widest$}  {:<16}  {:<10}  {:<24}  {:>12}  {:>9}  {}",
            run.run,
            began(run),
            run.standing.word(),
            found(run),
            figures::seconds(run.seconds),
            figures::bytes(run.bytes),
            visible(&run.tree)
        );
    }
    for run in all {
        match (run.standing, &run.broken) {
            (Standing::Unfinished, _) => {
                let _ = writeln!(out, "\n{} was cut off; go on with: {}", run.run, resume(&run.run, options));
            }
            (Standing::Broken, Some(why)) => {
                let _ = writeln!(out, "\n{} cannot be read: {}", run.run, visible(why));
            }
            _ => {}
        }
    }
    out
}

fn began(run: &Shelved) -> String {
    let told = Wall::from_nanos(run.began_ms.saturating_mul(1_000_000)).to_string();
    told.chars().take(16).map(|letter| if letter == 'T' { ' ' } else { letter }).collect()
}

/// The findings in short: only the severities there are; the steps of a run that has not ended.
fn found(run: &Shelved) -> String {
    if matches!(run.standing, Standing::Unfinished | Standing::Running) {
        return format!("{} of {} steps done", run.steps[0], run.steps[1]);
    }
    let tally = run.tally;
    let counts = [
        (tally.critical, "critical"),
        (tally.high, "high"),
        (tally.medium, "medium"),
        (tally.low, "low"),
        (tally.info, "info"),
    ];
    let told: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    match told.as_slice() {
        [] => "none".into(),
        // The worst three: the table has to end somewhere.
        some => some[..some.len().min(3)].join(", "),
    }
}

async fn show(runs: &Path, show: &ShowOptions, options: &RunsOptions) -> Result<Exit, Problem> {
    let id = find(runs, &show.run).await?;
    let folder = runs.join(&id);
    if show.open {
        let page = folder.join(PAGE);
        if !files::exists(&page).await.map_err(|error| Problem::failed(error.to_string()))? {
            // A run that was cut off has no page yet: it gets the one of what there is.
            report::write(&folder, None).await.map_err(unreadable)?;
        }
        return text::print(&format!("{}\n", page.display()));
    }
    let result = result(&folder).await?;
    if options.json {
        return text::print_json(&result);
    }
    let mut told = report::text::result(&result, &folder, show.all);
    let standing = look(runs, &id).await?.standing;
    match standing {
        Standing::Running => told.push_str("it is under way\n"),
        Standing::Unfinished => {
            let _ = writeln!(told, "go on with: {}", resume(&id, options));
        }
        _ => {}
    }
    text::print(&told)
}

async fn compared(runs: &Path, options: &CompareOptions, json: bool) -> Result<Exit, Problem> {
    let mut results = Vec::new();
    for word in [&options.before, &options.after] {
        results.push(result(&runs.join(find(runs, word).await?)).await?);
    }
    let told = compare(&results[0], &results[1]);
    if json { text::print_json(&told) } else { text::print(&report::text::comparison(&told)) }
}

async fn clean(runs: &Path, options: &CleanOptions, json: bool) -> Result<Exit, Problem> {
    if options.older_than.is_none() && options.keep.is_none() {
        return Err(Problem::usage(
            "which runs may go was not said",
            "as in `synod runs clean --keep 20` or `synod runs clean --older-than 30d --dry-run`",
        ));
    }
    let ids = ids(runs).await?;
    let now = time::wall().as_nanos() / 1_000_000;
    let (mut gone, mut freed, mut kept) = (Vec::new(), 0, 0);
    for (n, id) in ids.iter().enumerate() {
        let age = Duration::from_millis(now.saturating_sub(shelf::began(id).unwrap_or(now)));
        let old = options.older_than.is_none_or(|bound| age > bound.get());
        let spare = options.keep.is_none_or(|keep| n >= keep);
        let folder = runs.join(id);
        if !old || !spare || shelf::is_open(&folder).await {
            kept += 1;
            continue;
        }
        let run = look(runs, id).await?;
        if !options.dry_run {
            files::remove_tree(&folder).await.map_err(|error| Problem::failed(error.to_string()))?;
        }
        freed += run.bytes;
        gone.push(run);
    }
    if json {
        let removed: Vec<&str> = gone.iter().map(|run| run.run.as_str()).collect();
        return text::print_json(&json!({
            "dry_run": options.dry_run, "removed": removed, "bytes": freed, "kept": kept,
        }));
    }
    let (verb, sum) = if options.dry_run { ("would remove", "would free") } else { ("removed", "freed") };
    let mut out = String::new();
    for run in &gone {
        let _ = writeln!(out, "{verb} {} ({})", run.run, figures::bytes(run.bytes));
    }
    let runs = if gone.len() == 1 { "1 run".into() } else { format!("{} runs", gone.len()) };
    let _ = writeln!(out, "{sum} {} of {runs}; {kept} kept", figures::bytes(freed));
    text::print(&out)
}

async fn ids(runs: &Path) -> Result<Vec<String>, Problem> {
    shelf::ids(runs).await.map_err(|error| {
        Problem::usage(error.to_string(), "--out names the folder in which run folders stand")
    })
}

async fn look(runs: &Path, id: &str) -> Result<Shelved, Problem> {
    shelf::look(runs, id).await.map_err(|error| Problem::failed(error.to_string()))
}

/// The id of the run that `word` means: `last`, or the beginning of an id or of its last part.
pub async fn find(runs: &Path, word: &str) -> Result<String, Problem> {
    shelf::find(runs, word).await.map_err(|error| match error {
        FindError::Files(_) => Problem::failed(error.to_string()),
        FindError::Empty(_) => Problem::usage(
            error.to_string(),
            "`synod run review --path .` makes one; --out names another folder of runs",
        ),
        FindError::Unknown { .. } => {
            Problem::usage(error.to_string(), "`synod runs` lists them; `last` is the newest")
        }
        FindError::Several { .. } => Problem::usage(error.to_string(), "write more of its id"),
    })
}

async fn result(folder: &Path) -> Result<RunResult, Problem> {
    report::read(folder).await.map_err(unreadable)
}

fn unreadable(error: ReportError) -> Problem {
    Problem::failed(error.to_string())
}
