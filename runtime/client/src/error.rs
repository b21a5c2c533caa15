//! What can go wrong, said with what and what to do about it.

use std::path::PathBuf;

use synod_fabric::attach::{DetachReason, NoSlot};
use synod_fabric::{AttachError, PublishError, RequestError};
use synod_platform::local::LocalError;
use synod_platform::task::StartError;

/// Why a client could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no socket where nodes have theirs.
    #[error(
        "no node named `{0}` is running here: start one with `synod up`, or name its socket by SYNOD_ATTACH"
    )]
    NoNode(String),
    /// There is a socket's file at most: its node has ended.
    #[error("no node listens at {}: start one with `synod up`, or name its socket by SYNOD_ATTACH", .0.display())]
    NobodyListens(PathBuf),
    /// The node did not let the process in.
    #[error("cannot attach: {0}")]
    NotAdmitted(DetachReason),
    /// The node is lost at the moment; the process goes on attaching again.
    #[error(
        "the node is lost ({0}): wait until the client is attached again, and start the node if it is not running"
    )]
    Lost(DetachReason),
    /// A name or a subscription was refused.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A message was not taken by anybody.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A request has no answer.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// There is no memory for a long payload.
    #[error(transparent)]
    Loan(#[from] NoSlot),
    /// Answers wait for their lanes still, and are lost if the process ends now.
    #[error("answers still wait for room at those who asked: they are lost")]
    Unsent,
    /// The client's thread did not start.
    #[error(transparent)]
    Thread(#[from] StartError),
    /// The client has detached, or its thread has ended.
    #[error("the client has ended: attach again")]
    Ended,
}

impl From<DetachReason> for ClientError {
    fn from(reason: DetachReason) -> Self {
        match reason {
            DetachReason::Socket(LocalError::NobodyListens { path }) => Self::NobodyListens(path),
            other => Self::NotAdmitted(other),
        }
    }
}
