//! Conformance of `process::Child`, the same bodies on both arms (the simulated one with scripts that do what the shell does); then what
//! only one arm can show.

use synod_platform::process::child::{Child, LineError};
use synod_platform::process::{End, Jail, Tool, ToolError, which};
use synod_platform::testing;
use synod_platform::time::{Duration, now, timeout};

const MAX: usize = 1000;
const GRACE: Duration = Duration::from_secs(20);
const BRIEF: Duration = Duration::from_millis(100);

const ECHO: &str = "echo begun >&2; while read -r line; do echo \"got $line\"; done; exit 3";
const TORN: &str = "printf 'whole\\npart'";
const LONG: &str = "printf '%02000d\\n' 0";
const HANGS: &str = "echo here; exec sleep 60";
const LOUD: &str = "printf '%0500d' 0 >&2; echo said";

/// In simulation, gives the node a shell that knows the scripts above.
fn with_a_shell() {
    #[cfg(madsim)]
    {
        use synod_platform::process::child::control::{Streams, program};
        program(synod_platform::simulation::current_node(), "sh", |mut streams: Streams| async move {
            match streams.args[1].as_str() {
                ECHO => {
                    streams.complain(b"begun\n");
                    while let Some(line) = streams.line().await {
                        streams.write([b"got ", &line[..], b"\n"].concat());
                    }
                    return 3;
                }
                TORN => streams.write("whole\npart"),
                LONG => streams.write(format!("{:02000}\n", 0)),
                HANGS => {
                    streams.write("here\n");
                    synod_platform::time::sleep(Duration::from_secs(60)).await;
                }
                LOUD => {
                    streams.complain(format!("{:0500}", 0).as_bytes());
                    streams.write("said\n");
                }
                other => panic!("no such script: {other}"),
            }
            0
        });
    }
}

fn shell(script: &str) -> Child {
    with_a_shell();
    tool(script).spawn().expect("a shell")
}

fn tool(script: &str) -> Tool {
    Tool::new(which("sh").expect("a shell")).args(["-c", script])
}

#[test]
fn a_program_answers_line_by_line_and_ends_when_its_input_is_closed() {
    testing::run(1, || async {
        let mut child = shell(ECHO);
        child.write(b"one\ntwo").await.unwrap();
        assert_eq!(child.line(MAX).await.unwrap().unwrap(), b"got one");
        let nothing = timeout(BRIEF, child.line(MAX)).await;
        assert!(nothing.is_err(), "half a line is none: {nothing:?}");
        child.write(b" and three\n").await.unwrap();
        assert_eq!(child.line(MAX).await.unwrap().unwrap(), b"got two and three");
        let ended = child.end(GRACE).await;
        assert_eq!((ended.end, &ended.log.bytes[..], ended.log.lost), (End::Code(3), &b"begun\n"[..], 0));
    });
}

#[test]
fn an_output_that_ends_is_told_and_half_a_line_is_no_line() {
    testing::run(2, || async {
        let mut child = shell(TORN);
        assert_eq!(child.line(MAX).await.unwrap().unwrap(), b"whole");
        assert_eq!(child.line(MAX).await, Err(LineError::Torn { bytes: 4 }));
        assert_eq!(child.line(MAX).await, Ok(None));
        let ended = child.end(GRACE).await;
        assert_eq!((ended.end, ended.killed), (End::Code(0), false));
    });
}

#[test]
fn a_line_beyond_its_bound_is_refused_and_one_at_its_bound_is_not() {
    testing::run(3, || async {
        let mut child = shell(LONG);
        assert_eq!(child.line(1999).await, Err(LineError::TooLong { max: 1999 }));
        assert_eq!(child.line(2000).await.unwrap().unwrap().len(), 2000);
    });
}

#[test]
fn a_program_that_does_not_end_is_killed() {
    testing::run(4, || async {
        let mut child = shell(HANGS);
        assert_eq!(child.line(MAX).await.unwrap().unwrap(), b"here");
        let before = now();
        let ended = child.end(BRIEF).await;
        assert_eq!((ended.end, ended.killed), (End::Signal(9), true));
        let took = now().since(before);
        assert!(took >= BRIEF && took < GRACE, "{took:?}");
    });
}

#[test]
fn the_standard_error_is_kept_up_to_its_bound_and_the_rest_is_counted() {
    testing::run(5, || async {
        with_a_shell();
        let mut child = tool(LOUD).output_limit(100).spawn().unwrap();
        assert_eq!(child.line(MAX).await.unwrap().unwrap(), b"said");
        let log = child.end(GRACE).await.log;
        assert_eq!((log.bytes, log.lost), (vec![b'0'; 100], 400));
    });
}

#[test]
fn a_program_that_is_not_there_and_one_that_is_not_absolute_are_refused_by_name() {
    testing::run(6, || async {
        let refused = Tool::new("/usr/bin/no-such-program-anywhere").spawn().unwrap_err();
        assert!(matches!(refused, ToolError::NotFound { .. }), "{refused}");
        let refused = Tool::new("sh").spawn().unwrap_err();
        assert_eq!(refused, ToolError::NotAbsolute { program: "sh".into() });
        with_a_shell();
        let refused = tool(ECHO).jail(Jail::new("/tmp")).spawn().unwrap_err();
        assert!(refused.to_string().contains("cannot be jailed"), "{refused}");
    });
}

#[cfg(not(madsim))]
mod real {
    use super::*;

    async fn is_gone(pid: &str) -> bool {
        let gone = async {
            while std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| !stat.contains(") Z "))
            {
                synod_platform::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(GRACE, gone).await.is_ok()
    }

    #[test]
    fn a_child_that_is_dropped_is_killed_with_all_its_group() {
        testing::run(1, || async {
            let mut child = shell("sh -c 'echo $$; exec sleep 60' & wait");
            let line = child.line(MAX).await.unwrap().unwrap();
            let grandchild = String::from_utf8(line).unwrap();
            drop(child);
            assert!(is_gone(&grandchild).await);
        });
    }

    #[test]
    fn a_child_that_ends_by_itself_leaves_nobody_of_its_group_behind() {
        testing::run(2, || async {
            let mut child = shell("sh -c 'echo $$; exec sleep 60' & exit 5");
            let grandchild = String::from_utf8(child.line(MAX).await.unwrap().unwrap()).unwrap();
            let before = now();
            assert_eq!(child.end(GRACE).await.end, End::Code(5));
            assert!(now().since(before) < GRACE, "it ended by itself");
            assert!(is_gone(&grandchild).await);
        });
    }

    #[test]
    fn writing_to_a_program_that_has_ended_says_so() {
        testing::run(3, || async {
            let mut child = shell("exit 0");
            assert_eq!(child.line(MAX).await, Ok(None));
            let refused = async { while child.write(b"hello\n").await.is_ok() {} };
            timeout(GRACE, refused).await.expect("it does not read any more");
        });
    }

    #[test]
    fn writing_to_a_program_that_does_not_read_waits_and_can_be_given_up() {
        testing::run(4, || async {
            let mut child = shell(HANGS);
            assert!(timeout(BRIEF, child.write(&vec![b'x'; 1 << 20])).await.is_err());
        });
    }

    #[test]
    fn a_child_sees_the_environment_it_was_given_and_no_other() {
        testing::run(5, || async {
            assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
            let mut child = tool("echo \"$GIVEN ${CARGO_MANIFEST_DIR-none}\"; pwd")
                .directory("/tmp")
                .variable("GIVEN", "a")
                .spawn()
                .unwrap();
            assert_eq!(child.line(MAX).await.unwrap().unwrap(), b"a none");
            assert_eq!(child.line(MAX).await.unwrap().unwrap(), b"/tmp");
        });
    }
}
