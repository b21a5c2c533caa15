//! The workload `consensus`: a log of consensus and its state machine, driven alone as openraft would drive them: votes, entries appended and cut,
//! committed and applied, snapshots in their place. After each restart all of it is restored as openraft does it.

use std::io;
use std::sync::Arc;

use synod_cluster::Rehearsal;
use synod_platform::random;
use synod_platform::simulation;
use synod_probe::event;
use synod_store::{Options, Store};

use super::shared::Shared;
use super::work::Pace;
use crate::history::What;
use crate::scenario::form::Workload;

/// Small, so that segments change while a scenario runs.
const OPTIONS: Options =
    Options { segment_len: 64 << 10, batch_max: 16 << 10, waiting_max: 64 << 10, live_share_min: 50 };

pub(super) async fn run(shared: &Arc<Shared>, index: usize, client: u32, work: &Workload) {
    // Each client's log is a workload of its own to the oracles.
    let number = index * 1000 + client as usize;
    if let Err(error) = live(shared, index, number, &format!("{}-{client}", work.name), work).await {
        event!("engine.raft_failed", work = number, why = &error.to_string());
        shared.note(What::RaftRefused { work: number, why: error.to_string() });
    }
}

async fn live(
    shared: &Arc<Shared>,
    index: usize,
    number: usize,
    path: &str,
    work: &Workload,
) -> io::Result<()> {
    let mut pace = Pace::of(&shared.scenario, work);
    let (store, _) = Store::open(path, OPTIONS).await.map_err(io::Error::other)?;
    let (mut node, before) = Rehearsal::open(&store, "raft").await?;
    shared.note(What::Purged { work: number, purged: before.purged, snapshot: before.snapshot });
    let committed = node.committed().await?;
    let mut held = node.held().await?;
    shared.note(What::RaftFound { work: number, held: held.clone(), committed });
    node.restore().await?;
    let key = (number, simulation::current_node().number());
    loop {
        let (applied, state) = node.state().await?;
        shared.note(What::RaftApplied { work: number, applied, state });
        if !pace.tick(shared, index, work).await {
            return Ok(());
        }
        // What a quorum has committed is cut by nobody, also where this node has not written down yet that it is.
        let fixed = applied.max(shared.switches().committed.get(&key).copied().unwrap_or(0));
        let mut after = held.clone();
        let asked = |possible| shared.note(What::RaftAsked { work: number, possible });
        match random::below(8) {
            0 => {
                after.vote += 1;
                asked(vec![after.clone()]);
                node.vote(after.vote).await?;
                event!("engine.raft_voted", work = number, term = after.vote);
            }
            1 if fixed < held.end() => {
                let end = fixed + random::below(held.end() - fixed);
                after.terms.truncate((end - after.purged) as usize);
                asked(vec![after.clone()]);
                node.cut(end).await?;
                event!("engine.raft_cut", work = number, end = end);
            }
            2 if applied > held.purged => {
                after.terms.drain(..(applied - after.purged) as usize);
                after.purged = applied;
                asked(vec![after.clone()]);
                node.compact().await?;
                event!("engine.raft_compacted", work = number, end = applied);
            }
            3 | 4 if applied < held.end() => {
                let end = applied + 1 + random::below(held.end() - applied);
                let committed = fixed.max(end);
                shared.switches().committed.insert(key, committed);
                shared.note(What::RaftCommitted { work: number, committed });
                node.commit(end).await?;
                continue;
            }
            _ => {
                let mut possible = Vec::new();
                let count = 1 + random::below(4);
                for _ in 0..count {
                    after.terms.push(after.vote);
                    possible.push(after.clone());
                }
                asked(possible);
                node.append(after.vote, count).await?;
                event!("engine.raft_appended", work = number, end = after.end());
            }
        }
        shared.note(What::RaftAnswered { work: number });
        held = after;
    }
}
