//! What requests are answered, for the document only: every status, its body and its headers.

use std::collections::BTreeMap;

use placard_model::limits::{
    ACK_ALL_WAIT, AD_BODY_BYTES_MAX, BATCH_BODY_BYTES_MAX, BODY_DEADLINE, REQUEST_ID_BYTES_MAX,
    WRITE_DEADLINE,
};
use serde_json::{Map, Value, json};
use utoipa::IntoResponses;
use utoipa::openapi::{RefOr, Response};

use super::schema::{code, reference, version, whole};
use crate::render::STALE_MAX_MS;

/// Names what a route answers.
macro_rules! answers {
    ($($(#[doc = $doc:literal])+ $name:ident = $answers:expr;)+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug)]
            pub(crate) struct $name;

            impl IntoResponses for $name {
                fn responses() -> BTreeMap<String, RefOr<Response>> {
                    $answers.into_iter().map(Answer::finished).collect()
                }
            }
        )+
    };
}

answers! {
    /// To a listing.
    Listed = [
        Answer::json(200, "Page", "The ads that fit.").with(&[VERSION, STALE, CLOCK]),
        invalid(),
        not_to_be_read(),
    ];
    /// To a read by id.
    Shown = [
        Answer::json(200, "AdAndStatus", "The ad.").with(&[VERSION, STALE, CLOCK, ETAG]),
        Answer::empty(304, "The client has it: If-None-Match names its ETag.")
            .with(&[VERSION, STALE, CLOCK, ETAG]),
        invalid(),
        Answer::problem(404, "There is no ad with this id.").with(&[VERSION, STALE, CLOCK]),
        Answer::problem(412, UNMET).with(&[VERSION, STALE, CLOCK]),
        not_to_be_read(),
    ];
    /// To a creation.
    Created = [
        [
            Answer::json(201, "WrittenAd", "The ad is written, and this replica serves it.").with(&[VERSION, ETAG, LOCATION, REPLAYED]),
            Answer::json(202, "WrittenAd", NOT_YET).with(&[VERSION, ETAG, LOCATION, REPLAYED]),
            Answer::problem(409, "There is an ad with this id already.").with(&[VERSION, REPLAYED]),
        ].into(),
        refused_body(AD_BODY_BYTES_MAX, "application/json"),
        refused_write(),
        vec![failed()],
    ].concat();
    /// To a replacement.
    Replaced = [changed(), refused_body(AD_BODY_BYTES_MAX, "application/json"), refused_write(), vec![failed()]].concat();
    /// To a patch.
    Patched = [
        changed(),
        refused_body(AD_BODY_BYTES_MAX, "application/merge-patch+json or application/json"),
        refused_write(),
        vec![failed()],
    ].concat();
    /// To a deletion.
    Deleted = [
        [
            Answer::json(200, "DeletedAd", "The ad is gone, and this replica no longer serves it.").with(&[VERSION, REPLAYED]),
            Answer::json(202, "DeletedAd", NOT_YET).with(&[VERSION, REPLAYED]),
        ].into(),
        absent(),
        refused_write(),
        vec![failed()],
    ].concat();
    /// To a batch.
    Batch = [
        [
            Answer::json(200, "BatchAnswer", "What became of each ad; this replica serves those that were created.").with(&[VERSION, REPLAYED]),
            Answer::json(202, "BatchAnswer", NOT_YET).with(&[VERSION, REPLAYED]),
        ].into(),
        refused_body(BATCH_BODY_BYTES_MAX, "application/json"),
        refused_write(),
    ].concat();
    /// To a question for the cluster.
    ClusterShown = [
        Answer::json(200, "Cluster", "What this replica knows.").with(&[VERSION]),
        invalid(),
        Answer::problem(503, "This replica has not heard of the journal yet.").with(&[RETRY_AFTER]),
    ];
    /// To a release of the brake.
    Released = [
        Answer::json(200, "Release", "The brake is off."),
        invalid(),
        unauthorised(),
        Answer::problem(403, "Anyone may write, and a browser asks for a page of another origin."),
        renamed(),
    ];
    /// To a question for life.
    Live = [Answer::json(200, "Live", "The process answers."), invalid()];
    /// To a question for readiness.
    Readiness = [
        Answer::json(200, "Readiness", "It may be sent clients.").with(&[VERSION, STALE, CLOCK]),
        invalid(),
        Answer::json(503, "Readiness", "It must not be sent clients.").with(&[VERSION, STALE, CLOCK]),
    ];
    /// To a balancer that takes 404 for "not now".
    ReadinessOr404 = [
        Answer::json(200, "Readiness", "It may be sent clients.").with(&[VERSION, STALE, CLOCK]),
        invalid(),
        Answer::json(404, "Readiness", "It must not be sent clients.").with(&[VERSION, STALE, CLOCK]),
    ];
    /// To Prometheus.
    Metrics = [
        Answer::page(
            "text/plain",
            json!({"type": "string", "description": "Prometheus text, version 0.0.4."}),
            "What is counted; docs/OPERATIONS.md lists it.",
        ),
        invalid(),
    ];
    /// To a question for the document.
    Document = [
        Answer::page(
            "application/json",
            json!({"type": "object", "description": "OpenAPI 3.1."}),
            "This document.",
        ),
        invalid(),
    ];
}

const NOT_YET: &str = "It is written, but not served yet: by this replica, or with ack=all by those that receipts name.";

const UNMET: &str = "The ad's version, or that there is no ad with this id, is not what If-Match and If-None-Match ask for.";

/// A header field that answers may have.
type Header = (&'static str, fn() -> Value);

const VERSION: Header = ("Placard-Version", || {
    version("The version that the answer depends on: it holds all that is in it.", 42)
});
const STALE: Header = ("Placard-Stale", || {
    let text = "Only if the answer may be older than the replica's lease: how old at most, in milliseconds. The largest \
                value if that is not known, because the replica has not had the journal's newest version since its start.";
    whole(0, STALE_MAX_MS, text, 2_500)
});
const CLOCK: Header = ("Placard-Clock", || {
    code(
        &["machine"],
        "Only if windows were judged by the replica's own clock, because the journal has not told its time since the \
         replica was started.",
        "machine",
    )
});
const ETAG: Header = ("ETag", || {
    let text = "The ad's version in quotes, for If-Match; with its status, once that is not the one at its creation.";
    json!({
        "type": "string", "pattern": "^\"[0-9]{1,20}(-(scheduled|active|ended))?\"$", "minLength": 3, "maxLength": 32,
        "description": text, "examples": ["\"42\""],
    })
});
const LOCATION: Header = ("Location", || {
    json!({
        "type": "string", "format": "uri-reference", "maxLength": 64, "description": "Where the ad is.",
        "examples": ["/api/v1/ad/6f9619ff-8b86-4d01-b42d-00c04fc964ff"],
    })
});
const REPLAYED: Header = ("Idempotency-Replayed", || {
    let text = "Only if the key was used before, and this is the answer of then. What it says may have changed since.";
    json!({"type": "string", "enum": ["true"], "description": text, "examples": ["true"]})
});
const ACCEPT_ENCODING: Header = ("Accept-Encoding", || {
    let text = "Only if the body has a Content-Encoding: that it must not have one.";
    json!({"type": "string", "enum": ["identity"], "description": text, "examples": ["identity"]})
});
const ACCEPT_PATCH: Header = ("Accept-Patch", || {
    let text = "Only to a patch of another type: the types that are taken.";
    json!({
        "type": "string", "maxLength": 255, "description": text,
        "examples": ["application/merge-patch+json, application/json"],
    })
});
const RETRY_AFTER: Header =
    ("Retry-After", || whole(0, 3_600, "When to try again, in seconds.", 1));
const AUTHENTICATE: Header = (
    "WWW-Authenticate",
    || json!({"type": "string", "maxLength": 255, "description": "How to say who asks.", "examples": ["Bearer"]}),
);

/// What every answer has.
const NAMED: Header = ("X-Request-Id", || {
    let text = "The request's own, if that is visible ASCII and not too long, else a UUID: the log names it too.";
    json!({
        "type": "string", "minLength": 1, "maxLength": REQUEST_ID_BYTES_MAX, "pattern": "^[!-~]+$",
        "description": text, "examples": ["6f9619ff-8b86-4d01-b42d-00c04fc964ff"],
    })
});

/// One status, and what comes with it.
#[derive(Clone)]
struct Answer {
    status: u16,
    media: &'static str,
    schema: Value,
    description: String,
    headers: Vec<Header>,
}

impl Answer {
    fn json(status: u16, shape: &str, description: impl Into<String>) -> Self {
        let (schema, description) = (reference(shape), description.into());
        Self { status, media: "application/json", schema, description, headers: Vec::new() }
    }

    /// An answer that shares its schema with no other.
    fn page(media: &'static str, schema: Value, description: &str) -> Self {
        Self { media, schema, ..Self::empty(200, description) }
    }

    fn empty(status: u16, description: impl Into<String>) -> Self {
        let description = description.into();
        Self { status, media: "", schema: Value::Null, description, headers: Vec::new() }
    }

    fn problem(status: u16, description: impl Into<String>) -> Self {
        Self { media: "application/problem+json", ..Self::json(status, "Problem", description) }
    }

    fn with(mut self, headers: &[Header]) -> Self {
        self.headers.extend(headers);
        self
    }

    fn finished(self) -> (String, RefOr<Response>) {
        let header = |(name, schema): &Header| {
            let mut schema = schema();
            let description = schema["description"].take();
            schema.as_object_mut().expect("a schema is an object").remove("description");
            ((*name).to_owned(), json!({"description": description, "schema": schema}))
        };
        let headers: Map<_, _> = self.headers.iter().chain([&NAMED]).map(header).collect();
        let mut response = json!({"description": self.description, "headers": headers});
        if !self.media.is_empty() {
            response["content"] = json!({self.media: {"schema": self.schema}});
        }
        let response =
            serde_json::from_value(response).expect("what is written here is a response");
        (self.status.to_string(), RefOr::T(response))
    }
}

fn invalid() -> Answer {
    Answer::problem(400, "The request breaks rules; errors names each.").with(&[VERSION])
}

fn not_to_be_read() -> Answer {
    let text = "This replica cannot answer now: it has no state yet, has not heard of the journal for too long, \
                or has not reached the version that is asked for.";
    Answer::problem(503, text).with(&[RETRY_AFTER, VERSION])
}

fn changed() -> Vec<Answer> {
    let done = [
        Answer::json(200, "WrittenAd", "The ad is changed, and this replica serves it.")
            .with(&[VERSION, ETAG, REPLAYED]),
        Answer::json(202, "WrittenAd", NOT_YET).with(&[VERSION, ETAG, REPLAYED]),
    ];
    [done.into(), absent()].concat()
}

fn absent() -> Vec<Answer> {
    vec![
        Answer::problem(404, "There is no ad with this id.").with(&[VERSION, REPLAYED]),
        Answer::problem(412, UNMET).with(&[VERSION, REPLAYED]),
    ]
}

fn refused_body(bytes_max: usize, media: &str) -> Vec<Answer> {
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

fn refused_write() -> Vec<Answer> {
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

fn unauthorised() -> Answer {
    Answer::problem(401, "The server wants a bearer token that it knows.").with(&[AUTHENTICATE])
}

fn renamed() -> Answer {
    Answer::problem(
        421,
        "Anyone on the server's machine may write, and a browser asks for a page at a name other than localhost.",
    )
}

fn failed() -> Answer {
    Answer::problem(500, "The journal refuses the write, whatever is tried; nothing was written.")
}
