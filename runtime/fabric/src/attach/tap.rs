//! A tap of an attached process: shows what others publish on subjects that the node's policy opens.
//!
//! It has a context of its own, so that its lanes carry nothing else. The node says which patterns may be tapped, and tells of each tap when it is
//! opened and when it is closed. Requests and answers are not shown.

use std::time::Duration;

use synod_platform::time;
use synod_probe::loss;
use synod_wire::Priority;

use super::Attachment;
use crate::agent::Subscription;
use crate::error::AttachError;
use crate::fabric::Fabric;
use crate::subject::Pattern;
use crate::tap::Glance;

/// A message of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glimpse {
    /// Who published it.
    pub source: String,
    /// On what.
    pub subject: String,
    /// How urgent it is.
    pub priority: Priority,
    /// How many bytes its payload has.
    pub len: u64,
    /// How that begins: [`TAP_HEAD`](crate::TAP_HEAD) bytes at most.
    pub head: Vec<u8>,
}

/// What is published by others, from now on. Dropping it closes it.
#[derive(Debug)]
pub struct Tap {
    subscription: Subscription,
    fabric: Fabric,
}

impl Attachment {
    /// Taps the subjects that match. The process should do nothing else: what it [missed](Tap::missed) is counted over all it receives. `name` is that
    /// of a context and an agent made for it.
    pub async fn tap(&self, name: &str, pattern: &str, capacity: usize) -> Result<Tap, AttachError> {
        let agent = self.fabric().enter(name)?.join(name).await?;
        let subscription = agent.tap(Pattern::new(pattern)?, capacity).await?;
        Ok(Tap { subscription, fabric: self.fabric().clone() })
    }
}

impl Tap {
    /// The next message, in the order of their urgency.
    pub async fn recv(&mut self) -> Option<Glimpse> {
        loop {
            let message = self.subscription.recv().await?;
            match Glance::read(message.payload()) {
                Some((len, head)) => {
                    let (source, subject) = (message.source().to_owned(), message.subject().to_string());
                    return Some(Glimpse {
                        source,
                        subject,
                        priority: message.priority(),
                        len,
                        head: head.to_vec(),
                    });
                }
                None => loss!("fabric.tap", "a process showed a tap what is no glance at a message"),
            }
        }
    }

    /// The same, for so long at most.
    pub async fn recv_within(&mut self, within: Duration) -> Option<Glimpse> {
        time::timeout(within, self.recv()).await.ok().flatten()
    }

    /// How many messages were not shown so far, for want of room, as those who sent them count it.
    pub fn missed(&self) -> u64 {
        self.fabric.snapshot().totals().refused
    }
}
