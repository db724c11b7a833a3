//! Changes a reservation: shrinks, grows, confirms or renews it.

use axum::body::Body;
use axum::response::Response;
use placard_model::capacity::Command;
use placard_model::{Fields, limits};
use serde_json::json;

use super::RESERVATION_PATH;
use super::reservation::{WrittenReservation, amount, expires_in, shown_fields, status};
use crate::http::params::Id;
use crate::http::problem::Problem;
use crate::http::subject::Subject;
use crate::openapi::answers::{Answer, REPLAYED, VERSION, answers};
use crate::openapi::parameters;
use crate::openapi::schema::{closed, nullable, object, shown_as};
use crate::openapi::shape::shape;
use crate::routes::answers::{failed, refused_body, refused_write};
use crate::routes::outcome::{changed, one};
use crate::routes::write_request::{MERGE_PATCH, WriteRequest};

/// A change of a reservation, as [`Fields`] reads it.
#[derive(Debug)]
pub(super) struct Change;

shape! {
    /// A JSON merge patch (RFC 7396): another `amount`, `expires_at` as null to confirm it, or `expires_in` to renew it from now
    /// on. The id, the version, the time of creation and the pool may stay in what was read,
    /// and are refused if they are not so. Nothing is made of the status.
    Change as "ReservationPatch" = |_| shown_as(
        closed(object(
            &["id", "version", "created_at", "pool", "amount", "expires_at", "expires_in", "status"],
            shown_fields()
                .into_iter()
                .filter(|(name, _)| *name != "amount")
                .chain([
                    ("amount", nullable(amount())),
                    ("expires_in", nullable(expires_in("For how many seconds from now on."))),
                    status(),
                ])
                .collect(),
        )),
        json!({"expires_at": null}),
    )
}

answers!(
    [
        changed::<WrittenReservation>(Subject::Reservation),
        vec![
            Answer::problem(
                409,
                "The pool has fewer units than that (capacity-exhausted, with how many are available), or is paused or has \
                 ended and gives no more; or the reservation is closed, or has lapsed. The type says which. Want of capacity is \
                 not kept under an Idempotency-Key.",
            )
            .with(&[VERSION, REPLAYED])
        ],
        refused_body(
            limits::POOL_BODY_BYTES_MAX,
            "application/merge-patch+json or application/json"
        ),
        refused_write(),
        vec![failed()],
    ]
    .concat()
);

/// Changes a reservation: shrinks, grows, confirms or renews it.
///
/// By its id alone, on any replica. More units are given only if the pool has them.
#[utoipa::path(
    patch,
    path = RESERVATION_PATH,
    operation_id = "patchReservation",
    tag = "reservations",
    params(parameters::ReservationId, parameters::Ack, parameters::IdempotencyKey, parameters::VersionConditions),
    request_body(content((Change = "application/merge-patch+json"), (Change = "application/json"))),
    responses(Answers),
    security(("bearer" = [])),
)]
pub(crate) async fn handle(
    write: WriteRequest,
    Id(hold): Id,
    body: Body,
) -> Result<Response, Problem> {
    let only_if = write.conditions_by_version()?;
    let (ack, raw) = write.read_json(body, MERGE_PATCH, limits::POOL_BODY_BYTES_MAX).await?;
    let fields = Fields::from_json(&raw).and_then(Fields::into_reservation_change);
    let change = fields.map_err(Problem::invalid)?;
    let named = Some((Subject::Reservation, hold));
    let idempotency = write.idempotency(named, &only_if, &raw, || change.to_json())?;
    let (said, amount, expires) = (change.said, change.amount, change.expires);
    let command = write.of_capacity(Command::Change { hold, only_if, said, amount, expires });
    one(&write, ack, idempotency, Subject::Reservation, command).await
}
