//! `synod doctor`: the machine as Synod sees it.

use std::fmt::Write as _;

use synod_platform::task;

use super::arguments::OutputOptions;
use super::{Exit, Problem, text};
use crate::doctor::{self, Diagnosis, Fact};

pub fn main(options: &OutputOptions) -> Result<Exit, Problem> {
    let diagnosis = task::block_on(doctor::examine());
    if options.json { text::print_json(&diagnosis) } else { text::print(&told(&diagnosis)) }
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
