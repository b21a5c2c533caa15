//! SECURITY's pure checks: secrets in files, permission bits, lock files.
//!
//! The corpus of secret patterns is data (`corpus.toml`), documented at its top.

pub mod locks;
pub mod permissions;
pub mod secrets;
pub mod work;
