//! Says that the process answers.

use axum::response::Response;
use http::StatusCode;
use serde::Serialize;

use super::LIVE_PATH;
use crate::http::headers::Unconditional;
use crate::http::render;
use crate::openapi::answers::{Answer, answers, invalid};
use crate::openapi::schema::{code, object};
use crate::openapi::shape::shape;

#[derive(Serialize)]
struct Live {
    status: &'static str,
}

shape! {
    /// The process answers.
    Live as "Live" = |_| object(&[], vec![("status", code(&["live"], "Always the same.", "live"))])
}

answers!([Answer::json::<Live>(200, "The process answers."), invalid()]);

/// Says that the process answers.
///
/// It rests on nothing else: a replica that is not ready, or has no journal, is live.
#[utoipa::path(
    get,
    path = LIVE_PATH,
    operation_id = "showLife",
    tag = "operation",
    responses(Answers)
)]
pub(crate) async fn handle(_: Unconditional) -> Response {
    render::serialised(StatusCode::OK, &Live { status: "live" })
}
