//! Which ads fit. From memory; nothing is awaited unless the client asks for a version that is not published yet.

use axum::extract::State;
use axum::response::Response;
use bytes::{BufMut, BytesMut};
use http::{HeaderMap, StatusCode, Uri};
use placard_engine::{Found, Reader};
use placard_model::limits::{OFFSET_MAX, PAGE_ADS_DEFAULT, PAGE_ADS_MAX, PAGE_ADS_MIN};
use placard_model::{Query, Timestamp};
use placard_replica::Handle;
use serde_json::json;

use super::ADS_PATH;
use super::ad::Ad;
use crate::http::headers::Unconditional;
use crate::http::params::{self, Search};
use crate::http::problem::Problem;
use crate::http::render::{self, with_version};
use crate::openapi::answers::{Answer, CLOCK, STALE, VERSION, answers, invalid};
use crate::openapi::conditions;
use crate::openapi::parameters::{self, groups, of};
use crate::openapi::schema::{object, whole, with_default};
use crate::openapi::shape::shape;
use crate::routes::answers::not_to_be_read;
use crate::routes::freshness::{fresh, wait_for};

groups! {
    /// Which ads fit, and which of them to answer.
    Filters = [conditions::parameters().into_iter().map(|(name, schema)| of("query", name, schema)).collect(), vec![
        of("query", "offset", with_default(
            whole(0, OFFSET_MAX.into(), "How many fitting ads to pass over.", 20), 0,
        )),
        of("query", "limit", with_default(
            whole(PAGE_ADS_MIN.into(), PAGE_ADS_MAX.into(), "How many ads to answer at the most.", 5),
            PAGE_ADS_DEFAULT,
        )),
    ]].concat();
}

/// A page, as `page` writes it.
#[derive(Debug)]
pub(super) struct Page;

shape! {
    /// A page of the ads that fit, in the order of their ends, then ids.
    Page as "Page" = |shapes| object(&[], vec![
        ("ads", json!({
            "type": "array", "maxItems": PAGE_ADS_MAX, "items": shapes.reference::<Ad>(),
            "description": "The ads of this page.", "examples": [[shapes.example::<Ad>()]],
        })),
        ("total", whole(0, i64::MAX as u64, "How many ads fit, whatever the page.", 37)),
    ])
}

answers!([
    Answer::json::<Page>(200, "The ads that fit.").with(&[VERSION, STALE, CLOCK]),
    invalid(),
    not_to_be_read(),
]);

/// Lists the ads that fit.
///
/// A filter that is absent does not filter; one that is present keeps the ads that target its value, or leave that
/// condition open. `unknown`, for a value that is not known, keeps only the ads that leave it open.
#[utoipa::path(
    get,
    path = ADS_PATH,
    operation_id = "searchAds",
    tag = "ads",
    params(Filters, parameters::MinVersion),
    responses(Answers),
)]
pub(crate) async fn handle(
    State(replica): State<Handle>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Unconditional::of(&headers)?;
    let Search { query, min_version } = params::search(uri.query()).map_err(Problem::invalid)?;
    let asked = wait_for(&replica, min_version, &headers).await?;
    let page = page(replica.reader(), &query, replica.clock().now());
    fresh(&replica, asked, page)
}

/// Room for a page's ads of ordinary length; a body that needs more grows.
const FRAGMENT_BYTES: usize = 400;

/// `{"ads":[…],"total":n}`, put together from the ads' fragments while they are found.
fn page(reader: &Reader, query: &Query, now: Timestamp) -> Response {
    let mut body = BytesMut::with_capacity(32 + FRAGMENT_BYTES * query.limit as usize);
    body.put_slice(b"{\"ads\":[");
    let mut first = true;
    let Found { version, total } = reader.visit(query, now, |ad| {
        if !std::mem::take(&mut first) {
            body.put_u8(b',');
        }
        body.put_slice(ad.fragment());
    });
    body.put_slice(b"],\"total\":");
    body.put_slice(total.to_string().as_bytes());
    body.put_u8(b'}');
    let mut response = render::json(StatusCode::OK, body);
    with_version(&mut response, version);
    response
}
