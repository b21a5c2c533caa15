//! A control group of its own for a jailed tool, where this process may make one: hard bounds on its processes and its memory together.
//!
//! Both generations: in the second one group below our own, or beside us where ours holds processes and so may not share its controllers out; in
//! the first one group in each of the `pids` and `memory` hierarchies. Groups left by a killed process are empty, and removed by the next that
//! makes one. Where nothing can be made, the bounds are watched instead, and said to be.

use std::fs::{self, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::super::Jail;

const PREFIX: &str = "synod-jail-";

/// The keeper and the first process of the tool's namespace count too.
const OWN_PROCESSES: u64 = 2;

/// A hierarchy in which groups may be made.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    /// The directory of the group that we are in.
    ours: PathBuf,
    /// Whether it is of the second generation.
    unified: bool,
    pids: bool,
    memory: bool,
}

/// The groups of one tool. Dropping it removes them, which works once they are empty.
#[derive(Debug, Default)]
pub(super) struct Cgroup {
    groups: Vec<PathBuf>,
    /// Whoever writes `0` into these joins. Opened for writing, closed on exec.
    pub(super) doors: Vec<OwnedFd>,
    /// The directory whose bound on processes is set.
    pids: Option<PathBuf>,
    /// The directory whose bound on memory is set, and the file that counts kills.
    memory: Option<(PathBuf, &'static str)>,
}

impl Cgroup {
    /// Makes what can be made.
    pub(super) fn make(jail: &Jail) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let mut made = Self::default();
        for hierarchy in hierarchies(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo")) {
            made.enter(&hierarchy, jail);
        }
        made
    }

    fn enter(&mut self, hierarchy: &Hierarchy, jail: &Jail) {
        let name = format!("{PREFIX}{}-{:08x}", std::process::id(), crate::random::u64() as u32);
        let above = hierarchy.ours.parent().filter(|_| hierarchy.unified);
        for base in [Some(hierarchy.ours.as_path()), above].into_iter().flatten() {
            sweep(base);
            let group = base.join(&name);
            if fs::create_dir(&group).is_err() {
                continue;
            }
            let set = |file: &str, value: u64| fs::write(group.join(file), value.to_string()).is_ok();
            let bounded = |file| set(file, jail.processes.saturating_add(OWN_PROCESSES));
            let pids = hierarchy.pids && self.pids.is_none() && bounded("pids.max");
            let file = if hierarchy.unified { "memory.max" } else { "memory.limit_in_bytes" };
            let memory = hierarchy.memory && self.memory.is_none() && set(file, jail.memory);
            let door = OpenOptions::new().write(true).open(group.join("cgroup.procs"));
            let (true, Ok(door)) = (pids || memory, door) else {
                // It serves nothing. If it cannot be removed, a later sweep tries again.
                let _ = fs::remove_dir(&group);
                continue;
            };
            if pids {
                self.pids = Some(group.clone());
            }
            if memory {
                // Without it, memory is exchanged for disk; not every kernel counts it.
                let _ = if hierarchy.unified {
                    set("memory.swap.max", 0)
                } else {
                    set("memory.memsw.limit_in_bytes", jail.memory)
                };
                let events = if hierarchy.unified { "memory.events" } else { "memory.oom_control" };
                self.memory = Some((group.clone(), events));
            }
            self.groups.push(group);
            self.doors.push(OwnedFd::from(door));
            return;
        }
    }

    /// Whether it bounds processes.
    pub(super) fn has_pids(&self) -> bool {
        self.pids.is_some()
    }

    /// Whether it bounds memory.
    pub(super) fn has_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// Whether a process was refused for the bound.
    pub(super) fn refused_processes(&self) -> bool {
        self.pids.as_ref().is_some_and(|group| count(&group.join("pids.events"), "max") > 0)
    }

    /// Whether the kernel killed somebody for the bound on memory.
    pub(super) fn killed_for_memory(&self) -> bool {
        self.memory.as_ref().is_some_and(|(group, events)| count(&group.join(events), "oom_kill") > 0)
    }

    /// Says that nothing is bounded by it, since the tool could not join.
    pub(super) fn disown(&mut self) {
        self.pids = None;
        self.memory = None;
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for group in &self.groups {
            // Busy for a moment after its last process: then the next sweep has it.
            let _ = fs::remove_dir(group);
        }
    }
}

/// The number behind `name` in a file of lines `name number`; 0 if there is none.
fn count(path: &Path, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse().ok()).unwrap_or(0)
}

/// Removes the groups whose makers are gone. One that still has processes is not removed by the kernel.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'));
        if let Some((maker, _)) = maker
            && (!Path::new("/proc").join(maker).exists() || maker == std::process::id().to_string())
        {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// From `/proc/self/cgroup` and `/proc/self/mountinfo`.
fn hierarchies(groups: &str, mounts: &str) -> Vec<Hierarchy> {
    let mut found = Vec::new();
    for line in mounts.lines() {
        let Some((mount, system)) = line.split_once(" - ") else { continue };
        let mount: Vec<&str> = mount.split(' ').collect();
        let system: Vec<&str> = system.split(' ').collect();
        let (&[_, _, _, root, point, ..], &[kind, _, options, ..]) = (&mount[..], &system[..]) else {
            continue;
        };
        let has = |controller| options.split(',').any(|option| option == controller);
        let (unified, pids, memory) = match kind {
            "cgroup2" => (true, true, true),
            "cgroup" if has("pids") || has("memory") => (false, has("pids"), has("memory")),
            _ => continue,
        };
        let ours = groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let mut listed = controllers.split(',');
            let same = if unified {
                controllers.is_empty()
            } else {
                listed.any(|c| (c == "pids" && pids) || (c == "memory" && memory))
            };
            same.then_some(path)
        });
        if let Some(ours) = ours {
            let below = Path::new(ours).strip_prefix(root).unwrap_or(Path::new(""));
            found.push(Hierarchy { ours: Path::new(point).join(below), unified, pids, memory });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_groups_are_found_in_both_generations() {
        let unified = "26 24 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = hierarchies("0::/user.slice/app.scope\n", unified);
        let ours = "/sys/fs/cgroup/user.slice/app.scope".into();
        assert_eq!(found, [Hierarchy { ours, unified: true, pids: true, memory: true }]);

        let old = "31 24 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                   32 24 0:27 /docker/1 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                   33 24 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        let found = hierarchies("9:pids:/a\n8:cpu:/\n4:memory:/docker/1/b\n0::/\n", old);
        let ours: Vec<_> = found.iter().map(|h| (h.ours.to_str().unwrap(), h.pids, h.memory)).collect();
        assert_eq!(ours, [("/sys/fs/cgroup/pids/a", true, false), ("/sys/fs/cgroup/memory/b", false, true)]);
        assert_eq!(hierarchies("", "nonsense\n"), []);
    }
}
