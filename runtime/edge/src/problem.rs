//! An error as every address answers it: a status, and JSON that says what is wrong, where, and what to do.

use serde::{Deserialize, Serialize};

use crate::request::Answer;

/// What is wrong with a request, or with the node that should answer it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Problem {
    /// The HTTP status, 400 or above.
    pub status: u16,
    /// What is wrong, as a sentence without a full stop.
    pub what: String,
    /// Which part of the request is meant; empty if none.
    pub place: String,
    /// What to do; empty if nothing can be done.
    pub hint: String,
}

/// The JSON form of a problem, under the key `error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The problem.
    pub error: ToldError,
}

/// What stands under `error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldError {
    /// What is wrong.
    pub what: String,
    /// Which part of the request is meant.
    #[serde(rename = "where")]
    pub place: String,
    /// What to do.
    pub hint: String,
}

impl Problem {
    /// A problem with everything said.
    pub fn new(
        status: u16,
        what: impl Into<String>,
        place: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Problem { status, what: what.into(), place: place.into(), hint: hint.into() }
    }

    /// A malformed part of the request.
    pub fn bad(place: &str, what: &str) -> Self {
        Self::new(400, what, place, "see API.md for the addresses and their form")
    }

    /// Nothing stands at that address.
    pub fn absent(place: &str) -> Self {
        Self::new(404, "nothing stands at this address", place, "GET /api lists the addresses")
    }

    /// Reads what another node answered.
    pub fn read(status: u16, body: &[u8]) -> Self {
        match serde_json::from_slice::<Told>(body) {
            Ok(Told { error }) => Self::new(status, error.what, error.place, error.hint),
            Err(_) => Self::new(
                status,
                format!("the node answered {status} with something that is no error of Synod's"),
                "",
                "is another program listening there?",
            ),
        }
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        let status = problem.status;
        let error = ToldError { what: problem.what, place: problem.place, hint: problem.hint };
        let answer = Answer::json(status, &Told { error });
        match status {
            401 => answer.with("www-authenticate", "Bearer"),
            429 | 503 => answer.with("retry-after", "1"),
            _ => answer,
        }
    }
}
