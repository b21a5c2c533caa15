//! TOML into a type, with errors that a person can act on.
//!
//! Types should carry `#[serde(deny_unknown_fields)]`: serde then refuses unknown keys, and this file says where they stand and
//! which known key is nearest. What serde cannot see (two keys that exclude each other, a bound between two
//! values) is checked by the caller, who places the complaint with [`refuse`]. Reading the file is the caller's too.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

/// What was wrong in a configuration text, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {problem}")]
pub struct ConfigError {
    /// The file's name as the caller gave it.
    pub file: Box<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// The bytes of the text that are meant.
    pub span: Range<usize>,
    /// The dotted key that is meant, as `workload[1].rate`, where one could be told.
    pub key: Option<Box<str>>,
    /// The known key or value nearest to what was written, where one is near enough.
    pub nearest: Option<Box<str>>,
    /// The whole complaint, without the place.
    pub problem: Box<str>,
}

/// Reads `text` as a `T`; `file` is only a name for messages.
pub fn parse<T: DeserializeOwned>(text: &str, file: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| explain(text, file, &error))
}

/// A complaint about the key at `path` (as `fault[2].for`; the empty path is the whole file), placed where that key
/// stands, or at the nearest table around it that is there.
pub fn refuse(text: &str, file: &str, path: &str, problem: &str) -> ConfigError {
    let span = locate(text, path).unwrap_or(0..0);
    let problem = if path.is_empty() { problem.to_owned() } else { format!("`{path}` {problem}") };
    placed(text, file, span, (!path.is_empty()).then(|| path.to_owned()), None, problem)
}

/// The candidate nearest to `written`, if it is near enough to be what was meant.
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let bound = (written.chars().count() / 3).max(2);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&written.to_lowercase(), candidate), candidate))
        .filter(|(distance, candidate)| *distance <= bound && *distance < candidate.chars().count())
        .min()
        .map(|(_, candidate)| candidate)
}

fn explain(text: &str, file: &str, error: &toml::de::Error) -> ConfigError {
    let span = error.span().unwrap_or(0..0);
    let message = error.message().trim_end();
    let key = key_at(text, &span);
    let told = |name: &str| match &key {
        Some(key) => format!("`{key}` {name}"),
        None => format!("the file {name}"),
    };

    if let Some(rest) = message.strip_prefix("unknown field ") {
        let names = quoted(rest);
        let (written, known) = names.split_first().map_or(("", &[][..]), |(first, others)| (*first, others));
        let near = nearest(written, known.iter().copied()).map(str::to_owned);
        let problem = format!(
            "`{}` is not a key here{}{}",
            key.as_deref().unwrap_or(written),
            near.as_deref().map_or(String::new(), |near| format!("; did you mean `{near}`?")),
            known_list(known, near.is_none()),
        );
        return placed(text, file, span, key, near, problem);
    }
    if let Some(rest) = message.strip_prefix("unknown variant ") {
        let names = quoted(rest);
        let (written, known) = names.split_first().map_or(("", &[][..]), |(first, others)| (*first, others));
        let near = nearest(written, known.iter().copied()).map(str::to_owned);
        let hint = near.as_deref().map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
        let options = known.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let problem = told(&format!("must be one of {options}, but is \"{written}\"{hint}"));
        return placed(text, file, span, key, near, problem);
    }
    if let Some(rest) = message.strip_prefix("missing field ") {
        let name = quoted(rest).first().copied().unwrap_or(rest).to_owned();
        let problem = match &key {
            Some(table) => format!("`{table}` lacks the key `{name}`"),
            None => format!("the file lacks the key `{name}`"),
        };
        return placed(text, file, span, key, None, problem);
    }
    for prefix in ["invalid type: ", "invalid value: ", "invalid length "] {
        if let Some((is, expected)) =
            message.strip_prefix(prefix).and_then(|rest| rest.rsplit_once(", expected "))
        {
            let problem = told(&format!("must be {}, but is {is}", article(expected)));
            return placed(text, file, span, key, None, problem);
        }
    }
    let problem = match &key {
        Some(key) => format!("`{key}`: {message}"),
        None => message.to_owned(),
    };
    placed(text, file, span, key, None, problem)
}

/// serde's names for Rust's types, said for people who write TOML.
fn article(expected: &str) -> String {
    match expected {
        "u8" => "a whole number from 0 to 255".to_owned(),
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u32" => "a whole number from 0 to 4294967295".to_owned(),
        "u64" | "usize" => "a whole number, not negative".to_owned(),
        "i8" | "i16" | "i32" | "i64" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "an array".to_owned(),
        "a map" => "a table".to_owned(),
        other if other.starts_with("struct ") => "a table".to_owned(),
        other => other.to_owned(),
    }
}

fn known_list(known: &[&str], alone: bool) -> String {
    let names = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match (known.is_empty(), alone) {
        (true, _) => "; no key is known here".to_owned(),
        (false, true) => format!("; known: {names}"),
        (false, false) => format!(" (known: {names})"),
    }
}

/// What stands between backticks in serde's messages.
fn quoted(message: &str) -> Vec<&str> {
    message.split('`').skip(1).step_by(2).collect()
}

fn placed(
    text: &str,
    file: &str,
    span: Range<usize>,
    key: Option<String>,
    nearest: Option<String>,
    problem: String,
) -> ConfigError {
    let start = (0..=span.start.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let before = &text[..start];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
    ConfigError {
        file: file.into(),
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: u32::try_from(column).unwrap_or(u32::MAX),
        span,
        key: key.map(String::into_boxed_str),
        nearest: nearest.map(String::into_boxed_str),
        problem: problem.into_boxed_str(),
    }
}

/// The innermost key whose own text or value holds the span.
fn key_at(text: &str, span: &Range<usize>) -> Option<String> {
    let document = DeTable::parse(text).ok()?;
    let mut path = String::new();
    if *span == document.span() {
        return None;
    }
    descend(document.get_ref(), span, &mut path);
    (!path.is_empty()).then_some(path)
}

fn within(inner: &Range<usize>, outer: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

fn descend(table: &DeTable<'_>, span: &Range<usize>, path: &mut String) -> bool {
    for (key, value) in table.iter() {
        let before = path.len();
        push_key(path, key.get_ref());
        if within(span, &key.span()) || descend_value(value.get_ref(), &value.span(), span, path) {
            return true;
        }
        path.truncate(before);
    }
    false
}

fn descend_value(value: &DeValue<'_>, place: &Range<usize>, span: &Range<usize>, path: &mut String) -> bool {
    // A table's own span is only its header: its keys may stand outside it.
    match value {
        DeValue::Table(table) => descend(table, span, path) || within(span, place),
        DeValue::Array(array) => {
            for (index, item) in array.iter().enumerate() {
                let before = path.len();
                path.push_str(&format!("[{index}]"));
                if descend_value(item.get_ref(), &item.span(), span, path) {
                    return true;
                }
                path.truncate(before);
            }
            within(span, place)
        }
        _ => within(span, place),
    }
}

fn push_key(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if bare { path.push_str(key) } else { path.push_str(&format!("{key:?}")) }
}

/// Where the value at `path` stands; the nearest enclosing one if it does not exist.
fn locate(text: &str, path: &str) -> Option<Range<usize>> {
    enum At<'a, 'i> {
        Table(&'a DeTable<'i>),
        Value(&'a DeValue<'i>),
    }
    let document = DeTable::parse(text).ok()?;
    let mut at = At::Table(document.get_ref());
    let mut place = None;
    for step in path
        .split('.')
        .flat_map(|part| part.split_inclusive('[').flat_map(|p| p.split('[')))
        .filter(|s| !s.is_empty())
    {
        let table = match &at {
            At::Table(table) => Some(*table),
            At::Value(DeValue::Table(table)) => Some(table),
            At::Value(_) => None,
        };
        if let Some(index) = step.strip_suffix(']') {
            let At::Value(DeValue::Array(array)) = at else { break };
            let Some(item) = index.parse::<usize>().ok().and_then(|index| array.get(index)) else { break };
            place = Some(item.span());
            at = At::Value(item.get_ref());
        } else {
            let Some((key, value)) =
                table.and_then(|table| table.iter().find(|(key, _)| key.get_ref().as_ref() == step))
            else {
                break;
            };
            place = Some(key.span());
            at = At::Value(value.get_ref());
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::units::{DelayRange, Duration, Probability, Rate, SeedRange};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape is tested")]
    struct Scenario {
        name: String,
        cluster: Cluster,
        #[serde(default)]
        workload: Vec<Workload>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape is tested")]
    struct Cluster {
        nodes: u8,
        seeds: Option<SeedRange>,
        limit: Option<Duration>,
        loss: Option<Probability>,
        delay: Option<DelayRange>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape is tested")]
    struct Workload {
        kind: Kind,
        rate: Option<Rate>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Kind {
        Publish,
        Request,
    }

    fn complaint(text: &str) -> String {
        parse::<Scenario>(text, "x.toml").unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place_and_the_nearest_known_key() {
        let error = parse::<Scenario>("name = \"a\"\n\n[cluster]\nnodse = 3\n", "x.toml").unwrap_err();
        assert_eq!(
            error.to_string(),
            "x.toml:4:1: `cluster.nodse` is not a key here; did you mean `nodes`? (known: `nodes`, `seeds`, `limit`, `loss`, `delay`)"
        );
        assert_eq!((error.key.as_deref(), error.nearest.as_deref()), (Some("cluster.nodse"), Some("nodes")));
        assert_eq!(&"name = \"a\"\n\n[cluster]\nnodse = 3\n"[error.span], "nodse");
    }

    #[test]
    fn an_unknown_key_near_to_none_lists_what_is_known() {
        assert_eq!(
            complaint("name = \"a\"\ncolour = 1\n[cluster]\nnodes = 1\n"),
            "x.toml:2:1: `colour` is not a key here; known: `name`, `cluster`, `workload`"
        );
    }

    #[test]
    fn a_wrong_type_says_what_was_expected() {
        assert_eq!(
            complaint("name = \"a\"\n[cluster]\nnodes = \"three\"\n"),
            "x.toml:3:9: `cluster.nodes` must be a whole number from 0 to 255, but is string \"three\""
        );
        assert_eq!(
            complaint("name = 7\n[cluster]\nnodes = 1\n"),
            "x.toml:1:8: `name` must be a string, but is integer `7`"
        );
        assert_eq!(
            complaint("name = \"a\"\ncluster = 5\n"),
            "x.toml:2:11: `cluster` must be a table, but is integer `5`"
        );
    }

    #[test]
    fn a_wrong_value_says_what_was_expected() {
        let with = |line: &str| complaint(&format!("name = \"a\"\n[cluster]\nnodes = 1\n{line}\n"));
        assert_eq!(
            with("limit = \"soon\""),
            "x.toml:4:9: `cluster.limit` must be a duration such as \"250ms\", \"2m\" or \"1m30s\", but is string \"soon\""
        );
        assert_eq!(
            with("limit = 250"),
            "x.toml:4:9: `cluster.limit` must be a duration such as \"250ms\", \"2m\" or \"1m30s\", but is integer `250`"
        );
        assert_eq!(
            with("loss = 1.5"),
            "x.toml:4:8: `cluster.loss` must be a probability from 0 to 1, but is floating point `1.5`"
        );
        assert_eq!(
            with("seeds = \"9..2\""),
            "x.toml:4:9: `cluster.seeds` must be a range of seeds such as \"1..200\", both ends included, but is string \"9..2\""
        );
        assert_eq!(
            with("delay = \"10ms..1ms\""),
            "x.toml:4:9: `cluster.delay` must be a duration or a range of durations such as \"1ms..10ms\", but is string \"10ms..1ms\""
        );
        assert_eq!(with("nodes = 2"), "x.toml:4:1: duplicate key");
    }

    #[test]
    fn a_wrong_choice_inside_a_list_of_tables_is_named_by_its_index() {
        let text = "name = \"a\"\n[cluster]\nnodes = 1\n[[workload]]\nkind = \"publish\"\n[[workload]]\nkind = \"requst\"\n";
        assert_eq!(
            complaint(text),
            "x.toml:7:8: `workload[1].kind` must be one of \"publish\", \"request\", but is \"requst\"; did you mean \"request\"?"
        );
        let text = "name = \"a\"\n[cluster]\nnodes = 1\n[[workload]]\nkind = \"publish\"\nrate = \"fast\"\n";
        assert_eq!(
            complaint(text),
            "x.toml:6:8: `workload[0].rate` must be a rate such as \"200/s\" or \"30/m\", but is string \"fast\""
        );
    }

    #[test]
    fn a_missing_key_is_named_with_the_table_that_lacks_it() {
        assert_eq!(complaint("name = \"a\"\n[cluster]\n"), "x.toml:2:1: `cluster` lacks the key `nodes`");
        assert_eq!(complaint("[cluster]\nnodes = 1\n"), "x.toml:1:1: the file lacks the key `name`");
    }

    #[test]
    fn text_that_is_no_toml_is_placed_too() {
        let error = parse::<Scenario>("name = \"a\n", "x.toml").unwrap_err();
        assert_eq!((error.line, error.key.clone()), (1, None));
        assert!(error.to_string().starts_with("x.toml:1:"), "{error}");
    }

    #[test]
    fn a_complaint_of_the_callers_own_is_placed_at_its_key() {
        let text = "name = \"ä\"\n[cluster]\nnodes = 1\n[[workload]]\nkind = \"publish\"\n[[workload]]\n  rate = \"5/s\"\n";
        let error = refuse(text, "x.toml", "workload[1].rate", "needs a `kind` beside it");
        assert_eq!(error.to_string(), "x.toml:7:3: `workload[1].rate` needs a `kind` beside it");
        let error = refuse(text, "x.toml", "workload[1].burst", "is needed");
        assert_eq!((error.line, error.column), (6, 1));
        assert_eq!(refuse(text, "x.toml", "", "says nothing").to_string(), "x.toml:1:1: says nothing");
    }

    #[test]
    fn the_nearest_name_is_near_or_none() {
        assert_eq!(nearest("Nodes", ["nodes", "notes"]), Some("nodes"));
        assert_eq!(nearest("zzz", ["nodes", "a"]), None);
    }
}
