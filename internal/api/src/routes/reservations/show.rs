//! One reservation by its id. From memory; nothing is awaited unless the client asks for a version that is not published yet.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri};
use placard_model::capacity::ReservationBody;
use placard_replica::{Expiry, Handle};

use super::RESERVATION_PATH;
use super::reservation::Reservation;
use crate::http::headers::Unconditional;
use crate::http::params::{self, Id};
use crate::http::problem::Problem;
use crate::http::render::{self, with_version};
use crate::http::subject::Subject;
use crate::openapi::answers::{
    Answer, CLOCK, STALE, VERSION, answers, invalid, renamed, unauthorised,
};
use crate::openapi::parameters;
use crate::principal::Principal;
use crate::routes::answers::not_to_be_read;
use crate::routes::freshness::{fresh, wait_for};

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
pub(crate) async fn handle(
    _: Principal,
    State(replica): State<Handle>,
    State(expiry): State<Expiry>,
    Id(id): Id,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Unconditional::of(&headers)?;
    let min_version = params::min_version(uri.query()).map_err(Problem::invalid)?;
    let asked = wait_for(&replica, min_version, &headers).await?;
    let now = replica.clock().now();
    let (version, body) = replica.reader().books(|books| {
        let hold = books.hold(id).filter(|hold| hold.owner.is_none())?;
        let shown = ReservationBody { hold, seen: Some(expiry.lower_clock(now)) };
        Some(serde_json::to_vec(&shown).expect("bodies of ours serialise"))
    });
    let mut response = match body {
        Some(body) => render::json(StatusCode::OK, body),
        None => Problem::not_found(Subject::Reservation).at(version).into_response(),
    };
    with_version(&mut response, version);
    fresh(&replica, asked, response)
}
