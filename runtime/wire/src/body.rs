//! The payloads of the frames that nodes send each other: a greeting, and a refusal.
//!
//! Fixed fields first, text last. A longer body than this version knows is refused, not guessed at.

use crate::Error;

/// The payload of a [`crate::Kind::Hello`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The oldest frame version that the sender reads.
    pub oldest: u8,
    /// The newest frame version that the sender reads; it writes the newest that both know.
    pub newest: u8,
    /// The sender's node.
    pub node: u64,
    /// Which life of that node: larger after each restart.
    pub incarnation: u64,
    /// The largest payload that the sender takes, in bytes.
    pub payload_max: u32,
    /// The node's name.
    pub name: &'a str,
}

impl<'a> Hello<'a> {
    const FIXED: usize = 24;

    /// As it stands in the payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Hello::FIXED + self.name.len());
        out.extend_from_slice(&[self.oldest, self.newest, 0, 0]);
        out.extend_from_slice(&self.payload_max.to_le_bytes());
        out.extend_from_slice(&self.node.to_le_bytes());
        out.extend_from_slice(&self.incarnation.to_le_bytes());
        out.extend_from_slice(self.name.as_bytes());
        out
    }

    /// Reads a payload.
    pub fn decode(payload: &'a [u8]) -> Result<Hello<'a>, Error> {
        let Some((fixed, name)) = payload.split_first_chunk::<{ Hello::FIXED }>() else {
            return Err(Error::Truncated { need: Hello::FIXED, have: payload.len() });
        };
        if fixed[2] != 0 || fixed[3] != 0 {
            return Err(Error::ReservedBits(2));
        }
        let (oldest, newest) = (fixed[0], fixed[1]);
        if oldest == 0 || oldest > newest {
            return Err(Error::BadField { field: "the oldest version", value: u64::from(oldest) });
        }
        let mut words = [0u64; 2];
        for (word, bytes) in words.iter_mut().zip(fixed[8..].chunks_exact(8)) {
            *word = bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        }
        Ok(Hello {
            oldest,
            newest,
            node: words[0],
            incarnation: words[1],
            payload_max: u32::from_le_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            name: text(name, "the node's name")?,
        })
    }

    /// The newest version that both sides read, if there is one.
    pub fn common_version(&self, other: &Hello<'_>) -> Option<u8> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Reason {
    /// The receiver's queue is full: trying again later may work.
    WouldBlock = 1,
    /// The sender may not do that.
    NotAllowed = 2,
    /// The deadline passed before anybody took it.
    DeadlinePassed = 3,
    /// The receiver is shutting down.
    Draining = 4,
    /// The payload is above the receiver's limit.
    TooLarge = 5,
    /// The responder took it and failed, or is gone.
    Failed = 6,
    /// What the sender said breaks the protocol.
    Protocol = 7,
    /// The versions have nothing in common.
    Version = 8,
    /// The way to whoever had it was lost: what became of it is not known.
    Unreachable = 9,
}

impl Reason {
    /// Every reason, in the order of its number.
    pub const ALL: [Reason; 9] = [
        Reason::WouldBlock,
        Reason::NotAllowed,
        Reason::DeadlinePassed,
        Reason::Draining,
        Reason::TooLarge,
        Reason::Failed,
        Reason::Protocol,
        Reason::Version,
        Reason::Unreachable,
    ];
}

/// The payload of a [`crate::Kind::Refused`] or a [`crate::Kind::Goodbye`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// The reason, for programs.
    pub reason: Reason,
    /// The reason, for people; may be empty.
    pub text: &'a str,
}

impl<'a> Refusal<'a> {
    /// As it stands in the payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = (self.reason as u16).to_le_bytes().to_vec();
        out.extend_from_slice(self.text.as_bytes());
        out
    }

    /// Reads a payload.
    pub fn decode(payload: &'a [u8]) -> Result<Refusal<'a>, Error> {
        let Some((number, rest)) = payload.split_first_chunk::<2>() else {
            return Err(Error::Truncated { need: 2, have: payload.len() });
        };
        let number = u16::from_le_bytes(*number);
        let Some(reason) = Reason::ALL.into_iter().find(|&reason| reason as u16 == number) else {
            return Err(Error::BadField { field: "the reason", value: u64::from(number) });
        };
        Ok(Refusal { reason, text: text(rest, "the refusal's text")? })
    }
}

/// UTF-8, or the place where it stops being that.
fn text<'a>(bytes: &'a [u8], field: &'static str) -> Result<&'a str, Error> {
    std::str::from_utf8(bytes).map_err(|error| Error::BadField {
        field,
        value: u64::from(bytes.get(error.valid_up_to()).copied().unwrap_or_default()),
    })
}
