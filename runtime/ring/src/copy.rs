//! Copies out of memory that another process may be writing: each byte is read once, and nothing is assumed of what was read.

/// Copies `len` bytes, a word at a time where the source is aligned to one.
///
/// # Safety
/// `len` bytes at `from` may be read, though others may write them meanwhile; `len` bytes at `to` may be written and are nobody else's.
#[inline(always)]
pub(crate) unsafe fn copy_changing(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: inside both ranges, by the caller's promise.
    let byte = |at: usize| unsafe { to.add(at).write(from.add(at).read_volatile()) };
    let head = from.align_offset(8).min(len);
    (0..head).for_each(byte);
    let words = head + ((len - head) & !7);
    for at in (head..words).step_by(8) {
        // SAFETY: as above; `from` plus `head` is aligned to a word.
        unsafe { to.add(at).cast::<u64>().write_unaligned(from.add(at).cast::<u64>().read_volatile()) };
    }
    (words..len).for_each(byte);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::copy_changing;

    #[test]
    fn every_length_is_copied_from_every_alignment() {
        let from: Vec<u8> = (0..100).collect();
        for at in 0..16 {
            for len in 0..80 {
                let mut to = [255; 80];
                // SAFETY: inside both arrays.
                unsafe { copy_changing(from.as_ptr().add(at), to.as_mut_ptr(), len) };
                assert_eq!(to[..len], from[at..at + len]);
                assert!(to[len..].iter().all(|byte| *byte == 255));
            }
        }
    }
}
