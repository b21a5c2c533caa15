//! The full form: round trips, every flipped bit noticed, every broken structure refused by its name.

use proptest::prelude::*;
use synod_wire::body::{Hello, Reason, Refusal};
use synod_wire::extension::{AREA_MAX, Builder, Elements, INTEREST, SOURCE, SUBJECT, TRACE, Trace};
use synod_wire::full::{HEADER_LEN, Length};
use synod_wire::{AgentId, Error, Full, Head, Kind, MessageId, PAYLOAD_MAX, Priority, crc};

#[derive(Clone, Debug)]
struct Frame {
    head: Head,
    subject: Option<String>,
    elements: Builder,
    payload: Vec<u8>,
}

impl Frame {
    fn view(&self) -> Full<'_> {
        Full {
            head: self.head,
            subject: self.subject.as_deref(),
            elements: self.elements.elements(),
            payload: &self.payload,
        }
    }
}

prop_compose! {
    fn heads()(
        kind in proptest::sample::select(Kind::ALL.into_iter().filter(|kind| kind.in_full()).collect::<Vec<_>>()),
        priority in proptest::sample::select(Priority::ALL.to_vec()),
        [source, target, message, correlation, deadline] in any::<[u64; 5]>(),
    ) -> Head {
        Head { kind, priority, source: AgentId(source), target: AgentId(target), message: MessageId(message), correlation, deadline }
    }
}

prop_compose! {
    fn frames()(
        head in heads(),
        subject in proptest::option::of("[a-zß*>.]{1,40}"),
        trace in proptest::option::of(any::<([u8; 16], [u8; 8], u8)>()),
        others in proptest::collection::vec((5u16..0x8000, proptest::collection::vec(any::<u8>(), 0..20)), 0..4),
        payload in proptest::collection::vec(any::<u8>(), 0..300),
    ) -> Frame {
        let mut elements = Builder::new();
        for (kind, value) in others {
            elements = elements.element(kind, &value).expect("an element nobody knows, not critical");
        }
        if let Some((trace, span, flags)) = trace {
            elements = elements.trace(Trace { trace, span, flags }).expect("the first trace");
        }
        Frame { head, subject, elements, payload }
    }
}

/// The frame with bytes changed and both checksums made right again: damage of structure, not of bits.
fn forged(frame: &Full<'_>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = frame.to_vec().expect("the frame is whole before it is forged");
    change(&mut bytes);
    let body = crc::checksum(&bytes[HEADER_LEN..]);
    bytes[56..60].copy_from_slice(&body.to_le_bytes());
    let header = crc::checksum(&bytes[..60]);
    bytes[60..64].copy_from_slice(&header.to_le_bytes());
    bytes
}

fn publish(payload: &[u8]) -> Full<'_> {
    Full::new(Head::new(Kind::Publish), payload).on("a.b")
}

proptest! {
    #[test]
    fn what_was_written_is_read(frame in frames(), after in proptest::collection::vec(any::<u8>(), 0..40)) {
        let mut bytes = frame.view().to_vec().expect("every field is in range");
        prop_assert_eq!(bytes.len(), frame.view().encoded_len());
        let len = bytes.len();
        bytes.extend_from_slice(&after);
        prop_assert_eq!(Full::decode(&bytes), Ok((frame.view(), len)));
    }

    #[test]
    fn any_flipped_bit_is_noticed(frame in frames(), flip in any::<proptest::sample::Index>()) {
        let mut bytes = frame.view().to_vec().expect("every field is in range");
        let bit = flip.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Full::decode(&bytes).is_err(), "bit {} of byte {}", bit % 8, bit / 8);
    }

    #[test]
    fn every_cut_is_called_truncated(frame in frames(), cut in any::<proptest::sample::Index>()) {
        let bytes = frame.view().to_vec().expect("every field is in range");
        let cut = cut.index(bytes.len());
        let truncated = matches!(Full::decode(&bytes[..cut]), Err(Error::Truncated { have, .. }) if have == cut);
        prop_assert!(truncated, "{} of {} bytes", cut, bytes.len());
    }

    #[test]
    fn a_forged_frame_has_one_encoding_or_a_named_error(
        frame in frames(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let bytes = forged(&frame.view(), |bytes| for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        });
        if let Ok((read, used)) = Full::decode(&bytes) {
            let again = read.to_vec().expect("a reader took it");
            prop_assert_eq!(&again[..], &bytes[..used]);
        }
    }

    #[test]
    fn any_area_is_elements_with_one_encoding_or_a_named_error(
        area in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(2), Just(0x80), any::<u8>()], 0..64),
    ) {
        if let Ok(elements) = Elements::new(&area) {
            let mut again = Builder::new();
            for element in elements.iter() {
                again = again.element(element.kind, element.value).expect("a reader took it");
            }
            prop_assert_eq!(again.elements().as_bytes(), &area[..]);
        }
    }

    #[test]
    fn bodies_have_one_encoding_or_a_named_error(bytes in proptest::collection::vec(prop_oneof![0u8..9, any::<u8>()], 0..60)) {
        if let Ok(hello) = Hello::decode(&bytes) {
            prop_assert_eq!(hello.encode(), &bytes[..]);
        }
        if let Ok(refusal) = Refusal::decode(&bytes) {
            prop_assert_eq!(refusal.encode(), &bytes[..]);
        }
    }
}

#[test]
fn every_single_bit_of_one_frame_is_guarded() {
    let bytes = publish(b"sixteen bytes it").to_vec().expect("in range");
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = Full::decode(&damaged).expect_err("a flipped bit must be noticed");
        let expected = match bit / 8 {
            0..4 => matches!(error, Error::BadMagic(_)),
            4 => matches!(error, Error::UnknownVersion(_)),
            5..64 => matches!(error, Error::HeaderCrc { .. }),
            _ => matches!(error, Error::PayloadCrc { .. }),
        };
        assert!(expected, "bit {bit} gave {error:?}");
    }
}

#[test]
fn each_header_field_out_of_range_has_its_own_error() {
    type Change = fn(&mut Vec<u8>);
    let cases: [(Change, Error); 12] = [
        (|bytes| bytes[0] = b'X', Error::BadMagic(*b"XYN\xD1")),
        (|bytes| bytes[4] = 2, Error::UnknownVersion(2)),
        (|bytes| bytes[5] = 0, Error::UnknownKind(0)),
        (|bytes| bytes[5] = 0x20, Error::UnknownKind(0x20)),
        (|bytes| bytes[5] = 0x06, Error::KindNotHere(Kind::Release)),
        (|bytes| bytes[6] = 1, Error::UnknownFlag(1)),
        (|bytes| bytes[7] = 6, Error::UnknownPriority(6)),
        (|bytes| bytes[54] = 1, Error::UnknownCodec(1)),
        (|bytes| bytes[55] = 3, Error::UnknownKey(3)),
        (
            |bytes| bytes[48..52].copy_from_slice(&(PAYLOAD_MAX as u32 + 1).to_le_bytes()),
            Error::TooLarge { len: PAYLOAD_MAX + 1, limit: PAYLOAD_MAX },
        ),
        (|bytes| bytes[52] = 4, Error::ExtensionLength(4)),
        (|bytes| bytes[48] += 1, Error::Truncated { need: 78, have: 77 }),
    ];
    for (change, error) in cases {
        assert_eq!(Full::decode(&forged(&publish(b"hello"), change)), Err(error));
    }
}

#[test]
fn a_frame_with_more_behind_it_is_not_exactly_one() {
    let mut bytes = publish(b"hello").to_vec().expect("in range");
    bytes.push(0);
    assert_eq!(Full::decode_exact(&bytes), Err(Error::Trailing { extra: 1 }));
}

#[test]
fn each_broken_extension_area_has_its_own_error() {
    let subject = [0x01, 0x80, 1, 0, b'a', 0, 0, 0];
    let other = [0x05, 0, 1, 0, 7, 0, 0, 0];
    let source = [0x03, 0, 1, 0, b'a', 0, 0, 0];
    let interest = [0x04, 0, 1, 0, 1, 0, 0, 0];
    let mut trace = vec![0x02, 0, 25, 0];
    trace.resize(32, 9);
    trace[29..].fill(0);
    let area = |parts: &[&[u8]]| parts.concat();
    let cases: [(Vec<u8>, Error); 17] = [
        (area(&[&source, &source]), Error::Duplicate(SOURCE)),
        (area(&[&interest, &source, &interest]), Error::Duplicate(INTEREST)),
        (area(&[&[0x03, 0, 0, 0, 0, 0, 0, 0]]), Error::BadSource),
        (area(&[&[0x03, 0, 1, 0, 0xFF, 0, 0, 0]]), Error::BadSource),
        (area(&[&[0x04, 0, 2, 0, 1, 1, 0, 0]]), Error::ElementLength { kind: INTEREST, len: 2 }),
        (area(&[&[0x04, 0, 1, 0, 4, 0, 0, 0]]), Error::BadField { field: "an interest", value: 4 }),
        (area(&[&other, &subject]), Error::SubjectNotFirst),
        (area(&[&subject, &subject]), Error::Duplicate(SUBJECT)),
        (area(&[&trace, &trace]), Error::Duplicate(TRACE)),
        (area(&[&[0x02, 0, 1, 0, 7, 0, 0, 0]]), Error::ElementLength { kind: TRACE, len: 1 }),
        (area(&[&[0x10, 0x80, 0, 0, 0, 0, 0, 0]]), Error::UnknownCritical(0x8010)),
        (area(&[&other, &[0x05, 0, 5, 0, 7, 0, 0, 0]]), Error::ExtensionOverrun(8)),
        (area(&[&[0x05, 0, 1, 0, 7, 0, 0, 1]]), Error::ReservedBits(5)),
        (area(&[&[0x01, 0x80, 0, 0, 0, 0, 0, 0]]), Error::BadSubject),
        (area(&[&[0x01, 0x80, 1, 0, 0xFF, 0, 0, 0]]), Error::BadSubject),
        (area(&[&[0x01, 0x80, 1, 0, b'\n', 0, 0, 0]]), Error::BadSubject),
        (area(&[&other[..7]]), Error::ExtensionLength(7)),
    ];
    for (area, error) in cases {
        let read = synod_wire::extension::parse(&area);
        assert_eq!(read, Err(error), "{area:02x?}");
        if area.len() % 8 == 0 {
            let plain = Full::new(Head::new(Kind::Publish), b"payload");
            let bytes = forged(&plain, |bytes| {
                bytes[52..54].copy_from_slice(&(area.len() as u16).to_le_bytes());
                bytes.splice(HEADER_LEN..HEADER_LEN, area.iter().copied());
            });
            assert_eq!(Full::decode(&bytes), Err(error), "{area:02x?} in a frame");
        }
    }
}

#[test]
fn a_writer_is_told_what_no_frame_can_carry() {
    let head = Head::new(Kind::Publish);
    let mut out = vec![1, 2, 3];
    let long = "s".repeat(256);
    let large = vec![0; PAYLOAD_MAX + 1];
    assert_eq!(Full::new(head, b"").on(&long).encode(&mut out), Err(Error::BadSubject));
    assert_eq!(Full::new(head, b"").on("").encode(&mut out), Err(Error::BadSubject));
    let error = Error::TooLarge { len: PAYLOAD_MAX + 1, limit: PAYLOAD_MAX };
    assert_eq!(Full::new(head, &large).encode(&mut out), Err(error));
    let error = Error::KindNotHere(Kind::Release);
    assert_eq!(Full::new(Head::new(Kind::Release), b"").encode(&mut out), Err(error));
    assert_eq!(out, [1, 2, 3], "a refused frame leaves nothing behind");

    let full = Builder::new().element(5, &vec![0; AREA_MAX - 4]).expect("exactly the limit");
    let frame = Full { elements: full.elements(), ..Full::new(head, b"") };
    assert!(frame.encode(&mut out).is_ok());
    assert_eq!(frame.on("a").encode(&mut Vec::new()), Err(Error::ExtensionLength(AREA_MAX + 8)));
    assert!(matches!(full.element(5, b""), Err(Error::ExtensionLength(_))));
    assert_eq!(Builder::new().element(SUBJECT, b"a").err(), Some(Error::Duplicate(SUBJECT)));
    assert_eq!(Builder::new().element(0x8010, b"").err(), Some(Error::UnknownCritical(0x8010)));
}

#[test]
fn the_largest_payload_goes_through() {
    let payload = vec![0xA5; PAYLOAD_MAX];
    let bytes = publish(&payload).to_vec().expect("exactly the limit");
    let total = HEADER_LEN + 8 + PAYLOAD_MAX;
    assert_eq!(Full::length(&bytes[..HEADER_LEN]), Ok(Length::Is { total, payload: PAYLOAD_MAX }));
    assert_eq!(Full::decode_exact(&bytes).map(|frame| frame.payload == payload), Ok(true));
}

#[test]
fn payloads_begin_at_a_multiple_of_eight() {
    for subject in ["a", "abcd", "abcde", "a.longer.subject"] {
        let bytes = Full::new(Head::new(Kind::Publish), b"x").on(subject).to_vec().expect("in range");
        assert_eq!((bytes.len() - 1) % 8, 0, "{subject}");
    }
}

#[test]
fn hellos_agree_on_the_newest_version_both_read() {
    let hello = |oldest, newest| Hello { oldest, newest, node: 1, incarnation: 1, payload_max: 0, name: "" };
    assert_eq!(hello(1, 1).common_version(&hello(1, 3)), Some(1));
    assert_eq!(hello(1, 4).common_version(&hello(2, 3)), Some(3));
    assert_eq!(hello(1, 1).common_version(&hello(2, 3)), None);
    let field = "the oldest version";
    assert_eq!(Hello::decode(&hello(3, 2).encode()), Err(Error::BadField { field, value: 3 }));
    assert_eq!(Hello::decode(&hello(0, 2).encode()), Err(Error::BadField { field, value: 0 }));
    assert_eq!(Hello::decode(&[1, 1, 0]), Err(Error::Truncated { need: 24, have: 3 }));
    let mut reserved = hello(1, 1).encode();
    reserved[3] = 1;
    assert_eq!(Hello::decode(&reserved), Err(Error::ReservedBits(2)));
    assert_eq!(Refusal::decode(&[99, 0]), Err(Error::BadField { field: "the reason", value: 99 }));
    assert!(Refusal::decode(&[1, 0, 0xC3]).is_err());
    for reason in Reason::ALL {
        let refusal = Refusal { reason, text: "why" };
        assert_eq!(Refusal::decode(&refusal.encode()), Ok(refusal));
    }
}
