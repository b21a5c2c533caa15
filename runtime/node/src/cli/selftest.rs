//! `synod selftest`: the quick test, told check by check.

use std::fmt::Write as _;

use serde_json::json;
use synod_platform::{task, time};

use super::arguments::OutputOptions;
use super::{Exit, Problem, text};
use crate::selftest;

pub fn main(options: &OutputOptions) -> Result<Exit, Problem> {
    let (checks, took) = task::block_on(async {
        let begin = time::now();
        let checks = selftest::run().await;
        (checks, time::now().since(begin))
    });
    let failed = checks.iter().filter(|check| !check.passed).count();
    if options.json {
        text::print_json(&json!({ "passed": failed == 0, "checks": checks, "seconds": took.as_secs_f64() }))?;
    } else {
        let mut out = String::new();
        for check in &checks {
            let mark = if check.passed { "ok    " } else { "FAILED" };
            let _ = writeln!(out, "{mark}  {}: {}", check.name, check.seen);
        }
        let _ = writeln!(
            out,
            "{} of {} checks passed in {:.2} s",
            checks.len() - failed,
            checks.len(),
            took.as_secs_f64()
        );
        text::print(&out)?;
    }
    Ok(if failed == 0 { Exit::Fine } else { Exit::Found })
}
