//! The trace of a run: every event as one line, in order, and the SHA-256 of all lines.
//!
//! A line is `nanoseconds node name key=value…`, where node 0 is the engine. Two runs of one seed must give the same bytes;
//! [`first_difference`] says where they do not. The recorder keeps no lines in memory: they go to a file, if one is given.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, Write};
use std::task::Waker;

use sha2::{Digest, Sha256};
use synod_probe::trace::{Event, Value};

/// Takes events down as they happen.
pub struct Recorder {
    hash: Sha256,
    events: u64,
    out: Option<Box<dyn Write + Send>>,
    failed: Option<io::Error>,
    line: String,
    seen: BTreeMap<String, u64>,
    watched: BTreeMap<String, Vec<Waker>>,
}

/// What remains of a trace when the run is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// SHA-256 of all lines, in hexadecimal.
    pub hash: String,
    /// How many lines.
    pub events: u64,
}

impl Recorder {
    /// A recorder that has seen nothing; `out` gets every line.
    pub fn new(out: Option<Box<dyn Write + Send>>) -> Self {
        Self {
            hash: Sha256::new(),
            events: 0,
            out,
            failed: None,
            line: String::with_capacity(256),
            seen: BTreeMap::new(),
            watched: BTreeMap::new(),
        }
    }

    /// Takes down one event, at a time and on a node; returns the tasks that waited for one of its name.
    pub fn record(&mut self, at_ns: u64, node: u32, event: &Event<'_>) -> Vec<Waker> {
        self.line.clear();
        // Writing into a String cannot fail.
        let _ = write!(self.line, "{at_ns} {node} {}", event.name);
        for (key, value) in event.fields {
            let _ = match value {
                Value::U64(v) => write!(self.line, " {key}={v}"),
                Value::I64(v) => write!(self.line, " {key}={v}"),
                Value::Bool(v) => write!(self.line, " {key}={v}"),
                Value::Str(v) => write!(self.line, " {key}={v:?}"),
            };
        }
        self.line.push('\n');
        self.hash.update(self.line.as_bytes());
        self.events += 1;
        if let Some(out) = &mut self.out
            && let Err(error) = out.write_all(self.line.as_bytes())
        {
            self.failed = Some(error);
            self.out = None;
        }
        match self.seen.get_mut(event.name) {
            Some(count) => *count += 1,
            None => {
                self.seen.insert(event.name.to_owned(), 1);
            }
        }
        self.watched.get_mut(event.name).map(std::mem::take).unwrap_or_default()
    }

    /// How often an event of that name was seen.
    pub fn seen(&self, name: &str) -> u64 {
        self.seen.get(name).copied().unwrap_or(0)
    }

    /// Wakes this task at the next event of that name.
    pub fn watch(&mut self, name: &str, waker: Waker) {
        self.watched.entry(name.to_owned()).or_default().push(waker);
    }

    /// Flushes the lines and gives the hash. Fails if a line could not be written.
    pub fn finish(mut self) -> io::Result<Summary> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if let Some(out) = &mut self.out {
            out.flush()?;
        }
        Ok(Summary { hash: hexadecimal(self.hash), events: self.events })
    }
}

/// The hash of a trace that was written down: the same as its recorder's.
pub fn hash_of(mut trace: impl io::Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut part = vec![0; 64 << 10];
    loop {
        match trace.read(&mut part)? {
            0 => return Ok(hexadecimal(hash)),
            read => hash.update(&part[..read]),
        }
    }
}

fn hexadecimal(hash: Sha256) -> String {
    let mut text = String::with_capacity(64);
    for byte in hash.finalize() {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Where two traces part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The line, from 1.
    pub line: u64,
    /// What the first trace says there; nothing if it had ended.
    pub first: Option<String>,
    /// What the second says.
    pub second: Option<String>,
    /// The lines before, the same in both: up to five.
    pub before: Vec<String>,
}

/// The first line in which two traces differ, byte by byte; none if they are equal.
pub fn first_difference(first: impl BufRead, second: impl BufRead) -> io::Result<Option<Difference>> {
    let (mut first, mut second) = (first.split(b'\n'), second.split(b'\n'));
    let mut before: Vec<String> = Vec::new();
    let mut line = 0;
    loop {
        line += 1;
        let (a, b) = (first.next().transpose()?, second.next().transpose()?);
        if a != b {
            let text =
                |bytes: Option<Vec<u8>>| bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            return Ok(Some(Difference { line, first: text(a), second: text(b), before }));
        }
        let Some(same) = a else { return Ok(None) };
        if before.len() == 5 {
            before.remove(0);
        }
        before.push(String::from_utf8_lossy(&same).into_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace_of(events: &[(u64, u32, u64)]) -> Summary {
        let mut recorder = Recorder::new(None);
        for (at, node, value) in events {
            recorder.record(
                *at,
                *node,
                &Event { name: "test.event", fields: &[("value", Value::U64(*value))] },
            );
        }
        recorder.finish().unwrap()
    }

    #[test]
    fn the_hash_depends_on_every_field_and_on_order() {
        let base = trace_of(&[(1, 1, 5), (2, 1, 6)]);
        assert_eq!(base, trace_of(&[(1, 1, 5), (2, 1, 6)]));
        assert_eq!(base.events, 2);
        for other in
            [[(1, 1, 5), (2, 1, 7)], [(1, 1, 5), (3, 1, 6)], [(1, 2, 5), (2, 1, 6)], [(2, 1, 6), (1, 1, 5)]]
        {
            assert_ne!(base.hash, trace_of(&other).hash);
        }
    }

    #[test]
    fn a_text_with_a_newline_stays_on_its_line() {
        let mut recorder = Recorder::new(None);
        recorder.record(1, 0, &Event { name: "a.b", fields: &[("text", Value::Str("x\ny \"z\""))] });
        assert_eq!(recorder.line, "1 0 a.b text=\"x\\ny \\\"z\\\"\"\n");
        assert_eq!((recorder.seen("a.b"), recorder.seen("a.c")), (1, 0));
    }

    #[test]
    fn the_first_difference_is_found_with_what_came_before() {
        let differ = |a: &str, b: &str| first_difference(a.as_bytes(), b.as_bytes()).unwrap();
        assert_eq!(differ("1\n2\n3\n", "1\n2\n3\n"), None);
        let found = differ("1\n2\n3\n", "1\n2\n4\n").unwrap();
        assert_eq!((found.line, found.first.as_deref(), found.second.as_deref()), (3, Some("3"), Some("4")));
        assert_eq!(found.before, ["1", "2"]);
        let short = differ("1\n", "1\n2\n").unwrap();
        assert_eq!((short.line, short.first, short.second.as_deref()), (2, None, Some("2")));
    }
}
