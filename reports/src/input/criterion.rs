//! What criterion leaves under `target/criterion`: for each benchmark its name and the estimates of its last run.

use std::path::Path;

use serde::Deserialize;

use super::{json_files, read_text};
use crate::ReportError;

/// The time that one iteration of a benchmark takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// The benchmark's group.
    pub group: String,
    /// Its name within the group, with its parameter.
    pub name: String,
    /// The median, ns.
    pub median: f64,
    /// Lower end of its confidence interval, ns.
    pub low: f64,
    /// Upper end, ns.
    pub high: f64,
    /// Bytes one iteration handles, where that was told.
    pub bytes: Option<u64>,
}

#[derive(Deserialize)]
struct Benchmark {
    group_id: String,
    function_id: Option<String>,
    value_str: Option<String>,
    throughput: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Estimates {
    median: Statistic,
}

#[derive(Deserialize)]
struct Statistic {
    point_estimate: f64,
    confidence_interval: Interval,
}

#[derive(Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

/// The last run's estimates, in order of group and name.
pub(super) fn read(folder: &Path) -> Result<Vec<Estimate>, ReportError> {
    let mut found = Vec::new();
    for file in json_files(folder)? {
        let of_last_run = file.parent().and_then(Path::file_name).is_some_and(|name| name == "new");
        if !of_last_run || file.file_name().is_none_or(|name| name != "benchmark.json") {
            continue;
        }
        let benchmark: Benchmark = parse(&file)?;
        let estimates: Estimates = parse(&file.with_file_name("estimates.json"))?;
        let name: Vec<String> = [benchmark.function_id, benchmark.value_str].into_iter().flatten().collect();
        let throughput = benchmark.throughput.as_ref();
        found.push(Estimate {
            name: if name.is_empty() { benchmark.group_id.clone() } else { name.join(" ") },
            group: benchmark.group_id,
            median: estimates.median.point_estimate,
            low: estimates.median.confidence_interval.lower_bound,
            high: estimates.median.confidence_interval.upper_bound,
            bytes: throughput.and_then(|told| told.get("Bytes")?.as_u64()),
        });
    }
    found.sort_by(|a, b| (&a.group, a.bytes, &a.name).cmp(&(&b.group, b.bytes, &b.name)));
    Ok(found)
}

fn parse<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, ReportError> {
    serde_json::from_str(&read_text(path)?)
        .map_err(|reason| ReportError::Json { path: path.to_owned(), reason })
}
