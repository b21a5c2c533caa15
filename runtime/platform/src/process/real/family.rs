//! A process with its descendants, as `/proc` has them at this moment: how many, how much memory, and their end.
//!
//! Every descendant is found, whatever its group and session, as long as orphans fall to a process of the family (the first of a PID
//! namespace, or a subreaper). What is started while one looks may be missed; the next look finds it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How often killing is tried: what was forked into a new group between the look and the stroke is for the next round.
const ROUNDS: u32 = 200;

/// One process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Its number.
    pub(super) pid: u32,
    /// How many threads it has.
    threads: u64,
    parent: u32,
    group: u32,
}

/// What a family uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Threads of all its processes.
    pub(super) threads: u64,
    /// Bytes of memory that are its processes' own; what two of them share after a fork counts for both.
    pub(super) memory: u64,
}

/// The descendants of `root`, without itself.
pub(super) fn descendants(root: u32) -> Vec<Member> {
    let mut children: BTreeMap<u32, Vec<Member>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if let Some(member) = member(pid, &stat) {
            children.entry(member.parent).or_default().push(member);
        }
    }
    let mut found = Vec::new();
    let mut from = vec![root];
    while let Some(parent) = from.pop() {
        for member in children.remove(&parent).unwrap_or_default() {
            from.push(member.pid);
            found.push(member);
        }
    }
    found
}

/// From a line of `/proc/<pid>/stat`; `None` for one that has ended. The name stands in parentheses and may hold anything.
fn member(pid: u32, stat: &str) -> Option<Member> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u32>().ok();
    let (state, parent, group, threads) = (*fields.first()?, number(1)?, number(2)?, u64::from(number(17)?));
    (!matches!(state, "Z" | "X")).then_some(Member { pid, threads, parent, group })
}

/// The threads of all processes of the user `uid`.
pub(super) fn threads_of(uid: u32) -> u64 {
    let mut threads = 0;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if entry.metadata().is_ok_and(|metadata| metadata.uid() == uid) {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            threads += member(pid, &stat).map_or(0, |member| member.threads);
        }
    }
    threads
}

/// What the descendants of `root` use together. With more threads than `threads_max`, their memory is not looked at.
pub(super) fn usage(root: u32, threads_max: u64) -> Usage {
    let page = rustix::param::page_size() as u64;
    let members = descendants(root);
    let mut usage = Usage { threads: members.iter().map(|member| member.threads).sum(), memory: 0 };
    if usage.threads > threads_max {
        return usage;
    }
    for member in members {
        let statm = fs::read_to_string(format!("/proc/{}/statm", member.pid)).unwrap_or_default();
        let pages: Vec<u64> = statm.split(' ').filter_map(|field| field.trim().parse().ok()).collect();
        if let [_, resident, shared, ..] = pages[..] {
            usage.memory += resident.saturating_sub(shared) * page;
        }
    }
    usage
}

/// Kills the descendants of `root`, except `spare`, until none is left; whether that was reached. The group of `root` is its own, and `spare` in it.
pub(super) fn kill(root: u32, spare: Option<u32>) -> bool {
    let number = |pid: u32| Pid::from_raw(pid.cast_signed());
    for _ in 0..ROUNDS {
        let found: Vec<Member> =
            descendants(root).into_iter().filter(|member| Some(member.pid) != spare).collect();
        if found.is_empty() {
            return true;
        }
        // A group dies at one stroke, also those of it that are being forked: so it is not a race against a fork bomb. Its groups lie in its
        // own sessions, so nobody else is in them.
        let groups: BTreeSet<u32> =
            found.iter().map(|member| member.group).filter(|group| *group != root).collect();
        for group in groups.into_iter().filter_map(number) {
            // None left is what we want; so below.
            let _ = kill_process_group(group, Signal::KILL);
        }
        for member in found.iter().filter_map(|member| number(member.pid)) {
            let _ = kill_process(member, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_hides_nothing_and_a_zombie_is_nobody() {
        let line = |state| format!("7 (a) Z (b) {state} 3 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 5 0 100 0 0");
        assert_eq!(member(7, &line("S")), Some(Member { pid: 7, threads: 5, parent: 3, group: 7 }));
        assert_eq!(member(7, &line("Z")), None);
        assert_eq!(member(7, "nonsense"), None);
    }
}
