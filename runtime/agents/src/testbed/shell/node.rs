//! JavaScript: Node's own runner with our reporter, and `npm test` where the packages it needs are there.
//!
//! Nothing is installed. Of a runner that is neither, only the exit status and TAP are understood.

use std::time::Duration;

use synod_platform::files;
use synod_platform::process::{self, End, Tool};
use synod_probe::reach;

use super::bench::Bench;
use super::{broke_off, end, outcome, stderr, stdout, tried};
use crate::shell::WorkError;
use crate::testbed::case::{Case, Outcome};
use crate::testbed::judge::{self, Broken, Ran};
use crate::testbed::select::Project;
use crate::testbed::{make, node};
use crate::tree;

/// How long one test or one file may take.
const TEST_MAX: Duration = Duration::from_secs(60);
/// How many failing tests are run again.
const AGAIN_MAX: usize = 20;

/// Runs `node --test`.
pub async fn run(
    bench: &Bench<'_>,
    project: &Project,
    arguments: &[String],
    ran: &mut Ran,
) -> Result<(), WorkError> {
    let Some(program) = process::which("node") else {
        ran.warnings.push("unavailable: needs node to run the JavaScript tests".into());
        return Ok(());
    };
    bench.desk().progress(0.2, format!("running {}", ran.label));
    bench.add_ignored(&tree::join(&project.directory, "node_modules")).await;
    let reporter = bench.beside("reporter.mjs");
    if let Err(error) = files::write(&reporter, node::REPORTER).await {
        ran.warnings.push(error.to_string());
        return Ok(());
    }
    let tool = |limit: Duration, more: &[String]| {
        Tool::new(&program)
            .arg("--test")
            .arg(format!("--test-timeout={}", limit.as_millis()))
            .arg(format!("--test-reporter={}", reporter.display()))
            .arg("--test-reporter-destination=stdout")
            .args(more.iter().cloned())
            .directory(bench.inside(&project.directory))
    };
    let limit = TEST_MAX.min(bench.left() / 4);
    let Some(output) = bench.call(ran, tool(limit, arguments), &[], bench.left()).await? else {
        return Ok(());
    };
    let parsed = node::parse(&stdout(&output), &bench.paths(), &project.directory);
    ran.warnings.extend(parsed.disagreement(&ran.label));
    (ran.counted, ran.said, ran.unsaid) = (parsed.counted, parsed.said, parsed.said.is_none());
    ran.cases = parsed.cases;
    if ran.unsaid {
        let said = stderr(&output);
        ran.warnings.push(format!("{}; {}", broke_off(&ran.label, &output), make::telling(&said)));
        if ran.cases.is_empty() && matches!(output.end, End::Code(_) | End::Signal(_)) {
            let message = format!("{}: {}", end(&output), make::telling(&said));
            ran.broken.push(Broken { message, path: None, line: None });
        }
    }
    let (indices, left) = judge::again(&ran.cases, AGAIN_MAX);
    if left > 0 {
        ran.warnings.push(format!("{left} failing tests were not run again"));
    }
    for index in indices {
        for _ in 0..2 {
            let case = &ran.cases[index];
            let mut more = Vec::new();
            if case.name != case.suite {
                more.push(format!("--test-name-pattern=^{}$", escaped(node::outermost(case))));
            }
            more.push(bench.inside(&case.suite));
            let Some(output) = bench.call(ran, tool(limit, &more), &[], limit * 2).await? else {
                return Ok(());
            };
            let parsed = node::parse(&stdout(&output), &bench.paths(), &project.directory);
            let case = &mut ran.cases[index];
            let same = |one: &&Case| one.name == case.name || case.name == case.suite;
            let all: Vec<&Case> = parsed.cases.iter().filter(same).collect();
            let passed = !all.is_empty() && all.iter().all(|one| one.outcome == Outcome::Passed);
            tried(case, passed);
            if passed {
                reach!("testbed.flaky");
                break;
            }
        }
    }
    Ok(())
}

/// `name` as a pattern of JavaScript that matches it alone.
fn escaped(name: &str) -> String {
    let mut pattern = String::new();
    for c in name.chars() {
        if "\\^$.|?*+()[]{}/".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// Runs `npm test`.
pub async fn npm(bench: &Bench<'_>, project: &Project, ran: &mut Ran) -> Result<(), WorkError> {
    let Some(program) = process::which("npm") else {
        ran.warnings.push("unavailable: needs npm to run the JavaScript tests".into());
        return Ok(());
    };
    let installed = bench.add_ignored(&tree::join(&project.directory, "node_modules")).await;
    let manifest = bench.read(&tree::join(&project.directory, "package.json"), 1 << 20).await;
    let manifest: serde_json::Value =
        manifest.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let mut packages: Vec<&str> = ["dependencies", "devDependencies"]
        .iter()
        .filter_map(|kind| manifest[*kind].as_object())
        .flat_map(|packages| packages.keys().map(String::as_str))
        .collect();
    if !installed && !packages.is_empty() {
        packages.sort_unstable();
        let more = packages.len().saturating_sub(5);
        packages.truncate(5);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        ran.warnings.push(format!(
            "unavailable: needs the packages {}{more}; `npm install` was not run, and nothing is fetched",
            packages.join(", ")
        ));
        return Ok(());
    }
    bench.desk().progress(0.2, format!("running {}", ran.label));
    let tool = || {
        Tool::new(&program)
            .args(["test", "--silent"])
            .directory(bench.inside(&project.directory))
            .variable("npm_config_update_notifier", "false")
            .variable("npm_config_offline", "true")
            .variable("CI", "true")
    };
    let Some(output) = bench.call(ran, tool(), &[], bench.left()).await? else { return Ok(()) };
    let text = stdout(&output);
    let parsed = make::tap("npm test", &text);
    ran.warnings.extend(parsed.disagreement(&ran.label));
    (ran.counted, ran.said) = (parsed.counted, parsed.said);
    ran.cases = parsed.cases;
    let bad = ran.cases.iter().any(|case| case.outcome.is_bad());
    if ran.cases.is_empty() || (!output.is_success() && !bad) {
        let said = format!("{text}\n{}", stderr(&output));
        let mut case = Case::new("npm test", "npm test", outcome(&output));
        if case.outcome.is_bad() {
            let place = make::place(&said, &bench.paths(), &[project.directory.as_str()]);
            case = case.because(&format!("{}: {}", end(&output), make::telling(&said))).said(&said).at(place);
        }
        ran.counted.add(case.outcome);
        ran.said.get_or_insert_default().add(case.outcome);
        ran.cases.push(case);
    }
    Ok(())
}
