//! Two true processes, a writer and a reader, that are killed again and again while a hundred thousand records pass between them: none is lost,
//! none comes out of order, and one comes twice only if it was the first that a new reader read.
#![cfg(not(madsim))]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use synod_platform::queue::{Reader, Writer};
use synod_platform::task;
use synod_ring::queue::footprint;

const RECORDS: u64 = 100_000;
const CAPACITY: usize = 64 << 10;
/// In the ledger: a reader starts.
const STARTS: u64 = u64::MAX;

const ROLE: &str = "SYNOD_TEST_ROLE";
const FOLDER: &str = "SYNOD_TEST_FOLDER";

fn length(number: u64) -> usize {
    8 + (number * 7919 % 700) as usize
}

/// A record's bytes follow from its number, as its length does.
fn payload(number: u64) -> Vec<u8> {
    let mut bytes = vec![number as u8; length(number)];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// Puts what is missing: where the queue stands says how much that is.
async fn writes(folder: &Path) {
    let mut writer = Writer::open(&folder.join("queue"), CAPACITY).await.unwrap();
    let mut position = 0;
    for number in 0..RECORDS {
        if position == writer.position() {
            assert_eq!(writer.put([1; 4], &payload(number)).await, Ok(position));
        }
        position += footprint(length(number)) as u64;
    }
}

/// Notes each record in the ledger, then frees it.
async fn reads(folder: &Path) {
    let mut ledger = OpenOptions::new().append(true).open(folder.join("ledger")).unwrap();
    ledger.write_all(&STARTS.to_le_bytes()).unwrap();
    let mut reader = Reader::open(&folder.join("queue")).await.unwrap();
    // The last reader may have died between the last record and its own end.
    let last = (RECORDS - 1).to_le_bytes();
    let all_noted = fs::read(folder.join("ledger")).unwrap().chunks_exact(8).any(|entry| entry == last);
    if all_noted && reader.try_next().unwrap().is_none() {
        return;
    }
    loop {
        let record = reader.next().await.unwrap();
        let bytes = record.payload();
        let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        assert_eq!(bytes, payload(number));
        ledger.write_all(&bytes[..8]).unwrap();
        record.free();
        if number + 1 == RECORDS {
            return;
        }
    }
}

/// Not a test of its own: what the processes of the other one run.
#[test]
fn an_end_in_a_process_of_its_own() {
    let (Ok(role), Ok(folder)) = (std::env::var(ROLE), std::env::var(FOLDER)) else { return };
    let folder = PathBuf::from(folder);
    task::block_on(async { if role == "writer" { writes(&folder).await } else { reads(&folder).await } });
}

/// A process that is started again as long as it is killed.
struct End {
    role: &'static str,
    folder: PathBuf,
    child: Child,
    done: bool,
    kills: u64,
}

impl End {
    fn start(role: &'static str, folder: &Path) -> Self {
        let child = Self::spawn(role, folder);
        Self { role, folder: folder.to_owned(), child, done: false, kills: 0 }
    }

    fn spawn(role: &str, folder: &Path) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "an_end_in_a_process_of_its_own", "--nocapture", "--quiet"])
            .envs([(ROLE, role.as_ref()), (FOLDER, folder.as_os_str())])
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("a process of this test")
    }

    /// Whether it came to its end.
    fn is_done(&mut self) -> bool {
        if !self.done
            && let Some(status) = self.child.try_wait().unwrap()
        {
            self.ended(status);
        }
        self.done
    }

    fn ended(&mut self, status: ExitStatus) {
        if status.success() {
            self.done = true;
        } else {
            assert_eq!(status.signal(), Some(9), "the {} failed", self.role);
            self.kills += 1;
            self.child = Self::spawn(self.role, &self.folder);
        }
    }

    /// Kills it, unless it is done, and starts it again.
    fn kill(&mut self) {
        if !self.done {
            self.child.kill().unwrap();
            let status = self.child.wait().unwrap();
            self.ended(status);
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_writer_and_a_reader_killed_again_and_again_lose_nothing_and_change_no_order() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("ledger"), "").unwrap();
    // The writer makes the queue before a reader opens it.
    task::block_on(async { drop(Writer::open(&folder.join("queue"), CAPACITY).await.unwrap()) });
    let mut writer = End::start("writer", folder);
    let mut reader = End::start("reader", folder);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let begun = Instant::now();
    let mut noted = 0;
    // Both have to come to their end: no short cut.
    while !(writer.is_done() & reader.is_done()) {
        assert!(begun.elapsed() < Duration::from_secs(120), "the records do not come to an end");
        std::thread::sleep(Duration::from_millis(1));
        // Killed before anything moved again, they would get nowhere on a busy machine.
        let length = fs::metadata(folder.join("ledger")).unwrap().len();
        if length > noted + 8 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            std::thread::sleep(Duration::from_micros(random % 8000));
            noted = length;
            let end = if random >> 40 & 1 == 0 { &mut writer } else { &mut reader };
            end.kill();
        }
    }
    let ledger = fs::read(folder.join("ledger")).unwrap();
    let (mut next, mut again, mut starts) = (0, 0, 0);
    let mut fresh = false;
    for entry in ledger.chunks_exact(8).map(|entry| u64::from_le_bytes(entry.try_into().unwrap())) {
        match entry {
            STARTS => (starts, fresh) = (starts + 1, true),
            number if number == next => (next, fresh) = (next + 1, false),
            number => {
                assert!(fresh && number + 1 == next, "{number} where {next} follows");
                (again, fresh) = (again + 1, false);
            }
        }
    }
    assert_eq!(next, RECORDS);
    assert!(again < starts);
    let bytes: usize = (0..RECORDS).map(|number| footprint(payload(number).len())).sum();
    println!(
        "{next} records in {} laps; the writer killed {} times, the reader {} times; {again} records came twice",
        bytes / CAPACITY,
        writer.kills,
        reader.kills
    );
    assert!(writer.kills + reader.kills > 10, "they were hardly killed");
}
