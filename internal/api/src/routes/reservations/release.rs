//! Closes a reservation: its units are used, or available again.

use axum::body::Body;
use axum::response::Response;
use placard_model::capacity::Command;
use placard_model::limits::CAPACITY_MAX;
use serde_json::json;

use super::RESERVATION_PATH;
use crate::http::params::Id;
use crate::http::problem::Problem;
use crate::http::subject::Subject;
use crate::openapi::answers::{Answer, REPLAYED, VERSION, answers};
use crate::openapi::parameters::{self, groups, of};
use crate::openapi::schema::{whole, with_default};
use crate::routes::answers::{NOT_YET, failed, refused_write};
use crate::routes::outcome::{Gone, absent, one};
use crate::routes::write_request::WriteRequest;

groups! {
    /// How many of its units were used.
    Used = vec![of("query", "used", with_default(
        whole(0, CAPACITY_MAX, "How many of its units were used; the others are available again.", 0), 0,
    ))];
}

answers!(
    [
        [
            Answer::json::<Gone>(
                200,
                "The reservation is closed, now or before, and this replica knows it. No reservation with this id will be \
                 given for a day."
            )
            .with(&[VERSION, REPLAYED]),
            Answer::json::<Gone>(202, NOT_YET).with(&[VERSION, REPLAYED]),
            Answer::problem(
                409,
                "It was closed with another number of used units, or has lapsed and none can be used; the type says which.",
            )
            .with(&[VERSION, REPLAYED]),
        ]
        .into(),
        absent(Subject::Reservation),
        refused_write(),
        vec![failed()],
    ]
    .concat()
);

/// Closes a reservation.
///
/// By its id alone, on any replica, and as often as one likes. One that nobody has made yet cannot be made any more, so that
/// a release may overtake its reservation; only with used units such an id is answered with 404.
#[utoipa::path(
    delete,
    path = RESERVATION_PATH,
    operation_id = "deleteReservation",
    tag = "reservations",
    params(parameters::ReservationId, Used, parameters::Ack, parameters::IdempotencyKey, parameters::VersionConditions),
    responses(Answers),
    security(("bearer" = [])),
)]
pub(crate) async fn handle(
    write: WriteRequest,
    Id(hold): Id,
    body: Body,
) -> Result<Response, Problem> {
    write.without_body(&body)?;
    let (ack, used) = write.release()?;
    let only_if = write.conditions_by_version()?;
    let named = Some((Subject::Reservation, hold));
    let raw = used.to_string();
    let idempotency = write.idempotency(named, &only_if, raw.as_bytes(), || json!(used))?;
    let command = write.of_capacity(Command::Close { hold, only_if, used });
    let done = one(&write, ack, idempotency, Subject::Reservation, command).await;
    done.map_err(|problem| problem.in_query("used"))
}
