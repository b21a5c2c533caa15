//! Scenario files: what a person writes, read strictly.
//!
//! [`form`] is the shape of a file, [`validate`] what the shape alone cannot refuse, [`support`] what the form knows and this
//! engine cannot do yet (said, never skipped), [`schema`] the JSON schema for editors.

pub mod form;
pub mod schema;
pub mod support;
pub mod validate;

pub use form::Scenario;
use synod_control::{ConfigError, strict};

/// Reads a scenario from its text; `file` is the name for messages.
pub fn read(text: &str, file: &str) -> Result<Scenario, ConfigError> {
    let scenario: Scenario = strict::parse(text, file)?;
    match validate::complaint(&scenario) {
        None => Ok(scenario),
        Some((path, problem)) => Err(strict::refuse(text, file, &path, &problem)),
    }
}
