//! `synod up`: starts a node, says what is ready, serves, drains at the first signal and stops at the second.

use synod_platform::signals::Signals;
use synod_platform::task;
use synod_platform::time::{self, Duration};

use super::arguments::UpOptions;
use super::{Exit, Problem, configuration, text};
use crate::config::{self, NodeConfig};
use crate::{Drained, Node};

/// How often links are looked at.
const LOOK: Duration = Duration::from_millis(250);

pub fn main(options: &UpOptions) -> Result<Exit, Problem> {
    if options.example_config {
        return text::print(config::EXAMPLE);
    }
    task::block_on(async {
        let config = configuration::read(options.config.as_deref()).await?;
        if options.check {
            return text::print("the configuration is right\n");
        }
        serve(config).await
    })
}

async fn serve(config: NodeConfig) -> Result<Exit, Problem> {
    let drain = config.drain;
    let failed = |error: String| Problem::failed(error);
    let mut signals = Signals::listen().map_err(|error| failed(error.to_string()))?;
    let mut node = Node::start(config).await.map_err(|error| failed(error.to_string()))?;
    text::print(&ready(&node))?;
    let mut tells = true;
    let mut linked: Vec<String> = Vec::new();
    let mut look = time::interval(LOOK);
    let signal = loop {
        tokio::select! {
            biased;
            signal = signals.next() => break signal,
            notice = node.notice(), if tells => match notice {
                Some(notice) => eprintln!("{notice}"),
                None => tells = false,
            },
            _ = look.tick(), if node.links().is_some() => {
                let up = node.links().map_or_else(Vec::new, |links| links.up());
                text::print(&changes(&linked, &up))?;
                linked = up;
            }
        }
    };
    eprintln!("{signal}: draining for up to {} s; a second signal stops at once", drain.as_secs_f64());
    let drained = tokio::select! {
        biased;
        second = signals.next() => {
            eprintln!("{second}: stopped at once");
            return Ok(Exit::Cancelled);
        }
        drained = node.drain(drain) => drained,
    };
    match drained {
        Drained::Clean => {
            text::print("drained and stopped\n")?;
            Ok(Exit::Fine)
        }
        Drained::Cut => {
            text::print("stopped; work that was not done in time was given up\n")?;
            Ok(Exit::Cancelled)
        }
        Drained::Crashed(why) => Err(failed(format!("a context crashed: {why}"))),
    }
}

/// Which links came and went.
fn changes(before: &[String], now: &[String]) -> String {
    let came = now.iter().filter(|peer| !before.contains(peer)).map(|peer| format!("linked with {peer}\n"));
    let went =
        before.iter().filter(|peer| !now.contains(peer)).map(|peer| format!("lost the link to {peer}\n"));
    came.chain(went).collect()
}

fn ready(node: &Node) -> String {
    let mut out = format!("node {} is ready\n", node.fabric().node());
    for placement in node.placements() {
        out.push_str(&format!("  {:<21} in {}\n", placement.agent.name().to_uppercase(), placement.context));
    }
    match node.address() {
        Some(address) => out.push_str(&format!("listens for other nodes at {address}\n")),
        None => out.push_str("listens for no other nodes (links.listen is not set)\n"),
    }
    out.push_str("ends with SIGINT or SIGTERM\n");
    out
}
