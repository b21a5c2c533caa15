//! Spools: BACKGROUND messages to another process, in a file until their receiver is done with them, whoever dies meanwhile.
//!
//! Each sending agent and subscription has a queue in a mapped file, named after sender, receiver and pattern. The receiver's subscription takes one
//! record at a time and frees it when it is asked for the next message: what it had in hand when it was killed comes again, first of all, to
//! the next subscription of that agent to that pattern. Only processes of the node's own user have spools, for whoever can write to a file can
//! also cut it. A record is copied, checked and then read; whether it may be said is asked of what the node told, not of the file.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use synod_platform::local::folder;
use synod_platform::queue::{Damage, PAUSE_MIN, QueueError, Reader, Writer};
use synod_platform::{task, time};
use synod_probe::{event, loss, reach};
use synod_ring::Tag;
use synod_wire::Priority;

use super::control::LaneNumber;
use super::payloads::GiveBack;
use crate::context::Envelope;
use crate::edge::{Edge, Fate};
use crate::lane::{Body, Passage};
use crate::message::Payload;
use crate::registry::{Entry, Shared, Station, SubId};
use crate::subject::{Pattern, Subject};

/// Bytes of records in each file.
const BYTES: usize = 1 << 20;

/// The longest name of a file.
const NAME_MAX: usize = 255;

/// What a file's name ends with.
const SUFFIX: &str = ".queue";

/// The last pause before an end that is taken is given up: whoever has it may just be ending, or removing an empty file.
const PATIENCE: Duration = Duration::from_millis(500);

/// How a record begins: the form of what follows.
const FORM: Tag = [1, 0, 0, 0];

/// Bytes of a record before the subject: the deadline in nanoseconds, 0 for none, and the subject's length.
const HEAD: usize = 10;

/// One agent's spool to one subscription of another process.
#[derive(Debug)]
pub(crate) struct Spool {
    /// The name of its file.
    pub name: String,
    pub source: Arc<str>,
    pub to: SubId,
}

/// Whether the node looks after files of that name.
pub(crate) fn is_one(name: &str) -> bool {
    name.ends_with(SUFFIX)
}

/// How the names of a subscription's files begin.
fn prefix(owner: &str, pattern: &Pattern) -> String {
    format!("{}~{}~", escaped(owner), escaped(pattern.as_str()))
}

/// The name of a file; nothing if it would be too long for one.
pub(crate) fn name(owner: &str, pattern: &Pattern, source: &str) -> Option<String> {
    let name = format!("{}{}{SUFFIX}", prefix(owner, pattern), escaped(source));
    (name.len() <= NAME_MAX).then_some(name)
}

/// Whose messages lie in a file, if it is one of the subscription with that prefix.
fn source_of(name: &str, prefix: &str) -> Option<String> {
    unescaped(name.strip_prefix(prefix)?.strip_suffix(SUFFIX)?)
}

/// A name as part of a file's: what could mean something else there is written as `%` and two digits.
fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"._-*>".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02x}").expect("a string takes what is written to it");
        }
    }
    escaped
}

fn unescaped(name: &str) -> Option<String> {
    let mut pieces = name.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// What a record says.
#[derive(Debug, PartialEq, Eq)]
struct Record<'a> {
    deadline: u64,
    subject: &'a str,
    payload: &'a [u8],
}

/// Bytes of a record.
pub(crate) fn record_len(subject: &str, payload: usize) -> usize {
    HEAD + subject.len() + payload
}

/// Writes what stands before a payload.
fn begin(record: &mut Vec<u8>, deadline: u64, subject: &str) {
    record.extend_from_slice(&deadline.to_le_bytes());
    // A subject has at most 255 bytes.
    record.extend_from_slice(&(subject.len() as u16).to_le_bytes());
    record.extend_from_slice(subject.as_bytes());
}

/// Reads a record, and writes it again.
pub(crate) fn again(bytes: &[u8]) -> Option<Vec<u8>> {
    let Record { deadline, subject, payload } = Record::decode(FORM, bytes)?;
    let mut record = Vec::new();
    begin(&mut record, deadline, subject);
    record.extend_from_slice(payload);
    Some(record)
}

impl<'a> Record<'a> {
    fn decode(tag: Tag, bytes: &'a [u8]) -> Option<Self> {
        let (deadline, rest) = bytes.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (subject, payload) = rest.split_at_checked(u16::from_le_bytes(*len).into())?;
        let deadline = u64::from_le_bytes(*deadline);
        let subject = std::str::from_utf8(subject).ok()?;
        (tag == FORM).then_some(Self { deadline, subject, payload })
    }
}

/// Opens an end of a file, after some pauses if somebody has it.
async fn patiently<T>(mut open: impl AsyncFnMut() -> Result<T, QueueError>) -> Result<T, QueueError> {
    let mut pause = PAUSE_MIN;
    loop {
        match open().await {
            Err(QueueError::Taken { .. }) if pause <= PATIENCE => {
                time::sleep(pause).await;
                pause *= 2;
            }
            done => return done,
        }
    }
}

/// The sending end of a spool.
pub(crate) enum SpoolOut {
    /// Its file is being made.
    Opening,
    Open(Box<Open>),
    /// There is none.
    Failed(String),
}

/// A file to put into.
pub(crate) struct Open {
    pub writer: Writer,
    /// The subscription that has its end.
    pub granted: Option<SubId>,
    /// Counts what was put.
    edge: Arc<Edge>,
    record: Vec<u8>,
}

impl SpoolOut {
    /// Opens or makes a file in a folder; `from` is told when it is there, or never will be.
    pub fn open(
        folder: PathBuf,
        name: &str,
        from: &Arc<Station>,
        to: &Arc<Entry>,
        shared: &Arc<Shared>,
    ) -> Rc<RefCell<Self>> {
        let spool = Rc::new(RefCell::new(Self::Opening));
        let (opening, path, from) = (Rc::downgrade(&spool), folder.join(name), from.clone());
        let edge = Arc::new(Edge::near(from.clone(), to.clone(), shared));
        shared.hold(&edge);
        task::spawn(async move {
            let opened = async {
                folder::prepare(&folder).map_err(|error| error.to_string())?;
                let writer = patiently(async || Writer::open(&path, BYTES).await).await;
                writer.map_err(|error| error.to_string())
            };
            let opened = match opened.await {
                Ok(writer) => Self::Open(Box::new(Open { writer, granted: None, edge, record: Vec::new() })),
                Err(why) => Self::Failed(why),
            };
            if let Some(spool) = opening.upgrade() {
                spool.replace(opened);
            }
            from.tell_room();
        })
        .detach();
        spool
    }

    /// Whether everything was taken that was put.
    pub fn is_drained(&mut self) -> bool {
        match self {
            Self::Opening => false,
            Self::Open(open) => open.writer.is_drained().unwrap_or(true),
            Self::Failed(_) => true,
        }
    }
}

impl Open {
    /// Puts a message.
    pub fn put(
        &mut self,
        subject: &str,
        deadline: u64,
        body: Body<'_>,
    ) -> Result<(), synod_platform::queue::PutError> {
        self.record.clear();
        begin(&mut self.record, deadline, subject);
        let at = self.record.len();
        self.record.resize(at + body.len(), 0);
        body.copy_to(&mut self.record[at..]);
        self.writer.try_put(FORM, &self.record)?;
        // For this side it is delivered: what becomes of it is counted where it is read.
        self.edge.count_sent(Priority::Background);
        self.edge.free(Priority::Background, Fate::Delivered);
        Ok(())
    }
}

/// Where the record at a spool's head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In the file, if there is one.
    File,
    /// In the subscription's queue.
    Queue,
    /// With its receiver, who has not asked for another message yet.
    Hand,
}

/// The receiving end of a spool.
pub(crate) struct SpoolIn {
    pub source: Arc<str>,
    pub path: PathBuf,
    /// The lane of its sender, and the way to ring that as long as there is a lane.
    pub lane: Option<LaneNumber>,
    back: Weak<GiveBack>,
    reader: Reader,
    pattern: Pattern,
    /// Counts what was read.
    edge: Arc<Edge>,
    at: At,
    /// That of the last record: its subject is often the next one's, too.
    passage: Option<Arc<Passage>>,
}

impl SpoolIn {
    /// Opens the spool of a sender to a subscription.
    async fn open(
        path: PathBuf,
        source: &str,
        pattern: &Pattern,
        entry: &Arc<Entry>,
        shared: &Arc<Shared>,
    ) -> Result<Self, QueueError> {
        let reader = Reader::open(&path).await?;
        let edge = Arc::new(Edge::near(entry.station.clone(), entry.clone(), shared));
        shared.hold(&edge);
        let (source, pattern, lane, back) = (source.into(), pattern.clone(), None, Weak::new());
        Ok(Self { source, path, lane, back, reader, pattern, edge, at: At::File, passage: None })
    }

    /// Whether a message came out of it.
    pub fn has(&self, envelope: &Envelope) -> bool {
        envelope.passage.edge.as_ref().is_some_and(|edge| Arc::ptr_eq(edge, &self.edge))
    }

    /// Whether something is in the file that its subscription does not know of.
    pub fn has_news(&mut self) -> bool {
        self.at == At::File && !matches!(self.reader.try_next(), Ok(None))
    }

    /// Whether it can be let go: nothing is in it, and nobody is there who could put something.
    pub fn is_over(&mut self) -> bool {
        self.back.strong_count() == 0 && self.at == At::File && matches!(self.reader.try_next(), Ok(None))
    }

    /// Frees what was in its receiver's hand, and takes the next record out unless nothing more is wanted.
    pub fn turn(&mut self, shared: &Shared, closed: bool) -> Result<Option<Envelope>, Damage> {
        if self.at == At::Hand {
            self.free();
        }
        if self.at == At::Queue || closed {
            return Ok(None);
        }
        loop {
            let Some(record) = self.reader.try_next()? else { return Ok(None) };
            let read = Record::decode(record.tag(), record.payload());
            let found = read.and_then(|read| Some((Subject::new(read.subject).ok()?, read)));
            match found {
                Some((subject, _)) if shared.is_withheld(&self.source, subject.as_str()) => {
                    reach!("attach.spool_withheld");
                    loss!("fabric.spool", "the sender's leave was taken away");
                }
                Some((subject, read)) if self.pattern.matches(&subject) => {
                    let (deadline, payload) = (read.deadline, Payload::copy_from(read.payload));
                    return Ok(Some(self.envelope(subject, deadline, payload)));
                }
                _ => {
                    reach!("attach.spool_violation");
                    loss!("fabric.spool", "a record is none of its receiver's");
                }
            }
            event!("fabric.spool_skipped", source = &*self.source, to = &*self.edge.to.owner);
            self.free();
        }
    }

    fn envelope(&mut self, subject: Subject, deadline: u64, payload: Payload) -> Envelope {
        let passage = match &self.passage {
            Some(known) if known.subject == subject => known.clone(),
            _ => {
                let (source, edge) = (self.source.clone(), Some(self.edge.clone()));
                let passage = Arc::new(Passage { source, subject, edge });
                self.passage.insert(passage).clone()
            }
        };
        self.at = At::Queue;
        self.edge.count_sent(Priority::Background);
        Envelope { passage, priority: Priority::Background, deadline, correlation: 0, payload }
    }

    /// The message that came out of it left its subscription's queue.
    pub fn hand(&mut self) {
        self.at = At::Hand;
    }

    /// The record at its head is done with.
    fn free(&mut self) {
        if let Ok(Some(record)) = self.reader.try_next() {
            record.free();
        }
        self.at = At::File;
        if let Some(back) = self.back.upgrade() {
            back.tell();
        }
    }

    /// Its subscription ends. What its receiver had is done with, unless it is ending because it failed; all else stays in the file.
    pub fn let_go(mut self) {
        match self.at {
            At::File => {}
            At::Queue => self.edge.uncount_sent(Priority::Background),
            At::Hand if std::thread::panicking() => {}
            At::Hand => self.free(),
        }
    }
}

/// A subscription's spools.
pub(crate) type Spools = RefCell<Vec<SpoolIn>>;

/// Opens what waits in files for a subscription.
pub(crate) async fn recall(spools: &Spools, entry: &Arc<Entry>, pattern: &Pattern, shared: &Arc<Shared>) {
    let Some(folder) = shared.spools() else { return };
    let prefix = prefix(&entry.owner, pattern);
    let names = match synod_platform::queue::list(&folder).await {
        Ok(names) => names,
        Err(why) => return not_opened(&folder, &why.to_string()),
    };
    for name in names {
        let Some(source) = source_of(&name, &prefix) else { continue };
        if take_in(spools, &folder.join(&name), &source, entry, pattern, shared).await {
            reach!("attach.spool_recalled");
            event!("attach.spool_recalled", source = &source, to = &*entry.owner);
        }
    }
}

/// A sender has its end of a spool: opens the other, unless it is open; false if it cannot be.
pub(crate) async fn welcome(
    spools: &Spools,
    source: &str,
    entry: &Arc<Entry>,
    shared: &Arc<Shared>,
    lane: LaneNumber,
    back: &Arc<GiveBack>,
) -> bool {
    let Some(folder) = shared.spools() else { return false };
    let Some(pattern) = shared.pattern_of(entry.id) else { return false };
    let Some(name) = name(&entry.owner, &pattern, source) else { return false };
    let there = take_in(spools, &folder.join(name), source, entry, &pattern, shared).await;
    if let Some(spool) = spools.borrow_mut().iter_mut().find(|spool| *spool.source == *source) {
        (spool.lane, spool.back) = (Some(lane), Arc::downgrade(back));
    }
    there
}

/// Opens a spool, unless the subscription has it by then; false if that fails.
async fn take_in(
    spools: &Spools,
    path: &Path,
    source: &str,
    entry: &Arc<Entry>,
    pattern: &Pattern,
    shared: &Arc<Shared>,
) -> bool {
    let has_it = || spools.borrow().iter().any(|spool| *spool.source == *source);
    if let Some(Err(why)) = path.parent().map(folder::prepare) {
        not_opened(path, &why.to_string());
        return false;
    }
    let opened = patiently(async || {
        if !has_it() {
            let spool = SpoolIn::open(path.to_owned(), source, pattern, entry, shared).await?;
            spools.borrow_mut().push(spool);
        }
        Ok(())
    });
    opened.await.inspect_err(|why| not_opened(path, &why.to_string())).is_ok()
}

fn not_opened(path: &Path, why: &str) {
    reach!("attach.spool_not_opened");
    event!("attach.spool_not_opened", path = &path.display().to_string(), why = why);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_tells_whose_it_is_and_no_two_share_one() {
        let pattern = Pattern::new("orders.*.>").unwrap();
        let odd = "a/b~c%é";
        let name = name("clerk", &pattern, odd).unwrap();
        assert_eq!(name, "clerk~orders.*.>~a%2fb%7ec%25%c3%a9.queue");
        assert_eq!(source_of(&name, &prefix("clerk", &pattern)).as_deref(), Some(odd));
        assert_eq!(source_of(&name, &prefix("cler", &pattern)), None);
        assert_eq!(source_of(&format!("{name}.damaged"), &prefix("clerk", &pattern)), None);
        assert_eq!(super::name("clerk", &pattern, &"é".repeat(100)), None, "too long for a file");
        assert_eq!(unescaped("%e"), None);
        assert_eq!(unescaped("%zz"), None);
    }

    #[test]
    fn a_record_that_is_cut_short_or_of_another_form_is_none() {
        let bytes = [&7u64.to_le_bytes()[..], &4u16.to_le_bytes(), b"newsx"].concat();
        let record = Record { deadline: 7, subject: "news", payload: b"x" };
        assert_eq!(Record::decode(FORM, &bytes), Some(record));
        assert_eq!(record_len("news", 1), bytes.len());
        for cut in 0..14 {
            assert_eq!(Record::decode(FORM, &bytes[..cut]), None, "{cut}");
        }
        assert_eq!(Record::decode([2, 0, 0, 0], &bytes), None);
    }
}
