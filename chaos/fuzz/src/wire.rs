//! The frame's decoders: one encoding a value, and no disagreement between two ways to the same answer.

use synod_wire::body::{Hello, Refusal};
use synod_wire::extension::{self, Builder, Elements};
use synod_wire::full::{HEADER_LEN, Length, MAGIC, VERSION};
use synod_wire::simd::Kernel;
use synod_wire::stream::Decoder;
use synod_wire::{Compact, Descriptor, Error, Full, Tag, crc};

/// Records of a lane, one after the other.
pub fn compact(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok((record, used)) = Compact::decode(rest) {
        let mut again = Vec::new();
        record.encode(&mut again);
        assert_eq!(again, &rest[..used], "a record has one encoding");
        assert_eq!(record.tag.extended, record.extension.is_some());
        assert_eq!(Tag::decode(record.tag.encode()), Ok(record.tag));
        if record.tag.descriptor {
            let descriptor = Descriptor::decode(record.payload).expect("the record was taken with it");
            assert_eq!(descriptor.encode(), record.payload);
        }
        rest = &rest[used..];
    }
}

/// One full frame, as it came and with its checksums made right, so that what lies behind them is reached.
pub fn full(bytes: &[u8]) {
    one_frame(bytes);
    let mut mended = bytes.to_vec();
    mend(&mut mended);
    one_frame(&mended);
}

fn one_frame(bytes: &[u8]) {
    let length = Full::length(bytes);
    match Full::decode(bytes) {
        Ok((frame, used)) => {
            assert_eq!(length, Ok(Length::Is { total: used, payload: frame.payload.len() }));
            assert_eq!(frame.encoded_len(), used);
            let again = frame.to_vec().expect("what was read can be written");
            assert_eq!(again, &bytes[..used], "a frame has one encoding");
            let exact = Full::decode_exact(bytes);
            match bytes.len() - used {
                0 => assert_eq!(exact, Ok(frame)),
                extra => assert_eq!(exact, Err(Error::Trailing { extra })),
            }
        }
        Err(Error::Truncated { need, have }) => {
            assert!(need > have && have == bytes.len());
            assert!(
                matches!(length, Ok(Length::Needs(more)) if more == need)
                    || matches!(length, Ok(Length::Is { total, .. }) if total == need)
            );
        }
        Err(error @ (Error::PayloadCrc { .. } | Error::ReservedBits(_))) => {
            assert!(matches!(length, Ok(Length::Is { .. })), "{error} is found in the body alone");
        }
        Err(_) => {}
    }
}

/// Gives every frame in `bytes` its magic, version and checksums, as far as the lengths lead.
fn mend(mut bytes: &mut [u8]) {
    while bytes.len() >= HEADER_LEN {
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        let payload = u32::from_le_bytes([bytes[48], bytes[49], bytes[50], bytes[51]]) as usize;
        let area = usize::from(u16::from_le_bytes([bytes[52], bytes[53]]));
        let total = (HEADER_LEN + area).saturating_add(payload).min(bytes.len());
        let body = crc::checksum(&bytes[HEADER_LEN..total]);
        bytes[56..60].copy_from_slice(&body.to_le_bytes());
        let header = crc::checksum(&bytes[..60]);
        bytes[60..64].copy_from_slice(&header.to_le_bytes());
        bytes = &mut bytes[total..];
    }
}

/// A stream in pieces: the decoder finds the frames and the error that lie in it as a whole. The first byte says how it is cut, and
/// whether checksums are made right; the second is the limit on payloads.
pub fn stream(bytes: &[u8]) {
    let [plan, limit, rest @ ..] = bytes else { return };
    let mut whole = rest.to_vec();
    if plan & 0x80 != 0 {
        mend(&mut whole);
    }
    let piece = usize::from(plan & 0x7F) + 1;
    let limit = usize::from(*limit) * 16;

    let mut decoder = Decoder::with_payload_max(limit);
    let (mut end, mut outcome) = (0, Ok(()));
    for piece in whole.chunks(piece) {
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(frame)) => {
                    assert!(frame.payload.len() <= limit, "the reader's limit holds");
                    let (same, used) = Full::decode(&whole[end..]).expect("the same bytes in one piece");
                    assert_eq!(frame, same);
                    end += used;
                }
                Ok(None) => break,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        assert!(decoder.pending() <= whole.len() - end);
    }
    let last = match Full::length(&whole[end..]) {
        Ok(Length::Is { payload, .. }) if payload > limit => Err(Error::TooLarge { len: payload, limit }),
        _ => Full::decode(&whole[end..]).map(|_| ()),
    };
    match (outcome, last) {
        (Ok(()), Err(Error::Truncated { .. })) => assert_eq!(decoder.pending(), whole.len() - end),
        // A cut inside the magic is refused with the bytes that were there by then.
        (Err(Error::BadMagic(_)), Err(Error::BadMagic(_))) => {}
        (Err(one), Err(other)) => {
            assert_eq!(one, other, "cut or whole, the stream breaks for the same reason");
            assert_eq!(decoder.next(), Err(one), "a broken stream stays broken");
        }
        (one, other) => panic!("in pieces {one:?}, as a whole {other:?}"),
    }
}

/// An extension area.
pub fn extension(area: &[u8]) {
    let Ok((subject, elements)) = extension::parse(area) else { return };
    assert_eq!(Elements::new(area).is_ok(), subject.is_none());
    let mut again = Builder::new();
    for element in elements.iter() {
        assert!(elements.get(element.kind).is_some());
        again = again.element(element.kind, element.value).expect("a reader took it");
    }
    assert_eq!(again.elements(), elements, "an area has one encoding");
    assert_eq!(elements.trace().is_some(), elements.get(extension::TRACE).is_some());
}

/// The payloads of a Hello and of a refusal.
pub fn body(payload: &[u8]) {
    if let Ok(hello) = Hello::decode(payload) {
        assert_eq!(hello.encode(), payload, "a hello has one encoding");
        assert_eq!(hello.common_version(&hello), Some(hello.newest));
    }
    if let Ok(refusal) = Refusal::decode(payload) {
        assert_eq!(refusal.encode(), payload, "a refusal has one encoding");
    }
}

/// Every kernel against the scalar one, whole, in two pieces, and combined. The first byte says where the bytes are cut.
pub fn crc(bytes: &[u8]) {
    let [cut, bytes @ ..] = bytes else { return };
    let (first, second) = bytes.split_at(bytes.len() * usize::from(*cut) / 256);
    let scalar = Kernel::Scalar.function().expect("the scalar kernel runs everywhere");
    let whole = scalar(0, bytes);
    for append in Kernel::ALL.into_iter().filter_map(Kernel::function) {
        assert_eq!(append(0, bytes), whole);
        assert_eq!(append(append(0, first), second), whole);
        assert_eq!(crc::combine(append(0, first), append(0, second), second.len()), whole);
    }
    assert_eq!(crc::checksum(bytes), whole);
}
