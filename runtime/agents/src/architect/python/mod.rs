//! Python: modules by their files, and who imports whom.

pub mod modules;
pub mod scan;
