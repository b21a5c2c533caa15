//! `synod agents`: who is on board, in which context, and whose program does the work, as the configuration says it.

use serde_json::json;
use synod_platform::task;

use super::arguments::AgentsOptions;
use super::{Exit, Problem, configuration, text};
use crate::NodeConfig;
use crate::node::{Placement, placements};

pub fn main(options: &AgentsOptions) -> Result<Exit, Problem> {
    let config = task::block_on(configuration::read(options.config.as_deref()))?;
    let placements = placements(&config);
    if options.json {
        let listed = |at: &Placement| {
            json!({
                "agent": at.agent.name(),
                "does": at.agent.does(),
                "context": at.context,
                "program": program(&config, at),
            })
        };
        return text::print_json(&placements.iter().map(listed).collect::<Vec<_>>());
    }
    let mut out = String::new();
    for at in &placements {
        let mut line =
            format!("{:<21} {:<10} {}", at.agent.name().to_uppercase(), at.context, at.agent.does());
        if let Some(program) = program(&config, at) {
            line.push_str(&format!("; done by `{program}`"));
        }
        out.push_str(&line);
        out.push('\n');
    }
    text::print(&out)
}

fn program(config: &NodeConfig, at: &Placement) -> Option<String> {
    config.posts.get(&at.agent)?.program.as_ref().map(|program| program.exec.join(" "))
}
