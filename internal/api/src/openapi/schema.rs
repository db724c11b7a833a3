//! The schemas that shapes, parameters and answers are put together from.

use placard_model::Timestamp;
use placard_model::limits::ADDRESS_BYTES_MAX;
use serde_json::{Map, Value, json};

const ID: &str = "6f9619ff-8b86-4d01-b42d-00c04fc964ff";
const ID_PATTERN: &str =
    "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$";
const HEX_PATTERN: &str = "^[0-9a-f]+$";

/// Furthest that two stamps can be apart, in milliseconds.
pub(crate) const APART_MS_MAX: i64 = (Timestamp::MAX.micros() - Timestamp::MIN.micros()) / 1_000;

pub(crate) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

pub(crate) fn object(optional: &[&str], properties: Vec<(&str, Value)>) -> Value {
    let required: Vec<_> =
        properties.iter().map(|(name, _)| *name).filter(|name| !optional.contains(name)).collect();
    let required = json!(required);
    let properties: Map<_, _> =
        properties.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    json!({"type": "object", "required": required, "properties": properties})
}

/// The object takes no other field than its own.
pub(crate) fn closed(mut object: Value) -> Value {
    object["additionalProperties"] = false.into();
    object
}

pub(crate) fn nullable(mut schema: Value) -> Value {
    schema["type"] = json!([schema["type"], "null"]);
    schema
}

/// A schema that many have in common, or null.
pub(crate) fn or_null(mut shared: Value) -> Value {
    let (description, examples) = (shared["description"].take(), shared["examples"].take());
    json!({
        "oneOf": [{"$ref": shared["$ref"]}, {"type": "null"}], "description": description, "examples": examples,
    })
}

pub(crate) fn id(description: &str) -> Value {
    json!({
        "type": "string", "format": "uuid", "minLength": ID.len(), "maxLength": ID.len(), "pattern": ID_PATTERN,
        "description": description, "examples": [ID],
    })
}

/// A whole number. Generators take one without a format for one of 32 bits.
pub(crate) fn whole(min: u64, max: u64, description: &str, example: u64) -> Value {
    let mut schema = json!({
        "type": "integer", "minimum": min, "maximum": max, "description": description, "examples": [example],
    });
    if max > i32::MAX as u64 {
        schema["format"] = "int64".into();
    }
    schema
}

/// A schema that many have in common, and what it is here.
pub(crate) fn shared(name: &str, description: &str, example: impl Into<Value>) -> Value {
    let mut schema = reference(name);
    schema["description"] = description.into();
    schema["examples"] = json!([example.into()]);
    schema
}

pub(crate) fn with_default(mut schema: Value, default: impl Into<Value>) -> Value {
    schema["default"] = default.into();
    schema
}

pub(crate) fn signed(description: &str, example: i64) -> Value {
    json!({
        "type": "integer", "format": "int64", "minimum": -APART_MS_MAX, "maximum": APART_MS_MAX,
        "description": description, "examples": [example],
    })
}

pub(crate) fn version(description: &str, example: u64) -> Value {
    shared("Version", description, example)
}

pub(crate) fn text(min: usize, max: usize, description: &str, example: &str) -> Value {
    json!({
        "type": "string", "minLength": min, "maxLength": max, "description": description, "examples": [example],
    })
}

pub(crate) fn hex(chars: usize, description: &str) -> Value {
    json!({
        "type": "string", "minLength": chars, "maxLength": chars, "pattern": HEX_PATTERN,
        "description": description, "examples": ["18674ef6".repeat(chars / 8)],
    })
}

pub(crate) fn code(codes: &[&str], description: &str, example: &str) -> Value {
    json!({"type": "string", "enum": codes, "description": description, "examples": [example]})
}

pub(crate) fn stamp(description: &str) -> Value {
    shared("Stamp", description, "2026-01-02T07:04:05Z")
}

/// The stamp, with an example a month after the others.
pub(crate) fn later(mut stamp: Value) -> Value {
    let example = stamp["examples"][0].as_str().unwrap_or_default().replace("-01-", "-02-");
    stamp["examples"] = json!([example]);
    stamp
}

pub(crate) fn address() -> Value {
    text(1, ADDRESS_BYTES_MAX, "Where clients reach it.", "127.0.0.1:8081")
}

pub(crate) fn stream_fault() -> Value {
    text(
        1,
        10_000,
        "Why the replica does not use the stream, and takes its entries from the journal instead; absent while it does.",
        "cannot connect: Connection refused (os error 111)",
    )
}

/// The schema whose parts' examples make no sense together.
pub(crate) fn shown_as(mut schema: Value, example: Value) -> Value {
    schema["examples"] = json!([example]);
    schema
}
