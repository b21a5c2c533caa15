//! DOCGEN at work: reads the tree, asks git for its history, writes `CHANGELOG.md` and `findings.json`.

use synod_platform::process::{self, End, Tool};

use crate::docgen::history;
use crate::reading;
use crate::shell::{Desk, WorkError};
use crate::task::{self, Handoff, Report};

/// Does DOCGEN's part.
pub async fn work(desk: &Desk) -> Result<Handoff, WorkError> {
    let folder = desk.folder();
    let mut warnings = Vec::new();
    let mut handoff = desk.handoff(task::DIRECTOR);
    desk.progress(0.8, "reading the history");
    match history(desk).await? {
        Ok(text) => handoff.outputs.push(folder.write("CHANGELOG.md", text.as_bytes()).await?),
        Err(why) => warnings.push(why),
    }
    let report = Report { agent: task::DOCGEN.into(), findings: Vec::new(), warnings: warnings.clone() };
    handoff.outputs.push(folder.write_json("findings.json", &report).await?);
    handoff.warnings = warnings;
    desk.progress(1.0, "documents written");
    Ok(handoff)
}

/// The changelog, or why there is none.
async fn history(desk: &Desk) -> Result<Result<String, String>, WorkError> {
    desk.breathe().await?;
    let root = desk.task().tree.clone();
    if !reading::exists(&root, ".git").await {
        return Ok(Err("no changelog: the tree has no history of its own (no .git at its root)".into()));
    }
    let Some(git) = process::which("git") else {
        return Ok(Err("unavailable: needs git (the changelog)".into()));
    };
    let mut tool = Tool::new(git)
        .args(history::arguments(&format!("{}/.git", root.trim_end_matches('/'))))
        .output_limit(16 << 20)
        .time_limit(desk.left().min(std::time::Duration::from_secs(60)));
    for (name, value) in history::ENVIRONMENT {
        tool = tool.variable(name, value);
    }
    Ok(match tool.run().await {
        Ok(output) if output.is_success() => {
            Ok(history::changelog(&history::parse(&String::from_utf8_lossy(&output.stdout))))
        }
        Ok(output) if output.end == End::TimedOut => Err("no changelog: git did not end in time".into()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("no changelog: git says: {}", said.lines().next().unwrap_or("nothing")))
        }
        Err(error) => Err(format!("no changelog: {error}")),
    })
}
