//! Configuration, read strictly.
//!
//! [`strict::parse`] turns TOML into a type and refuses everything that the type does not name: the error says file, line,
//! column, key, what was expected, and the nearest key that is known. [`units`] holds the value types that
//! configuration and scenarios share: durations, rates, probabilities, ranges.
//!
//! ```
//! use serde::Deserialize;
//! use synod_control::{strict, units::Duration};
//!
//! #[derive(Debug, Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     drain: Duration,
//! }
//!
//! let config: Config = strict::parse("drain = \"1m30s\"", "node.toml").unwrap();
//! assert_eq!(config.drain.get().as_secs(), 90);
//!
//! let error = strict::parse::<Config>("drian = \"1s\"", "node.toml").unwrap_err();
//! assert_eq!(error.to_string(), "node.toml:1:1: `drian` is not a key here; did you mean `drain`? (known: `drain`)");
//! ```

pub mod strict;
pub mod units;

pub use strict::ConfigError;
