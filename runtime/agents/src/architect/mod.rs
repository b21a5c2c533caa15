//! ARCHITECT: what parts a source tree has, who uses whom, where that runs in circles.
//!
//! Graphs are read from manifests and from the sources themselves by small scanners that never run anything. What a
//! scanner cannot tell with certainty is left out of the findings; a picture and a document show the rest.

pub mod c;
pub mod documents;
pub mod dot;
pub mod draw;
pub mod fold;
pub mod graph;
pub mod judge;
pub mod knots;
pub mod layout;
pub mod levels;
pub mod paths;
pub mod python;
pub mod rules;
pub mod rust;
pub mod script;
pub mod sources;
pub mod work;

use graph::Tie;

/// Largest source file that is read, in bytes.
pub const READ_MAX: u64 = 4 << 20;

/// One file uses another, as a resolver tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The file that uses.
    pub from: String,
    /// The file that is used.
    pub to: String,
    /// How.
    pub tie: Tie,
    /// The line in `from`, counted from 1.
    pub line: u32,
}
