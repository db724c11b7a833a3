//! The shapes of an ad, and the answers that verbs have in common, for the document. The model writes and reads the ads
//! themselves, which does not know the document.

use placard_model::limits::{
    ACK_ALL_WAIT, BODY_DEADLINE, CONTENT_CHARS_MAX, CONTENT_CHARS_MIN, TITLE_CHARS_MAX,
    TITLE_CHARS_MIN, WRITE_DEADLINE,
};
use serde_json::{Value, json};

use crate::openapi::answers::{
    ACCEPT_ENCODING, ACCEPT_PATCH, Answer, RETRY_AFTER, VERSION, invalid, renamed, unauthorised,
};
use crate::openapi::conditions::{self, OPEN};
use crate::openapi::schema::{id, later, object, shared, stamp, version};
use crate::openapi::shape::shape;

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

/// A read that this replica cannot answer.
pub(super) fn not_to_be_read() -> Answer {
    let text = "This replica cannot answer now: it has no state yet, has not heard of the journal for too long, \
                or has not reached the version that is asked for.";
    Answer::problem(503, text).with(&[RETRY_AFTER, VERSION])
}

/// Why a write is answered with 202.
pub(super) const NOT_YET: &str = "It is written, but not served yet: by this replica, or with ack=all by those that receipts name.";

/// Why a request is answered with 412.
pub(super) const UNMET: &str = "The ad's version, or that there is no ad with this id, is not what If-Match and If-None-Match ask for.";

/// A write whose body is refused.
pub(super) fn refused_body(bytes_max: usize, media: &str) -> Vec<Answer> {
    let seconds = BODY_DEADLINE.as_secs();
    vec![
        Answer::problem(408, format!("The body did not arrive within {seconds} s.")),
        Answer::problem(413, format!("The body exceeds {bytes_max} bytes.")),
        Answer::problem(
            415,
            format!(
                "The Content-Type is not {media} in UTF-8, or the body has a Content-Encoding."
            ),
        )
        .with(if media.contains("patch") {
            &[ACCEPT_ENCODING, ACCEPT_PATCH][..]
        } else {
            &[ACCEPT_ENCODING]
        }),
    ]
}

/// A write that is refused for another reason than its body.
pub(super) fn refused_write() -> Vec<Answer> {
    let (waits, all) = (WRITE_DEADLINE.as_secs(), ACK_ALL_WAIT.as_secs());
    vec![
        invalid(),
        unauthorised(),
        renamed(),
        Answer::problem(422, "The Idempotency-Key was used before, for another request.")
            .with(&[VERSION]),
        Answer::problem(
            503,
            "Nothing was written: too many writes wait, or the journal takes none.",
        )
        .with(&[RETRY_AFTER]),
        Answer::problem(
            504,
            format!(
                "The write may or may not have happened; repeat it with the same Idempotency-Key. Given after {waits} s, \
             or as soon as the journal is found to have lost a part of its history; \
             with ack=all the answer to a write that has happened may take {all} s more.",
            ),
        ),
    ]
}

/// A write that the journal refuses.
pub(super) fn failed() -> Answer {
    Answer::problem(500, "The journal refuses the write, whatever is tried; nothing was written.")
}
