//! The admin listener's routes: one page for operators, of which this crate knows nothing but who may see it and how
//! long it may take.

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
use crate::problem::Problem;
use crate::requests::Identify;

/// What every answer tells a browser: the page is nobody else's to show, and its addresses nobody else's to know.
const GUARDS: [(HeaderName, HeaderValue); 3] = [
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// The routes of an admin listener: whatever `page` answers, to those in whom `access` lets in. The bodies of requests
/// are not read. What `page` answers may stay open; that it ends with the server is its own concern.
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
            // Without a token a page of any site could ask, once its name leads here.
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
    Router::new().fallback(show).layer(Identify { spans: None, config: Arc::default() })
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

/// A browser sends no bearer token, but asks for a password and sends that.
fn refused(problem: Problem) -> Response {
    let mut response = problem.into_response();
    if response.status() == StatusCode::UNAUTHORIZED {
        let basic = HeaderValue::from_static("Basic realm=\"Placard\", charset=\"UTF-8\"");
        response.headers_mut().append(WWW_AUTHENTICATE, basic);
    }
    response
}
