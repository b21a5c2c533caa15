//! Where runs lie if nobody says otherwise.

use std::path::{Path, PathBuf};

use synod_platform::process;

use super::Problem;

/// The folder of runs: the one that was named, or the one that the environment gives.
pub fn runs(named: Option<&Path>) -> Result<PathBuf, Problem> {
    if let Some(named) = named {
        return Ok(process::absolute(named));
    }
    let rooted = |name: &str| process::variable(name).filter(|path| path.starts_with('/')).map(PathBuf::from);
    let state = rooted("XDG_STATE_HOME").or_else(|| rooted("HOME").map(|home| home.join(".local/state")));
    state.map(|folder| folder.join("synod/runs")).ok_or_else(|| {
        Problem::usage(
            "there is no place for the run folder: neither XDG_STATE_HOME nor HOME is set",
            "name one with --out DIR",
        )
    })
}
