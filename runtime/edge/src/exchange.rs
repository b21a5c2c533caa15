//! Messages through the door: publish, request, subscribe, on the node's own fabric and with any bytes as payload.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use synod_control::units;
use synod_fabric::{Agent, Context, Priority, PublishError, Receipt, RequestError};
use synod_platform::{task, time};
use synod_probe::reach;
use tokio::sync::mpsc;

use crate::problem::Problem;
use crate::request::{Answer, Body, Request, escape};
use crate::stream::Header;

/// How long a publish waits for room, and a request for its answer, if nobody says.
const WITHIN: Duration = Duration::from_secs(5);
/// The longest that either may wait.
const WITHIN_MAX: Duration = Duration::from_secs(3600);
/// Messages that may wait for one reader, for each priority and sending context.
const QUEUE: usize = 256;
/// Parts that may wait for a reader's socket.
const PARTS: usize = 16;
/// How often a silent stream says that it is there.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Who took a message and who did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The receivers that took it.
    pub accepted: Vec<String>,
    /// Those that did not.
    pub refused: Vec<Refused>,
}

/// One receiver that did not take a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Its name.
    pub who: String,
    /// Why, in a word.
    pub why: String,
}

impl Published {
    fn of(receipt: &Receipt) -> Self {
        let word = |why: synod_fabric::Refusal| match why {
            synod_fabric::Refusal::QueueFull => "queue-full",
            synod_fabric::Refusal::LaneFull => "lane-full",
            synod_fabric::Refusal::Opening => "opening",
            synod_fabric::Refusal::MemoryFull => "memory-full",
            synod_fabric::Refusal::NoMemory => "no-memory",
            synod_fabric::Refusal::NotAllowed => "not-allowed",
            synod_fabric::Refusal::NotKept => "not-kept",
            synod_fabric::Refusal::TooLong => "too-long",
            synod_fabric::Refusal::Gone => "gone",
            synod_fabric::Refusal::Unreachable => "unreachable",
        };
        Published {
            accepted: receipt.accepted().map(String::from).collect(),
            refused: receipt
                .refused()
                .into_iter()
                .map(|(who, why)| Refused { who: who.into(), why: word(why).into() })
                .collect(),
        }
    }
}

/// What the query of a message says.
struct How {
    priority: Priority,
    within: Duration,
}

impl How {
    fn read(request: &Request) -> Result<Self, Problem> {
        let mut how = How { priority: Priority::Normal, within: WITHIN };
        for (key, value) in request.query(&["priority", "within"])? {
            if key == "priority" {
                how.priority = Priority::from_name(&value).ok_or_else(|| {
                    let words = Priority::ALL.map(|priority| priority.name().to_ascii_lowercase());
                    let hint = format!("one of {}", words.join(", "));
                    Problem::new(400, format!("`{value}` is no priority"), "priority", hint)
                })?;
            } else {
                let within: units::Duration = value
                    .parse()
                    .map_err(|error| Problem::new(400, format!("{error}"), "within", "as in 500ms or 10s"))?;
                how.within = within.get().min(WITHIN_MAX);
            }
        }
        Ok(how)
    }
}

/// Publishes the request's body to `subject` and tells the receipt.
pub async fn publish(agent: &Agent, subject: &str, request: &Request) -> Result<Answer, Problem> {
    let how = How::read(request)?;
    match agent.publish_wait(subject, how.priority, request.body.clone(), how.within).await {
        Ok(receipt) => Ok(Answer::json(200, &Published::of(&receipt))),
        Err(error) => Err(match error {
            PublishError::Subject(_) => {
                Problem::new(400, error.to_string(), "subject", "as in `orders.eu.created`")
            }
            PublishError::TooLarge { .. } => Problem::new(413, error.to_string(), "body", "send it in parts"),
            _ => {
                Problem::new(503, error.to_string(), subject, "try again, or give it more time with ?within=")
            }
        }),
    }
}

/// Asks whoever serves `subject` with the request's body, and answers with the answer's bytes.
pub async fn request(agent: &Agent, subject: &str, request: &Request) -> Result<Answer, Problem> {
    let how = How::read(request)?;
    match agent.request(subject, how.priority, request.body.clone(), how.within).await {
        Ok(mut answer) => {
            let source = escape(answer.source());
            Ok(Answer::of(200, "application/octet-stream", answer.take_payload().into_bytes())
                .with("synod-source", source))
        }
        Err(error) => {
            let (status, hint) = match &error {
                RequestError::NobodyListens(_) => (404, "is the agent on board? `synod agents` names them"),
                RequestError::DeadlinePassed(_) => (504, "give it more time with ?within="),
                RequestError::Failed { .. } | RequestError::Refused { .. } | RequestError::Abandoned(_) => {
                    (502, "")
                }
                RequestError::TooLarge { .. } => (413, "send it in parts"),
                RequestError::Subject(_) => (400, "as in `orders.eu.created`"),
                RequestError::Unreachable(_) | RequestError::Resting { .. } | RequestError::WouldBlock(_) => {
                    (503, "try again")
                }
            };
            Err(Problem::new(status, error.to_string(), subject, hint))
        }
    }
}

/// Streams what is published to subjects that match `pattern`, up to `?count=` messages. `name` is the reader's on the fabric.
///
/// A reader that does not keep up fills its own queue, and senders are told that it is full: nothing is dropped unseen.
pub async fn subscribe(
    context: &Context,
    name: &str,
    pattern: &str,
    request: &Request,
) -> Result<Answer, Problem> {
    let mut left = None;
    for (_, value) in request.query(&["count"])? {
        let count: u64 = value
            .parse()
            .map_err(|_| Problem::new(400, format!("`{value}` is no number"), "count", "as in ?count=10"))?;
        left = Some(count);
    }
    let wrong = |error: synod_fabric::AttachError| {
        Problem::new(400, error.to_string(), "pattern", "as in `orders.*` or `orders.>`")
    };
    let agent = context.agent(name).map_err(wrong)?;
    let mut messages = agent.subscribe(pattern, QUEUE).await.map_err(wrong)?;
    let (send, parts) = mpsc::channel(PARTS);
    task::spawn(async move {
        // Shows the reader at once that its subscription stands.
        let _ = send.send(Bytes::from_static(b"\n")).await;
        let mut alive = time::interval(KEEP_ALIVE);
        while left != Some(0) {
            let part = tokio::select! {
                biased;
                () = send.closed() => break,
                message = messages.recv() => match message {
                    Some(message) => {
                        left = left.map(|left| left - 1);
                        let header = Header {
                            subject: message.subject().to_string(),
                            source: message.source().into(),
                            priority: message.priority().name().to_ascii_lowercase(),
                            bytes: message.payload().len(),
                        };
                        header.encode(message.payload())
                    }
                    None => break,
                },
                _ = alive.tick() => b"\n".to_vec(),
            };
            if send.send(Bytes::from(part)).await.is_err() {
                reach!("edge.reader-gone");
                break;
            }
        }
    })
    .detach();
    Ok(Answer {
        status: 200,
        headers: vec![("content-type", "application/x-synod-messages".into())],
        body: Body::Stream(parts),
    })
}
