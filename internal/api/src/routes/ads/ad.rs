//! The shapes of an ad, for the document. The model writes and reads the ads themselves, which does not know the document.

use placard_model::limits::{
    CONTENT_CHARS_MAX, CONTENT_CHARS_MIN, TITLE_CHARS_MAX, TITLE_CHARS_MIN,
};
use serde_json::{Value, json};

use crate::openapi::conditions::{self, OPEN};
use crate::openapi::schema::{id, later, object, shared, stamp, version};
use crate::openapi::shape::shape;
use crate::routes::receipts::ReceiptsBody;

/// An ad, as [`placard_model::fragment`] writes it.
#[derive(Debug)]
pub(super) struct Ad;

shape! {
    /// An ad as it is served. A condition that is left open is absent.
    Ad as "Ad" = |_| object(&OPEN, shown_fields())
}

/// What a client is shown of an ad and cannot set.
pub(super) const READ_ONLY: [&str; 4] = ["id", "version", "created_at", "status"];

/// Returns those fields.
pub(super) fn read_only_fields() -> Vec<(&'static str, Value)> {
    vec![
        ("id", id("The ad's id.")),
        ("version", version("Its version.", 42)),
        ("created_at", stamp("When the ad was created.")),
        ("status", shared("Status", "Where the ad's window stands.", "active")),
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
    [own, conditions::fields(taken)].concat()
}

/// An ad after a write, as [`placard_model::fragment`] writes it; [`receipts`](crate::routes::receipts) adds its own.
#[derive(Debug)]
pub(super) struct WrittenAd;

shape! {
    /// An ad as a write has left it.
    WrittenAd as "WrittenAd" = |shapes| object(&[&["receipts"], &OPEN[..]].concat(), [shown_fields(), vec![("receipts", shapes.reference::<ReceiptsBody>())]].concat())
}
