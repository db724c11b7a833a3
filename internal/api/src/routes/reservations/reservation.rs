//! The shapes of a reservation, for the document. The model writes and reads the reservations themselves.

use placard_model::limits::{CAPACITY_MAX, EXPIRES_IN_MAX, EXPIRES_IN_MIN};
use serde_json::Value;

use crate::openapi::schema::{id, object, or_null, shared, stamp, version, whole};
use crate::openapi::shape::shape;
use crate::routes::receipts::ReceiptsBody;

/// A reservation, as [`ReservationBody`](placard_model::capacity::ReservationBody) writes it.
#[derive(Debug)]
pub(super) struct Reservation;

shape! {
    /// A reservation as it is.
    Reservation as "Reservation" = |_| object(&[], [shown_fields(), vec![status()]].concat())
}

/// A reservation after a write.
#[derive(Debug)]
pub(super) struct WrittenReservation;

shape! {
    /// A reservation as a write has left it.
    WrittenReservation as "WrittenReservation" = |shapes| object(
        &["receipts"],
        [shown_fields(), vec![("receipts", shapes.reference::<ReceiptsBody>())]].concat(),
    )
}

/// Returns the status, which a client reads and cannot set.
pub(super) fn status() -> (&'static str, Value) {
    (
        "status",
        shared(
            "ReservationStatus",
            "What is true of it, by the clock of the replica that answers.",
            "held",
        ),
    )
}

/// What is shown of a reservation after a write.
pub(crate) fn shown_fields() -> Vec<(&'static str, Value)> {
    vec![
        ("id", id("The reservation's id.")),
        ("version", version("The entry that last changed it.", 42)),
        ("created_at", stamp("When it was given, by the journal's clock.")),
        ("pool", id("The pool's id.")),
        ("amount", amount()),
        ("expires_at", or_null(stamp("When it lapses; null if it is confirmed."))),
    ]
}

pub(super) fn amount() -> Value {
    whole(1, CAPACITY_MAX, "How many units.", 2)
}

/// For how long a reservation is given.
pub(super) fn expires_in(description: &str) -> Value {
    whole(EXPIRES_IN_MIN, EXPIRES_IN_MAX, description, 900)
}
