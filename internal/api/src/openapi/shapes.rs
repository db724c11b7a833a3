//! The shapes of what is sent and answered, for the document only: handlers read and write their own types. The
//! bounds are the constants that the checks use, which is why these are values rather than derived: the attributes
//! of a derive take nothing but literals.

use placard_model::UNKNOWN;
use placard_model::limits::{
    BATCH_ITEMS_MAX, CONTENT_CHARS_MAX, CONTENT_CHARS_MIN, IDEMPOTENCY_KEPT, MEMBERS_SHOWN_MAX,
    PAGE_ADS_MAX, TITLE_CHARS_MAX, TITLE_CHARS_MIN, TOLD_BYTES_MAX, VERSION_MAX, VIOLATIONS_MAX,
};
use serde_json::{Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::conditions::{self, OPEN};
use super::schema::{
    APART_MS_MAX, address, closed, code, hex, id, later, nullable, object, reference, shared,
    signed, stamp, text, version, whole, with_default,
};

/// Longest name that a broken rule tells: one that was cut ends with an ellipsis.
const NAME_CHARS_MAX: usize = TOLD_BYTES_MAX + 1;
/// Longest pointer: a name in which every character is escaped, after its slash.
const POINTER_CHARS_MAX: usize = 1 + 2 * TOLD_BYTES_MAX + 1;

/// Names a schema of the document, and says what it is.
macro_rules! shapes {
    ($($(#[doc = $doc:literal])+ $name:ident = $schema:expr;)+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug)]
            pub(crate) struct $name;

            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    let mut schema = shape(stringify!($name));
                    schema["description"] = concat!($($doc),+).trim().into();
                    schema["examples"] = json!([example(&schema)]);
                    serde_json::from_value(schema).expect("what is written here is a schema")
                }
            }

            impl ToSchema for $name {}
        )+

        /// The schema of this name, without what it is.
        fn shape(name: &str) -> Value {
            match name {
                $(stringify!($name) => $schema,)+
                other => conditions::codes().remove(other).expect("there is a schema of each name"),
            }
        }
    };
}

shapes! {
    /// What a query says of a visitor in a dimension that is not known: only ads that leave it open fit.
    Unknown = code(&[UNKNOWN], "", UNKNOWN);
    /// A position of the log: that of an entry, from 1, or 0 before the first.
    Version = whole(0, VERSION_MAX, "", 42);
    /// An instant, by RFC 3339. Answers have it in UTC, with at most six digits of a second. A request may have nine, of
    /// which six are kept, and may write it like `2006-01-02 15:04:05 +0800 CST`.
    Stamp = json!({"type": "string", "format": "date-time", "maxLength": 64, "examples": ["2026-01-02T07:04:05Z"]});
    /// Where an ad's window stands: the time is before it, in it, or after it.
    Status = code(&["scheduled", "active", "ended"], "", "active");
    /// When a write is answered: once the replica that takes it serves it, or once every registered replica does.
    Ack = with_default(code(&["applied", "all"], "", "applied"), "applied");
    /// An ad as it is served. A condition that is left open is absent.
    Ad = object(&OPEN, shown_fields());
    /// An ad, and where its window stands by the clock of the replica that answers.
    AdAndStatus = object(&OPEN, [shown_fields(), vec![("status", shared("Status", "Where its window stands.", "active"))]].concat());
    /// An ad as a write has left it.
    WrittenAd = object(&[&["receipts"], &OPEN[..]].concat(), [shown_fields(), vec![("receipts", reference("Receipts"))]].concat());
    /// What is left of an ad that was deleted.
    DeletedAd = object(&["receipts"], vec![
        ("id", id("The ad's id.")),
        ("version", version("The entry that deleted it.", 42)),
        ("receipts", reference("Receipts")),
    ]);
    /// A new ad.
    Creation = closed(object(
        &[&["id"], &OPEN[..]].concat(),
        [vec![("id", nullable(id("Chosen by the client, or drawn by the server if it is left out.")))], spec_fields(true)].concat(),
    ));
    /// What an ad becomes, wholly: a condition that is left out is opened. The read-only fields may stay in what was read:
    /// they are refused if they are not so.
    Replacement = shown_as(
        closed(object(&[&READ_ONLY[..], &OPEN[..]].concat(), [read_only_fields(), spec_fields(true)].concat())),
        example(&object(&[], spec_fields(true))),
    );
    /// A JSON merge patch (RFC 7396): a field that is left out stays, and a condition that is null is opened. The read-only
    /// fields may stay in what was read: they are refused if they are not so.
    Patch = shown_as(
        closed(object(
            &[&READ_ONLY[..], &["title", "content", "start_at", "end_at"], &OPEN[..]].concat(),
            [read_only_fields(), spec_fields(true)].concat(),
        )),
        json!({"title": "Winter sale", "country": null}),
    );
    /// Ads to create. Each is decided by itself; a member that breaks a rule is refused alone.
    BatchRequest = json!({
        "type": "array", "minItems": 1, "maxItems": BATCH_ITEMS_MAX, "items": reference("Creation"),
    });
    /// A page of the ads that fit, in the order of their ends, then ids.
    Page = object(&[], vec![
        ("ads", json!({
            "type": "array", "maxItems": PAGE_ADS_MAX, "items": reference("Ad"),
            "description": "The ads of this page.", "examples": [[example(&reference("Ad"))]],
        })),
        ("total", whole(0, i64::MAX as u64, "How many ads fit, whatever the page.", 37)),
    ]);
    /// What became of each ad of a batch.
    BatchAnswer = object(&["receipts"], vec![
        ("created", whole(0, BATCH_ITEMS_MAX as u64, "How many ads were created.", 1)),
        ("failed", whole(0, BATCH_ITEMS_MAX as u64, "How many were not.", 1)),
        ("items", json!({
            "type": "array", "minItems": 1, "maxItems": BATCH_ITEMS_MAX,
            "description": "What became of each, in the order of the request.",
            "items": {"oneOf": [reference("BatchItemCreated"), reference("BatchItemFailed")]},
            "examples": [[example(&reference("BatchItemCreated")), example(&reference("BatchItemFailed"))]],
        })),
        ("receipts", reference("Receipts")),
    ]);
    /// An ad of a batch that was created.
    BatchItemCreated = object(&[], vec![
        ("status", whole(201, 201, "The HTTP status that the creation alone would have had.", 201)),
        ("id", id("The ad's id.")),
        ("version", version("The entry that created it.", 42)),
    ]);
    /// An ad of a batch that was not created.
    BatchItemFailed = object(&[], vec![
        ("status", whole(400, 599, "The HTTP status that the creation alone would have had.", 400)),
        ("error", reference("Problem")),
    ]);
    /// With ack=all: which replicas have published the write.
    Receipts = object(&[], vec![
        ("confirmed", receipts("Replicas that serve it.")),
        ("unconfirmed", receipts(
            "Replicas that did not say so in time; if there are any, and only then, the status is 202. All, if the one \
             that answers did not serve the write in time.",
        )),
    ]);
    /// How far one replica is.
    Receipt = object(&[], vec![
        ("replica", id("The replica's id.")),
        ("address", address()),
        ("version", version("The newest version that it is known to have published.", 42)),
    ]);
    /// What went wrong (RFC 9457).
    Problem = object(&["errors", "version"], vec![
        ("type", json!({
            "type": "string", "format": "uri-reference", "pattern": "^/problems/[a-z-]+$", "maxLength": 64,
            "description": "What a program may compare.", "examples": ["/problems/invalid-request"],
        })),
        ("title", text(1, 64, "The status in words.", "Bad Request")),
        ("status", whole(400, 599, "The HTTP status.", 400)),
        ("detail", text(1, 10_000, "What is wrong, for people.", "age: must be a whole number from 1 to 100, or unknown")),
        ("errors", json!({
            "type": "array", "minItems": 1, "maxItems": VIOLATIONS_MAX, "items": reference("ProblemError"),
            "description": "Every rule that the request breaks, or the first of them.",
            "examples": [[example(&reference("ProblemError"))]],
        })),
        ("version", version("The version that the answer depends on, if it does.", 42)),
    ]);
    /// A rule that is broken, and where: one of pointer, parameter and header.
    ProblemError = shown_as(
        object(&["pointer", "parameter", "header"], vec![
            ("pointer", text(0, POINTER_CHARS_MAX, "A JSON pointer (RFC 6901) into the body; empty for all of it.", "/title")),
            ("parameter", text(0, NAME_CHARS_MAX, "A parameter of the query or the path.", "age")),
            ("header", text(1, NAME_CHARS_MAX, "A header field.", "idempotency-key")),
            ("detail", text(1, 10_000, "The rule.", "must be a whole number from 1 to 100, or unknown")),
        ]),
        json!({"parameter": "age", "detail": "must be a whole number from 1 to 100, or unknown"}),
    );
    /// What one replica knows of the cluster.
    Cluster = object(&[], vec![
        ("replica", id("The replica that answers.")),
        ("now", stamp("The journal's clock at the replica's last head poll.")),
        ("head", reference("Position")),
        ("stream", reference("Stream")),
        ("members", json!({
            "type": "array", "maxItems": MEMBERS_SHOWN_MAX, "items": reference("Member"),
            "description": "Every replica that is registered, or the first of them.",
            "examples": [[example(&reference("Member"))]],
        })),
        ("expiry", reference("Expiry")),
    ]);
    /// A point of the log.
    Position = object(&[], vec![
        ("version", version("The newest entry; 0 if there is none.", 42)),
        ("chain", hex(64, "SHA-256 over the log up to there.")),
        ("digest", hex(32, "A sum over the ads there.")),
    ]);
    /// What carries entries from replica to replica.
    Stream = shown_as(object(&["fault"], vec![
        ("top", nullable(whole(1, VERSION_MAX, "The newest version that it ever held; null if it held none.", 42))),
        ("entries", whole(0, i64::MAX as u64, "How many entries it holds.", 42)),
        ("fault", fault()),
    ]), json!({"top": 42, "entries": 42}));
    /// A replica.
    Member = object(&[], vec![
        ("replica", id("Its id.")),
        ("address", address()),
        ("build", text(1, 255, "The version of its program.", "0.1.0")),
        ("format_level", whole(0, u64::from(u8::MAX), "The newest format of entries that it reads.", 1)),
        (
            "state",
            text(
                1,
                64,
                "What it is doing; `missing` if its row in the register is gone, though it has not left: it may answer \
                 still.",
                "ready",
            ),
        ),
        ("published", reference("Position")),
        ("lag_entries", whole(0, i64::MAX as u64, "Entries that the head is ahead of it.", 0)),
        ("lag_ms", signed("For how long the head has been ahead of it, in milliseconds; at least a minute is told.", 0)),
        ("lease_ms", signed("What is left of its lease now, in milliseconds; negative if it has ended.", 1933)),
        ("silent_ms", signed("For how long it has not been heard of, in milliseconds: its state is what it said then. It grows while the journal is away.", 67)),
        ("clock_ahead_ms", json!({
            "type": "number", "format": "double", "minimum": -APART_MS_MAX, "maximum": APART_MS_MAX,
            "description": "How far its clock was ahead of the journal's, in milliseconds.",
            "examples": [-0.4],
        })),
        ("tails", code(&["journal", "stream"], "Where it takes its entries from.", "stream")),
    ]);
    /// Whether the replica that answers deletes what has ended.
    Expiry = shown_as(object(&["brake"], vec![
        ("state", code(
            &["running", "braked", "clock-off"],
            "Deletes; does not since the journal's clock has jumped; does not since its own clock is off.",
            "running",
        )),
        ("brake", reference("Brake")),
        ("deleted", whole(0, i64::MAX as u64, "Delete entries that it has brought about since it started.", 3)),
    ]), json!({"state": "running", "deleted": 3}));
    /// Why nothing is deleted.
    Brake = object(&[], vec![
        ("jump_ms", signed("By how much the journal's clock has jumped, in milliseconds.", 86_400_000)),
        ("since", stamp("The journal's clock when that was noticed.")),
    ]);
    /// What came of a release.
    Release = object(&[], vec![
        ("released", json!({"type": "boolean", "description": "Whether the brake was on.", "examples": [true]})),
        ("expiry", reference("Expiry")),
    ]);
    /// The process answers.
    Live = object(&[], vec![("status", code(&["live"], "Always the same.", "live"))]);
    /// Whether the replica may be sent clients.
    Readiness = shown_as(object(&["stream_fault"], vec![
        ("status", code(
            &["ready", "stale", "behind", "draining", "restoring", "quarantined", "catching up", "read only", "empty journal"],
            "What it is doing. A stale one does not hear of the journal, one that is behind does not have yet what it was \
             told; both are ready until their answers are too old to be given. A read-only one has no connection to \
             commit with, and is ready if it had one since it started. One whose journal is empty, and was not before, \
             answers from what it has.",
            "ready",
        )),
        ("version", version("The version that it has published.", 42)),
        ("stream_fault", fault()),
    ]), json!({"status": "ready", "version": 42}));
}

fn fault() -> Value {
    text(
        1,
        10_000,
        "Why the replica does not use the stream, and takes its entries from the journal instead; absent while it does.",
        "cannot connect: Connection refused (os error 111)",
    )
}

/// What a client is shown of an ad and cannot set.
const READ_ONLY: [&str; 4] = ["id", "version", "created_at", "status"];

fn read_only_fields() -> Vec<(&'static str, Value)> {
    vec![
        ("id", id("The ad's id.")),
        ("version", version("Its version.", 42)),
        ("created_at", stamp("When the ad was created.")),
        ("status", shared("Status", "Where the ad's window stands.", "active")),
    ]
}

fn shown_fields() -> Vec<(&'static str, Value)> {
    let own = vec![
        ("id", id("The ad's id.")),
        ("version", version("The entry that last changed the ad.", 42)),
        ("created_at", stamp("When the ad was created, by the journal's clock.")),
    ];
    [own, spec_fields(false)].concat()
}

/// What a client can set; `taken` says that it is about to.
fn spec_fields(taken: bool) -> Vec<(&'static str, Value)> {
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

/// A value that fits the schema, put together from the examples of its parts.
fn example(schema: &Value) -> Value {
    if let Some(example) = schema["examples"].get(0) {
        return example.clone();
    }
    if let Some(name) = schema["$ref"].as_str() {
        return example(&shape(name.rsplit('/').next().unwrap_or_default()));
    }
    match schema["properties"].as_object() {
        Some(parts) => parts.iter().map(|(name, part)| (name.clone(), example(part))).collect(),
        None => json!([example(&schema["items"])]),
    }
}

/// The schema whose parts' examples make no sense together.
fn shown_as(mut schema: Value, example: Value) -> Value {
    schema["examples"] = json!([example]);
    schema
}

fn receipts(description: &str) -> Value {
    json!({
        "type": "array", "maxItems": MEMBERS_SHOWN_MAX, "items": reference("Receipt"),
        "description": description, "examples": [[example(&reference("Receipt"))]],
    })
}

/// How long an answer is kept for its key, in hours.
pub(crate) const KEY_KEPT_HOURS: u64 = IDEMPOTENCY_KEPT.as_secs() / 3_600;
