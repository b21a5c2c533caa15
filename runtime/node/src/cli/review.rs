//! `synod run`: an embedded node does a job; the verdict is told first.

use std::path::PathBuf;

use serde_json::json;
use synod_agents::director::Outcome;
use synod_agents::task::Progress;
use synod_agents::workflow::Plan;
use synod_agents::{Review, ReviewError, Reviewed, report, review};
use synod_fabric::Agent;
use synod_platform::signals::{Signal, Signals};
use synod_platform::{process, task, time};

use super::arguments::{Format, ReviewOptions};
use super::progress::Teller;
use super::{Exit, Problem, client, configuration, place, text};
use crate::{Node, NodeConfig};

pub fn main(options: &ReviewOptions) -> Result<Exit, Problem> {
    let review = Review {
        tree: process::absolute(&options.path),
        out: place::runs(options.out.as_deref())?,
        fail_on: options.fail_on,
        within: options.within.get(),
        tests: !options.no_tests,
    };
    let work = async {
        if !options.embedded
            && options.config.is_none()
            && let Some(node) = client::if_running(&options.node).await?
        {
            return client::review(&node, &review).await;
        }
        let mut config = configuration::read(options.config.as_deref()).await?;
        if options.config.is_none() {
            config.name = "review".into();
        }
        run(&Job::Review(review), config).await
    };
    tell(task::block_on(work)?, options.format, options.all)
}

/// What is to be done by DIRECTOR and the others.
pub enum Job {
    /// A review, planned anew.
    Review(Review),
    /// A plan, as somebody wrote it, and where its run folder is made.
    Plan(Box<Plan>, PathBuf),
    /// The rest of the run in this folder.
    Resume(PathBuf),
}

impl Job {
    async fn work(&self, client: &Agent, tell: impl FnMut(Progress)) -> Result<Reviewed, ReviewError> {
        match self {
            Job::Review(review) => review::run(client, review, tell).await,
            Job::Plan(plan, out) => review::run_plan(client, plan, out, review::run_id(), tell).await,
            Job::Resume(folder) => review::resume(client, folder, tell).await,
        }
    }
}

/// Prints what a job came to.
pub fn tell(ended: Ended, format: Format, all: bool) -> Result<Exit, Problem> {
    match ended {
        Ended::Reviewed(reviewed, seconds) => {
            match format {
                Format::Text => {
                    let result = task::block_on(report::read(&reviewed.folder));
                    let result = result.map_err(|error| Problem::failed(error.to_string()))?;
                    text::print(&report::text::result(&result, &reviewed.folder, all))?
                }
                Format::Json => text::print_json(&json!({
                    "run": reviewed.run,
                    "tree": reviewed.tree,
                    "folder": reviewed.folder,
                    "report": reviewed.folder.join(report::PAGE),
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

/// How a job ended.
pub enum Ended {
    /// With a verdict, after so many seconds.
    Reviewed(Box<Reviewed>, f64),
    /// By a signal.
    Cancelled(Signal),
}

/// Has a job done by an embedded node.
pub async fn run(job: &Job, config: NodeConfig) -> Result<Ended, Problem> {
    let begin = time::now();
    let mut signals = Signals::listen().map_err(|error| Problem::failed(error.to_string()))?;
    let mut node = Node::start(config).await.map_err(|error| Problem::failed(error.to_string()))?;
    let client = node.context().agent("client").map_err(|error| Problem::failed(error.to_string()))?;
    let mut teller = Teller::new();
    let ended = {
        let mut work = std::pin::pin!(job.work(&client, |progress| teller.tell(progress)));
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
        ReviewError::NoPlan(_) | ReviewError::Plan(_) => {
            Problem::usage(error.to_string(), "`synod runs` lists the runs there are")
        }
        ReviewError::OutWithinTree(_) => Problem::usage(error.to_string(), "as in --out /tmp/runs"),
        _ => Problem::failed(error.to_string()),
    }
}
