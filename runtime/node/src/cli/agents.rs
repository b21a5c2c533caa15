//! `synod agents`: how the agents of a running node stand; without one, who is on board as the configuration says it.

use serde::de::DeserializeOwned;
use serde_json::json;
use synod_agents::Role;
use synod_edge::shell::client::{Client, ClientError};
use synod_fabric::Priority;
use synod_fabric::attach::Rung;
use synod_platform::task;

use super::arguments::{AgentsOptions, NodeOptions};
use super::{Exit, Problem, client, configuration, text};
use crate::attach::{Process, attached_subject};
use crate::node::{placements, standing_subject};
use crate::{NodeConfig, Standing};

pub fn main(options: &AgentsOptions) -> Result<Exit, Problem> {
    let (node, agents, processes) = task::block_on(async {
        if options.config.is_none()
            && let Some(client) = client::if_running(&options.node).await?
        {
            let (node, agents, processes) = running(&client).await?;
            return Ok((Some(node), agents, processes));
        }
        let config = configuration::read(options.config.as_deref()).await?;
        Ok::<_, Problem>((None, on_board(&config), Vec::new()))
    })?;
    if options.json {
        return text::print_json(&json!({ "running": node, "agents": agents, "processes": processes }));
    }
    let mut out = match &node {
        Some(node) => format!("node {node} is running\n"),
        None => "no node is asked: this is who comes on board\n".into(),
    };
    for agent in &agents {
        out.push_str(&line(agent, node.is_some()));
    }
    processes.iter().for_each(|process| out.push_str(&format!("attached: {}\n", who(process))));
    text::print(&out)
}

/// A process, on one line.
pub fn who(process: &Process) -> String {
    let Process { name, pid, uid, agents, .. } = process;
    let agents = if agents.is_empty() { "no agent".into() } else { agents.join(", ") };
    format!("{name} (process {pid} of user {uid}) with {agents}")
}

/// What its memory for long payloads stands on, a line a rung, if it told.
pub fn memory(process: &Process) -> impl Iterator<Item = String> {
    process.memory.iter().map(|Rung { name, held, why }| {
        let (word, why) = (if *held { "held" } else { "not held" }, why.escape_debug());
        format!("payload memory: {}: {word}: {why}", name.escape_debug())
    })
}

/// The processes that are attached to the node that runs, if one does and tells.
pub async fn attached() -> Option<Vec<Process>> {
    let client = client::if_running(&NodeOptions { node: None }).await.ok().flatten()?;
    told(&client, &attached_subject(&client::name(&client))).await.ok()
}

/// The node's name, what it tells of its agents, and who is attached.
async fn running(client: &Client) -> Result<(String, Vec<Standing>, Vec<Process>), Problem> {
    let node = client::name(client);
    let agents = told(client, &standing_subject(&node)).await?;
    let processes = told(client, &attached_subject(&node)).await?;
    Ok((node, agents, processes))
}

/// What a node tells on a subject; nothing if it does not serve that.
async fn told<T: DeserializeOwned + Default>(client: &Client, subject: &str) -> Result<T, Problem> {
    match client.request(subject, Priority::High, Vec::new(), client::WITHIN).await {
        Err(ClientError::Said(said)) if said.status == 404 => Ok(T::default()),
        Err(error) => Err(client::problem(error)),
        Ok(answer) => serde_json::from_slice(&answer)
            .map_err(|error| Problem::failed(format!("the node tells {subject} in another form: {error}"))),
    }
}

/// The agents of a node that has not been started.
fn on_board(config: &NodeConfig) -> Vec<Standing> {
    let standing = |at: crate::Placement| {
        let program = config.posts.get(&at.agent).and_then(|post| post.program.as_ref());
        Standing {
            agent: at.agent.name().into(),
            context: at.context,
            program: program.map(|program| program.exec.join(" ")),
            state: None,
            done: 0,
            failed: 0,
            restarts: 0,
            crashes: Vec::new(),
        }
    };
    placements(config).into_iter().map(standing).collect()
}

fn line(agent: &Standing, running: bool) -> String {
    let mut line = format!("{:<21} {:<10}", agent.agent.to_uppercase(), agent.context);
    if let Some(state) = agent.state.filter(|_| running) {
        line.push_str(&format!(
            " {:<9} {} done, {} failed, {} restarts",
            state.word(),
            agent.done,
            agent.failed,
            agent.restarts
        ));
    } else if let Some(role) = Role::named(&agent.agent) {
        line.push_str(&format!(" {}", role.does()));
    }
    line.push('\n');
    if let Some(program) = &agent.program {
        line.push_str(&format!("  done by `{program}`\n"));
    }
    if let Some(crash) = agent.crashes.last() {
        line.push_str(&format!("  last crash {}: {}\n", crash.at, crash.why));
    }
    line
}
