//! A process with its descendants, as `/proc` has them at this moment: how many, how much memory, and their end.
//!
//! Every descendant is found, whatever its group and session, as long as orphans fall to a process of the family (the first of a PID
//! namespace, or a subreaper). What is started while one looks may be missed; the next look finds it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// How often killing is tried. Each round stops everything before it kills, so that few are needed.
const ROUNDS: u32 = 200;

/// One process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Its number.
    pub(super) pid: u32,
    /// How many threads it has.
    threads: u64,
    parent: u32,
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
    let (state, parent, threads) =
        (*fields.first()?, fields.get(1)?.parse().ok()?, fields.get(17)?.parse().ok()?);
    (!matches!(state, "Z" | "X")).then_some(Member { pid, threads, parent })
}

/// What the descendants of `root` use together.
pub(super) fn usage(root: u32) -> Usage {
    let page = rustix::param::page_size() as u64;
    let mut usage = Usage::default();
    for member in descendants(root) {
        usage.threads += member.threads;
        let statm = fs::read_to_string(format!("/proc/{}/statm", member.pid)).unwrap_or_default();
        let pages: Vec<u64> = statm.split(' ').filter_map(|field| field.trim().parse().ok()).collect();
        if let [_, resident, shared, ..] = pages[..] {
            usage.memory += resident.saturating_sub(shared) * page;
        }
    }
    usage
}

/// Kills the descendants of `root`, except `spare`, until none is left; whether that was reached.
pub(super) fn kill(root: u32, spare: Option<u32>) -> bool {
    let signal = |member: &Member, signal| {
        if let Some(pid) = Pid::from_raw(member.pid.cast_signed()) {
            // One that has ended meanwhile is what we want.
            let _ = kill_process(pid, signal);
        }
    };
    let others =
        || descendants(root).into_iter().filter(|member| Some(member.pid) != spare).collect::<Vec<_>>();
    for _ in 0..ROUNDS {
        // What is stopped forks no more: so look until there is nobody new.
        let mut stopped = BTreeSet::new();
        let found = loop {
            let found = others();
            let new: Vec<_> = found.iter().filter(|member| stopped.insert(member.pid)).collect();
            if new.is_empty() {
                break found;
            }
            new.into_iter().for_each(|member| signal(member, Signal::STOP));
        };
        if found.is_empty() {
            return true;
        }
        found.iter().for_each(|member| signal(member, Signal::KILL));
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
        assert_eq!(member(7, &line("S")), Some(Member { pid: 7, threads: 5, parent: 3 }));
        assert_eq!(member(7, &line("Z")), None);
        assert_eq!(member(7, "nonsense"), None);
    }
}
