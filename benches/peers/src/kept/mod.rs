//! Logs that lie on a device: written once in a group, then opened, or opened and read from the first record to the last, in every round.
//!
//! Before what is measured, every file is written back and dropped from the cache; how much then came from the device is told beside. All
//! figures count the records' payload, so a subject that keeps more around it is not faster for that. Each reading is compared with what
//! was written.

#[cfg(feature = "databases")]
mod databases;
mod device;
mod synod;

pub use device::Device;
pub use synod::Ours;

use crate::durable::Spent;
use crate::machine::pin_to_both;
use crate::measure::{Plan, Reading};
use crate::processes::Folder;
use crate::subjects::pattern;
use rustix::fs::{Advice, fadvise};
use std::cell::OnceCell;
use std::fs;
use std::io;
use std::path::Path;
use std::rc::Rc;

/// What a log holds.
#[derive(Clone, Copy, Debug)]
pub struct Lot {
    /// Bytes of a record's payload.
    pub size: usize,
    /// How many records.
    pub records: u64,
}

impl Lot {
    /// So many bytes in records of that size.
    pub fn of(bytes: u64, size: usize) -> Self {
        Self { size, records: bytes / size as u64 }
    }

    /// Bytes of all payloads.
    pub fn bytes(self) -> u64 {
        self.records * self.size as u64
    }

    /// What each record holds.
    fn payload(self) -> Vec<u8> {
        let mut payload = vec![0; self.size];
        pattern(&mut payload);
        payload
    }

    /// How many records are handed over at a time.
    fn at_a_time(self) -> u64 {
        (256 << 10) / self.size as u64
    }
}

/// Counts what is read, each compared with what was written.
struct Seen {
    expected: Vec<u8>,
    count: u64,
}

impl Seen {
    fn of(lot: Lot) -> Self {
        Self { expected: lot.payload(), count: 0 }
    }

    fn take(&mut self, payload: &[u8]) {
        assert!(payload == self.expected, "record {} is not what was written", self.count);
        self.count += 1;
    }

    fn end(self, lot: Lot) {
        assert_eq!(self.count, lot.records, "what was written is not what is there");
    }
}

/// One who keeps a log.
pub trait Keeps {
    /// Writes a log into an empty folder and ends without closing it. Answers how many bytes of files an opening reads that reads everything;
    /// 0 from who does not.
    fn write(folder: &Path, lot: Lot) -> u64;

    /// Puts the files back as that end left them, where an opening changes what the next one has to do.
    fn restore(_folder: &Path) {}

    /// Opens it, and closes it again when that has been measured. `len` is what writing answered.
    fn open(folder: &Path, lot: Lot, len: u64) -> Spent;

    /// Opens it, drops what that brought into the cache, and reads every record in order, which alone is measured.
    fn read(folder: &Path, lot: Lot, len: u64) -> Spent;
}

/// A log on the device, made when somebody first needs it, with the length that an opening reads.
pub type Place = Rc<OnceCell<(Folder, u64)>>;

/// One opening after the other of the same log.
pub fn openings<K: Keeps + 'static>(lot: Lot, place: Place) -> impl Fn(&Plan) -> Reading + 'static {
    move |plan| {
        let spent = on::<K>(lot, &place, plan, |folder, len| {
            K::restore(folder);
            drop_cached(folder).expect("files of our own");
            K::open(folder, lot, len)
        });
        let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        let mut reading = vec![("opening", ms(spent.took)), ("processor", ms(spent.processor))];
        reading.extend(rates(lot, spent));
        reading
    }
}

/// One reading after the other of the same log.
pub fn readings<K: Keeps + 'static>(lot: Lot, place: Place) -> impl Fn(&Plan) -> Reading + 'static {
    move |plan| {
        let spent = on::<K>(lot, &place, plan, |folder, len| K::read(folder, lot, len));
        let each = |figure: f64| figure / lot.records as f64;
        let mut reading = vec![
            ("records", 1e-6 / each(spent.took.as_secs_f64())),
            ("processor", each(spent.processor.as_nanos() as f64)),
        ];
        reading.extend(rates(lot, spent));
        reading
    }
}

fn on<K: Keeps>(lot: Lot, place: &Place, plan: &Plan, measure: impl FnOnce(&Path, u64) -> Spent) -> Spent {
    pin_to_both(plan.cores);
    let (folder, len) = place.get_or_init(|| {
        let folder = Folder::new();
        let len = K::write(&folder.0, lot);
        (folder, len)
    });
    measure(&folder.0, *len)
}

/// What both have.
fn rates(lot: Lot, spent: Spent) -> [(&'static str, f64); 2] {
    [("payload", lot.bytes() as f64 * 1e-6 / spent.took.as_secs_f64()), ("read", spent.read as f64 * 1e-6)]
}

/// Has every file of a folder written back and its pages dropped.
fn drop_cached(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            drop_cached(&entry.path())?;
        } else {
            let file = fs::File::open(entry.path())?;
            file.sync_data()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}
