//! What writers say was accepted and readers say was received, and whether the two go together.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

/// A ledger that is written: a line a call, which the system has when it returns.
pub struct Ledger(File);

impl Ledger {
    pub fn open(folder: &Path, name: &str) -> Self {
        let path = folder.join(format!("{name}.ledger"));
        Self(OpenOptions::new().create(true).append(true).open(path).expect("a ledger"))
    }

    pub fn line(&mut self, line: &str) {
        self.0.write_all(line.as_bytes()).expect("a line");
    }
}

/// Every line of all ledgers in a folder, with who wrote it: the agent that a line `= AGENT` before it names, or else the process. The last
/// line of one who was killed may be cut short, and then counts for nothing.
pub fn lines(folder: &Path) -> impl Iterator<Item = (String, String)> {
    let paths = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    let ledgers = paths.filter(|path| path.extension().is_some_and(|extension| extension == "ledger"));
    ledgers.flat_map(|path| {
        let mut name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("a ledger");
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut lines = Vec::new();
        for line in whole.lines() {
            match line.strip_prefix("= ") {
                Some(agent) => name = agent.to_owned(),
                None => lines.push((name.clone(), line.to_owned())),
            }
        }
        lines
    })
}

/// Numbers by reader and writer.
type Numbers = BTreeMap<(String, String), Vec<u64>>;

/// All ledgers of a test.
pub struct Books {
    accepted: Numbers,
    received: Numbers,
    /// The agents that received, one in each reader.
    readers: BTreeSet<String>,
}

impl Books {
    /// Reads those of a folder.
    pub fn read(folder: &Path) -> Self {
        let (mut accepted, mut received, mut readers) = (Numbers::new(), Numbers::new(), BTreeSet::new());
        for (name, line) in lines(folder) {
            let side = match name.as_bytes()[0] {
                b'w' => &mut accepted,
                b'r' => &mut received,
                _ => continue,
            };
            let mut words = line.split(' ');
            let number = words.next().and_then(|word| word.parse().ok()).expect("a number first");
            for other in words {
                let pair = match name.as_bytes()[0] {
                    b'w' => (other.to_owned(), name.clone()),
                    _ => (name.clone(), other.to_owned()),
                };
                side.entry(pair).or_default().push(number);
            }
            if name.starts_with('r') {
                readers.insert(name);
            }
        }
        Self { accepted, received, readers }
    }

    /// Nothing came twice or out of order, and all that was accepted came: to the living all, to the killed all up to the last that came.
    pub fn check(&self, living: &[&str]) -> String {
        for ((reader, writer), numbers) in &self.received {
            for pair in numbers.windows(2) {
                assert!(pair[0] < pair[1], "{reader} received {} after {} of {writer}", pair[1], pair[0]);
            }
        }
        let (mut whole, mut lost_with_reader) = (0, 0);
        for ((reader, writer), accepted) in &self.accepted {
            let process = reader.split('.').next().unwrap_or_default();
            let lives = living.contains(&process) && self.readers.contains(reader);
            let received = self.received.get(&(reader.clone(), writer.clone()));
            let received: BTreeSet<u64> = received.into_iter().flatten().copied().collect();
            let last = received.last().copied().unwrap_or(0);
            for number in accepted {
                if received.contains(number) {
                    whole += 1;
                } else if !lives && *number > last {
                    lost_with_reader += 1;
                } else {
                    let (before, after) =
                        (received.range(..number).next_back(), received.range(number..).next());
                    panic!(
                        "{reader} never received {number} of {writer}, which was accepted; it received {before:?} and then {after:?}"
                    );
                }
            }
        }
        assert!(whole > 0, "somebody received something");
        format!(
            "{whole} accepted messages received once and in order, {lost_with_reader} lost with readers that were killed or never came to subscribe"
        )
    }
}
