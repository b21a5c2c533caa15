//! What can go wrong between two peers, by name. Every variant says what to do or whom to ask.

use std::time::Duration;

use super::Address;

/// Why a connection, a frame or a datagram failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// Nobody listens there.
    #[error("nobody listens at {address}: start the peer, or correct the address")]
    Refused {
        /// Where nobody listens.
        address: Address,
    },
    /// No way leads there.
    #[error("{address} cannot be reached: no route leads there")]
    Unreachable {
        /// What cannot be reached.
        address: Address,
    },
    /// The deadline passed before the connection stood.
    #[error("{address} did not answer before the deadline")]
    TimedOut {
        /// Who did not answer.
        address: Address,
    },
    /// Someone else listens there already.
    #[error("{address} is in use: another process listens there")]
    AddressInUse {
        /// What is in use.
        address: Address,
    },
    /// The connection was cut, by the peer or on the way.
    #[error("the connection was reset; frames that were under way may be lost")]
    Reset,
    /// This side closed the connection's sending half before.
    #[error("this side has closed the connection")]
    Closed,
    /// The peer ended the connection in the middle of a frame.
    #[error("the peer closed in the middle of a frame: {missing} bytes are missing")]
    MidFrame {
        /// How many bytes of the frame, or of its length, never came.
        missing: u64,
    },
    /// A frame or datagram is larger than allowed; nothing of it was sent, or the connection it came on is of no more use.
    #[error("a frame of {size} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Its size in bytes, as told or announced.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The other end did not prove who it is.
    #[error("the peer did not prove who it is: {reason}")]
    Untrusted {
        /// What was wrong with its proof.
        reason: String,
    },
    /// The peer took too long to prove who it is.
    #[error("the peer did not prove who it is within {limit:?}")]
    HandshakeTooSlow {
        /// How long it had.
        limit: Duration,
    },
    /// Credentials without keys were used beyond this machine.
    #[error(
        "{address} is not on loopback: plain credentials prove nothing, give certificates to leave this machine"
    )]
    NotLoopback {
        /// Where it should have gone.
        address: Address,
    },
    /// Connections were to go by io_uring alone.
    #[error("connections cannot go by io_uring: {reason}; ask for `auto` or `epoll`")]
    NoIoUring {
        /// Why there is none.
        reason: String,
    },
    /// The operating system failed in a way that has no name here.
    #[error("{doing} failed: {reason}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        reason: String,
    },
}
