//! Buffers for payloads that are too long to be kept in place, taken from a small store of each thread and given back to it.
//!
//! The system's allocator keeps only a handful of each length at hand: a burst of messages would pay it for most of them. What a
//! store holds is bounded. A buffer may be given back on another thread than it was taken on.

use std::cell::RefCell;
use std::sync::Arc;

/// Lengths of the buffers kept, bytes.
const LENGTHS: [usize; 2] = [256, 1024];
/// How many of each length a thread keeps.
const KEPT: usize = 64;

thread_local! {
    static STORE: RefCell<[Vec<Arc<[u8]>>; LENGTHS.len()]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Some bytes in a buffer of the store; shared by its clones.
#[derive(Clone)]
pub struct Block {
    /// There until it is dropped.
    buffer: Option<Arc<[u8]>>,
    len: u32,
}

impl Block {
    /// A block with these bytes; `None` if they are too many.
    #[inline]
    pub fn copy_from(bytes: &[u8]) -> Option<Self> {
        let class = LENGTHS.iter().position(|length| bytes.len() <= *length)?;
        // A thread that ends has no store any more.
        let kept = STORE.try_with(|store| store.borrow_mut()[class].pop()).ok().flatten();
        let mut buffer = kept.unwrap_or_else(|| Arc::from(vec![0; LENGTHS[class]]));
        Arc::get_mut(&mut buffer)?[..bytes.len()].copy_from_slice(bytes);
        Some(Self { buffer: Some(buffer), len: bytes.len() as u32 })
    }

    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer[..self.len as usize])
    }
}

impl Drop for Block {
    #[inline]
    fn drop(&mut self) {
        let Some(buffer) = self.buffer.take() else { return };
        // The last of its clones: nobody else can make another.
        if Arc::strong_count(&buffer) == 1 {
            let class = usize::from(buffer.len() != LENGTHS[0]);
            let _ = STORE.try_with(|store| {
                let kept = &mut store.borrow_mut()[class];
                if kept.len() < KEPT {
                    kept.push(buffer);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_platform::task::Context;
    use synod_platform::testing;

    #[test]
    fn a_buffer_comes_back_when_its_last_clone_is_dropped_and_not_before() {
        let first = Block::copy_from(&[7; 100]).expect("short enough");
        let place = first.bytes().as_ptr();
        let clone = first.clone();
        drop(first);
        let other = Block::copy_from(&[8; 200]).expect("short enough");
        assert_ne!(other.bytes().as_ptr(), place, "still in use");
        assert_eq!(clone.bytes(), [7; 100]);
        drop(clone);
        let again = Block::copy_from(&[9; 256]).expect("short enough");
        assert_eq!(again.bytes().as_ptr(), place, "used again");
        assert_eq!((again.bytes(), other.bytes()), (&[9; 256][..], &[8; 200][..]));
    }

    #[test]
    fn each_length_has_its_store_and_what_is_too_long_has_none() {
        for len in [63, 256, 257, 1024] {
            let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
            assert_eq!(Block::copy_from(&bytes).expect("short enough").bytes(), bytes);
        }
        assert!(Block::copy_from(&[0; 1025]).is_none());
    }

    #[test]
    fn a_store_keeps_no_more_than_its_bound_and_takes_what_comes_from_other_threads() {
        let blocks: Vec<Block> = (0..2 * KEPT).filter_map(|_| Block::copy_from(&[1; 70])).collect();
        testing::run(1, || async move {
            let other = Context::start("other", None, move || async move {
                drop(blocks);
                STORE.with(|store| store.borrow()[0].len())
            });
            assert_eq!(other.expect("a thread").join().await, Ok(KEPT));
        });
    }
}
