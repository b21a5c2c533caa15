//! DOCGEN: what a tree offers to others and how well it says so: the API reference, the README, the changelog.
//!
//! The cores are pure: a scanner a language turns text into [`item::Item`]s, [`readme`] holds a README against the tree,
//! [`history`] turns git's words into a changelog. The shell reads the tree and runs none of its code. A scanner that cannot be
//! sure leaves a thing out rather than make it up.

pub mod history;
pub mod item;
pub mod lexer;
pub mod rust;
pub mod work;
