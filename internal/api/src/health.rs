//! For balancers, orchestrators and Prometheus.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use placard_model::Version;
use placard_replica as replica;
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
    let state = app.replica.state();
    let (is_ready, status) = readiness(&app, &state);
    let code = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let version = state.published.version;
    let mut response = render::serialised(code, &Health { status, version });
    with_version(&mut response, version);
    response
}

/// Whether a replica in this state may be sent clients, and what it is doing.
fn readiness(app: &App, state: &replica::State) -> (bool, &'static str) {
    let freshness = app.replica.freshness();
    match state.phase {
        _ if app.is_draining() || state.draining => (false, "draining"),
        Phase::Restoring => (false, "restoring"),
        Phase::Quarantined => (false, "quarantined"),
        Phase::CatchingUp => (false, "catching up"),
        Phase::Ready if freshness.leave().is_none() => (false, "stale"),
        // Every other replica is likely to be as stale: a balancer must not empty itself.
        Phase::Ready if freshness.stale().is_some() => (true, "stale"),
        Phase::Ready => (true, "ready"),
    }
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
    let state = app.replica.state();
    let (is_ready, _) = readiness(&app, &state);
    let text = app.metrics.render(&app.replica, (&state, is_ready), &app.expiry, &app.spans);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
