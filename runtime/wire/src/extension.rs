//! The extension area of a full frame: elements of `type u16 | length u16 | value`, each padded with zeros to 8 bytes.
//!
//! A reader skips elements that it does not know, unless their type has the critical bit. The subject is an element, always the first.
//! There is one encoding of a given list of elements, so decoding and encoding again gives the same bytes.

use crate::{Error, SUBJECT_MAX};

/// Every element, and so the area, is a multiple of this many bytes.
pub const UNIT: usize = 8;
/// The longest area in bytes.
pub const AREA_MAX: usize = 65_528;
/// Bit 15 of a type: a reader that does not know it must refuse the frame.
pub const CRITICAL: u16 = 0x8000;
/// The subject, UTF-8.
pub const SUBJECT: u16 = CRITICAL | 0x0001;
/// The trace this message belongs to: see [`Trace`].
pub const TRACE: u16 = 0x0002;
/// The name of the sending agent, UTF-8 by the rules of a subject.
pub const SOURCE: u16 = 0x0003;
/// Of an Interest: one byte, bit 0 for what is published, bit 1 for requests. Missing means both.
pub const INTEREST: u16 = 0x0004;

const PREFIX: usize = 4;

/// The elements after the subject, checked when they were read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Elements<'a> {
    area: &'a [u8],
}

/// One element: its type and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    /// The type, with its critical bit.
    pub kind: u16,
    /// The value, without padding.
    pub value: &'a [u8],
}

impl<'a> Elements<'a> {
    /// No elements.
    pub const EMPTY: Elements<'static> = Elements { area: &[] };

    /// The elements that a [`Builder`] wrote, or others wrote by the same rules; a subject does not belong here.
    pub fn new(area: &'a [u8]) -> Result<Elements<'a>, Error> {
        match parse(area)? {
            (None, elements) => Ok(elements),
            (Some(_), _) => Err(Error::Duplicate(SUBJECT)),
        }
    }

    /// The elements in their order.
    pub fn iter(&self) -> impl Iterator<Item = Element<'a>> + use<'a> {
        let mut rest = self.area;
        std::iter::from_fn(move || {
            let (element, after) = split(rest, 0).ok()??;
            rest = after;
            Some(element)
        })
    }

    /// The value of the first element of that type.
    pub fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.iter().find(|element| element.kind == kind).map(|element| element.value)
    }

    /// The trace context, if there is one.
    pub fn trace(&self) -> Option<Trace> {
        self.get(TRACE).and_then(|value| Trace::decode(value).ok())
    }

    /// As they stand in the frame.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.area
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.area.is_empty()
    }
}

impl std::fmt::Debug for Elements<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Writes elements in their one encoding.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    area: Vec<u8>,
}

impl Builder {
    /// Nothing yet.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Adds a trace context.
    pub fn trace(self, trace: Trace) -> Result<Builder, Error> {
        self.element(TRACE, &trace.encode())
    }

    /// Adds an element; refuses a value or an area that is too long, a subject, and what a reader would refuse.
    pub fn element(mut self, kind: u16, value: &[u8]) -> Result<Builder, Error> {
        if value.len() > usize::from(u16::MAX) || self.area.len() + encoded_len(value.len()) > AREA_MAX {
            return Err(Error::ExtensionLength(self.area.len() + encoded_len(value.len())));
        }
        push(&mut self.area, kind, value);
        Elements::new(&self.area)?;
        Ok(self)
    }

    /// What was added.
    pub fn elements(&self) -> Elements<'_> {
        Elements { area: &self.area }
    }
}

/// A W3C trace context: where this message stands in a distributed trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The trace, 16 bytes as the W3C header has them.
    pub trace: [u8; 16],
    /// The span that sent the message.
    pub span: [u8; 8],
    /// W3C trace flags; bit 0 means sampled.
    pub flags: u8,
}

impl Trace {
    /// Bytes of the value.
    pub const LEN: usize = 25;

    /// As it stands in the element.
    pub fn encode(&self) -> [u8; Trace::LEN] {
        let mut bytes = [0; Trace::LEN];
        bytes[..16].copy_from_slice(&self.trace);
        bytes[16..24].copy_from_slice(&self.span);
        bytes[24] = self.flags;
        bytes
    }

    /// Reads the value of a [`TRACE`] element.
    pub fn decode(value: &[u8]) -> Result<Trace, Error> {
        let Ok(bytes) = <&[u8; Trace::LEN]>::try_from(value) else {
            return Err(Error::ElementLength { kind: TRACE, len: value.len() });
        };
        let mut trace = Trace { flags: bytes[24], ..Trace::default() };
        trace.trace.copy_from_slice(&bytes[..16]);
        trace.span.copy_from_slice(&bytes[16..24]);
        Ok(trace)
    }
}

/// Checks a whole area and takes the subject off its front.
pub fn parse(area: &[u8]) -> Result<(Option<&str>, Elements<'_>), Error> {
    if area.len() > AREA_MAX || !area.len().is_multiple_of(UNIT) {
        return Err(Error::ExtensionLength(area.len()));
    }
    let (mut subject, mut elements, mut rest) = (None, area, area);
    let mut seen = 0u8;
    while let Some((element, after)) = split(rest, area.len() - rest.len())? {
        let Element { kind, value } = element;
        match kind {
            SUBJECT if rest.len() == area.len() => {
                let text = std::str::from_utf8(value).map_err(|_| Error::BadSubject)?;
                check_subject(text)?;
                subject = Some(text);
                elements = after;
            }
            SUBJECT if subject.is_some() => return Err(Error::Duplicate(SUBJECT)),
            SUBJECT => return Err(Error::SubjectNotFirst),
            TRACE | SOURCE | INTEREST if seen & 1 << kind != 0 => return Err(Error::Duplicate(kind)),
            TRACE | SOURCE | INTEREST => {
                seen |= 1 << kind;
                check_known(kind, value)?;
            }
            critical if critical & CRITICAL != 0 => return Err(Error::UnknownCritical(critical)),
            _ => {}
        }
        rest = after;
    }
    Ok((subject, Elements { area: elements }))
}

/// Whether an element that is known here, and is not the subject, holds what it must.
fn check_known(kind: u16, value: &[u8]) -> Result<(), Error> {
    match (kind, value) {
        (TRACE, _) => Trace::decode(value).map(|_| ()),
        (SOURCE, _) => match std::str::from_utf8(value).map(check_subject) {
            Ok(Ok(())) => Ok(()),
            _ => Err(Error::BadSource),
        },
        (_, [0..=3]) => Ok(()),
        (_, &[bits]) => Err(Error::BadField { field: "an interest", value: u64::from(bits) }),
        (_, _) => Err(Error::ElementLength { kind, len: value.len() }),
    }
}

/// Whether `subject` can stand in a frame: what it means is the fabric's to judge.
pub(crate) fn check_subject(subject: &str) -> Result<(), Error> {
    if subject.is_empty() || subject.len() > SUBJECT_MAX || subject.chars().any(char::is_control) {
        return Err(Error::BadSubject);
    }
    Ok(())
}

/// Bytes that an element with a value of `len` bytes takes.
pub(crate) const fn encoded_len(len: usize) -> usize {
    (PREFIX + len).next_multiple_of(UNIT)
}

/// Appends one element; the caller has checked the length.
pub(crate) fn push(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    out.extend_from_slice(value);
    out.resize(out.len() + encoded_len(value.len()) - PREFIX - value.len(), 0);
}

/// The first element of `rest`, which begins `offset` bytes into its area, and what follows it.
fn split(rest: &[u8], offset: usize) -> Result<Option<(Element<'_>, &[u8])>, Error> {
    let Some((prefix, _)) = rest.split_first_chunk::<PREFIX>() else {
        return if rest.is_empty() { Ok(None) } else { Err(Error::ExtensionOverrun(offset)) };
    };
    let kind = u16::from_le_bytes([prefix[0], prefix[1]]);
    let len = usize::from(u16::from_le_bytes([prefix[2], prefix[3]]));
    let Some((whole, after)) = rest.split_at_checked(encoded_len(len)) else {
        return Err(Error::ExtensionOverrun(offset));
    };
    let (value, padding) = whole[PREFIX..].split_at(len);
    if padding.iter().any(|&byte| byte != 0) {
        return Err(Error::ReservedBits(offset + PREFIX + len));
    }
    Ok(Some((Element { kind, value }, after)))
}
