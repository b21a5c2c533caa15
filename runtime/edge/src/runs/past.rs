//! Runs of earlier lives, as their folders tell: with a verdict, or interrupted.

use std::path::Path;

use synod_agents::director::Verdict;
use synod_platform::files::{self, Kind};

use super::order::{State, Told};

/// Largest verdict that is read, in bytes.
const VERDICT_MAX: u64 = 64 << 20;
/// The most runs that are listed.
const LISTED_MAX: usize = 500;

/// Whether a text can be a run's id: a file name without surprises.
pub fn is_id(text: &str) -> bool {
    (1..=80).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        && text.as_bytes()[0].is_ascii_alphanumeric()
}

/// The ids of the runs whose folders lie in `runs`, newest first (their ids begin with the time), and whether there are more.
pub async fn ids(runs: &Path) -> (Vec<String>, bool) {
    // A folder that is not there yet has no runs.
    let names = files::list(runs).await.unwrap_or_default();
    let mut ids: Vec<String> =
        names.into_iter().filter_map(|name| name.into_string().ok()).filter(|name| is_id(name)).collect();
    ids.sort_by(|a, b| began(b).cmp(&began(a)).then_with(|| b.cmp(a)));
    let more = ids.len() > LISTED_MAX;
    ids.truncate(LISTED_MAX);
    (ids, more)
}

/// The run of that id, if its folder lies in `runs`.
pub async fn find(runs: &Path, id: &str) -> Option<Told> {
    let folder = runs.join(id);
    if !is_id(id) || !files::metadata(&folder).await.is_ok_and(|found| found.kind == Kind::Directory) {
        return None;
    }
    let mut told = Told {
        id: id.into(),
        state: State::Interrupted,
        outcome: None,
        why: "its node ended before it did".into(),
        order_is_wrong: false,
        began: began(id),
        seconds: None,
        tree: String::new(),
        agents: Vec::new(),
        given: None,
    };
    let verdict = files::read_below(&folder, Path::new("director/verdict.json"), VERDICT_MAX).await;
    if let Some(verdict) = verdict.ok().and_then(|text| serde_json::from_slice::<Verdict>(&text).ok()) {
        told.state = State::Done;
        told.outcome = Some(verdict.outcome.word().into());
        told.why = verdict.because;
    }
    Some(told)
}

/// When a run began, from its id `<workflow>-<14 digits>-<chance>`; empty if it does not say.
fn began(id: &str) -> String {
    let digits =
        id.split('-').find(|part| part.len() == 14 && part.bytes().all(|byte| byte.is_ascii_digit()));
    digits.map_or(String::new(), |d| {
        format!("{}-{}-{}T{}:{}:{}Z", &d[..4], &d[4..6], &d[6..8], &d[8..10], &d[10..12], &d[12..])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_when_its_run_began() {
        assert_eq!(began("review-20261123051500-0a1b2c"), "2026-11-23T05:15:00Z");
        assert_eq!(began("mine"), "");
    }

    #[test]
    fn an_id_leads_nowhere_else() {
        for bad in ["", "..", ".", "a/b", "a.b", "-rf", "ä", "a\0", &"x".repeat(81)] {
            assert!(!is_id(bad), "{bad}");
        }
        assert!(is_id("review-20261123051500-0a1b2c"));
    }
}
