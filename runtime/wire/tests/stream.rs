//! The stream decoder: the same frames in whatever pieces they arrive, and an end at the first broken byte.

use proptest::prelude::*;
use synod_wire::stream::Decoder;
use synod_wire::{Error, Full, Head, Kind, MessageId};

fn frame(number: u64, payload: &[u8]) -> Vec<u8> {
    let head = Head { message: MessageId(number), ..Head::new(Kind::Publish) };
    Full::new(head, payload).on("a.b").to_vec().expect("in range")
}

/// Every frame that is whole by now, as its number and payload.
fn drain(decoder: &mut Decoder) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    let mut frames = Vec::new();
    while let Some(frame) = decoder.next()? {
        frames.push((frame.head.message.0, frame.payload.to_vec()));
    }
    Ok(frames)
}

proptest! {
    #[test]
    fn frames_come_out_in_order_however_they_are_cut(
        payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..8),
        pieces in proptest::collection::vec(1usize..150, 1..30),
    ) {
        let stream: Vec<u8> = payloads.iter().enumerate().flat_map(|(n, payload)| frame(n as u64, payload)).collect();
        let (mut decoder, mut rest, mut read) = (Decoder::new(), &stream[..], Vec::new());
        for piece in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*piece).min(rest.len()));
            decoder.push(now);
            read.extend(drain(&mut decoder).expect("nothing is broken"));
            rest = later;
        }
        let sent: Vec<_> = payloads.into_iter().enumerate().map(|(n, payload)| (n as u64, payload)).collect();
        prop_assert_eq!(read, sent);
        prop_assert_eq!(decoder.pending(), 0);
    }

    #[test]
    fn after_a_flipped_bit_only_whole_frames_before_it_were_read(
        payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 1..5),
        flip in any::<proptest::sample::Index>(),
    ) {
        let frames: Vec<Vec<u8>> = payloads.iter().enumerate().map(|(n, payload)| frame(n as u64, payload)).collect();
        let mut stream = frames.concat();
        let bit = flip.index(stream.len() * 8);
        stream[bit / 8] ^= 1 << (bit % 8);
        let mut end = 0;
        let whole = frames.iter().take_while(|frame| { end += frame.len(); end <= bit / 8 }).count();
        let mut decoder = Decoder::new();
        decoder.push(&stream);
        let mut read = 0;
        let error = loop {
            match decoder.next() {
                Ok(Some(_)) => read += 1,
                Ok(None) => prop_assert!(false, "the damage was not noticed"),
                Err(error) => break error,
            }
        };
        prop_assert_eq!(read, whole);
        decoder.push(&frames[0]);
        prop_assert_eq!(decoder.next(), Err(error), "a broken stream stays broken");
    }
}

#[test]
fn a_stranger_is_refused_at_his_first_byte() {
    let mut decoder = Decoder::new();
    decoder.push(b"G");
    assert_eq!(decoder.next(), Err(Error::BadMagic([b'G', 0, 0, 0])));
}

#[test]
fn a_newer_version_is_refused_before_its_header_is_whole() {
    let mut decoder = Decoder::new();
    decoder.push(b"SYN\xD1\x02");
    assert_eq!(decoder.next(), Err(Error::UnknownVersion(2)));
}

#[test]
fn a_payload_above_this_readers_limit_is_refused_by_its_header_alone() {
    let bytes = frame(0, &[0; 100]);
    let mut decoder = Decoder::with_payload_max(99);
    decoder.push(&bytes[..63]);
    assert_eq!(decoder.next(), Ok(None));
    decoder.push(&bytes[63..64]);
    assert_eq!(decoder.next(), Err(Error::TooLarge { len: 100, limit: 99 }));

    let mut decoder = Decoder::with_payload_max(100);
    decoder.push(&bytes);
    assert!(matches!(decoder.next(), Ok(Some(_))));
}

#[test]
fn a_stream_that_was_cut_off_still_holds_the_piece() {
    let bytes = frame(0, b"hello");
    let mut decoder = Decoder::new();
    decoder.push(&bytes[..bytes.len() - 1]);
    assert_eq!(decoder.next(), Ok(None));
    assert_eq!(decoder.pending(), bytes.len() - 1);
}
