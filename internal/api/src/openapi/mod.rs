//! The OpenAPI 3.1 document of this API, and the pages on which people read it. The routes are those of [`crate::routes`]. Each
//! type describes itself, and each handler its answers; here is what they describe them with. Tests compare the document
//! with real answers.

pub(crate) mod answers;
pub(crate) mod conditions;
pub(crate) mod parameters;
#[cfg(test)]
mod rules;
pub(crate) mod schema;
pub(crate) mod shape;
pub(crate) mod ui;
mod values;

use std::sync::OnceLock;

use bytes::Bytes;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi as Document, RefOr, Required};
use utoipa::{Modify, OpenApi};

use crate::http::params::Ack;

/// All of the document but the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Placard",
        description = "Targeted ads, served from memory. Every replica of a cluster takes every request.\n\n\
            Unknown, empty and repeated parameters are refused, as are unknown and repeated fields of a body. An error is \
            `application/problem+json` (RFC 9457). What is not listed is answered with 404, or with 405 and the methods \
            that there are in `Allow`; HEAD is answered like GET, without the body.",
        contact(name = "The operator of this server"),
        license(name = "MIT", identifier = "MIT"),
    ),
    servers((url = "/", description = "The server that this document was read from.")),
    tags(
        (name = "ads", description = "What is served."),
        (name = "pools", description = "What can be used up, and how much of it there is."),
        (name = "reservations", description = "Parts of pools that clients hold."),
        (name = "changes", description = "Every change of these, in order."),
        (name = "operation", description = "For operators, balancers and Prometheus."),
    ),
    components(schemas(values::Unknown, values::Version, values::Stamp, values::Status, values::PoolStatus, values::Pacing, values::ReservationStatus, Ack)),
    modifiers(&Bearer, &Codes),
)]
pub(crate) struct Frame;

/// Writes say who asks.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut Document) {
        let text = "A token that the server was given. Without one it may listen on loopback only, and asks nobody.";
        let scheme =
            HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(text)).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The codes of the dimensions have schemas.
struct Codes;

impl Modify for Codes {
    fn modify(&self, document: &mut Document) {
        let schemas = &mut document.components.get_or_insert_default().schemas;
        for (name, schema) in conditions::codes() {
            let schema = serde_json::from_value(schema).expect("what is written here is a schema");
            schemas.insert(name.to_owned(), schema);
        }
    }
}

/// The document as it is sent: it can be written only once all routes are known, and is the same for all apps.
static WRITTEN: OnceLock<Bytes> = OnceLock::new();

/// Writes the document, if that has not been done.
pub(crate) fn write(document: Document) -> &'static Bytes {
    WRITTEN.get_or_init(|| {
        let document = said_in_full(document);
        let mut text = document.to_pretty_json().expect("the document serialises");
        text.push('\n');
        text.into()
    })
}

/// Returns the document with the defaults written out that tools otherwise take for unspecified: an operation without
/// `security` needs no token, and a described body is required.
fn said_in_full(mut document: Document) -> Document {
    let paths = document.paths.paths.values_mut();
    let operations = paths.flat_map(|path| {
        [&mut path.get, &mut path.put, &mut path.post, &mut path.delete, &mut path.patch]
    });
    for operation in operations.flatten() {
        operation.security.get_or_insert_default();
        if let Some(RefOr::T(body)) = &mut operation.request_body {
            body.required = Some(Required::True);
        }
    }
    document
}

/// Returns the document, if it has been written.
pub(crate) fn written() -> Bytes {
    WRITTEN.get().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use crate::metrics::Metrics;

    #[test]
    fn the_document_is_the_one_in_docs() {
        let real = super::write(crate::routes::described(&Metrics::default()).into_openapi());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, real).unwrap();
        }
        let kept = std::fs::read(&path).unwrap_or_default();
        assert!(
            kept == real[..],
            "docs/openapi.json is not what the code says; `make openapi` updates it"
        );
    }

    /// Returns what a schema, or one within it, lacks.
    fn lacking(schema: &Value, at: &str) -> Vec<String> {
        let is = |name: &str| {
            schema["type"] == name
                || schema["type"].as_array().is_some_and(|types| types.contains(&name.into()))
        };
        let has = |names: &[&str]| names.iter().any(|name| !schema[*name].is_null());
        let bounded = [
            ("string", has(&["maxLength", "format", "enum", "pattern"])),
            ("integer", has(&["minimum"]) && has(&["maximum"])),
            ("number", has(&["minimum"]) && has(&["maximum"])),
            ("array", has(&["maxItems"])),
        ];
        let unbounded = bounded.into_iter().filter(|(name, bounded)| is(name) && !bounded);
        let mut lacking: Vec<_> =
            unbounded.map(|(name, _)| format!("{at}: the bounds of a {name}")).collect();
        for (name, part) in schema["properties"].as_object().into_iter().flatten() {
            let at = format!("{at}/{name}");
            if part["examples"].get(0).is_none() && part["$ref"].is_null() {
                lacking.push(format!("{at}: an example"));
            }
            lacking.extend(self::lacking(part, &at));
        }
        if schema["items"].is_object() {
            lacking.extend(self::lacking(&schema["items"], &format!("{at}/items")));
        }
        for one in schema["oneOf"].as_array().into_iter().flatten() {
            lacking.extend(self::lacking(one, &format!("{at}/oneOf")));
        }
        lacking
    }

    #[test]
    fn every_field_has_bounds_and_an_example() {
        let document = super::rules::document();
        let mut lack = Vec::new();
        let shapes = document["components"]["schemas"].as_object().unwrap();
        for (name, shape) in shapes {
            lack.extend(lacking(shape, name));
            if shape["examples"].get(0).is_none() {
                lack.push(format!("{name}: an example"));
            }
        }
        let operations = document["paths"].as_object().unwrap().values();
        let operations = operations.flat_map(|path| path.as_object().unwrap().values());
        let mut fields = 0;
        for operation in operations {
            let id = operation["operationId"].as_str().unwrap();
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let at = format!("{id}: {}", parameter["name"]);
                lack.extend(lacking(&parameter["schema"], &at));
                if parameter["example"].is_null() {
                    lack.push(format!("{at}: an example"));
                }
                fields += 1;
            }
            for answer in operation["responses"].as_object().unwrap().values() {
                for (name, header) in answer["headers"].as_object().into_iter().flatten() {
                    lack.extend(lacking(&header["schema"], &format!("{id}: {name}")));
                    fields += 1;
                }
            }
        }
        assert!(shapes.len() > 20 && fields > 100, "{} shapes, {fields} fields", shapes.len());
        assert_eq!(lack, Vec::<String>::new());
    }
}
