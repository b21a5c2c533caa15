//! Rust: crates by their manifests, modules by their `mod` and the paths they name.

pub mod crates;
pub mod modules;
pub mod scan;
