//! What requests say beside their bodies, for the document only; `params` and `headers` read it.

use placard_model::limits::{IDEMPOTENCY_KEPT, IDEMPOTENCY_KEY_BYTES_MAX, MIN_VERSION_WAIT};
use serde_json::{Value, json};
use utoipa::openapi::path::Parameter;

use super::schema::{id, shared, version};

/// How long an answer is kept for its key, in hours.
const KEY_KEPT_HOURS: u64 = IDEMPOTENCY_KEPT.as_secs() / 3_600;

/// Names a group of parameters that a handler takes together, in its file or, if several handlers do, here.
macro_rules! groups {
    ($($(#[doc = $doc:literal])+ $name:ident = $parameters:expr;)+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug)]
            pub(crate) struct $name;

            impl ::utoipa::IntoParams for $name {
                fn into_params(
                    _: impl Fn() -> Option<::utoipa::openapi::path::ParameterIn>,
                ) -> Vec<::utoipa::openapi::path::Parameter> {
                    $parameters
                }
            }
        )+
    };
}

pub(crate) use groups;

groups! {
    /// Which ad.
    Id = vec![of("path", "id", id("The ad's id."))];
    /// Which pool.
    PoolId = vec![of("path", "id", id("The pool's id."))];
    /// Which reservation.
    ReservationId = vec![of("path", "id", id("The reservation's id."))];
    /// How new the answer must be.
    MinVersion = ["query", "header"].map(|place| {
        let name = if place == "query" { "min_version" } else { "Placard-Min-Version" };
        let seconds = MIN_VERSION_WAIT.as_secs();
        let text = format!(
            "Wait, for up to {seconds} s, until this version is published: a client that gives the \
             Placard-Version of its write reads that write. If it is given twice, the greater counts.",
        );
        of(place, name, version(&text, 1))
    }).to_vec();
    /// Whom the answer waits for.
    Ack = vec![of("query", "ack", shared(
        "Ack",
        "Answer once this replica serves the write, or once every registered replica does.",
        "applied",
    ))];
    /// Whether this was asked before.
    IdempotencyKey = vec![of("header", "Idempotency-Key", json!({
        "type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_BYTES_MAX, "pattern": "^[!-~]+$",
        "description": format!(
            "Of the client's choice, for one request with this method to this path: if it is repeated within {KEY_KEPT_HOURS} hours \
             it is given the first answer again, and nothing is written twice.",
        ),
        "examples": ["0198-summer-sale"],
    }))];
    /// Only if the ad is still what the client has seen, or is not.
    Conditions = vec![
        of("header", "If-Match", tags(
            "",
            "The ETag of the ad, or several, or * for any: refused if the ad is at another version, or if there is none.",
        )),
        of("header", "If-None-Match", tags(
            // A proxy makes a tag weak when it compresses the answer.
            "(W/)?",
            "The ETag of the ad, or several, or * for any: a read is answered with 304 if it would show what a tag \
             names, and a write is refused if the ad is at such a version.",
        )),
    ];
}

groups! {
    /// Only if the pool or the reservation is still what the client has seen, or is not.
    VersionConditions = vec![
        of("header", "If-Match", versions(
            "The version in quotes, or several, or * for any: refused if it is at another version, or if it does not exist.",
        )),
        of("header", "If-None-Match", versions(
            "The version in quotes, or several, or * for any: refused if it is at such a version.",
        )),
    ];
}

fn versions(description: &str) -> Value {
    let tag = "\"[0-9]{1,20}\"";
    json!({
        "type": "string", "minLength": 1, "maxLength": 1024, "pattern": format!("^(\\*|{tag}(, {tag})*)$"),
        "description": description, "examples": ["\"42\""],
    })
}

fn tags(before: &str, description: &str) -> Value {
    let tag = format!("{before}\"[0-9]{{1,20}}(-(scheduled|active|paused|ended))?\"");
    json!({
        "type": "string", "minLength": 1, "maxLength": 1024, "pattern": format!("^(\\*|{tag}(, {tag})*)$"),
        "description": description, "examples": ["\"42\""],
    })
}

/// A parameter whose description and example stand where tools look for a parameter's.
pub(crate) fn of(place: &str, name: &str, mut schema: Value) -> Parameter {
    let description = schema["description"].take();
    let example = schema["examples"][0].take();
    let fields = schema.as_object_mut().expect("a schema is an object");
    fields.retain(|name, _| name != "description" && name != "examples");
    let parameter = json!({
        "name": name, "in": place, "required": place == "path", "schema": schema,
        "description": description, "example": example,
    });
    serde_json::from_value(parameter).expect("what is written here is a parameter")
}
