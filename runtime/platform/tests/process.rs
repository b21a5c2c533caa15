//! Conformance of `process`, the same bodies on both arms (the simulated one with recorded answers of the same tools); then what only one
//! arm can show.

use std::path::{Path, PathBuf};

use synod_platform::process::{End, Tool, ToolError, which};
use synod_platform::testing;
use synod_platform::time::{Duration, now};

/// In simulation, records what a shell answers to the scripts used here.
fn with_a_shell() {
    #[cfg(madsim)]
    {
        use synod_platform::process::control::{Transcript, record};
        let node = synod_platform::simulation::current_node();
        let answers = [
            ("echo out; echo err >&2; exit 3", 3, "out\n", "err\n", 0),
            ("sleep 30", 0, "", "", 30),
            ("yes | head -c 100000", 0, &"y\n".repeat(50_000), "", 0),
        ];
        for (script, status, stdout, stderr, seconds) in answers {
            record(
                node,
                Transcript {
                    args: Some(vec!["-c".into(), script.into()]),
                    status,
                    stderr: stderr.into(),
                    took: Duration::from_secs(seconds),
                    ..Transcript::says("sh", stdout)
                },
            );
        }
    }
}

fn shell(script: &str) -> Tool {
    Tool::new(which("sh").expect("a shell")).args(["-c", script])
}

#[test]
fn a_tool_gives_its_status_and_both_its_outputs() {
    testing::run(1, || async {
        with_a_shell();
        let output = shell("echo out; echo err >&2; exit 3").run().await.unwrap();
        assert_eq!(output.end, End::Code(3));
        assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
        assert!(!output.is_success() && !output.truncated);
    });
}

#[test]
fn a_tool_whose_time_is_over_is_ended() {
    testing::run(2, || async {
        with_a_shell();
        let before = now();
        let output = shell("sleep 30").time_limit(Duration::from_millis(100)).run().await.unwrap();
        assert_eq!(output.end, End::TimedOut);
        assert!(output.took >= Duration::from_millis(100) && now().since(before) < Duration::from_secs(20));
    });
}

#[test]
fn output_is_kept_up_to_its_bound_and_the_tool_still_ends() {
    testing::run(3, || async {
        with_a_shell();
        let output = shell("yes | head -c 100000").output_limit(10).run().await.unwrap();
        assert_eq!(output.stdout, b"y\ny\ny\ny\ny\n");
        assert!(output.truncated && output.is_success());
    });
}

#[test]
fn a_tool_that_is_not_there_and_one_that_is_not_absolute_are_refused_by_name() {
    testing::run(4, || async {
        assert_eq!(which("no-such-tool-anywhere"), None);
        assert_eq!(which(""), None);
        assert_eq!(which("../sh"), None);
        let program = PathBuf::from("/usr/bin/no-such-tool-anywhere");
        let refused = Tool::new(&program).run().await.unwrap_err();
        assert_eq!(refused, ToolError::NotFound { program, directory: "/".into() });
        let refused = Tool::new("sh").run().await.unwrap_err();
        assert_eq!(refused, ToolError::NotAbsolute { program: "sh".into() });
    });
}

#[test]
fn a_tool_is_shown_as_one_would_type_it() {
    let tool = Tool::new("/bin/x").arg("-c").args(["a", "b"]);
    assert_eq!(tool.line(), "/bin/x -c a b");
    assert!(synod_platform::process::absolute(Path::new("/a")) == Path::new("/a"));
}

#[cfg(not(madsim))]
mod real {
    use super::*;
    use synod_platform::files;
    use synod_platform::time::{sleep, timeout};

    #[test]
    fn a_tool_sees_the_environment_directory_and_input_it_was_given_and_no_other() {
        testing::run(1, || async {
            // What this test itself was started with must not shine through.
            assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
            let tool =
                shell("env | sort; pwd; cat").directory("/tmp").variable("GIVEN", "a b").input("typed");
            let output = tool.inherit(&["NOT_SET_ANYWHERE"]).run().await.unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let own =
                |line: &&str| !["PWD=", "SHLVL=", "_=", "OLDPWD="].iter().any(|name| line.starts_with(name));
            let lines: Vec<_> = text.lines().filter(own).collect();
            let expected =
                ["GIVEN=a b", "LANG=C.UTF-8", "PATH=/usr/local/bin:/usr/bin:/bin", "/tmp", "typed"];
            assert_eq!(lines, expected);
        });
    }

    #[test]
    fn a_tool_that_reads_nothing_does_not_wait_for_its_input_nor_does_its_caller() {
        testing::run(2, || async {
            let output = shell("cat").run().await.unwrap();
            assert_eq!((output.end, output.stdout), (End::Code(0), Vec::new()));
            let output = shell("exit 0").input(vec![0; 10 << 20]).run().await.unwrap();
            assert_eq!(output.end, End::Code(0));
        });
    }

    #[test]
    fn a_signal_is_told_by_its_number() {
        testing::run(3, || async {
            let output = shell("kill -9 $$").run().await.unwrap();
            assert_eq!(output.end, End::Signal(9));
        });
    }

    async fn pid_in(path: &Path) -> rustix::process::Pid {
        let written = async {
            loop {
                if let Ok(bytes) = files::read(path, 100).await
                    && let Some(line) = String::from_utf8(bytes).unwrap().strip_suffix('\n')
                {
                    return rustix::process::Pid::from_raw(line.parse().unwrap()).unwrap();
                }
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(60), written).await.unwrap()
    }

    async fn is_gone(pid: rustix::process::Pid) -> bool {
        let gone = async {
            // A zombie that nobody has waited for yet still has its number.
            while std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| !stat.contains(") Z "))
            {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(20), gone).await.is_ok()
    }

    /// A script whose grandchild would live on, and writes its number to a file first.
    fn breeds(file: &Path) -> Tool {
        let script = "sh -c 'echo $$ >\"$FILE\"; exec sleep 60' & wait";
        shell(script).variable("FILE", file.to_str().unwrap())
    }

    #[test]
    fn a_tool_that_is_dropped_is_killed_with_all_its_group() {
        testing::run(4, || async {
            let place = tempfile::tempdir().unwrap();
            let file = place.path().join("pid");
            let running = synod_platform::task::spawn(breeds(&file).run());
            let grandchild = pid_in(&file).await;
            running.abort();
            assert!(running.await.is_err());
            assert!(is_gone(grandchild).await);
        });
    }

    #[test]
    fn a_tool_that_ends_leaves_no_child_of_its_group_behind() {
        testing::run(5, || async {
            let place = tempfile::tempdir().unwrap();
            let file = place.path().join("pid");
            let script =
                "sh -c 'echo $$ >\"$FILE\"; exec sleep 60' & while ! [ -s \"$FILE\" ]; do :; done; exit 5";
            let tool = shell(script).variable("FILE", file.to_str().unwrap());
            let before = now();
            let output = tool.run().await.unwrap();
            // The child holds the outputs open: only killing it ends them.
            assert_eq!(output.end, End::Code(5));
            assert!(now().since(before) < Duration::from_secs(30));
            assert!(is_gone(pid_in(&file).await).await);
        });
    }

    #[test]
    fn this_process_knows_itself() {
        assert_eq!(synod_platform::process::pid(), std::process::id());
        assert!(synod_platform::process::directory().is_absolute());
        assert!(synod_platform::process::program().unwrap().is_absolute());
        assert_eq!(synod_platform::process::variable("CARGO_PKG_NAME").as_deref(), Some("synod-platform"));
    }
}

#[cfg(madsim)]
mod simulated {
    use super::*;
    use synod_platform::process::control::{Transcript, record, set_variable};
    use synod_platform::process::{pid, variable};
    use synod_platform::simulation::{self, Node};

    #[test]
    fn an_answer_for_all_arguments_stands_behind_those_for_some_and_takes_its_time() {
        testing::run(1, || async {
            let node = simulation::current_node();
            let slow = Transcript { took: Duration::from_secs(2), ..Transcript::says("lint", "all well") };
            record(node, slow);
            let version = Some(vec!["--version".to_owned()]);
            record(node, Transcript { args: version, ..Transcript::says("lint", "lint 1.0") });
            let lint = || Tool::new(which("lint").unwrap());
            assert_eq!(lint().arg("--version").run().await.unwrap().stdout, b"lint 1.0");
            let before = now();
            assert_eq!(lint().arg("src").run().await.unwrap().stdout, b"all well");
            assert!(now().since(before) >= Duration::from_secs(2));
            Node::current().unwrap().set_slowness(100.0);
            assert_eq!(lint().run().await.unwrap().end, End::TimedOut);
        });
    }

    #[test]
    fn arguments_that_were_not_recorded_are_refused_by_name() {
        testing::run(2, || async {
            with_a_shell();
            let refused = shell("rm -rf /").run().await.unwrap_err();
            assert!(
                refused.to_string().contains("no answer was recorded for `/usr/bin/sh -c rm -rf /`"),
                "{refused}"
            );
        });
    }

    #[test]
    fn variables_and_the_process_number_are_the_nodes_own() {
        testing::run(3, || async {
            set_variable(simulation::current_node(), "HOME", "/home/test");
            assert_eq!(variable("HOME").as_deref(), Some("/home/test"));
            assert_eq!(variable("PATH"), None);
            assert_eq!(pid(), 1_001);
        });
    }
}
