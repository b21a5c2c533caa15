//! The types that consensus is made of here. What is proposed and answered is bytes to it; the state machine knows what they mean.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::runtime::SeamRuntime;

openraft::declare_raft_types!(
    /// Consensus as the nodes of this house run it: openraft's own terms, votes and entries over the seam's runtime.
    pub Consensus:
        D = Proposal,
        R = Answer,
        NodeId = u64,
        Node = openraft::BasicNode,
        AsyncRuntime = SeamRuntime,
);

/// What a client wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal(pub Vec<u8>);

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What the state machine answers to a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer(pub Vec<u8>);
