//! Reads of one pool or one reservation, which only those may make who may write. From memory; nothing is awaited unless the
//! client asks for a version that is not published yet.

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, StatusCode, Uri};
use placard_model::Timestamp;
use placard_model::capacity::Books;
use placard_replica::{Expiry, Handle};
use serde::Serialize;

use super::freshness::{fresh, wait_for};
use crate::app::App;
use crate::http::headers::Unconditional;
use crate::http::params;
use crate::http::problem::Problem;
use crate::http::render::{self, with_version};
use crate::http::subject::Subject;
use crate::principal::Principal;

/// A read without preconditions, of a client that may write.
pub(crate) struct BooksRead {
    replica: Handle,
    expiry: Expiry,
    uri: Uri,
    headers: HeaderMap,
}

/// When books are looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// By the readers' clock.
    pub(super) now: Timestamp,
    /// By the clock that says what has lapsed.
    pub(super) lower: Timestamp,
}

impl Times {
    pub(super) fn of(replica: &Handle, expiry: &Expiry) -> Self {
        let now = replica.clock().now();
        Self { now, lower: expiry.lower_clock(now) }
    }
}

impl FromRequestParts<App> for BooksRead {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        Principal::from_request_parts(parts, app).await?;
        let (uri, headers) = (parts.uri.clone(), parts.headers.clone());
        Ok(Self { replica: app.replica.clone(), expiry: app.expiry.clone(), uri, headers })
    }
}

impl BooksRead {
    /// Shows what is found, or says that there is no such thing.
    pub(super) async fn show(
        self,
        subject: Subject,
        find: impl FnOnce(&Books, Times) -> Option<Vec<u8>>,
    ) -> Result<Response, Problem> {
        let Self { replica, expiry, uri, headers } = self;
        Unconditional::of(&headers)?;
        let min_version = params::min_version(uri.query()).map_err(Problem::invalid)?;
        let asked = wait_for(&replica, min_version, &headers).await?;
        let times = Times::of(&replica, &expiry);
        let (version, body) = replica.reader().books(|books| find(books, times));
        let mut response = match body {
            Some(body) => render::json(StatusCode::OK, body),
            None => Problem::not_found(subject).at(version).into_response(),
        };
        with_version(&mut response, version);
        fresh(&replica, asked, response)
    }
}

/// Returns what is shown, as JSON.
pub(super) fn json(shown: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(shown).expect("bodies of ours serialise")
}
