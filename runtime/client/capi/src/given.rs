//! What C gives: pointers and numbers, checked as far as they can be before anything is done with them.
//!
//! Null, wrong alignment, text that is not UTF-8 or too long, and numbers out of their range are errors. That a pointer leads to as much
//! memory as is said can only be believed.

use std::ffi::{c_char, c_void};
use std::time::Duration;

use synod_client::{PAYLOAD_MAX, Priority};

use crate::{Fault, Options};

/// The longest text that is taken, bytes without its NUL.
pub const SYNOD_TEXT_MAX: usize = 4096;

/// The longest wait with an end: a year.
const WAIT_MAX_MS: u64 = 365 * 24 * 60 * 60 * 1000;

/// A time, a year at most.
pub fn at_most(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds.min(WAIT_MAX_MS))
}

/// A priority by its number.
pub fn priority(number: i32) -> Result<Priority, Fault> {
    let byte = u8::try_from(number).ok();
    byte.and_then(|byte| Priority::from_byte(byte).ok()).ok_or(Fault::Priority(number))
}

/// A length that a message may have.
pub fn length(len: usize) -> Result<(), Fault> {
    if len <= PAYLOAD_MAX { Ok(()) } else { Err(Fault::TooLarge(len)) }
}

/// Text.
///
/// # Safety
/// `pointer` is null, or NUL-terminated, or more than [`SYNOD_TEXT_MAX`] bytes can be read there; they stay as they are for `'a`.
pub unsafe fn text<'a>(what: &'static str, pointer: *const c_char) -> Result<&'a str, Fault> {
    if pointer.is_null() {
        return Err(Fault::Null(what));
    }
    // SAFETY: up to a NUL, or the limit, the bytes can be read: the caller's promise.
    let len = (0..=SYNOD_TEXT_MAX).take_while(|&n| unsafe { *pointer.add(n) } != 0).count();
    if len > SYNOD_TEXT_MAX {
        return Err(Fault::TooLong(what));
    }
    // SAFETY: those bytes were read just now.
    let bytes = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), len) };
    std::str::from_utf8(bytes).map_err(|_| Fault::NotUtf8(what))
}

/// Text that may be missing.
///
/// # Safety
/// As for [`text`].
pub unsafe fn optional_text<'a>(
    what: &'static str,
    pointer: *const c_char,
) -> Result<Option<&'a str>, Fault> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    unsafe { text(what, pointer) }.map(Some)
}

/// A payload.
///
/// # Safety
/// `pointer` is null, or `len` bytes can be read there and stay as they are for `'a`.
pub unsafe fn bytes<'a>(pointer: *const c_void, len: usize) -> Result<&'a [u8], Fault> {
    length(len)?;
    match len {
        0 => Ok(&[]),
        _ if pointer.is_null() => Err(Fault::Null("bytes")),
        // SAFETY: the caller's promise, and not more than a message may have.
        _ => Ok(unsafe { std::slice::from_raw_parts(pointer.cast(), len) }),
    }
}

/// Where bytes go, which are zero at first.
///
/// # Safety
/// `pointer` is null, or `len` bytes can be written there, and nobody else touches them for `'a`.
pub unsafe fn room<'a>(pointer: *mut c_void, len: usize) -> Result<&'a mut [u8], Fault> {
    length(len)?;
    match len {
        0 => Ok(&mut []),
        _ if pointer.is_null() => Err(Fault::Null("into")),
        _ => {
            // SAFETY: the caller's promise; written before it is looked at.
            unsafe {
                pointer.cast::<u8>().write_bytes(0, len);
                Ok(std::slice::from_raw_parts_mut(pointer.cast(), len))
            }
        }
    }
}

/// Where a result goes.
pub struct Place<T>(*mut T);

impl<T> Place<T> {
    /// Writes the result.
    pub fn put(&mut self, value: T) {
        // SAFETY: `place` has seen that it is neither null nor crooked, and was promised that it can be written.
        unsafe { self.0.write(value) };
    }
}

/// Where a result goes; `before` stands there until then.
///
/// # Safety
/// `pointer` is null, or can be written as long as the place is used.
pub unsafe fn place<T>(what: &'static str, pointer: *mut T, before: T) -> Result<Place<T>, Fault> {
    if pointer.is_null() {
        return Err(Fault::Null(what));
    }
    if !pointer.is_aligned() {
        return Err(Fault::Unaligned(what));
    }
    let mut place = Place(pointer);
    place.put(before);
    Ok(place)
}

/// How a process attaches.
///
/// # Safety
/// `pointer` is null, or leads to options whose texts are null or NUL-terminated.
pub unsafe fn options(pointer: *const Options) -> Result<synod_client::Options, Fault> {
    let mut options = synod_client::Options::new();
    if pointer.is_null() {
        return Ok(options);
    }
    if !pointer.is_aligned() {
        return Err(Fault::Unaligned("options"));
    }
    // SAFETY: the caller's promise.
    let given = unsafe { &*pointer };
    // SAFETY: the caller's promise.
    let texts = unsafe {
        [
            optional_text("options.socket", given.socket)?,
            optional_text("options.node", given.node)?,
            optional_text("options.token", given.token)?,
        ]
    };
    if let Some(socket) = texts[0] {
        options = options.socket(socket);
    }
    if let Some(node) = texts[1] {
        options = options.node(node);
    }
    if let Some(token) = texts[2] {
        options = options.token(token);
    }
    if given.within_ms != 0 {
        options = options.within(at_most(given.within_ms));
    }
    if given.capacity != 0 {
        options = options.capacity(given.capacity);
    }
    match given.lane_bytes {
        0 => {}
        bytes if bytes.is_power_of_two() && (1 << 10..=64 << 20).contains(&bytes) => {
            options = options.lane_bytes(bytes);
        }
        bytes => return Err(Fault::LaneBytes(bytes)),
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::{SYNOD_TEXT_MAX, bytes, place, priority, text};
    use crate::Fault;

    #[test]
    fn text_is_read_up_to_its_end_or_its_limit_and_no_further() {
        let mut longest = vec![b'x'; SYNOD_TEXT_MAX];
        longest.push(0);
        // SAFETY: NUL-terminated, all of them, but for the last, which is longer than is read.
        unsafe {
            assert_eq!(text("t", c"news.eu".as_ptr()).unwrap(), "news.eu");
            assert_eq!(text("t", longest.as_ptr().cast()).unwrap().len(), SYNOD_TEXT_MAX);
            assert!(matches!(text("t", std::ptr::null()), Err(Fault::Null("t"))));
            assert!(matches!(text("t", c"\xff".as_ptr()), Err(Fault::NotUtf8("t"))));
            longest[SYNOD_TEXT_MAX] = b'x';
            assert!(matches!(text("t", longest.as_ptr().cast()), Err(Fault::TooLong("t"))));
        }
    }

    #[test]
    fn null_crooked_places_and_numbers_out_of_range_are_refused_before_anything_is_read() {
        let mut words = [0u64; 2];
        let crooked = words.as_mut_ptr().cast::<u8>().wrapping_add(1).cast::<u64>();
        // SAFETY: what is refused is not touched.
        unsafe {
            assert!(bytes(std::ptr::null(), 0).unwrap().is_empty());
            assert!(matches!(bytes(std::ptr::null(), 1), Err(Fault::Null(_))));
            assert!(matches!(bytes(words.as_ptr().cast(), usize::MAX), Err(Fault::TooLarge(_))));
            assert!(matches!(place("p", crooked, 1), Err(Fault::Unaligned("p"))));
        }
        assert!(priority(5).is_ok());
        for number in [-1, 6, 256, i32::MIN] {
            assert!(matches!(priority(number), Err(Fault::Priority(_))), "{number}");
        }
    }
}
