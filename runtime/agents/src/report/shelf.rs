//! The folder in which run folders stand: which runs there are, how each stands, and which one a person means by a word.
//!
//! A run is told by its folder's name, `<workflow>-<14 digits of UTC>-<6 hexadecimal digits>`; nothing else in there is touched. A run
//! whose journal somebody holds open is under way.

use std::path::{Path, PathBuf};

use serde::Serialize;
use synod_platform::disk::{Failure, File, OpenOptions};
use synod_platform::files::{self, FilesError, WalkLimits};

use super::{RunResult, State, StepState, read};
use crate::finding::Tally;
use crate::workflow::journal;

/// The word that means the newest run.
pub const LAST: &str = "last";
/// How many ids an error names at most.
const NAMED: usize = 5;

/// One run, as it stands in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shelved {
    /// Its id.
    pub run: String,
    /// Its folder.
    pub folder: PathBuf,
    /// When it began: wall time in milliseconds since 1970.
    pub began_ms: u64,
    /// How it stands.
    pub standing: Standing,
    /// The tree it is about; empty if nothing tells.
    pub tree: String,
    /// Its findings.
    pub tally: Tally,
    /// Steps that are done, and all steps.
    pub steps: [usize; 2],
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The bytes of its folder.
    pub bytes: u64,
    /// What is wrong with its folder, if something is.
    pub broken: Option<String>,
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Nothing was found.
    Clean,
    /// What was found is bearable.
    Pass,
    /// Something too bad was found.
    Fail,
    /// Something was not done.
    Incomplete,
    /// It ended without a verdict, as plans of one's own do.
    Ended,
    /// Somebody works on it now.
    Running,
    /// It was cut off, and can be resumed.
    Unfinished,
    /// Its folder cannot be read.
    Broken,
}

impl Standing {
    /// The word for people, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Standing::Clean => "clean",
            Standing::Pass => "pass",
            Standing::Fail => "fail",
            Standing::Incomplete => "incomplete",
            Standing::Ended => "ended",
            Standing::Running => "running",
            Standing::Unfinished => "unfinished",
            Standing::Broken => "broken",
        }
    }
}

/// Why a word names no run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// There is no run at all.
    #[error("there are no runs in {}", .0.display())]
    Empty(PathBuf),
    /// No run is called so.
    #[error("no run in {} is called `{word}`", folder.display())]
    Unknown {
        /// The word.
        word: String,
        /// The folder of runs.
        folder: PathBuf,
    },
    /// Several runs are called so.
    #[error("`{word}` may be any of {} runs: {}{}", .ids.len(), .ids[..NAMED.min(.ids.len())].join(", "), if .ids.len() > NAMED { ", …" } else { "" })]
    Several {
        /// The word.
        word: String,
        /// The ids it may mean, newest first.
        ids: Vec<String>,
    },
    /// The folder cannot be read.
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// When a run of that id began, in milliseconds since 1970; `None` if it is no run's id.
pub fn began(id: &str) -> Option<u64> {
    let (rest, mark) = id.rsplit_once('-')?;
    let (workflow, digits) = rest.rsplit_once('-')?;
    let hexadecimal = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    let right = mark.len() == 6
        && mark.bytes().all(hexadecimal)
        && digits.len() == 14
        && digits.bytes().all(|c| c.is_ascii_digit())
        && !workflow.is_empty()
        && workflow.bytes().all(plain);
    let part = |from: usize, to: usize| digits.get(from..to)?.parse::<u64>().ok();
    if !right {
        return None;
    }
    let days = days(part(0, 4)?, part(4, 6)?, part(6, 8)?)?;
    Some((days * 86_400 + part(8, 10)? * 3600 + part(10, 12)? * 60 + part(12, 14)?) * 1000)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, for years from 1970 on.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years are counted from March on, so that the leap day is the last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    Some(year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469)
}

/// The ids of all runs, newest first. A folder that is not there has none.
pub async fn ids(runs: &Path) -> Result<Vec<String>, FilesError> {
    let names = match files::list(runs).await {
        Ok(names) => names,
        Err(FilesError::NotFound { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut ids: Vec<(u64, String)> = names
        .into_iter()
        .filter_map(|name| name.into_string().ok())
        .filter_map(|id| Some((began(&id)?, id)))
        .collect();
    ids.sort_by(|a, b| b.cmp(a));
    Ok(ids.into_iter().map(|(_, id)| id).collect())
}

/// The id of the run that `word` means: `last`, an id, or the beginning of just one id or of its last part.
pub async fn find(runs: &Path, word: &str) -> Result<String, FindError> {
    choose(ids(runs).await?, runs, word)
}

fn choose(ids: Vec<String>, runs: &Path, word: &str) -> Result<String, FindError> {
    let Some(newest) = ids.first() else { return Err(FindError::Empty(runs.into())) };
    if word == LAST {
        return Ok(newest.clone());
    }
    if ids.iter().any(|id| id == word) {
        return Ok(word.into());
    }
    let mark = |id: &str| id.rsplit_once('-').is_some_and(|(_, mark)| mark.starts_with(word));
    let mut meant: Vec<String> =
        ids.into_iter().filter(|id| !word.is_empty() && (id.starts_with(word) || mark(id))).collect();
    match meant.len() {
        0 => Err(FindError::Unknown { word: word.into(), folder: runs.into() }),
        1 => Ok(meant.remove(0)),
        _ => Err(FindError::Several { word: word.into(), ids: meant }),
    }
}

/// How the run `id` stands.
pub async fn look(runs: &Path, id: &str) -> Result<Shelved, FilesError> {
    let folder = runs.join(id);
    let limits = WalkLimits { honour_ignores: false, ..WalkLimits::default() };
    let bytes = files::walk(&folder, limits).await?.entries.iter().map(|entry| entry.len).sum();
    let mut shelved = Shelved {
        run: id.into(),
        began_ms: began(id).unwrap_or(0),
        standing: Standing::Unfinished,
        tree: String::new(),
        tally: Tally::default(),
        steps: [0, 0],
        seconds: 0.0,
        bytes,
        broken: None,
        folder,
    };
    match read(&shelved.folder).await {
        Ok(result) => {
            shelved.standing = standing(&result);
            shelved.steps[0] = result.steps.iter().filter(|step| step.state == StepState::Done).count();
            shelved.steps[1] = result.steps.len();
            (shelved.tally, shelved.tree, shelved.seconds) = (result.tally, result.tree, result.seconds);
        }
        Err(error) => {
            shelved.standing = Standing::Broken;
            shelved.broken = Some(error.to_string());
        }
    }
    if matches!(shelved.standing, Standing::Unfinished | Standing::Broken) && is_open(&shelved.folder).await {
        shelved.standing = Standing::Running;
    }
    Ok(shelved)
}

fn standing(result: &RunResult) -> Standing {
    use crate::director::Outcome;
    match (result.state, result.verdict.as_ref().map(|verdict| verdict.outcome)) {
        (State::Unfinished, _) => Standing::Unfinished,
        (State::Ended, None) => Standing::Ended,
        (State::Ended, Some(Outcome::Clean)) => Standing::Clean,
        (State::Ended, Some(Outcome::Pass)) => Standing::Pass,
        (State::Ended, Some(Outcome::Fail)) => Standing::Fail,
        (State::Ended, Some(Outcome::Incomplete)) => Standing::Incomplete,
    }
}

/// Whether somebody holds the run's journal open.
pub async fn is_open(folder: &Path) -> bool {
    // One that is not there yet, or cannot be opened, is held by nobody who could be harmed.
    let Ok(file) = File::open(folder.join(journal::FILE), OpenOptions::READ).await else { return false };
    let locked = file.lock().await.is_err_and(|error| error.failure == Failure::Locked);
    // Read only, so nothing can be lost by a close that fails.
    let _ = file.close().await;
    locked
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_platform::time::Wall;

    #[test]
    fn an_id_tells_when_its_run_began_and_other_names_are_no_ids() {
        for id in
            ["review-20261123010203-abcdef", "my-own-plan-20240229235959-000000", "r-19700101000000-0a0a0a"]
        {
            let told = Wall::from_nanos(began(id).expect("an id") * 1_000_000).to_string();
            let digits: String = told.chars().filter(char::is_ascii_digit).take(14).collect();
            assert!(id.contains(&digits), "{id} {told}");
        }
        for other in [
            "",
            "notes",
            "review-20261123010203-ABCDEF",
            "review-2026112301020-abcdef",
            "review-20261323010203-abcdef",
            "-20261123010203-abcdef",
        ] {
            assert_eq!(began(other), None, "{other}");
        }
    }

    #[test]
    fn a_word_means_one_run_or_says_why_not() {
        let ids =
            || vec!["review-20261124000000-bcd111".to_string(), "review-20261123000000-bcd222".to_string()];
        let choose = |word: &str| choose(ids(), Path::new("/runs"), word);
        assert_eq!(choose(LAST), Ok(ids()[0].clone()));
        assert_eq!(choose("review-20261123"), Ok(ids()[1].clone()));
        assert_eq!(choose("bcd2"), Ok(ids()[1].clone()));
        assert!(matches!(choose("bcd"), Err(FindError::Several { ids, .. }) if ids.len() == 2));
        assert!(matches!(choose("xyz"), Err(FindError::Unknown { .. })));
        assert!(matches!(choose(""), Err(FindError::Unknown { .. })));
        assert!(matches!(super::choose(vec![], Path::new("/r"), LAST), Err(FindError::Empty(_))));
    }
}
