//! The pulse of a context: an answer over the fabric that says that its executor still turns.
//!
//! Each context that carries agents gets one; the door asks all of them. A context that crashed, or whose work does not come up for
//! breath, does not answer. The watchdog of systemd is fed by nothing else.

use std::time::Duration;

use synod_fabric::{Agent, AttachError, Context, Priority};
use synod_platform::task;
use synod_platform::time;

/// Requests that may wait at one pulse.
const QUEUE: usize = 16;

/// The subject on which a context's pulse answers.
pub fn subject(context: &str) -> String {
    format!("pulse.{context}")
}

/// Lets this context answer, for as long as its root runs.
pub async fn beat(context: &Context) -> Result<(), AttachError> {
    let agent = context.agent(&format!("pulse-{}", context.name()))?;
    let mut asked = agent.serve(&subject(context.name()), QUEUE).await?;
    drop(agent);
    task::spawn(async move {
        while let Some(request) = asked.recv().await {
            // Whoever asked may have stopped waiting.
            let _ = request.reply(&[]);
        }
    })
    .detach();
    Ok(())
}

/// Asks the pulses of `contexts` side by side, and names those that do not answer within `within`.
pub async fn silent(agent: &Agent, contexts: &[String], within: Duration) -> Vec<String> {
    let asked: Vec<_> = contexts
        .iter()
        .map(|context| {
            let (agent, subject) = (agent.clone(), subject(context));
            task::spawn(async move {
                time::timeout(within, agent.request(&subject, Priority::Critical, &[], within)).await
            })
        })
        .collect();
    let mut silent = Vec::new();
    for (context, answer) in contexts.iter().zip(asked) {
        if !matches!(answer.await, Ok(Ok(Ok(_)))) {
            silent.push(context.clone());
        }
    }
    silent
}
