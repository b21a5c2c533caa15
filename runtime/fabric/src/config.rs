//! How a node's fabric is set up.

use std::time::Duration;

use synod_resilience::breaker;

use crate::attach::PayloadMemory;
use crate::attach::shape::Shape;

/// How long a context looks for more unless it is told otherwise: about what a wake-up in another process takes.
pub(crate) const SPIN: Duration = Duration::from_micros(50);

/// The settings of one fabric.
#[derive(Clone, Debug)]
pub struct FabricConfig {
    /// The node's name: unique among its peers.
    pub node: String,
    /// Size of each ring of a new lane, bytes; a power of two.
    pub lane_bytes: usize,
    /// The largest capacity that a subscription may ask for: messages for each priority and sending context.
    pub capacity_max: usize,
    /// The most bytes of memory that each context has for long payloads to other processes.
    pub payload_bytes: usize,
    /// What that memory shall be like. A process that attaches does as its node has it.
    pub payload_memory: PayloadMemory,
    /// How long a context looks for more from other processes before it sleeps: within it a message costs no wake-up.
    pub spin: Duration,
    /// When an instance of a service is given a rest.
    pub breaker: breaker::Settings,
}

impl FabricConfig {
    /// The usual settings, for a node of that name.
    pub fn named(node: impl Into<String>) -> Self {
        Self {
            node: node.into(),
            lane_bytes: 16 << 10,
            capacity_max: 65_536,
            payload_bytes: 256 << 20,
            payload_memory: PayloadMemory::Plain,
            spin: SPIN,
            breaker: breaker::Settings::default(),
        }
    }

    /// The sizes of a new lane to another process: it could count for far more receivers than there mostly are, for pages in which nothing is
    /// counted cost nothing.
    pub(crate) fn shape(&self) -> Shape {
        Shape { ring: self.lane_bytes as u32, edges: 4094 }
    }
}
