//! DOCGEN: what a tree offers to others and how well it says so: the API reference, the README, the changelog.
//!
//! The cores are pure: a scanner a language turns text into [`item::Item`]s, [`packages`] puts files together, [`readme`] holds a README
//! against the tree, [`history`] turns git's words into a changelog. The shell reads the tree and runs none of its code. A scanner
//! that cannot be sure leaves a thing out rather than make it up.

pub mod c;
pub mod crates;
pub mod document;
pub mod history;
pub mod item;
pub mod javascript;
pub mod lexer;
pub mod markdown;
pub mod packages;
pub mod python;
pub mod readme;
pub mod rust;
pub mod work;
