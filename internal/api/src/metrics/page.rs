//! The page of metrics, and a server of nothing else, for a command that counts something.

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;

use super::Exposition;
use crate::http::problem::Problem;
use crate::http::requests::Identify;

/// The path of the metrics.
pub(crate) const METRICS_PATH: &str = "/metrics";

/// Returns the answer with metrics as text.
pub(crate) fn answer(text: String) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// Returns the routes of a server that shows what `write` writes at `/metrics`, and nothing else.
pub fn metrics_page(write: impl Fn(&mut Exposition) + Clone + Send + Sync + 'static) -> Router {
    let show = async move || {
        let mut text = Exposition::default();
        write(&mut text);
        answer(text.into_text())
    };
    Router::new()
        .route(METRICS_PATH, get(show))
        .fallback(async || Problem::route_not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(Identify { spans: None, config: Arc::default(), route_of: |_| None })
}
