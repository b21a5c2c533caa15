//! Planted bugs: wrong code that runs only when it was chosen by name, to see whether the suite notices.
//!
//! `if plant!("wal.ack-before-sync") { ... }` is a constant `false` without the feature `plant`. With it, one bug is chosen
//! for the process ([`choose`]) or for a closure on this thread ([`with`], for loom models and tests). [`reached`] tells how often the
//! chosen bug ran: "not reached" is not "survived".

#[cfg(feature = "plant")]
mod armed {
    use std::cell::RefCell;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static CHOSEN: OnceLock<String> = OnceLock::new();
    static REACHED: AtomicU64 = AtomicU64::new(0);

    thread_local! {
        static HERE: RefCell<Option<&'static str>> = const { RefCell::new(None) };
    }

    /// Chooses the bug of this process, once. A second, different choice is refused with the first's name.
    pub fn choose(name: &str) -> Result<(), String> {
        let chosen = CHOSEN.get_or_init(|| name.to_owned());
        if chosen == name { Ok(()) } else { Err(chosen.clone()) }
    }

    /// Runs `body` with the bug `name` chosen on this thread, whatever the process chose.
    pub fn with<T>(name: &'static str, body: impl FnOnce() -> T) -> T {
        struct Restore(Option<&'static str>);
        impl Drop for Restore {
            fn drop(&mut self) {
                HERE.with(|here| *here.borrow_mut() = self.0);
            }
        }
        let _restore = Restore(HERE.with(|here| here.borrow_mut().replace(name)));
        body()
    }

    /// Chooses the bug `name` for the rest of this thread: for a simulated world, which has a thread of its own.
    pub fn choose_here(name: &'static str) {
        HERE.with(|here| *here.borrow_mut() = Some(name));
    }

    /// How often the chosen bug ran in this process.
    pub fn reached() -> u64 {
        REACHED.load(Ordering::Relaxed)
    }

    /// Whether the bug `name` is chosen here; counts that it was reached. Called by `plant!`.
    pub fn planted(name: &'static str) -> bool {
        let here = HERE.with(|here| *here.borrow());
        let chosen = match here {
            Some(local) => local == name,
            None => CHOSEN.get().is_some_and(|chosen| chosen == name),
        };
        if chosen {
            REACHED.fetch_add(1, Ordering::Relaxed);
        }
        chosen
    }
}

#[cfg(feature = "plant")]
pub use armed::{choose, choose_here, planted, reached, with};

/// True when the planted bug of that name is chosen: `if plant!("fabric.late-reply") { ... }`.
#[cfg(feature = "plant")]
#[macro_export]
macro_rules! plant {
    ($name:literal) => {
        $crate::plant::planted($name)
    };
}

/// True when the planted bug of that name is chosen: never, in this build.
#[cfg(not(feature = "plant"))]
#[macro_export]
macro_rules! plant {
    ($name:literal) => {
        false
    };
}

#[cfg(all(test, feature = "plant"))]
mod tests {
    use super::{planted, with};

    #[test]
    fn a_bug_is_planted_only_under_its_name_and_only_in_its_scope() {
        assert!(!planted("probe.test"));
        with("probe.test", || {
            assert!(planted("probe.test"));
            assert!(!planted("probe.other"));
            with("probe.other", || assert!(!planted("probe.test")));
            assert!(planted("probe.test"));
        });
        assert!(!planted("probe.test"));
    }
}
