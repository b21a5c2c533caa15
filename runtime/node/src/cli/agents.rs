//! `synod agents`: how the agents of a running node stand; without one, who is on board as the configuration says it.

use serde_json::json;
use synod_agents::Role;
use synod_edge::shell::client::Client;
use synod_fabric::Priority;
use synod_platform::task;
use synod_platform::time::Duration;

use super::arguments::AgentsOptions;
use super::{Exit, Problem, client, configuration, text};
use crate::node::{placements, standing_subject};
use crate::{NodeConfig, Standing};

/// How long a node may take to tell.
const WITHIN: Duration = Duration::from_secs(5);

pub fn main(options: &AgentsOptions) -> Result<Exit, Problem> {
    let (node, agents) = task::block_on(async {
        if options.config.is_none()
            && let Some(client) = client::if_running(&options.node).await?
        {
            let (node, agents) = running(&client).await?;
            return Ok((Some(node), agents));
        }
        let config = configuration::read(options.config.as_deref()).await?;
        Ok::<_, Problem>((None, on_board(&config)))
    })?;
    if options.json {
        return text::print_json(&json!({ "running": node, "agents": agents }));
    }
    let mut out = match &node {
        Some(node) => format!("node {node} is running\n"),
        None => "no node is asked: this is who comes on board\n".into(),
    };
    for agent in &agents {
        out.push_str(&line(agent, node.is_some()));
    }
    text::print(&out)
}

/// The node's name, and what it tells of its agents.
async fn running(client: &Client) -> Result<(String, Vec<Standing>), Problem> {
    let node = client.socket().file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let answer = client.request(&standing_subject(&node), Priority::High, Vec::new(), WITHIN).await;
    let answer = answer.map_err(client::problem)?;
    let agents = serde_json::from_slice(&answer)
        .map_err(|error| Problem::failed(format!("{node} tells its agents in another form: {error}")))?;
    Ok((node, agents))
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
