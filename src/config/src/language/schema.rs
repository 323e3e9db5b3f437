//! JSON Schema of the file, for editors that complete and check keys.
//!
//! It is generated from the declarations of the tables. It describes single values only, so
//! `trimtab check-config` can refuse a file that the schema accepts. A file that the schema
//! refuses is always refused.

use serde_json::{Value as Json, json};

use super::document::{Node, Value};
use super::read::Read;

/// Returns the schema of a file as JSON Schema draft 7, which TOML editors support.
pub(crate) fn schema<T: Read>(title: &str, description: &str, defaults: &Node) -> Json {
    let mut schema = T::schema();
    add_defaults(&mut schema, defaults);
    if let Some(members) = schema.as_object_mut() {
        members.insert("$schema".into(), json!("http://json-schema.org/draft-07/schema#"));
        members.insert("title".into(), json!(title));
        members.insert("description".into(), json!(description));
    }
    schema
}

/// Writes the defaults of a table into its schema.
fn add_defaults(schema: &mut Json, defaults: &Node) {
    // The defaults of a list of tables apply to each table.
    let table = match schema.get("items") {
        Some(_) => schema.get_mut("items"),
        None => Some(schema),
    };
    let Some(properties) = table.and_then(|table| table.get_mut("properties")) else { return };
    let Value::Table(entries) = &defaults.value else { return };
    for (key, written) in entries {
        let Some(property) = properties.get_mut(key) else { continue };
        let is_table = matches!(written.node.value, Value::Table(_));
        if is_table {
            add_defaults(property, &written.node);
            continue;
        }
        let value = written.node.to_toml().and_then(|value| serde_json::to_value(value).ok());
        if let (Some(property), Some(value)) = (property.as_object_mut(), value) {
            property.insert("default".into(), value);
        }
    }
}
