//! What a process and its node say to each other beside the lanes: one JSON object a frame, some with handles.
//!
//! A process *asks*, the node *tells*. Ids carry the number of the process that made them, so that nobody can speak for another. A frame
//! that cannot be read, or holds more than its bounds allow, ends its connection.

use serde::{Deserialize, Serialize};
use synod_platform::local::FRAME_MAX;
use synod_ring::layout::sender_len;

use super::shape::Shape;
use super::standing::{PayloadMemory, RUNGS_MAX, Rung, TEXT_MAX};
use crate::registry::{ContextId, SubId, Takes};
use crate::subject::{Pattern, Subject};

/// The version that this build speaks.
pub(crate) const VERSION: u16 = 3;

/// The most patterns of one subscription.
pub(crate) const PATTERNS_MAX: usize = 64;

/// The most receivers that one grant names.
pub(crate) const TARGETS_MAX: usize = 1024;

/// The longest path of a folder.
pub(crate) const FOLDER_MAX: usize = 4096;

/// A process that takes part, the node's own included.
pub(crate) type Member = u32;

/// The node's own process.
pub(crate) const NODE: Member = 0;

/// A lane, unique in its node.
pub(crate) type LaneNumber = u64;

/// Who made a context.
pub(crate) fn member_of_context(id: ContextId) -> Member {
    (id >> 16) as Member
}

/// Who made a subscription or a lane.
pub(crate) fn member_of(id: u64) -> Member {
    (id >> 32) as Member
}

/// A subscription as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sub {
    pub id: SubId,
    pub context: ContextId,
    pub owner: String,
    pub capacity: u32,
    /// Another node's, over a link.
    pub link: bool,
    pub wants: Vec<Want>,
}

/// One pattern, and what is taken under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Want {
    pub pattern: String,
    pub takes: Takes,
}

/// What a grant lets its lane say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum Means {
    /// Messages of an agent on a subject, to these: each a subscription and the place of its counters.
    Deliver { source: String, subject: String, to: Vec<(SubId, u16)> },
    /// Answers of an instance.
    Answer { from: SubId },
    /// Nothing on the lane: the spool of an agent to a subscription is there to be read.
    Keep { source: String, to: SubId },
}

/// What a process says to its node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum Ask {
    /// First of all.
    Hello { oldest: u16, newest: u16, member: Member, name: String, token: Option<String> },
    /// A context begins; with its mailbox's control page.
    Context { id: ContextId, name: String },
    /// A context ended.
    ContextGone { id: ContextId },
    /// A name for an agent.
    Agent { ask: u64, name: String, context: ContextId },
    /// An agent ended.
    AgentGone { name: String },
    /// A subscription, answered when everybody knows it.
    Subscribe { ask: u64, sub: Sub },
    /// A subscription ended.
    Unsubscribe { sub: SubId },
    /// A lane to another process's context; with the sender's region and its bell.
    Open { lane: LaneNumber, from: ContextId, to: ContextId, shape: Shape },
    /// The receiving end of a lane is there; with the receiver's region and its bell.
    Ready { lane: LaneNumber },
    /// There will be no such lane.
    Decline { lane: LaneNumber, why: String },
    /// A lane is no longer used, or its other end broke a rule.
    Close { lane: LaneNumber, broke: Option<String> },
    /// An index of a lane's table.
    Grant { lane: LaneNumber, index: u16, means: Means },
    /// The receiver knows the index.
    Known { lane: LaneNumber, index: u16 },
    /// It has no use for the index: the spool cannot be read.
    Barred { lane: LaneNumber, index: u16 },
    /// It delivers nothing more under an index.
    Withheld { lane: LaneNumber, index: u16 },
    /// Memory for long payloads on a lane, in slots; with the region.
    Region { lane: LaneNumber, region: u16, bytes: u32, slot: u32 },
    /// The receiver has mapped it.
    Mapped { lane: LaneNumber, region: u16 },
    /// There is nothing any more in such a region.
    Unmap { lane: LaneNumber, region: u16 },
    /// What the process's newest memory for long payloads stands on.
    Memory { rungs: Vec<Rung> },
    /// A larger ring of a class, 0 for the urgent one; with the sender's region.
    Grow { lane: LaneNumber, class: u8, bytes: u32 },
    /// The receiver has taken it in.
    Grown { lane: LaneNumber, class: u8 },
    /// A requester gave up.
    Cancel { from: ContextId, to: ContextId, correlation: u64 },
    /// What was told up to that change is done.
    Applied { change: u64 },
}

/// What a node says to a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum Tell {
    /// The first answer; with the folder of the node's spools, if the process may use them, and what its memory for long payloads shall be like.
    Welcome { version: u16, node: String, spools: Option<String>, memory: PayloadMemory },
    /// The first answer, and the last.
    Rejected { why: String },
    /// What the process shows, once, to be let in again after the node was lost, if it had to show a token.
    Again { secret: String },
    /// Everything there is has been told.
    Settled,
    /// A context of another process, and whether that may use the node's spools.
    Context { id: ContextId, name: String, spools: bool },
    /// It ended.
    ContextGone { id: ContextId },
    /// What an agent may not send on a subject is not delivered out of a spool either.
    Withheld { change: u64, source: String, subject: String },
    /// A subscription of another process.
    Subscribed { change: u64, sub: Sub },
    /// It ended.
    Unsubscribed { change: u64, sub: SubId },
    /// What was asked is done.
    Done { ask: u64 },
    /// What was asked is refused.
    Refused { ask: u64, why: String },
    /// Somebody opens a lane to a context here; with the sender's region and its bell.
    Offer { lane: LaneNumber, from: ContextId, to: ContextId, shape: Shape },
    /// A lane is open; with the receiver's region, its bell and its control page.
    Opened { lane: LaneNumber, from: ContextId },
    /// There will be no lane.
    Declined { lane: LaneNumber, from: ContextId, why: String },
    /// A lane has ended: its other end, or the node, closed it.
    Closed { lane: LaneNumber, at: ContextId },
    /// An index of a lane that ends here has a meaning from now on.
    Grant { lane: LaneNumber, to: ContextId, index: u16, means: Means },
    /// What an index of a lane that ends here means may no longer be said.
    Revoke { lane: LaneNumber, to: ContextId, index: u16 },
    /// What an index means may not be said, now or any more.
    Revoked { lane: LaneNumber, from: ContextId, index: u16 },
    /// An index may be used.
    Granted { lane: LaneNumber, from: ContextId, index: u16 },
    /// The sender of a lane that ends here has memory for long payloads; with the region.
    Region { lane: LaneNumber, to: ContextId, region: u16, bytes: u32, slot: u32 },
    /// Slots of a region may be passed.
    Mapped { lane: LaneNumber, from: ContextId, region: u16 },
    /// There is nothing any more in such a region.
    Unmap { lane: LaneNumber, to: ContextId, region: u16 },
    /// A larger ring of a lane that ends here; with the sender's region.
    Grow { lane: LaneNumber, to: ContextId, class: u8, bytes: u32 },
    /// It is taken in.
    Grown { lane: LaneNumber, from: ContextId, class: u8 },
    /// A requester gave up.
    Cancel { from: ContextId, to: ContextId, correlation: u64 },
    /// The node takes nothing new.
    Drain,
}

/// What a handle that comes with a frame must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A region of that many bytes.
    Region(usize),
    /// A bell.
    Bell,
}

/// Why a frame was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("a frame is no {0}: {1}")]
    Json(&'static str, String),
    #[error("a frame has {field} of {len}, above the limit of {max}")]
    TooMany { field: &'static str, len: usize, max: usize },
    #[error(transparent)]
    Subject(#[from] crate::subject::SubjectError),
    #[error("memory of {bytes} bytes in slots of {slot} is impossible")]
    Slots { bytes: u32, slot: u32 },
    #[error("a ring of {bytes} bytes for class {class} is impossible")]
    Ring { class: u8, bytes: u32 },
    #[error("a frame of {0} bytes is longer than any may be")]
    TooLong(usize),
}

fn bounded(field: &'static str, len: usize, max: usize) -> Result<(), Malformed> {
    if len > max { Err(Malformed::TooMany { field, len, max }) } else { Ok(()) }
}

/// The largest region of slots: one of the largest payload.
const REGION_MAX: u32 = 64 << 20;

fn region_is_good(bytes: u32, slot: u32) -> Result<(), Malformed> {
    bounded("bytes of memory", bytes as usize, REGION_MAX as usize)?;
    if slot == 0 || !bytes.is_multiple_of(slot) { Err(Malformed::Slots { bytes, slot }) } else { Ok(()) }
}

fn ring_is_good(class: u8, bytes: u32) -> Result<(), Malformed> {
    let good = class < 2 && Shape { ring: bytes, edges: 2 }.is_good();
    if good { Ok(()) } else { Err(Malformed::Ring { class, bytes }) }
}

impl Means {
    fn check(&self) -> Result<(), Malformed> {
        if let Self::Deliver { source, subject, to } = self {
            Subject::new(subject)?;
            bounded("a source", source.len(), crate::subject::LENGTH_MAX)?;
            bounded("receivers", to.len(), TARGETS_MAX)?;
        }
        if let Self::Keep { source, .. } = self {
            bounded("a source", source.len(), crate::subject::LENGTH_MAX)?;
        }
        Ok(())
    }
}

impl Sub {
    fn check(&self) -> Result<(), Malformed> {
        bounded("an owner", self.owner.len(), crate::subject::LENGTH_MAX)?;
        bounded("patterns", self.wants.len(), PATTERNS_MAX)?;
        self.wants.iter().try_for_each(|want| Ok(Pattern::new(&want.pattern).map(drop)?))
    }
}

impl Ask {
    /// The frame that says it.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a frame holds numbers and texts alone")
    }

    /// Reads a process's frame.
    pub fn decode(frame: &[u8]) -> Result<Self, Malformed> {
        let ask: Self =
            serde_json::from_slice(frame).map_err(|why| Malformed::Json("question", why.to_string()))?;
        match &ask {
            Self::Hello { name, token, .. } => {
                bounded("a name", name.len(), crate::subject::LENGTH_MAX)?;
                bounded("a token", token.as_ref().map_or(0, String::len), 1024)?;
            }
            Self::Context { name, .. } | Self::Agent { name, .. } => drop(Subject::new(name)?),
            Self::Subscribe { sub, .. } => sub.check()?,
            Self::Grant { means, .. } => means.check()?,
            Self::Region { bytes, slot, .. } => region_is_good(*bytes, *slot)?,
            Self::Memory { rungs } => {
                bounded("rungs", rungs.len(), RUNGS_MAX)?;
                let texts = rungs.iter().flat_map(|rung| [&rung.name, &rung.why]);
                let longest = texts.map(|text| text.chars().count()).max().unwrap_or(0);
                bounded("a rung's text", longest, TEXT_MAX)?;
            }
            Self::Grow { class, bytes, .. } => ring_is_good(*class, *bytes)?,
            Self::Grown { class, .. } => ring_is_good(*class, 1 << 10)?,
            _ => {}
        }
        Ok(ask)
    }

    /// What must come with it.
    pub fn wants(&self) -> Vec<Wanted> {
        match self {
            Self::Context { .. } => vec![Wanted::Region(crate::intake::CONTROL_LEN)],
            Self::Open { shape, .. } => vec![Wanted::Region(shape.sender_len()), Wanted::Bell],
            Self::Region { bytes, .. } => vec![Wanted::Region(*bytes as usize)],
            Self::Grow { bytes, .. } => vec![Wanted::Region(sender_len(*bytes as usize))],
            // The length is the offer's: the node knows it by the lane.
            Self::Ready { .. } => vec![Wanted::Region(0), Wanted::Bell],
            _ => Vec::new(),
        }
    }
}

impl Tell {
    /// The frame that says it.
    pub fn encode(&self) -> Result<Vec<u8>, Malformed> {
        let frame = serde_json::to_vec(self).expect("a frame holds numbers and texts alone");
        if frame.len() > FRAME_MAX { Err(Malformed::TooLong(frame.len())) } else { Ok(frame) }
    }

    /// Reads a node's frame.
    pub fn decode(frame: &[u8]) -> Result<Self, Malformed> {
        let tell: Self =
            serde_json::from_slice(frame).map_err(|why| Malformed::Json("answer", why.to_string()))?;
        match &tell {
            Self::Subscribed { sub, .. } => sub.check()?,
            Self::Grant { means, .. } => means.check()?,
            Self::Context { name, .. } => drop(Subject::new(name)?),
            Self::Withheld { source, subject, .. } => {
                bounded("a source", source.len(), crate::subject::LENGTH_MAX)?;
                drop(Subject::new(subject)?);
            }
            Self::Welcome { spools: Some(folder), .. } => bounded("a folder", folder.len(), FOLDER_MAX)?,
            Self::Region { bytes, slot, .. } => region_is_good(*bytes, *slot)?,
            Self::Grow { class, bytes, .. } => ring_is_good(*class, *bytes)?,
            Self::Grown { class, .. } => ring_is_good(*class, 1 << 10)?,
            _ => {}
        }
        Ok(tell)
    }
}
