//! A log that lies on the device: how long it takes to open after an end that nobody prepared (`recovery`), and how fast it is read from the first
//! record to the last (`read-back`). Ours and databases, beside the device's own sequential speed in the same rounds. `TMPDIR` says which device.

use super::durable::DATABASES;
#[cfg(not(feature = "databases"))]
use super::durable::absent;
use super::{Compare, Group, Subject};
#[cfg(feature = "databases")]
use crate::durable::{Fjall, Redb, Sqlite};
use crate::kept::{Device, Lot, Ours, Place, openings, readings};

/// The longest log of a database: before each opening its files are copied back.
const COPIED: u64 = 256 << 20;

/// For each length of the log, and for one that was asked for.
pub fn groups(smoke: bool, log_gib: Option<u16>) -> Vec<Group> {
    let lengths = if smoke { &[4 << 20][..] } else { &[64 << 20, COPIED, 1 << 30][..] };
    let asked = log_gib.map(|gib| u64::from(gib) << 30);
    let recovery = lengths.iter().copied().chain(asked).map(recovery);
    let back = [128, 4 << 10].map(|size| read_back(if smoke { 4 << 20 } else { COPIED }, size));
    recovery.chain(back).collect()
}

fn recovery(bytes: u64) -> Group {
    let lot = Lot::of(bytes, 4 << 10);
    let place = Place::default();
    let mut subjects = vec![
        Subject::new("bare device", openings::<Device>(lot, place.clone())),
        Subject::new("synod store", openings::<Ours>(lot, place)),
    ];
    if bytes > COPIED {
        let needs = "a log of 256 MiB at most, for its files are copied before each opening";
        subjects.extend(DATABASES.map(|name| Subject::lacking(name, needs)));
    } else {
        #[cfg(feature = "databases")]
        subjects.extend([
            Subject::new("redb", openings::<Redb>(lot, Place::default())),
            Subject::new("fjall", openings::<Fjall>(lot, Place::default())),
            Subject::new("SQLite", openings::<Sqlite>(lot, Place::default())),
        ]);
        #[cfg(not(feature = "databases"))]
        subjects.extend(absent());
    }
    Group {
        name: "recovery",
        about: "opening what an unprepared end left, nothing of it in the cache",
        size: lot.size,
        mode: length(bytes),
        unit: "ms",
        compare: Compare::Ratio,
        baselines: vec!["bare device", "synod store"],
        subjects,
    }
}

fn read_back(bytes: u64, size: usize) -> Group {
    let lot = Lot::of(bytes, size);
    let place = Place::default();
    let ours = [
        Subject::new("bare device", readings::<Device>(lot, place.clone())),
        Subject::new("synod store", readings::<Ours>(lot, place)),
    ];
    #[cfg(feature = "databases")]
    let databases = [
        Subject::new("redb", readings::<Redb>(lot, Place::default())),
        Subject::new("fjall", readings::<Fjall>(lot, Place::default())),
        Subject::new("SQLite", readings::<Sqlite>(lot, Place::default())),
    ];
    #[cfg(not(feature = "databases"))]
    let databases = absent();
    Group {
        name: "read-back",
        about: "everything that was appended, in order, nothing of it in the cache",
        size,
        mode: length(bytes),
        unit: "ns",
        compare: Compare::Ratio,
        baselines: vec!["bare device", "synod store"],
        subjects: ours.into_iter().chain(databases).collect(),
    }
}

/// A length as people say it; it lives as long as the run.
fn length(bytes: u64) -> &'static str {
    let said = if bytes < 1 << 30 { format!("{} MiB", bytes >> 20) } else { format!("{} GiB", bytes >> 30) };
    said.leak()
}
