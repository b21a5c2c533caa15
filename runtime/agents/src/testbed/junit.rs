//! The results in JUnit's XML form, as continuous-integration servers read it.
//!
//! Written to the strict schema of Ant's JUnit task, which the looser ones include: every suite with its number, package, host and time,
//! every case with at most one end. A flaky case stands as the failure it first was, so that counts are the runner's.

use std::collections::BTreeMap;
use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::case::{Case, Counts, Outcome};
use super::judge::Ran;

/// Writes all results. `began` is the wall-clock time as `2026-01-31T12:34:56`, `host` the machine's name.
pub fn document(ran: &[Ran], began: &str, host: &str) -> io::Result<Vec<u8>> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    writer.create_element("testsuites").write_inner_content(|writer| {
        let mut id = 0u64;
        for run in ran {
            let mut suites: BTreeMap<&str, Vec<&Case>> = BTreeMap::new();
            for case in &run.cases {
                suites.entry(&case.suite).or_default().push(case);
            }
            for (name, cases) in suites {
                suite(writer, run, name, &cases, id, began, host)?;
                id += 1;
            }
        }
        Ok(())
    })?;
    let mut bytes = writer.into_inner();
    bytes.push(b'\n');
    Ok(bytes)
}

fn suite(
    writer: &mut Writer<Vec<u8>>,
    run: &Ran,
    name: &str,
    cases: &[&Case],
    id: u64,
    began: &str,
    host: &str,
) -> io::Result<()> {
    let mut counts = Counts::default();
    let mut errors = 0u64;
    let mut seconds = 0.0;
    for case in cases {
        counts.add(case.outcome);
        errors += u64::from(is_error(case.outcome));
        seconds += case.seconds.unwrap_or(0.0);
    }
    let (id, name) = (id.to_string(), word(name));
    let (tests, skipped) = (counts.tests.to_string(), counts.skipped.to_string());
    let (failures, errors) = ((counts.failed - errors).to_string(), errors.to_string());
    let (time, package) = (decimal(seconds), word(&run.label));
    let element = writer.create_element("testsuite").with_attributes([
        ("id", id.as_str()),
        ("name", name.as_str()),
        ("package", package.as_str()),
        ("timestamp", began),
        ("hostname", host),
        ("tests", tests.as_str()),
        ("failures", failures.as_str()),
        ("errors", errors.as_str()),
        ("skipped", skipped.as_str()),
        ("time", time.as_str()),
    ]);
    element.write_inner_content(|writer| {
        writer.create_element("properties").write_inner_content(|writer| {
            let command = clean(&run.command);
            let property = writer.create_element("property").with_attribute(("name", "command"));
            property.with_attribute(("value", command.as_str())).write_empty()?;
            Ok(())
        })?;
        for one in cases {
            case(writer, one, &name)?;
        }
        writer.create_element("system-out").write_empty()?;
        writer.create_element("system-err").write_empty()?;
        Ok(())
    })?;
    Ok(())
}

fn case(writer: &mut Writer<Vec<u8>>, case: &Case, suite: &str) -> io::Result<()> {
    let (name, time) = (word(&case.name), decimal(case.seconds.unwrap_or(0.0)));
    let element = writer.create_element("testcase").with_attributes([
        ("name", name.as_str()),
        ("classname", suite),
        ("time", time.as_str()),
    ]);
    let message = clean(&case.message);
    match case.outcome {
        Outcome::Passed => {
            element.write_empty()?;
        }
        Outcome::Skipped => {
            element.write_inner_content(|writer| {
                let skipped = writer.create_element("skipped");
                skipped.with_attribute(("message", message.as_str())).write_empty()?;
                Ok(())
            })?;
        }
        Outcome::Failed | Outcome::Error | Outcome::TimedOut => {
            let kind = match case.outcome {
                _ if case.flaky => "flaky",
                Outcome::Failed => "failed",
                Outcome::TimedOut => "timed-out",
                _ => "error",
            };
            element.write_inner_content(|writer| {
                let end = writer.create_element(if is_error(case.outcome) { "error" } else { "failure" });
                let end = end.with_attribute(("message", message.as_str())).with_attribute(("type", kind));
                let place = match (&case.path, case.line) {
                    (Some(path), Some(line)) => format!("{path}:{line}\n"),
                    _ => String::new(),
                };
                end.write_text_content(BytesText::new(&clean(&format!("{place}{}", case.detail))))?;
                Ok(())
            })?;
        }
    }
    Ok(())
}

fn is_error(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Error | Outcome::TimedOut)
}

fn decimal(seconds: f64) -> String {
    format!("{:.3}", if seconds.is_finite() { seconds.max(0.0) } else { 0.0 })
}

/// `text` without the characters that XML 1.0 has no place for.
fn clean(text: &str) -> String {
    let allowed = |c: &char| matches!(*c, '\t' | '\n' | '\u{20}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}');
    text.chars().filter(allowed).collect()
}

/// `text` as a name: never empty.
fn word(text: &str) -> String {
    let name = clean(text);
    if name.trim().is_empty() { "-".into() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quick_xml::Reader;

    fn ran() -> Vec<Ran> {
        let mut slow = Case::new("a", "slow", Outcome::TimedOut).because("it did not end");
        slow.seconds = Some(2.5);
        let bad =
            Case::new("a", "bad <&>", Outcome::Failed).because("1 \"is\" not 2").said("x\u{1b}[31m]]> y");
        let cases = vec![
            Case::new("a", "good", Outcome::Passed),
            bad.at(Some(("a.rs".into(), 3))),
            slow,
            Case::new("b", "later", Outcome::Skipped).because("no network"),
        ];
        vec![Ran { label: "cargo test in .".into(), command: "cargo test".into(), cases, ..Ran::default() }]
    }

    /// The elements with their attributes, and where each stands.
    fn elements(xml: &[u8]) -> Vec<(String, String, BTreeMap<String, String>)> {
        let mut reader = Reader::from_reader(xml);
        let mut above: Vec<String> = Vec::new();
        let mut all = Vec::new();
        let mut buffer = Vec::new();
        loop {
            let event = reader.read_event_into(&mut buffer).expect("well-formed");
            let (element, open) = match event {
                Event::Start(element) => (element.into_owned(), true),
                Event::Empty(element) => (element.into_owned(), false),
                Event::End(_) => {
                    above.pop();
                    continue;
                }
                Event::Eof => return all,
                _ => continue,
            };
            let name = element.name().as_ref().to_string();
            let attributes = element.attributes().map(|attribute| {
                let attribute = attribute.expect("well-formed");
                let key = attribute.key.as_ref().to_string();
                (key, attribute.value.into_owned())
            });
            all.push((above.join("/"), name.clone(), attributes.collect()));
            if open {
                above.push(name);
            }
            buffer.clear();
        }
    }

    #[test]
    fn the_document_has_the_parts_that_the_strict_schema_asks_for() {
        let xml = document(&ran(), "2026-01-31T12:34:56", "localhost").expect("memory is written");
        let all = elements(&xml);
        let suites: Vec<_> = all.iter().filter(|(_, name, _)| name == "testsuite").collect();
        assert_eq!(suites.len(), 2);
        for (n, (above, _, attributes)) in suites.iter().enumerate() {
            assert_eq!(above, "testsuites");
            assert_eq!(attributes["id"], n.to_string());
            for needed in ["name", "package", "timestamp", "hostname", "tests", "failures", "errors", "time"]
            {
                assert!(!attributes[needed].is_empty(), "{needed}");
            }
        }
        let first = &suites[0].2;
        assert_eq!(
            (first["tests"].as_str(), first["failures"].as_str(), first["errors"].as_str()),
            ("3", "1", "1")
        );
        let order: Vec<&str> = all
            .iter()
            .filter(|(above, ..)| above == "testsuites/testsuite")
            .map(|(_, name, _)| name.as_str())
            .take(6)
            .collect();
        assert_eq!(order, ["properties", "testcase", "testcase", "testcase", "system-out", "system-err"]);
        let ends: Vec<_> = all.iter().filter(|(above, ..)| above.ends_with("/testcase")).collect();
        assert_eq!(ends.len(), 3, "a case has at most one end");
        assert!(ends.iter().filter(|(_, name, _)| name != "skipped").all(|(.., a)| a.contains_key("type")));
        assert!(!xml.contains(&0x1b), "no character that XML has no place for");
    }

    #[test]
    fn counts_are_those_of_the_cases() {
        let xml = document(&ran(), "2026-01-31T12:34:56", "localhost").expect("memory is written");
        let all = elements(&xml);
        let told: u64 = all
            .iter()
            .filter(|(_, name, _)| name == "testsuite")
            .map(|(.., attributes)| attributes["tests"].parse::<u64>().expect("a number"))
            .sum();
        assert_eq!(told, all.iter().filter(|(_, name, _)| name == "testcase").count() as u64);
    }
}
