//! What the commands do, for `cargo sim` and for the chaos suite, which runs the same ones in processes of its own.
//!
//! Each function prints for a person, writes JSON where it is asked to, and answers an exit status of [`exit`].

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use synod_control::ConfigError;

use crate::oracles;
use crate::scenario::{self, Scenario, support};
use crate::trace;
use crate::verdict::{Kind, Report, Verdict, exit};

/// One run.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArguments {
    /// The scenario file.
    pub file: PathBuf,
    /// The seed from which everything is drawn.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write the result as JSON to this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write every event of the trace to this file, a line each.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Run with this planted bug (`cargo chaos plants` lists them).
    #[arg(long, value_name = "NAME")]
    pub plant: Option<String>,
    /// Print nothing but errors.
    #[arg(long)]
    pub quiet: bool,
}

/// Why a command could not begin.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The file cannot be read.
    #[error("cannot read the scenario {}: {error}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is no scenario.
    #[error(transparent)]
    Scenario(#[from] ConfigError),
    /// Something that the engine must write cannot be written.
    #[error("cannot write {}: {error}", file.display())]
    Write {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Another process could not be started or understood.
    #[error("cannot run {what}: {error}")]
    Child {
        /// What was run.
        what: String,
        /// Why not.
        error: String,
    },
    /// This is not the simulator's build.
    #[cfg(not(madsim))]
    #[error("this is a production build, which has no simulator in it: use `cargo sim`")]
    NotSimulated,
    /// A bug was asked for in a build without any.
    #[error("this build has no planted bugs in it: use `cargo sim` or `cargo chaos`")]
    NothingPlanted,
}

/// Reads a scenario file.
pub fn read(file: &Path) -> Result<Scenario, CommandError> {
    let text =
        std::fs::read_to_string(file).map_err(|error| CommandError::Read { file: file.to_owned(), error })?;
    Ok(scenario::read(&text, &file.display().to_string())?)
}

/// `run`: one run, here in this process.
pub fn run(arguments: &RunArguments) -> Result<u8, CommandError> {
    let scenario = read(&arguments.file)?;
    let unsupported = support::unsupported(&scenario);
    if !unsupported.is_empty() {
        for what in unsupported {
            println!("unsupported: {what}");
        }
        return Ok(exit::UNSUPPORTED);
    }
    if let Some(name) = &arguments.plant {
        choose(name)?;
    }
    let report = simulate(scenario, arguments)?;
    if let Some(file) = &arguments.json {
        let json = format!("{:#}\n", serde_json::to_value(&report).unwrap_or_default());
        if file.as_os_str() == "-" {
            print!("{json}");
        } else {
            std::fs::write(file, json).map_err(|error| CommandError::Write { file: file.clone(), error })?;
        }
    }
    if !arguments.quiet && arguments.json.as_ref().is_none_or(|file| file.as_os_str() != "-") {
        print!("{}", told(&report));
    }
    Ok(report.exit_code())
}

#[cfg(feature = "plant")]
fn choose(name: &str) -> Result<(), CommandError> {
    // A process runs one scenario: nobody chose before.
    synod_probe::plant::choose(name).map_err(|_| CommandError::NothingPlanted)
}

#[cfg(not(feature = "plant"))]
fn choose(_: &str) -> Result<(), CommandError> {
    Err(CommandError::NothingPlanted)
}

#[cfg(madsim)]
fn simulate(scenario: Scenario, arguments: &RunArguments) -> Result<Report, CommandError> {
    let failed = |file: &Path| {
        let file = file.to_owned();
        move |error| CommandError::Write { file, error }
    };
    let trace = match &arguments.trace {
        None => None,
        Some(file) => {
            let out = std::fs::File::create(file).map_err(failed(file))?;
            Some(Box::new(std::io::BufWriter::new(out)) as Box<dyn std::io::Write + Send>)
        }
    };
    let options = crate::world::Options { trace, plant: arguments.plant.clone() };
    let place = arguments.trace.clone().unwrap_or_else(|| PathBuf::from("the trace"));
    crate::world::run(scenario, arguments.seed, options).map_err(failed(&place))
}

#[cfg(not(madsim))]
fn simulate(_: Scenario, _: &RunArguments) -> Result<Report, CommandError> {
    Err(CommandError::NotSimulated)
}

/// A result for a person.
pub fn told(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |what: String| {
        text.push_str(&what);
        text.push('\n');
    };
    let verdict = match report.verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "FAIL",
        Verdict::Unknown => "unknown",
    };
    line(format!("{verdict}: {} with seed {}", report.scenario, report.seed));
    for violation in &report.violations {
        let kind = match violation.kind {
            Kind::Safety => "safety",
            Kind::Liveness => "liveness",
            Kind::Crash => "crash",
        };
        line(format!("  {kind}, {}: {}", violation.oracle, violation.what));
    }
    for why in &report.unknown {
        line(format!("  unknown: {why}"));
    }
    if let Some(plant) = &report.plant {
        line(format!("  planted: {plant}, reached {} times", report.plant_reached));
    }
    let judged: Vec<String> = report
        .judged
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    line(format!("  judged:  {}", if judged.is_empty() { "nothing".to_owned() } else { judged.join(", ") }));
    let reached: Vec<String> = report.reach.iter().map(|(name, count)| format!("{name} {count}")).collect();
    if !reached.is_empty() {
        line(format!("  reached: {}", reached.join(", ")));
    }
    for (name, count) in &report.losses {
        line(format!("  lost:    {count} ({name})"));
    }
    line(format!("  trace:   {} ({} events)", report.trace_hash, report.events));
    let ratio = report.sim_seconds / report.wall_seconds.max(1e-9);
    line(format!(
        "  time:    {:.3} s simulated in {:.3} s ({ratio:.0} to 1)",
        report.sim_seconds, report.wall_seconds
    ));
    text
}

/// `check`: the same run in two processes, traces compared byte by byte.
pub fn check(file: &Path, seed: u64) -> Result<u8, CommandError> {
    let scenario = read(file)?;
    let unsupported = support::unsupported(&scenario);
    if !unsupported.is_empty() {
        for what in unsupported {
            println!("unsupported: {what}");
        }
        return Ok(exit::UNSUPPORTED);
    }
    let folder =
        std::env::temp_dir().join(format!("synod-check-{}-{}-{seed}", std::process::id(), scenario.name));
    std::fs::create_dir_all(&folder).map_err(|error| CommandError::Write { file: folder.clone(), error })?;
    let result = compare(file, seed, &scenario.name, &folder);
    // Left-overs of a temporary folder harm nobody, and the verdict matters more.
    let _ = std::fs::remove_dir_all(&folder);
    result
}

fn compare(file: &Path, seed: u64, name: &str, folder: &Path) -> Result<u8, CommandError> {
    let failed = |what: &str, error: &dyn std::fmt::Display| CommandError::Child {
        what: what.to_owned(),
        error: error.to_string(),
    };
    let this = std::env::current_exe().map_err(|error| failed("this program again", &error))?;
    let traces = [folder.join("first.trace"), folder.join("second.trace")];
    let mut children = Vec::new();
    for trace in &traces {
        let child = Command::new(&this)
            .args(["run", "--quiet", "--seed", &seed.to_string(), "--trace"])
            .arg(trace)
            .arg(file)
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| failed("this program again", &error))?;
        children.push(child);
    }
    let mut codes = Vec::new();
    for mut child in children {
        let status = child.wait().map_err(|error| failed("this program again", &error))?;
        codes.push(status.code());
    }
    let mut open = Vec::new();
    for trace in &traces {
        let trace_file =
            std::fs::File::open(trace).map_err(|error| CommandError::Read { file: trace.clone(), error })?;
        open.push(std::io::BufReader::new(trace_file));
    }
    let (Some(second), Some(first)) = (open.pop(), open.pop()) else {
        return Err(failed("the comparison", &"a trace is missing"));
    };
    let differs = trace::first_difference(first, second).map_err(|error| failed("the comparison", &error))?;
    match differs {
        None if codes[0] == codes[1] => {
            let length = std::fs::metadata(&traces[0]).map(|meta| meta.len()).unwrap_or(0);
            let hash = std::fs::File::open(&traces[0])
                .and_then(trace::hash_of)
                .map_err(|error| CommandError::Read { file: traces[0].clone(), error })?;
            println!(
                "same: {name} with seed {seed}: two processes, {length} bytes of trace, equal (both ended with status {})",
                shown(codes[0])
            );
            println!("  trace: {hash}");
            Ok(exit::PASS)
        }
        None => {
            println!(
                "DIFFERS: {name} with seed {seed}: equal traces, but statuses {} and {}",
                shown(codes[0]),
                shown(codes[1])
            );
            Ok(exit::DIFFERS)
        }
        Some(at) => {
            println!("DIFFERS: {name} with seed {seed}, first in line {}:", at.line);
            for line in &at.before {
                println!("    {line}");
            }
            println!("  - {}", at.first.as_deref().unwrap_or("(the trace ends)"));
            println!("  + {}", at.second.as_deref().unwrap_or("(the trace ends)"));
            Ok(exit::DIFFERS)
        }
    }
}

fn shown(code: Option<i32>) -> String {
    code.map_or("none".to_owned(), |code| code.to_string())
}

/// Every scenario file below a folder, in order of name; what is below a folder called `canary` is left out unless asked for.
pub fn files(folder: &Path, canaries: bool) -> Result<Vec<PathBuf>, CommandError> {
    let mut found = Vec::new();
    let read = |error| CommandError::Read { file: folder.to_owned(), error };
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.is_dir() {
            if canaries || path.file_name().is_none_or(|name| name != "canary") {
                found.extend(files(&path, canaries)?);
            }
        } else if path.extension().is_some_and(|ending| ending == "toml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// `list`: the scenarios of a folder, with why each is there.
pub fn list(folder: &Path) -> Result<u8, CommandError> {
    let mut worst = exit::PASS;
    for file in files(folder, true)? {
        match read(&file) {
            Ok(scenario) => {
                let unsupported = support::unsupported(&scenario);
                println!("{}", file.display());
                println!("    {}", scenario.why);
                for what in unsupported {
                    println!("    unsupported: {what}");
                }
            }
            Err(error) => {
                println!("{error}");
                worst = exit::USAGE;
            }
        }
    }
    Ok(worst)
}

/// `oracles`: every oracle with its definition.
pub fn oracles() -> u8 {
    for oracle in oracles::ALL {
        let named = if oracle.only_if_named { " (where a scenario names it)" } else { "" };
        println!("{}{named}\n    {}", oracle.name, oracle.means);
    }
    exit::PASS
}
