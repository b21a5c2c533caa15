//! What askers say became of their requests, and answerers that they worked on, and whether the two go together.

use std::collections::BTreeMap;
use std::path::Path;

use synod_client::{ClientError, RequestError};

use crate::ledger::lines;
use crate::roles::message;

/// What becomes of a request with a number, if nobody dies.
pub enum Fate {
    /// It is answered, so.
    Answered(Vec<u8>),
    /// It is tried and fails.
    Failed,
    /// It is taken and forgotten.
    Forgotten,
}

/// That depends on the number alone. Some answers are too long for a ring.
pub fn fate(number: u64) -> Fate {
    match number {
        n if n.is_multiple_of(7) => Fate::Failed,
        n if n.is_multiple_of(11) => Fate::Forgotten,
        n if n.is_multiple_of(13) => Fate::Answered(message("long", n)),
        n => Fate::Answered(message("load", n)),
    }
}

/// How a request ended, in a word. Waiting a dead one's time out is no way to end.
pub fn ending(error: &ClientError) -> &'static str {
    match error {
        ClientError::Request(RequestError::NobodyListens(_)) => "nobody",
        ClientError::Request(RequestError::Resting { .. }) => "resting",
        ClientError::Request(RequestError::WouldBlock(_)) => "full",
        ClientError::Request(RequestError::Unreachable(_)) => "unreachable",
        ClientError::Request(RequestError::Failed { .. }) => "failed",
        ClientError::Request(RequestError::Abandoned(_)) => "abandoned",
        other => panic!("a request ended so: {other}"),
    }
}

/// Each request was worked on once at most; by the one who answered, if one did; by nobody, if that was said.
pub fn check(folder: &Path) -> String {
    let mut worked: BTreeMap<(String, u64), Vec<String>> = BTreeMap::new();
    let mut ended: Vec<(String, u64, String)> = Vec::new();
    for (name, line) in lines(folder) {
        let Some((number, word)) = line.split_once(' ') else { continue };
        let Ok(number) = number.parse() else { continue };
        match name.as_bytes()[0] {
            b's' => worked.entry((word.to_owned(), number)).or_default().push(name),
            b'a' => ended.push((name, number, word.to_owned())),
            _ => {}
        }
    }
    for ((asker, number), by) in &worked {
        assert!(by.len() == 1, "request {number} of {asker} was worked on by {by:?}");
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (asker, number, how) in &ended {
        let by = worked.get(&(asker.clone(), *number)).map(|by| &*by[0]);
        let (how, answerer) = how.split_once(' ').unwrap_or((how, ""));
        let is_true = match how {
            "answered" => by == Some(answerer) && matches!(fate(*number), Fate::Answered(_)),
            "failed" => by.is_some() && matches!(fate(*number), Fate::Failed),
            "abandoned" => by.is_some() && matches!(fate(*number), Fate::Forgotten),
            "unreachable" => true,
            _ => by.is_none(),
        };
        assert!(is_true, "request {number} of {asker} ended {how} {answerer}, and {by:?} worked on it");
        *counts.entry(how).or_default() += 1;
    }
    assert!(counts.contains_key("answered"), "somebody was answered: {counts:?}");
    format!("requests ended {counts:?}")
}
