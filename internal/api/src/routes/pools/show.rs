//! One pool by its id, and how much of it there is. From memory; nothing is awaited unless the client asks for a version that
//! is not published yet.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri};
use placard_model::capacity::PoolBody;
use placard_replica::{Expiry, Handle};

use super::POOL_PATH;
use super::pool::Pool;
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
    Answer::json::<Pool>(200, "The pool.").with(&[VERSION, STALE, CLOCK]),
    invalid(),
    unauthorised(),
    renamed(),
    Answer::problem(404, "There is no pool with this id.").with(&[VERSION, STALE, CLOCK]),
    not_to_be_read(),
]);

/// Shows a pool, and how much of it there is.
///
/// What is available is advice: the client that reserves it first gets it. `If-Match` of a write takes its version, in quotes.
#[utoipa::path(
    get,
    path = POOL_PATH,
    operation_id = "showPool",
    tag = "pools",
    params(parameters::PoolId, parameters::MinVersion),
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
        let pool = books.pool(id)?;
        let seen = Some((now, books.lapsed_units(id, expiry.lower_clock(now))));
        Some(serde_json::to_vec(&PoolBody { pool, seen }).expect("bodies of ours serialise"))
    });
    let mut response = match body {
        Some(body) => render::json(StatusCode::OK, body),
        None => Problem::not_found(Subject::Pool).at(version).into_response(),
    };
    with_version(&mut response, version);
    fresh(&replica, asked, response)
}
