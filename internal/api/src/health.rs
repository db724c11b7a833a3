//! For balancers, orchestrators and Prometheus.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use placard_model::Version;
use placard_replica::core::Phase;
use serde::Serialize;

use crate::App;
use crate::openapi::answers;
use crate::render::{self, with_version};

#[derive(Serialize)]
struct Health {
    status: &'static str,
    version: Version,
}

/// Says that the process answers.
#[utoipa::path(
    get,
    path = "/livez",
    operation_id = "showLife",
    tag = "operation",
    responses(answers::Live)
)]
pub(crate) async fn livez() -> Response {
    render::json(StatusCode::OK, &b"{\"status\":\"live\"}"[..])
}

/// Says whether the replica may be sent clients: it is restored, caught up, and not about to go.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "showReadiness",
    tag = "operation",
    responses(answers::Readiness)
)]
pub(crate) async fn readyz(State(app): State<App>) -> Response {
    let (state, freshness) = (app.replica.state(), app.replica.freshness());
    let (code, status) = match state.phase {
        _ if app.is_draining() || state.draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        _ if freshness.refuses() => (StatusCode::SERVICE_UNAVAILABLE, "stale"),
        Phase::Restoring => (StatusCode::SERVICE_UNAVAILABLE, "restoring"),
        Phase::Quarantined => (StatusCode::SERVICE_UNAVAILABLE, "quarantined"),
        Phase::CatchingUp => (StatusCode::SERVICE_UNAVAILABLE, "catching up"),
        // Every other replica is likely to be as stale: a balancer must not empty itself.
        Phase::Ready if freshness.stale().is_some() => (StatusCode::OK, "stale"),
        Phase::Ready => (StatusCode::OK, "ready"),
    };
    let version = state.published.version;
    let mut response = render::serialised(code, &Health { status, version });
    with_version(&mut response, version);
    response
}

/// Shows what is counted, for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "showMetrics",
    tag = "operation",
    responses(answers::Metrics)
)]
pub(crate) async fn metrics(State(app): State<App>) -> Response {
    let text = app.metrics.render(&app.replica, &app.expiry, &app.spans);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
