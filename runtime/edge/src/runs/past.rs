//! Runs of earlier lives, as their folders tell: with a verdict, interrupted, or worked on by somebody else.

use std::path::Path;

use synod_agents::report;
use synod_agents::report::shelf::{self, Shelved, Standing};
use synod_agents::workflow::journal;
use synod_platform::files::{self, Kind};
use synod_platform::time::Wall;

use super::order::{State, Told};

/// The most runs that are listed.
const LISTED_MAX: usize = 100;

/// Whether a text is a run's id: it leads to no other place.
pub fn is_id(text: &str) -> bool {
    shelf::began(text).is_some()
}

/// The ids of the runs whose folders lie in `runs`, newest first, and whether there are more.
pub async fn ids(runs: &Path) -> (Vec<String>, bool) {
    // A folder that cannot be read shows no runs; whoever wants to make one there is told why.
    let mut ids = shelf::ids(runs).await.unwrap_or_default();
    let more = ids.len() > LISTED_MAX;
    ids.truncate(LISTED_MAX);
    (ids, more)
}

/// Whether the folder of a run of that id lies in `runs`.
pub async fn is_there(runs: &Path, id: &str) -> bool {
    is_id(id) && files::metadata(&runs.join(id)).await.is_ok_and(|found| found.kind == Kind::Directory)
}

/// The run of that id, if its folder lies in `runs`.
pub async fn find(runs: &Path, id: &str) -> Option<Told> {
    if !is_there(runs, id).await {
        return None;
    }
    shelf::look(runs, id).await.ok().map(told)
}

/// The lengths of a run's result and of its journal: while they stay and nobody works on the run, it stays as it is.
pub type Mark = [Option<u64>; 2];

/// How far the run of that id is; `None` if it has neither result nor journal.
pub async fn mark(runs: &Path, id: &str) -> Option<Mark> {
    let len = async |name: &str| files::metadata(&runs.join(id).join(name)).await.ok().map(|found| found.len);
    let mark = [len(report::RESULT).await, len(journal::FILE).await];
    (mark != [None; 2]).then_some(mark)
}

fn told(shelved: Shelved) -> Told {
    let (state, why) = match shelved.standing {
        Standing::Clean | Standing::Pass | Standing::Fail | Standing::Incomplete | Standing::Ended => (
            State::Done,
            format!("{}; {} of {} steps done", shelved.tally, shelved.steps[0], shelved.steps[1]),
        ),
        Standing::Running => (State::Running, "another process works on it".to_string()),
        Standing::Unfinished => (State::Interrupted, "its node ended before it did".to_string()),
        Standing::Broken => (State::Interrupted, shelved.broken.unwrap_or_default()),
    };
    let over = state == State::Done;
    Told {
        id: shelved.run,
        state,
        outcome: over.then(|| shelved.standing.word().to_string()),
        why,
        order_is_wrong: false,
        began: Wall::from_nanos(shelved.began_ms.saturating_mul(1_000_000)).to_string(),
        seconds: over.then_some(shelved.seconds),
        tree: shelved.tree,
        agents: Vec::new(),
        given: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_nowhere_else() {
        for bad in ["", "..", ".", "a/b", "a.b", "-rf", "ä", "a\0", "../review-20261123051500-0a1b2c"] {
            assert!(!is_id(bad), "{bad}");
        }
        assert!(is_id("review-20261123051500-0a1b2c"));
    }
}
