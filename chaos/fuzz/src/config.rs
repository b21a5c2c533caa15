//! Configuration and scenario files: a complaint points into the text and says something; a value reads back as written.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use serde::Deserialize;
use synod_control::units::{DelayRange, Duration, Probability, Rate, SeedRange, SignedDuration};
use synod_control::{ConfigError, strict};

/// Something of every kind that a configuration holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the fields are there to be read, not to be used")]
struct Everything {
    flag: Option<bool>,
    count: Option<u32>,
    share: Option<Probability>,
    wait: Option<Duration>,
    skew: Option<SignedDuration>,
    rate: Option<Rate>,
    seeds: Option<SeedRange>,
    delay: Option<DelayRange>,
    name: Option<String>,
    choice: Option<Choice>,
    #[serde(default)]
    inner: Vec<Everything>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Choice {
    Fast,
    Careful,
}

/// The strict reader.
pub fn strict(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(error) = strict::parse::<Everything>(text, "any.toml") {
        points_into(text, &error);
    }
}

/// A node's configuration.
pub fn node(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(error) = synod_node::config::parse(text, "any.toml") {
        points_into(text, &error);
    }
}

/// A scenario file.
pub fn scenario(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match synod_sim::scenario::read(text, "any.toml") {
        Ok(scenario) => {
            let unsupported = synod_sim::scenario::support::unsupported(&scenario);
            assert!(unsupported.iter().all(|one| !one.is_empty()));
        }
        Err(error) => points_into(text, &error),
    }
}

fn points_into(text: &str, error: &ConfigError) {
    assert!(!error.problem.is_empty());
    assert!(error.line >= 1 && error.column >= 1, "{error}");
    assert!(error.line as usize <= text.split('\n').count(), "{error}");
    assert!(text.get(error.span.clone()).is_some(), "{:?} is no place in the text", error.span);
    assert!(error.to_string().starts_with(&format!("any.toml:{}:{}: ", error.line, error.column)));
}

/// The values with units.
pub fn units(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    reads_back::<Duration>(text);
    reads_back::<SignedDuration>(text);
    reads_back::<Rate>(text);
    reads_back::<SeedRange>(text);
    reads_back::<DelayRange>(text);
}

fn reads_back<T: FromStr<Err: Debug> + Display + Debug + PartialEq>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let written = value.to_string();
        assert_eq!(
            written.parse::<T>().expect("what was written can be read"),
            value,
            "{text:?} {written:?}"
        );
    }
}
