//! The streams of a store that nobody has open: to be looked at, not changed.

use super::error::StreamError;
use super::fact::{Fact, StreamId};
use super::handle::{LOG, Stored};
use super::log::decode;
use super::machine::{Machine, Start};
use crate::look::Look;

/// How much of the log is read in one step, bytes.
const READ: usize = 1 << 20;

/// Streams as their log has them.
#[derive(Debug)]
pub struct Offline {
    look: Look,
    machine: Machine,
}

impl Offline {
    /// Reads the streams' log from its beginning.
    pub async fn read_in(look: Look) -> Result<Self, StreamError> {
        let mut machine = Machine::default();
        let range = look.range(LOG).unwrap_or_default();
        let mut next = range.start;
        while next < range.end {
            let entries = look.read(LOG, next..range.end, READ).await?;
            for entry in &entries {
                machine.apply(entry.index, decode(entry)?);
            }
            next = entries.last().map_or(range.end, |last| last.index + 1);
        }
        match machine.nameless() {
            Some(stream) => Err(StreamError::Nameless { stream }),
            None => Ok(Self { look, machine }),
        }
    }

    /// All streams and how they stand.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// At most so many messages, in order, from `start`.
    pub async fn read(
        &self,
        stream: StreamId,
        start: Start,
        messages: usize,
    ) -> Result<Vec<Stored>, StreamError> {
        let mut found = Vec::new();
        let from = self.machine.start(stream, start)?;
        for place in self.machine.places(stream, from)?.take(messages) {
            let entry = self.look.read(LOG, place.position..place.position + 1, usize::MAX).await?.pop();
            match entry.as_ref().map(decode).transpose()? {
                Some(Fact::Message(message)) => found.push(message.into()),
                _ => return Err(StreamError::Lost { sequence: place.sequence }),
            }
        }
        Ok(found)
    }
}
