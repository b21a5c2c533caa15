//! The lines of the protocol: JSON objects with a `type`, one a line, read strictly.
//!
//! This is all that is parsed of what a foreign program writes. Reading a line looks at the line alone; whether it may stand where it
//! stands is the session's business.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::ExternalError;
use crate::finding::{Finding, Place};
use crate::task::Task;

/// The version of the protocol.
pub const PROTOCOL: u32 = 1;
/// The longest line that a program may write, without its newline, in bytes.
pub const LINE_MAX: usize = 1 << 20;
/// The longest sentence of a `progress` or `failed`, in bytes.
pub const SENTENCE_MAX: usize = 1 << 10;

/// What the node tells a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Told {
    /// First of all.
    Hello {
        /// The version of the protocol that the node speaks.
        protocol: u32,
        /// The name of the agent whose work it is to do.
        agent: String,
    },
    /// Work to be done. The next one comes only when this one has ended.
    Task {
        /// Its number, to be repeated in all that is said of it.
        id: u64,
        /// The agent's own folder in the run folder, absolute, and already there.
        folder: String,
        /// The task.
        task: Task,
    },
    /// What the last handoff would have written into the tree was refused: somebody else may write there.
    Refused {
        /// Which task.
        id: u64,
        /// Why, naming the token.
        why: String,
    },
    /// The present task shall end.
    Cancel {
        /// Which task.
        id: u64,
    },
    /// The program shall end.
    Stop {},
}

/// What a program says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Said {
    /// First of all.
    Hello {
        /// The version of the protocol that it speaks.
        protocol: u32,
    },
    /// It takes tasks from now on.
    Ready {},
    /// How far the task is.
    Progress {
        /// Which task.
        id: u64,
        /// From 0 to 1.
        fraction: f32,
        /// What is being done.
        sentence: String,
    },
    /// The task is done.
    Handoff(Given),
    /// The task could not be done; the program itself is well.
    Failed {
        /// Which task.
        id: u64,
        /// Why.
        why: String,
    },
}

/// Finished work.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// Which task.
    pub id: u64,
    /// Who goes on with it; DIRECTOR, if nobody is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// What was found; the node writes it to `findings.json`.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// Files it wrote, relative to its folder.
    #[serde(default)]
    pub outputs: Vec<String>,
    /// What is to be put into the tree that the task may write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes: Option<Writes>,
    /// Counts and measures by name.
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
    /// What could not be done, and why.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What the next one may do.
    #[serde(default)]
    pub next_actions: Vec<String>,
}

/// Files for a tree, put there all or not at all, by the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Writes {
    /// The token of the task's lease.
    pub token: u64,
    /// By path in the tree, the file that the program wrote, relative to its folder.
    pub files: BTreeMap<String, String>,
}

impl Told {
    /// The line, with its newline.
    pub fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

impl Said {
    /// Reads a line without its newline.
    pub fn read(line: &[u8]) -> Result<Self, ExternalError> {
        if line.len() > LINE_MAX {
            return Err(ExternalError::Oversize { max: LINE_MAX });
        }
        let said: Said = serde_json::from_slice(line)
            .map_err(|error| ExternalError::BadLine(plain(&format!("{error}, in `{}`", excerpt(line)))))?;
        match &said {
            Said::Progress { fraction, sentence, .. } => {
                if !(0.0..=1.0).contains(fraction) {
                    return Err(ExternalError::BadValue(format!(
                        "`fraction` is {fraction}, not from 0 to 1"
                    )));
                }
                sentence_fits("sentence", sentence)?;
            }
            Said::Failed { why, .. } => sentence_fits("why", why)?,
            Said::Handoff(given) => {
                given.findings.iter().try_for_each(finding_fits)?;
                let writes = given.writes.iter().flat_map(|writes| &writes.files);
                given.outputs.iter().chain(writes.flat_map(|(to, from)| [to, from])).try_for_each(
                    |path| {
                        within(path)
                            .map_err(|why| ExternalError::BadOutput { path: plain(path), why: why.into() })
                    },
                )?;
            }
            Said::Hello { .. } | Said::Ready {} => {}
        }
        Ok(said)
    }

    /// The line's type.
    pub fn kind(&self) -> &'static str {
        match self {
            Said::Hello { .. } => "hello",
            Said::Ready {} => "ready",
            Said::Progress { .. } => "progress",
            Said::Handoff(_) => "handoff",
            Said::Failed { .. } => "failed",
        }
    }

    /// The task that it speaks of, if it speaks of one.
    pub fn id(&self) -> Option<u64> {
        match self {
            Said::Hello { .. } | Said::Ready {} => None,
            Said::Progress { id, .. } | Said::Failed { id, .. } => Some(*id),
            Said::Handoff(given) => Some(given.id),
        }
    }
}

fn sentence_fits(name: &str, text: &str) -> Result<(), ExternalError> {
    if text.len() > SENTENCE_MAX {
        let problem = format!("`{name}` is {} bytes long, more than {SENTENCE_MAX}", text.len());
        return Err(ExternalError::BadValue(problem));
    }
    if text.contains(char::is_control) {
        return Err(ExternalError::BadValue(format!("`{name}` is more than one line of plain text")));
    }
    Ok(())
}

pub(super) fn finding_fits(finding: &Finding) -> Result<(), ExternalError> {
    let wrong = |what: &str| {
        let problem = format!("a finding of rule `{}` {what}", finding.rule);
        Err(ExternalError::BadValue(plain(&problem)))
    };
    let Place { path, line, column } = &finding.place;
    if finding.rule.is_empty() || finding.message.is_empty() {
        return wrong("lacks its rule or its message");
    }
    if path != "." && within(path).is_err() {
        return wrong(&format!("is placed at `{path}`, which is no path within the tree"));
    }
    if *line == Some(0) || *column == Some(0) || (column.is_some() && line.is_none()) {
        return wrong("counts lines or columns from 0, or has a column without a line");
    }
    Ok(())
}

/// Whether a path is relative and stays below where it begins.
fn within(path: &str) -> Result<(), &'static str> {
    if path.is_empty() || path.contains('\0') {
        return Err("is no path");
    }
    if path.starts_with('/') {
        return Err("is absolute");
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("has empty parts, `.` or `..` in it");
    }
    Ok(())
}

/// The begin of a line, for messages.
fn excerpt(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
    if line.len() > 80 { text + "…" } else { text }
}

/// A foreign text as a piece of one line, of a length that can be read.
fn plain(text: &str) -> String {
    const SHOWN: usize = 300;
    let shown: String =
        text.chars().take(SHOWN).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() { shown + "…" } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_the_protocol_gives_them() {
        for (line, kind, id) in [
            (r#"{"type":"hello","protocol":1}"#, "hello", None),
            (r#"{"type":"ready"}"#, "ready", None),
            (r#"{"type":"progress","id":1,"fraction":0.5,"sentence":"half"}"#, "progress", Some(1)),
            (r#"{"type":"handoff","id":2}"#, "handoff", Some(2)),
            (r#"{"type":"failed","id":3,"why":"no tree"}"#, "failed", Some(3)),
        ] {
            let said = Said::read(line.as_bytes()).expect(line);
            assert_eq!((said.kind(), said.id()), (kind, id));
        }
        let told = Told::Hello { protocol: 1, agent: "linter".into() }.line();
        assert_eq!(told, b"{\"type\":\"hello\",\"protocol\":1,\"agent\":\"linter\"}\n");
        assert_eq!(Told::Stop {}.line(), b"{\"type\":\"stop\"}\n");
    }

    #[test]
    fn whatever_is_not_of_the_protocol_is_refused_by_what_is_wrong() {
        let finding = |place: &str| {
            format!(
                r#"{{"type":"handoff","id":1,"findings":[{{"rule":"r","severity":"low","place":{place},"message":"m","advice":"a"}}]}}"#
            )
        };
        for (line, part) in [
            (String::new(), "bad line"),
            ("Traceback (most recent call last):".into(), "Traceback"),
            (r#"{"type":"ready","extra":1}"#.into(), "extra"),
            (r#"{"type":"redy"}"#.into(), "unknown variant"),
            (r#"{"type":"ready"} {"type":"ready"}"#.into(), "trailing"),
            (r#"{"type":"handoff","id":"1"}"#.into(), "invalid type"),
            (r#"{"type":"progress","id":1,"fraction":1.5,"sentence":""}"#.into(), "not from 0 to 1"),
            (r#"{"type":"handoff","id":1,"outputs":["../x"]}"#.into(), "bad output: `../x`"),
            (r#"{"type":"handoff","id":1,"outputs":["/etc/passwd"]}"#.into(), "absolute"),
            (finding(r#"{"path":"/etc/passwd"}"#), "no path within the tree"),
            (finding(r#"{"path":"a","line":0}"#), "from 0"),
            (finding(r#"{"path":"a","column":1}"#), "without a line"),
            (format!(r#"{{"type":"failed","id":1,"why":"{}"}}"#, "x".repeat(SENTENCE_MAX + 1)), "bytes long"),
            (r#"{"type":"failed","id":1,"why":"two\nlines"}"#.into(), "one line"),
            (" ".repeat(LINE_MAX + 1), "oversize"),
        ] {
            let error = Said::read(line.as_bytes()).expect_err(&line).to_string();
            assert!(error.contains(part), "{line:.100}: {error}");
        }
        assert!(Said::read(finding(r#"{"path":"."}"#).as_bytes()).is_ok(), "the tree itself is a place");
    }
}
