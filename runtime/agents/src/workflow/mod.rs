//! The workflow engine: a plan of steps that a person can read, run so that a kill at any moment loses nothing.
//!
//! Decisions are pure: [`plan`] says what a plan is, [`engine`] what happens next, [`lease`] who may write. Shells touch the
//! world: [`journal`] keeps what happened, [`run`] has the steps done by their agents.

pub mod engine;
pub mod journal;
pub mod lease;
pub mod limit;
pub mod plan;
pub mod run;

pub use engine::{Engine, Outcome};
pub use plan::{Plan, PlanError, Step, Strategy};
