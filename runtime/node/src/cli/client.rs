//! What commands ask a running node: which one, and a run that it does instead of an embedded one.
//!
//! A node that answers on its Unix socket is used unless the command line says otherwise. Interrupting the command cancels the run there.

use std::path::PathBuf;

use synod_agents::review::Job;
use synod_edge::Problem as Said;
use synod_edge::runs::order::{Order, State, Told};
use synod_edge::shell::client::{Client, ClientError};
use synod_platform::local::folder::{self, Purpose};
use synod_platform::process;
use synod_platform::signals::Signals;
use synod_platform::time::{self, Duration};

use super::Problem;
use super::arguments::NodeOptions;
use super::progress::Teller;
use super::review::Ended;

/// How long a node may take to tell of itself.
pub const WITHIN: Duration = Duration::from_secs(5);

/// The name of the node behind a socket.
pub fn name(client: &Client) -> String {
    client.socket().file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The node that is asked, which must answer.
pub async fn running(options: &NodeOptions) -> Result<Client, Problem> {
    let named = named(options);
    let socket = socket(&named).ok_or_else(|| nobody(&format!("no node named `{named}` is running")))?;
    let client = Client::new(socket);
    if client.is_there().await {
        return Ok(client);
    }
    Err(nobody(&format!("no node answers at {}", client.socket().display())))
}

/// The node that is asked if one runs; one that was named must answer.
pub async fn if_running(options: &NodeOptions) -> Result<Option<Client>, Problem> {
    if options.node.is_some() {
        return running(options).await.map(Some);
    }
    let Some(client) = socket(&named(options)).map(Client::new) else { return Ok(None) };
    Ok(client.is_there().await.then_some(client))
}

/// The name or the socket that is meant.
pub fn named(options: &NodeOptions) -> String {
    let named = options.node.clone().or_else(|| process::variable("SYNOD_NODE"));
    named.unwrap_or_else(|| "synod".into())
}

fn socket(named: &str) -> Option<PathBuf> {
    match named.contains('/') {
        true => Some(process::absolute(named.as_ref())),
        false => folder::to_ask(named, Purpose::Commands),
    }
}

fn nobody(what: &str) -> Problem {
    Problem::failed_with(what, "start one with `synod up`, or name its socket or its name with --node")
}

/// What a node said, as a problem of this command.
pub fn problem(error: ClientError) -> Problem {
    match error {
        ClientError::Said(Said { status: 400..=499, what, hint, .. }) if !hint.is_empty() => {
            Problem::usage(what, hint)
        }
        ClientError::Said(Said { what, hint, .. }) if !hint.is_empty() => Problem::failed_with(what, hint),
        error => Problem::failed(error.to_string()),
    }
}

/// Has a running node do a job, and tells its progress as an embedded one would.
pub async fn run(client: &Client, job: &Job) -> Result<Ended, Problem> {
    let begin = time::now();
    let mut signals = Signals::listen().map_err(|error| Problem::failed(error.to_string()))?;
    let run = client.order(&Order::of(job)).await.map_err(problem)?;
    let mut teller = Teller::new();
    let ended = {
        let mut follow = std::pin::pin!(client.follow(&run, |progress| teller.tell(progress)));
        tokio::select! {
            biased;
            signal = signals.next() => Err(signal),
            told = &mut follow => Ok(told.map_err(problem)),
        }
    };
    teller.end();
    match ended {
        Ok(told) => over(told?, time::now().since(begin).as_secs_f64()),
        Err(signal) => {
            // A run that ended this very moment need not be cancelled.
            let _ = client.cancel(&run).await;
            Ok(Ended::Cancelled(signal))
        }
    }
}

fn over(told: Told, seconds: f64) -> Result<Ended, Problem> {
    match (told.state, told.given) {
        (State::Done, Some(given)) => Ok(Ended::Reviewed(Box::new(given.reviewed(told.id)), seconds)),
        (_, _) if told.order_is_wrong => Err(Problem::usage(
            told.why,
            "--path (or `tree` in the plan) names a source tree that the node can read, --out a folder outside of it",
        )),
        (state, _) => Err(Problem::failed(format!("the run is {}: {}", state.word(), told.why))),
    }
}
