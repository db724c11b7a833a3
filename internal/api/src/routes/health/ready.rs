//! Says whether the replica may be sent clients.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::{Health, READY_PATH, told};
use crate::app::App;
use crate::http::headers::Unconditional;
use crate::openapi::answers::{Answer, CLOCK, STALE, VERSION, answers, invalid};

answers!([
    Answer::json::<Health<'_>>(200, "It may be sent clients.").with(&[VERSION, STALE, CLOCK]),
    invalid(),
    Answer::json::<Health<'_>>(503, "It must not be sent clients.").with(&[VERSION, STALE, CLOCK]),
]);

/// Says whether the replica may be sent clients.
///
/// It may if it is restored, caught up, and not about to go. Balancers ask this. That the stream is not used is said too, and
/// makes no difference to that.
#[utoipa::path(
    get,
    path = READY_PATH,
    operation_id = "showReadiness",
    tag = "operation",
    responses(Answers)
)]
pub(crate) async fn handle(State(app): State<App>, _: Unconditional) -> Response {
    told(&app, StatusCode::SERVICE_UNAVAILABLE)
}
