//! Successful answers: their bodies, and the headers that say which version answered.

use std::time::Duration;

use crate::http::entity_tag::EntityTag;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderName, HeaderValue, StatusCode};
use placard_model::Version;
use serde::Serialize;

/// On every answer that depends on state: the version that answered.
pub(crate) const VERSION_HEADER: HeaderName = HeaderName::from_static("placard-version");
/// On an answer that may be older than a lease: how old at most, in milliseconds.
pub(crate) const STALE_HEADER: HeaderName = HeaderName::from_static("placard-stale");
/// On an answer that was judged by this machine's clock, because the journal has not told its time since the start.
pub(crate) const CLOCK_HEADER: HeaderName = HeaderName::from_static("placard-clock");
/// On an answer that was given before, to the same idempotency key.
pub(crate) const REPLAYED_HEADER: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Clients may cache an answer that stays the same until another build is started, for this time.
const KEPT: HeaderValue = HeaderValue::from_static("max-age=300");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(crate) fn with_version(response: &mut Response, version: Version) {
    response.headers_mut().insert(VERSION_HEADER, HeaderValue::from(version));
}

/// The age that an answer of unknown age gives, and the upper bound of all ages: any limit of a client is less.
pub(crate) const STALE_MAX_MS: u64 = 999_999_999_999_999;

pub(crate) fn with_stale(response: &mut Response, age: Option<Duration>) {
    let ms = age.map_or(STALE_MAX_MS, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    // A started millisecond counts: the answer is never older than it says.
    let ms = ms.saturating_add(1).min(STALE_MAX_MS);
    response.headers_mut().insert(STALE_HEADER, HeaderValue::from(ms));
}

pub(crate) fn with_own_clock(response: &mut Response) {
    response.headers_mut().insert(CLOCK_HEADER, HeaderValue::from_static("machine"));
}

pub(crate) fn with_etag(response: &mut Response, tag: EntityTag) {
    response.headers_mut().insert(ETAG, tag.value());
}

pub(crate) fn with_replayed(response: &mut Response) {
    response.headers_mut().insert(REPLAYED_HEADER, HeaderValue::from_static("true"));
}

/// Lets caches keep the answer, if it is a success.
pub(crate) fn kept(mut response: Response) -> Response {
    if response.status().is_success() {
        response.headers_mut().insert(CACHE_CONTROL, KEPT);
    }
    response
}

/// The answer to a client that has what this tag names.
pub(crate) fn not_modified(tag: EntityTag) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    with_etag(&mut response, tag);
    response
}

/// An answer whose body is JSON already.
pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// An answer whose body is serialised here.
pub(crate) fn serialised(status: StatusCode, body: &impl Serialize) -> Response {
    json(status, serde_json::to_vec(body).expect("bodies of ours serialise"))
}
