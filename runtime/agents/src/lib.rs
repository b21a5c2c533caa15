//! The agents that do the work, and the first workflow: the review of a source tree.
//!
//! PROJECT_ORCHESTRATOR reads a tree and runs the plan, LINTER and SECURITY look for what is wrong, DIRECTOR plans and
//! gives the verdict. Each is a pure core (tested by itself) under a thin shell that touches the world through
//! `synod-platform` and talks over `synod-fabric`. The tree is read, never written, and none of its code is run.

pub mod director;
pub mod finding;
pub mod language;
pub mod linter;
pub mod plan;
pub mod sarif;
pub mod security;
pub mod survey;
pub mod task;
pub mod tree;

pub use finding::{Finding, Place, Severity, Tally};
