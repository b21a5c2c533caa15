//! What all contexts of a node know: who is there, who subscribes to what, since which epoch.
//!
//! Everything here is off the message's way: a publisher reads one number, the epoch, and comes here only when it has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use crossbeam_utils::CachePadded;
use futures_util::task::AtomicWaker;
use synod_platform::watch;
use synod_probe::event;
use synod_ring::{LaneId, Port, Waiter};
use tokio::sync::Notify;

use crate::config::FabricConfig;
use crate::edge::{Counts, Edge};
use crate::error::AttachError;
use crate::intake::LANES;
use crate::lane::InLane;
use crate::subject::{Pattern, Subject};
use crate::trie::Trie;

/// A subscription, unique in its fabric.
pub(crate) type SubId = u64;

/// A context, unique in its fabric.
pub(crate) type ContextId = u32;

/// What a subscription receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Takes {
    /// What is published.
    pub events: bool,
    /// Requests, as one instance of several.
    pub requests: bool,
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
    /// Wakes the context's drain task.
    pub doorbell: Arc<Doorbell>,
    /// Where lanes to the context are made.
    pub port: Port,
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

/// What one context tells another beside its lanes.
pub(crate) enum Note {
    /// A context ended: nothing will come from it.
    Ended(ContextId),
    /// A requester gave up.
    Cancel { from: ContextId, correlation: u64 },
    /// Take nothing new.
    Drain,
}

impl Station {
    fn new(id: ContextId, name: &str, doorbell: Arc<Doorbell>, port: Port) -> Self {
        Self {
            id,
            name: name.into(),
            doorbell,
            port,
            lanes: Mutex::default(),
            space: Notify::new(),
            notes: Mutex::new(Vec::new()),
            has_notes: AtomicBool::new(false),
        }
    }

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
    /// Grows with every change of who subscribes to what.
    pub epoch: CachePadded<AtomicU64>,
    registry: Mutex<Registry>,
    /// The same number, for those who wait for a change.
    changes: watch::Sender<u64>,
    retired: Mutex<Counts>,
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
    next_context: ContextId,
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
    pub fn new(config: FabricConfig) -> Self {
        Self {
            config,
            epoch: CachePadded::new(AtomicU64::new(1)),
            registry: Mutex::default(),
            changes: watch::Sender::new(1),
            retired: Mutex::default(),
        }
    }

    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn add_station(
        &self,
        name: &str,
        doorbell: Arc<Doorbell>,
        port: Port,
    ) -> Result<Arc<Station>, AttachError> {
        Subject::new(name)?;
        let mut registry = self.registry();
        if registry.stations.values().any(|station| *station.name == *name) {
            return Err(AttachError::NameTaken(name.to_owned()));
        }
        if registry.stations.len() >= LANES {
            return Err(AttachError::Contexts { max: LANES });
        }
        registry.next_context += 1;
        let station = Arc::new(Station::new(registry.next_context, name, doorbell, port));
        registry.stations.insert(station.id, station.clone());
        Ok(station)
    }

    /// Takes a context away and tells the others.
    pub fn remove_station(&self, id: ContextId) {
        let mut registry = self.registry();
        registry.stations.remove(&id);
        let others: Vec<_> = registry.stations.values().cloned().collect();
        drop(registry);
        for station in others {
            station.tell(Note::Ended(id));
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
        let id = registry.next_sub;
        Ok(Arc::new(Entry {
            id,
            station: station.clone(),
            owner,
            capacity,
            is_link,
            gone: AtomicBool::new(false),
        }))
    }

    /// Makes `patterns` the ones under which a subscription is found; every publish that starts after this sees them.
    pub fn list(&self, entry: &Arc<Entry>, patterns: BTreeMap<Pattern, Takes>) {
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
        registry_ref.subscriptions.insert(entry.id, Listed { entry: entry.clone(), patterns });
        self.advance(registry);
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
    }

    /// Takes every local subscription away and tells every context to take nothing new.
    pub fn drain(&self) {
        let mut registry = self.registry();
        registry.draining = true;
        let listed: Vec<_> = registry
            .subscriptions
            .values()
            .filter(|listed| !listed.entry.is_link)
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
                };
                Match { entry: listed.entry.clone(), takes }
            })
            .collect()
    }

    /// What this node's own agents subscribe to and serve.
    pub fn interest(&self) -> BTreeMap<Pattern, Takes> {
        let mut interest: BTreeMap<Pattern, Takes> = BTreeMap::new();
        for listed in self.subscriptions.values().filter(|listed| !listed.entry.is_link) {
            for (pattern, takes) in &listed.patterns {
                let sum = interest.entry(pattern.clone()).or_insert(Takes { events: false, requests: false });
                sum.events |= takes.events;
                sum.requests |= takes.requests;
            }
        }
        interest
    }
}
