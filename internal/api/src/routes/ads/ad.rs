//! The shapes of an ad, for the document. The model writes and reads the ads themselves, which does not know the document.

use std::sync::LazyLock;

use placard_model::limits::{
    CONTENT_CHARS_MAX, CONTENT_CHARS_MIN, LINK_BYTES_MAX, TITLE_CHARS_MAX, TITLE_CHARS_MIN,
    WEIGHT_DEFAULT, WEIGHT_MAX,
};
use serde_json::{Value, json};

use crate::openapi::conditions::{self, OPEN};
use crate::openapi::schema::{id, later, nullable, object, shared, stamp, version, whole};
use crate::openapi::shape::shape;
use crate::routes::receipts::ReceiptsBody;

/// An ad, as [`placard_model::fragment`] writes it.
#[derive(Debug)]
pub(crate) struct Ad;

shape! {
    /// An ad as it is served. A condition that is left open is absent, and so is what says nothing.
    Ad as "Ad" = |_| object(&OPTIONAL, shown_fields())
}

/// What a client is shown of an ad and cannot set.
pub(super) const READ_ONLY: [&str; 4] = ["id", "version", "created_at", "status"];

/// Returns those fields.
pub(super) fn read_only_fields() -> Vec<(&'static str, Value)> {
    vec![
        ("id", id("The ad's id.")),
        ("version", version("Its version.", 42)),
        ("created_at", stamp("When the ad was created.")),
        ("status", shared("Status", "What is true of the ad.", "active")),
    ]
}

/// Returns what a client is shown of an ad, but its status.
pub(super) fn shown_fields() -> Vec<(&'static str, Value)> {
    let own = vec![
        ("id", id("The ad's id.")),
        ("version", version("The entry that last changed the ad.", 42)),
        ("created_at", stamp("When the ad was created, by the journal's clock.")),
    ];
    [own, spec_fields(false)].concat()
}

/// How it is delivered: each of these may be left out, and is left out if it says nothing.
fn delivery_fields(taken: bool) -> Vec<(&'static str, Value)> {
    let open = |schema| if taken { nullable(schema) } else { schema };
    vec![
        ("pool", open(id("The pool that showing it takes units out of. It must exist."))),
        (
            "weight",
            open(whole(
                WEIGHT_DEFAULT.into(),
                WEIGHT_MAX.into(),
                "Its weight among the ads that fit; 1 if it is absent.",
                10,
            )),
        ),
        (
            "link",
            open(json!({
                "type": "string", "format": "uri", "minLength": 1, "maxLength": LINK_BYTES_MAX, "pattern": "^[hH][tT][tT][pP][sS]?://[!-~]+$",
                "description": "Where a click leads: a URL of http or https, without a user.", "examples": ["https://shop.example/sale"],
            })),
        ),
        (
            "paused",
            open(json!({
                "type": "boolean", "description": "Whether it is not served for now; false if it is absent.", "examples": [true],
            })),
        ),
    ]
}

/// The fields of an ad that may be left out.
pub(super) static OPTIONAL: LazyLock<Vec<&str>> =
    LazyLock::new(|| [&DELIVERY[..], &OPEN[..]].concat());

/// The fields of how an ad is delivered.
const DELIVERY: [&str; 4] = ["pool", "weight", "link", "paused"];

/// What a client can set; `taken` says that it is about to.
pub(super) fn spec_fields(taken: bool) -> Vec<(&'static str, Value)> {
    let own = vec![
        (
            "title",
            json!({
                "type": "string", "minLength": TITLE_CHARS_MIN, "maxLength": TITLE_CHARS_MAX,
                "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f\\u2028-\\u202e]*$",
                "description": "One line, in Unicode scalars, not all of them white space.", "examples": ["Summer sale"],
            }),
        ),
        (
            "content",
            json!({
                "type": "string", "minLength": CONTENT_CHARS_MIN, "maxLength": CONTENT_CHARS_MAX,
                "pattern": "^[^\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f-\\u009f\\u2028-\\u202e]*$",
                "description": "Text, in Unicode scalars, not all of them white space; line ends and tabs are its only control characters.",
                "examples": ["Everything must go"],
            }),
        ),
        ("start_at", stamp("From when it is served.")),
        ("end_at", later(stamp("Until when it is served, not included; after start_at."))),
    ];
    [own, delivery_fields(taken), conditions::fields(taken)].concat()
}

/// An ad after a write, as [`placard_model::fragment`] writes it; [`receipts`](crate::routes::receipts) adds its own.
#[derive(Debug)]
pub(super) struct WrittenAd;

shape! {
    /// An ad as a write has left it.
    WrittenAd as "WrittenAd" = |shapes| object(&[&["receipts"], &OPTIONAL[..]].concat(), [shown_fields(), vec![("receipts", shapes.reference::<ReceiptsBody>())]].concat())
}
