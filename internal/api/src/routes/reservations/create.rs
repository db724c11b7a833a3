//! Reserves units of a pool.

use axum::body::Body;
use axum::response::Response;
use placard_model::capacity::Command;
use placard_model::command::Conditions;
use placard_model::{Fields, limits};

use super::RESERVATIONS_PATH;
use super::reservation::{WrittenReservation, amount, expires_in};
use crate::http::headers::Unconditional;
use crate::http::problem::Problem;
use crate::http::subject::Subject;
use crate::openapi::answers::{Answer, LOCATION, REPLAYED, VERSION, VERSION_ETAG, answers};
use crate::openapi::parameters;
use crate::openapi::schema::{closed, id, nullable, object};
use crate::openapi::shape::shape;
use crate::routes::answers::{NOT_YET, failed, refused_body, refused_write};
use crate::routes::outcome::one;
use crate::routes::write_request::{JSON, WriteRequest, new_id};

/// A request for units, as [`Fields`] reads it.
#[derive(Debug)]
pub(super) struct NewReservation;

shape! {
    /// A request for units of a pool. All of them are given, or none.
    NewReservation as "ReservationCreation" = |_| closed(object(&["id", "expires_in"], vec![
        ("id", nullable(id("Chosen by the client, or drawn by the server if it is left out. A request with the id, the pool and the amount of a reservation that is there is answered with it."))),
        ("pool", id("The pool's id.")),
        ("amount", amount()),
        ("expires_in", nullable(expires_in("For how many seconds; if it is left out it is confirmed, and does not lapse."))),
    ]))
}

answers!(
    [
        [
            Answer::json::<WrittenReservation>(
                200,
                "There is such a reservation with this id already."
            )
            .with(&[VERSION, VERSION_ETAG, REPLAYED]),
            Answer::json::<WrittenReservation>(
                201,
                "The units are reserved, and this replica knows it."
            )
            .with(&[VERSION, VERSION_ETAG, LOCATION, REPLAYED]),
            Answer::json::<WrittenReservation>(202, NOT_YET).with(&[
                VERSION, VERSION_ETAG, LOCATION, REPLAYED
            ]),
            Answer::problem(404, "There is no pool with this id.").with(&[VERSION, REPLAYED]),
            Answer::problem(
                409,
                "The pool has fewer units than that (capacity-exhausted, with how many are available), is paused or has \
                 ended, or the id is that of another reservation or of a closed one; the type says which. Want of capacity \
                 is not kept under an Idempotency-Key.",
            )
            .with(&[VERSION, REPLAYED]),
        ]
        .into(),
        refused_body(limits::POOL_BODY_BYTES_MAX, "application/json"),
        refused_write(),
        vec![failed()],
    ]
    .concat()
);

/// Reserves units of a pool.
///
/// No unit is reserved twice, whichever replicas are asked. A reservation lapses after `expires_in` seconds, unless it is
/// confirmed or renewed before. A client that may not learn the answer chooses the id: a request with the same id finds what
/// was made, and a release of the id frees it, even if it is made later.
#[utoipa::path(
    post,
    path = RESERVATIONS_PATH,
    operation_id = "createReservation",
    tag = "reservations",
    params(parameters::Ack, parameters::IdempotencyKey),
    request_body(content = NewReservation, content_type = "application/json"),
    responses(Answers),
    security(("bearer" = [])),
)]
pub(crate) async fn handle(
    write: WriteRequest,
    _: Unconditional,
    body: Body,
) -> Result<Response, Problem> {
    let (ack, raw) = write.read_json(body, JSON, limits::POOL_BODY_BYTES_MAX).await?;
    let fields = Fields::from_json(&raw).and_then(Fields::into_reservation);
    let asked = fields.map_err(Problem::invalid)?;
    let none = Conditions::default();
    let idempotency = write.idempotency(None, &none, &raw, || asked.to_json())?;
    let hold = asked.id.unwrap_or_else(new_id);
    let (pool, amount, expires_in) = (asked.pool, asked.amount, asked.expires_in);
    let command = write.of_capacity(Command::Reserve { hold, pool, amount, expires_in });
    one(&write, ack, idempotency, Subject::Reservation, command).await
}
