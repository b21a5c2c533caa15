//! `synod run review`: an embedded node reviews a tree; the verdict is told first.

use serde_json::json;
use synod_agents::director::Outcome;
use synod_agents::{Review, ReviewError, Reviewed, report};
use synod_platform::signals::{Signal, Signals};
use synod_platform::{process, task, time};

use super::arguments::{Format, ReviewOptions};
use super::progress::Teller;
use super::{Exit, Problem, configuration, place, text};
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
        let mut config = configuration::read(options.config.as_deref()).await?;
        if options.config.is_none() {
            config.name = "review".into();
        }
        run(&review, config).await
    };
    match task::block_on(work)? {
        Ended::Reviewed(reviewed, seconds) => {
            match options.format {
                Format::Text => {
                    let result = task::block_on(report::read(&reviewed.folder));
                    let result = result.map_err(|error| Problem::failed(error.to_string()))?;
                    text::print(&report::text::result(&result, &reviewed.folder, options.all))?
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

enum Ended {
    Reviewed(Box<Reviewed>, f64),
    Cancelled(Signal),
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
