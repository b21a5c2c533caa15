//! The JSON schema of scenario files, for editors: `scenarios/schema.json` is this, and a test says when it is not.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator, json_schema};

use super::form::Scenario;

/// The schema as pretty JSON with a newline at its end.
pub fn text() -> String {
    let mut schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<Scenario>();
    schema.insert("title".to_owned(), "Synod scenario".into());
    let mut value = schema.to_value();
    without_null_defaults(&mut value);
    format!("{value:#}\n")
}

/// A key that may be left out has no default worth showing.
fn without_null_defaults(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            map.retain(|key, value| key != "default" || !value.is_null());
            map.values_mut().for_each(without_null_defaults);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(without_null_defaults),
        _ => {}
    }
}

/// A duration.
pub(super) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^([0-9]+(\\.[0-9]+)?(h|m|s|ms|us|ns))+$" })
}

/// A duration with a sign.
pub(super) fn signed(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[+-]([0-9]+(\\.[0-9]+)?(h|m|s|ms|us|ns))+$" })
}

/// A delay or a range of delays.
pub(super) fn delay(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": "^([0-9]+(\\.[0-9]+)?(h|m|s|ms|us|ns))+(\\.\\.([0-9]+(\\.[0-9]+)?(h|m|s|ms|us|ns))+)?$"
    })
}

/// So many in a period.
pub(super) fn rate(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[1-9][0-9]*/[smh]$" })
}

/// A probability.
pub(super) fn probability(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "number", "minimum": 0, "maximum": 1 })
}

/// A range of seeds, both ends included.
pub(super) fn seeds(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[0-9]+(\\.\\.[0-9]+)?$" })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_published_schema_is_the_form_that_is_read() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/schema.json");
        let published = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            published == super::text(),
            "scenarios/schema.json is old: `cargo sim schema > scenarios/schema.json`"
        );
    }
}
