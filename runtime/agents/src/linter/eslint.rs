//! ESLint as the tree itself has it installed: where it is, how it is asked, how its report is read.
//!
//! Its rules and plug-ins are the tree's own code, so it runs in a jail in which nothing of the tree can be written.

use serde::Deserialize;

use crate::finding::{Finding, Place, Severity};

/// Where a tree keeps it, relative to the root.
pub const PROGRAM: &str = "node_modules/eslint/bin/eslint.js";
/// Its arguments; Node runs [`PROGRAM`] with them in the root of the tree.
pub const ARGUMENTS: [&str; 3] = ["--format", "json", "."];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Judged {
    file_path: String,
    messages: Vec<Message>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    rule_id: Option<String>,
    severity: u8,
    message: String,
    line: Option<u32>,
    column: Option<u32>,
}

/// Turns `eslint --format json` into findings. `within` maps a file to its path in the tree.
pub fn read(
    stdout: &str,
    within: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Finding>, serde_json::Error> {
    let all: Vec<Judged> = serde_json::from_str(stdout)?;
    let mut findings = Vec::new();
    for file in all {
        let Some(path) = within(&file.file_path) else { continue };
        for one in file.messages {
            let rule = one.rule_id.unwrap_or_else(|| "syntax".into());
            findings.push(Finding::new(
                format!("eslint.{rule}"),
                if one.severity >= 2 { Severity::Low } else { Severity::Info },
                Place {
                    path: path.clone(),
                    line: one.line.map(|n| n.max(1)),
                    column: one.column.map(|n| n.max(1)),
                },
                one.message.split_whitespace().collect::<Vec<_>>().join(" "),
                format!("the tree's own rules ask for it; `{rule}` is explained where it is documented"),
            ));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_with_its_rules_and_places() {
        let report = r#"[{"filePath":"/t/a.js","messages":[{"ruleId":"no-unused-vars","severity":2,"message":"'x' is unused","line":1,"column":7},{"ruleId":null,"severity":1,"message":"m"}],"errorCount":1},{"filePath":"/x.js","messages":[]}]"#;
        let findings = read(report, &|file| file.strip_prefix("/t/").map(String::from)).expect("its form");
        assert_eq!(findings.len(), 2);
        assert_eq!(
            (findings[0].rule.as_str(), &findings[0].place),
            ("eslint.no-unused-vars", &Place::at("a.js", 1, 7))
        );
        assert!(read("Oops", &|_| None).is_err());
    }
}
