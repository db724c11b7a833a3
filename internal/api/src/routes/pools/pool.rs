//! The shapes of a pool, for the document. The model writes and reads the pools themselves, which does not know the document.

use placard_model::limits::{CAPACITY_MAX, POOL_NAME_CHARS_MAX, POOL_NAME_CHARS_MIN};
use serde_json::{Value, json};

use crate::openapi::conditions::{self, OPEN};
use crate::openapi::schema::{id, later, object, or_null, shared, stamp, version, whole};
use crate::openapi::shape::shape;
use crate::routes::receipts::ReceiptsBody;

/// A pool, as [`PoolBody`](placard_model::capacity::PoolBody) writes it.
#[derive(Debug)]
pub(super) struct Pool;

shape! {
    /// A pool as it is. Units are whole; `reserved`, `allotted`, `used`, `lost` and `available` add up to `capacity`, unless
    /// that was lowered below what is out.
    Pool as "Pool" = |_| object(&optional(&[]), [shown_fields(), seen_fields()].concat())
}

/// A pool after a write.
#[derive(Debug)]
pub(super) struct WrittenPool;

shape! {
    /// A pool as a write has left it.
    WrittenPool as "WrittenPool" = |shapes| object(
        &optional(&["receipts"]),
        [shown_fields(), vec![("receipts", shapes.reference::<ReceiptsBody>())]].concat(),
    )
}

/// A pool, as an entry of the log has left it.
#[derive(Debug)]
pub(crate) struct LeftPool;

shape! {
    /// A pool as an entry has left it.
    LeftPool as "LeftPool" = |_| object(&optional(&[]), shown_fields())
}

/// The fields that an answer may leave out, and these.
fn optional(more: &[&'static str]) -> Vec<&'static str> {
    [&["start_at", "end_at"], more, &OPEN[..]].concat()
}

/// What is shown of a pool after a write.
fn shown_fields() -> Vec<(&'static str, Value)> {
    let own = vec![
        ("id", id("The pool's id.")),
        (
            "version",
            version(
                "The entry in which a client last changed the pool. Holds do not change it.",
                42,
            ),
        ),
        ("created_at", stamp("When the pool was created, by the journal's clock.")),
    ];
    [own, spec_fields(false), balance_fields()].concat()
}

fn balance_fields() -> Vec<(&'static str, Value)> {
    let units = |text, example| whole(0, i64::MAX as u64, text, example);
    vec![
        ("reserved", units("Units that clients hold.", 3)),
        ("allotted", units("Units that replicas hold.", 0)),
        ("used", units("Units that were used.", 4)),
        (
            "lost",
            units(
                "Units that a replica held when it was lost. It may have used them; nobody is billed for them.",
                0,
            ),
        ),
        (
            "available",
            units(
                "Units that are not out. They can be reserved unless the pool is paused or has ended.",
                93,
            ),
        ),
    ]
}

/// What is shown of a pool beside that when it is read.
fn seen_fields() -> Vec<(&'static str, Value)> {
    let lapsed = "Units of reservations that have lapsed and are not closed yet. They are available, and not among the reserved.";
    vec![
        ("lapsed", whole(0, CAPACITY_MAX, lapsed, 0)),
        ("status", shared("PoolStatus", "What is true of the pool.", "active")),
        ("as_of", stamp("When this was true, by the clock of the replica that answers.")),
    ]
}

/// What a client reads of a pool and cannot set.
pub(super) const READ_ONLY: [&str; 11] = [
    "id",
    "version",
    "created_at",
    "reserved",
    "allotted",
    "used",
    "lost",
    "available",
    "lapsed",
    "status",
    "as_of",
];

/// Returns those fields, in a body.
pub(super) fn read_only_fields() -> Vec<(&'static str, Value)> {
    let own = vec![
        ("id", id("The pool's id.")),
        ("version", version("Its version.", 42)),
        ("created_at", stamp("When the pool was created.")),
    ];
    [own, balance_fields(), seen_fields()].concat()
}

/// What a client can set; `taken` says that it is about to.
pub(super) fn spec_fields(taken: bool) -> Vec<(&'static str, Value)> {
    let open = |schema| if taken { or_null(schema) } else { schema };
    let own = vec![
        (
            "name",
            json!({
                "type": "string", "minLength": POOL_NAME_CHARS_MIN, "maxLength": POOL_NAME_CHARS_MAX,
                "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f\\u2028-\\u202e]*$",
                "description": "One line, in Unicode scalars, not all of them white space.", "examples": ["Saturday, 10 to 12"],
            }),
        ),
        ("capacity", whole(0, CAPACITY_MAX, "How many units there are.", 100)),
        ("start_at", open(stamp("From when replicas use it; clients may reserve before."))),
        (
            "end_at",
            open(later(stamp(
                "Until when anything is given from it, not included; after start_at.",
            ))),
        ),
        (
            "pacing",
            open(shared(
                "Pacing",
                "How replicas use it; evenly only with start_at and end_at.",
                "asap",
            )),
        ),
        (
            "paused",
            json!({
                "type": if taken { json!(["boolean", "null"]) } else { json!("boolean") },
                "description": "Whether nothing is given from it for now.", "examples": [false],
            }),
        ),
    ];
    [own, conditions::fields(taken)].concat()
}
