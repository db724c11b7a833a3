//! Every answer that a test gets is compared with `docs/openapi.json`: its status, its type, its body and its header
//! fields must be what the document says of the operation.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};

use http::{HeaderMap, Method};
use jsonschema::Validator;
use serde_json::{Value, json};

/// Header fields with a meaning in this API: one that is sent must be in the document.
const FIELDS: [&str; 11] = [
    "Accept-Encoding",
    "Accept-Patch",
    "ETag",
    "Idempotency-Replayed",
    "Location",
    "Placard-Clock",
    "Placard-Stale",
    "Placard-Version",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-Id",
];

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let text = std::fs::read(path).expect("the document is there");
    let mut document: Value = serde_json::from_slice(&text).expect("the document is JSON");
    let shapes = document["components"]["schemas"].as_object_mut().expect("there are schemas");
    // The document says that clients must expect more fields; this build must not send any that it does not describe.
    for object in shapes.values_mut().filter(|shape| shape["type"] == "object") {
        object["additionalProperties"] = json!(false);
    }
    document
});

/// The validators made so far, by their schemas: to make one takes longer than most tests.
static VALIDATORS: LazyLock<Mutex<HashMap<String, &'static Validator>>> =
    LazyLock::new(Mutex::default);

/// Checks an answer.
pub(crate) fn check(asked: (&Method, &str), status: u16, headers: &HeaderMap, body: &[u8]) {
    let (method, path) = asked;
    let what = format!("{method} {path} was answered {status} {}", String::from_utf8_lossy(body));
    assert!(headers.contains_key("x-request-id"), "{what} without a request id");
    let Some(operations) = operations(path) else {
        // Swagger UI is not described, nor is what leads there.
        assert!(
            status == 404 || path.starts_with("/docs") || path == "/",
            "{what}, and is not in the document"
        );
        return;
    };
    // HEAD is answered like GET, without the body.
    let name = if method == Method::HEAD { "get" } else { &method.as_str().to_ascii_lowercase() };
    let Some(operation) = operations.get(name) else {
        assert!(
            status == 405 || method == Method::OPTIONS,
            "{what}, and the document has no such method"
        );
        return;
    };
    let answer = &operation["responses"][status.to_string()];
    assert!(answer.is_object(), "{what}, a status that the document does not have for it");
    for field in FIELDS {
        let schema = resolved(&answer["headers"][field]["schema"]);
        for value in headers.get_all(field) {
            let text = value.to_str().expect("header fields are ASCII");
            let value = match schema["type"].as_str() {
                Some("integer") => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
                Some(_) => json!(text),
                None => panic!("{what} with {field}, which the document does not have for it"),
            };
            fits(schema, &value, &format!("{field} of {what}"));
        }
    }
    if answer["content"].is_null() {
        assert!(body.is_empty() && !headers.contains_key("content-type"), "{what} with a body");
        return;
    }
    let (media, content) = content(answer, headers)
        .unwrap_or_else(|| panic!("{what} as {:?}", headers.get("content-type")));
    if method == Method::HEAD {
        assert!(body.is_empty(), "{what} with a body");
        return;
    }
    if media == "application/x-ndjson" {
        let lines = std::str::from_utf8(body).expect("lines are text").split_terminator('\n');
        lines.for_each(|line| fits(&content["schema"], &parsed(line, &what), &what));
        return;
    }
    let value = if media.ends_with("json") {
        serde_json::from_slice(body).unwrap_or_else(|error| panic!("{what}: {error}"))
    } else {
        json!(String::from_utf8_lossy(body))
    };
    fits(&content["schema"], &value, &what);
}

/// Checks the data of an event of the log.
pub(crate) fn check_event(data: &str) {
    let change = json!({ "$ref": "#/components/schemas/Change" });
    fits(&change, &parsed(data, "an event"), data);
}

fn parsed(text: &str, what: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// Returns true if the document allows this value of a field in requests for one ad.
pub(crate) fn takes(field: &str, value: &str) -> bool {
    let operations = operations("/api/v1/ad/x").expect("it has the route");
    let operations = operations.as_object().expect("a route has methods");
    let parameters = operations.values().filter_map(|operation| operation["parameters"].as_array());
    let parameters = parameters.flatten().filter(|parameter| parameter["name"] == field);
    let schemas: Vec<_> = parameters.map(|parameter| &parameter["schema"]).collect();
    assert!(!schemas.is_empty(), "{field}");
    schemas.iter().all(|schema| validator(schema).is_valid(&json!(value)))
}

/// The schema that this one refers to, if it does.
fn resolved(schema: &'static Value) -> &'static Value {
    let pointer = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    pointer.map_or(schema, |pointer| DOCUMENT.pointer(pointer).expect("it refers to a schema"))
}

/// The operations of the path that this one, with its query, is an instance of.
fn operations(path: &str) -> Option<&'static Value> {
    let path = path.split('?').next().unwrap_or_default();
    let paths = DOCUMENT["paths"].as_object().expect("the document has paths");
    paths.get(path).or_else(|| {
        let instance_of =
            |template: &str| {
                let (mut parts, mut given) = (template.split('/'), path.split('/'));
                parts.by_ref().zip(given.by_ref()).all(|(part, given)| {
                    part == given || (part.starts_with('{') && !given.is_empty())
                }) && template.split('/').count() == path.split('/').count()
            };
        paths.iter().find(|(template, _)| instance_of(template)).map(|(_, found)| found)
    })
}

/// Returns what the document says about an answer's type.
fn content<'a>(answer: &'a Value, headers: &HeaderMap) -> Option<(&'a str, &'a Value)> {
    let sent = headers.get("content-type")?.to_str().ok()?;
    let sent = sent.split(';').next().unwrap_or_default().trim();
    let contents = answer["content"].as_object()?;
    contents.iter().find(|(media, _)| *media == sent).map(|(media, is)| (media.as_str(), is))
}

fn fits(schema: &Value, value: &Value, what: &str) {
    let errors: Vec<_> = validator(schema)
        .iter_errors(value)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}");
}

fn validator(schema: &Value) -> &'static Validator {
    let mut made = VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner);
    made.entry(schema.to_string()).or_insert_with(|| {
        // References lead into the document's components.
        let mut whole = json!({ "components": DOCUMENT["components"] });
        whole["allOf"] = json!([schema]);
        let options = jsonschema::draft202012::options().should_validate_formats(true);
        Box::leak(Box::new(options.build(&whole).expect("the schema is one")))
    })
}

#[test]
fn undocumented_answer_fails_the_check() {
    let headers = |fields: &[(&'static str, &'static str)]| {
        let all = [&[("x-request-id", "1"), ("content-type", "application/json")], fields].concat();
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.insert(name, value.parse().expect("a value"));
        }
        headers
    };
    let live = (&Method::GET, "/livez");
    check(live, 200, &headers(&[]), br#"{"status":"live"}"#);
    for (status, fields, body) in [
        (201, &[][..], &br#"{"status":"live"}"#[..]),
        (200, &[], br#"{"status":1}"#),
        (200, &[], b"{}"),
        (200, &[], br#"{"status":"live","more":1}"#),
        (200, &[("content-type", "text/plain")], br#"{"status":"live"}"#),
        (200, &[("etag", "\"1\"")], br#"{"status":"live"}"#),
    ] {
        let told = std::panic::catch_unwind(|| check(live, status, &headers(fields), body));
        assert!(told.is_err(), "{status} {fields:?} {body:?}");
    }
}

#[test]
fn the_examples_of_the_document_fit_it() {
    for (name, shape) in DOCUMENT["components"]["schemas"].as_object().expect("there are schemas") {
        let examples = shape["examples"].as_array().expect("every schema has an example");
        for example in examples {
            fits(shape, example, &format!("the example of {name}"));
        }
    }
}
