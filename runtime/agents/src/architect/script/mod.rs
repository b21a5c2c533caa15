//! JavaScript and TypeScript: packages by their manifests, modules by what they import.

pub mod modules;
pub mod packages;
pub mod scan;
