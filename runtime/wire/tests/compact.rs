//! The compact form: round trips, and every broken structure refused by its name.

use proptest::prelude::*;
use synod_wire::compact::HEADER_LEN;
use synod_wire::{Compact, Descriptor, Error, Extension, Kind, PAYLOAD_MAX, Priority, Tag};

fn kinds() -> impl Strategy<Value = Kind> {
    let carried: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| kind.in_compact()).collect();
    proptest::sample::select(carried)
}

fn priorities() -> impl Strategy<Value = Priority> {
    proptest::sample::select(Priority::ALL.to_vec())
}

fn descriptors() -> impl Strategy<Value = Descriptor> {
    (any::<u32>(), any::<u32>(), any::<u32>(), 0..=PAYLOAD_MAX as u32)
        .prop_map(|(region, slot, generation, len)| Descriptor { region, slot, generation, len })
}

#[derive(Clone, Debug)]
struct Record {
    tag: Tag,
    sequence: u64,
    extension: Option<Extension>,
    payload: Vec<u8>,
}

impl Record {
    fn encode(&self) -> Vec<u8> {
        let Record { tag, sequence, extension, payload } = self;
        let mut out = Vec::new();
        Compact { tag: *tag, sequence: *sequence, extension: *extension, payload }.encode(&mut out);
        out
    }
}

prop_compose! {
    fn records()(
        kind in kinds(),
        priority in priorities(),
        grant in any::<u16>(),
        sequence in any::<u64>(),
        extension in proptest::option::of((any::<u64>(), any::<u64>())),
        descriptor in proptest::option::of(descriptors()),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) -> Record {
        let needs = kind.needs_correlation();
        let extension = extension.or(needs.then_some((1, 2)))
            .map(|(correlation, deadline)| Extension { correlation, deadline });
        let descriptor = match kind {
            Kind::Release => Some(descriptor.unwrap_or_default()),
            kind if kind.may_have_descriptor() => descriptor,
            _ => None,
        };
        let tag = Tag { extended: extension.is_some(), descriptor: descriptor.is_some(), ..Tag::new(kind, priority, grant) };
        let payload = descriptor.map_or(payload, |descriptor| descriptor.encode().to_vec());
        Record { tag, sequence, extension, payload }
    }
}

proptest! {
    #[test]
    fn what_was_written_is_read(record in records(), after in proptest::collection::vec(any::<u8>(), 0..40)) {
        let mut bytes = record.encode();
        let len = bytes.len();
        bytes.extend_from_slice(&after);
        let (read, used) = Compact::decode(&bytes).expect("it was written by the same crate");
        prop_assert_eq!(used, len);
        prop_assert_eq!(read.tag, record.tag);
        prop_assert_eq!(read.sequence, record.sequence);
        prop_assert_eq!(read.extension, record.extension);
        prop_assert_eq!(read.payload, &record.payload[..]);
        prop_assert_eq!(read.body_len(), len - HEADER_LEN);
    }

    #[test]
    fn every_cut_is_called_truncated(record in records(), cut in any::<proptest::sample::Index>()) {
        let bytes = record.encode();
        let cut = cut.index(bytes.len());
        let truncated = matches!(Compact::decode(&bytes[..cut]), Err(Error::Truncated { have, .. }) if have == cut);
        prop_assert!(truncated, "{} of {} bytes", cut, bytes.len());
    }

    #[test]
    fn any_bytes_are_a_record_with_one_encoding_or_a_named_error(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..100),
        likely in any::<bool>(),
    ) {
        if likely && bytes.len() >= HEADER_LEN {
            let len = (bytes.len() - HEADER_LEN) as u32;
            bytes[..4].copy_from_slice(&len.to_le_bytes());
            bytes[4] %= 8;
            bytes[5] %= 32;
        }
        if let Ok((record, used)) = Compact::decode(&bytes) {
            let mut again = Vec::new();
            record.encode(&mut again);
            prop_assert_eq!(&again, &bytes[..used]);
        }
    }
}

#[test]
fn every_tag_is_read_back_or_refused_by_name() {
    for kind in 0..=u8::MAX {
        for flags in 0..=u8::MAX {
            let bytes = [kind, flags, 0x34, 0x12];
            match Tag::decode(bytes) {
                Ok(tag) => {
                    assert_eq!(tag.encode(), bytes);
                    assert_eq!(tag.grant, 0x1234);
                }
                Err(Error::UnknownKind(byte)) => {
                    assert_eq!(byte, kind);
                    assert!(Kind::ALL.iter().all(|&known| known as u8 != kind));
                }
                Err(Error::KindNotHere(known)) => assert!(!known.in_compact()),
                Err(Error::UnknownFlag(bits)) => assert!(bits != 0 && bits == flags & 0xE0),
                Err(Error::UnknownPriority(priority)) => {
                    assert!(priority > 5 && priority == flags >> 2 & 7);
                }
                Err(Error::MissingExtension(known)) => {
                    assert!(known.needs_correlation() && flags & 1 == 0);
                }
                Err(Error::DescriptorMismatch(known)) => {
                    assert_eq!(flags & 2 != 0, known != Kind::Release);
                }
                Err(other) => panic!("{bytes:02x?} gave {other:?}, which is no error of a tag"),
            }
        }
    }
}

#[test]
fn broken_bodies_are_refused() {
    let request = Tag::new(Kind::Request, Priority::High, 1).extended().encode();
    assert_eq!(Compact::read(request, 0, &[0; 15]), Err(Error::Truncated { need: 16, have: 15 }));

    let large = Tag::new(Kind::Publish, Priority::High, 1).by_descriptor().encode();
    assert_eq!(Compact::read(large, 0, &[0; 12]), Err(Error::Truncated { need: 16, have: 12 }));
    assert_eq!(Compact::read(large, 0, &[0; 17]), Err(Error::Trailing { extra: 1 }));
    let beyond = Descriptor { len: PAYLOAD_MAX as u32 + 1, ..Descriptor::default() }.encode();
    let error = Error::TooLarge { len: PAYLOAD_MAX + 1, limit: PAYLOAD_MAX };
    assert_eq!(Compact::read(large, 0, &beyond), Err(error));
}

#[test]
fn a_length_above_the_limit_is_refused_before_its_bytes_are_there() {
    let mut bytes = Vec::new();
    let tag = Tag::new(Kind::Publish, Priority::Low, 0);
    Compact { tag, sequence: 0, extension: None, payload: b"" }.encode(&mut bytes);
    bytes[..4].copy_from_slice(&(PAYLOAD_MAX as u32 + 1).to_le_bytes());
    let error = Error::TooLarge { len: PAYLOAD_MAX + 1, limit: PAYLOAD_MAX };
    assert_eq!(Compact::decode(&bytes), Err(error));
    bytes[..4].copy_from_slice(&(PAYLOAD_MAX as u32).to_le_bytes());
    assert!(matches!(Compact::decode(&bytes), Err(Error::Truncated { .. })));
}
