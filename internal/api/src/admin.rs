//! The admin listener's routes: one page for operators. This crate knows only who may see the page and how long it may
//! take to answer.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::{HeaderName, HeaderValue, StatusCode};
use hyper::body::Body as HttpBody;
use placard_model::limits;

use crate::access::{Access, is_by_address};
use crate::http::problem::Problem;
use crate::http::requests::Identify;

/// Headers of every answer, for a browser: no other site may show the page in a frame, or learn its addresses.
const GUARDS: [(HeaderName, HeaderValue); 3] = [
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// Returns the routes of an admin listener: whatever `page` answers, for clients that `access` admits. The bodies of
/// requests are not read. An answer of `page` may stay open; `page` itself must end it with the server.
pub fn admin<A, B>(
    access: Access,
    page: impl Fn(http::Request<()>) -> A + Clone + Send + Sync + 'static,
) -> Router
where
    A: Future<Output = http::Response<B>> + Send + 'static,
    B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
{
    let show = async move |request: Request| {
        let admitted = match access {
            // Without a token a page of any site could send requests, once its name resolves to this address.
            Access::Open if !is_by_address(request.headers(), request.uri()) => {
                Err(Problem::misdirected())
            }
            _ => access.admits(request.headers()),
        };
        let mut response = match admitted {
            Ok(()) => answered(page(request.map(drop))).await,
            Err(problem) => refused(problem),
        };
        response.headers_mut().extend(GUARDS);
        response
    };
    Router::new().fallback(show).layer(Identify {
        spans: None,
        config: Arc::default(),
        route_of: |_| None,
    })
}

async fn answered<B>(answer: impl Future<Output = http::Response<B>>) -> Response
where
    B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
{
    match tokio::time::timeout(limits::BOARD_DEADLINE, answer).await {
        Ok(answer) => answer.map(Body::new),
        Err(_) => Problem::board_too_slow().into_response(),
    }
}

/// Asks for a password: a browser sends no bearer token, but prompts for a password and sends that.
fn refused(problem: Problem) -> Response {
    let mut response = problem.into_response();
    if response.status() == StatusCode::UNAUTHORIZED {
        let basic = HeaderValue::from_static("Basic realm=\"Placard\", charset=\"UTF-8\"");
        response.headers_mut().append(WWW_AUTHENTICATE, basic);
    }
    response
}
