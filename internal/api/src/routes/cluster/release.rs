//! Releases the brake of expiry.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use placard_replica::Expiry;
use serde::Serialize;
use serde_json::json;

use super::{ExpiryBody, RELEASE_PATH};
use crate::app::Config;
use crate::http::headers::Unconditional;
use crate::http::problem::Problem;
use crate::http::render;
use crate::openapi::answers::{Answer, answers, invalid, renamed, unauthorised};
use crate::openapi::schema::object;
use crate::openapi::shape::shape;
use crate::principal::Principal;

#[derive(Serialize)]
struct ReleaseBody {
    /// Whether the brake was on.
    released: bool,
    expiry: ExpiryBody,
}

shape! {
    /// What came of a release.
    ReleaseBody as "Release" = |shapes| object(&[], vec![
        ("released", json!({"type": "boolean", "description": "Whether the brake was on.", "examples": [true]})),
        ("expiry", shapes.reference::<ExpiryBody>()),
    ])
}

answers!([
    Answer::json::<ReleaseBody>(200, "The brake is off."),
    invalid(),
    unauthorised(),
    Answer::problem(403, "Anyone may write, and a browser asks for a page of another origin."),
    renamed(),
]);

/// Lets this replica delete ended ads again, after the journal's clock has jumped.
///
/// An operator says with it that the clock is right as it is.
#[utoipa::path(
    post,
    path = RELEASE_PATH,
    operation_id = "releaseExpiry",
    tag = "operation",
    responses(Answers),
    security(("bearer" = [])),
)]
pub(crate) async fn handle(
    State(config): State<Arc<Config>>,
    State(expiry): State<Expiry>,
    principal: Principal,
    _: Unconditional,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    config.access.refuse_pages(&headers)?;
    let released = expiry.release();
    if released {
        tracing::warn!(principal = principal.name(), "the brake of expiry was released");
    }
    let body = ReleaseBody { released, expiry: expiry.account().into() };
    Ok(render::serialised(StatusCode::OK, &body))
}
