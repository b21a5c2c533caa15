//! What comes of a task that was given to an agent over the fabric: a handoff, or why there is none.
//!
//! A post says why in the reason of a failed request, as JSON with a code, so that nobody has to read a sentence to know whether the
//! agent crashed over the task and its next life may be asked again.

use serde::{Deserialize, Serialize};
use synod_fabric::{Agent as Member, RequestError, RequestOptions};

use super::WorkError;
use crate::task::{Handoff, Task, task_subject};

/// Why a post has no handoff: the reason that it gives, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", content = "why", rename_all = "lowercase")]
pub(super) enum NoHandoff {
    /// The task could not be done; the agent is well.
    Failed(String),
    /// The agent's life ended over it.
    Crashed(String),
}

impl NoHandoff {
    /// As it stands in the answer.
    pub(super) fn reason(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl From<&WorkError> for NoHandoff {
    fn from(error: &WorkError) -> Self {
        let why = error.to_string();
        if error.is_crash() { NoHandoff::Crashed(why) } else { NoHandoff::Failed(why) }
    }
}

/// Why an agent that was given a task handed nothing on.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// It answered that it could not do it.
    #[error("{0}")]
    Failed(String),
    /// It crashed over it.
    #[error("it crashed: {0}")]
    Crashed(String),
    /// There was no answer of its own.
    #[error(transparent)]
    Request(RequestError),
    /// It answered with something else.
    #[error("it answered with something that is no handoff: {0}")]
    Form(serde_json::Error),
}

impl Unanswered {
    /// Whether who was asked is gone by a crash, or by the end of its node: its next life may be asked again.
    pub fn is_gone(&self) -> bool {
        matches!(self, Unanswered::Crashed(_) | Unanswered::Request(RequestError::Abandoned(_)))
    }
}

impl From<RequestError> for Unanswered {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Failed { reason, .. } => match serde_json::from_str(&reason) {
                Ok(NoHandoff::Failed(why)) => Unanswered::Failed(why),
                Ok(NoHandoff::Crashed(why)) => Unanswered::Crashed(why),
                // It serves the subject, but is no post.
                Err(_) => Unanswered::Failed(reason),
            },
            error => Unanswered::Request(error),
        }
    }
}

/// Gives a task to whoever serves the tasks of `name`, and waits for the handoff.
pub(crate) async fn ask(
    agent: &Member,
    name: &str,
    task: &Task,
    options: RequestOptions,
) -> Result<Handoff, Unanswered> {
    let text = serde_json::to_vec(task).map_err(Unanswered::Form)?;
    let answer = agent.request_with(&task_subject(name), task.priority.into(), text, options).await?;
    serde_json::from_slice(answer.payload()).map_err(Unanswered::Form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_is_told_by_its_code_and_not_by_its_words() {
        let told = |error: &WorkError| {
            let reason = NoHandoff::from(error).reason();
            Unanswered::from(RequestError::Failed { subject: "task.linter".into(), reason })
        };
        let crashed = told(&WorkError::Panicked("out of luck".into()));
        assert!(crashed.is_gone() && crashed.to_string().contains("out of luck"), "{crashed}");
        let failed = told(&WorkError::Task("the work panicked: as it says itself".into()));
        assert!(!failed.is_gone() && failed.to_string().contains("as it says itself"), "{failed}");
        let reason = NoHandoff::from(&WorkError::Cancelled).reason();
        assert_eq!(reason, r#"{"code":"failed","why":"cancelled"}"#);
        let stranger = RequestError::Failed { subject: "s".into(), reason: "no post".into() };
        assert_eq!(Unanswered::from(stranger).to_string(), "no post");
    }
}
