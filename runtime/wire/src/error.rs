//! What can be wrong with bytes that claim to be a frame. Each variant says what was found; the text says what to make of it.

use crate::Kind;

/// Why bytes are not a frame. Everything but [`Error::Truncated`] is final: more bytes will not mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The input ends inside a frame or inside a fixed-size body.
    #[error("{have} bytes are there where {need} are needed: the input ends too early")]
    Truncated {
        /// Bytes that are needed, as far as is known so far.
        need: usize,
        /// Bytes that are there.
        have: usize,
    },
    /// More bytes than the frame or body declares, where exactly one was expected.
    #[error("{extra} bytes follow the end of what was declared")]
    Trailing {
        /// Bytes too many.
        extra: usize,
    },
    /// The first four bytes are not those of a full frame.
    #[error("this is not a Synod frame: it begins with {0:02x?}")]
    BadMagic([u8; 4]),
    /// A version of the format that this reader does not know.
    #[error("frame version {0} is not known here: upgrade this side, or let the peers agree on an older one")]
    UnknownVersion(u8),
    /// A kind that this reader does not know.
    #[error("frame kind {0:#04x} is not known in this version")]
    UnknownKind(u8),
    /// A known kind in a form that never carries it.
    #[error("a {0:?} never travels in this form")]
    KindNotHere(Kind),
    /// A flag bit that this reader does not know.
    #[error("flag bits {0:#04x} are not known in this version")]
    UnknownFlag(u8),
    /// A priority outside of the six.
    #[error("priority {0} is none of the six (0 to 5)")]
    UnknownPriority(u8),
    /// A codec that this reader does not have.
    #[error("codec {0} is not known here: the payload cannot be unpacked")]
    UnknownCodec(u8),
    /// A key slot, where encryption is not yet specified.
    #[error("key slot {0} is not known here: the payload cannot be opened")]
    UnknownKey(u8),
    /// The header's checksum does not match the header.
    #[error("the header is damaged: its checksum says {declared:#010x}, its bytes give {computed:#010x}")]
    HeaderCrc {
        /// The checksum in the frame.
        declared: u32,
        /// The checksum of the bytes that came.
        computed: u32,
    },
    /// The body's checksum (extension area and payload) does not match the body.
    #[error("the body is damaged: its checksum says {declared:#010x}, its bytes give {computed:#010x}")]
    PayloadCrc {
        /// The checksum in the frame.
        declared: u32,
        /// The checksum of the bytes that came.
        computed: u32,
    },
    /// A payload above the limit of the format, or of this reader.
    #[error("a payload of {len} bytes is above the limit of {limit}")]
    TooLarge {
        /// Declared length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Bits or bytes that must be zero are not.
    #[error("reserved bytes at offset {0} are not zero")]
    ReservedBits(usize),
    /// A kind that answers or asks to be answered, without the extension that holds its correlation.
    #[error("a {0:?} needs the extension that holds its correlation")]
    MissingExtension(Kind),
    /// The descriptor flag on a kind that cannot have one, or a kind that needs it without it.
    #[error("a {0:?} and its descriptor flag do not go together")]
    DescriptorMismatch(Kind),
    /// A subject that is empty, too long, not UTF-8, or holds a control character.
    #[error("the subject is empty, longer than {max} bytes, not UTF-8, or holds a control character", max = crate::SUBJECT_MAX)]
    BadSubject,
    /// A source's name that is empty, too long, not UTF-8, or holds a control character.
    #[error("the source's name is empty, longer than {max} bytes, not UTF-8, or holds a control character", max = crate::SUBJECT_MAX)]
    BadSource,
    /// The subject is there, but not as the first element of the extension area.
    #[error("the subject must be the first element of the extension area")]
    SubjectNotFirst,
    /// The extension area is not a whole number of 8-byte units, or too long.
    #[error("an extension area of {0} bytes is impossible: it must be a multiple of 8, at most 65,528")]
    ExtensionLength(usize),
    /// An element runs over the end of the extension area.
    #[error("the extension element at offset {0} runs over the end of its area")]
    ExtensionOverrun(usize),
    /// An element that must be understood and is not.
    #[error("extension element {0:#06x} must be understood and is not known here")]
    UnknownCritical(u16),
    /// An element that may occur once and occurs again.
    #[error("extension element {0:#06x} occurs twice")]
    Duplicate(u16),
    /// A known element whose value has the wrong length.
    #[error("extension element {kind:#06x} cannot be {len} bytes long")]
    ElementLength {
        /// The element's type.
        kind: u16,
        /// Its length in bytes.
        len: usize,
    },
    /// A field of a node's frame holds a value that is not defined.
    #[error("{field} cannot be {value}")]
    BadField {
        /// The field, as the specification calls it.
        field: &'static str,
        /// What it held.
        value: u64,
    },
}
