//! The databases: each opening begins from a copy of the files as they were while the database was open, which is what a loss of power leaves.
//! What an opening brings into a database's own memory stays there when it is read (fjall's journal), and is not read from the device then.

use super::{Keeps, Lot, Seen, drop_cached};
use crate::durable::{Base, Engine, Spent, Watch};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How long a database may tidy up.
const SOON: Duration = Duration::from_secs(120);

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
        copy_at_rest(&whole, &folder.join("left"));
        drop(database);
        0
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

/// Copies files that nothing changed meanwhile: a database may go on tidying up for a while.
fn copy_at_rest(from: &Path, to: &Path) {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < SOON, "{} does not come to rest", from.display());
        let before = files(from);
        let copied = copy(from, to);
        if let (Ok(before), Ok(()), Ok(after)) = (before, &copied, files(from))
            && before == after
        {
            return;
        }
        if let Err(error) = copied
            && error.kind() != io::ErrorKind::NotFound
        {
            panic!("a copy of {}: {error}", from.display());
        }
        fs::remove_dir_all(to).expect("a folder of our own");
        std::thread::sleep(Duration::from_millis(100));
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

/// Every file with its length and when it was changed last.
fn files(folder: &Path) -> io::Result<Vec<(PathBuf, u64, SystemTime)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            all.extend(files(&entry.path())?);
        } else {
            let told = entry.metadata()?;
            all.push((entry.path(), told.len(), told.modified()?));
        }
    }
    all.sort_unstable();
    Ok(all)
}
