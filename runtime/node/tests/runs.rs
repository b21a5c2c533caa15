//! `synod runs` and what a run leaves behind, from outside: the page in a real browser, the lists, the comparison, the cleaning up.
#![cfg(not(madsim))]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside of the node: they start it as a process and look at its files"
)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

fn synod(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_synod"))
        .args(arguments)
        .env("NO_COLOR", "1")
        .output()
        .expect("the binary under test starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What was told on standard error, without the frame and the wrapping that a terminal's width gives it.
fn told(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("it has one")).expect("directories");
        fs::write(path, text).expect("a file");
    }
    folder
}

/// `synod runs …` on a folder of runs.
fn runs(out: &Path, arguments: &[&str]) -> Output {
    let out = out.to_string_lossy();
    let mut all = vec!["runs"];
    all.extend(arguments);
    all.extend(["--out", &*out]);
    synod(&all)
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {}", told(output)))
}

const UNFINISHED: &str = "review-20010101000000-aaa111";

/// A run that was killed while its second step was worked on.
fn unfinished(out: &Path) -> PathBuf {
    let run = out.join(UNFINISHED);
    fs::create_dir_all(&run).expect("a folder");
    let plan = "goal = \"review\"\ntree = \"/some/tree\"\n\
                [[step]]\nid = \"survey\"\nagent = \"project_orchestrator\"\ngoal = \"read\"\n\
                [[step]]\nid = \"lint\"\nagent = \"linter\"\ngoal = \"look\"\nneeds = [\"survey\"]\n";
    fs::write(run.join("plan.toml"), plan).expect("a plan");
    let line = |at: u64, step: &str, event: &str, agent: &str| {
        json!({ "at_ms": 978_307_200_000 + at, "step": step, "event": event, "agent": agent }).to_string()
            + "\n"
    };
    let journal = line(0, "survey", "started", "project_orchestrator")
        + &line(700, "survey", "done", "project_orchestrator")
        + &line(800, "lint", "started", "linter")
        + "{\"at_ms\":9783";
    fs::write(run.join("journal.jsonl"), journal).expect("a journal");
    run
}

const TREE: [(&str, &str); 4] = [
    ("README.md", "# Small\n"),
    ("LICENSE", "Do as you like.\n"),
    ("src/lib.rs", "//! Small.\n\n#[test]\nfn it_is() {}\n"),
    ("conf/<script>alert(1)<.json", "{\n  \"a\" 1\n}\n"),
];

fn review(tree: &Path, out: &Path) -> Output {
    let (tree, out) = (tree.to_string_lossy(), out.to_string_lossy());
    synod(&["run", "review", "--path", &tree, "--out", &out, "--no-tests", "--embedded"])
}

#[test]
fn a_review_leaves_one_result_in_three_forms_and_runs_finds_it_again() {
    let (tree, out) = (folder(&TREE), TempDir::new().expect("a temporary folder"));
    let output = review(tree.path(), out.path());
    let text = stdout(&output);
    assert!(text.contains("the report: "), "{text} {}", told(&output));

    let listed = json(&runs(out.path(), &["--json"]));
    let run = &listed["runs"][0];
    let id = run["run"].as_str().expect("an id").to_string();
    assert!(["pass", "fail", "incomplete"].contains(&run["standing"].as_str().expect("a word")), "{listed}");
    assert!(run["bytes"].as_u64().expect("a size") > 1000);
    assert!(stdout(&runs(out.path(), &[])).contains(&id));

    let result = json(&runs(out.path(), &["show", "last", "--json"]));
    let place = "conf/<script>alert(1)<.json";
    let finding =
        result["findings"].as_array().expect("findings").iter().find(|one| one["place"]["path"] == place);
    assert_eq!(finding.expect("it was found")["agent"], "linter", "{result}");
    let steps = result["steps"].as_array().expect("steps");
    assert!(steps.iter().all(|step| step["attempts"].as_u64() >= Some(1)), "{steps:?}");
    assert!(!result["messages"].as_array().expect("messages").is_empty(), "the fabric counted");
    assert_eq!(result["state"], "ended");

    let page = stdout(&runs(out.path(), &["show", &id[..20], "--open"]));
    let page = fs::read_to_string(page.trim()).expect("the page is there");
    assert!(page.contains("conf/&lt;script&gt;alert(1)&lt;.json") && !page.contains("<script>alert"));

    let sarif = fs::read(out.path().join(&id).join("result.sarif")).expect("it is there");
    let sarif: Value = serde_json::from_slice(&sarif).expect("JSON");
    let count: usize = sarif["runs"]
        .as_array()
        .expect("runs")
        .iter()
        .map(|run| run["results"].as_array().map_or(0, Vec::len))
        .sum();
    assert_eq!(
        count,
        result["findings"].as_array().expect("findings").len(),
        "no finding is lost on the way"
    );

    let manifest = fs::read_to_string(out.path().join(&id).join("manifest.json")).expect("it is there");
    for file in ["report.html", "result.json", "result.sarif", "messages.json"] {
        assert!(manifest.contains(file), "{file}");
    }
}

#[test]
fn two_runs_are_compared_and_old_ones_go_but_never_the_newest() {
    let (tree, out) = (folder(&TREE), TempDir::new().expect("a temporary folder"));
    unfinished(out.path());
    review(tree.path(), out.path());
    let first = json(&runs(out.path(), &["--json"]))["runs"][0]["run"].as_str().expect("an id").to_string();
    fs::remove_file(tree.path().join(TREE[3].0)).expect("our own file");
    fs::write(tree.path().join("b.json"), "[1,\n").expect("a file");
    // An id tells the second in which its run began, and so does the order: a second run in the same one would be ordered by chance.
    let older = format!("review-20000101000000-{}", first.rsplit('-').next().expect("a last part"));
    fs::rename(out.path().join(&first), out.path().join(&older)).expect("our own folder");
    review(tree.path(), out.path());

    let told = json(&runs(out.path(), &["compare", &older, "last", "--json"]));
    let places = |list: &Value| -> Vec<String> {
        let all = list.as_array().expect("findings").iter();
        all.filter(|one| one["rule"] == "lint.json-syntax")
            .map(|one| one["place"]["path"].as_str().expect("a path").to_string())
            .collect()
    };
    assert_eq!(
        (places(&told["new"]), places(&told["gone"])),
        (vec!["b.json".into()], vec![TREE[3].0.into()])
    );

    let dry = json(&runs(out.path(), &["clean", "--keep", "2", "--dry-run", "--json"]));
    assert_eq!(dry["removed"], json!([older]), "{dry}");
    assert!(out.path().join(&older).exists(), "nothing goes on trial");
    let cleaned = stdout(&runs(out.path(), &["clean", "--older-than", "30d", "--keep", "2"]));
    assert!(cleaned.contains(&format!("removed {older}")) && cleaned.contains("2 kept"), "{cleaned}");
    let cleaned = stdout(&runs(out.path(), &["clean", "--older-than", "30d"]));
    assert!(cleaned.contains(&format!("removed {UNFINISHED}")) && cleaned.contains("1 kept"), "{cleaned}");
}

#[test]
fn a_run_that_was_cut_off_is_told_with_how_to_go_on_and_one_under_way_is_left_alone() {
    let out = TempDir::new().expect("a temporary folder");
    let run = unfinished(out.path());
    let listed = stdout(&runs(out.path(), &[]));
    assert!(listed.contains("unfinished") && listed.contains("1 of 2 steps done"), "{listed}");
    assert!(listed.contains(&format!("synod run --resume {UNFINISHED} --out ")), "{listed}");
    let shown = stdout(&runs(out.path(), &["show", "aaa1"]));
    assert!(shown.starts_with("UNFINISHED: 1 of 2 steps are done\n"), "{shown}");
    let page = stdout(&runs(out.path(), &["show", "last", "--open"]));
    assert!(fs::read_to_string(page.trim()).expect("a page all the same").contains("Unfinished"));

    let journal = File::open(run.join("journal.jsonl")).expect("it is there");
    journal.lock().expect("nobody else has it");
    assert!(stdout(&runs(out.path(), &[])).contains("running"));
    let kept = json(&runs(out.path(), &["clean", "--keep", "0", "--json"]));
    assert_eq!((kept["removed"].as_array().map(Vec::len), kept["kept"].as_u64()), (Some(0), Some(1)));
    drop(journal);
    runs(out.path(), &["clean", "--keep", "0"]);
    assert!(!run.exists());
}

#[test]
fn a_word_that_means_no_run_or_several_is_refused_with_what_to_do() {
    let out = TempDir::new().expect("a temporary folder");
    let refused = |arguments: &[&str], part: &str| {
        let output = runs(out.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(told(&output).contains(part), "{part} in {}", told(&output));
    };
    refused(&["show", "last"], "makes one");
    let run = unfinished(out.path());
    fs::create_dir(out.path().join("notes")).expect("a folder of somebody's own");
    refused(&["show", "zzz"], "`synod runs` lists them");
    fs::create_dir(out.path().join("review-20010101000000-aaa222")).expect("a folder");
    refused(&["show", "aaa"], "write more of its id");
    refused(&["clean"], "--older-than 30d");
    fs::write(run.join("journal.jsonl"), "{}\n{}\n").expect("our own file");
    let broken = runs(out.path(), &["show", "aaa111"]);
    assert_eq!(broken.status.code(), Some(3));
    assert!(told(&broken).contains("journal.jsonl:1"), "{}", told(&broken));
    runs(out.path(), &["clean", "--keep", "0"]);
    assert!(out.path().join("notes").exists(), "what is no run is not ours to remove");
}

#[test]
fn a_browser_shows_the_page_without_a_complaint_and_its_filter_works() {
    let Some(browser) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
        Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
    }) else {
        eprintln!("unavailable: needs chromium");
        return;
    };
    let (out, profile) = (folder(&[]), TempDir::new().expect("a temporary folder"));
    let run = unfinished(out.path());
    let finding = |path: &str, severity: &str| json!({ "rule": "r", "severity": severity, "place": { "path": path, "line": 1 }, "message": "`m`", "advice": "a" });
    let hostile = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">";
    let report = json!({
        "agent": "linter", "warnings": [], "findings": [finding(hostile, "high"), finding("b.rs", "low")],
    });
    fs::create_dir(run.join("linter")).expect("a folder");
    fs::write(run.join("linter/findings.json"), report.to_string()).expect("a file");
    let page = stdout(&runs(out.path(), &["show", "last", "--open"]));
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--enable-logging=stderr",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--virtual-time-budget=2000", "--dump-dom"])
        .arg(format!("file://{}", page.trim()))
        .output()
        .expect("the browser starts");
    let (dom, log) = (stdout(&output), String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(output.status.success(), "{log}");
    assert!(!log.contains("CONSOLE"), "the browser complains: {log}");
    assert!(dom.contains("<title>Unfinished"), "nothing but our own script ran: {dom}");
    let form =
        dom.split("<form").nth(1).and_then(|rest| rest.split('>').next()).expect("the filter is there");
    assert!(!form.contains("hidden"), "our own script ran: <form{form}>");
}
