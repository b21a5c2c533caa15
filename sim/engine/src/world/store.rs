//! The workload `store`: records appended to a log of a store, several on their way at a time, beside a log that is written and
//! purged all the time, so that segments are copied forward and used again. After each restart all of it is read.
//!
//! The oracle is that of append-only files: what a log of the store holds is compared as a file's records are.

use std::sync::Arc;

use synod_platform::simulation::clock;
use synod_platform::{task, time};
use synod_probe::event;
use synod_store::{Log, OpenError, Options, ReadError, Store};

use super::payload;
use super::shared::Shared;
use super::work::{Pace, RESTART, draw_length};
use crate::history::{Id, What};
use crate::scenario::form::Workload;

/// Small, so that segments change while a scenario runs.
const OPTIONS: Options =
    Options { segment_len: 128 << 10, batch_max: 32 << 10, waiting_max: 128 << 10, live_share_min: 50 };

/// What the purged log keeps, entries.
const NOISE_KEPT: u64 = 8;

pub(super) async fn run(shared: &Arc<Shared>, index: usize, client: u32, work: &Workload) {
    let path = format!("{}-{client}", work.name);
    // Each client's log is a workload of its own to the oracle.
    let number = index * 1000 + client as usize;
    let mut pace = Pace::of(&shared.scenario, work);
    let store = loop {
        match Store::open(&path, OPTIONS).await {
            Ok((store, recovered)) => {
                event!("engine.recovered", work = number, records = recovered.records, cut = recovered.cut);
                break store;
            }
            Err(error) => {
                event!("engine.open_failed", work = number, why = &error.to_string());
                if !matches!(error, OpenError::Disk(_) | OpenError::Locked { .. }) {
                    // It says that nothing can be trusted: to the oracle, that nothing is there.
                    shared.note(What::Recovered { work: number, records: Vec::new() });
                    return;
                }
                time::sleep(RESTART).await;
                if clock::elapsed() > pace.end {
                    return;
                }
            }
        }
    };
    let (log, noise) = match (store.log("records"), store.log("noise")) {
        (Ok(log), Ok(noise)) => (log, noise),
        (log, noise) => return event!("engine.no_log", why = &format!("{log:?} {noise:?}")),
    };
    // What cannot be read is not there, but for a disk that failed just now.
    let records = match read(&log).await {
        Err(ReadError::Disk(_)) => return,
        records => records.unwrap_or_default(),
    };
    shared.note(What::Recovered { work: number, records });
    while pace.tick(shared, index, work).await {
        let id = shared.next_id();
        let bytes = payload::make(id, draw_length(work));
        let length = bytes.len();
        event!("engine.appending", work = number, id = id, bytes = length);
        shared.note(What::Appending { id, work: number });
        let appended = log.append(vec![bytes.into()]).await;
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
        // Whether the noise becomes durable matters to nobody.
        drop(noise.append(vec![vec![0; 3 * length].into()]).await);
        drop(noise.purge(noise.last().saturating_sub(NOISE_KEPT)).await);
    }
}

/// The ids of all records of a log, as they are read.
async fn read(log: &Log) -> Result<Vec<Id>, ReadError> {
    let entries = log.read(.., usize::MAX).await?;
    let id = |bytes: &[u8]| match payload::read(bytes) {
        Some((id, true)) => id,
        _ => Id::MAX,
    };
    Ok(entries.iter().map(|entry| id(&entry.payload)).collect())
}
