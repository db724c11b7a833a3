//! One reservation by its id.

use axum::response::Response;
use placard_model::capacity::ReservationBody;

use super::RESERVATION_PATH;
use super::reservation::Reservation;
use crate::http::params::Id;
use crate::http::problem::Problem;
use crate::http::subject::Subject;
use crate::openapi::answers::{
    Answer, CLOCK, STALE, VERSION, answers, invalid, renamed, unauthorised,
};
use crate::openapi::parameters;
use crate::routes::answers::not_to_be_read;
use crate::routes::books_read::{BooksRead, Times, json};

answers!([
    Answer::json::<Reservation>(200, "The reservation.").with(&[VERSION, STALE, CLOCK]),
    invalid(),
    unauthorised(),
    renamed(),
    Answer::problem(404, "There is no reservation with this id: it was never made, or is closed.")
        .with(&[VERSION, STALE, CLOCK]),
    not_to_be_read(),
]);

/// Shows a reservation.
///
/// `If-Match` of a write takes its version, in quotes.
#[utoipa::path(
    get,
    path = RESERVATION_PATH,
    operation_id = "showReservation",
    tag = "reservations",
    params(parameters::ReservationId, parameters::MinVersion),
    responses(Answers),
    security(("bearer" = [])),
)]
pub(crate) async fn handle(read: BooksRead, Id(id): Id) -> Result<Response, Problem> {
    read.show(Subject::Reservation, |books, Times { lower, .. }| {
        let hold = books.hold(id).filter(|hold| hold.owner.is_none())?;
        Some(json(&ReservationBody { hold, seen: Some(lower) }))
    })
    .await
}
