//! What a node decides about the processes that take part: who may say what, who is told what, when a change is known to all.
//!
//! Pure: questions and the time go in, what is to be told comes out, in order for each process. Handles are passed on unseen. A process speaks
//! for its own contexts, agents and lanes alone; a question for another's is a breach, and the process is cut off by name. Questions that
//! crossed a change on their way are no breach: they are answered by what is true now, or dropped where their end has been told already.

use std::collections::{BTreeMap, BTreeSet};

use synod_probe::reach;

use super::control::{
    Ask, LaneNumber, Means, Member, NODE, Sub, Tell, VERSION, member_of, member_of_context,
};
use super::shape::{GROWTHS, Shape};
use crate::registry::{ContextId, SubId};
use crate::subject::{Pattern, Subject};

/// The most contexts of one process.
const CONTEXTS_MAX: usize = 256;

/// The most subscriptions of one process.
const SUBSCRIPTIONS_MAX: usize = 65_536;

/// The most lanes from one process.
const LANES_MAX: usize = 4096;

/// Something to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Out<H> {
    pub to: Member,
    pub tell: Tell,
    pub handles: Vec<H>,
}

/// A rule that a process broke: it is cut off.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Breach {
    #[error("it spoke before its hello was taken")]
    Stranger,
    #[error("it said hello twice")]
    SecondHello,
    #[error("it spoke for {0} of another process")]
    NotIts(&'static str),
    #[error("it used the number {number} for {what} twice")]
    Twice { what: &'static str, number: u64 },
    #[error("it has more {what} than the {max} that one process may have")]
    TooMany { what: &'static str, max: usize },
    #[error("a lane of {ring} bytes a ring and {edges} receivers is impossible")]
    Shape { ring: u32, edges: u16 },
    #[error("it asked to send as `{0}`, which is no agent of its own")]
    Source(String),
    #[error("it asked to send `{subject}` to a subscription that does not match it")]
    Subject { subject: String },
    #[error("it said that it did a change {0} that was not told")]
    Future(u64),
}

#[derive(Debug, Default)]
struct Joined {
    told: u64,
    applied: u64,
    /// Since when it has owed an answer about a change, nanoseconds.
    behind_since: Option<u64>,
}

#[derive(Debug)]
struct Place<H> {
    name: String,
    page: H,
}

#[derive(Debug)]
struct Lane {
    from: ContextId,
    to: ContextId,
    shape: Shape,
    open: bool,
    /// Larger rings so far, of both classes.
    grown: usize,
}

/// A subscription that some do not know yet.
#[derive(Debug)]
struct Asked {
    member: Member,
    ask: u64,
    change: u64,
}

/// The node's part in what its processes do together.
#[derive(Debug)]
pub(crate) struct Broker<H> {
    node: String,
    members: BTreeMap<Member, Joined>,
    contexts: BTreeMap<ContextId, Place<H>>,
    agents: BTreeMap<String, ContextId>,
    subscriptions: BTreeMap<SubId, Sub>,
    lanes: BTreeMap<LaneNumber, Lane>,
    change: u64,
    asked: Vec<Asked>,
    out: Vec<Out<H>>,
}

impl<H: Clone> Broker<H> {
    /// One that knows the node's own process alone.
    pub fn new(node: String) -> Self {
        Self {
            node,
            members: BTreeMap::from([(NODE, Joined::default())]),
            contexts: BTreeMap::new(),
            agents: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            lanes: BTreeMap::new(),
            change: 0,
            asked: Vec::new(),
            out: Vec::new(),
        }
    }

    /// What is to be told since the last call.
    pub fn take(&mut self) -> Vec<Out<H>> {
        std::mem::take(&mut self.out)
    }

    /// Whether that process takes part.
    pub fn has(&self, member: Member) -> bool {
        self.members.contains_key(&member)
    }

    /// The length of the receiver's region of a lane that was offered.
    pub fn receiver_len(&self, lane: LaneNumber) -> Option<usize> {
        self.lanes.get(&lane).map(|lane| lane.shape.receiver_len())
    }

    /// A process is admitted: it is told everything there is.
    pub fn join(&mut self, member: Member) {
        self.members.insert(member, Joined { told: self.change, applied: self.change, behind_since: None });
        self.tell(member, Tell::Welcome { version: VERSION, node: self.node.clone() });
        let contexts: Vec<_> = self.contexts.iter().map(|(id, place)| (*id, place.name.clone())).collect();
        for (id, name) in contexts {
            self.tell(member, Tell::Context { id, name });
        }
        let subs: Vec<_> = self.subscriptions.values().cloned().collect();
        for sub in subs {
            self.tell(member, Tell::Subscribed { change: self.change, sub });
        }
        self.tell(member, Tell::Settled);
    }

    /// A process has ended, or is cut off: what it had is no more. The names of its agents are returned.
    pub fn leave(&mut self, member: Member) -> Vec<String> {
        if self.members.remove(&member).is_none() {
            return Vec::new();
        }
        let contexts: Vec<_> =
            self.contexts.keys().copied().filter(|id| member_of_context(*id) == member).collect();
        for id in contexts {
            self.end_context(id, member);
        }
        self.asked.retain(|asked| asked.member != member);
        self.settle();
        let names = self.agents_of(member);
        self.agents.retain(|_, at| member_of_context(*at) != member);
        names
    }

    /// The names of a process's agents.
    pub fn agents_of(&self, member: Member) -> Vec<String> {
        let its = self.agents.iter().filter(|(_, at)| member_of_context(**at) == member);
        its.map(|(name, _)| name.clone()).collect()
    }

    /// Processes that have owed an answer about a change since before `since`: to be cut off, so that nobody waits for them for ever.
    pub fn behind(&self, since: u64) -> Vec<Member> {
        let late = |joined: &Joined| joined.behind_since.is_some_and(|began| began < since);
        self.members.iter().filter(|(_, joined)| late(joined)).map(|(member, _)| *member).collect()
    }

    /// A question came, with its handles, which are as it [wants](Ask::wants).
    pub fn ask(&mut self, member: Member, ask: Ask, handles: Vec<H>, now: u64) -> Result<(), Breach> {
        if !self.has(member) {
            return Err(Breach::Stranger);
        }
        let mut handles = handles.into_iter();
        match ask {
            Ask::Hello { .. } => return Err(Breach::SecondHello),
            Ask::Context { id, name } => {
                its("a context", member_of_context(id) == member)?;
                let number = id;
                let fresh = !self.contexts.contains_key(&id);
                once("a context", number, fresh)?;
                let mine = |id: &&ContextId| member_of_context(**id) == member;
                few("contexts", self.contexts.keys().filter(mine).count(), CONTEXTS_MAX)?;
                if let Some(page) = handles.next() {
                    self.contexts.insert(id, Place { name: name.clone(), page });
                    self.tell_others(member, &Tell::Context { id, name });
                }
            }
            Ask::ContextGone { id } => {
                its("a context", member_of_context(id) == member)?;
                self.end_context(id, member);
            }
            Ask::Agent { ask, name, context } => {
                its("a context", member_of_context(context) == member)?;
                self.agents.insert(name, context);
                self.tell(member, Tell::Done { ask });
            }
            Ask::AgentGone { name } => {
                if self.agents.get(&name).is_some_and(|at| member_of_context(*at) == member) {
                    self.agents.remove(&name);
                }
            }
            Ask::Subscribe { ask, sub } => self.subscribe(member, ask, sub, now)?,
            Ask::Unsubscribe { sub } => {
                its("a subscription", member_of(sub) == member)?;
                if self.subscriptions.remove(&sub).is_some() {
                    self.change += 1;
                    self.tell_change(member, &Tell::Unsubscribed { change: self.change, sub }, now);
                }
            }
            Ask::Applied { change } => {
                let joined = self.members.get_mut(&member).ok_or(Breach::Stranger)?;
                if change > joined.told || change < joined.applied {
                    return Err(Breach::Future(change));
                }
                joined.applied = change;
                joined.behind_since = (change < joined.told).then_some(now);
                self.settle();
            }
            Ask::Open { lane, from, to, shape } => {
                its("a lane", member_of(lane) == member && member_of_context(from) == member)?;
                let fresh = !self.lanes.contains_key(&lane);
                once("a lane", lane, fresh)?;
                if !shape.is_good() {
                    return Err(Breach::Shape { ring: shape.ring, edges: shape.edges });
                }
                let mine = |number: &&LaneNumber| member_of(**number) == member;
                few("lanes", self.lanes.keys().filter(mine).count(), LANES_MAX)?;
                if self.contexts.contains_key(&from) && self.contexts.contains_key(&to) {
                    self.lanes.insert(lane, Lane { from, to, shape, open: false, grown: 0 });
                    let offer = Tell::Offer { lane, from, to, shape };
                    self.pass(member_of_context(to), offer, handles.collect());
                } else {
                    reach!("attach.opened_to_nobody");
                    let why = "its context has ended".to_owned();
                    self.tell(member, Tell::Declined { lane, from, why });
                }
            }
            Ask::Ready { lane } => {
                let Some(known) = self.lanes.get_mut(&lane) else { return Ok(()) };
                its("a lane", member_of_context(known.to) == member)?;
                once("a lane's end", lane, !known.open)?;
                known.open = true;
                let (from, to) = (known.from, known.to);
                let page = self.contexts.get(&to).map(|place| place.page.clone());
                let handles = handles.chain(page).collect();
                self.pass(member_of_context(from), Tell::Opened { lane, from }, handles);
            }
            Ask::Decline { lane, why } => {
                let Some(known) = self.lanes.get(&lane) else { return Ok(()) };
                its("a lane", member_of_context(known.to) == member)?;
                let from = known.from;
                self.lanes.remove(&lane);
                self.tell(member_of_context(from), Tell::Declined { lane, from, why });
            }
            Ask::Close { lane, .. } => {
                let Some(known) = self.lanes.get(&lane) else { return Ok(()) };
                let (from, to) = (known.from, known.to);
                let ends = [from, to].map(|context| member_of_context(context) == member);
                its("a lane", ends.contains(&true))?;
                self.lanes.remove(&lane);
                let at = if ends[0] { to } else { from };
                self.tell(member_of_context(at), Tell::Closed { lane, at });
            }
            Ask::Grant { lane, index, means } => self.grant(member, lane, index, means)?,
            Ask::Known { lane, index } => {
                let Some(known) = self.lanes.get(&lane) else { return Ok(()) };
                its("a lane", member_of_context(known.to) == member)?;
                let from = known.from;
                self.tell(member_of_context(from), Tell::Granted { lane, from, index });
            }
            Ask::Region { lane, region, bytes, slot } => {
                let Some(known) = self.lanes.get(&lane) else { return Ok(()) };
                its("a lane", member_of_context(known.from) == member)?;
                let to = known.to;
                let tell = Tell::Region { lane, to, region, bytes, slot };
                self.pass(member_of_context(to), tell, handles.collect());
            }
            Ask::Mapped { lane, region } => {
                let Some(known) = self.lanes.get(&lane) else { return Ok(()) };
                its("a lane", member_of_context(known.to) == member)?;
                let from = known.from;
                self.tell(member_of_context(from), Tell::Mapped { lane, from, region });
            }
            Ask::Grow { lane, class, bytes } => {
                let Some(known) = self.lanes.get_mut(&lane) else { return Ok(()) };
                its("a lane", member_of_context(known.from) == member)?;
                few("larger rings", known.grown, 2 * GROWTHS)?;
                known.grown += 1;
                let to = known.to;
                self.pass(member_of_context(to), Tell::Grow { lane, to, class, bytes }, handles.collect());
            }
            Ask::Grown { lane, class } => {
                let Some(known) = self.lanes.get(&lane) else { return Ok(()) };
                its("a lane", member_of_context(known.to) == member)?;
                let from = known.from;
                self.tell(member_of_context(from), Tell::Grown { lane, from, class });
            }
            Ask::Unmap { lane, region } => {
                let Some(known) = self.lanes.get(&lane) else { return Ok(()) };
                its("a lane", member_of_context(known.from) == member)?;
                let to = known.to;
                self.tell(member_of_context(to), Tell::Unmap { lane, to, region });
            }
            Ask::Cancel { from, to, correlation } => {
                its("a context", member_of_context(from) == member)?;
                if self.contexts.contains_key(&to) {
                    self.tell(member_of_context(to), Tell::Cancel { from, to, correlation });
                }
            }
        }
        Ok(())
    }

    fn subscribe(&mut self, member: Member, ask: u64, sub: Sub, now: u64) -> Result<(), Breach> {
        its("a subscription", member_of(sub.id) == member && member_of_context(sub.context) == member)?;
        let mine = |id: &&SubId| member_of(**id) == member;
        few("subscriptions", self.subscriptions.keys().filter(mine).count(), SUBSCRIPTIONS_MAX)?;
        if !self.contexts.contains_key(&sub.context) {
            self.tell(member, Tell::Refused { ask, why: "its context has ended".into() });
            return Ok(());
        }
        self.subscriptions.insert(sub.id, sub.clone());
        self.change += 1;
        let change = self.change;
        self.tell_change(member, &Tell::Subscribed { change, sub }, now);
        self.asked.push(Asked { member, ask, change });
        self.settle();
        Ok(())
    }

    /// An index gets its meaning if the process may say that; one about what has just ended is dropped, for its end was told.
    fn grant(&mut self, member: Member, lane: LaneNumber, index: u16, means: Means) -> Result<(), Breach> {
        let Some(known) = self.lanes.get(&lane) else { return Ok(()) };
        its("a lane", member_of_context(known.from) == member)?;
        let to = known.to;
        match &means {
            Means::Deliver { source, subject, to: targets } => {
                let its_own = |at: &ContextId| member_of_context(*at) == member;
                if member != NODE && !self.agents.get(source).is_some_and(its_own) {
                    return Err(Breach::Source(source.clone()));
                }
                for (target, _) in targets {
                    let Some(sub) = self.subscriptions.get(target) else {
                        reach!("attach.granted_to_nobody");
                        return Ok(());
                    };
                    its("a subscription", sub.context == to)?;
                    if !matches(sub, subject) {
                        return Err(Breach::Subject { subject: subject.clone() });
                    }
                }
            }
            Means::Answer { from } => its("a subscription", member_of(*from) == member)?,
        }
        self.tell(member_of_context(to), Tell::Grant { lane, to, index, means });
        Ok(())
    }

    fn end_context(&mut self, id: ContextId, member: Member) {
        if self.contexts.remove(&id).is_none() {
            return;
        }
        self.subscriptions.retain(|_, sub| sub.context != id);
        self.lanes.retain(|_, lane| lane.from != id && lane.to != id);
        self.tell_others(member, &Tell::ContextGone { id });
    }

    /// Answers those whose subscription everybody else knows by now.
    fn settle(&mut self) {
        let members = &self.members;
        let known = |asked: &Asked| {
            members.iter().all(|(member, joined)| *member == asked.member || joined.applied >= asked.change)
        };
        let (done, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.asked).into_iter().partition(known);
        self.asked = waiting;
        for asked in done {
            self.tell(asked.member, Tell::Done { ask: asked.ask });
        }
    }

    fn tell(&mut self, to: Member, tell: Tell) {
        self.pass(to, tell, Vec::new());
    }

    fn pass(&mut self, to: Member, tell: Tell, handles: Vec<H>) {
        if self.has(to) {
            self.out.push(Out { to, tell, handles });
        }
    }

    fn tell_others(&mut self, but: Member, tell: &Tell) {
        let others: BTreeSet<_> = self.members.keys().copied().filter(|member| *member != but).collect();
        for to in others {
            self.tell(to, tell.clone());
        }
    }

    /// The same for a change, which everybody has to say is done; who made it has done it.
    fn tell_change(&mut self, by: Member, tell: &Tell, now: u64) {
        let change = self.change;
        for (_, joined) in self.members.iter_mut().filter(|(member, _)| **member != by) {
            joined.behind_since.get_or_insert(now);
            joined.told = change;
        }
        self.tell_others(by, tell);
    }
}

fn its(what: &'static str, so: bool) -> Result<(), Breach> {
    if so { Ok(()) } else { Err(Breach::NotIts(what)) }
}

fn once(what: &'static str, number: u64, fresh: bool) -> Result<(), Breach> {
    if fresh { Ok(()) } else { Err(Breach::Twice { what, number }) }
}

fn few(what: &'static str, count: usize, max: usize) -> Result<(), Breach> {
    if count < max { Ok(()) } else { Err(Breach::TooMany { what, max }) }
}

fn matches(sub: &Sub, subject: &str) -> bool {
    let Ok(subject) = Subject::new(subject) else { return false };
    sub.wants.iter().any(|want| Pattern::new(&want.pattern).is_ok_and(|pattern| pattern.matches(&subject)))
}
