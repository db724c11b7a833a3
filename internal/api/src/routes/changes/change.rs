//! The shapes of an entry of the log, for the document. The model writes the entries themselves.

use placard_model::capacity::CloseReason;
use placard_model::entry::{self, Reason};
use placard_model::limits::{BATCH_ITEMS_MAX, TOKEN_NAME_BYTES_MAX};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::openapi::schema::{code, id, nullable, object, or_null, stamp, text, version, whole};
use crate::openapi::shape::{Shapes, shape};
use crate::routes::ads::Ad;
use crate::routes::pools::LeftPool;
use crate::routes::reservations::hold_fields;

/// Most items of a list in an entry: no entry of its size has as many.
const ITEMS_MAX: usize = 10_000;

/// An entry, as [`placard_model::event`] writes it.
#[derive(Debug)]
pub(super) struct Change;

shape! {
    /// An entry of the log: what it did, and the state that it has left. `ad` is there if it put or deleted one, and `pool`
    /// likewise. `given`, `closed` and `counted` are there if it moved units of pools.
    Change as "Change" = |shapes| object(&["ad", "pool", "given", "closed", "counted"], vec![
        ("id", json!({
            "type": "string", "minLength": 66, "maxLength": 84, "pattern": "^[1-9][0-9]{0,18}-[0-9a-f]{64}$",
            "description": "What `after` takes to go on behind this entry, on any replica.",
            "examples": [format!("42-{}", "18674ef6".repeat(8))],
        })),
        ("version", version("The entry's version. Versions have no gaps.", 42)),
        ("at", stamp("When it was decided, by the journal's clock.")),
        ("request", id("The request that it answers.")),
        ("item", whole(0, BATCH_ITEMS_MAX as u64, "Which of the request's commands it answers, from 0.", 0)),
        ("principal", text(0, TOKEN_NAME_BYTES_MAX, "Who asked: the name of the token; empty if nobody in particular.", "ann")),
        ("reason", code(
            &Reason::ALL.map(Reason::code),
            "Why: a client asked for it, an ad or a reservation had ended, or a replica asked for it.",
            "client",
        )),
        ("change", code(&entry::Change::KINDS, "What it did.", "moves")),
        ("ad", id("The ad that it put or deleted.")),
        ("pool", id("The pool that it put or deleted.")),
        ("given", items::<Hold>(shapes, "Reservations and allotments that were given or changed, as they are now.")),
        ("closed", items::<ClosedHold>(shapes, "Reservations and allotments that are gone.")),
        ("counted", items::<AdCounts>(shapes, "What a replica has counted of ads.")),
        ("after", shapes.reference::<Left>()),
    ])
}

/// A list of a type.
fn items<T: ToSchema>(shapes: &mut Shapes, description: &str) -> Value {
    json!({
        "type": "array", "maxItems": ITEMS_MAX, "items": shapes.reference::<T>(),
        "description": description, "examples": [[shapes.example::<T>()]],
    })
}

/// The state that an entry has left.
#[derive(Debug)]
struct Left;

shape! {
    /// The state that an entry has left: the ad or the pool, null if it is gone, or the balances of the pools.
    Left as "ChangeAfter" = |shapes| {
        let mut schema = object(&["ad", "pool", "balances"], vec![
            ("ad", gone_or::<Ad>(shapes, "The ad as it is.")),
            ("pool", gone_or::<LeftPool>(shapes, "The pool as it is.")),
            ("balances", items::<PoolBalance>(shapes, "The balance of each pool that was touched.")),
        ]);
        schema["examples"] = json!([{ "balances": [shapes.example::<PoolBalance>()] }]);
        schema
    }
}

/// A type, or null.
fn gone_or<T: ToSchema>(shapes: &mut Shapes, description: &str) -> Value {
    json!({
        "oneOf": [shapes.reference::<T>(), { "type": "null" }],
        "description": description, "examples": [shapes.example::<T>()],
    })
}

/// A hold.
#[derive(Debug)]
struct Hold;

shape! {
    /// A part of a pool: a client's reservation, or a replica's allotment.
    Hold as "Hold" = |_| object(&[], [hold_fields(), vec![
        ("owner", nullable(id("The run of a replica that holds it; null for a reservation."))),
    ]].concat())
}

/// A hold that is gone.
#[derive(Debug)]
struct ClosedHold;

shape! {
    /// A reservation or an allotment that is gone, or the id of a reservation that was released before it was made.
    ClosedHold as "ClosedHold" = |_| object(&[], vec![
        ("hold", id("Its id.")),
        ("used", units("How many of its units were used.", 2)),
        ("lost", units("How many of its units may have been used by a replica that was lost.", 0)),
        ("reason", code(
            &CloseReason::ALL.map(CloseReason::code),
            "Why: its holder closed it, it lapsed, its replica is gone, its replica had used more than the journal knew, or \
             its id is not kept any longer.",
            "closed",
        )),
        ("until", or_null(stamp("Until when its id is kept, so that it is not given again; null if it is not."))),
    ])
}

/// What was counted of an ad.
#[derive(Debug)]
struct AdCounts;

shape! {
    /// What a replica has counted of an ad since its last report.
    AdCounts as "AdCounts" = |_| object(&[], vec![
        ("ad", id("The ad's id.")),
        ("decisions", units("How often it was decided to show it.", 120)),
        ("impressions", units("How often it was seen.", 100)),
        ("clicks", units("How often it was clicked.", 3)),
    ])
}

/// A pool's balance.
#[derive(Debug)]
struct PoolBalance;

shape! {
    /// How much of a pool is out, by what has become of it.
    PoolBalance as "PoolBalance" = |_| object(&[], vec![
        ("pool", id("The pool's id.")),
        ("reserved", units("Units that clients hold.", 3)),
        ("allotted", units("Units that replicas hold.", 0)),
        ("used", units("Units that were used.", 4)),
        ("lost", units("Units that a replica held when it was lost.", 0)),
    ])
}

fn units(description: &str, example: u64) -> Value {
    whole(0, i64::MAX as u64, description, example)
}
