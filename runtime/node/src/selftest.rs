//! The quick test: two agents, every priority, payloads from nothing to the largest, and a target that is not there.
//!
//! It runs on a fabric of its own and touches nothing else. Each check says what it saw, so that a pass can be read, too.

use std::time::Duration;

use serde::Serialize;
use synod_fabric::{Agent, Context, Fabric, FabricConfig, PAYLOAD_MAX, Priority, PublishError, RequestError};
use synod_platform::task;
use tokio::sync::oneshot;

/// What was checked and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// Whether it is as it should be.
    pub passed: bool,
    /// What was seen.
    pub seen: String,
}

const SIZES: [usize; 6] = [0, 1, 48, 4096, 1 << 20, PAYLOAD_MAX];
const WITHIN: Duration = Duration::from_secs(30);
const ECHO: &str = "selftest.echo";

/// Runs all checks.
pub async fn run() -> Vec<Check> {
    let mut checks = Vec::new();
    let fabric = Fabric::new(FabricConfig::named("selftest"));
    let home = match fabric.enter("home") {
        Ok(home) => home,
        Err(error) => return vec![judge("a context enters the fabric", Err(error.to_string()))],
    };
    checks.push(judge("two agents in two contexts", across(&fabric, &home).await));
    checks.push(judge("two agents in one context", inside(&home).await));
    checks.push(judge("everybody who subscribes gets it once", fan_out(&home).await));
    checks.push(judge("an absent target is an error at once", absent(&home).await));
    checks.push(judge("a mute target ends at the deadline", mute(&home).await));
    checks.push(judge("a payload above the limit is refused", too_large(&home).await));
    checks
}

fn judge(name: &'static str, outcome: Result<String, String>) -> Check {
    let passed = outcome.is_ok();
    Check { name, passed, seen: outcome.unwrap_or_else(|error| error) }
}

/// An agent in a context of its own answers every request with the payload it got.
async fn across(fabric: &Fabric, home: &Context) -> Result<String, String> {
    let (ready, is_ready) = oneshot::channel::<Result<(), String>>();
    let (stop, stopped) = oneshot::channel::<()>();
    let there = fabric.clone();
    let other = task::Context::start("selftest-echo", None, move || async move {
        let served = async {
            let context = there.enter("echo").map_err(|error| error.to_string())?;
            let agent = context.agent("selftest-there").map_err(|error| error.to_string())?;
            let served = agent.serve(ECHO, 16).await.map_err(|error| error.to_string())?;
            Ok((agent, served))
        };
        match served.await {
            Ok((_agent, mut requests)) => {
                if ready.send(Ok(())).is_err() {
                    return;
                }
                let mut stopped = stopped;
                loop {
                    tokio::select! {
                        biased;
                        _ = &mut stopped => return,
                        request = requests.recv() => match request {
                            Some(request) => {
                                let payload = request.payload().clone();
                                // Whoever asked sees for himself whether the answer came.
                                let _ = request.reply(payload);
                            }
                            None => return,
                        },
                    }
                }
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    })
    .map_err(|error| error.to_string())?;
    is_ready.await.map_err(|_| "the other context ended before it was ready".to_string())??;
    let agent = home.agent("selftest-here").map_err(|error| error.to_string())?;
    let seen = exchange(&agent).await;
    let _ = stop.send(());
    other.join().await.map_err(|error| error.to_string())?;
    seen
}

async fn inside(home: &Context) -> Result<String, String> {
    let there = home.agent("selftest-there").map_err(|error| error.to_string())?;
    let mut requests = there.serve(ECHO, 16).await.map_err(|error| error.to_string())?;
    let echo = task::spawn(async move {
        while let Some(request) = requests.recv().await {
            let payload = request.payload().clone();
            let _ = request.reply(payload);
        }
    });
    let here = home.agent("selftest-here").map_err(|error| error.to_string())?;
    let seen = exchange(&here).await;
    echo.abort();
    // Cancelled is how it ends here.
    let _ = echo.await;
    seen
}

/// Every priority with every size goes there and comes back equal.
async fn exchange(agent: &Agent) -> Result<String, String> {
    let mut bytes = 0;
    for priority in Priority::ALL {
        for size in SIZES {
            let payload = pattern(size, priority as u8);
            let answer = agent
                .request(ECHO, priority, payload.clone(), WITHIN)
                .await
                .map_err(|error| format!("{priority:?}, {size} bytes: {error}"))?;
            if **answer.payload() != *payload {
                return Err(format!("{priority:?}, {size} bytes: the answer differs from what was sent"));
            }
            bytes += 2 * size;
        }
    }
    let exchanges = Priority::ALL.len() * SIZES.len();
    Ok(format!(
        "{exchanges} exchanges, 6 priorities, 0 bytes to {} MiB each, {} MiB in all, equal",
        PAYLOAD_MAX >> 20,
        bytes >> 20
    ))
}

/// Bytes that differ from place to place, so that a shifted or truncated copy is seen.
fn pattern(size: usize, salt: u8) -> Vec<u8> {
    (0..size).map(|n| (n as u8).wrapping_mul(31) ^ ((n >> 8) as u8) ^ ((n >> 16) as u8) ^ salt).collect()
}

async fn fan_out(home: &Context) -> Result<String, String> {
    let agent = home.agent("selftest-publisher").map_err(|error| error.to_string())?;
    let mut all = Vec::new();
    for name in ["selftest-a", "selftest-b", "selftest-c"] {
        let subscriber = home.agent(name).map_err(|error| error.to_string())?;
        all.push(subscriber.subscribe("selftest.news.*", 4).await.map_err(|error| error.to_string())?);
    }
    let receipt = agent
        .publish("selftest.news.today", Priority::Normal, &b"once"[..])
        .map_err(|error| error.to_string())?;
    if receipt.accepted_count() != 3 {
        return Err(format!("3 subscribers, but the receipt says {}", receipt.accepted_count()));
    }
    for subscription in &mut all {
        let message = subscription.recv().await.ok_or("a subscription ended")?;
        if **message.payload() != *b"once" || subscription.try_recv().is_some() {
            return Err("a subscriber got something else, or got it twice".into());
        }
    }
    Ok("3 subscribers of a wildcard, 3 accepted, 1 message each".into())
}

async fn absent(home: &Context) -> Result<String, String> {
    let agent = home.agent("selftest-lonely").map_err(|error| error.to_string())?;
    match agent.request("selftest.nobody", Priority::Normal, &b"?"[..], WITHIN).await {
        Err(RequestError::NobodyListens(subject)) => Ok(format!("`{subject}`: nobody listens")),
        Err(other) => Err(format!("another error than expected: {other}")),
        Ok(_) => Err("somebody answered who is not there".into()),
    }
}

async fn mute(home: &Context) -> Result<String, String> {
    let there = home.agent("selftest-mute").map_err(|error| error.to_string())?;
    let _requests = there.serve("selftest.mute", 4).await.map_err(|error| error.to_string())?;
    let here = home.agent("selftest-patient").map_err(|error| error.to_string())?;
    match here.request("selftest.mute", Priority::Normal, &b"?"[..], Duration::from_millis(50)).await {
        Err(RequestError::DeadlinePassed(_)) => Ok("no answer within 50 ms, and told so".into()),
        Err(other) => Err(format!("another error than expected: {other}")),
        Ok(_) => Err("somebody answered who is mute".into()),
    }
}

async fn too_large(home: &Context) -> Result<String, String> {
    let agent = home.agent("selftest-glutton").map_err(|error| error.to_string())?;
    match agent.publish("selftest.large", Priority::Normal, vec![0; PAYLOAD_MAX + 1]) {
        Err(PublishError::TooLarge { len, max }) => Ok(format!("{len} bytes refused, {max} are allowed")),
        Err(other) => Err(format!("another error than expected: {other}")),
        Ok(_) => Err(format!("{} bytes were taken", PAYLOAD_MAX + 1)),
    }
}

#[cfg(test)]
mod tests {
    use synod_platform::testing;

    #[test]
    fn the_quick_test_passes_in_either_world() {
        let checks = testing::run(1, || async { super::run().await });
        assert_eq!(checks.len(), 6);
        for check in checks {
            assert!(check.passed, "{}: {}", check.name, check.seen);
        }
    }
}
