//! Runs killed with SIGKILL at moments spread over their time, and resumed: the same result, and no finished step again.
//!
//! `SYNOD_KILLS` says at how many moments; six if it is not set.
#![cfg(not(madsim))]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside of the node: they kill it as a process and look at its files"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

fn synod(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_synod"));
    command.args(arguments).env("NO_COLOR", "1").stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// A tree with something for everybody to find, and so many more files: with two hundred a run takes a while.
fn tree(files: u32) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    let put = |name: String, text: String| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("directories");
        fs::write(path, text).expect("a file");
    };
    let token = format!("{}_{}", ["gh", "p"].concat(), "k3Zp9QwLx7Vt2RnB5YdJ8HsGc4Mf6TbXeAoU");
    put("README.md".into(), "# Small\n\n[gone](doc/gone.md)\n".into());
    put("settings.json".into(), "{\n  \"a\": 1\n  \"b\": 2\n}\n".into());
    put("src/keys.js".into(), format!("const TOKEN = \"{token}\";\n"));
    for n in 0..files {
        put(format!("src/part{n}.js"), format!("export const part{n} = {n};\n").repeat(40));
    }
    folder
}

/// The plan of the review: what runs foreign tools is left out, for their times are their own.
fn plan(tree: &Path, folder: &Path) -> PathBuf {
    let file = folder.join("plan.toml");
    let output = synod(&["plan", "review", "--path", path(tree), "--no-tests", "--out", path(&file)])
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    file
}

fn only_run(out: &Path) -> Option<PathBuf> {
    let mut found = fs::read_dir(out).ok()?.filter_map(|entry| entry.ok()).map(|entry| entry.path());
    found.find(|path| path.join("plan.toml").exists())
}

/// What stays the same from run to run: outcome and findings.
fn result(output: &Output) -> (Value, Value) {
    let told: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (told["verdict"]["outcome"].clone(), told["verdict"]["findings"].clone())
}

fn journal(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("journal.jsonl")).expect("a journal");
    // What is being written this moment is no line yet.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).expect("a whole line")).collect()
}

/// No step is started after it was done, and none is done twice.
fn assert_nothing_repeated(lines: &[Value]) {
    let mut done: BTreeMap<&str, u32> = BTreeMap::new();
    for line in lines {
        let step = line["step"].as_str().unwrap_or_default();
        match line["event"].as_str() {
            Some("started") => assert!(!done.contains_key(step), "{step} was started again: {lines:#?}"),
            Some("done") => *done.entry(step).or_default() += 1,
            _ => {}
        }
    }
    assert!(done.values().all(|times| *times == 1) && done.contains_key("verdict"), "{done:?}");
}

#[test]
fn a_run_killed_at_any_moment_resumes_to_the_same_result_and_repeats_no_finished_step() {
    let kills: u32 = std::env::var("SYNOD_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let (tree, base) = (tree(200), TempDir::new().expect("a temporary folder"));
    let plan = plan(tree.path(), base.path());
    let whole = base.path().join("whole");
    let begin = Instant::now();
    let untouched = synod(&["run", path(&plan), "--embedded", "--format", "json", "--out", path(&whole)])
        .output()
        .expect("it starts");
    let takes = begin.elapsed();
    let expected = result(&untouched);
    assert_nothing_repeated(&journal(&only_run(&whole).expect("a run")));

    let (mut resumed, mut repeats) = (0, 0);
    for n in 0..kills {
        let out = base.path().join(format!("killed{n}"));
        let mut child = synod(&["run", path(&plan), "--embedded", "--format", "json", "--out", path(&out)])
            .spawn()
            .expect("it starts");
        // The moment is the point of the test: it is spread over the time that a whole run took.
        thread::sleep(takes * (2 * n + 1) / (2 * kills));
        child.kill().expect("our own child");
        child.wait().expect("our own child");
        let Some(run) = only_run(&out) else { continue };
        let before = fs::read_to_string(run.join("journal.jsonl")).unwrap_or_default();
        let output = synod(&["run", "--resume", path(&run), "--embedded", "--format", "json"])
            .output()
            .expect("it starts");
        assert_eq!(result(&output), expected, "killed at {n} of {kills}");
        let lines = journal(&run);
        assert_nothing_repeated(&lines);
        resumed += 1;
        repeats += u32::from(before.contains("\"done\""));
    }
    println!("{kills} kills over {takes:?}: {resumed} runs resumed, {repeats} of them with finished steps");
    assert!(resumed > 0, "no kill hit a run that had begun");
}

#[test]
fn of_two_resumes_of_one_run_the_second_is_refused_and_the_first_goes_on_unharmed() {
    let (tree, base) = (tree(1), TempDir::new().expect("a temporary folder"));
    let plan = plan(tree.path(), base.path());
    let (out, config) = (base.path().join("runs"), base.path().join("node.toml"));
    // LINTER is a program that works until it is told to go on.
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agents/tests/external/program.py");
    let text = format!("[agents.linter]\nexec = [\"python3\", \"{}\", \"waits\"]\n", program.display());
    fs::write(&config, text).expect("our own file");
    let happened = |run: &Path, step: &str, event: &str| {
        journal(run).iter().filter(|line| line["step"] == step && line["event"] == event).count()
    };
    let until = |done: &dyn Fn() -> bool| {
        while !done() {
            thread::sleep(Duration::from_millis(5));
        }
    };
    let begin = ["run", path(&plan), "--embedded", "--config", path(&config), "--out", path(&out)];
    let mut killed = synod(&begin).spawn().expect("it starts");
    until(&|| only_run(&out).is_some_and(|run| run.join("journal.jsonl").exists()));
    let run = only_run(&out).expect("a run");
    until(&|| happened(&run, "lint", "started") == 1);
    killed.kill().expect("our own child");
    killed.wait().expect("our own child");

    let resume = ["run", "--resume", path(&run), "--config", path(&config), "--format", "json"];
    let first = synod(&resume).spawn().expect("it starts");
    until(&|| happened(&run, "lint", "started") == 2);
    let second = synod(&resume).output().expect("it starts");
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(3), "{told}");
    assert!(told.contains("another process runs this plan"), "{told}");
    assert!(!run.join("director/verdict.json").exists(), "the second gives no verdict");
    fs::write(run.join("linter/go"), "").expect("our own file");
    let first = first.wait_with_output().expect("our own child");
    assert_eq!(result(&first).0, "fail");
    assert_nothing_repeated(&journal(&run));
    assert_eq!(happened(&run, "", "resumed"), 1);
}

#[test]
fn a_run_cut_off_after_any_line_of_its_journal_goes_on_from_there() {
    let (tree, base) = (tree(1), TempDir::new().expect("a temporary folder"));
    let plan = plan(tree.path(), base.path());
    let out = base.path().join("runs");
    let whole = synod(&["run", path(&plan), "--embedded", "--format", "json", "--out", path(&out)]).output();
    let expected = result(&whole.expect("it starts"));
    let run = only_run(&out).expect("a run");
    let file = run.join("journal.jsonl");
    let text = fs::read_to_string(&file).expect("a journal");
    for (end, _) in text.match_indices('\n') {
        // Half of the next line was written, too.
        let torn = text[end + 1..].find('\n').map_or(0, |next| next / 2);
        fs::write(&file, &text[..end + 1 + torn]).expect("our own file");
        let output = synod(&["run", "--resume", path(&run), "--embedded", "--format", "json"])
            .output()
            .expect("it starts");
        assert_eq!(result(&output), expected, "cut off after: {}", &text[..end]);
        assert_nothing_repeated(&journal(&run));
    }
}

#[test]
fn a_run_that_has_ended_gives_its_result_again_and_a_folder_without_a_plan_is_refused() {
    let (tree, base) = (tree(1), TempDir::new().expect("a temporary folder"));
    let plan = plan(tree.path(), base.path());
    let out = base.path().join("runs");
    let first = synod(&["run", path(&plan), "--embedded", "--format", "json", "--out", path(&out)])
        .output()
        .expect("it starts");
    let run = only_run(&out).expect("a run");
    let lines = journal(&run).len();
    let again = synod(&["run", "--resume", "last", "--embedded", "--out", path(&out), "--format", "json"])
        .output()
        .expect("it starts");
    assert_eq!((result(&first), first.status.code()), (result(&again), again.status.code()));
    assert_eq!(journal(&run).len(), lines, "nothing happened in it");
    let none = base.path().join("none");
    fs::create_dir(&none).expect("a folder");
    let refused = synod(&["run", "--resume", path(&none), "--embedded"]).output().expect("it starts");
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && told.contains("no plan.toml"), "{told}");
}

#[test]
fn an_edited_plan_runs_as_it_then_is_and_a_wrong_one_is_refused_with_its_line() {
    let (tree, base) = (tree(1), TempDir::new().expect("a temporary folder"));
    let plan = plan(tree.path(), base.path());
    let text = fs::read_to_string(&plan).expect("our own file");
    let steps: Vec<&str> = text.split("\n[[step]]\n").collect();
    let kept: Vec<String> = steps
        .iter()
        .filter(|step| {
            !["architect", "docgen"].iter().any(|gone| step.starts_with(&format!("id = \"{gone}\"")))
        })
        .map(|step| step.replace(", \"architect\"", "").replace(", \"docgen\"", ""))
        .collect();
    fs::write(&plan, kept.join("\n[[step]]\n")).expect("our own file");
    let out = base.path().join("runs");
    let output = synod(&["run", path(&plan), "--embedded", "--format", "json", "--out", path(&out)])
        .output()
        .expect("it starts");
    let (outcome, findings) = result(&output);
    assert_eq!((outcome.as_str(), output.status.code()), (Some("fail"), Some(1)), "{findings}");
    let stepped: Vec<Value> = journal(&only_run(&out).expect("a run"));
    assert!(
        stepped.iter().any(|line| line["step"] == "lint")
            && stepped.iter().all(|line| line["step"] != "docgen")
    );

    fs::write(&plan, text.replacen("needs = [\"survey\"]", "needs = [\"lint\"]", 1)).expect("our own file");
    let refused =
        synod(&["run", path(&plan), "--embedded", "--out", path(&out)]).output().expect("it starts");
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{told}");
    assert!(told.contains("goes in a circle: lint -> lint"), "{told}");
}
