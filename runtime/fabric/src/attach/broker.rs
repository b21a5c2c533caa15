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
use super::standing::{PayloadMemory, Rung};
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
    /// It may use the node's spools.
    spools: bool,
    /// What its memory for long payloads stands on.
    memory: Vec<Rung>,
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
    /// What its indices mean.
    given: BTreeMap<u16, Means>,
}

/// A lane, as the node knows it.
pub(crate) struct Known {
    pub number: LaneNumber,
    /// Names of the contexts.
    pub from: String,
    pub to: String,
    pub shape: Shape,
    /// Whose counters lie where.
    pub places: BTreeMap<u16, String>,
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
    /// Where BACKGROUND messages between processes are kept.
    spools: Option<String>,
    /// What memory for long payloads shall be like.
    memory: PayloadMemory,
    members: BTreeMap<Member, Joined>,
    contexts: BTreeMap<ContextId, Place<H>>,
    agents: BTreeMap<String, ContextId>,
    subscriptions: BTreeMap<SubId, Sub>,
    lanes: BTreeMap<LaneNumber, Lane>,
    change: u64,
    asked: Vec<Asked>,
    /// What agents may not send: agent and subject.
    revoked: BTreeSet<(String, String)>,
    /// Indices that receivers still have to take note of.
    revoking: BTreeSet<(LaneNumber, u16)>,
    out: Vec<Out<H>>,
}

impl<H: Clone> Broker<H> {
    /// One that knows the node's own process alone, and perhaps a folder for spools.
    pub fn new(node: String, spools: Option<String>) -> Self {
        let own = Joined { spools: spools.is_some(), ..Joined::default() };
        Self {
            node,
            spools,
            memory: PayloadMemory::Plain,
            members: BTreeMap::from([(NODE, own)]),
            contexts: BTreeMap::new(),
            agents: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            lanes: BTreeMap::new(),
            change: 0,
            asked: Vec::new(),
            revoked: BTreeSet::new(),
            revoking: BTreeSet::new(),
            out: Vec::new(),
        }
    }

    /// Has processes that join from now on make their memory for long payloads so.
    pub fn prefer(&mut self, memory: PayloadMemory) {
        self.memory = memory;
    }

    /// What a process's memory for long payloads stands on, if it told.
    pub fn memory_of(&self, member: Member) -> Vec<Rung> {
        self.members.get(&member).map(|joined| joined.memory.clone()).unwrap_or_default()
    }

    /// What is to be told since the last call.
    pub fn take(&mut self) -> Vec<Out<H>> {
        std::mem::take(&mut self.out)
    }

    /// Whether that process takes part.
    pub fn has(&self, member: Member) -> bool {
        self.members.contains_key(&member)
    }

    /// Whether there is such a lane.
    pub fn has_lane(&self, lane: LaneNumber) -> bool {
        self.lanes.contains_key(&lane)
    }

    /// The length of the receiver's region of a lane that was offered.
    pub fn receiver_len(&self, lane: LaneNumber) -> Option<usize> {
        self.lanes.get(&lane).map(|lane| lane.shape.receiver_len())
    }

    /// A process is admitted, of the node's own user or of another: it is told everything there is.
    pub fn join(&mut self, member: Member, own: bool) {
        let spools = self.spools.clone().filter(|_| own);
        let (told, applied) = (self.change, self.change);
        let joined = Joined { spools: spools.is_some(), told, applied, ..Joined::default() };
        self.members.insert(member, joined);
        self.tell(
            member,
            Tell::Welcome { version: VERSION, node: self.node.clone(), spools, memory: self.memory },
        );
        let contexts: Vec<_> = self.contexts.iter().map(|(id, place)| (*id, place.name.clone())).collect();
        for (id, name) in contexts {
            let spools = self.has_spools(id);
            self.tell(member, Tell::Context { id, name, spools });
        }
        for (source, subject) in self.revoked.clone() {
            self.tell(member, Tell::Withheld { change: self.change, source, subject });
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

    /// Since when somebody has owed an answer about a change, nanoseconds.
    pub fn behind_since(&self) -> Option<u64> {
        self.guests().filter_map(|(_, joined)| joined.behind_since).min()
    }

    /// Processes that have owed an answer about a change since before `since`: to be cut off, so that nobody waits for them for ever.
    pub fn behind(&self, since: u64) -> Vec<Member> {
        let late = |joined: &Joined| joined.behind_since.is_some_and(|began| began < since);
        self.guests().filter(|(_, joined)| late(joined)).map(|(member, _)| *member).collect()
    }

    /// All but the node's own process.
    fn guests(&self) -> impl Iterator<Item = (&Member, &Joined)> {
        self.members.iter().filter(|(member, _)| **member != NODE)
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
                    let spools = self.has_spools(id);
                    self.tell_others(member, &Tell::Context { id, name, spools });
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
                    self.tell_change(Some(member), &Tell::Unsubscribed { change: self.change, sub }, now);
                }
            }
            Ask::Memory { rungs } => {
                self.members.get_mut(&member).ok_or(Breach::Stranger)?.memory = rungs;
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
                    self.lanes.insert(
                        lane,
                        Lane { from, to, shape, open: false, grown: 0, given: BTreeMap::new() },
                    );
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
                self.keep_lanes(|number, _| number != lane);
                self.tell(member_of_context(from), Tell::Declined { lane, from, why });
            }
            Ask::Close { lane, .. } => {
                let Some(known) = self.lanes.get(&lane) else { return Ok(()) };
                let (from, to) = (known.from, known.to);
                let ends = [from, to].map(|context| member_of_context(context) == member);
                its("a lane", ends.contains(&true))?;
                self.keep_lanes(|number, _| number != lane);
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
            Ask::Barred { lane, index } => {
                let Some(known) = self.lanes.get_mut(&lane) else { return Ok(()) };
                its("a lane", member_of_context(known.to) == member)?;
                known.given.remove(&index);
                let from = known.from;
                self.tell(member_of_context(from), Tell::Revoked { lane, from, index });
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
            Ask::Withheld { lane, index } => {
                let Some(known) = self.lanes.get(&lane) else { return Ok(()) };
                its("a lane", member_of_context(known.to) == member)?;
                self.revoking.remove(&(lane, index));
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
        self.tell_change(Some(member), &Tell::Subscribed { change, sub }, now);
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
                if self.revoked.contains(&(source.clone(), subject.clone())) {
                    self.tell(member, Tell::Revoked { lane, from: known.from, index });
                    return Ok(());
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
            Means::Keep { source, to: target } => {
                let its_own = |at: &ContextId| member_of_context(*at) == member;
                if member != NODE && !self.agents.get(source).is_some_and(its_own) {
                    return Err(Breach::Source(source.clone()));
                }
                let Some(sub) = self.subscriptions.get(target) else {
                    reach!("attach.granted_to_nobody");
                    return Ok(());
                };
                its("a subscription", sub.context == to)?;
                if !(self.has_spools(known.from) && self.has_spools(to)) {
                    self.tell(member, Tell::Revoked { lane, from: known.from, index });
                    return Ok(());
                }
            }
        }
        if let Some(known) = self.lanes.get_mut(&lane) {
            known.given.insert(index, means.clone());
        }
        self.tell(member_of_context(to), Tell::Grant { lane, to, index, means });
        Ok(())
    }

    /// Whether the process of a context may use the node's spools.
    fn has_spools(&self, context: ContextId) -> bool {
        self.members.get(&member_of_context(context)).is_some_and(|joined| joined.spools)
    }

    /// From now on an agent may not send on a subject to other processes. Returns the indices under which it could, and the change that tells
    /// everybody; they [have to take note](Self::revoking_at).
    pub fn revoke(&mut self, agent: &str, subject: &str, now: u64) -> (BTreeSet<(LaneNumber, u16)>, u64) {
        self.revoked.insert((agent.to_owned(), subject.to_owned()));
        self.change += 1;
        let (change, source, subject_text) = (self.change, agent.to_owned(), subject.to_owned());
        let withheld = Tell::Withheld { change, source, subject: subject_text };
        self.tell_change(None, &withheld, now);
        let is_it = |means: &Means| matches!(means, Means::Deliver { source, subject: on, .. } if source == agent && on == subject);
        let mut taken = Vec::new();
        for (number, lane) in &mut self.lanes {
            let indices: Vec<_> =
                lane.given.iter().filter(|(_, means)| is_it(means)).map(|(index, _)| *index).collect();
            taken.extend(indices.iter().map(|index| (*number, lane.from, lane.to, *index)));
            indices.iter().for_each(|index| drop(lane.given.remove(index)));
        }
        for &(lane, from, to, index) in &taken {
            self.tell(member_of_context(to), Tell::Revoke { lane, to, index });
            self.tell(member_of_context(from), Tell::Revoked { lane, from, index });
        }
        let indices: BTreeSet<_> = taken.iter().map(|(lane, _, _, index)| (*lane, *index)).collect();
        self.revoking.extend(&indices);
        (indices, change)
    }

    /// Those who have not taken note of a change, or of indices that end at them.
    pub fn revoking_at(&self, (indices, change): &(BTreeSet<(LaneNumber, u16)>, u64)) -> Vec<Member> {
        let waiting = self.revoking.intersection(indices);
        let receivers = waiting.filter_map(|(lane, _)| Some(member_of_context(self.lanes.get(lane)?.to)));
        let behind = self.guests().filter(|(_, joined)| joined.applied < *change).map(|(member, _)| *member);
        receivers.chain(behind).collect()
    }

    /// The lanes there are.
    pub fn lanes(&self) -> impl Iterator<Item = Known> + '_ {
        let name = |id: &ContextId| self.contexts.get(id).map_or_else(String::new, |at| at.name.clone());
        self.lanes.iter().map(move |(number, lane)| {
            let targets = lane.given.values().flat_map(|means| match means {
                Means::Deliver { to, .. } => to.as_slice(),
                Means::Answer { .. } | Means::Keep { .. } => &[],
            });
            let owner = |sub| self.subscriptions.get(sub).map(|sub: &Sub| sub.owner.clone());
            let places = targets.filter_map(|(sub, place)| Some((*place, owner(sub)?))).collect();
            Known { number: *number, from: name(&lane.from), to: name(&lane.to), shape: lane.shape, places }
        })
    }

    fn end_context(&mut self, id: ContextId, member: Member) {
        if self.contexts.remove(&id).is_none() {
            return;
        }
        self.subscriptions.retain(|_, sub| sub.context != id);
        self.keep_lanes(|_, lane| lane.from != id && lane.to != id);
        self.tell_others(member, &Tell::ContextGone { id });
    }

    /// Ends all lanes but those: nobody has to take note of anything on them any more.
    fn keep_lanes(&mut self, is_kept: impl Fn(LaneNumber, &Lane) -> bool) {
        self.lanes.retain(|number, lane| is_kept(*number, lane));
        self.revoking.retain(|(lane, _)| self.lanes.contains_key(lane));
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
    fn tell_change(&mut self, by: Option<Member>, tell: &Tell, now: u64) {
        let change = self.change;
        let others: Vec<_> = self.members.keys().copied().filter(|member| Some(*member) != by).collect();
        for to in others {
            if let Some(joined) = self.members.get_mut(&to) {
                joined.behind_since.get_or_insert(now);
                joined.told = change;
            }
            self.tell(to, tell.clone());
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach::control::Want;
    use crate::registry::Takes;
    use proptest::prelude::*;

    type Node = Broker<u8>;

    const ADA: Member = 1;
    const BEN: Member = 2;

    fn context(member: Member) -> ContextId {
        u64::from(member) << 16 | 1
    }

    fn id(member: Member, number: u64) -> u64 {
        u64::from(member) << 32 | number
    }

    fn sub(member: Member, number: u64, pattern: &str) -> Sub {
        let takes = Takes { events: true, ..Takes::default() };
        Sub {
            id: id(member, number),
            context: context(member),
            owner: format!("agent-{member}"),
            capacity: 4,
            link: false,
            wants: vec![Want { pattern: pattern.into(), takes }],
        }
    }

    const SHAPE: Shape = Shape { ring: 1 << 14, edges: 2 };

    fn open(from: Member, to: Member) -> Ask {
        Ask::Open { lane: id(from, 1), from: context(from), to: context(to), shape: SHAPE }
    }

    /// A node with two processes, each with a context and an agent, and everything told.
    fn two() -> Node {
        let mut node = Broker::new("node".into(), None);
        for member in [ADA, BEN] {
            node.join(member, true);
            let name = format!("main-{member}");
            node.ask(member, Ask::Context { id: context(member), name }, vec![7], 0).unwrap();
            let name = format!("agent-{member}");
            node.ask(member, Ask::Agent { ask: 1, name, context: context(member) }, vec![], 0).unwrap();
        }
        node.take();
        node
    }

    fn told(node: &mut Node, to: Member) -> Vec<Tell> {
        node.take().into_iter().filter(|out| out.to == to).map(|out| out.tell).collect()
    }

    #[test]
    fn who_joins_is_told_everything_there_is_before_anything_new() {
        let mut node = two();
        let news = sub(ADA, 1, "news");
        node.ask(ADA, Ask::Subscribe { ask: 2, sub: news.clone() }, vec![], 0).unwrap();
        node.take();
        node.join(3, true);
        let told = told(&mut node, 3);
        assert!(matches!(told.first(), Some(Tell::Welcome { .. })) && told.last() == Some(&Tell::Settled));
        for member in [ADA, BEN] {
            let (id, name) = (context(member), format!("main-{member}"));
            assert!(told.contains(&Tell::Context { id, name, spools: false }));
        }
        assert!(told.contains(&Tell::Subscribed { change: 1, sub: news }));
    }

    #[test]
    fn a_spool_is_for_processes_of_the_nodes_own_user_and_only_they_are_told_where() {
        for own in [true, false] {
            let mut node: Node = Broker::new("node".into(), Some("/run/node.spools".into()));
            node.join(ADA, true);
            node.join(BEN, own);
            let told_where = node.take().into_iter().filter_map(|out| match out.tell {
                Tell::Welcome { spools: Some(_), .. } => Some(out.to),
                _ => None,
            });
            assert_eq!(told_where.collect::<Vec<_>>(), if own { vec![ADA, BEN] } else { vec![ADA] });
            for member in [ADA, BEN] {
                let (id, name) = (context(member), format!("main-{member}"));
                node.ask(member, Ask::Context { id, name }, vec![7], 0).unwrap();
                let agent = Ask::Agent { ask: 1, name: format!("agent-{member}"), context: id };
                node.ask(member, agent, vec![], 0).unwrap();
            }
            let of_ben = Tell::Context { id: context(BEN), name: "main-2".into(), spools: own };
            assert!(told(&mut node, ADA).contains(&of_ben));
            node.ask(BEN, Ask::Subscribe { ask: 2, sub: sub(BEN, 1, "news") }, vec![], 0).unwrap();
            let lane = id(ADA, 1);
            let open = Ask::Open { lane, from: context(ADA), to: context(BEN), shape: SHAPE };
            node.ask(ADA, open, vec![1, 2], 0).unwrap();
            node.take();
            let keep = Means::Keep { source: "agent-1".into(), to: id(BEN, 1) };
            node.ask(ADA, Ask::Grant { lane, index: 0, means: keep.clone() }, vec![], 0).unwrap();
            let (to, tell) = match own {
                true => (BEN, Tell::Grant { lane, to: context(BEN), index: 0, means: keep }),
                false => (ADA, Tell::Revoked { lane, from: context(ADA), index: 0 }),
            };
            assert_eq!(node.take(), [Out { to, tell, handles: vec![] }]);
            if own {
                node.ask(BEN, Ask::Barred { lane, index: 0 }, vec![], 0).unwrap();
                assert_eq!(told(&mut node, ADA), [Tell::Revoked { lane, from: context(ADA), index: 0 }]);
            }
            let anothers = Means::Keep { source: "agent-2".into(), to: id(BEN, 1) };
            let forged = node.ask(ADA, Ask::Grant { lane, index: 1, means: anothers }, vec![], 0);
            assert_eq!(forged, Err(Breach::Source("agent-2".into())));
        }
    }

    #[test]
    fn a_leave_that_is_taken_away_is_gone_when_everybody_has_taken_note_who_comes_later_too() {
        let mut node = two();
        let revoked = node.revoke("agent-1", "news", 5);
        let withheld = Tell::Withheld { change: 1, source: "agent-1".into(), subject: "news".into() };
        assert_eq!(told(&mut node, BEN), std::slice::from_ref(&withheld));
        assert_eq!(node.revoking_at(&revoked), [ADA, BEN]);
        node.ask(ADA, Ask::Applied { change: 1 }, vec![], 6).unwrap();
        assert_eq!((node.revoking_at(&revoked), node.behind(6)), (vec![BEN], vec![BEN]));
        node.ask(BEN, Ask::Applied { change: 1 }, vec![], 6).unwrap();
        assert!(node.revoking_at(&revoked).is_empty());
        node.join(3, true);
        assert!(told(&mut node, 3).contains(&withheld), "before it is told that this is all");
    }

    #[test]
    fn a_subscriber_is_answered_when_the_last_of_the_others_knows_or_is_cut_off() {
        for cut_off in [false, true] {
            let mut node = two();
            node.ask(ADA, Ask::Subscribe { ask: 2, sub: sub(ADA, 1, "news") }, vec![], 5).unwrap();
            assert!(told(&mut node, ADA).is_empty(), "nobody knows yet");
            node.ask(NODE, Ask::Applied { change: 1 }, vec![], 6).unwrap();
            assert!(told(&mut node, ADA).is_empty(), "the other process does not");
            assert!(node.behind(5).is_empty() && node.behind_since() == Some(5));
            assert_eq!(node.behind(6), [BEN]);
            if cut_off {
                node.leave(BEN);
            } else {
                node.ask(BEN, Ask::Applied { change: 1 }, vec![], 7).unwrap();
            }
            assert!(told(&mut node, ADA).contains(&Tell::Done { ask: 2 }));
            assert!(node.behind(u64::MAX).is_empty());
        }
    }

    #[test]
    fn a_lane_is_brought_from_one_end_to_the_other_and_may_say_what_its_sender_may() {
        let mut node = two();
        node.ask(BEN, Ask::Subscribe { ask: 2, sub: sub(BEN, 1, "news.*") }, vec![], 0).unwrap();
        node.take();
        node.ask(ADA, open(ADA, BEN), vec![1, 2], 0).unwrap();
        let (lane, from, to) = (id(ADA, 1), context(ADA), context(BEN));
        let offer = Out { to: BEN, tell: Tell::Offer { lane, from, to, shape: SHAPE }, handles: vec![1, 2] };
        assert_eq!(node.take(), [offer]);
        node.ask(BEN, Ask::Ready { lane }, vec![3, 4], 0).unwrap();
        let opened = Out { to: ADA, tell: Tell::Opened { lane, from }, handles: vec![3, 4, 7] };
        assert_eq!(node.take(), [opened], "with the page of the receiver's mailbox");
        let means = |source: &str, subject: &str, target| {
            let (source, subject) = (source.into(), subject.into());
            Means::Deliver { source, subject, to: vec![(target, 0)] }
        };
        let grant = |means| Ask::Grant { lane, index: 0, means };
        let good = means("agent-1", "news.eu", id(BEN, 1));
        node.ask(ADA, grant(good.clone()), vec![], 0).unwrap();
        assert_eq!(told(&mut node, BEN), [Tell::Grant { lane, to, index: 0, means: good }]);
        node.ask(BEN, Ask::Known { lane, index: 0 }, vec![], 0).unwrap();
        assert_eq!(told(&mut node, ADA), [Tell::Granted { lane, from, index: 0 }]);
        let refused = [
            (means("agent-2", "news.eu", id(BEN, 1)), Breach::Source("agent-2".into())),
            (means("agent-1", "orders", id(BEN, 1)), Breach::Subject { subject: "orders".into() }),
            (Means::Answer { from: id(BEN, 1) }, Breach::NotIts("a subscription")),
        ];
        for (means, breach) in refused {
            assert_eq!(node.ask(ADA, grant(means), vec![], 0), Err(breach));
        }
        // One that has just ended was told to have, so this is no breach, and leads to nothing.
        node.ask(ADA, grant(means("agent-1", "news.eu", id(BEN, 9))), vec![], 0).unwrap();
        assert_eq!(node.take(), []);
    }

    #[test]
    fn nobody_speaks_for_another() {
        let mut node = two();
        node.ask(ADA, open(ADA, BEN), vec![1, 2], 0).unwrap();
        let lane = id(ADA, 1);
        let forged = [
            Ask::Context { id: context(BEN) + 1, name: "x".into() },
            Ask::ContextGone { id: context(BEN) },
            Ask::Agent { ask: 1, name: "x".into(), context: context(BEN) },
            Ask::Subscribe { ask: 1, sub: sub(BEN, 5, "x") },
            Ask::Unsubscribe { sub: id(BEN, 1) },
            open(BEN, ADA),
            Ask::Ready { lane },
            Ask::Decline { lane, why: "x".into() },
            Ask::Known { lane, index: 0 },
            Ask::Mapped { lane, region: 0 },
            Ask::Grown { lane, class: 0 },
            Ask::Cancel { from: context(BEN), to: context(ADA), correlation: 1 },
        ];
        for ask in forged {
            let answer = node.ask(ADA, ask.clone(), vec![7], 0);
            assert!(matches!(answer, Err(Breach::NotIts(_))), "{ask:?}: {answer:?}");
        }
        assert_eq!(node.ask(3, Ask::Applied { change: 0 }, vec![], 0), Err(Breach::Stranger));
        assert_eq!(
            node.ask(ADA, open(ADA, BEN), vec![1, 2], 0),
            Err(Breach::Twice { what: "a lane", number: lane })
        );
        assert_eq!(node.ask(ADA, Ask::Applied { change: 9 }, vec![], 0), Err(Breach::Future(9)));
    }

    #[test]
    fn what_a_process_had_goes_with_it_and_nobody_waits_for_it() {
        let mut node = two();
        node.ask(ADA, Ask::Subscribe { ask: 2, sub: sub(ADA, 1, "news") }, vec![], 0).unwrap();
        node.ask(NODE, Ask::Applied { change: 1 }, vec![], 0).unwrap();
        node.ask(ADA, open(ADA, BEN), vec![1, 2], 0).unwrap();
        node.take();
        assert_eq!(node.leave(BEN), ["agent-2"]);
        let told = told(&mut node, ADA);
        assert_eq!(told, [Tell::ContextGone { id: context(BEN) }, Tell::Done { ask: 2 }]);
        node.ask(BEN, Ask::Ready { lane: id(ADA, 1) }, vec![], 0).unwrap_err();
        assert_eq!(node.leave(BEN), Vec::<String>::new());
    }

    fn any_ask() -> impl Strategy<Value = Ask> {
        let member = 0u32..4;
        let number = (0u32..4, 0u64..3).prop_map(|(member, number)| id(member, number));
        let at = (0u32..4, 0u64..2).prop_map(|(member, number)| u64::from(member) << 16 | number);
        prop_oneof![
            at.clone().prop_map(|id| Ask::Context { id, name: "c".into() }),
            at.clone().prop_map(|id| Ask::ContextGone { id }),
            (at.clone(), "[ab]").prop_map(|(context, name)| Ask::Agent { ask: 1, name, context }),
            (member, 0u64..3, "[ab]").prop_map(|(member, number, pattern)| Ask::Subscribe {
                ask: 1,
                sub: sub(member, number, &pattern)
            }),
            number.clone().prop_map(|sub| Ask::Unsubscribe { sub }),
            (number.clone(), at.clone(), at.clone()).prop_map(|(lane, from, to)| Ask::Open {
                lane,
                from,
                to,
                shape: SHAPE
            }),
            number.clone().prop_map(|lane| Ask::Ready { lane }),
            number.clone().prop_map(|lane| Ask::Close { lane, broke: None }),
            (number.clone(), number.clone()).prop_map(|(lane, target)| Ask::Grant {
                lane,
                index: 0,
                means: Means::Deliver { source: "a".into(), subject: "b".into(), to: vec![(target, 0)] }
            }),
            (number.clone(), 0u16..3).prop_map(|(lane, index)| Ask::Known { lane, index }),
            (number, 0u8..2).prop_map(|(lane, class)| Ask::Grow { lane, class, bytes: 1 << 16 }),
            (at.clone(), at).prop_map(|(from, to)| Ask::Cancel { from, to, correlation: 1 }),
            (0u64..8).prop_map(|change| Ask::Applied { change }),
        ]
    }

    /// What happens in the node while two processes come, talk and go: who asks what, with how many handles; and what the node does by itself.
    /// Changes are numbered from `first` on.
    fn story(first: u64) -> Vec<(Member, Option<Ask>, usize)> {
        let (lane, news) = (id(ADA, 1), sub(BEN, 1, "news.*"));
        let (source, subject, to) = ("agent-1".into(), "news.eu".into(), vec![(id(BEN, 1), 0)]);
        let means = Means::Deliver { source, subject, to };
        let place = |member| Ask::Context { id: context(member), name: format!("main-{member}") };
        let agent = |member| Ask::Agent { ask: 1, name: format!("agent-{member}"), context: context(member) };
        let asks = [
            (ADA, place(ADA), 1),
            (ADA, agent(ADA), 0),
            (BEN, place(BEN), 1),
            (BEN, agent(BEN), 0),
            (BEN, Ask::Subscribe { ask: 2, sub: news }, 0),
            (NODE, Ask::Applied { change: first }, 0),
            (ADA, Ask::Applied { change: first }, 0),
            (ADA, open(ADA, BEN), 2),
            (BEN, Ask::Ready { lane }, 2),
            (ADA, Ask::Grant { lane, index: 0, means: means.clone() }, 0),
            (BEN, Ask::Known { lane, index: 0 }, 0),
            (ADA, Ask::Grow { lane, class: 1, bytes: 1 << 16 }, 1),
            (BEN, Ask::Grown { lane, class: 1 }, 0),
            (ADA, Ask::Region { lane, region: 0, bytes: 1 << 20, slot: 1 << 14 }, 1),
            (BEN, Ask::Mapped { lane, region: 0 }, 0),
            (ADA, Ask::Unmap { lane, region: 0 }, 0),
        ];
        let asks = asks.into_iter().map(|(by, ask, handles)| (by, Some(ask), handles));
        // The node takes the leave away, the receiver takes note, the sender asks again in vain.
        let rest = [
            (NODE, None, 0),
            (BEN, Some(Ask::Withheld { lane, index: 0 }), 0),
            (BEN, Some(Ask::Applied { change: first + 1 }), 0),
            (ADA, Some(Ask::Grant { lane, index: 1, means }), 0),
            (ADA, Some(Ask::Close { lane, broke: None }), 0),
            (BEN, Some(Ask::Unsubscribe { sub: id(BEN, 1) }), 0),
            (NODE, Some(Ask::Applied { change: first + 2 }), 0),
            (ADA, Some(Ask::Applied { change: first + 2 }), 0),
            (ADA, Some(Ask::AgentGone { name: "agent-1".into() }), 0),
            (ADA, Some(Ask::ContextGone { id: context(ADA) }), 0),
            (BEN, Some(Ask::ContextGone { id: context(BEN) }), 0),
        ];
        asks.chain(rest).collect()
    }

    fn tell_on(node: &mut Node, (by, ask, handles): (Member, Option<Ask>, usize)) {
        match ask {
            Some(ask) => {
                node.ask(by, ask.clone(), vec![7; handles], 0).unwrap_or_else(|why| panic!("{ask:?}: {why}"))
            }
            None => drop(node.revoke("agent-1", "news.eu", 0)),
        }
        assert!(node.take().iter().all(|out| [NODE, ADA, BEN].contains(&out.to) && node.has(out.to)));
    }

    /// That nothing is known of a process.
    fn assert_forgotten(node: &Node, member: Member) {
        let of_lane = |lane: &Lane| [lane.from, lane.to].map(member_of_context).contains(&member);
        assert!(!node.has(member));
        assert!(node.contexts.keys().chain(node.agents.values()).all(|at| member_of_context(*at) != member));
        assert!(node.subscriptions.keys().all(|sub| member_of(*sub) != member));
        assert!(!node.lanes.values().any(of_lane) && !node.asked.iter().any(|asked| asked.member == member));
        assert!(node.revoking.iter().all(|(lane, _)| node.lanes.contains_key(lane)), "{:?}", node.revoking);
    }

    #[test]
    fn whoever_leaves_after_whatever_question_leaves_nothing_behind_and_the_other_goes_on() {
        let mut prefixes = 0;
        for (dead, living) in [(ADA, BEN), (BEN, ADA)] {
            for prefix in 0..=story(1).len() {
                let mut node = Broker::new("node".into(), None);
                [ADA, BEN].into_iter().for_each(|member| node.join(member, true));
                let mut told = story(1).into_iter();
                told.by_ref().take(prefix).for_each(|one| tell_on(&mut node, one));
                node.leave(dead);
                node.take();
                assert_forgotten(&node, dead);
                // What was under way from the living is no breach, whatever it is about.
                for one in
                    told.filter(|(by, ask, _)| *by == living && !matches!(ask, Some(Ask::Applied { .. })))
                {
                    tell_on(&mut node, one);
                }
                node.leave(living);
                assert_forgotten(&node, living);
                assert!(node.behind_since().is_none() && node.asked.is_empty() && node.members.len() == 1);
                // Both come again, and find all as it was but for the leave that was taken away.
                node.revoked.clear();
                [ADA, BEN].into_iter().for_each(|member| node.join(member, true));
                let first = node.change + 1;
                story(first).into_iter().for_each(|one| tell_on(&mut node, one));
                prefixes += 1;
            }
        }
        assert_eq!(prefixes, 2 * 28, "two deaths after each of 27 questions, and before the first");
    }

    proptest! {
        #[test]
        fn whatever_is_asked_nobody_is_told_of_a_lane_that_has_no_end_there(
            asks in prop::collection::vec((0u32..4, any_ask(), any::<bool>()), 0..120),
        ) {
            let mut node: Node = Broker::new("node".into(), None);
            (1..3).for_each(|member| node.join(member, true));
            for (member, ask, cut) in asks {
                let broke = node.ask(member, ask, vec![1, 2], 0).is_err();
                for Out { to, tell, .. } in node.take() {
                    prop_assert!(node.has(to), "{to} does not take part, and was told {tell:?}");
                    let at = match tell {
                        Tell::Offer { to, .. } | Tell::Grant { to, .. } | Tell::Grow { to, .. } => Some(to),
                        Tell::Opened { from, .. } | Tell::Granted { from, .. } => Some(from),
                        Tell::Closed { at, .. } => Some(at),
                        Tell::Cancel { to, .. } => Some(to),
                        _ => None,
                    };
                    prop_assert!(at.is_none_or(|at| member_of_context(at) == to));
                }
                if broke && cut && member != NODE {
                    node.leave(member);
                    node.take();
                }
            }
        }
    }
}
