//! Says by 404 that the replica may not be sent clients.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::{Health, READY_OR_404_PATH, told};
use crate::app::App;
use crate::http::headers::Unconditional;
use crate::openapi::answers::{Answer, CLOCK, STALE, VERSION, answers, invalid};

answers!([
    Answer::json::<Health<'_>>(200, "It may be sent clients.").with(&[VERSION, STALE, CLOCK]),
    invalid(),
    Answer::json::<Health<'_>>(404, "It must not be sent clients.").with(&[VERSION, STALE, CLOCK]),
]);

/// Says by 404 that the replica may not be sent clients.
///
/// It is for a balancer that takes 404 for "send it nobody new" and anything else for "it is gone", as HAProxy does under
/// `disable-on-404`: what such a replica is answering is not cut off then.
#[utoipa::path(
    get,
    path = READY_OR_404_PATH,
    operation_id = "showReadinessOr404",
    tag = "operation",
    responses(Answers)
)]
pub(crate) async fn handle(State(app): State<App>, _: Unconditional) -> Response {
    told(&app, StatusCode::NOT_FOUND)
}
