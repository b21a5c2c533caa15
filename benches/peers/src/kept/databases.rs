//! The databases: each opening begins from a copy of the files as they were while the database was open, which is what a loss of power leaves.
//! What an opening brings into a database's own memory stays there when it is read (fjall's journal), and is not read from the device then.

use super::{Keeps, Lot, Seen, drop_cached};
use crate::durable::{Base, Engine, Spent, Watch};
use std::fs;
use std::io;
use std::path::Path;

impl<D: Engine> Keeps for Base<D> {
    fn write(folder: &Path, lot: Lot) -> u64 {
        let (whole, payload) = (folder.join("whole"), lot.payload());
        fs::create_dir(&whole).expect("an empty folder");
        let mut database = D::open(&whole);
        let mut next = 0;
        while next < lot.records {
            // A transaction costs these more than it costs a log.
            let end = lot.records.min(next + 16 * lot.at_a_time());
            database.commit(next..end, &payload);
            next = end;
        }
        copy(&whole, &folder.join("left")).expect("room for a copy");
        drop(database);
        size(&whole).expect("files of our own")
    }

    fn restore(folder: &Path) {
        let whole = folder.join("whole");
        fs::remove_dir_all(&whole).expect("a folder of our own");
        copy(&folder.join("left"), &whole).expect("room for a copy");
    }

    fn open(folder: &Path, lot: Lot, _: u64) -> Spent {
        let watch = Watch::here();
        let mut database = D::open(&folder.join("whole"));
        let spent = watch.stop();
        assert_eq!(database.count(), lot.records, "what was told durable is not what is there");
        spent
    }

    fn read(folder: &Path, lot: Lot, _: u64) -> Spent {
        let whole = folder.join("whole");
        let mut database = D::open(&whole);
        drop_cached(&whole).expect("files of our own");
        let mut seen = Seen::of(lot);
        let watch = Watch::here();
        database.each(|payload| seen.take(payload));
        let spent = watch.stop();
        seen.end(lot);
        spent
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

fn size(folder: &Path) -> io::Result<u64> {
    fs::read_dir(folder)?.try_fold(0, |sum, entry| {
        let entry = entry?;
        let len = if entry.file_type()?.is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
        Ok(sum + len)
    })
}
