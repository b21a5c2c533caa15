//! What the seam reads from strangers and from disks that may have torn it: hellos, frame boundaries, append files.

use synod_platform::disk::append;
use synod_platform::net::foreign::{Decoder, Hello};

/// The first frame of a stranger.
pub fn hello(bytes: &[u8]) {
    if let Ok(hello) = Hello::decode(bytes) {
        assert_eq!(hello.encode(), bytes, "a hello has one encoding");
    }
}

/// A stream cut into frames, whole and in pieces: the cuts of the stream must not matter.
pub fn frames(bytes: &[u8]) {
    const LIMIT: usize = 512;
    let Some((&step, stream)) = bytes.split_first() else { return };
    let whole = cut(stream, stream.len().max(1), LIMIT);
    let pieces = cut(stream, usize::from(step).max(1), LIMIT);
    assert_eq!(whole, pieces, "how a stream arrives decides nothing");
    let taken: usize = whole.0.iter().map(|frame| 4 + frame.len()).sum();
    assert!(taken <= stream.len());
}

/// The frames of a stream that arrives in steps, whether one was too large, and what lacked at the end.
fn cut(stream: &[u8], step: usize, limit: usize) -> (Vec<Vec<u8>>, bool, u64) {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for piece in stream.chunks(step) {
        decoder.buffer().extend_from_slice(piece);
        loop {
            match decoder.next(limit) {
                Ok(Some(frame)) => frames.push(frame.to_vec()),
                Ok(None) => break,
                // The connection ends here; what came behind in the same piece does not count.
                Err(_) => return (frames, true, 0),
            }
        }
    }
    (frames, false, decoder.missing())
}

/// What recovery makes of a file's content: a prefix of it, and the same prefix again.
pub fn append(bytes: &[u8]) {
    let (records, end) = append::scan(bytes);
    assert!(end <= bytes.len());
    let length: usize = records.iter().map(|record| append::HEADER + record.len()).sum();
    assert_eq!(length, end, "the records fill what was kept");
    assert_eq!(append::scan(&bytes[..end]), (records, end), "what was kept is kept again");
}
