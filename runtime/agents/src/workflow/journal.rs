//! The journal of a run: `journal.jsonl` at the root of its folder, one line for everything that happened to a step.
//!
//! A line is durable before the next one is written, so only the last one can be torn: it is cut when the journal is opened
//! again. Damage anywhere else is refused by its line number. An open journal is locked: one process a run.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use synod_platform::disk::{self, Buffer, DiskError, Failure, File, OpenOptions, SyncKind};
use synod_platform::time;
use synod_probe::{event, loss, reach};

use super::engine::Fact;
use super::plan::Plan;
use crate::task::Handoff;

/// The journal's name within the run folder.
pub const FILE: &str = "journal.jsonl";
/// Why DIRECTOR lifts a veto that stands, for its own last steps.
pub const WEIGHED: &str = "DIRECTOR: the verdict may weigh it, for it hands nothing on";
/// The longest journal that is read back, in bytes.
const LEN_MAX: u64 = 256 << 20;
/// How long a journal that somebody holds open is waited for: whoever was stopped lets go soon.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is tried meanwhile.
const AGAIN: Duration = Duration::from_millis(50);

/// What happened to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Happened {
    /// It was given to its agent.
    Started,
    /// Its agent told how far it is; told now and then, not every time.
    Progress,
    /// It is done; the line has the handoff.
    Done,
    /// It failed for good.
    Failed,
    /// An attempt failed, and another follows after a pause.
    Retried,
    /// Its output was vetoed: nothing that depends on it starts.
    Vetoed,
    /// The veto on its output was lifted.
    Lifted,
    /// It was stopped without fault of its own, and starts again later.
    Stopped,
    /// It is not done in this run, and will not be; the line says why.
    Skipped,
    /// What it had done was undone, since a later step failed.
    Compensated,
    /// The run went on after an interruption; the step is empty.
    Resumed,
    /// The run came to its end; the step is empty.
    Ended,
}

impl Happened {
    /// The lower-case word of the journal.
    pub fn word(self) -> &'static str {
        match self {
            Happened::Started => "started",
            Happened::Progress => "progress",
            Happened::Done => "done",
            Happened::Failed => "failed",
            Happened::Retried => "retried",
            Happened::Vetoed => "vetoed",
            Happened::Lifted => "lifted",
            Happened::Stopped => "stopped",
            Happened::Skipped => "skipped",
            Happened::Compensated => "compensated",
            Happened::Resumed => "resumed",
            Happened::Ended => "ended",
        }
    }
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// When, in milliseconds of wall time since 1970 (UTC).
    pub at_ms: u64,
    /// Which step, by its id in the plan; empty for what concerns the whole run.
    #[serde(default)]
    pub step: String,
    /// What happened.
    pub event: Happened,
    /// The step's agent; empty for what concerns the whole run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub agent: String,
    /// Which attempt, from 1; 0 where none is meant.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempt: u32,
    /// Why, in words; empty where nothing needs a reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What the step handed on, if it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handoff: Option<Handoff>,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// Why a journal cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The disk failed.
    #[error("the journal of the run: {0}")]
    Disk(#[from] DiskError),
    /// Somebody else has it open.
    #[error("{}: another process runs this plan; wait for its end, or end it", .0.display())]
    Busy(PathBuf),
    /// A line before the last one is no line of a journal.
    #[error("{}:{line}: no line of a journal: {why}; a damaged journal is not guessed at, start the run anew", path.display())]
    Damaged {
        /// Which journal.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// A line tells of a step that the plan has not.
    #[error(
        "journal line {line} tells of step `{step}`, which is not in the plan: the plan of a begun run cannot lose steps"
    )]
    Stranger {
        /// Which line, from 1.
        line: usize,
        /// The step's name.
        step: String,
    },
    /// An earlier append failed, so that what the journal holds is not known.
    #[error("{}: an earlier line could not be written; resume the run to go on", .0.display())]
    Broken(PathBuf),
}

/// An open journal, and the only open one of its run.
#[derive(Debug)]
pub struct Journal {
    file: File,
    end: u64,
    broken: bool,
}

impl Journal {
    /// Opens or begins the journal of the run in `folder` and reads what it holds. A torn last line is cut.
    pub async fn open(folder: &Path) -> Result<(Self, Vec<Line>), JournalError> {
        Self::open_within(folder, PATIENCE).await
    }

    async fn open_within(folder: &Path, patience: Duration) -> Result<(Self, Vec<Line>), JournalError> {
        let path = folder.join(FILE);
        disk::create_directories(folder).await?;
        let file = File::open(&path, OpenOptions::CREATE).await?;
        lock(&file, patience).await?;
        let content = file.read_all(LEN_MAX).await?;
        let (lines, end) =
            parse(&content).map_err(|(line, why)| JournalError::Damaged { path, line, why })?;
        let cut = content.len() - end;
        if cut > 0 {
            reach!("workflow.torn-line-cut");
            event!("workflow.torn-line-cut", bytes = cut);
            file.truncate(end as u64).await?;
        }
        file.sync(SyncKind::Full).await?;
        disk::sync_directory(folder).await?;
        event!("workflow.journal", lines = lines.len());
        Ok((Journal { file, end: end as u64, broken: false }, lines))
    }

    /// Appends a line; it is durable when this returns.
    pub async fn append(&mut self, line: &Line) -> Result<(), JournalError> {
        if self.broken {
            return Err(JournalError::Broken(self.file.path().to_owned()));
        }
        // Until all is well nothing is: also when this future is dropped half-way.
        self.broken = true;
        let text = encode(line);
        let len = text.len() as u64;
        let written = self.file.write_all_at(self.end, Buffer::copy_of(&text)).await.0;
        let durable = match written {
            Ok(()) => self.file.sync(SyncKind::Data).await,
            Err(error) => Err(error),
        };
        if let Err(error) = durable {
            loss!("workflow.journal", "write or sync failed");
            return Err(error.into());
        }
        self.broken = false;
        self.end += len;
        event!("workflow.step", step = line.step.as_str(), event = line.event.word(), attempt = line.attempt);
        Ok(())
    }

    /// Closes it; another may open it then.
    pub async fn close(self) -> Result<(), JournalError> {
        Ok(self.file.close().await?)
    }
}

async fn lock(file: &File, patience: Duration) -> Result<(), JournalError> {
    let until = time::now() + patience;
    loop {
        match file.lock().await {
            Ok(()) => return Ok(()),
            Err(error) if error.failure != Failure::Locked => return Err(error.into()),
            Err(_) if time::now() >= until => return Err(JournalError::Busy(file.path().to_owned())),
            Err(_) => time::sleep(AGAIN).await,
        }
    }
}

impl Line {
    /// A line about a step or, without one, about the whole run, of this moment.
    pub fn now(step: &str, event: Happened) -> Self {
        Line {
            at_ms: time::wall().as_nanos() / 1_000_000,
            step: step.into(),
            event,
            agent: String::new(),
            attempt: 0,
            why: String::new(),
            handoff: None,
        }
    }
}

/// One line with its end.
fn encode(line: &Line) -> Vec<u8> {
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text
}

/// The lines of a journal, and where the last whole one ends. A last line that is not whole is left out; any other is an error with its
/// number, from 1, and what is wrong with it.
pub fn parse(content: &[u8]) -> Result<(Vec<Line>, usize), (usize, String)> {
    let (mut lines, mut end) = (Vec::new(), 0);
    for text in content.split_inclusive(|byte| *byte == b'\n') {
        let whole = text.ends_with(b"\n");
        match serde_json::from_slice(text) {
            Ok(line) if whole => lines.push(line),
            Err(error) if end + text.len() < content.len() => {
                return Err((lines.len() + 1, error.to_string()));
            }
            Ok(_) | Err(_) => return Ok((lines, end)),
        }
        end += text.len();
    }
    Ok((lines, end))
}

/// The vetoes that stand: of each step whose output is vetoed its agent, and by whom and why. That the verdict weighs what was vetoed
/// lifts nothing for anybody else.
pub fn vetoes(lines: &[Line]) -> BTreeMap<String, (String, String)> {
    let mut vetoes = BTreeMap::new();
    for line in lines {
        match line.event {
            Happened::Vetoed => {
                vetoes.insert(line.step.clone(), (line.agent.clone(), line.why.clone()));
            }
            Happened::Lifted if line.why != WEIGHED => {
                vetoes.remove(&line.step);
            }
            _ => {}
        }
    }
    vetoes
}

/// What the lines say about the steps of a plan, by position, and the handoffs of those that are done.
pub fn facts(plan: &Plan, lines: &[Line]) -> Result<(Vec<Fact>, BTreeMap<u32, Handoff>), JournalError> {
    let positions: BTreeMap<&str, u32> =
        plan.steps.iter().zip(0u32..).map(|(step, at)| (step.id.as_str(), at)).collect();
    let (mut facts, mut handoffs) = (Vec::new(), BTreeMap::new());
    for (line, number) in lines.iter().zip(1..).filter(|(line, _)| !line.step.is_empty()) {
        let Some(at) = positions.get(line.step.as_str()).copied() else {
            return Err(JournalError::Stranger { line: number, step: line.step.clone() });
        };
        if let (Happened::Done, Some(handoff)) = (line.event, &line.handoff) {
            handoffs.insert(at, handoff.clone());
        }
        facts.push(Fact { step: at, event: line.event, attempt: line.attempt, why: line.why.clone() });
    }
    Ok((facts, handoffs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use synod_platform::{random, testing};

    use crate::workflow::plan::Step;

    /// A line of no particular moment: outside of a simulation there is no clock.
    fn plain(step: &str, event: Happened) -> Line {
        let (agent, why) = (String::new(), String::new());
        Line { at_ms: 1_800_000_000_000, step: step.into(), event, agent, attempt: 0, why, handoff: None }
    }

    fn line(n: u32) -> Line {
        Line {
            agent: "linter".into(),
            attempt: n,
            why: format!("because of \"{n}\"\n"),
            handoff: n.is_multiple_of(3).then(|| Handoff { from: "linter".into(), ..Handoff::default() }),
            ..plain("lint", Happened::Done)
        }
    }

    #[test]
    fn a_line_has_the_form_that_others_read() {
        let mut line = line(1);
        line.at_ms = 7;
        let text = String::from_utf8(encode(&line)).expect("JSON");
        assert_eq!(
            text,
            "{\"at_ms\":7,\"step\":\"lint\",\"event\":\"done\",\"agent\":\"linter\",\"attempt\":1,\"why\":\"because of \\\"1\\\"\\n\"}\n"
        );
        assert_eq!(parse(text.as_bytes()), Ok((vec![line], text.len())));
    }

    proptest! {
        #[test]
        fn a_journal_cut_anywhere_gives_back_the_lines_that_are_whole(count in 0u32..6, cut: u16) {
            let lines: Vec<Line> = (0..count).map(line).collect();
            let whole: Vec<u8> = lines.iter().flat_map(encode).collect();
            let cut = usize::from(cut) % (whole.len() + 1);
            let (found, end) = parse(&whole[..cut]).expect("only its end is torn");
            prop_assert_eq!(&found[..], &lines[..found.len()]);
            prop_assert!(end <= cut);
            let ends = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
            prop_assert_eq!(found.len(), ends, "no whole line is lost");
        }
    }

    #[test]
    fn damage_before_the_last_line_is_refused_by_its_number() {
        let mut content: Vec<u8> = (0..3).flat_map(|n| encode(&line(n))).collect();
        let second = content.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
        content[second] = b'?';
        assert_eq!(parse(&content).expect_err("damaged").0, 2);
    }

    #[test]
    fn a_line_about_a_step_that_the_plan_has_not_is_refused_by_name() {
        let plan = Plan::new("g", "/t", vec![Step::new("other", "linter", "g", &[])]);
        let error = facts(&plan, &[plain("", Happened::Resumed), line(1)]).expect_err("no such step");
        assert_eq!(error, JournalError::Stranger { line: 2, step: "lint".into() });
    }

    #[test]
    fn what_was_appended_is_there_again_and_a_second_opener_is_told_that_it_is_busy() {
        testing::run(3, || async {
            let folder = PathBuf::from(format!("/tmp/synod-journal-{:016x}", random::u64()));
            let (mut journal, lines) = Journal::open(&folder).await.expect("a new one");
            assert_eq!(lines, []);
            journal.append(&line(1)).await.expect("room");
            journal.append(&line(3)).await.expect("room");
            let mut written = vec![line(1), line(3)];
            let again = Journal::open_within(&folder, Duration::ZERO).await.expect_err("it is open");
            assert!(matches!(again, JournalError::Busy(_)), "{again}");
            journal
                .file
                .write_all_at(journal.end, Buffer::copy_of(b"{\"at_ms\":1,\"st"))
                .await
                .0
                .expect("room");
            journal.close().await.expect("it closes");
            let (journal, mut lines) = Journal::open(&folder).await.expect("a torn end is no harm");
            for line in lines.iter_mut().chain(&mut written) {
                line.at_ms = 0;
            }
            assert_eq!(lines, written);
            journal.close().await.expect("it closes");
            disk::remove(folder.join(FILE)).await.expect("our own file");
            disk::remove_directory(&folder).await.expect("our own folder");
        });
    }
}
