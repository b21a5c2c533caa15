//! Conformance of `files`, the same bodies on both arms; then what only the simulated arm can show.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use synod_platform::files::{self, CopyLimits, FilesError, Kind, WalkLimits};
use synod_platform::testing;
use synod_platform::time::{Duration, timeout};

/// An empty directory to work in, and a way to put links there, in either arm.
struct Place {
    #[cfg(not(madsim))]
    directory: tempfile::TempDir,
}

impl Place {
    #[cfg(not(madsim))]
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    #[cfg(madsim)]
    fn new() -> Self {
        files::tree(synod_platform::simulation::current_node()).directory("/place");
        Self {}
    }

    fn path(&self, below: &str) -> PathBuf {
        #[cfg(not(madsim))]
        let root = self.directory.path();
        #[cfg(madsim)]
        let root = Path::new("/place");
        if below.is_empty() { root.to_owned() } else { root.join(below) }
    }

    fn link(&self, below: &str, target: &str) {
        #[cfg(not(madsim))]
        std::os::unix::fs::symlink(target, self.path(below)).unwrap();
        #[cfg(madsim)]
        files::tree(synod_platform::simulation::current_node()).link(self.path(below), target);
    }

    async fn put(&self, below: &str, text: &str) {
        let path = self.path(below);
        files::create_directories(path.parent().unwrap()).await.unwrap();
        files::write(&path, text).await.unwrap();
    }
}

async fn walked(root: &Path, limits: WalkLimits) -> Vec<String> {
    let walk = files::walk(root, limits).await.unwrap();
    assert_eq!(walk.unreadable, []);
    walk.entries.iter().map(|entry| entry.path.to_str().unwrap().to_owned()).collect()
}

#[test]
fn what_was_written_is_read_and_replaces_what_was_there() {
    testing::run(1, || async {
        let place = Place::new();
        let path = place.path("a");
        files::write(&path, "one").await.unwrap();
        files::write(&path, "two!").await.unwrap();
        assert_eq!(files::read(&path, 100).await.unwrap(), b"two!");
        assert_eq!(
            files::list(&place.path("")).await.unwrap(),
            [OsString::from("a")],
            "no temporary file is left"
        );
        let metadata = files::metadata(&path).await.unwrap();
        assert_eq!((metadata.kind, metadata.len), (Kind::File, 4));
    });
}

#[test]
fn a_read_has_a_bound_and_says_which() {
    testing::run(2, || async {
        let place = Place::new();
        let path = place.path("a");
        files::write(&path, vec![7; 1000]).await.unwrap();
        assert_eq!(files::read(&path, 1000).await.unwrap().len(), 1000);
        let refused = files::read(&path, 999).await.unwrap_err();
        assert_eq!(refused, FilesError::TooLarge { path, limit: 999 });
    });
}

#[test]
fn what_is_missing_or_of_another_kind_is_named() {
    testing::run(3, || async {
        let place = Place::new();
        let missing = place.path("missing");
        let not_found = FilesError::NotFound { path: missing.clone() };
        assert_eq!(files::read(&missing, 1).await.unwrap_err(), not_found);
        assert_eq!(files::metadata(&missing).await.unwrap_err(), not_found);
        assert_eq!(files::exists(&missing).await, Ok(false));
        assert!(matches!(files::write(&place.path("no/a"), "").await, Err(FilesError::NotFound { .. })));
        assert!(matches!(files::read(&place.path(""), 1).await, Err(FilesError::NotAFile { .. })));
        place.put("file", "").await;
        assert!(matches!(files::list(&place.path("file")).await, Err(FilesError::NotADirectory { .. })));
        assert!(matches!(
            files::walk(&place.path("file"), WalkLimits::default()).await,
            Err(FilesError::NotADirectory { .. })
        ));
        assert!(files::write(&place.path(""), "").await.is_err());
    });
}

#[test]
fn removing_and_making_twice_is_well() {
    testing::run(4, || async {
        let place = Place::new();
        let deep = place.path("a/b/c");
        files::create_directories(&deep).await.unwrap();
        files::create_directories(&deep).await.unwrap();
        place.put("a/b/file", "x").await;
        assert!(files::remove_file(&deep).await.is_err(), "a directory is no file");
        files::remove_file(&place.path("a/b/file")).await.unwrap();
        files::remove_file(&place.path("a/b/file")).await.unwrap();
        files::remove_tree(&place.path("a")).await.unwrap();
        files::remove_tree(&place.path("a")).await.unwrap();
        assert_eq!(files::exists(&place.path("a")).await, Ok(false));
    });
}

#[test]
fn modes_are_set_and_seen() {
    testing::run(5, || async {
        let place = Place::new();
        place.put("key", "x").await;
        for mode in [0o600, 0o4755, 0o666] {
            files::set_mode(&place.path("key"), mode).await.unwrap();
            assert_eq!(files::metadata(&place.path("key")).await.unwrap().mode, mode);
            let walk = files::walk(&place.path(""), WalkLimits::default()).await.unwrap();
            assert_eq!(walk.entries[0].mode, mode);
        }
    });
}

#[test]
fn links_are_followed_by_read_told_by_walk_and_refused_below_a_root() {
    testing::run(6, || async {
        let place = Place::new();
        place.put("tree/file", "inside").await;
        place.put("secret", "outside").await;
        place.put("other/file", "outside too").await;
        place.link("tree/out", "../secret");
        place.link("tree/door", "../other");
        place.link("tree/broken", "nowhere");
        let root = place.path("tree");
        assert_eq!(files::read(&root.join("out"), 100).await.unwrap(), b"outside");
        assert_eq!(files::read(&root.join("door/file"), 100).await.unwrap(), b"outside too");
        let walk = files::walk(&root, WalkLimits::default()).await.unwrap();
        let seen: Vec<_> = walk.entries.iter().map(|e| (e.path.to_str().unwrap(), e.kind.clone())).collect();
        assert_eq!(
            seen,
            [
                ("broken", Kind::Link("nowhere".into())),
                ("door", Kind::Link("../other".into())),
                ("file", Kind::File),
                ("out", Kind::Link("../secret".into())),
            ]
        );
        assert_eq!(files::read_below(&root, Path::new("file"), 100).await.unwrap(), b"inside");
        for path in ["out", "door/file", "../secret", "/etc/passwd", ""] {
            let refused = files::read_below(&root, Path::new(path), 100).await.unwrap_err();
            let expected = FilesError::Outside { root: root.clone(), path: path.into() };
            assert_eq!(refused, expected, "{path}");
        }
        assert!(matches!(
            files::read_below(&root, Path::new("file/below"), 1).await,
            Err(FilesError::NotADirectory { .. } | FilesError::NotFound { .. })
        ));
        let canonical = files::canonical(&root.join("door/file")).await.unwrap();
        assert_eq!(canonical, files::canonical(&place.path("other/file")).await.unwrap());
    });
}

#[test]
fn a_walk_is_in_order_and_leaves_out_what_git_ignores() {
    testing::run(7, || async {
        let place = Place::new();
        let ignores = "# a comment\n*.log\n/target/\n!keep.log\nlocal\n[broken\n";
        for (path, text) in [
            (".gitignore", ignores),
            (".git/HEAD", "ref"),
            (".git/info/exclude", "private\n"),
            (".hidden", ""),
            ("a.log", ""),
            ("keep.log", ""),
            ("private", ""),
            ("src/main.rs", ""),
            ("src/.gitignore", "generated\n!a.log\n"),
            ("src/a.log", ""),
            ("src/b.log", ""),
            ("src/generated/x", ""),
            ("src/target/kept", ""),
            ("generated", "only src ignores this"),
            ("target/big", ""),
            ("z/local/x", ""),
        ] {
            place.put(path, text).await;
        }
        let seen = walked(&place.path(""), WalkLimits::default()).await;
        let expected = [
            ".gitignore",
            ".hidden",
            "generated",
            "keep.log",
            "src",
            "src/.gitignore",
            "src/a.log",
            "src/main.rs",
            "src/target",
            "src/target/kept",
            "z",
        ];
        assert_eq!(seen, expected);
        let all =
            walked(&place.path(""), WalkLimits { honour_ignores: false, ..WalkLimits::default() }).await;
        assert!(all.contains(&"target/big".to_owned()) && !all.iter().any(|path| path.starts_with(".git/")));
    });
}

#[test]
fn a_walk_ends_at_its_bounds_and_says_so() {
    testing::run(8, || async {
        let place = Place::new();
        for n in 0..5 {
            place.put(&format!("a/b/{n}"), "").await;
        }
        let walk =
            files::walk(&place.path(""), WalkLimits { entries: 4, ..WalkLimits::default() }).await.unwrap();
        assert_eq!((walk.entries.len(), walk.truncated), (4, true));
        let walk =
            files::walk(&place.path(""), WalkLimits { entries: 7, ..WalkLimits::default() }).await.unwrap();
        assert_eq!((walk.entries.len(), walk.truncated), (7, false));
        let walk =
            files::walk(&place.path(""), WalkLimits { depth: 2, ..WalkLimits::default() }).await.unwrap();
        assert_eq!(walk.too_deep, [PathBuf::from("a/b")]);
        assert_eq!(walk.entries.len(), 2);
    });
}

#[test]
fn a_copy_has_what_the_tree_has_within_itself_and_names_the_rest() {
    testing::run(9, || async {
        let place = Place::new();
        for (path, text) in
            [("tree/.gitignore", "skip\n"), ("tree/skip/x", ""), ("tree/src/a", "one"), ("tree/run", "two!")]
        {
            place.put(path, text).await;
        }
        files::set_mode(&place.path("tree/run"), 0o4755).await.unwrap();
        place.put("secret", "outside").await;
        place.link("tree/src/near", "../run");
        place.link("tree/far", "../secret");
        let (from, to) = (place.path("tree"), place.path("copy/below"));
        let copied = files::copy_tree(&from, &to, CopyLimits::default()).await.unwrap();
        assert_eq!((copied.files, copied.bytes), (3, 12));
        assert_eq!(
            copied.left_out,
            [(PathBuf::from("far"), "a link out of the tree, to ../secret".to_owned())]
        );
        assert_eq!(
            walked(&to, WalkLimits::default()).await,
            [".gitignore", "run", "src", "src/a", "src/near"]
        );
        assert_eq!(files::read(&to.join("src/near"), 10).await.unwrap(), b"two!");
        assert_eq!(files::metadata(&to.join("run")).await.unwrap().mode, 0o755);
        // What happens to the copy does not happen to the tree.
        files::write(&to.join("src/a"), "changed").await.unwrap();
        assert_eq!(files::read(&from.join("src/a"), 10).await.unwrap(), b"one");
    });
}

#[test]
fn a_tree_that_is_too_much_is_not_copied_in_part() {
    testing::run(10, || async {
        let place = Place::new();
        place.put("tree/a", "12345").await;
        place.put("tree/b", "67890").await;
        let (from, to) = (place.path("tree"), place.path("copy"));
        let copy = |bytes, entries| {
            let walk = WalkLimits { entries, ..WalkLimits::default() };
            files::copy_tree(&from, &to, CopyLimits { walk, bytes })
        };
        assert_eq!(copy(9, 2).await, Err(FilesError::TooLarge { path: from.clone(), limit: 9 }));
        let refused = copy(10, 1).await.unwrap_err().to_string();
        assert!(refused.contains("more than the 1 entries"), "{refused}");
        assert_eq!(files::exists(&to).await, Ok(false));
        assert_eq!(copy(10, 2).await.unwrap().bytes, 10);
    });
}

#[test]
fn a_scratch_folder_is_empty_at_first_and_gone_afterwards_and_not_swept_while_it_is_held() {
    testing::run(11, || async {
        let place = Place::new();
        let parent = place.path("work");
        assert_eq!(files::sweep_scratch(&parent).await, Ok(0));
        let (one, two) = (files::scratch(&parent).await.unwrap(), files::scratch(&parent).await.unwrap());
        assert_ne!(one.path(), two.path());
        assert!(files::list(one.path()).await.unwrap().is_empty());
        files::write(&one.path().join("a"), "x").await.unwrap();
        assert_eq!(files::sweep_scratch(&parent).await, Ok(0));
        one.remove().await.unwrap();
        assert_eq!(files::list(&parent).await.unwrap().len(), 1);
        drop(two);
        // In production a thread of its own removes it.
        let gone = async {
            while !files::list(&parent).await.unwrap().is_empty() {
                synod_platform::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(60), gone).await.unwrap();
    });
}

#[cfg(not(madsim))]
mod real {
    use super::*;

    #[test]
    fn a_pipe_in_the_tree_is_told_and_reading_it_does_not_wait() {
        testing::run(1, || async {
            let place = Place::new();
            let pipe = place.path("pipe");
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
            let walk = files::walk(&place.path(""), WalkLimits::default()).await.unwrap();
            assert_eq!(walk.entries[0].kind, Kind::Other);
            let minute = Duration::from_secs(60);
            let read = timeout(minute, files::read(&pipe, 10)).await.unwrap();
            assert_eq!(read.unwrap_err(), FilesError::NotAFile { path: pipe.clone() });
            let root = place.path("");
            let read = timeout(minute, files::read_below(&root, Path::new("pipe"), 10)).await.unwrap();
            assert_eq!(read.unwrap_err(), FilesError::NotAFile { path: pipe });
        });
    }

    #[test]
    fn a_scratch_folder_whose_holder_was_killed_is_swept() {
        testing::run(3, || async {
            let place = Place::new();
            let left = place.path(".synod-s-01234567");
            files::create_directories(&left.join("a/b")).await.unwrap();
            files::create_directories(&place.path("mine")).await.unwrap();
            files::set_mode(&left.join("a/b"), 0).await.unwrap();
            files::set_mode(&left, 0).await.unwrap();
            assert_eq!(files::sweep_scratch(&place.path("")).await, Ok(1));
            assert_eq!(files::list(&place.path("")).await.unwrap(), [OsString::from("mine")]);
        });
    }

    #[test]
    fn a_tree_deeper_than_any_path_is_long_and_without_permissions_is_removed() {
        testing::run(4, || async {
            use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
            let place = Place::new();
            let mut at = openat(CWD, place.path(""), OFlags::DIRECTORY, Mode::empty()).unwrap();
            for level in 0..900 {
                mkdirat(&at, "deeper", Mode::RWXU).unwrap();
                let below = openat(&at, "deeper", OFlags::DIRECTORY, Mode::empty()).unwrap();
                if level % 100 == 50 {
                    mkdirat(&below, "shut", Mode::empty()).unwrap();
                }
                at = below;
            }
            files::remove_tree(&place.path("deeper")).await.unwrap();
            assert_eq!(files::exists(&place.path("deeper")).await, Ok(false));
        });
    }

    #[test]
    fn a_file_whose_length_lies_is_still_bounded() {
        testing::run(2, || async {
            let path = Path::new("/proc/self/status");
            assert!(files::read(path, 1 << 20).await.unwrap().len() > 100);
            assert!(matches!(files::read(path, 10).await, Err(FilesError::TooLarge { .. })));
        });
    }
}

#[cfg(madsim)]
mod simulated {
    use super::*;
    use synod_platform::simulation::{self, Node};
    use synod_platform::time::sleep;

    #[test]
    fn what_may_not_be_read_is_reported_and_the_rest_is_walked() {
        testing::run(1, || async {
            let place = Place::new();
            place.put("open/a", "").await;
            place.put("shut/b", "").await;
            files::tree(simulation::current_node()).refuse(place.path("shut"));
            let walk = files::walk(&place.path(""), WalkLimits::default()).await.unwrap();
            assert_eq!(walk.entries.len(), 3);
            assert_eq!(walk.unreadable.len(), 1);
            assert_eq!(walk.unreadable[0].path, Path::new("shut"));
            assert!(matches!(walk.unreadable[0].error, FilesError::Denied { .. }));
            assert!(matches!(files::read(&place.path("shut/b"), 1).await, Err(FilesError::Denied { .. })));
        });
    }

    #[test]
    fn a_scratch_folder_whose_node_was_killed_is_swept_by_its_next_life() {
        simulation::run(1, Duration::from_secs(60), || async {
            let node = Node::create("a", [10, 0, 0, 1].into(), || async {
                let before = files::sweep_scratch(Path::new("/work")).await.unwrap();
                files::write(Path::new(&format!("/swept-{before}")), "").await.unwrap();
                let _held = files::scratch(Path::new("/work")).await.unwrap();
                std::future::pending::<()>().await;
            });
            sleep(Duration::from_millis(5)).await;
            node.kill();
            node.restart();
            sleep(Duration::from_millis(5)).await;
            let paths = files::tree(node.id()).paths();
            assert!(paths.contains(&"/swept-0".into()) && paths.contains(&"/swept-1".into()), "{paths:?}");
            assert_eq!(paths.iter().filter(|path| path.starts_with("/work")).count(), 2, "{paths:?}");
        })
        .unwrap();
    }

    #[test]
    fn a_link_that_leads_to_itself_is_an_error_not_a_hang() {
        testing::run(2, || async {
            let place = Place::new();
            place.link("a", "b");
            place.link("b", "a");
            assert!(matches!(files::read(&place.path("a"), 1).await, Err(FilesError::Other { .. })));
        });
    }

    #[test]
    fn each_node_has_its_own_tree_which_outlives_it_and_a_dead_life_changes_nothing() {
        simulation::run(1, Duration::from_secs(60), || async {
            let node = Node::create("a", [10, 0, 0, 1].into(), || async {
                files::write(Path::new("/first"), "1").await.unwrap();
                sleep(Duration::from_millis(10)).await;
                files::write(Path::new("/second"), "2").await.unwrap();
                std::future::pending::<()>().await;
            });
            let other = Node::create("b", [10, 0, 0, 2].into(), std::future::pending);
            sleep(Duration::from_millis(5)).await;
            node.kill();
            sleep(Duration::from_millis(50)).await;
            assert_eq!(files::tree(node.id()).paths(), [PathBuf::from("/first")]);
            assert!(files::tree(other.id()).paths().is_empty());
            files::tree(node.id()).wipe();
            assert_eq!(files::tree(node.id()).get("/first"), None);
        })
        .unwrap();
    }
}
