//! TESTBED: runs the tree's own tests, in a copy and in a jail, and says which fail and where.
//!
//! [`select`] chooses runners by the tree's files; a reader for each runner makes cases of what it prints; [`judge`] makes findings of
//! cases, [`junit`] the XML. The tree is never written, and none of its code runs outside of the jail.

pub mod cargo;
pub mod case;
pub mod judge;
pub mod junit;
pub mod libtest;
pub mod make;
pub mod node;
pub mod select;
mod shell;
pub mod unittest;
pub mod work;

pub use case::{Case, Counts, Outcome, Parsed, Paths};
pub use judge::Ran;
pub use select::{Chosen, Project, Runner};
