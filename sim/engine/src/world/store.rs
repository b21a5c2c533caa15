//! The workload `store`: bursts of records go to two logs of a store, several bursts on their way at a time, beside a log that is written
//! and purged all the time, so that segments are copied forward and used again. Now and then a snapshot takes the place of the first log's
//! entries. After each restart all of it is read.
//!
//! The oracle is that of append-only files: the logs of a store are written in one order, so what they hold together is compared as
//! one file's records are. Where the disk rots a store may refuse to be opened or read, and another is begun; but it must have seen the
//! damage itself: one that merely misses records has taken something else for them.

use std::fmt::Display;
use std::sync::Arc;

use synod_platform::simulation::{self, clock};
use synod_platform::{random, task, time};
use synod_probe::event;
use synod_store::format::{BATCH_HEADER, RECORD_HEADER};
use synod_store::{Log, OpenError, Options, ReadError, SnapshotError, Store};

use super::payload;
use super::shared::Shared;
use super::work::{Pace, RESTART, draw_length};
use crate::history::{Id, What};
use crate::scenario::form::Workload;

/// Small, so that segments change while a scenario runs.
const OPTIONS: Options =
    Options { segment_len: 128 << 10, batch_max: 32 << 10, waiting_max: 128 << 10, live_share_min: 50 };

/// What the purged log keeps, entries.
const NOISE_KEPT: u64 = 32;

/// The most records of one burst.
const BURST_MAX: u64 = 4;

/// Bursts between two snapshots.
const SNAPSHOT_EVERY: u64 = 8;

/// With payloads of this length each sector holds one record's header at the same place, and what follows in the next sector
/// is the same for all: what a misdirected write brings then fits where it does not belong. Two stores of three write nothing else.
const EVEN: usize = 512 - RECORD_HEADER;

pub(super) async fn run(shared: &Arc<Shared>, index: usize, client: u32, work: &Workload) {
    // Each client's store is a workload of its own to the oracle.
    let number = index * 1000 + client as usize;
    let key = (number, simulation::current_node().number());
    let mut pace = Pace::of(&shared.scenario, work);
    while clock::elapsed() <= pace.end {
        let age = shared.switches().stores.get(&key).copied().unwrap_or(0);
        match Opened::of(shared, number, &format!("{}-{client}-{age}", work.name)).await {
            Ok(mut opened) => {
                for burst in 1.. {
                    if !pace.tick(shared, index, work).await {
                        return;
                    }
                    opened.burst(shared, number, work).await;
                    if burst % SNAPSHOT_EVERY == 0 {
                        opened.compact(number).await;
                    }
                }
            }
            Err(Trouble::Disk) => time::sleep(RESTART).await,
            Err(Trouble::Damage) if shared.scenario.disk.rots() => {
                *shared.switches().stores.entry(key).or_default() += 1;
                shared.note(What::BegunAnew { work: number });
            }
            // It says that nothing can be trusted: to the oracle, that nothing is there.
            Err(Trouble::Damage | Trouble::Gap) => {
                return shared.note(What::Recovered { work: number, records: Vec::new() });
            }
        }
    }
}

/// Why a store cannot be worked with.
enum Trouble {
    /// The disk failed just now.
    Disk,
    /// It says that it is damaged.
    Damage,
    /// It says that records are missing, although all that it read was whole.
    Gap,
}

impl Trouble {
    fn of(number: usize, why: &dyn Display, passes: bool) -> Self {
        event!("engine.open_failed", work = number, why = &why.to_string());
        if passes { Self::Disk } else { Self::Damage }
    }
}

/// A store with its logs.
struct Opened {
    records: Log,
    seldom: Log,
    noise: Log,
    /// The ids of all that `records` ever held, by index.
    ids: Vec<Id>,
    /// Whether payloads have the length [`EVEN`].
    even: bool,
}

impl Opened {
    /// Opens it, reads all of it, and tells what is there.
    async fn of(shared: &Shared, number: usize, path: &str) -> Result<Self, Trouble> {
        let (store, recovered) = Store::open(path, OPTIONS).await.map_err(|error| {
            let passes = matches!(error, OpenError::Disk(_) | OpenError::Locked { .. });
            let trouble = Trouble::of(number, &error, passes);
            if matches!(error, OpenError::Missing { .. }) { Trouble::Gap } else { trouble }
        })?;
        let log = |name| store.log(name).map_err(|error| Trouble::of(number, &error, true));
        let unread = |error: ReadError| Trouble::of(number, &error, matches!(error, ReadError::Disk(_)));
        let (records, seldom, noise) = (log("records")?, log("seldom")?, log("noise")?);
        let purged = records.first() - 1;
        let snapshot = match records.snapshot().await {
            Ok(snapshot) => snapshot,
            Err(SnapshotError::Missing { .. }) => None,
            Err(SnapshotError::Read(error)) => return Err(unread(error)),
            Err(SnapshotError::Write(error)) => return Err(Trouble::of(number, &error, true)),
        };
        let (stands_for, content) = snapshot.map(|found| (found.index, found.content)).unwrap_or_default();
        shared.note(What::Purged { work: number, purged, snapshot: stands_for });
        let mut ids: Vec<Id> = content.as_chunks().0.iter().map(|bytes| Id::from_le_bytes(*bytes)).collect();
        ids.extend(read(&records, records.first().max(stands_for + 1)).await.map_err(unread)?);
        let others = read(&seldom, 1).await.map_err(unread)?;
        event!("engine.recovered", work = number, records = recovered.records, cut = recovered.cut);
        shared.note(What::Recovered { work: number, records: in_order(&ids, &others) });
        Ok(Self { records, seldom, noise, ids, even: !number.is_multiple_of(3) })
    }

    /// Appends some records without waiting for any, and makes noise.
    async fn burst(&mut self, shared: &Arc<Shared>, number: usize, work: &Workload) {
        let length = || if self.even { EVEN } else { draw_length(work) };
        for _ in 0..=random::below(BURST_MAX) {
            let (id, bytes) = (shared.next_id(), length());
            event!("engine.appending", work = number, id = id, bytes = bytes);
            shared.note(What::Appending { id, work: number });
            let is_seldom = random::chance(0.5);
            let log = if is_seldom { &self.seldom } else { &self.records };
            let appended = log.append(vec![make(id, bytes).into()]).await;
            if !is_seldom && let Ok((indexes, _)) = &appended {
                // Those from here on that were there before have been refused.
                self.ids.truncate(indexes.start as usize - 1);
                self.ids.push(id);
            }
            let noted = shared.clone();
            task::spawn(async move {
                let acknowledged = match appended {
                    Ok((_, durable)) => durable.await.is_ok(),
                    Err(_) => false,
                };
                event!("engine.appended", work = number, id = id, acknowledged = acknowledged);
                noted.note(What::Appended { id, work: number, acknowledged });
            })
            .detach();
        }
        // Whether the noise becomes durable matters to nobody.
        for _ in 0..3 {
            drop(self.noise.append(vec![vec![0; length()].into()]).await);
        }
        drop(self.noise.purge(self.noise.last().saturating_sub(NOISE_KEPT)).await);
    }

    /// Has a snapshot take the place of the entries that are durable.
    async fn compact(&self, number: usize) {
        let durable = self.records.durable();
        let ids: Vec<u8> = self.ids.iter().take(durable as usize).flat_map(|id| id.to_le_bytes()).collect();
        event!("engine.compacting", work = number, index = durable);
        if let Err(error) = self.records.compact(durable, ids.into()).await {
            event!("engine.compact_failed", work = number, why = &error.to_string());
        }
    }
}

/// The ids of all entries of a log from one on, as they are read.
async fn read(log: &Log, first: u64) -> Result<Vec<Id>, ReadError> {
    let entries = log.read(first.max(log.first()).., usize::MAX).await?;
    Ok(entries.iter().map(|entry| id_of(&entry.payload)).collect())
}

/// What two logs hold, in the order in which it was appended: ids grow. One that is not in order in its own log is [`Id::MAX`].
fn in_order(one: &[Id], other: &[Id]) -> Vec<Id> {
    let checked = |ids: &[Id]| -> Vec<Id> {
        let before = std::iter::once(0).chain(ids.iter().copied());
        ids.iter().zip(before).map(|(id, before)| if *id > before { *id } else { Id::MAX }).collect()
    };
    let mut all = checked(one);
    all.extend(checked(other));
    all.sort_unstable();
    all
}

/// The part of a payload of that length that tells its id.
fn telling(len: usize) -> usize {
    if len == EVEN { EVEN - BATCH_HEADER } else { len }
}

fn make(id: Id, len: usize) -> Vec<u8> {
    let mut bytes = payload::make(id, telling(len));
    bytes.resize(len.max(bytes.len()), 0);
    bytes
}

fn id_of(bytes: &[u8]) -> Id {
    match payload::read(&bytes[..telling(bytes.len())]) {
        Some((id, true)) => id,
        _ => Id::MAX,
    }
}
