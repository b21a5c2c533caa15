//! What can go wrong, said with what and what to do about it.

use std::time::Duration;

use synod_platform::memory::MemoryError;
use synod_ring::RegionError;

use crate::message::Receipt;
use crate::subject::SubjectError;

/// Why a name or a subscription was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// Another living agent or context of this fabric has that name.
    #[error("`{0}` is taken: names are unique in a node, choose another or stop the holder first")]
    NameTaken(String),
    /// The name, subject or pattern is malformed.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// A queue of no places, or of more than the fabric allows.
    #[error("a queue of {asked} places for each priority is impossible: 1 to {max} are")]
    Capacity {
        /// Places asked for.
        asked: usize,
        /// The most.
        max: usize,
    },
    /// As many contexts as there can be have entered.
    #[error("the fabric has {max} contexts, and takes no more: let one end first")]
    Contexts {
        /// The most.
        max: usize,
    },
    /// Rings of a size that cannot be.
    #[error("lanes with rings of {bytes} bytes are impossible: a power of two from 1 KiB to 64 MiB is")]
    Lane {
        /// The size asked for, bytes.
        bytes: usize,
    },
    /// There is no memory for the context's mailbox.
    #[error(transparent)]
    Memory(#[from] RegionError),
    /// There is memory, but it cannot be shared.
    #[error(transparent)]
    Shared(#[from] MemoryError),
    /// The node said no, or is lost.
    #[error("the node did not agree: {0}")]
    Refused(String),
}

/// Why a message was not taken, not even by one of its receivers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Every receiver refused, each as the receipt tells: at least one for want of room. Try again later, or wait with `publish_wait`.
    #[error("no receiver has room: {} refused", .0.refused().len())]
    WouldBlock(Receipt),
    /// Every receiver refused, and waiting would not help: they are gone, or cannot be reached.
    #[error("no receiver can be reached: {} refused", .0.refused().len())]
    Unreachable(Receipt),
    /// Above the limit of one message.
    #[error("a payload of {len} bytes is above the limit of {max}: send it in parts")]
    TooLarge {
        /// Its length, bytes.
        len: usize,
        /// The limit, bytes.
        max: usize,
    },
    /// Not everybody had room before the time was over; the receipt tells who took it.
    #[error("not every receiver had room in time: {} accepted, {} refused", .0.accepted().count(), .0.refused().len())]
    DeadlinePassed(Receipt),
    /// The subject is malformed.
    #[error(transparent)]
    Subject(#[from] SubjectError),
}

/// Why a request has no answer. Each request ends exactly once, with an answer or with one of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No living agent serves the subject. Said at once.
    #[error("nobody listens on `{0}`")]
    NobodyListens(String),
    /// Those who serve the subject are on nodes that cannot be reached now, or were lost with the request on its way.
    #[error("whoever serves `{0}` cannot be reached: the link is down")]
    Unreachable(String),
    /// Every instance failed too often lately and is given a rest.
    #[error("every instance of `{subject}` failed too often lately: ask again in {retry_in:?}")]
    Resting {
        /// The subject.
        subject: String,
        /// When the first may be asked again.
        retry_in: Duration,
    },
    /// No instance has room for it.
    #[error("every instance of `{0}` is full: wait, or serve it with more")]
    WouldBlock(String),
    /// No answer in time. Whether it was worked on is not known.
    #[error("no answer from `{0}` before the deadline")]
    DeadlinePassed(String),
    /// The instance took the request and dropped it without an answer: it panicked, ended, or forgot it.
    #[error(
        "an instance of `{0}` took the request and ended without an answer: it may have been done, ask again only if that is harmless"
    )]
    Abandoned(String),
    /// The instance answered that it will not do it, and has done nothing; so did all others that were asked.
    #[error("`{subject}` was refused: {reason}")]
    Refused {
        /// The subject.
        subject: String,
        /// The instance's reason.
        reason: String,
    },
    /// The instance answered that it tried and failed.
    #[error("`{subject}` failed: {reason}")]
    Failed {
        /// The subject.
        subject: String,
        /// The instance's reason.
        reason: String,
    },
    /// Above the limit of one message.
    #[error("a payload of {len} bytes is above the limit of {max}: send it in parts")]
    TooLarge {
        /// Its length, bytes.
        len: usize,
        /// The limit, bytes.
        max: usize,
    },
    /// The subject is malformed.
    #[error(transparent)]
    Subject(#[from] SubjectError),
}

/// Why an answer went nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The message was published, not requested: nobody waits for an answer.
    #[error("the message was published: nobody waits for an answer")]
    NotARequest,
    /// The requester gave up, or is gone.
    #[error("the requester no longer waits")]
    Cancelled,
    /// Its deadline has passed.
    #[error("the request's deadline has passed")]
    DeadlinePassed,
    /// Above the limit of one message.
    #[error("an answer of {len} bytes is above the limit of {max}: send it in parts")]
    TooLarge {
        /// Its length, bytes.
        len: usize,
        /// The limit, bytes.
        max: usize,
    },
}
