//! The command as people use it: what it refuses, what its exit statuses say, and that one seed is one trace.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_synod-sim")).args(arguments).output().expect("the program starts")
}

fn scenario(name: &str) -> String {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios"));
    folder.join(format!("{name}.toml")).display().to_string()
}

/// A scenario file of the test's own, removed when dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn holding(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("synod-sim-test-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, text).expect("a temporary file can be written");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a temporary folder has a plain name")
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).expect("a temporary file can be removed");
    }
}

const HEAD: &str = "schema = 1\nname = \"x\"\nwhy = \"because\"\n[cluster]\nnodes = 1\nlimit = \"1s\"\n";

#[test]
fn a_wrong_key_is_refused_with_its_line_and_neighbour() {
    let file = Temporary::holding("key", &format!("{HEAD}sedes = \"1..2\"\n"));
    let output = sim(&["run", file.path()]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains(":7:1: `cluster.sedes` is not a key here; did you mean `seeds`?"), "{told}");
}

#[test]
fn what_the_engine_cannot_do_is_unsupported_and_never_skipped() {
    let text = format!(
        "{HEAD}[[workload]]\nname = \"l\"\nkind = \"lock\"\nrate = \"1/s\"\n[check]\nalways = [\"lock.one_holder\"]\n"
    );
    let file = Temporary::holding("lock", &text);
    let output = sim(&["run", file.path()]);
    assert_eq!(output.status.code(), Some(14));
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(told, "unsupported: workload[0].kind: lock\nunsupported: check: lock.one_holder\n");
}

#[test]
fn a_fault_that_would_harm_nobody_is_unsupported() {
    let text = format!(
        "{HEAD}[network]\nduplicate = 0.1\nreorder = 0.0\n[[fault]]\nat = \"100ms\"\nlink = {{ reorder = 0.2 }}\n"
    );
    let file = Temporary::holding("datagrams", &text);
    let output = sim(&["run", file.path()]);
    let told = String::from_utf8_lossy(&output.stdout);
    let because = "no workload sends datagrams";
    assert_eq!(
        told,
        format!(
            "unsupported: network.duplicate ({because})\nunsupported: fault[0].link.reorder ({because})\n"
        )
    );
    assert_eq!(output.status.code(), Some(14));
}

#[test]
fn every_scenario_of_the_house_is_read_and_listed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios");
    let output = sim(&["list", folder]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}

#[cfg(not(madsim))]
#[test]
fn a_production_build_says_that_it_has_no_simulator() {
    let output = sim(&["run", &scenario("failover-busy")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("use `cargo sim`"));
}

#[cfg(madsim)]
mod simulated {
    use super::{HEAD, Temporary, scenario, sim};

    #[test]
    fn the_canary_fails_as_a_safety_violation() {
        let output = sim(&["run", &scenario("canary/always-fails")]);
        assert_eq!(output.status.code(), Some(10));
        assert!(String::from_utf8_lossy(&output.stdout).starts_with("FAIL: always-fails with seed 1\n"));
    }

    #[test]
    fn an_oracle_without_evidence_makes_the_verdict_unknown() {
        let file = Temporary::holding("empty", &format!("{HEAD}[check]\nalways = [\"disk.append\"]\n"));
        let output = sim(&["run", file.path()]);
        assert_eq!(output.status.code(), Some(13), "{}", String::from_utf8_lossy(&output.stdout));
    }

    #[test]
    fn an_expected_violation_is_a_pass() {
        let text = format!(
            "{HEAD}[check]\nalways = [\"canary.always\"]\n[expect]\nverdict = \"violates:canary.always\"\n"
        );
        let file = Temporary::holding("expected", &text);
        assert_eq!(sim(&["run", file.path()]).status.code(), Some(0));
    }

    #[test]
    fn one_seed_is_one_trace_and_two_seeds_are_two() {
        let output = sim(&["check", &scenario("failover-busy"), "--seed", "3"]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let hash = |seed: &str| {
            let output = sim(&["run", &scenario("failover-busy"), "--seed", seed, "--json", "-"]);
            let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report is JSON");
            assert_eq!(report["verdict"], "pass");
            report["trace_hash"].as_str().expect("a hash").to_owned()
        };
        assert!(told.ends_with(&format!("  trace: {}\n", hash("3"))), "check and run name one trace: {told}");
        assert_ne!(hash("3"), hash("4"));
    }

    #[test]
    #[cfg(feature = "plant")]
    fn a_planted_bug_is_seen_and_named() {
        let output = sim(&[
            "run",
            &scenario("priorities-under-flood"),
            "--plant",
            "fabric.priority-inverted",
            "--json",
            "-",
        ]);
        assert_eq!(output.status.code(), Some(10));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report is JSON");
        assert_eq!(report["violations"][0]["oracle"], "fabric.order");
        assert!(report["plant_reached"].as_u64() > Some(0));
    }
}
