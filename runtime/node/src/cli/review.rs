//! `synod run review`: an embedded node reviews a tree; the verdict is told first.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::json;
use synod_agents::director::Outcome;
use synod_agents::survey::Survey;
use synod_agents::{Finding, Review, ReviewError, Reviewed, Severity};
use synod_platform::signals::{Signal, Signals};
use synod_platform::{process, task, time};

use super::arguments::{Format, ReviewOptions};
use super::progress::Teller;
use super::{Exit, Problem, configuration, text};
use crate::{Node, NodeConfig};

pub fn main(options: &ReviewOptions) -> Result<Exit, Problem> {
    let review = Review {
        tree: process::absolute(&options.path),
        out: match &options.out {
            Some(out) => process::absolute(out),
            None => runs()?,
        },
        fail_on: options.fail_on,
        within: options.within.get(),
    };
    let work = async {
        let mut config = configuration::read(options.config.as_deref()).await?;
        if options.config.is_none() {
            config.name = "review".into();
        }
        run(&review, config).await
    };
    match task::block_on(work)? {
        Ended::Reviewed(reviewed, seconds) => {
            match options.format {
                Format::Text => text::print(&told(&reviewed, seconds, options.all))?,
                Format::Json => text::print_json(&json!({
                    "run": reviewed.run,
                    "tree": reviewed.tree,
                    "folder": reviewed.folder,
                    "seconds": seconds,
                    "survey": reviewed.survey,
                    "verdict": reviewed.verdict,
                    "next_actions": reviewed.handoff.next_actions,
                }))?,
            };
            Ok(match reviewed.verdict.outcome {
                Outcome::Clean | Outcome::Pass => Exit::Fine,
                Outcome::Fail => Exit::Found,
                Outcome::Incomplete => Exit::Failed,
            })
        }
        Ended::Cancelled(signal) => {
            eprintln!("cancelled by {signal}");
            Ok(Exit::Cancelled)
        }
    }
}

enum Ended {
    Reviewed(Box<Reviewed>, f64),
    Cancelled(Signal),
}

/// Where run folders are made if nobody says otherwise.
fn runs() -> Result<PathBuf, Problem> {
    let state = process::variable("XDG_STATE_HOME").filter(|path| path.starts_with('/')).map(PathBuf::from);
    let home = || {
        process::variable("HOME")
            .filter(|path| path.starts_with('/'))
            .map(|home| PathBuf::from(home).join(".local/state"))
    };
    state.or_else(home).map(|folder| folder.join("synod/runs")).ok_or_else(|| {
        Problem::usage(
            "there is no place for the run folder: neither XDG_STATE_HOME nor HOME is set",
            "name one with --out DIR",
        )
    })
}

async fn run(review: &Review, config: NodeConfig) -> Result<Ended, Problem> {
    let begin = time::now();
    let mut signals = Signals::listen().map_err(|error| Problem::failed(error.to_string()))?;
    let mut node = Node::start(config).await.map_err(|error| Problem::failed(error.to_string()))?;
    let client = node.context().agent("client").map_err(|error| Problem::failed(error.to_string()))?;
    let mut teller = Teller::new();
    let ended = {
        let mut work =
            std::pin::pin!(synod_agents::review::run(&client, review, |progress| teller.tell(progress)));
        loop {
            tokio::select! {
                biased;
                signal = signals.next() => break Ok(Ended::Cancelled(signal)),
                Some(notice) = node.notice() => eprintln!("{notice}"),
                reviewed = &mut work => break reviewed
                    .map(|reviewed| Ended::Reviewed(Box::new(reviewed), time::now().since(begin).as_secs_f64()))
                    .map_err(problem),
            }
        }
    };
    teller.end();
    drop(client);
    // The work is done or given up: nothing is lost by stopping.
    let _ = node.stop().await;
    ended
}

fn problem(error: ReviewError) -> Problem {
    match error {
        ReviewError::NoTree(_) | ReviewError::Files(_) => {
            Problem::usage(error.to_string(), "--path names the root of a source tree that can be read")
        }
        ReviewError::OutWithinTree(_) => Problem::usage(error.to_string(), "as in --out /tmp/runs"),
        _ => Problem::failed(error.to_string()),
    }
}

/// What a tree consists of, in a line: its files, and its most used languages.
fn consists(survey: &Survey) -> String {
    let code = survey.code_lines();
    let mut line = format!("{} files, {code} lines of code", survey.files);
    let languages = survey.ranked().into_iter().filter(|(_, share)| share.code && share.lines > 0).take(4);
    for (n, (name, share)) in languages.enumerate() {
        let percent = (share.lines * 100 + code / 2) / code.max(1);
        let _ = write!(
            line,
            "{} {name} {}",
            if n == 0 { ":" } else { "," },
            if percent == 0 { "<1 %".into() } else { format!("{percent} %") }
        );
    }
    line
}

/// The result for people: verdict, findings by severity, what was not looked at, where everything lies.
fn told(reviewed: &Reviewed, seconds: f64, all: bool) -> String {
    let verdict = &reviewed.verdict;
    let mut out = format!("{}: {}\n", verdict.outcome.word().to_uppercase(), verdict.because);
    let _ = writeln!(out, "{}", verdict.tally);
    let _ = writeln!(out, "{}: {}", reviewed.tree.display(), consists(&reviewed.survey));
    for severity in Severity::ALL.into_iter().rev() {
        let of: Vec<&Finding> =
            verdict.findings.iter().filter(|finding| finding.severity == severity).collect();
        if of.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\n{severity}");
        if severity == Severity::Info && !all && of.len() > 10 {
            let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
            for finding in &of {
                *kinds.entry(&finding.rule).or_default() += 1;
            }
            for (rule, count) in kinds {
                let first = of
                    .iter()
                    .find(|finding| finding.rule == rule)
                    .map_or(String::new(), |f| f.place.to_string());
                let _ = writeln!(out, "  {rule}: {count}, the first at {first}");
            }
            out.push_str("  (--all lists each of them)\n");
            continue;
        }
        for finding in of {
            let _ = writeln!(out, "  {}: {} [{}]", finding.place, finding.message, finding.rule);
            if severity > Severity::Info {
                let _ = writeln!(out, "      {}", finding.advice);
            }
        }
    }
    for failure in &verdict.failures {
        let _ = writeln!(out, "\nnot done: {}: {}", failure.step, failure.why);
    }
    if !verdict.warnings.is_empty() {
        out.push_str("\nnot looked at\n");
        for warning in &verdict.warnings {
            let _ = writeln!(out, "  {warning}");
        }
    }
    let _ = writeln!(out, "\n{:.1} s; everything lies in {}", seconds, reviewed.folder.display());
    out
}
