//! ARCHITECT: what parts a source tree has, who uses whom, where that runs in circles.
//!
//! Graphs are read from manifests and from the sources themselves by small scanners that never run anything. What a
//! scanner cannot tell with certainty is left out of the findings; a picture and a document show the rest.

pub mod graph;
pub mod knots;
pub mod levels;
