//! What the document says of the dimensions of targeting: the schemas of their codes, an ad's fields and a query's
//! parameters. All of it follows from what the model says of each.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use placard_model::UNKNOWN;
use placard_model::dimensions::{self, Document, Listed, Values, Visitor};
use placard_model::limits::CONDITION_VALUES_MAX;
use serde_json::{Value, json};

use super::schema::{code, nullable, reference};

/// The conditions' fields: each may be left open.
pub(crate) static OPEN: LazyLock<Vec<&str>> =
    LazyLock::new(|| fields(false).into_iter().map(|(name, _)| name).collect());

/// Returns the schemas of the codes that dimensions have, by name.
pub(super) fn codes() -> BTreeMap<&'static str, Value> {
    all().codes
}

/// Returns an ad's fields; `taken` says that a client is about to set them.
pub(crate) fn fields(taken: bool) -> Vec<(&'static str, Value)> {
    let fields = all().fields.into_iter();
    fields.map(|(name, shown, settable)| (name, if taken { settable } else { shown })).collect()
}

/// Returns the schema of each dimension's parameter in a query, by name.
pub(crate) fn parameters() -> BTreeMap<&'static str, Value> {
    all().parameters
}

fn all() -> Conditions {
    let mut conditions = Conditions::default();
    dimensions::each(&mut conditions);
    conditions
}

#[derive(Default)]
struct Conditions {
    codes: BTreeMap<&'static str, Value>,
    /// The name of each field, its schema as it is answered, and as it is taken.
    fields: Vec<(&'static str, Value, Value)>,
    parameters: BTreeMap<&'static str, Value>,
}

impl Visitor for Conditions {
    fn visit<D: Listed>(&mut self) {
        let Document { asked, example, values, fields } = D::document();
        if let Values::Codes { name, description, codes } = &values {
            let mut schema = code(codes, description, "");
            schema["examples"] = json!([example]);
            self.codes.insert(name, schema);
        }
        for (name, field) in D::FIELDS.iter().zip(fields) {
            let [shown, taken] = [false, true].map(|taken| {
                let (mut schema, more) = one_or_set(taken, &values);
                let text = field.description.trim_end_matches('.');
                schema["description"] = format!("{text}{more}.").into();
                schema["examples"] = json!([field.example]);
                schema
            });
            self.fields.push((name, shown, nullable(taken)));
        }
        let value = value(&values);
        let description =
            format!("{asked} `{UNKNOWN}` if it is not known: only ads that leave it open fit.");
        let schema = json!({
            "oneOf": [value, reference("Unknown")], "description": description, "examples": [example],
        });
        self.parameters.insert(D::NAME, schema);
    }
}

fn value(values: &Values) -> Value {
    match values {
        Values::Whole { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Values::Codes { name, .. } => reference(name),
    }
}

/// Returns the schema of an ad's field, a number or a set of codes, and what more there is to say of it.
fn one_or_set(taken: bool, values: &Values) -> (Value, &'static str) {
    let Values::Codes { codes, .. } = values else { return (value(values), "") };
    let (min, max, more) = if taken {
        (0, CONDITION_VALUES_MAX, "; all of them if it is empty")
    } else {
        (1, codes.len(), "; all of them if it is absent")
    };
    (json!({"type": "array", "minItems": min, "maxItems": max, "items": value(values)}), more)
}
