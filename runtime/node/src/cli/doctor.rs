//! `synod doctor`: the machine as Synod sees it; how bytes travel on it, and who runs where.

use std::fmt::Write as _;

use serde::Serialize;
use synod_platform::task;

use super::arguments::DoctorOptions;
use super::{Exit, Problem, agents, configuration, text};
use crate::attach::Process;
use crate::doctor::placement::{self, Report};
use crate::doctor::transports::{self, Transport};
use crate::doctor::{self, Diagnosis, Fact};

pub fn main(options: &DoctorOptions) -> Result<Exit, Problem> {
    task::block_on(examine(options))
}

/// The machine, and who takes part in the node that runs on it, if one does.
#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    diagnosis: Diagnosis,
    #[serde(skip_serializing_if = "Option::is_none")]
    attached: Option<Vec<Process>>,
}

/// What was asked for, beside or instead of the whole.
#[derive(Serialize)]
struct Asked {
    #[serde(skip_serializing_if = "Option::is_none")]
    transports: Option<Vec<Transport>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    placement: Option<Report>,
}

async fn examine(options: &DoctorOptions) -> Result<Exit, Problem> {
    let config = configuration::read(options.config.as_deref()).await?;
    if !options.transports && !options.placement {
        let (diagnosis, attached) = (doctor::examine().await, agents::attached().await);
        if options.json {
            return text::print_json(&Whole { diagnosis, attached });
        }
        let mut out = told(&diagnosis);
        if let Some(attached) = attached {
            out.push_str("\nAttached to the node that runs\n");
            for process in &attached {
                let _ = writeln!(out, "  {}", agents::who(process));
                agents::memory(process).for_each(|rung| out.push_str(&format!("    {rung}\n")));
            }
            if attached.is_empty() {
                out.push_str("  nobody\n");
            }
        }
        return text::print(&out);
    }
    let mut asked = Asked { transports: None, placement: None };
    if options.transports {
        asked.transports = Some(transports::examine(&config).await);
    }
    if options.placement {
        let report = placement::examine(&config).await;
        asked.placement = Some(report.map_err(|error| Problem::failed(error.to_string()))?);
    }
    if options.json {
        return text::print_json(&asked);
    }
    let mut out = String::new();
    for transport in asked.transports.iter().flatten() {
        let _ = writeln!(out, "{:<30}{}", transport.name, transport.state.name());
        let _ = writeln!(out, "    {}", transport.why);
    }
    if let Some(report) = &asked.placement {
        if options.transports {
            out.push('\n');
        }
        placed(&mut out, report);
    }
    text::print(&out)
}

fn placed(out: &mut String, report: &Report) {
    let pins = if report.pins { "a node does so" } else { "a node does so with `node.pin = true`" };
    let _ = writeln!(out, "Where contexts go ({pins})");
    for context in &report.contexts {
        let seat = match (context.processor, context.numa_node) {
            (Some(processor), Some(node)) => format!("processor {processor}, NUMA node {node}"),
            _ => "anywhere".to_owned(),
        };
        let _ = writeln!(out, "  {:<24}{seat}", context.context);
        let _ = writeln!(out, "    agents    {}", context.agents.join(" "));
        let _ = writeln!(out, "    why       {}", context.reason);
        let allowed: Vec<String> = context.allowed.iter().map(ToString::to_string).collect();
        let pages = match (&context.pages, &context.unbound) {
            (Some(pages), _) => {
                let told =
                    pages.iter().map(|(node, pages)| format!("; {pages} pages bound, on NUMA node {node}"));
                told.collect()
            }
            (None, Some(why)) => format!("; {why}"),
            (None, None) => String::new(),
        };
        let verdict = if context.agrees { "agrees" } else { "DIFFERS" };
        let _ = writeln!(out, "    kernel    {verdict}: runs on {}{pages}", allowed.join(" "));
    }
}

fn told(diagnosis: &Diagnosis) -> String {
    let mut out = format!("synod {}\n", diagnosis.synod);
    facts(&mut out, "System", &diagnosis.system);
    out.push_str("\nProcessor features\n");
    for present in [true, false] {
        let names: Vec<&str> =
            diagnosis.features.iter().filter(|f| f.present == present).map(|f| f.name).collect();
        let word = if present { "present" } else { "absent" };
        let list = if names.is_empty() { "none".to_string() } else { names.join(" ") };
        let _ = writeln!(out, "  {word:<24}{list}");
    }
    out.push_str("\nCRC-32C kernels\n");
    for kernel in &diagnosis.crc32c {
        let speed =
            kernel.gb_per_s.map_or("not on this processor".into(), |speed| format!("{speed:>6.2} GB/s"));
        let mark = if kernel.in_use { "  <- in use" } else { "" };
        let _ = writeln!(out, "  {:<24}{speed}{mark}", kernel.name);
    }
    facts(&mut out, "Topology", &diagnosis.topology);
    facts(&mut out, "Resources", &diagnosis.resources);
    facts(&mut out, "Jail for a tree's own code", &diagnosis.jail);
    out.push_str("\nTools\n");
    for tool in &diagnosis.tools {
        let path = tool.path.as_deref().unwrap_or("missing");
        let _ = writeln!(out, "  {:<24}{path}  ({})", tool.name, tool.used_for);
    }
    if !diagnosis.advice.is_empty() {
        out.push_str("\nAdvice\n");
        for advice in &diagnosis.advice {
            let _ = writeln!(out, "  - {advice}");
        }
    }
    out
}

fn facts(out: &mut String, title: &str, facts: &[Fact]) {
    let _ = writeln!(out, "\n{title}");
    for fact in facts {
        let _ = writeln!(out, "  {:<24}{}", fact.name, fact.value);
    }
}
