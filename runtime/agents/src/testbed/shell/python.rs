//! Python: pytest where tests need it and the interpreter has it, else unittest's discovery from each directory that has tests.
//!
//! A test over its time is ended with the interpreter; it is named, and the rest is run in a new one.

use std::path::PathBuf;
use std::time::Duration;

use synod_platform::process::{self, End, Output, Tool};
use synod_probe::reach;

use super::bench::Bench;
use super::{broke_off, end, stderr, stdout, tried};
use crate::shell::WorkError;
use crate::testbed::case::{Outcome, Parsed};
use crate::testbed::judge::{self, Broken, Ran};
use crate::testbed::make;
use crate::testbed::select::Project;
use crate::testbed::unittest::{self, Interpreter};

/// How long one test may take.
const TEST_MAX: Duration = Duration::from_secs(60);
/// How often a run goes on after a test that ended the interpreter.
const GO_ON_MAX: usize = 6;
/// How many failing tests are run again.
const AGAIN_MAX: usize = 20;

/// An interpreter, the runner, and the program that drives it.
struct Python {
    found: Interpreter,
    runner: &'static str,
    driver: &'static str,
}

/// Runs a project's tests.
pub async fn run(
    bench: &Bench<'_>,
    project: &Project,
    tops: &[String],
    pytest: &[String],
    ran: &mut Ran,
) -> Result<(), WorkError> {
    let Some(python) = interpreter().await else {
        ran.warnings.push("unavailable: needs python3 to run the Python tests".into());
        return Ok(());
    };
    // pytest runs what is written for unittest, too.
    let whole = [project.directory.clone()];
    let (runner, driver, tops) = match pytest.first() {
        Some(_) if python.pytest => {
            ran.command = "python3 -m pytest --continue-on-collection-errors".into();
            ran.label = format!("python3 -m pytest in {}", place(&project.directory));
            ("pytest", unittest::PYTEST, whole.as_slice())
        }
        Some(first) => {
            let more = pytest.len() - 1;
            let more = if more > 0 { format!(" and {more} more files") } else { String::new() };
            ran.warnings.push(format!("unavailable: needs pytest, for {first}{more}"));
            ("unittest", unittest::DRIVER, tops)
        }
        None => ("unittest", unittest::DRIVER, tops),
    };
    let python = Python { found: python, runner, driver };
    for (n, top) in tops.iter().enumerate() {
        bench.desk().progress(n as f32 / tops.len() as f32, format!("running {}", ran.label));
        let limit = TEST_MAX.min(bench.left() / 4);
        discover(bench, project, &python, top, limit, ran).await?;
        again(bench, project, &python, top, limit, ran).await?;
    }
    Ok(())
}

/// Asks the interpreter on the path where it lives, away from the tree.
async fn interpreter() -> Option<Interpreter> {
    let program = process::which("python3")?;
    let asked = Tool::new(program).args(["-I", "-c", unittest::PROBE]);
    let asked = asked.inherit(&["HOME", "PYENV_ROOT", "PYENV_VERSION"]).time_limit(Duration::from_secs(20));
    let output = asked.run().await.ok().filter(Output::is_success)?;
    serde_json::from_slice(&output.stdout).ok()
}

fn tool(bench: &Bench<'_>, project: &Project, python: &Python, top: &str, limit: Duration) -> Tool {
    Tool::new(&python.found.program)
        .args(["-c", python.driver, &bench.inside(top)])
        .arg(limit.as_secs().max(1).to_string())
        .directory(bench.inside(&project.directory))
        .variable("PYTHONDONTWRITEBYTECODE", "1")
        .variable("PYTHONUNBUFFERED", "1")
}

fn readable(python: &Python) -> Vec<PathBuf> {
    python.found.prefixes.iter().map(PathBuf::from).collect()
}

async fn discover(
    bench: &Bench<'_>,
    project: &Project,
    python: &Python,
    top: &str,
    limit: Duration,
    ran: &mut Ran,
) -> Result<(), WorkError> {
    let mut done: Vec<String> = Vec::new();
    for go in 0..=GO_ON_MAX {
        let call = tool(bench, project, python, top, limit)
            .input(serde_json::to_vec(&done).map_err(|error| WorkError::Task(error.to_string()))?);
        let Some(output) = bench.call(ran, call, &readable(python), bench.left()).await? else {
            ran.warnings.push(format!("left out for want of time: the tests below {}", place(top)));
            ran.unsaid = true;
            return Ok(());
        };
        let Parsed { cases, counted, said, open } =
            unittest::parse(&stdout(&output), &stderr(&output), &bench.paths(), &project.directory);
        let whole = Parsed { counted, said, ..Parsed::default() };
        ran.warnings.extend(whole.disagreement(&format!("{} in {}", python.runner, place(top))));
        ran.counted.join(counted);
        done.extend(cases.iter().map(unittest::full_id));
        ran.cases.extend(cases);
        if let Some(said) = said {
            ran.said.get_or_insert_default().join(said);
            return Ok(());
        }
        ran.unsaid = true;
        let Some(mut open) = open else {
            // Nothing was running: a module ended the interpreter while it was loaded, or there is no time left.
            let said = stderr(&output);
            ran.warnings.push(broke_off(&format!("{} in {}", python.runner, place(top)), &output));
            if let Some(need) = unittest::lacks(&said, &bench.paths()) {
                ran.warnings.push(format!("unavailable: needs {need}, for all tests below {}", place(top)));
            } else if matches!(output.end, End::Code(_) | End::Signal(_)) {
                let found = make::place(&said, &bench.paths(), &[project.directory.as_str()]);
                let (path, line) = found.unzip();
                let message = format!("{}: {}", end(&output), make::telling(&said));
                ran.broken.push(Broken { message, path, line });
            }
            return Ok(());
        };
        reach!("testbed.python-goes-on");
        if output.end == End::TimedOut {
            open.outcome = Outcome::TimedOut;
            open.message = "it did not end in its time".into();
        }
        ran.counted.failed += 1;
        done.push(unittest::full_id(&open));
        ran.cases.push(open);
        if go == GO_ON_MAX {
            ran.warnings.push(format!(
                "{GO_ON_MAX} tests ended the interpreter: the rest below {} was left out",
                place(top)
            ));
        }
    }
    Ok(())
}

fn place(top: &str) -> &str {
    if top.is_empty() { "." } else { top }
}

async fn again(
    bench: &Bench<'_>,
    project: &Project,
    python: &Python,
    top: &str,
    limit: Duration,
    ran: &mut Ran,
) -> Result<(), WorkError> {
    let (indices, left) = judge::again(&ran.cases, AGAIN_MAX);
    if left > 0 {
        ran.warnings.push(format!("{left} failing tests were not run again"));
    }
    for index in indices {
        if ran.cases[index].again > 0 || !unittest::can_run_alone(&ran.cases[index]) {
            continue;
        }
        let id = unittest::full_id(&ran.cases[index]);
        for _ in 0..2 {
            let call = tool(bench, project, python, top, limit).arg(id.as_str());
            let Some(output) = bench.call(ran, call, &readable(python), limit * 2).await? else {
                return Ok(());
            };
            let parsed =
                unittest::parse(&stdout(&output), &stderr(&output), &bench.paths(), &project.directory);
            let passed =
                parsed.said.is_some_and(|said| said.tests == 1 && said.failed == 0 && said.skipped == 0);
            tried(&mut ran.cases[index], passed);
            if passed {
                reach!("testbed.flaky");
                break;
            }
        }
    }
    Ok(())
}
