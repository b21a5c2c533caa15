//! What hostile code does in a jail, and that it harms nobody. Real processes, so this is the real arm's; at the end what both arms promise.
//!
//! Nothing here needs a tool but a shell: what a shell cannot do, this program does itself, started again as [`hostile`] inside the jail.

use synod_platform::process::{Breach, End, Jail, Measure, Tool, which};
use synod_platform::testing;

#[cfg(not(madsim))]
mod real {
    use super::*;
    use std::fs;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::{Path, PathBuf};
    use synod_platform::files::{self, CopyLimits};
    use synod_platform::process::{self, Output};
    use synod_platform::time::{Duration, now, sleep, timeout};

    const MIB: u64 = 1 << 20;

    /// A place with a scratch folder, a tree to protect, and a mark by which its processes are known.
    struct Place {
        directory: tempfile::TempDir,
        mark: String,
    }

    impl Place {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            for below in ["scratch", "tree"] {
                fs::create_dir(directory.path().join(below)).unwrap();
            }
            fs::write(directory.path().join("tree/original"), "as it was").unwrap();
            let mark = format!("MARK{:016x}", synod_platform::random::u64());
            Self { directory, mark }
        }

        fn path(&self, below: &str) -> PathBuf {
            self.directory.path().join(below)
        }

        fn jail(&self) -> Jail {
            Jail::new(self.path("scratch"))
        }

        fn shell(&self, script: &str) -> Tool {
            self.marked(Tool::new(which("sh").unwrap()).args(["-c", script]))
        }

        /// This program, started again to do `what`.
        fn hostile(&self, what: &str) -> Tool {
            let program = process::program().unwrap();
            self.marked(Tool::new(program).args([
                "--exact",
                "real::hostile",
                "--nocapture",
                "--test-threads=1",
            ]))
            .variable("HOSTILE", what)
        }

        fn marked(&self, tool: Tool) -> Tool {
            let tool = tool.directory(self.path("scratch").to_str().unwrap());
            tool.variable(&self.mark, "1").variable("TREE", self.path("tree").to_str().unwrap())
        }

        /// The processes that have the mark, by what they were started as.
        fn survivors(&self) -> Vec<String> {
            let marked = |pid: &PathBuf| {
                fs::read(pid.join("environ")).is_ok_and(|bytes| {
                    bytes.windows(self.mark.len()).any(|window| window == self.mark.as_bytes())
                })
            };
            let all = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
            let own = PathBuf::from(format!("/proc/{}", std::process::id()));
            all.filter(|pid| *pid != own && marked(pid))
                .map(|pid| fs::read_to_string(pid.join("cmdline")).unwrap_or_default().replace('\0', " "))
                .collect()
        }

        async fn run(&self, tool: Tool, jail: Jail) -> Output {
            let output = tool.jail(jail).run().await.unwrap();
            assert_eq!(self.survivors(), Vec::<String>::new(), "what ran in the jail is gone");
            assert_eq!(fs::read_to_string(self.path("tree/original")).unwrap(), "as it was");
            if output.contained.holds(Measure::Writes) {
                let mode = fs::metadata(self.path("tree/original")).unwrap().permissions().mode() & 0o777;
                assert_eq!(mode, 0o644);
            }
            output
        }
    }

    /// Whether this runs in a jail itself, whose bounds come before those of a jail within; then it is said that nothing is tested.
    fn is_jailed() -> bool {
        let jailed = process::variable(process::JAILED).is_some();
        if jailed {
            println!("unavailable: needs to run outside of a jail");
        }
        jailed
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// Does what `HOSTILE` says, when it is set: then this program runs in a jail.
    #[test]
    fn hostile() {
        let Ok(what) = std::env::var("HOSTILE") else { return };
        let (what, argument) = what.split_once(' ').unwrap_or((&what, ""));
        match what {
            "connect" => {
                let said = |outcome: std::io::Result<()>| {
                    outcome.map_or_else(|error| error.to_string(), |()| "reached".into())
                };
                println!("tcp: {}", said(TcpStream::connect(argument).map(drop)));
                let out =
                    UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"x", argument).map(drop));
                println!("udp: {}", said(out));
                println!("file: {}", said(UnixStream::connect(std::env::var("SOCKET").unwrap()).map(drop)));
                let own = TcpListener::bind("127.0.0.1:0").unwrap();
                println!("own: {}", said(TcpStream::connect(own.local_addr().unwrap()).map(drop)));
            }
            "eat" => {
                let mut eaten = vec![0u8; argument.parse().unwrap()];
                eaten.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
                println!("ate {}", eaten.len());
                // Holds it until it is killed: there is no end but that.
                loop {
                    std::thread::park();
                }
            }
            "call" => {
                let place = PathBuf::from(argument);
                let script = "echo up > up; exec sleep 1000";
                let tool =
                    Tool::new(which("sh").unwrap()).args(["-c", script]).directory(place.to_str().unwrap());
                let marks = std::env::vars().filter(|(name, _)| name.starts_with("MARK"));
                let tool = marks.fold(tool, |tool, (name, value)| tool.variable(&name, value));
                testing::run(1, || async move { tool.jail(Jail::new(place)).run().await.unwrap() });
            }
            other => panic!("nobody can {other}"),
        }
    }

    #[test]
    fn forks_without_end_are_stopped_at_the_bound() {
        if is_jailed() {
            return;
        }
        testing::run(1, || async {
            let place = Place::new();
            let jail = Jail { processes: 60, ..place.jail() };
            let before = now();
            let output = place.run(place.shell("f() { f & f & wait; }; while :; do f; done"), jail).await;
            // A shell that may not fork ends by itself, if it is quicker than the watch.
            assert!(
                matches!(output.end, End::Breached(Breach::Processes) | End::Code(_)),
                "{:?}",
                output.end
            );
            // Where the kernel refuses without counting, the shell is the one to say so.
            let said = text(&output.stderr);
            assert!(output.breaches.contains(&Breach::Processes) || said.contains("fork"), "{said}");
            assert!(now().since(before) < Duration::from_secs(15));
        });
    }

    #[test]
    fn a_daemon_that_leaves_its_session_is_killed_with_the_tool_and_told() {
        testing::run(2, || async {
            let place = Place::new();
            let script = "(setsid sh -c 'echo up > up; exec sleep 1000' &); while ! [ -s up ]; do sleep 0.01; done; exit 3";
            let output = place.run(place.shell(script), place.jail()).await;
            assert_eq!((output.end, output.breaches), (End::Code(3), vec![Breach::LeftProcesses]));
        });
    }

    #[test]
    fn a_home_that_a_tool_replaced_by_a_link_is_not_followed_when_the_next_one_runs() {
        testing::run(19, || async {
            let place = Place::new();
            let tree = place.path("tree").display().to_string();
            let script = format!("rm -r home && ln -s {tree} home");
            let output = place.run(place.shell(&script), place.jail()).await;
            assert_eq!(output.end, End::Code(0), "{}", text(&output.stderr));
            let error = place.shell("true").jail(place.jail()).run().await.unwrap_err();
            assert!(error.to_string().contains("exists"), "{error}");
            assert!(!place.path("tree/.cache").exists(), "nothing was made in the tree");
        });
    }

    #[test]
    fn a_tool_whose_caller_is_dropped_or_killed_is_gone() {
        testing::run(3, || async {
            let place = Place::new();
            let up = place.path("scratch/up");
            let started = async |up: &Path| {
                let started = async {
                    while !up.exists() {
                        sleep(Duration::from_millis(5)).await;
                    }
                };
                timeout(Duration::from_secs(30), started).await.unwrap();
            };
            let gone = async || {
                let gone = async {
                    while !place.survivors().is_empty() {
                        sleep(Duration::from_millis(5)).await;
                    }
                };
                timeout(Duration::from_secs(10), gone).await.unwrap();
            };
            let tool = place.shell("(setsid sleep 1000 &); echo up > up; exec sleep 1000").jail(place.jail());
            let running = synod_platform::task::spawn(tool.run());
            started(&up).await;
            assert!(!place.survivors().is_empty());
            running.abort();
            assert!(running.await.is_err());
            gone().await;

            fs::remove_file(&up).unwrap();
            let tool = place.hostile(&format!("call {}", place.path("scratch").display()));
            let running = synod_platform::task::spawn(tool.run());
            started(&up).await;
            // Dropping a tool without a jail kills its group by SIGKILL: the caller has no time to clean up.
            running.abort();
            assert!(running.await.is_err());
            gone().await;
        });
    }

    #[test]
    fn nothing_outside_is_written_changed_or_read_by_any_name() {
        if is_jailed() {
            return;
        }
        testing::run(4, || async {
            let place = Place::new();
            fs::write(place.path("secret"), "a key").unwrap();
            let script = "echo x > $TREE/new; echo x >> $TREE/original; chmod 0 $TREE/original; rm -rf $TREE; \
                          mv $TREE $TREE.away; ln -s $TREE link; echo x > link/new; echo x > $OUTSIDE; \
                          echo x > $REAL_HOME/synod-was-here; echo x > /tmp/synod-was-here; touch $OUTSIDE.2; \
                          echo x > /proc/sys/kernel/hostname; cat $SECRET; ls $REAL_HOME; echo done";
            let home = process::variable("HOME").unwrap_or_else(|| "/root".into());
            let outside = place.path("outside");
            let tool = place
                .shell(script)
                .variable("REAL_HOME", &home)
                .variable("OUTSIDE", outside.to_str().unwrap())
                .variable("SECRET", place.path("secret").to_str().unwrap());
            let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
            let output = place.run(tool, place.jail().read(place.path("tree"))).await;
            assert_eq!(text(&output.stdout), "done\n", "it may read neither the secret nor the home");
            let said = text(&output.stderr);
            for path in ["tree/new", "tree/original", "tree.away", "link/new", "synod-was-here", "secret"] {
                assert!(said.contains(path), "{path} is told in: {said}");
            }
            let left: Vec<_> =
                fs::read_dir(place.directory.path()).unwrap().flatten().map(|e| e.file_name()).collect();
            assert_eq!(left.len(), 3, "{left:?}");
            assert_eq!(fs::read_dir(place.path("tree")).unwrap().count(), 1);
            assert!(!Path::new("/tmp/synod-was-here").exists());
            assert!(!Path::new(&home).join("synod-was-here").exists());
            assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), hostname);
        });
    }

    #[test]
    fn a_disk_that_fills_and_a_file_that_grows_are_stopped() {
        testing::run(5, || async {
            let place = Place::new();
            let fill = "i=0; while :; do head -c 4000000 /dev/zero > $HOME/fill$i; i=$((i+1)); done";
            let jail = Jail { disk: 32 * MIB, ..place.jail() };
            let output = place.run(place.shell(fill), jail).await;
            assert_eq!(
                (output.end, &output.breaches[..]),
                (End::Breached(Breach::Disk), &[Breach::Disk][..])
            );

            let jail = Jail { file_size: MIB, ..place.jail() };
            let output = place.run(place.shell("exec head -c 40000000 /dev/zero > big"), jail).await;
            assert_eq!(output.end, End::Breached(Breach::FileSize));
            assert_eq!(fs::metadata(place.path("scratch/big")).unwrap().len(), MIB);
        });
    }

    #[test]
    fn no_socket_reaches_out_but_its_own_loopback_works() {
        testing::run(6, || async {
            let place = Place::new();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let socket = place.path("socket");
            let _unix = UnixListener::bind(&socket).unwrap();
            let tool = || {
                let tool = place.hostile(&format!("connect {}", listener.local_addr().unwrap()));
                tool.variable("SOCKET", socket.to_str().unwrap())
            };
            let output = place.run(tool(), place.jail()).await;
            let said = text(&output.stdout);
            if !output.contained.holds(Measure::Network) {
                // A kernel or container that gives no namespaces: the gap is told, and what landlock can do is done.
                assert!(output.contained.gaps().iter().any(|gap| gap.contains("network")));
                return;
            }
            assert!(output.is_success(), "{said}{}", text(&output.stderr));
            assert!(said.contains("tcp: Connection refused") && said.contains("own: reached"), "{said}");
            assert!(!said.contains("tcp: reached") && !said.contains("file: reached"), "{said}");
            listener.set_nonblocking(true).unwrap();
            assert!(listener.accept().is_err(), "nobody has come");

            let open = Jail { network: true, ..place.jail() };
            let said = text(&place.run(tool(), open).await.stdout);
            assert!(said.contains("tcp: reached"), "{said}");
        });
    }

    #[test]
    fn two_hundred_megabytes_of_output_pass_by_without_staying() {
        testing::run(7, || async {
            let resident = || {
                let statm = fs::read_to_string("/proc/self/statm").unwrap();
                statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
            };
            let place = Place::new();
            let before = resident();
            let tool = place.shell("head -c 200000000 /dev/zero; echo end >&2").output_limit(1000);
            let output = place.run(tool, place.jail()).await;
            assert_eq!((output.end, output.stdout.len(), output.truncated), (End::Code(0), 1000, true));
            assert_eq!(output.stderr, b"end\n");
            assert!(resident().saturating_sub(before) < 64 * MIB);
        });
    }

    #[test]
    fn what_never_ends_and_heeds_no_signal_is_ended() {
        testing::run(8, || async {
            let place = Place::new();
            let script = "trap '' TERM INT HUP QUIT; while :; do sleep 1; done";
            let output =
                place.run(place.shell(script).time_limit(Duration::from_millis(300)), place.jail()).await;
            assert_eq!(output.end, End::TimedOut);

            let jail = Jail { cpu: Duration::from_secs(1), ..place.jail() };
            let output = place.run(place.shell("while :; do :; done"), jail).await;
            assert_eq!(output.end, End::Breached(Breach::Cpu));
        });
    }

    #[test]
    fn memory_is_bounded_for_one_process_and_for_all_together() {
        testing::run(9, || async {
            let place = Place::new();
            let jail = || Jail { memory: 256 * MIB, ..place.jail() };
            let output = place.run(place.hostile("eat 400000000"), jail()).await;
            assert!(!text(&output.stdout).contains("ate"), "one process is refused what is too much");
            assert!(matches!(output.end, End::Signal(_) | End::Breached(Breach::Memory)), "{:?}", output.end);

            let program = process::program().unwrap();
            let eat =
                "for i in 1 2 3 4 5 6 7 8; do \"$PROGRAM\" --exact real::hostile --nocapture & done; wait";
            let tool = place.shell(eat).variable("HOSTILE", "eat 100000000");
            let tool = tool.variable("PROGRAM", program.to_str().unwrap());
            let output = place.run(tool, jail().read(program)).await;
            assert_eq!(output.end, End::Breached(Breach::Memory), "{}", text(&output.stderr));
        });
    }

    #[test]
    fn a_tool_that_kills_all_it_can_kills_only_itself() {
        testing::run(10, || async {
            let place = Place::new();
            let script = format!("kill -9 -1; kill -9 $PPID; kill -9 {}; kill -9 0", std::process::id());
            let output = place.run(place.shell(&script), place.jail()).await;
            assert_eq!(output.end, End::Signal(9));
        });
    }

    #[test]
    fn a_scratch_folder_in_which_everything_was_shut_is_removed() {
        testing::run(11, || async {
            let place = Place::new();
            let scratch = files::scratch(&place.path("work")).await.unwrap();
            let copy = scratch.path().join("tree");
            files::copy_tree(&place.path("tree"), &copy, CopyLimits::default()).await.unwrap();
            let tool = place.shell(
                "echo changed > original; mkdir -p a/b; touch a/b/c; chmod 0 a/b/c a/b a original .. .",
            );
            let tool = tool.directory(copy.to_str().unwrap());
            let output = place.run(tool, Jail::new(scratch.path())).await;
            assert!(output.is_success(), "{}", text(&output.stderr));
            scratch.remove().await.unwrap();
            assert_eq!(fs::read_dir(place.path("work")).unwrap().count(), 0);
        });
    }

    #[test]
    fn home_and_temporary_files_lie_in_the_scratch_folder_and_no_right_is_left() {
        testing::run(12, || async {
            let place = Place::new();
            let script = "echo $HOME; echo $TMPDIR; echo x > $HOME/a && echo x > $TMPDIR/b && echo x > /tmp/$OWN; \
                          grep -E '^(CapPrm|CapEff|CapBnd|NoNewPrivs)' /proc/self/status; ls / /dev; cat";
            let output = place
                .run(place.shell(script).variable("OWN", &place.mark).input("typed"), place.jail())
                .await;
            let scratch = place.path("scratch").display().to_string();
            let said = text(&output.stdout);
            let mut lines = said.lines();
            assert_eq!(lines.next(), Some(format!("{scratch}/home").as_str()));
            assert_eq!(lines.next(), Some(format!("{scratch}/tmp").as_str()));
            assert!(
                said.contains("CapPrm:\t0000000000000000") && said.contains("CapEff:\t0000000000000000"),
                "{said}"
            );
            assert!(said.contains("NoNewPrivs:\t1") && said.ends_with("typed"), "{said}");
            if output.contained.holds(Measure::Writes) {
                assert!(said.contains("\nnull\n") && !said.contains("\nvar\n"), "an empty root: {said}");
            }
            assert!(place.path("scratch/home/a").exists() && place.path("scratch/tmp/b").exists());
            assert!(!Path::new("/tmp").join(&place.mark).exists());
        });
    }

    #[test]
    fn what_cannot_run_in_a_jail_is_refused_by_name() {
        testing::run(13, || async {
            let place = Place::new();
            let missing = place.path("scratch/missing");
            let refused = Tool::new(&missing).jail(place.jail()).run().await.unwrap_err();
            assert!(refused.to_string().contains("scratch/missing"), "{refused}");
        });
    }
}

#[test]
fn a_jailed_tool_answers_as_any_other_and_each_measure_is_told() {
    testing::run(20, || async {
        #[cfg(madsim)]
        let scratch = {
            use synod_platform::process::control::{Transcript, record};
            record(synod_platform::simulation::current_node(), Transcript::says("sh", "all well\n"));
            std::path::PathBuf::from("/scratch")
        };
        #[cfg(not(madsim))]
        let place = tempfile::tempdir().unwrap();
        #[cfg(not(madsim))]
        let scratch = place.path().to_owned();
        let tool = Tool::new(which("sh").unwrap()).args(["-c", "echo all well"]);
        let output = tool.clone().run().await.unwrap();
        assert_eq!(output.contained.measures, [], "without a jail nothing is contained");
        let output = tool.jail(Jail::new(scratch)).run().await.unwrap();
        assert_eq!((output.end, &output.stdout[..]), (End::Code(0), &b"all well\n"[..]));
        assert_eq!(output.breaches, Vec::<Breach>::new());
        let told: Vec<Measure> = output.contained.measures.iter().map(|(measure, _)| *measure).collect();
        assert_eq!(told, Measure::ALL);
    });
}

#[cfg(madsim)]
mod simulated {
    use super::*;
    use synod_platform::process::Held;
    use synod_platform::process::control::{Transcript, contain, record};
    use synod_platform::simulation;

    #[test]
    fn recorded_breaches_and_gaps_come_to_a_jailed_tool_alone() {
        testing::run(21, || async {
            let node = simulation::current_node();
            let breaches = vec![Breach::Memory, Breach::LeftProcesses];
            record(
                node,
                Transcript { breaches: breaches.clone(), ..Transcript::says("tests", "one failed") },
            );
            contain(node, Measure::Network, Held::Not("no namespaces here".into()));
            let tool = || Tool::new(which("tests").unwrap());
            assert!(tool().run().await.unwrap().is_success());
            let output = tool().jail(Jail::new("/scratch")).run().await.unwrap();
            assert_eq!((output.end, output.breaches), (End::Breached(Breach::Memory), breaches));
            assert_eq!(output.contained.gaps(), ["not contained: network (no namespaces here)"]);
        });
    }
}
