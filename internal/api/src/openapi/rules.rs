//! Tests of the rules that OpenAPI linters recommend (Redocly's and Spectral's), as far as this document can break
//! them, and of what client generators need. The linters themselves are not used: they bring hundreds of packages.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::metrics::Metrics;

/// The tags whose reads need no token.
const OPEN_READS: [Option<&str>; 2] = [Some("ads"), Some("operation")];

/// The document as it is sent.
pub(super) fn document() -> Value {
    let text = super::write(crate::routes::described(&Metrics::default()).into_openapi());
    serde_json::from_slice(text).expect("the document is JSON")
}

fn operations(document: &Value) -> Vec<(&String, &String, &Value)> {
    let paths = document["paths"].as_object().expect("there are paths").iter();
    let operations = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("a path has methods").iter();
        methods.map(move |(method, operation)| (path, method, operation))
    });
    operations.collect()
}

/// Everything within a value, itself included.
fn within<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    found.push(value);
    match value {
        Value::Object(fields) => fields.values().for_each(|field| within(field, found)),
        Value::Array(items) => items.iter().for_each(|item| within(item, found)),
        _ => {}
    }
}

fn all(value: &Value) -> Vec<&Value> {
    let mut found = Vec::new();
    within(value, &mut found);
    found
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.trim().is_empty())
}

#[test]
fn document_keeps_the_recommended_rules() {
    let document = document();
    let info = &document["info"];
    assert!(is_text(&info["description"]) && is_text(&info["contact"]["name"]), "{info}");
    assert!(is_text(&info["license"]["identifier"]), "{info}");
    assert_eq!(document["servers"][0]["url"], "/");
    let tags: Vec<_> = document["tags"].as_array().into_iter().flatten().collect();
    assert!(!tags.is_empty() && tags.iter().all(|tag| is_text(&tag["description"])), "{tags:?}");
    let schemes = document["components"]["securitySchemes"].as_object().expect("there are schemes");
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let what = format!("{method} {path}");
        let id = operation["operationId"].as_str().expect("an operation has an id");
        assert!(ids.insert(id) && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{what}");
        assert!(is_text(&operation["summary"]) && is_text(&operation["description"]), "{what}");
        let named = operation["tags"].as_array().expect("an operation has tags");
        let known = |name: &Value| tags.iter().any(|tag| tag["name"] == *name);
        assert!(!named.is_empty() && named.iter().all(known), "{what}");
        let security = operation["security"].as_array();
        let security = security.unwrap_or_else(|| panic!("{what} does not say who may"));
        let names = security.iter().flat_map(|one| one.as_object().expect("an object").keys());
        assert!(names.clone().all(|name| schemes.contains_key(name)), "{what}");
        let is_open = method == "get" && named.iter().all(|tag| OPEN_READS.contains(&tag.as_str()));
        assert_eq!(names.count(), usize::from(!is_open), "{what}");
        let responses = operation["responses"].as_object().expect("there are responses");
        for class in ['2', '4'] {
            assert!(responses.keys().any(|status| status.starts_with(class)), "{what}: {class}xx");
        }
        assert!(responses.values().all(|answer| is_text(&answer["description"])), "{what}");
        if let Some(body) = operation.get("requestBody") {
            assert_eq!(body["required"], true, "{what}");
        }
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        for parameter in parameters.clone() {
            let required = parameter["in"] == "path";
            assert!(
                is_text(&parameter["description"]) && parameter["required"] == required,
                "{what}"
            );
        }
        let in_path = parameters.filter(|parameter| parameter["in"] == "path");
        let in_path: Vec<_> = in_path
            .map(|parameter| format!("{{{}}}", parameter["name"].as_str().unwrap()))
            .collect();
        assert!(in_path.iter().all(|name| path.contains(name)), "{what}");
        assert_eq!(in_path.len(), path.matches('{').count(), "{what}");
    }
    let text = document.to_string();
    let references = all(&document).into_iter().filter_map(|value| value["$ref"].as_str());
    for reference in references.clone() {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    assert!(references.count() > 50, "the document refers to few schemas");
    for name in document["components"]["schemas"].as_object().expect("there are schemas").keys() {
        let reference = format!("\"#/components/schemas/{name}\"");
        assert!(text.contains(&reference), "nothing refers to {name}");
    }
}

/// A generator makes a type of each enumeration, and one of 32 bits of each number without a format.
#[test]
fn document_shares_enumerations_and_has_wide_numbers() {
    let document = document();
    let values = all(&document);
    let enums = values.iter().filter_map(|value| value["enum"].as_array());
    let (mut seen, mut numbers) = (BTreeSet::new(), 0);
    for codes in enums.filter(|codes| codes.len() > 1) {
        let codes: Vec<_> = codes.iter().map(|code| code.as_str().unwrap_or_default()).collect();
        assert!(seen.insert(codes.clone()), "{codes:?} stands there twice");
        assert_eq!(codes.iter().collect::<BTreeSet<_>>().len(), codes.len(), "{codes:?}");
    }
    for number in values.iter().filter(|value| value["maximum"].is_number()) {
        let most = number["maximum"].as_i64().unwrap_or_else(|| panic!("{number} is too wide"));
        if number["type"] != "number" && most > i32::MAX.into() {
            assert_eq!(number["format"], "int64", "{number}");
            numbers += 1;
        }
    }
    let stamps = values.iter().filter(|value| value["format"] == "date-time").count();
    assert_eq!((stamps, numbers > 3, seen.len() > 5), (1, true, true));
}
