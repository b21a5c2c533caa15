//! What streams write into their log: facts, each a decision already taken, so that reading them again decides nothing.
//!
//! An entry is `version and kind u8 | fields`, little-endian, with nothing behind the last field; names and ids have a length in front, the
//! payload is the rest. [`Fact::decode`] accepts exactly what [`Fact::encode`] writes. The log below has the checksums.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use synod_platform::time::Wall;

use super::limits::Limits;

/// The version of the entries' layout, the upper half of their first byte.
pub const VERSION: u8 = 1;

/// The longest name of a stream or consumer, and the longest id, bytes.
pub const NAME_MAX: usize = u8::MAX as usize;

/// The longest subject, bytes.
pub const SUBJECT_MAX: usize = u16::MAX as usize;

/// A stream's number: given at its making, never given again.
pub type StreamId = u32;

/// Something that became true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// No message is older than this moment's predecessors, and no stream has this number or one above it.
    Base {
        /// The streams' own time: the latest that any message has.
        clock: Wall,
        /// The number that the next stream gets.
        next_stream: StreamId,
    },
    /// A stream has this name and these limits.
    Define {
        /// Which.
        stream: StreamId,
        /// Its next message has at least this sequence.
        next: u64,
        /// What it keeps.
        limits: Limits,
        /// Its name.
        name: Arc<str>,
    },
    /// A stream holds a message: a new one, or one carried forward from where the log is about to end.
    Message(Message),
    /// A message that is gone had this id, which is still remembered.
    Seen {
        /// In which stream.
        stream: StreamId,
        /// The message's sequence.
        sequence: u64,
        /// When it was appended.
        at: Wall,
        /// Its id.
        id: Arc<[u8]>,
    },
    /// A consumer has done everything up to a sequence.
    Cursor {
        /// Of which stream.
        stream: StreamId,
        /// The last that it has done; 0 for none.
        sequence: u64,
        /// Its name.
        consumer: Arc<str>,
    },
    /// A consumer's cursor is gone.
    CursorRemoved {
        /// Of which stream.
        stream: StreamId,
        /// The consumer's name.
        consumer: Arc<str>,
    },
    /// One message is gone.
    Deleted {
        /// Of which stream.
        stream: StreamId,
        /// Its sequence.
        sequence: u64,
    },
    /// All messages below `messages` are gone, all ids below `ids` forgotten.
    Floor {
        /// Of which stream.
        stream: StreamId,
        /// The lowest sequence that may still have a message.
        messages: u64,
        /// The lowest sequence whose id may still be remembered.
        ids: u64,
    },
    /// A stream is gone with all that it had.
    Dropped {
        /// Which.
        stream: StreamId,
    },
}

/// A message of a stream, and what its coming ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Of which stream.
    pub stream: StreamId,
    /// Its place in the stream, from 1.
    pub sequence: u64,
    /// When it was appended, by the streams' own time, which never runs backwards.
    pub at: Wall,
    /// With it all messages below this sequence are gone.
    pub floor: u64,
    /// With it the message of this sequence is gone; 0 for none.
    pub replaced: u64,
    /// With it the ids below this sequence are forgotten.
    pub ids_floor: u64,
    /// The sender's own id for it, if it gave one.
    pub id: Option<Arc<[u8]>>,
    /// What it is about.
    pub subject: Arc<str>,
    /// What it says.
    pub payload: Vec<u8>,
}

impl Message {
    /// What counts against a stream's limit, bytes: subject and payload.
    pub fn size(&self) -> u64 {
        (self.subject.len() + self.payload.len()) as u64
    }
}

/// Why bytes are no fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It ends too early.
    #[error("the entry ends in the middle of its {field}")]
    Short {
        /// In the middle of what.
        field: &'static str,
    },
    /// Something is behind the last field.
    #[error("{len} bytes follow the entry's last field")]
    Long {
        /// How many bytes.
        len: usize,
    },
    /// A version that this build does not know.
    #[error("the entry has version {found}, this build reads version {VERSION}: use the build that wrote it")]
    Version {
        /// Which.
        found: u8,
    },
    /// A kind that this version does not have.
    #[error("there is no kind {found} of entry")]
    Kind {
        /// Which.
        found: u8,
    },
    /// A name or subject is not UTF-8.
    #[error("the {field} is not UTF-8")]
    Text {
        /// Which.
        field: &'static str,
    },
    /// A field has a value that nothing writes.
    #[error("the {field} has a value that is never written")]
    Value {
        /// Which.
        field: &'static str,
    },
}

const BASE: u8 = 0;
const DEFINE: u8 = 1;
const MESSAGE: u8 = 2;
const SEEN: u8 = 3;
const CURSOR: u8 = 4;
const CURSOR_REMOVED: u8 = 5;
const DELETED: u8 = 6;
const FLOOR: u8 = 7;
const DROPPED: u8 = 8;

/// How [`Limits::age`] is written when there is none.
const FOREVER: u64 = u64::MAX;

impl Fact {
    /// Its bytes. Names, ids and subjects must be as long as they may be at most.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(Vec::new());
        match self {
            Self::Base { clock, next_stream } => {
                out.kind(BASE).u64(clock.as_nanos()).u32(*next_stream);
            }
            Self::Define { stream, next, limits, name } => {
                out.kind(DEFINE).u32(*stream).u64(*next);
                out.u64(limits.age.map_or(FOREVER, |age| nanos(age).min(FOREVER - 1)));
                for limit in [limits.bytes, limits.messages, limits.per_subject] {
                    out.u64(limit.map_or(0, NonZeroU64::get));
                }
                out.u64(nanos(limits.window)).u64(limits.window_ids).short(name.as_bytes());
            }
            Self::Message(message) => {
                out.0.reserve(64 + message.subject.len() + message.payload.len());
                out.kind(MESSAGE).u32(message.stream).u64(message.sequence).u64(message.at.as_nanos());
                out.u64(message.floor).u64(message.replaced).u64(message.ids_floor);
                out.short(message.id.as_deref().unwrap_or_default());
                let subject = u16::try_from(message.subject.len())
                    .expect("subjects are checked before they become facts");
                out.bytes(&subject.to_le_bytes()).bytes(message.subject.as_bytes()).bytes(&message.payload);
            }
            Self::Seen { stream, sequence, at, id } => {
                out.kind(SEEN).u32(*stream).u64(*sequence).u64(at.as_nanos()).short(id);
            }
            Self::Cursor { stream, sequence, consumer } => {
                out.kind(CURSOR).u32(*stream).u64(*sequence).short(consumer.as_bytes());
            }
            Self::CursorRemoved { stream, consumer } => {
                out.kind(CURSOR_REMOVED).u32(*stream).short(consumer.as_bytes());
            }
            Self::Deleted { stream, sequence } => {
                out.kind(DELETED).u32(*stream).u64(*sequence);
            }
            Self::Floor { stream, messages, ids } => {
                out.kind(FLOOR).u32(*stream).u64(*messages).u64(*ids);
            }
            Self::Dropped { stream } => {
                out.kind(DROPPED).u32(*stream);
            }
        }
        out.0
    }

    /// Reads one back.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader(bytes);
        let [first] = input.array("kind")?;
        if first >> 4 != VERSION {
            return Err(DecodeError::Version { found: first >> 4 });
        }
        let fact = match first & 0xf {
            BASE => Self::Base { clock: input.moment("clock")?, next_stream: input.u32("next stream")? },
            DEFINE => {
                let (stream, next) = (input.u32("stream")?, input.sequence("next sequence")?);
                let age = Some(input.u64("age")?).filter(|age| *age != FOREVER).map(Duration::from_nanos);
                let bytes = NonZeroU64::new(input.u64("bytes")?);
                let messages = NonZeroU64::new(input.u64("messages")?);
                let per_subject = NonZeroU64::new(input.u64("messages a subject")?);
                let window = Duration::from_nanos(input.u64("window")?);
                let window_ids = input.u64("ids of the window")?;
                let limits = Limits { age, bytes, messages, per_subject, window, window_ids };
                Self::Define { stream, next, limits, name: input.name("name")? }
            }
            MESSAGE => Self::Message(Message {
                stream: input.u32("stream")?,
                sequence: input.sequence("sequence")?,
                at: input.moment("time")?,
                floor: input.u64("floor")?,
                replaced: input.u64("replaced message")?,
                ids_floor: input.u64("floor of ids")?,
                id: Some(input.short("id")?).filter(|id| !id.is_empty()).map(Arc::from),
                subject: {
                    let len = u16::from_le_bytes(input.array("subject")?);
                    text(input.take(len.into(), "subject")?, "subject")?
                },
                payload: std::mem::take(&mut input.0).to_vec(),
            }),
            SEEN => Self::Seen {
                stream: input.u32("stream")?,
                sequence: input.sequence("sequence")?,
                at: input.moment("time")?,
                id: Some(input.short("id")?)
                    .filter(|id| !id.is_empty())
                    .ok_or(DecodeError::Value { field: "id" })?
                    .into(),
            },
            CURSOR => Self::Cursor {
                stream: input.u32("stream")?,
                sequence: input.u64("sequence")?,
                consumer: input.name("consumer")?,
            },
            CURSOR_REMOVED => {
                Self::CursorRemoved { stream: input.u32("stream")?, consumer: input.name("consumer")? }
            }
            DELETED => Self::Deleted { stream: input.u32("stream")?, sequence: input.sequence("sequence")? },
            FLOOR => Self::Floor {
                stream: input.u32("stream")?,
                messages: input.u64("floor")?,
                ids: input.u64("floor of ids")?,
            },
            DROPPED => Self::Dropped { stream: input.u32("stream")? },
            found => return Err(DecodeError::Kind { found }),
        };
        if input.0.is_empty() { Ok(fact) } else { Err(DecodeError::Long { len: input.0.len() }) }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn text(bytes: &[u8], field: &'static str) -> Result<Arc<str>, DecodeError> {
    std::str::from_utf8(bytes).map(Arc::from).map_err(|_| DecodeError::Text { field })
}

struct Writer(Vec<u8>);

impl Writer {
    fn kind(&mut self, kind: u8) -> &mut Self {
        self.bytes(&[VERSION << 4 | kind])
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Bytes with a length in front.
    fn short(&mut self, bytes: &[u8]) -> &mut Self {
        let len = u8::try_from(bytes.len()).expect("names and ids are checked before they become facts");
        self.bytes(&[len]).bytes(bytes)
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(DecodeError::Short { field })?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(DecodeError::Short { field })?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_le_bytes)
    }

    fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_le_bytes)
    }

    fn moment(&mut self, field: &'static str) -> Result<Wall, DecodeError> {
        self.u64(field).map(Wall::from_nanos)
    }

    /// The sequence of a message that there is or was; they begin with 1, and the last has a successor.
    fn sequence(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        Some(self.u64(field)?)
            .filter(|sequence| ![0, u64::MAX].contains(sequence))
            .ok_or(DecodeError::Value { field })
    }

    fn short(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let [len] = self.array(field)?;
        self.take(len.into(), field)
    }

    fn name(&mut self, field: &'static str) -> Result<Arc<str>, DecodeError> {
        text(self.short(field)?, field)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message() -> Message {
        Message {
            stream: 7,
            sequence: 0x0102,
            at: Wall::from_nanos(0x0304),
            floor: 5,
            replaced: 6,
            ids_floor: 8,
            id: Some(Arc::from(*b"id")),
            subject: "a.b".into(),
            payload: b"hello".to_vec(),
        }
    }

    fn facts() -> Vec<Fact> {
        let limits = Limits {
            age: Some(Duration::from_nanos(0x11)),
            bytes: NonZeroU64::new(0x22),
            messages: None,
            per_subject: NonZeroU64::new(1),
            window: Duration::from_nanos(0x33),
            window_ids: 0x44,
        };
        let at = Wall::from_nanos(9);
        vec![
            Fact::Base { clock: at, next_stream: 3 },
            Fact::Define { stream: 7, next: 1, limits, name: "orders".into() },
            Fact::Message(message()),
            Fact::Message(Message { id: None, payload: vec![], ..message() }),
            Fact::Seen { stream: 7, sequence: 2, at, id: Arc::from(*b"id") },
            Fact::Cursor { stream: 7, sequence: 0, consumer: "c".into() },
            Fact::CursorRemoved { stream: 7, consumer: "c".into() },
            Fact::Deleted { stream: 7, sequence: 2 },
            Fact::Floor { stream: 7, messages: 3, ids: 2 },
            Fact::Dropped { stream: 7 },
        ]
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_bytes_are_these_and_stay_these() {
        let golden = [
            "10 0900000000000000 03000000",
            "11 07000000 0100000000000000 1100000000000000 2200000000000000 0000000000000000 0100000000000000 \
             3300000000000000 4400000000000000 06 6f7264657273",
            "12 07000000 0201000000000000 0403000000000000 0500000000000000 0600000000000000 0800000000000000 \
             02 6964 0300 612e62 68656c6c6f",
            "12 07000000 0201000000000000 0403000000000000 0500000000000000 0600000000000000 0800000000000000 \
             00 0300 612e62",
            "13 07000000 0200000000000000 0900000000000000 02 6964",
            "14 07000000 0000000000000000 01 63",
            "15 07000000 01 63",
            "16 07000000 0200000000000000",
            "17 07000000 0300000000000000 0200000000000000",
            "18 07000000",
        ];
        for (fact, golden) in facts().iter().zip(golden) {
            assert_eq!(hex(&fact.encode()), golden.replace(' ', ""), "{fact:?}");
            assert_eq!(&Fact::decode(&fact.encode()).unwrap(), fact);
        }
        assert_eq!(facts().len(), golden.len());
    }

    #[test]
    fn an_entry_cut_anywhere_or_with_a_byte_too_many_is_refused() {
        for fact in facts() {
            let whole = fact.encode();
            let carries_a_payload = matches!(fact, Fact::Message(_));
            for len in 0..whole.len() {
                if let Ok(found) = Fact::decode(&whole[..len]) {
                    assert!(carries_a_payload && found.encode() == whole[..len], "{fact:?} cut to {len}");
                }
            }
            let longer = [&whole[..], &[0]].concat();
            assert_eq!(Fact::decode(&longer).is_ok(), carries_a_payload, "{fact:?}");
        }
    }

    #[test]
    fn what_nothing_writes_is_named() {
        assert_eq!(Fact::decode(&[]), Err(DecodeError::Short { field: "kind" }));
        assert_eq!(Fact::decode(&[0x20]), Err(DecodeError::Version { found: 2 }));
        assert_eq!(Fact::decode(&[0x1f]), Err(DecodeError::Kind { found: 15 }));
        let mut unnamed = Fact::CursorRemoved { stream: 1, consumer: "c".into() }.encode();
        *unnamed.last_mut().unwrap() = 0xff;
        assert_eq!(Fact::decode(&unnamed), Err(DecodeError::Text { field: "consumer" }));
        let never = Fact::Deleted { stream: 1, sequence: 0 }.encode();
        assert_eq!(Fact::decode(&never), Err(DecodeError::Value { field: "sequence" }));
    }

    proptest! {
        #[test]
        fn what_is_read_has_one_encoding(bytes in prop::collection::vec(any::<u8>(), 0..120), kind in 0u8..10) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = VERSION << 4 | kind;
            }
            if let Ok(fact) = Fact::decode(&bytes) {
                prop_assert_eq!(fact.encode(), bytes);
            }
        }
    }
}
