//! Shows the API's description.

use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use crate::http::headers::Unconditional;
use crate::http::render;
use crate::openapi::answers::{Answer, answers, invalid};
use crate::openapi::written;

/// The path of the document.
pub(crate) const DOCUMENT_PATH: &str = "/openapi.json";

answers!([
    Answer::page(
        "application/json",
        json!({"type": "object", "description": "OpenAPI 3.1."}),
        "This document.",
    ),
    invalid(),
]);

/// Shows the OpenAPI document.
///
/// It is the same until another build of the server is started.
#[utoipa::path(
    get,
    path = DOCUMENT_PATH,
    operation_id = "showDocument",
    tag = "operation",
    responses(Answers),
)]
pub(crate) async fn handle(_: Unconditional) -> Response {
    render::kept(render::json(StatusCode::OK, written()))
}
