//! What all contexts of a node know: who is there, who subscribes to what, since which epoch.
//!
//! Everything here is off the message's way: a publisher reads one number, the epoch, and comes here only when it has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};

use crossbeam_utils::CachePadded;
use futures_util::task::AtomicWaker;
use serde::{Deserialize, Serialize};
use synod_platform::memory::Handle;
use synod_platform::watch;
use synod_probe::{event, reach};
use synod_ring::{LaneId, Port, Waiter};
use tokio::sync::Notify;

use crate::attach::LaneNote;
use crate::attach::Rung;
use crate::attach::control::{Ask, LaneNumber, Member, Sub, Want};
use crate::attach::spool::{self, Spool};
use crate::attach::uplink::{Answer, Uplink};
use crate::config::FabricConfig;
use crate::edge::{Counts, Edge};
use crate::error::AttachError;
use crate::intake::LANES;
use crate::lane::InLane;
use crate::subject::{Pattern, Subject};
use crate::trie::Trie;

/// A subscription, unique in its node: above 32 bits, the number of the process that made it.
pub(crate) type SubId = u64;

/// A context, unique in its node: above 16 bits, the number of its process.
pub(crate) type ContextId = u64;

/// What a subscription receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Takes {
    /// What is published.
    pub events: bool,
    /// Requests, as one instance of several.
    pub requests: bool,
    /// Glances at what is published.
    #[serde(default)]
    pub tap: bool,
}

/// A subscription as others see it.
pub(crate) struct Entry {
    pub id: SubId,
    pub station: Arc<Station>,
    /// The agent's name, or `node:` and the peer's for a link.
    pub owner: Arc<str>,
    pub capacity: usize,
    /// A link to another node: not for what came from another node.
    pub is_link: bool,
    /// The receiver has ended, or its link is down.
    pub gone: AtomicBool,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({} of {})", self.id, self.owner)
    }
}

/// A context as others see it.
pub(crate) struct Station {
    pub id: ContextId,
    pub name: Arc<str>,
    home: Home,
    /// Its process may use the node's spools.
    spools: bool,
    /// It was taken away. One of another process may come again, as another of the same number.
    gone: AtomicBool,
}

/// Where a context lives.
enum Home {
    /// In this process.
    Here(Here),
    /// In another, reached over the node.
    Away(Arc<Uplink>),
}

/// What a context of this process shows to others of it.
pub(crate) struct Here {
    /// Wakes the context's drain task.
    pub doorbell: Arc<Doorbell>,
    /// Where lanes to the context are made.
    pub port: Port,
    /// The mailbox's control page: processes that send to it map it, to see whether it sleeps.
    pub page: Handle,
    /// The fabric's part of lanes that the context has not seen yet.
    lanes: Mutex<Vec<(LaneId, InLane)>>,
    /// Rung when a receiver or lane of this context's found room.
    pub space: Notify,
    notes: Mutex<Vec<Note>>,
    has_notes: AtomicBool,
}

impl fmt::Debug for Station {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Station({})", self.name)
    }
}

/// What one context is told beside its lanes.
pub(crate) enum Note {
    /// A context ended: nothing will come from it.
    Ended(ContextId),
    /// The node is lost, and with it the way to a context, which may live: what it sent before it heard of that still comes.
    Lost(ContextId),
    /// A requester gave up.
    Cancel { from: ContextId, correlation: u64 },
    /// Take nothing new.
    Drain,
    /// There may be spools for the context's subscriptions.
    Recall,
    /// About a lane to or from another process.
    Lane(LaneNote),
}

impl Station {
    fn here(id: ContextId, name: &str, doorbell: Arc<Doorbell>, port: Port, page: Handle) -> Self {
        let here = Here {
            doorbell,
            port,
            page,
            lanes: Mutex::default(),
            space: Notify::new(),
            notes: Mutex::new(Vec::new()),
            has_notes: AtomicBool::new(false),
        };
        let (home, gone) = (Home::Here(here), AtomicBool::new(false));
        Self { id, name: name.into(), home, spools: false, gone }
    }

    /// What there is of it in this process; nothing if it lives in another.
    pub fn at_home(&self) -> Option<&Here> {
        match &self.home {
            Home::Here(here) => Some(here),
            Home::Away(_) => None,
        }
    }

    /// The same, for the context itself.
    ///
    /// Panics if it lives in another process.
    pub fn home(&self) -> &Here {
        self.at_home().expect("a context works in its own process")
    }

    /// The way to it, if it lives in another process.
    pub fn away(&self) -> Option<&Arc<Uplink>> {
        match &self.home {
            Home::Here(_) => None,
            Home::Away(uplink) => Some(uplink),
        }
    }

    /// Whether it was taken away: nothing reaches it any more.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Acquire)
    }

    /// Wakes whoever in it waits for room.
    pub fn tell_room(&self) {
        if let Home::Here(here) = &self.home {
            here.space.notify_waiters();
        }
    }

    /// Tells the context what another of this process has to say, by way of the node if it must be.
    pub fn tell(&self, note: Note) {
        match (&self.home, note) {
            (Home::Here(here), note) => here.tell(note),
            (Home::Away(uplink), Note::Cancel { from, correlation }) => {
                uplink.say(Ask::Cancel { from, to: self.id, correlation }, Vec::new());
            }
            // Its own process tells it the rest.
            (Home::Away(_), _) => {}
        }
    }
}

impl Here {
    pub fn tell(&self, note: Note) {
        let mut notes = self.notes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        notes.push(note);
        self.has_notes.store(true, Release);
        drop(notes);
        self.doorbell.wake();
    }

    /// Announces a lane that ends in the context; to be called before anything is sent on it.
    pub fn announce(&self, id: LaneId, lane: InLane) {
        self.lanes.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((id, lane));
    }

    pub fn take_lanes(&self) -> Vec<(LaneId, InLane)> {
        std::mem::take(&mut *self.lanes.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    pub fn take_notes(&self) -> Vec<Note> {
        if !self.has_notes.load(Acquire) {
            return Vec::new();
        }
        let mut notes = self.notes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        self.has_notes.store(false, Relaxed);
        std::mem::take(&mut *notes)
    }

    pub fn has_notes(&self) -> bool {
        self.has_notes.load(Acquire)
    }
}

/// Wakes a context's drain task: for its mailbox, for lanes from it that found room, and for notes.
#[derive(Debug, Default)]
pub(crate) struct Doorbell(pub AtomicWaker);

impl Waiter for Doorbell {
    fn wake(&self) {
        self.0.wake();
    }
}

/// One node's fabric, behind its handles.
pub(crate) struct Shared {
    pub config: FabricConfig,
    /// The number of this process among those of its node.
    member: Member,
    /// Grows with every change of who subscribes to what.
    pub epoch: CachePadded<AtomicU64>,
    registry: Mutex<Registry>,
    /// The same number, for those who wait for a change.
    changes: watch::Sender<u64>,
    retired: Mutex<Counts>,
    /// The way to the node's other processes, if there may be some.
    uplink: OnceLock<Arc<Uplink>>,
    lanes: AtomicU64,
    /// The folder of the node's spools, if this process may use them.
    spools: Mutex<Option<PathBuf>>,
    /// What agents may not send, by agent and subject, as far as it may still lie in a spool.
    withheld: Mutex<BTreeSet<(String, String)>>,
    /// What this process's newest memory for long payloads stands on, if it climbed at all.
    standing: Mutex<Vec<Rung>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({})", self.config.node)
    }
}

#[derive(Default)]
pub(crate) struct Registry {
    pub stations: BTreeMap<ContextId, Arc<Station>>,
    /// Names of agents, with their contexts.
    pub agents: BTreeMap<Arc<str>, ContextId>,
    pub subscriptions: BTreeMap<SubId, Listed>,
    pub edges: Vec<Weak<Edge>>,
    trie: Option<Trie<SubId>>,
    next_sub: SubId,
    next_context: u64,
    draining: bool,
}

/// A subscription's place in the registry.
pub(crate) struct Listed {
    pub entry: Arc<Entry>,
    pub patterns: BTreeMap<Pattern, Takes>,
}

/// One subscription that matches a subject.
pub(crate) struct Match {
    pub entry: Arc<Entry>,
    pub takes: Takes,
}

impl Shared {
    pub fn new(config: FabricConfig, member: Member) -> Self {
        Self {
            config,
            member,
            epoch: CachePadded::new(AtomicU64::new(1)),
            registry: Mutex::default(),
            changes: watch::Sender::new(1),
            retired: Mutex::default(),
            uplink: OnceLock::new(),
            lanes: AtomicU64::new(0),
            spools: Mutex::default(),
            withheld: Mutex::default(),
            standing: Mutex::default(),
        }
    }

    /// The node is found, and with it perhaps a folder of spools. What it has withheld it tells anew.
    pub fn keep_in(&self, folder: Option<PathBuf>) {
        *self.spools.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = folder;
        self.withheld.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clear();
    }

    /// New memory for long payloads stands on these rungs: the node is told, if that is news.
    pub fn stand_on(&self, rungs: Vec<Rung>) {
        let mut standing = self.standing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if *standing != rungs {
            *standing = rungs;
            drop(standing);
            self.tell_standing();
        }
    }

    fn tell_standing(&self) {
        let rungs = self.standing.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        if let Some(uplink) = self.uplink().filter(|_| !rungs.is_empty()) {
            uplink.say(Ask::Memory { rungs }, Vec::new());
        }
    }

    /// The folder of the node's spools, if this process may use them.
    pub fn spools(&self) -> Option<PathBuf> {
        self.spools.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// From now on nothing of an agent on a subject is delivered out of a spool.
    pub fn withhold(&self, source: String, subject: String) {
        self.withheld.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert((source, subject));
    }

    /// Whether that is so.
    pub fn is_withheld(&self, source: &str, subject: &str) -> bool {
        let withheld = self.withheld.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        !withheld.is_empty() && withheld.contains(&(source.to_owned(), subject.to_owned()))
    }

    /// The pattern of an agent's subscription, if that receives what is published.
    pub fn pattern_of(&self, sub: SubId) -> Option<Pattern> {
        let registry = self.registry();
        let listed = registry.subscriptions.get(&sub).filter(|listed| !listed.entry.is_link)?;
        let (pattern, takes) = listed.patterns.first_key_value()?;
        takes.events.then(|| pattern.clone())
    }

    /// There is a folder of spools now: contexts look for what waits there for their subscriptions.
    pub fn recall(&self) {
        let registry = self.registry();
        registry
            .stations
            .values()
            .filter_map(|station| station.at_home())
            .for_each(|here| here.tell(Note::Recall));
    }

    /// The spool from an agent here to a subscription of another process, if both processes may use spools.
    pub fn spool(&self, source: &Arc<str>, entry: &Entry) -> Option<Spool> {
        if !entry.station.spools
            || self.spools.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).is_none()
        {
            return None;
        }
        let name = spool::name(&entry.owner, &self.pattern_of(entry.id)?, source)?;
        Some(Spool { name, source: source.clone(), to: entry.id })
    }

    /// The way to the node's other processes, if there may be some.
    pub fn uplink(&self) -> Option<&Arc<Uplink>> {
        self.uplink.get()
    }

    /// From now on other processes may take part, reached over `uplink`; false if that was said before.
    pub fn join(&self, uplink: Arc<Uplink>) -> bool {
        self.uplink.set(uplink).is_ok()
    }

    /// A number for a lane to another process.
    pub fn next_lane(&self) -> LaneNumber {
        u64::from(self.member) << 32 | self.lanes.fetch_add(1, Relaxed)
    }

    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn add_station(
        &self,
        name: &str,
        doorbell: Arc<Doorbell>,
        port: Port,
        page: Handle,
    ) -> Result<Arc<Station>, AttachError> {
        Subject::new(name)?;
        let mut registry = self.registry();
        let mut here = registry.stations.values().filter(|station| station.at_home().is_some());
        if here.any(|station| *station.name == *name) {
            return Err(AttachError::NameTaken(name.to_owned()));
        }
        if registry.stations.len() >= LANES {
            return Err(AttachError::Contexts { max: LANES });
        }
        registry.next_context += 1;
        let id = u64::from(self.member) << 16 | registry.next_context;
        let station = Arc::new(Station::here(id, name, doorbell, port, page));
        registry.stations.insert(station.id, station.clone());
        drop(registry);
        self.tell_of_station(&station);
        Ok(station)
    }

    /// Tells the node's other processes of a context of this one.
    pub fn tell_of_station(&self, station: &Station) {
        if let (Some(uplink), Some(here)) = (self.uplink(), station.at_home()) {
            match here.page.try_clone() {
                Ok(page) => {
                    let name = station.name.to_string();
                    uplink.say(Ask::Context { id: station.id, name }, vec![page]);
                }
                Err(why) => {
                    reach!("attach.no_page");
                    event!("attach.no_page", context = &*station.name, why = &why.to_string());
                }
            }
        }
    }

    /// A context of another process.
    pub fn add_away(&self, id: ContextId, name: &str, uplink: Arc<Uplink>, spools: bool) {
        let (home, gone) = (Home::Away(uplink), AtomicBool::new(false));
        let station = Station { id, name: name.into(), home, spools, gone };
        self.registry().stations.insert(id, Arc::new(station));
    }

    /// Takes a context away, which has ended, and tells the others.
    pub fn remove_station(&self, id: ContextId) {
        self.take_station(id, Note::Ended);
    }

    fn take_station(&self, id: ContextId, note: fn(ContextId) -> Note) {
        let mut registry = self.registry();
        let Some(station) = registry.stations.remove(&id) else { return };
        station.gone.store(true, Release);
        let others: Vec<_> = registry.stations.values().cloned().collect();
        drop(registry);
        match station.away() {
            // With it went all its subscriptions.
            Some(_) => self.unlist_all(|entry| entry.station.id == id),
            None => {
                if let Some(uplink) = self.uplink() {
                    uplink.say(Ask::ContextGone { id }, Vec::new());
                }
            }
        }
        for station in others {
            station.tell(note(id));
        }
    }

    /// Takes the subscriptions of other processes away that `ended` names.
    pub fn unlist_all(&self, ended: impl Fn(&Entry) -> bool) {
        let registry = self.registry();
        let entries: Vec<_> = registry
            .subscriptions
            .values()
            .filter(|listed| listed.entry.station.away().is_some() && ended(&listed.entry))
            .map(|listed| listed.entry.clone())
            .collect();
        drop(registry);
        for entry in entries {
            entry.gone.store(true, Release);
            self.unlist(&entry);
        }
    }

    pub fn add_agent(&self, name: &Arc<str>, context: ContextId) -> Result<(), AttachError> {
        let mut registry = self.registry();
        if registry.agents.contains_key(name) {
            return Err(AttachError::NameTaken(name.to_string()));
        }
        registry.agents.insert(name.clone(), context);
        Ok(())
    }

    pub fn remove_agent(&self, name: &str) {
        self.registry().agents.remove(name);
    }

    /// The same, if it is in a context that `whose` names.
    pub fn remove_agent_of(&self, name: &str, whose: impl Fn(ContextId) -> bool) {
        let mut registry = self.registry();
        if registry.agents.get(name).is_some_and(|at| whose(*at)) {
            registry.agents.remove(name);
        }
    }

    /// The node is lost: nothing of other processes can be reached.
    pub fn lose_all_away(&self) {
        let registry = self.registry();
        let away = registry.stations.values().filter(|station| station.away().is_some());
        let ids: Vec<_> = away.map(|station| station.id).collect();
        drop(registry);
        ids.into_iter().for_each(|id| self.take_station(id, Note::Lost));
        self.tell_room();
    }

    /// A new subscription, known to nobody until it is [`list`](Self::list)ed.
    pub fn new_entry(
        &self,
        station: &Arc<Station>,
        owner: Arc<str>,
        capacity: usize,
        is_link: bool,
    ) -> Result<Arc<Entry>, AttachError> {
        let max = self.config.capacity_max;
        if capacity == 0 || capacity > max {
            return Err(AttachError::Capacity { asked: capacity, max });
        }
        let mut registry = self.registry();
        registry.next_sub += 1;
        let id = u64::from(self.member) << 32 | registry.next_sub;
        Ok(Arc::new(Entry {
            id,
            station: station.clone(),
            owner,
            capacity,
            is_link,
            gone: AtomicBool::new(false),
        }))
    }

    /// A subscription of another process.
    pub fn away_entry(
        id: SubId,
        station: Arc<Station>,
        owner: Arc<str>,
        capacity: usize,
        is_link: bool,
    ) -> Arc<Entry> {
        Arc::new(Entry { id, station, owner, capacity, is_link, gone: AtomicBool::new(false) })
    }

    /// Wakes whoever in this process waits for room.
    pub fn tell_room(&self) {
        let stations: Vec<_> = self.registry().stations.values().cloned().collect();
        stations.iter().for_each(|station| station.tell_room());
    }

    /// Makes `patterns` the ones under which a subscription is found; every publish of this process that starts after this sees them. What
    /// is returned ends when the same holds for every other.
    pub fn list(&self, entry: &Arc<Entry>, patterns: BTreeMap<Pattern, Takes>) -> Option<Answer> {
        let mut registry = self.registry();
        let patterns = if registry.draining && !entry.is_link { BTreeMap::new() } else { patterns };
        let registry_ref = &mut *registry;
        let trie = registry_ref.trie.get_or_insert_with(Trie::new);
        if let Some(old) = registry_ref.subscriptions.remove(&entry.id) {
            for pattern in old.patterns.keys() {
                trie.remove(pattern, entry.id);
            }
        }
        for pattern in patterns.keys() {
            trie.insert(pattern, entry.id);
        }
        let told = match (self.uplink(), entry.station.away()) {
            (Some(uplink), None) => Some((uplink, told_of(entry, &patterns))),
            _ => None,
        };
        registry_ref.subscriptions.insert(entry.id, Listed { entry: entry.clone(), patterns });
        self.advance(registry);
        told.map(|(uplink, sub)| uplink.ask(|ask| Ask::Subscribe { ask, sub }))
    }

    /// Keeps an edge in sight, for what it counts.
    pub fn hold(&self, edge: &Arc<Edge>) {
        let mut registry = self.registry();
        registry.edges.retain(|edge| edge.strong_count() > 0);
        registry.edges.push(Arc::downgrade(edge));
    }

    /// Whose a subscription is.
    pub fn owner_of(&self, sub: SubId) -> Option<Arc<str>> {
        self.registry().subscriptions.get(&sub).map(|listed| listed.entry.owner.clone())
    }

    /// What this process has, for a node that does not know it yet.
    pub fn tell_all(&self) {
        let Some(uplink) = self.uplink() else { return };
        let registry = self.registry();
        let stations: Vec<_> = registry.stations.values().cloned().collect();
        let agents: Vec<_> = registry.agents.iter().map(|(name, at)| (name.to_string(), *at)).collect();
        let here = registry.subscriptions.values().filter(|listed| listed.entry.station.away().is_none());
        let subs: Vec<_> = here.map(|listed| told_of(&listed.entry, &listed.patterns)).collect();
        drop(registry);
        stations.iter().for_each(|station| self.tell_of_station(station));
        self.tell_standing();
        for (name, context) in agents {
            uplink.say(Ask::Agent { ask: 0, name, context }, Vec::new());
        }
        for sub in subs {
            uplink.say(Ask::Subscribe { ask: 0, sub }, Vec::new());
        }
    }

    /// Takes a subscription away.
    pub fn unlist(&self, entry: &Entry) {
        let mut registry = self.registry();
        let Some(old) = registry.subscriptions.remove(&entry.id) else { return };
        if let Some(trie) = &mut registry.trie {
            for pattern in old.patterns.keys() {
                trie.remove(pattern, entry.id);
            }
        }
        self.advance(registry);
        if let (Some(uplink), None) = (self.uplink(), entry.station.away()) {
            uplink.say(Ask::Unsubscribe { sub: entry.id }, Vec::new());
        }
    }

    /// Takes every local subscription away and tells every context to take nothing new.
    pub fn drain(&self) {
        let mut registry = self.registry();
        registry.draining = true;
        let listed: Vec<_> = registry
            .subscriptions
            .values()
            .filter(|listed| !listed.entry.is_link && listed.entry.station.away().is_none())
            .map(|listed| listed.entry.clone())
            .collect();
        let stations: Vec<_> = registry.stations.values().cloned().collect();
        drop(registry);
        for entry in listed {
            self.unlist(&entry);
        }
        for station in stations {
            station.tell(Note::Drain);
        }
    }

    fn advance(&self, registry: MutexGuard<'_, Registry>) {
        let epoch = self.epoch.load(Relaxed) + 1;
        self.epoch.store(epoch, Release);
        drop(registry);
        event!("fabric.epoch", epoch = epoch);
        self.changes.send_replace(epoch);
    }

    /// Routes are looked up anew, though nobody came or went.
    pub fn look_anew(&self) {
        self.advance(self.registry());
    }

    /// Told of every change of who subscribes to what.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Adds up what an edge counted before it went.
    pub fn retire(&self, counts: Counts) {
        self.retired.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).add(counts);
    }

    pub fn retired(&self) -> Counts {
        *self.retired.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A subscription as other processes are told of it.
fn told_of(entry: &Entry, patterns: &BTreeMap<Pattern, Takes>) -> Sub {
    let want = |(pattern, takes): (&Pattern, &Takes)| Want { pattern: pattern.to_string(), takes: *takes };
    Sub {
        id: entry.id,
        context: entry.station.id,
        owner: entry.owner.to_string(),
        capacity: entry.capacity as u32,
        link: entry.is_link,
        wants: patterns.iter().map(want).collect(),
    }
}

impl Registry {
    /// The subscriptions that match, in order of age; without links if `local_only`.
    pub fn matching(&self, subject: &Subject, local_only: bool) -> Vec<Match> {
        let Some(trie) = &self.trie else { return Vec::new() };
        let ids: BTreeSet<SubId> = trie.matching(subject);
        ids.into_iter()
            .filter_map(|id| self.subscriptions.get(&id))
            .filter(|listed| !(local_only && listed.entry.is_link))
            .map(|listed| {
                let matching = || listed.patterns.iter().filter(|(pattern, _)| pattern.matches(subject));
                let takes = Takes {
                    events: matching().any(|(_, takes)| takes.events),
                    requests: matching().any(|(_, takes)| takes.requests),
                    tap: matching().any(|(_, takes)| takes.tap),
                };
                Match { entry: listed.entry.clone(), takes }
            })
            .collect()
    }

    /// What this node's own agents subscribe to and serve.
    pub fn interest(&self) -> BTreeMap<Pattern, Takes> {
        let mut interest: BTreeMap<Pattern, Takes> = BTreeMap::new();
        for listed in self.subscriptions.values().filter(|listed| !listed.entry.is_link) {
            // A tap is for this node alone.
            for (pattern, takes) in listed.patterns.iter().filter(|(_, takes)| takes.events || takes.requests)
            {
                let sum = interest.entry(pattern.clone()).or_default();
                sum.events |= takes.events;
                sum.requests |= takes.requests;
            }
        }
        interest
    }
}
