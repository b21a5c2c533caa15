//! `synod run`: a running node does a job, or an embedded one; the verdict is told first.

use serde_json::json;
use synod_agents::director::Outcome;
use synod_agents::review::Job;
use synod_agents::{Review, ReviewError, Reviewed, report};
use synod_platform::signals::{Signal, Signals};
use synod_platform::{process, task, time};

use super::arguments::{Format, HowOptions, ReviewOptions};
use super::progress::Teller;
use super::{Exit, Problem, client, configuration, place, text};
use crate::{Node, NodeConfig};

pub fn main(options: &ReviewOptions) -> Result<Exit, Problem> {
    let review = Review {
        tree: process::absolute(&options.path),
        out: place::runs(options.how.out.as_deref())?,
        fail_on: options.fail_on,
        within: options.within.get(),
        tests: !options.no_tests,
    };
    task::block_on(perform(&Job::Review(review), &options.how))
}

/// Has it done, by a running node if there is one and nothing speaks against it, and prints what it came to.
pub async fn perform(job: &Job, how: &HowOptions) -> Result<Exit, Problem> {
    if !how.embedded
        && how.config.is_none()
        && let Some(node) = client::if_running(&how.node).await?
    {
        return tell(client::run(&node, job).await?, how).await;
    }
    let mut config = configuration::read(how.config.as_deref()).await?;
    if how.config.is_none() {
        config.name = "review".into();
    }
    tell(embedded(job, config).await?, how).await
}

/// Prints what a job came to.
async fn tell(ended: Ended, how: &HowOptions) -> Result<Exit, Problem> {
    match ended {
        Ended::Reviewed(reviewed, seconds) => {
            match how.format {
                Format::Text => {
                    let result = report::read(&reviewed.folder).await;
                    let result = result.map_err(|error| Problem::failed(error.to_string()))?;
                    text::print(&report::text::result(&result, &reviewed.folder, how.all))?
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

/// Has it done by an embedded node.
async fn embedded(job: &Job, config: NodeConfig) -> Result<Ended, Problem> {
    let begin = time::now();
    let mut signals = Signals::listen().map_err(|error| Problem::failed(error.to_string()))?;
    let mut node = Node::start(config).await.map_err(|error| Problem::failed(error.to_string()))?;
    let client = node.context().agent("client").map_err(|error| Problem::failed(error.to_string()))?;
    let mut teller = Teller::new();
    let ended = {
        let mut work = std::pin::pin!(job.run_as(&client, job.id(), |progress| teller.tell(progress)));
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
