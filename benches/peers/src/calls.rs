//! How many system calls an append takes, and of which kinds: the durable subjects, each in a process of its own under strace, which writes down
//! every call of all its threads. Apart from what is timed, for being watched makes each call many times slower.
//!
//! Counted is what lies between two marks, so neither opening nor closing; this program's own looks at its books, about ten calls
//! in all, are among it. What the kernel does for an io_uring by itself is no call.

use crate::durable::{Appends, OneCall, Ours, Shape};
#[cfg(feature = "databases")]
use crate::durable::{Fjall, Redb, Sqlite};
use crate::groups::{Row, Rows, Unavailable, writers};
use crate::machine::{Cores, pin_to_both};
use crate::processes::{Folder, Task, command};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What `--only` calls it.
pub const NAME: &str = "calls";

/// Bytes of an append.
const SIZE: usize = 4 << 10;

/// The first and the last call that is not counted.
const MARKS: [&str; 2] = ["peers: counted from here", "peers: counted to here"];

/// Kinds of calls are named from so many for each append on.
const NAMED: f64 = 0.03;

/// Who is watched.
const SUBJECTS: &[&str] = &[
    "bare device",
    "synod store",
    #[cfg(feature = "databases")]
    "redb",
    #[cfg(feature = "databases")]
    "fjall",
    #[cfg(feature = "databases")]
    "SQLite",
];

/// What the process under strace does.
#[derive(Debug, Serialize, Deserialize)]
pub struct Watched {
    subject: String,
    shape: Shape,
    slice: Duration,
    cores: Cores,
}

/// What it tells when it is done.
#[derive(Serialize, Deserialize)]
struct Told {
    appends: u64,
    written: u64,
}

impl Watched {
    /// The process's whole life.
    pub fn run(&self, folder: &Path) -> Result<(), String> {
        pin_to_both(self.cores);
        let told = match &*self.subject {
            "bare device" => self.append::<OneCall>(folder),
            "synod store" => self.append::<Ours>(folder),
            #[cfg(feature = "databases")]
            "redb" => self.append::<Redb>(folder),
            #[cfg(feature = "databases")]
            "fjall" => self.append::<Fjall>(folder),
            #[cfg(feature = "databases")]
            "SQLite" => self.append::<Sqlite>(folder),
            other => return Err(format!("this build has no subject `{other}`")),
        };
        println!("{}", serde_json::to_string(&told).map_err(|error| error.to_string())?);
        Ok(())
    }

    fn append<A: Appends>(&self, folder: &Path) -> Told {
        let mut subject = A::open(folder, self.shape);
        // What is done once is done before.
        let before = subject.append_for(self.slice / 4).appends;
        let null = fs::File::options().write(true).open("/dev/null").expect("a place for what nobody wants");
        let mark = |text: &str| (&null).write_all(text.as_bytes()).expect("a place for what nobody wants");
        mark(MARKS[0]);
        let tally = subject.append_for(self.slice);
        mark(MARKS[1]);
        assert_eq!(subject.held(), before + tally.appends, "what was told durable is not what is there");
        Told { appends: tally.appends, written: tally.spent.written }
    }
}

/// All subjects by 1, 8 and 64 writers; in a smoke run ours alone by 8.
pub fn run(smoke: bool, cores: Cores) -> (Rows, Vec<Unavailable>) {
    let (subjects, counts, slice) = if smoke {
        (&["synod store"][..], &[8][..], Duration::from_millis(20))
    } else {
        (SUBJECTS, &[1, 8, 64][..], Duration::from_secs(2))
    };
    let (mut rows, mut unavailable) = (Rows::new(), Vec::new());
    for subject in subjects {
        let observed = counts.iter().try_for_each(|writers| {
            let shape = Shape { writers: *writers, size: SIZE };
            let watched = Watched { subject: (*subject).to_owned(), shape, slice, cores };
            observe(subject, watched).map(|figures| rows.extend(figures))
        });
        if let Err(needs) = observed {
            unavailable.push(Unavailable { group: NAME, subject, needs });
        }
    }
    (rows, unavailable)
}

/// Runs it under strace and counts.
fn observe(subject: &'static str, watched: Watched) -> Result<Rows, String> {
    let (folder, shape) = (Folder::new(), watched.shape);
    let log = folder.0.join("calls");
    let child = command(&Task::Append(watched, folder.0.clone()));
    let strace = Command::new("strace")
        .args(["-f", "-qq", "-e", "signal=none", "-o"])
        .arg(&log)
        .arg(child.get_program())
        .args(child.get_args())
        .stdin(Stdio::null())
        .output()
        .map_err(|_| "strace in the search path".to_owned())?;
    let said = String::from_utf8_lossy(&strace.stderr);
    let told: Told = serde_json::from_slice(&strace.stdout)
        .map_err(|_| format!("a process that strace may watch ({})", said.trim()))?;
    let text = fs::read_to_string(&log).map_err(|error| format!("what strace writes ({error})"))?;
    let counts = counted(&text).ok_or("an strace that writes down both marks")?;
    let each = |count: u64| count as f64 / told.appends as f64;
    let whose = (NAME, subject, writers(shape));
    let row = |metric, unit, figure| Row::seen(whose, SIZE, metric, unit, figure);
    let mut rows = vec![row("system calls".to_owned(), "each append", each(counts.values().sum()))];
    let named = counts.iter().filter(|(_, count)| each(**count) >= NAMED);
    rows.extend(named.map(|(name, count)| row(format!("of them {name}"), "each append", each(*count))));
    rows.push(row("written".to_owned(), "B each append", each(told.written)));
    Ok(rows)
}

/// Calls by name between the marks. A call that another thread interrupts stands there twice, and counts once.
fn counted(text: &str) -> Option<BTreeMap<&str, u64>> {
    let (_, rest) = text.split_once(MARKS[0])?;
    let (between, _) = rest.split_once(MARKS[1])?;
    let lines: Vec<&str> = between.lines().collect();
    let mut counts = BTreeMap::new();
    // The first line is the end of one mark, the last the beginning of the other.
    for line in lines.get(1..lines.len().saturating_sub(1))? {
        let call = line.split_once(' ').map_or("", |(_, call)| call.trim_start());
        if let Some((name, _)) = call.split_once('(')
            && !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            *counts.entry(name).or_default() += 1;
        }
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_between_the_marks_are_counted_once_each_by_all_threads() {
        let text = "7 openat(AT_FDCWD, \"/dev/null\") = 3\n\
            7 write(3, \"peers: counted from here\", 24) = 24\n\
            7 futex(0x7f00, FUTEX_WAKE, 1 <unfinished ...>\n\
            12 io_uring_enter(5, 1, 1, IORING_ENTER_GETEVENTS, NULL, 8 <unfinished ...>\n\
            7 <... futex resumed>) = 1\n\
            12 <... io_uring_enter resumed>) = 1\n\
            12 io_uring_enter(5, 1, 1, 0, NULL, 8) = 1\n\
            12 +++ exited with 0 +++\n\
            7 write(3, \"peers: counted to here\", 22) = 22\n\
            7 close(3) = 0\n";
        let counts = counted(text).unwrap();
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("futex", 1), ("io_uring_enter", 2)]);
        assert_eq!(counted("7 close(3) = 0\n"), None);
    }
}
