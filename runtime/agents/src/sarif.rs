//! Findings as SARIF 2.1.0, the form that code hosts and editors read.
//!
//! Paths are written as URIs relative to the root of the tree, under the base id `SRCROOT`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::finding::{Finding, Severity};
use crate::tree;

/// One SARIF log with one run of `tool`.
pub fn log(tool: &str, findings: &[Finding]) -> Value {
    let rules: BTreeMap<&str, &Finding> =
        findings.iter().rev().map(|finding| (finding.rule.as_str(), finding)).collect();
    let index: BTreeMap<&str, usize> = rules.keys().enumerate().map(|(n, rule)| (*rule, n)).collect();
    let results: Vec<Value> =
        findings.iter().map(|finding| result(finding, index[finding.rule.as_str()])).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {
                "driver": {
                    "name": tool,
                    "semanticVersion": env!("CARGO_PKG_VERSION"),
                    "rules": rules.iter().map(|(id, finding)| json!({
                        "id": id,
                        "help": { "text": finding.advice },
                        "defaultConfiguration": { "level": level(finding.severity) },
                    })).collect::<Vec<_>>(),
                }
            },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(finding: &Finding, rule: usize) -> Value {
    let mut location = json!({
        "artifactLocation": { "uri": tree::uri(&finding.place.path), "uriBaseId": "SRCROOT" },
    });
    if let Some(line) = finding.place.line {
        let mut region = json!({ "startLine": line.max(1) });
        if let Some(column) = finding.place.column {
            region["startColumn"] = column.max(1).into();
        }
        location["region"] = region;
    }
    json!({
        "ruleId": finding.rule,
        "ruleIndex": rule,
        "level": level(finding.severity),
        "message": { "text": finding.message },
        "locations": [{ "physicalLocation": location }],
        "properties": { "severity": finding.severity.word() },
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "note",
        Severity::Low | Severity::Medium => "warning",
        Severity::High | Severity::Critical => "error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Place;

    #[test]
    fn a_log_has_the_parts_that_readers_ask_for() {
        let findings = [
            Finding::new("b", Severity::High, Place::at("a b.rs", 3, 4), "m", "d"),
            Finding::new("a", Severity::Info, Place::file("x"), "m", "d"),
        ];
        let log = log("synod-linter", &findings);
        assert_eq!(log["version"], "2.1.0");
        let run = &log["runs"][0];
        assert_eq!(run["tool"]["driver"]["rules"][1]["id"], "b");
        assert_eq!(run["results"][0]["ruleIndex"], 1);
        assert_eq!(run["results"][0]["level"], "error");
        let place = &run["results"][0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b.rs");
        assert_eq!(place["region"], json!({"startLine": 3, "startColumn": 4}));
        assert!(run["results"][1]["locations"][0]["physicalLocation"].get("region").is_none());
    }

    /// The required properties of SARIF 2.1.0 (sections 3.13, 3.14, 3.18, 3.27, 3.29, 3.30, 3.49), with the types and bounds it gives them.
    #[test]
    fn a_log_has_what_the_standard_requires_and_no_index_leads_nowhere() {
        let severities = Severity::ALL.into_iter().enumerate();
        let findings: Vec<Finding> = severities
            .map(|(n, severity)| {
                Finding::new(format!("r{}", n % 3), severity, Place::line("dä/x y#.c", n as u32), "m", "d")
            })
            .collect();
        let log = log("synod-linter", &findings);
        assert_eq!(log["version"], "2.1.0");
        for run in log["runs"].as_array().expect("3.13.4: runs") {
            let driver = &run["tool"]["driver"];
            assert!(!driver["name"].as_str().expect("3.19.8: a name").is_empty());
            let rules = driver["rules"].as_array().expect("3.19.23: rules");
            let ids: Vec<&str> =
                rules.iter().map(|rule| rule["id"].as_str().expect("3.49.3: an id")).collect();
            assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "3.19.23: unique");
            assert!(
                ["utf16CodeUnits", "unicodeCodePoints"]
                    .contains(&run["columnKind"].as_str().expect("3.14.17"))
            );
            let results = run["results"].as_array().expect("3.14.23: results");
            assert_eq!(results.len(), findings.len());
            for result in results {
                assert!(!result["message"]["text"].as_str().expect("3.27.11: a message").is_empty());
                assert!(
                    ["none", "note", "warning", "error"]
                        .contains(&result["level"].as_str().expect("3.27.10"))
                );
                let index = result["ruleIndex"].as_u64().expect("3.27.6") as usize;
                assert_eq!(result["ruleId"], ids[index], "3.27.5");
                for location in result["locations"].as_array().expect("3.27.12") {
                    let physical = &location["physicalLocation"];
                    let uri = physical["artifactLocation"]["uri"].as_str().expect("3.4.3: a URI");
                    assert!(
                        uri.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~/%".contains(&byte)),
                        "{uri}"
                    );
                    let region = &physical["region"];
                    assert!(
                        region.is_null() || region["startLine"].as_u64().is_some_and(|line| line >= 1),
                        "3.30.5"
                    );
                }
            }
        }
    }
}
