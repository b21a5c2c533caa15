//! C and C++: `make check` (or `test`), after `./configure` where there is one, and CMake with CTest.
//!
//! What fails is looked up in the logs that Automake leaves. Such suites cannot run one test alone in general, so
//! failing ones are run again as a whole, where that is quick.

use std::time::Duration;

use synod_platform::process::{self, End, Output, Tool};
use synod_probe::reach;

use super::bench::Bench;
use super::{end, outcome, stderr, stdout, tried};
use crate::shell::WorkError;
use crate::testbed::case::{Case, Parsed};
use crate::testbed::judge::{self, Broken, Ran};
use crate::testbed::make;
use crate::testbed::select::Project;
use crate::tree;

/// A suite that took longer is not run again.
const AGAIN_WITHIN: Duration = Duration::from_secs(60);
/// Largest log of a test that is read, in bytes.
const LOG_MAX: u64 = 1 << 20;

/// Runs `make` with `target`.
pub async fn make(
    bench: &Bench<'_>,
    project: &Project,
    target: &str,
    configure: bool,
    ran: &mut Ran,
) -> Result<(), WorkError> {
    let Some(program) = process::which("make") else {
        ran.warnings.push("unavailable: needs make to run the tests".into());
        return Ok(());
    };
    let directory = bench.inside(&project.directory);
    bench.desk().progress(0.1, format!("running {}", ran.label));
    if configure {
        let Some(shell) = process::which("sh") else {
            ran.warnings.push("unavailable: needs sh to run ./configure".into());
            return Ok(());
        };
        let call = Tool::new(shell).arg("./configure").directory(&directory);
        let Some(output) = bench.call(ran, call, &[], bench.left() / 2).await? else { return Ok(()) };
        if !output.is_success() {
            unbuilt(bench, project, "./configure", &output, ran);
            return Ok(());
        }
        bench.desk().progress(0.3, format!("running {}", ran.label));
    }
    let tool = || Tool::new(&program).args(["-k", target]).directory(&directory);
    let Some(output) = bench.call(ran, tool(), &[], bench.left()).await? else { return Ok(()) };
    results(bench, project, target, &output, ran).await;
    let quick = output.took < AGAIN_WITHIN;
    for _ in 0..2 {
        let open = |case: &Case| !case.flaky;
        let (indices, _) = judge::again(&ran.cases, usize::MAX);
        let indices: Vec<usize> = indices.into_iter().filter(|index| open(&ran.cases[*index])).collect();
        if !quick || indices.is_empty() {
            break;
        }
        let Some(output) = bench.call(ran, tool(), &[], AGAIN_WITHIN * 2).await? else { break };
        let second = parse(target, &output);
        for index in indices {
            let name = ran.cases[index].name.clone();
            let passed = second.iter().any(|case| case.name == name && !case.outcome.is_bad());
            tried(&mut ran.cases[index], passed);
            if passed {
                reach!("testbed.flaky");
            }
        }
    }
    Ok(())
}

/// The cases of a run; of one that names none, the run itself.
fn parse(target: &str, output: &Output) -> Vec<Case> {
    let parsed = make::parse(target, &stdout(output));
    if parsed.cases.is_empty() { vec![Case::new(target, target, outcome(output))] } else { parsed.cases }
}

async fn results(bench: &Bench<'_>, project: &Project, target: &str, output: &Output, ran: &mut Ran) {
    let text = stdout(output);
    let said = format!("{text}\n{}", stderr(output));
    let bases = [project.directory.as_str(), ""];
    let parsed: Parsed = make::parse(target, &text);
    ran.warnings.extend(parsed.disagreement(&ran.label));
    (ran.counted, ran.said) = (parsed.counted, parsed.said);
    ran.cases = parsed.cases;
    let bad = ran.cases.iter().any(|case| case.outcome.is_bad());
    if ran.cases.is_empty() {
        if !output.is_success()
            && (compile_error(&said).is_some() || make::lacks(&said, &bench.paths()).is_some())
        {
            unbuilt(bench, project, &format!("make {target}"), output, ran);
            return;
        }
        let mut case = Case::new(target, target, outcome(output));
        if case.outcome.is_bad() {
            let place = make::place(&said, &bench.paths(), &bases);
            case = case.because(&format!("{}: {}", end(output), make::telling(&said))).said(&said).at(place);
        }
        ran.counted.add(case.outcome);
        ran.said = Some(ran.counted);
        ran.cases.push(case);
        return;
    }
    if !output.is_success() && !bad {
        if compile_error(&said).is_some() {
            unbuilt(bench, project, &format!("make {target}"), output, ran);
        } else {
            let told = make::telling(&stderr(output)).to_string();
            ran.warnings.push(format!(
                "{}: {}, though every test it told of passed: {told}",
                ran.label,
                end(output)
            ));
        }
    }
    let logs = if bad { bench.made("log").await } else { Vec::new() };
    for case in ran.cases.iter_mut().filter(|case| case.outcome.is_bad() && case.detail.is_empty()) {
        let name = case.name.split(' ').next().unwrap_or_default();
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let log = logs.iter().find(|path| {
            [name, stem].iter().any(|name| {
                let wanted = format!("{name}.log");
                **path == wanted || path.ends_with(&format!("/{wanted}"))
            })
        });
        let Some(log) = log else { continue };
        if let Some(text) = bench.read(log, LOG_MAX).await {
            let above = tree::parent(log).to_string();
            let place = make::place(&text, &bench.paths(), &[&above, &project.directory, ""]);
            let told = make::telling(&text).to_string();
            *case = case.clone().because(&told).said(&text).at(place);
        }
    }
    for case in ran.cases.iter_mut().filter(|case| case.outcome.is_bad() && case.path.is_none()) {
        // Where nothing names a line, the test itself is the place.
        let name = case.name.split(' ').next().unwrap_or_default().to_string();
        let sources = [name.clone(), format!("{name}.c"), format!("{name}.sh")];
        let paths = bench.paths();
        let found = sources.iter().find_map(|source| {
            let end = format!("/{source}");
            paths.known.iter().find(|path| **path == source.as_str() || path.ends_with(&end))
        });
        case.path = found.map(ToString::to_string);
    }
}

fn compile_error(text: &str) -> Option<&str> {
    text.lines().find(|line| line.contains(" error: ") || line.contains("undefined reference to"))
}

/// Tells a build that did not come to its tests: for want of something on this machine, or by the tree's fault.
fn unbuilt(bench: &Bench<'_>, project: &Project, what: &str, output: &Output, ran: &mut Ran) {
    let said = format!("{}\n{}", stdout(output), stderr(output));
    if let Some(need) = make::lacks(&said, &bench.paths()) {
        ran.warnings.push(format!("unavailable: needs {need}, for `{what}`"));
        return;
    }
    if output.end == End::TimedOut {
        ran.warnings.push(format!("`{what}`: {}", end(output)));
        return;
    }
    let error = compile_error(&said).unwrap_or_else(|| make::telling(&said)).to_string();
    let found = make::place(&error, &bench.paths(), &[project.directory.as_str(), ""]);
    let (path, line) = found.unzip();
    let message = format!("`{what}`: {}", crate::testbed::case::one_line(&error));
    ran.broken.push(Broken { message, path, line });
}

/// Runs CMake, its build and CTest.
pub async fn cmake(bench: &Bench<'_>, project: &Project, ran: &mut Ran) -> Result<(), WorkError> {
    let (Some(cmake), Some(ctest)) = (process::which("cmake"), process::which("ctest")) else {
        ran.warnings.push("unavailable: needs cmake and ctest to run the tests".into());
        return Ok(());
    };
    let source = bench.inside(&project.directory);
    let build = bench.beside("cmake").to_string_lossy().into_owned();
    bench.desk().progress(0.1, format!("running {}", ran.label));
    for (what, args) in
        [("cmake", vec!["-S", &source, "-B", &build]), ("cmake --build", vec!["--build", &build])]
    {
        let call = Tool::new(&cmake).args(args).directory(&source);
        let Some(output) = bench.call(ran, call, &[], bench.left() / 2).await? else { return Ok(()) };
        if !output.is_success() {
            unbuilt(bench, project, what, &output, ran);
            return Ok(());
        }
    }
    let args = ["--test-dir", &build, "--output-on-failure", "--timeout", "60"];
    let call = Tool::new(ctest).args(args).directory(&source);
    let Some(output) = bench.call(ran, call, &[], bench.left()).await? else { return Ok(()) };
    results(bench, project, "ctest", &output, ran).await;
    Ok(())
}
