//! What a frame is for. The numbers are the format's and never change meaning; zero is nothing, so zeroed memory is no message.

use crate::Error;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A message to whoever subscribes to its subject.
    Publish = 0x01,
    /// A message to one responder, which owes an answer with the same correlation.
    Request = 0x02,
    /// A responder's answer.
    Reply = 0x03,
    /// Nobody serves the request's subject: said at once.
    NoListener = 0x04,
    /// The request, or the publish, was not taken; the payload is a [`crate::body::Refusal`].
    Refused = 0x05,
    /// A receiver gives a slot of the sender's region back; lanes only, always with a [`crate::Descriptor`].
    Release = 0x06,
    /// The first frame of a link, both ways; the payload is a [`crate::body::Hello`]. Links only.
    Hello = 0x10,
    /// The sender's node has subscribers for this subject pattern. Links only.
    Interest = 0x11,
    /// The sender's node has none for it any more. Links only.
    Uninterest = 0x12,
    /// Are you there? The payload comes back as it is.
    Ping = 0x13,
    /// The answer to a ping, with the ping's payload and correlation.
    Pong = 0x14,
    /// No further frame follows; the payload is a [`crate::body::Refusal`] that says why, or empty.
    Goodbye = 0x15,
}

impl Kind {
    /// Every kind, in the order of its number.
    pub const ALL: [Kind; 12] = [
        Kind::Publish,
        Kind::Request,
        Kind::Reply,
        Kind::NoListener,
        Kind::Refused,
        Kind::Release,
        Kind::Hello,
        Kind::Interest,
        Kind::Uninterest,
        Kind::Ping,
        Kind::Pong,
        Kind::Goodbye,
    ];

    /// The kind with that number, or [`Error::UnknownKind`].
    #[inline]
    pub const fn from_byte(byte: u8) -> Result<Kind, Error> {
        Ok(match byte {
            0x01 => Kind::Publish,
            0x02 => Kind::Request,
            0x03 => Kind::Reply,
            0x04 => Kind::NoListener,
            0x05 => Kind::Refused,
            0x06 => Kind::Release,
            0x10 => Kind::Hello,
            0x11 => Kind::Interest,
            0x12 => Kind::Uninterest,
            0x13 => Kind::Ping,
            0x14 => Kind::Pong,
            0x15 => Kind::Goodbye,
            other => return Err(Error::UnknownKind(other)),
        })
    }

    /// Whether lanes carry this kind.
    #[inline]
    pub const fn in_compact(self) -> bool {
        !matches!(self, Kind::Hello | Kind::Interest | Kind::Uninterest)
    }

    /// Whether links and logs carry this kind.
    #[inline]
    pub const fn in_full(self) -> bool {
        !matches!(self, Kind::Release)
    }

    /// Whether a lane's record of this kind must carry a correlation.
    #[inline]
    pub const fn needs_correlation(self) -> bool {
        matches!(self, Kind::Request | Kind::Reply | Kind::NoListener)
    }

    /// Whether the payload of a lane's record of this kind may be a descriptor.
    #[inline]
    pub const fn may_have_descriptor(self) -> bool {
        matches!(self, Kind::Publish | Kind::Request | Kind::Reply | Kind::Release)
    }
}
