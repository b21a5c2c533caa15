//! The scenarios of the suite, the canaries apart.

use std::path::{Path, PathBuf};

use synod_sim::command::{self, CommandError};
use synod_sim::scenario::{Scenario, support};

/// A scenario and its file.
#[derive(Clone, Debug)]
pub struct Case {
    /// Where it is.
    pub file: PathBuf,
    /// What it says.
    pub scenario: Scenario,
}

impl Case {
    /// The scenario's name.
    pub fn name(&self) -> &str {
        &self.scenario.name
    }
}

/// What is swept.
#[derive(Clone, Debug)]
pub struct Suite {
    /// Scenarios that must pass.
    pub cases: Vec<Case>,
    /// Scenarios that must fail.
    pub canaries: Vec<Case>,
    /// Scenarios that the engine cannot run yet, with why.
    pub unsupported: Vec<(String, Vec<String>)>,
}

/// Reads every scenario below a folder. One that cannot be read is an error: a suite with a hole is no suite.
pub fn load(folder: &Path) -> Result<Suite, CommandError> {
    let mut suite = Suite { cases: Vec::new(), canaries: Vec::new(), unsupported: Vec::new() };
    for file in command::files(folder, true)? {
        let scenario = command::read(&file)?;
        let unsupported = support::unsupported(&scenario);
        let case = Case { file, scenario };
        if !unsupported.is_empty() {
            suite.unsupported.push((case.name().to_owned(), unsupported));
        } else if case.file.parent().and_then(Path::file_name).is_some_and(|name| name == "canary") {
            suite.canaries.push(case);
        } else {
            suite.cases.push(case);
        }
    }
    Ok(suite)
}
