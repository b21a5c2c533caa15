//! The planted bugs: where each is, what it does wrong, which oracle should see it, and in which scenario.
//!
//! Ring bugs are a matter of single stores: loom finds them, in the model named here, and `cargo loom` scores them.

use synod_sim::verdict::exit;

/// What should catch a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Catcher {
    /// An oracle, in runs of a scenario.
    Oracle {
        /// Any of these may fire first.
        oracles: &'static [&'static str],
        /// The scenario that is made for it.
        scenario: &'static str,
    },
    /// A loom model.
    Model(&'static str),
    /// A test that plants the bug itself and passes only if it was noticed.
    Test(&'static str),
}

/// A planted bug.
#[derive(Clone, Copy, Debug)]
pub struct Plant {
    /// Its name, as `plant!` has it.
    pub name: &'static str,
    /// What the code then does wrong.
    pub wrong: &'static str,
    /// What should catch it.
    pub catcher: Catcher,
}

const fn oracle(
    name: &'static str,
    wrong: &'static str,
    oracles: &'static [&'static str],
    scenario: &'static str,
) -> Plant {
    Plant { name, wrong, catcher: Catcher::Oracle { oracles, scenario } }
}

const fn model(name: &'static str, wrong: &'static str, model: &'static str) -> Plant {
    Plant { name, wrong, catcher: Catcher::Model(model) }
}

const fn test(name: &'static str, wrong: &'static str, test: &'static str) -> Plant {
    Plant { name, wrong, catcher: Catcher::Test(test) }
}

/// Every planted bug.
pub const ALL: &[Plant] = &[
    oracle(
        "breaker.half-open-stampede",
        "half-open counts completed probes, not admitted ones",
        &["fabric.breaker"],
        "breaker-sick-instance",
    ),
    oracle(
        "breaker.late-success-closes",
        "the success of an earlier generation closes the breaker",
        &["fabric.breaker"],
        "requests-under-loss",
    ),
    oracle(
        "disk.ack-before-sync",
        "an append is acknowledged when written, not when synced",
        &["disk.append"],
        "power-loss-append",
    ),
    oracle(
        "disk.short-write-lost",
        "the rest of a short write is never written",
        &["disk.append"],
        "power-loss-append",
    ),
    oracle(
        "fabric.expired-delivered",
        "a request is handed over after its deadline",
        &["fabric.requests"],
        "priorities-under-flood",
    ),
    oracle(
        "fabric.failover-repeats",
        "a request that must not be done twice is given to a second instance after the first had it",
        &["fabric.requests"],
        "failover-busy",
    ),
    oracle(
        "fabric.full-drops-silently",
        "a message for a full queue is called accepted and dropped",
        &["fabric.receipts"],
        "priorities-under-flood",
    ),
    oracle(
        "fabric.late-reply-delivered",
        "a reply that comes too late answers another request",
        &["fabric.requests"],
        "breaker-sick-instance",
    ),
    oracle(
        "fabric.link-loss-untold",
        "requests on a lost link are not told, and wait for their deadlines",
        &["fabric.requests"],
        "failover-busy",
    ),
    oracle(
        "fabric.low-starves",
        "a waiting message of low priority never grows old",
        &["fabric.order"],
        "priorities-under-flood",
    ),
    oracle(
        "fabric.priority-inverted",
        "the least urgent message goes first",
        &["fabric.order"],
        "priorities-under-flood",
    ),
    oracle(
        "fabric.stale-route",
        "a cached route survives a change of subscriptions",
        &["fabric.receipts"],
        "panicking-agent",
    ),
    oracle(
        "raft.committed-too-high",
        "what is being appended is written down as committed",
        &["raft.state_machine_safety"],
        "power-loss-consensus",
    ),
    oracle(
        "raft.purge-before-snapshot",
        "a snapshot is told to be built before it is durable, so that the log is purged before it",
        &["store.purged_below_snapshot"],
        "power-loss-consensus",
    ),
    oracle(
        "raft.truncate-unsynced",
        "a suffix is told to be cut before that is durable",
        &["raft.log_matching"],
        "power-loss-consensus",
    ),
    oracle(
        "raft.vote-unsynced",
        "a vote is told to be saved before it is durable",
        &["raft.monotonic_vote"],
        "power-loss-consensus",
    ),
    model(
        "ring.relaxed-publish",
        "the tail is published without release ordering",
        "published_records_are_whole_and_a_relaxed_publish_is_found",
    ),
    model(
        "ring.wrap-around",
        "the padding at the end of the ring is forgotten",
        "a_lap_ends_well_and_a_wrong_wrap_around_is_found",
    ),
    model(
        "ring.freed-too-early",
        "a record is freed before it was read",
        "a_record_being_read_is_safe_and_freeing_too_early_is_found",
    ),
    model(
        "ring.doorbell-without-fence",
        "the doorbell misses a sleeper for want of a fence",
        "sleepers_are_woken_and_a_doorbell_without_its_fence_is_found",
    ),
    model(
        "ring.ready-cleared-late",
        "readiness is cleared after draining, not before",
        "a_mailbox_misses_nothing_and_readiness_cleared_after_draining_is_found",
    ),
    model(
        "ring.asleep-without-a-look",
        "a mailbox goes to sleep without another look at the tails of other processes",
        "foreign_lanes_miss_nothing_and_a_mailbox_that_sleeps_without_a_look_is_found",
    ),
    model(
        "ring.admitted-in-sleep",
        "a mailbox that sleeps does not look at a lane that is handed to it",
        "a_lane_is_handed_over_whole_and_one_admitted_in_sleep_is_found",
    ),
    model(
        "ring.drained-too-soon",
        "a lane goes over to its larger ring before the smaller one was read to its end",
        "a_lane_that_grows_keeps_its_order_and_one_that_does_not_wait_for_its_reader_is_found",
    ),
    model(
        "ring.credit-without-fence",
        "a credit is given, and for want of a fence its waiting sender is missed",
        "a_wanted_credit_is_told_and_one_given_without_a_fence_is_found",
    ),
    model(
        "ring.returned-too-early",
        "a slot is told to be back before its name is written",
        "a_slot_given_back_is_the_one_that_was_held_and_one_told_too_early_is_found",
    ),
    model(
        "queue.published-too-early",
        "a record of the queue that outlives its processes is published before it is written",
        "a_queue_is_whole_and_what_is_published_or_freed_too_early_is_found",
    ),
    model(
        "queue.freed-too-early",
        "a record of the queue that outlives its processes is freed before it was read",
        "a_queue_is_whole_and_what_is_published_or_freed_too_early_is_found",
    ),
    test(
        "streams.purge-before-carry",
        "the streams' log loses its beginning before what counts there is written again",
        "a_log_that_loses_its_beginning_before_what_counts_there_was_carried_is_noticed",
    ),
    oracle(
        "snapshot.purge-first",
        "a log is purged before the snapshot that replaces its entries is durable",
        &["store.purged_below_snapshot", "disk.append"],
        "power-loss-store",
    ),
    oracle(
        "wal.ack-before-fsync",
        "an append is acknowledged when written, not when synced",
        &["disk.append"],
        "power-loss-store",
    ),
    oracle(
        "wal.crc-without-header",
        "a record's length, log and index are outside its checksum",
        &["disk.append"],
        "store-rot",
    ),
    oracle(
        "wal.enospc-batch-ack",
        "what the full disk did not take is acknowledged",
        &["disk.append"],
        "store-full-disk",
    ),
    oracle(
        "wal.fsync-retry-ok",
        "a failed sync is tried again, and its success believed",
        &["disk.append"],
        "power-loss-store",
    ),
    oracle(
        "wal.recover-past-hole",
        "recovery goes on behind a batch that is damaged",
        &["disk.append"],
        "store-rot",
    ),
    oracle(
        "wal.short-write-after-fsync",
        "the rest of a short write goes out after its sync",
        &["disk.append"],
        "power-loss-store",
    ),
    oracle(
        "wal.torn-tail-append",
        "a store that is opened again appends behind a torn tail",
        &["disk.append"],
        "power-loss-store",
    ),
    oracle(
        "workflow.ignore-veto",
        "a step starts, and goes on, although its input is vetoed",
        &["workflow.accounted"],
        "workflow-amid-crashes",
    ),
    oracle(
        "workflow.repeat-finished",
        "a resumed run does its finished steps again",
        &["workflow.accounted"],
        "workflow-amid-crashes",
    ),
    test(
        "workflow.stale-lease",
        "a tree's guard lets an old fencing token pass",
        "a_stale_lease_that_passes_is_caught",
    ),
];

/// The bug of that name.
pub fn find(name: &str) -> Option<&'static Plant> {
    ALL.iter().find(|plant| plant.name == name)
}

/// `plants`: the table.
pub fn list() -> u8 {
    for plant in ALL {
        println!("{}\n    {}", plant.name, plant.wrong);
        match plant.catcher {
            Catcher::Oracle { oracles, scenario } => {
                println!("    caught by {} in {scenario}", oracles.join(" or "))
            }
            Catcher::Model(model) => println!("    caught by `cargo loom`, model {model}"),
            Catcher::Test(test) => println!("    caught by `cargo test`, test {test}"),
        }
    }
    exit::PASS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Names in `plant!("…")` of all product sources.
    fn planted() -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (text, _) in crate::reachable::sources() {
            for rest in text.split("plant!(\"").skip(1) {
                found.extend(rest.split('"').next().map(str::to_owned));
            }
        }
        found
    }

    #[test]
    fn the_table_lists_every_bug_in_the_product_and_no_other() {
        let listed: BTreeSet<String> = ALL.iter().map(|plant| plant.name.to_owned()).collect();
        assert_eq!(listed, planted());
    }

    #[test]
    fn every_oracle_and_scenario_named_is_there() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios");
        for plant in ALL {
            if let Catcher::Oracle { oracles, scenario } = plant.catcher {
                for oracle in oracles {
                    assert!(synod_sim::oracles::implemented().any(|known| known == *oracle), "{oracle}");
                }
                assert!(std::fs::exists(format!("{folder}/{scenario}.toml")).unwrap(), "{scenario}");
            }
        }
    }
}
