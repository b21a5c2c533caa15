//! The compact form: one record of a lane, 16 bytes of header and what follows.
//!
//! `len u32 | kind u8 | flags u8 | grant u16 | seq u64`, all little-endian. A ring owns `len` and `seq` and carries the four bytes
//! between them as a [`Tag`]; `len` counts everything after the header: the optional [`Extension`], then the payload (or a [`Descriptor`]).
//! There is no checksum: both ends share the memory. Who sent it and to what subject is resolved by `grant`, never taken from the record.

use crate::{Error, Kind, PAYLOAD_MAX, Priority};

/// Bytes of the header.
pub const HEADER_LEN: usize = 16;

const EXTENDED: u8 = 0b0000_0001;
const DESCRIPTOR: u8 = 0b0000_0010;
const PRIORITY_SHIFT: u32 = 2;
const PRIORITY_MASK: u8 = 0b111;
const UNKNOWN: u8 = 0b1110_0000;

/// The four bytes of meaning in a record's header: kind, flags and grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// What the record is for.
    pub kind: Kind,
    /// How urgent it is.
    pub priority: Priority,
    /// Whether an [`Extension`] stands before the payload.
    pub extended: bool,
    /// Whether the payload is a [`Descriptor`] of bytes that lie elsewhere.
    pub descriptor: bool,
    /// Index into the lane's grant table: source, subject and target as the node granted them.
    pub grant: u16,
}

impl Tag {
    /// A tag without extension or descriptor.
    #[inline]
    pub const fn new(kind: Kind, priority: Priority, grant: u16) -> Tag {
        Tag { kind, priority, extended: false, descriptor: false, grant }
    }

    /// The same, with an extension before the payload.
    #[inline]
    pub const fn extended(self) -> Tag {
        Tag { extended: true, ..self }
    }

    /// The same, with a descriptor for a payload.
    #[inline]
    pub const fn by_descriptor(self) -> Tag {
        Tag { descriptor: true, ..self }
    }

    /// Bytes 4 to 8 of the header.
    #[inline]
    pub const fn encode(self) -> [u8; 4] {
        let mut flags = (self.priority as u8) << PRIORITY_SHIFT;
        if self.extended {
            flags |= EXTENDED;
        }
        if self.descriptor {
            flags |= DESCRIPTOR;
        }
        let [low, high] = self.grant.to_le_bytes();
        [self.kind as u8, flags, low, high]
    }

    /// Reads bytes 4 to 8 of a header, and refuses a combination that no sender makes.
    #[inline]
    pub const fn decode(bytes: [u8; 4]) -> Result<Tag, Error> {
        let [kind, flags, low, high] = bytes;
        let kind = match Kind::from_byte(kind) {
            Ok(kind) if kind.in_compact() => kind,
            Ok(kind) => return Err(Error::KindNotHere(kind)),
            Err(error) => return Err(error),
        };
        if flags & UNKNOWN != 0 {
            return Err(Error::UnknownFlag(flags & UNKNOWN));
        }
        let priority = match Priority::from_byte(flags >> PRIORITY_SHIFT & PRIORITY_MASK) {
            Ok(priority) => priority,
            Err(error) => return Err(error),
        };
        let extended = flags & EXTENDED != 0;
        let descriptor = flags & DESCRIPTOR != 0;
        if kind.needs_correlation() && !extended {
            return Err(Error::MissingExtension(kind));
        }
        if descriptor && !kind.may_have_descriptor() || !descriptor && matches!(kind, Kind::Release) {
            return Err(Error::DescriptorMismatch(kind));
        }
        Ok(Tag { kind, priority, extended, descriptor, grant: u16::from_le_bytes([low, high]) })
    }

    /// Bytes that stand before the payload in the record's body: 0 or 16.
    #[inline]
    pub const fn extension_len(self) -> usize {
        if self.extended { Extension::LEN } else { 0 }
    }
}

/// What a request, a reply or a message with a deadline carries before its payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extension {
    /// Matches an answer with its request; chosen by the requester. Zero means none.
    pub correlation: u64,
    /// The host's monotonic clock in nanoseconds after which nobody wants it. Zero means none.
    pub deadline: u64,
}

impl Extension {
    /// Bytes on the lane.
    pub const LEN: usize = 16;

    /// As it stands on the lane.
    #[inline]
    pub fn encode(self) -> [u8; Extension::LEN] {
        let mut bytes = [0; Extension::LEN];
        bytes[..8].copy_from_slice(&self.correlation.to_le_bytes());
        bytes[8..].copy_from_slice(&self.deadline.to_le_bytes());
        bytes
    }

    /// Reads an extension and returns it with what follows it.
    #[inline]
    pub fn decode(body: &[u8]) -> Result<(Extension, &[u8]), Error> {
        let Some((bytes, rest)) = body.split_first_chunk::<{ Extension::LEN }>() else {
            return Err(Error::Truncated { need: Extension::LEN, have: body.len() });
        };
        Ok((Extension { correlation: u64_at(bytes, 0), deadline: u64_at(bytes, 8) }, rest))
    }
}

/// Where a large payload lies: a slot of the sender's region, in one generation of its use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Which of the sender's regions.
    pub region: u32,
    /// Which slot of it.
    pub slot: u32,
    /// Which use of the slot: a stale descriptor has an older one.
    pub generation: u32,
    /// Payload length in bytes.
    pub len: u32,
}

impl Descriptor {
    /// Bytes on the lane.
    pub const LEN: usize = 16;

    /// As it stands on the lane.
    #[inline]
    pub fn encode(self) -> [u8; Descriptor::LEN] {
        let mut bytes = [0; Descriptor::LEN];
        bytes[..4].copy_from_slice(&self.region.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.slot.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.generation.to_le_bytes());
        bytes[12..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    /// Reads a payload that is exactly one descriptor.
    #[inline]
    pub fn decode(payload: &[u8]) -> Result<Descriptor, Error> {
        let Some((bytes, rest)) = payload.split_first_chunk::<{ Descriptor::LEN }>() else {
            return Err(Error::Truncated { need: Descriptor::LEN, have: payload.len() });
        };
        if !rest.is_empty() {
            return Err(Error::Trailing { extra: rest.len() });
        }
        let descriptor = Descriptor {
            region: u32_at(bytes, 0),
            slot: u32_at(bytes, 4),
            generation: u32_at(bytes, 8),
            len: u32_at(bytes, 12),
        };
        match descriptor.len as usize {
            len if len > PAYLOAD_MAX => Err(Error::TooLarge { len, limit: PAYLOAD_MAX }),
            _ => Ok(descriptor),
        }
    }
}

/// One record of a lane, read in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compact<'a> {
    /// Kind, priority, flags and grant.
    pub tag: Tag,
    /// The record's number on its lane, from 0.
    pub sequence: u64,
    /// Correlation and deadline, if the tag says so.
    pub extension: Option<Extension>,
    /// The payload, or the encoded descriptor if the tag says so.
    pub payload: &'a [u8],
}

impl<'a> Compact<'a> {
    /// Reads a record from the parts that a ring hands out: its tag, its sequence and everything after the header.
    #[inline]
    pub fn read(tag: [u8; 4], sequence: u64, body: &'a [u8]) -> Result<Compact<'a>, Error> {
        let tag = Tag::decode(tag)?;
        let (extension, payload) = if tag.extended {
            let (extension, payload) = Extension::decode(body)?;
            (Some(extension), payload)
        } else {
            (None, body)
        };
        if payload.len() > PAYLOAD_MAX {
            return Err(Error::TooLarge { len: payload.len(), limit: PAYLOAD_MAX });
        }
        if tag.descriptor {
            Descriptor::decode(payload)?;
        }
        Ok(Compact { tag, sequence, extension, payload })
    }

    /// Reads a record with its header from the front of `bytes`, and returns it with how many bytes it took.
    pub fn decode(bytes: &'a [u8]) -> Result<(Compact<'a>, usize), Error> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Err(Error::Truncated { need: HEADER_LEN, have: bytes.len() });
        };
        let len = u32_at(header, 0) as usize;
        let tag_bytes = [header[4], header[5], header[6], header[7]];
        let limit = PAYLOAD_MAX + Tag::decode(tag_bytes)?.extension_len();
        if len > limit {
            return Err(Error::TooLarge { len, limit });
        }
        let Some(body) = rest.get(..len) else {
            return Err(Error::Truncated { need: HEADER_LEN + len, have: bytes.len() });
        };
        Ok((Compact::read(tag_bytes, u64_at(header, 8), body)?, HEADER_LEN + len))
    }

    /// Bytes after the header: what a ring is asked to claim.
    #[inline]
    pub fn body_len(&self) -> usize {
        self.tag.extension_len() + self.payload.len()
    }

    /// Appends header and body. The tag's `extended` is taken from whether there is an extension.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let tag = Tag { extended: self.extension.is_some(), ..self.tag };
        let len = tag.extension_len() + self.payload.len();
        assert!(
            self.payload.len() <= PAYLOAD_MAX,
            "a payload of {} bytes is above the format's limit",
            self.payload.len()
        );
        out.reserve(HEADER_LEN + len);
        out.extend_from_slice(&(len as u32).to_le_bytes());
        out.extend_from_slice(&tag.encode());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        if let Some(extension) = self.extension {
            out.extend_from_slice(&extension.encode());
        }
        out.extend_from_slice(self.payload);
    }
}

#[inline]
fn u32_at(bytes: &[u8; 16], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline]
fn u64_at(bytes: &[u8; 16], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
