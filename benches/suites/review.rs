//! A review of a tree against the tools that it uses, run by hand in sequence: `cargo bench -p synod-benches --bench review -- TREE [COMMAND]...`
//!
//! Both begin with nothing built, in alternating rounds; medians are told. The commands are clippy and the tests of a crate unless others
//! are named. The review does more (secrets, structure, documentation), so this says what it costs, not who is better. The binary is
//! `SYNOD`, or the one built beside this one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// Rounds, of which the median counts.
const ROUNDS: usize = 5;
/// What is run by hand.
const COMMANDS: [&str; 2] = ["cargo clippy --offline --all-targets", "cargo test --offline"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let Some((tree, named)) = arguments.split_first() else {
        println!(
            "review: left out, for it needs a tree: cargo bench -p synod-benches --bench review -- TREE [COMMAND]..."
        );
        return ExitCode::SUCCESS;
    };
    let commands: Vec<&str> =
        if named.is_empty() { COMMANDS.to_vec() } else { named.iter().map(String::as_str).collect() };
    let base = std::env::temp_dir().join(format!("synod-bench-{}", std::process::id()));
    let mut seen: [Vec<f64>; 4] = Default::default();
    for round in 0..ROUNDS {
        let place = base.join(round.to_string());
        fs::create_dir_all(&place).expect("a temporary folder");
        let (first, hand) = by_hand(Path::new(tree), &commands, &place);
        let (finding, whole) = reviewed(Path::new(tree), &place);
        for (seen, one) in seen.iter_mut().zip([first, hand, finding, whole]) {
            seen.push(one);
        }
        fs::remove_dir_all(&place).expect("our own folder");
    }
    let _ = fs::remove_dir(&base);
    let [first, hand, finding, whole] = seen.map(median);
    println!("{tree}, medians of {ROUNDS} rounds, seconds:");
    println!("  by hand  first tool ended {first:.2}, all ended {hand:.2}: {}", commands.join("; "));
    println!(
        "  review   first finding    {finding:.2}, verdict   {whole:.2} ({:.2} of by hand)",
        whole / hand
    );
    ExitCode::SUCCESS
}

/// The tools one after the other on a copy: when the first has ended, and when the last has.
fn by_hand(tree: &Path, commands: &[&str], place: &Path) -> (f64, f64) {
    let copy = place.join("copy");
    let copied = Command::new("cp").arg("-r").arg(tree).arg(&copy).status().expect("cp is there");
    assert!(copied.success(), "{} cannot be copied", tree.display());
    let begin = Instant::now();
    let ends: Vec<f64> = commands
        .iter()
        .map(|command| {
            let mut tool = Command::new("sh");
            tool.args(["-c", command]).current_dir(&copy).env("CARGO_TARGET_DIR", place.join("target"));
            let ended = tool.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("a shell is there");
            // Findings may be why; so may a tool that could not begin, which would make this side look fast.
            if !ended.success() {
                println!("`{command}` failed ({ended}): see by hand whether it did its work");
            }
            begin.elapsed().as_secs_f64()
        })
        .collect();
    (ends[0], ends[ends.len() - 1])
}

/// A review by an embedded node: when the first finding stood, and when the verdict did.
fn reviewed(tree: &Path, place: &Path) -> (f64, f64) {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.parent()?.join("synod"));
    let binary = std::env::var_os("SYNOD").map(PathBuf::from).or_else(beside).expect("a path");
    let out = place.join("runs");
    let (wall, begin) = (SystemTime::now(), Instant::now());
    let ended = Command::new(&binary)
        .args(["run", "review", "--embedded", "--path"])
        .arg(tree)
        .arg("--out")
        .arg(&out)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap_or_else(|error| panic!("{}: {error}: cargo build --release -p synod-node", binary.display()));
    let whole = begin.elapsed().as_secs_f64();
    assert!(matches!(ended.code(), Some(0 | 1)), "the review gave no verdict: {ended}");
    let run = fs::read_dir(&out).expect("runs").flatten().map(|entry| entry.path());
    let run = run.into_iter().find(|path| path.join("journal.jsonl").exists()).expect("a run");
    let began = wall.duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    let journal = fs::read_to_string(run.join("journal.jsonl")).expect("a journal");
    let first = journal.lines().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let text = fs::read_to_string(run.join(line["agent"].as_str()?).join("findings.json")).ok()?;
        let report: Value = serde_json::from_str(&text).ok()?;
        let found = line["event"] == "done" && !report["findings"].as_array()?.is_empty();
        found.then(|| line["at_ms"].as_f64()).flatten()
    });
    (first.map_or(f64::NAN, |at_ms| at_ms / 1000.0 - began), whole)
}

fn median(mut seen: Vec<f64>) -> f64 {
    seen.sort_by(f64::total_cmp);
    seen[seen.len() / 2]
}
