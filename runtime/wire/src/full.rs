//! The full form: one frame of a link or a log, 64 bytes of header, an extension area, a payload, and a checksum over each part.
//!
//! A frame stands for itself: who, what, to whom, and whether it is whole. Every single flipped bit is noticed. The body's checksum
//! covers what is sent, after compression and encryption, so that a relay can check a frame that it cannot read.

use crate::extension::{self, Elements};
use crate::{AgentId, Error, Kind, MessageId, PAYLOAD_MAX, Priority, crc};

/// Bytes of the header.
pub const HEADER_LEN: usize = 64;
/// The first four bytes of every full frame.
pub const MAGIC: [u8; 4] = *b"SYN\xD1";
/// The version that this crate writes, and the only one that it reads.
pub const VERSION: u8 = 1;

/// The fields of the header that a sender chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What the frame is for.
    pub kind: Kind,
    /// How urgent it is.
    pub priority: Priority,
    /// Who sends it.
    pub source: AgentId,
    /// Whom it is for, or [`AgentId::NOBODY`] when the subject decides.
    pub target: AgentId,
    /// Its number among the source's messages.
    pub message: MessageId,
    /// Matches an answer with its request. Zero means none.
    pub correlation: u64,
    /// Nanoseconds: on a link, how much time is left as it is sent; in a log, wall time since the epoch. Zero means no deadline.
    pub deadline: u64,
}

impl Head {
    /// A header of that kind, NORMAL, with everything else zero.
    pub const fn new(kind: Kind) -> Head {
        Head {
            kind,
            priority: Priority::Normal,
            source: AgentId::NOBODY,
            target: AgentId::NOBODY,
            message: MessageId(0),
            correlation: 0,
            deadline: 0,
        }
    }
}

/// One full frame, read in place. The parts borrow from the input, so a shared buffer can hand the payload on without a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full<'a> {
    /// Kind, priority, ids, correlation and deadline.
    pub head: Head,
    /// The subject, when the frame has one.
    pub subject: Option<&'a str>,
    /// The other elements of the extension area.
    pub elements: Elements<'a>,
    /// The payload.
    pub payload: &'a [u8],
}

/// What the first bytes of a stream say about the frame that begins there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Not known yet: at least so many bytes, counted from the frame's first, must be there.
    Needs(usize),
    /// The header is whole.
    Is {
        /// Bytes of the whole frame.
        total: usize,
        /// Bytes of its payload.
        payload: usize,
    },
}

impl<'a> Full<'a> {
    /// A frame without subject or elements.
    pub const fn new(head: Head, payload: &'a [u8]) -> Full<'a> {
        Full { head, subject: None, elements: Elements::EMPTY, payload }
    }

    /// The same with a subject.
    pub const fn on(self, subject: &'a str) -> Full<'a> {
        Full { subject: Some(subject), ..self }
    }

    /// How long the frame at the front of `bytes` is, or that it cannot be one. Refuses as early as the bytes allow, and believes a
    /// length only after the header's checksum.
    pub fn length(bytes: &[u8]) -> Result<Length, Error> {
        let known = bytes.len().min(4);
        if bytes[..known] != MAGIC[..known] {
            let mut found = [0; 4];
            found[..known].copy_from_slice(&bytes[..known]);
            return Err(Error::BadMagic(found));
        }
        if let Some(&version) = bytes.get(4)
            && version != VERSION
        {
            return Err(Error::UnknownVersion(version));
        }
        match bytes.first_chunk::<HEADER_LEN>() {
            None => Ok(Length::Needs(HEADER_LEN)),
            Some(header) => parse_header(header)
                .map(|parsed| Length::Is { total: parsed.total(), payload: parsed.payload_len }),
        }
    }

    /// Reads the frame at the front of `bytes` and returns it with how many bytes it took.
    pub fn decode(bytes: &'a [u8]) -> Result<(Full<'a>, usize), Error> {
        let total = match Full::length(bytes)? {
            Length::Is { total, .. } => total,
            Length::Needs(need) => return Err(Error::Truncated { need, have: bytes.len() }),
        };
        let (Some(header), Some(body)) = (bytes.first_chunk::<HEADER_LEN>(), bytes.get(HEADER_LEN..total))
        else {
            return Err(Error::Truncated { need: total, have: bytes.len() });
        };
        let parsed = parse_header(header)?;
        let computed = crc::checksum(body);
        if computed != parsed.body_crc {
            return Err(Error::PayloadCrc { declared: parsed.body_crc, computed });
        }
        let (area, payload) = body.split_at(parsed.extension_len);
        let (subject, elements) = extension::parse(area)?;
        Ok((Full { head: parsed.head, subject, elements, payload }, total))
    }

    /// Reads `bytes` as exactly one frame.
    pub fn decode_exact(bytes: &'a [u8]) -> Result<Full<'a>, Error> {
        let (frame, used) = Full::decode(bytes)?;
        match bytes.len() - used {
            0 => Ok(frame),
            extra => Err(Error::Trailing { extra }),
        }
    }

    /// How many bytes [`Full::encode`] writes.
    pub fn encoded_len(&self) -> usize {
        HEADER_LEN + self.extension_len() + self.payload.len()
    }

    /// Appends header, extension area and payload; or says which field no frame can carry, and appends nothing.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        if !self.head.kind.in_full() {
            return Err(Error::KindNotHere(self.head.kind));
        }
        if self.payload.len() > PAYLOAD_MAX {
            return Err(Error::TooLarge { len: self.payload.len(), limit: PAYLOAD_MAX });
        }
        if let Some(subject) = self.subject {
            extension::check_subject(subject)?;
        }
        let extension_len = self.extension_len();
        if extension_len > extension::AREA_MAX {
            return Err(Error::ExtensionLength(extension_len));
        }
        out.reserve(self.encoded_len());
        let start = out.len();
        out.resize(start + HEADER_LEN, 0);
        if let Some(subject) = self.subject {
            extension::push(out, extension::SUBJECT, subject.as_bytes());
        }
        out.extend_from_slice(self.elements.as_bytes());
        out.extend_from_slice(self.payload);
        let body_crc = crc::checksum(&out[start + HEADER_LEN..]);

        let head = &self.head;
        let header = &mut out[start..start + HEADER_LEN];
        header[0..4].copy_from_slice(&MAGIC);
        header[4] = VERSION;
        header[5] = head.kind as u8;
        header[7] = head.priority as u8;
        header[8..16].copy_from_slice(&head.source.0.to_le_bytes());
        header[16..24].copy_from_slice(&head.target.0.to_le_bytes());
        header[24..32].copy_from_slice(&head.message.0.to_le_bytes());
        header[32..40].copy_from_slice(&head.correlation.to_le_bytes());
        header[40..48].copy_from_slice(&head.deadline.to_le_bytes());
        header[48..52].copy_from_slice(&(self.payload.len() as u32).to_le_bytes());
        header[52..54].copy_from_slice(&(extension_len as u16).to_le_bytes());
        header[56..60].copy_from_slice(&body_crc.to_le_bytes());
        let header_crc = crc::checksum(&header[..60]);
        header[60..64].copy_from_slice(&header_crc.to_le_bytes());
        Ok(())
    }

    /// The frame as a vector of its own.
    pub fn to_vec(&self) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        self.encode(&mut out)?;
        Ok(out)
    }

    fn extension_len(&self) -> usize {
        self.subject.map_or(0, |subject| extension::encoded_len(subject.len()))
            + self.elements.as_bytes().len()
    }
}

struct Parsed {
    head: Head,
    payload_len: usize,
    extension_len: usize,
    body_crc: u32,
}

impl Parsed {
    fn total(&self) -> usize {
        HEADER_LEN + self.extension_len + self.payload_len
    }
}

/// Magic and version are checked by the caller. The checksum comes next, so that damage is called damage and not a strange kind.
fn parse_header(header: &[u8; HEADER_LEN]) -> Result<Parsed, Error> {
    let u64_at = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&header[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);

    let declared = u32_at(60);
    let computed = crc::checksum(&header[..60]);
    if declared != computed {
        return Err(Error::HeaderCrc { declared, computed });
    }
    let kind = Kind::from_byte(header[5])?;
    if !kind.in_full() {
        return Err(Error::KindNotHere(kind));
    }
    if header[6] != 0 {
        return Err(Error::UnknownFlag(header[6]));
    }
    let priority = Priority::from_byte(header[7])?;
    if header[54] != 0 {
        return Err(Error::UnknownCodec(header[54]));
    }
    if header[55] != 0 {
        return Err(Error::UnknownKey(header[55]));
    }
    let payload_len = u32_at(48) as usize;
    if payload_len > PAYLOAD_MAX {
        return Err(Error::TooLarge { len: payload_len, limit: PAYLOAD_MAX });
    }
    let extension_len = usize::from(u16::from_le_bytes([header[52], header[53]]));
    if !extension_len.is_multiple_of(extension::UNIT) {
        return Err(Error::ExtensionLength(extension_len));
    }
    Ok(Parsed {
        head: Head {
            kind,
            priority,
            source: AgentId(u64_at(8)),
            target: AgentId(u64_at(16)),
            message: MessageId(u64_at(24)),
            correlation: u64_at(32),
            deadline: u64_at(40),
        },
        payload_len,
        extension_len,
        body_crc: u32_at(56),
    })
}
