//! `synod up`: starts a node, says what is ready, serves, drains at the first signal and stops at the second.

use std::path::Path;

use synod_platform::net::Credentials;
use synod_platform::signals::Signals;
use synod_platform::time::{self, Duration};
use synod_platform::{files, task};

use super::arguments::UpOptions;
use super::{Exit, Problem, text};
use crate::config::{self, Identity, NodeConfig};
use crate::{Drained, Node, Notice};

/// Largest configuration or key file that is read, in bytes.
const FILE_MAX: u64 = 1 << 20;
/// How often links are looked at.
const LOOK: Duration = Duration::from_millis(250);

pub fn main(options: &UpOptions) -> Result<Exit, Problem> {
    if options.example_config {
        return text::print(config::EXAMPLE);
    }
    task::block_on(async {
        let config = read(options.config.as_deref()).await?;
        if options.check {
            return text::print("the configuration is right\n");
        }
        serve(config).await
    })
}

async fn read(path: Option<&Path>) -> Result<NodeConfig, Problem> {
    let (text, name) = match path {
        Some(path) => (file(path).await?, path.display().to_string()),
        None => (Vec::new(), "no file".into()),
    };
    let text = String::from_utf8(text)
        .map_err(|_| Problem::usage(format!("{name}: not UTF-8"), "TOML is written in UTF-8"))?;
    let settings = config::parse(&text, &name).map_err(|error| Problem::config(&error, text.clone()))?;
    let mut node = settings.node;
    if let (Some(links), Some(identity)) = (&mut node.links, &settings.identity) {
        links.credentials = credentials(identity).await?;
        if links.credentials.name() != node.name {
            return Err(Problem::usage(
                format!(
                    "{name}: node.name is `{}`, but the certificate says `{}`",
                    node.name,
                    links.credentials.name()
                ),
                "peers know a node by the name in its certificate: make both equal",
            ));
        }
    }
    Ok(node)
}

async fn credentials(identity: &Identity) -> Result<Credentials, Problem> {
    let certificate = file(Path::new(&identity.certificate)).await?;
    let key = file(Path::new(&identity.key)).await?;
    let authority = file(Path::new(&identity.authority)).await?;
    Credentials::from_pem(&certificate, &key, &authority)
        .map_err(|error| Problem::usage(error.to_string(), "links.identity names three PEM files"))
}

async fn file(path: &Path) -> Result<Vec<u8>, Problem> {
    files::read(path, FILE_MAX)
        .await
        .map_err(|error| Problem::usage(error.to_string(), "name a file that can be read"))
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
                Some(Notice::Restarted { agent, why }) => eprintln!("{agent} was restarted: {why}"),
                Some(Notice::GivenUp { agent, why }) => eprintln!("{agent} was given up, it crashes too often: {why}"),
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
