//! From what the child told of its steps to what the jail is worth. Pure: the same facts give the same sentences.

use std::io;

use super::super::{Contained, Held, Jail, Measure};
use super::keeper::Word;

/// What is known of a jail once its tool has started.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// What the child told, in order.
    pub(super) steps: Vec<(Word, i32)>,
    /// The version of landlock, or why there is none.
    pub(super) landlock: Option<Result<i32, String>>,
    /// Whether control groups bound processes.
    pub(super) group_pids: bool,
    /// Whether control groups bound memory.
    pub(super) group_memory: bool,
    /// Whether the tool runs as the superuser, whom the limit on processes does not bind.
    pub(super) is_root: bool,
}

/// The version of landlock from which signals can be fenced.
const SIGNALS: i32 = 6;

impl Facts {
    /// What the child said of a step; `None` when it said nothing, having not tried.
    pub(super) fn value(&self, word: Word) -> Option<i32> {
        self.steps.iter().rev().find(|(told, _)| *told == word).map(|(_, value)| *value)
    }

    pub(super) fn did(&self, word: Word) -> bool {
        self.value(word) == Some(0)
    }

    fn why_not(&self, word: Word, what: &str) -> String {
        match self.value(word) {
            Some(error) => format!("{what}: {}", io::Error::from_raw_os_error(error)),
            None => format!("{what}: could not be tried"),
        }
    }

    /// The version of landlock that is on.
    fn fence(&self) -> Result<i32, String> {
        match &self.landlock {
            Some(Ok(version)) if self.did(Word::Fence) => Ok(*version),
            Some(Err(why)) => Err(why.clone()),
            _ => Err(self.why_not(Word::Fence, "landlock")),
        }
    }

    /// How each measure of `jail` stands.
    pub(super) fn contained(&self, jail: &Jail) -> Contained {
        Contained { measures: Measure::ALL.map(|measure| (measure, self.held(measure, jail))).to_vec() }
    }

    fn held(&self, measure: Measure, jail: &Jail) -> Held {
        let (pids, root, fence) = (self.did(Word::PidNamespace), self.did(Word::Root), self.fence());
        let fences_signals = fence.as_ref().is_ok_and(|version| *version >= SIGNALS);
        let by = |means: &str| Held::By(means.to_owned());
        let partly = |means: &str, open: &str| Held::Partly { by: means.to_owned(), open: open.to_owned() };
        let landlock = |version: &i32| format!("landlock {version}");
        match measure {
            Measure::WholeKill if pids => by("a PID namespace"),
            Measure::WholeKill if fences_signals => {
                by("a subreaper that landlock shields, and a walk over /proc")
            }
            Measure::WholeKill => {
                partly("a subreaper and a walk over /proc", "a tool that kills the subreaper")
            }
            Measure::Outsiders if pids => by("a PID namespace"),
            Measure::Outsiders if fences_signals => by("landlock's scope of signals"),
            Measure::Outsiders => Held::Not(self.why_not(Word::PidNamespace, "a PID namespace")),
            Measure::Writes => match (root, fence) {
                (true, Ok(version)) => {
                    Held::By(format!("a file tree of its own, and {}", landlock(&version)))
                }
                (true, Err(_)) => by("a file tree of its own"),
                (false, Ok(version)) => {
                    partly(&landlock(&version), "modes, times and attributes of the user's other files")
                }
                (false, Err(why)) => Held::Not(format!("{}; {why}", self.no_root())),
            },
            Measure::Reads => match (root, fence) {
                (true, _) => by("a file tree of its own"),
                (false, Ok(version)) => Held::By(landlock(&version)),
                (false, Err(why)) => Held::Not(format!("{}; {why}", self.no_root())),
            },
            Measure::Network if jail.network => Held::Allowed,
            Measure::Network if self.did(Word::NetNamespace) => match root {
                true => by("a network namespace"),
                false => partly("a network namespace", "sockets that are files"),
            },
            Measure::Network => match fence {
                Ok(version) if self.did(Word::NoTcp) => {
                    partly(&landlock(&version), "UDP, and sockets that are files")
                }
                _ => Held::Not(self.why_not(Word::NetNamespace, "a network namespace")),
            },
            Measure::Memory if self.group_memory => by("a control group, and a limit for each process"),
            Measure::Memory => {
                partly("a limit for each process, and a look at the sum", "a burst between two looks")
            }
            Measure::Processes if self.group_pids => by("a control group"),
            Measure::Processes if self.did(Word::UserNamespace) && !self.is_root => {
                by("a limit of the user namespace")
            }
            Measure::Processes if self.did(Word::Limits) && !self.is_root => by("a limit on this user's"),
            Measure::Processes => partly("looks at their number", "a burst between two looks"),
            Measure::Limits if self.did(Word::Limits) => by("resource limits"),
            Measure::Limits => Held::Not(self.why_not(Word::Limits, "resource limits")),
            Measure::Disk => by("looks at what was added, and at what is free"),
            Measure::Privileges => match (self.did(Word::NoNewPrivileges), self.did(Word::Capabilities)) {
                (true, true) => by("no capabilities, and no new privileges"),
                (true, false) => partly("no new privileges", "capabilities that this process has"),
                (false, _) => Held::Not(self.why_not(Word::NoNewPrivileges, "no new privileges")),
            },
        }
    }

    fn no_root(&self) -> String {
        match self.did(Word::MountNamespace) {
            true => self.why_not(Word::Root, "a file tree of its own"),
            false => self.why_not(Word::MountNamespace, "a mount namespace"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_well() -> Facts {
        use Word::*;
        let words =
            [PidNamespace, NetNamespace, MountNamespace, Root, Limits, Capabilities, NoNewPrivileges, Fence];
        Facts {
            steps: words.map(|word| (word, 0)).to_vec(),
            landlock: Some(Ok(7)),
            group_pids: true,
            group_memory: true,
            is_root: true,
        }
    }

    #[test]
    fn where_the_kernel_gives_all_there_is_no_gap_and_what_is_allowed_is_none() {
        let jail = Jail::new("/scratch");
        assert_eq!(all_well().contained(&jail).gaps(), Vec::<String>::new());
        let open = Jail { network: true, ..jail };
        assert_eq!(all_well().contained(&open).held(Measure::Network), Some(&Held::Allowed));
    }

    #[test]
    fn each_refused_step_is_a_gap_that_names_it_and_why() {
        let refused = |word: Word, measure: Measure, expected: &str| {
            let mut facts = all_well();
            facts.landlock = Some(Err("the kernel has no landlock".to_owned()));
            facts.steps.retain(|(told, _)| *told != word && *told != Word::Fence);
            facts.steps.push((word, libc::EPERM));
            let contained = facts.contained(&Jail::new("/scratch"));
            assert!(!contained.holds(measure));
            let gaps = contained.gaps().join("\n");
            assert!(gaps.contains(expected) && gaps.contains(measure.name()), "{gaps}");
        };
        refused(Word::PidNamespace, Measure::Outsiders, "a PID namespace: Operation not permitted");
        refused(Word::PidNamespace, Measure::WholeKill, "kills the subreaper");
        refused(Word::NetNamespace, Measure::Network, "a network namespace: Operation not permitted");
        refused(Word::Root, Measure::Writes, "the kernel has no landlock");
        refused(Word::Root, Measure::Network, "sockets that are files");
        refused(Word::Limits, Measure::Limits, "resource limits: Operation not permitted");
        refused(Word::Capabilities, Measure::Privileges, "capabilities that this process has");
    }

    #[test]
    fn landlock_alone_holds_what_it_can_and_says_what_it_cannot() {
        let steps =
            [Word::Limits, Word::Capabilities, Word::NoNewPrivileges, Word::Fence].map(|word| (word, 0));
        let with = |version| Facts {
            steps: steps.to_vec(),
            landlock: Some(Ok(version)),
            is_root: true,
            ..Facts::default()
        };
        let contained = |version| with(version).contained(&Jail::new("/scratch"));
        assert!(contained(6).holds(Measure::WholeKill) && contained(6).holds(Measure::Outsiders));
        assert!(!contained(5).holds(Measure::WholeKill) && !contained(5).holds(Measure::Outsiders));
        assert!(matches!(contained(6).held(Measure::Network), Some(Held::Not(_))));
        let mut without_tcp = with(6);
        without_tcp.steps.push((Word::NoTcp, 0));
        let contained_too = without_tcp.contained(&Jail::new("/scratch"));
        assert!(matches!(contained_too.held(Measure::Network), Some(Held::Partly { .. })));
        assert!(matches!(contained(6).held(Measure::Writes), Some(Held::Partly { .. })));
        assert!(matches!(contained(6).held(Measure::Processes), Some(Held::Partly { .. })));
    }
}
