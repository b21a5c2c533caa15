//! SECURITY's pure checks: secrets in files, permission bits, lock files, known weaknesses, unsafe code.
//!
//! The corpus of secret patterns is data (`corpus.toml`), documented at its top.

pub mod advisories;
pub mod fit;
pub mod locks;
pub mod permissions;
pub mod secrets;
pub mod unsafe_code;
pub mod work;
