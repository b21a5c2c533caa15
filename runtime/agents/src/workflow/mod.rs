//! The workflow engine: a plan of steps that a person can read, run so that a kill at any moment loses nothing.

pub mod engine;
pub mod journal;
pub mod limit;
pub mod plan;
