//! Which pools there are for a visitor, and how much of each. From memory; nothing is awaited unless the client asks for a
//! version that is not published yet.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use placard_model::capacity::{Books, PoolBody};
use placard_model::limits::{
    CAPACITY_MAX, OFFSET_MAX, PAGE_ADS_DEFAULT, PAGE_ADS_MAX, PAGE_ADS_MIN,
};
use placard_replica::{Expiry, Handle};
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::POOLS_PATH;
use super::pool::Pool;
use crate::http::headers::Unconditional;
use crate::http::params::{self, PoolList};
use crate::http::problem::{Overload, Problem};
use crate::http::render::{self, with_version};
use crate::openapi::answers::{
    Answer, CLOCK, STALE, VERSION, answers, invalid, renamed, unauthorised,
};
use crate::openapi::conditions;
use crate::openapi::parameters::{self, groups, of};
use crate::openapi::schema::{object, shared, stamp, whole, with_default};
use crate::openapi::shape::shape;
use crate::principal::Principal;
use crate::routes::answers::not_to_be_read;
use crate::routes::books_read::Times;
use crate::routes::freshness::{fresh, wait_for};

groups! {
    /// Which pools, and which of them to answer.
    Filters = [conditions::parameters().into_iter().map(|(name, schema)| of("query", name, schema)).collect(), vec![
        of("query", "status", shared("PoolStatus", "Only pools of which this is true.", "active")),
        of("query", "available", whole(1, CAPACITY_MAX, "Only pools that have as many units available at least, whatever their status.", 1)),
        of("query", "offset", with_default(
            whole(0, OFFSET_MAX.into(), "How many such pools to pass over.", 20), 0,
        )),
        of("query", "limit", with_default(
            whole(PAGE_ADS_MIN.into(), PAGE_ADS_MAX.into(), "How many pools to answer at the most.", 5),
            PAGE_ADS_DEFAULT,
        )),
    ]].concat();
}

/// A page of pools, as `page` writes it.
#[derive(Debug)]
pub(super) struct Page;

shape! {
    /// A page of the pools, in the order of their ids.
    Page as "PoolPage" = |shapes| object(&[], vec![
        ("pools", json!({
            "type": "array", "maxItems": PAGE_ADS_MAX, "items": shapes.reference::<Pool>(),
            "description": "The pools of this page.", "examples": [[shapes.example::<Pool>()]],
        })),
        ("total", whole(0, i64::MAX as u64, "How many such pools there are, whatever the page.", 3)),
        ("as_of", stamp("When this was true, by the clock of the replica that answers.")),
    ])
}

answers!([
    Answer::json::<Page>(200, "The pools.").with(&[VERSION, STALE, CLOCK]),
    invalid(),
    unauthorised(),
    renamed(),
    not_to_be_read(),
]);

/// More pools and holds than these are looked through beside the threads that answer requests.
const RECORDS_INLINE: usize = 1_000;
/// Looks through many pools that go on at once.
static LOOKS: Semaphore = Semaphore::const_new(2);
/// How long a look waits for its turn.
const TURN: Duration = Duration::from_secs(5);

/// Waits for the turn of a look through many pools.
async fn turn() -> Result<SemaphorePermit<'static>, Problem> {
    let turn = tokio::time::timeout(TURN, LOOKS.acquire()).await;
    turn.ok().and_then(Result::ok).ok_or_else(|| Problem::overloaded(Overload::Looks))
}

/// Lists pools: what is available for whom.
///
/// The targeting filters are those of the list of ads: a filter keeps the pools that target its value, or leave that condition
/// open. What is available is advice: the client that reserves it first gets it.
#[utoipa::path(
    get,
    path = POOLS_PATH,
    operation_id = "listPools",
    tag = "pools",
    params(Filters, parameters::MinVersion),
    responses(Answers),
    security(("bearer" = [])),
)]
pub(crate) async fn handle(
    _: Principal,
    State(replica): State<Handle>,
    State(expiry): State<Expiry>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Unconditional::of(&headers)?;
    let (list, min_version) = params::pools(uri.query()).map_err(Problem::invalid)?;
    let asked = wait_for(&replica, min_version, &headers).await?;
    let (_, records) = replica.reader().books(|books| books.len().0 + books.len().1);
    let permit = if records <= RECORDS_INLINE { None } else { Some(turn().await?) };
    let times = Times::of(&replica, &expiry);
    let (version, books) = replica.reader().books(Books::clone);
    let page = match permit {
        None => page(&books, &list, times),
        Some(permit) => {
            // The look goes on if the client does not wait for it, and so does its permit.
            let look = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                page(&books, &list, times)
            });
            look.await.map_err(|_| Problem::failed())?
        }
    };
    let mut response = render::json(StatusCode::OK, page);
    with_version(&mut response, version);
    fresh(&replica, asked, response)
}

/// Returns `{"pools":[…],"total":n,"as_of":"…"}`.
fn page(books: &Books, list: &PoolList, Times { now, lower }: Times) -> Vec<u8> {
    let (mut body, mut total) = (b"{\"pools\":[".to_vec(), 0);
    let first = u64::from(list.query.offset);
    let shown = first..first + u64::from(list.query.limit);
    for pool in books.pools().filter(|pool| pool.spec.targeting.fits(&list.query)) {
        let lapsed = books.lapsed_units(pool.id, lower);
        let shown_as = PoolBody { pool, seen: Some((now, lapsed)) };
        let is_listed = list.status.is_none_or(|status| pool.status(now, lapsed) == status)
            && list.available.is_none_or(|least| shown_as.available() >= least);
        if !is_listed {
            continue;
        }
        if shown.contains(&total) {
            if total > first {
                body.push(b',');
            }
            serde_json::to_writer(&mut body, &shown_as).expect("bodies of ours serialise");
        }
        total += 1;
    }
    body.extend(format!("],\"total\":{total},\"as_of\":\"{now}\"}}").as_bytes());
    body
}
