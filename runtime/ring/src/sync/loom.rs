//! The arm that loom explores: words are loom's atomics, and every place where a record may start has a loom cell that tells it who
//! reads or writes there, so that an access without a happens-before is a failed model.

use super::{Bytes, BytesMut, Memory};
use crate::layout::{HEADER, LINE};
use loom::cell::{ConstPtr, MutPtr, UnsafeCell};
use loom::sync::atomic::{AtomicU64, fence};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Control words that a line may have, at its start.
const WORDS: usize = 2;

/// A handle to a region inside a loom model.
#[derive(Clone)]
pub struct Loom(Arc<Inner>);

struct Inner {
    /// [`WORDS`] words for each line of the control part: no line has more control words.
    words: Vec<AtomicU64>,
    bytes: std::cell::UnsafeCell<Box<[u64]>>,
    base: *mut u8,
    places: Vec<UnsafeCell<()>>,
    control: usize,
}

// SAFETY: loom runs its threads one at a time on one thread, and reports unordered accesses to `places`.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Loom {
    /// A region with `control` bytes of words and `data` bytes after them.
    pub fn new(control: usize, data: usize) -> Self {
        let mut bytes = vec![0u64; data / 8].into_boxed_slice();
        let base = bytes.as_mut_ptr().cast();
        Self(Arc::new(Inner {
            words: (0..control / LINE * WORDS).map(|_| AtomicU64::new(0)).collect(),
            bytes: std::cell::UnsafeCell::new(bytes),
            base,
            places: (0..data / HEADER).map(|_| UnsafeCell::new(())).collect(),
            control,
        }))
    }

    /// What `access` makes of the word; 0 while a failed model unwinds, when loom's atomics no longer answer.
    fn word(&self, at: usize, access: impl FnOnce(&AtomicU64) -> u64) -> u64 {
        if std::thread::panicking() { 0 } else { access(&self.0.words[at / LINE * WORDS + at % LINE / 8]) }
    }

    fn places(&self, at: usize, len: usize) -> &[UnsafeCell<()>] {
        let first = (at - self.0.control) / HEADER;
        let end = (at - self.0.control + len).div_ceil(HEADER);
        &self.0.places[first..end]
    }
}

/// Bytes being read, and loom's knowledge of it.
pub struct Reading {
    at: *const u8,
    _places: Vec<ConstPtr<()>>,
}

impl Bytes for Reading {
    fn pointer(&self) -> *const u8 {
        self.at
    }
}

/// Bytes being written, and loom's knowledge of it.
pub struct Writing {
    at: *mut u8,
    _places: Vec<MutPtr<()>>,
}

impl BytesMut for Writing {
    fn pointer(&mut self) -> *mut u8 {
        self.at
    }
}

// SAFETY: pointers go into memory kept by the handle; words are loom's atomics.
unsafe impl Memory for Loom {
    type Reading = Reading;
    type Writing = Writing;

    fn len(&self) -> usize {
        // SAFETY: the box itself is never replaced while the handle lives.
        self.0.control + unsafe { (&*self.0.bytes.get()).len() } * 8
    }

    unsafe fn load(&self, at: usize, order: Ordering) -> u64 {
        self.word(at, |word| word.load(order))
    }

    unsafe fn store(&self, at: usize, value: u64, order: Ordering) {
        self.word(at, |word| {
            word.store(value, order);
            value
        });
    }

    unsafe fn swap(&self, at: usize, value: u64, order: Ordering) -> u64 {
        self.word(at, |word| word.swap(value, order))
    }

    unsafe fn fetch_or(&self, at: usize, bits: u64, order: Ordering) -> u64 {
        self.word(at, |word| word.fetch_or(bits, order))
    }

    unsafe fn read(&self, at: usize, len: usize) -> Reading {
        let places = self.places(at, len).iter().map(UnsafeCell::get).collect();
        Reading { at: self.0.base.wrapping_add(at - self.0.control), _places: places }
    }

    unsafe fn write(&self, at: usize, len: usize) -> Writing {
        let places = self.places(at, len).iter().map(UnsafeCell::get_mut).collect();
        Writing { at: self.0.base.wrapping_add(at - self.0.control), _places: places }
    }

    fn fence(&self) {
        if !std::thread::panicking() {
            fence(Ordering::SeqCst);
        }
    }
}
