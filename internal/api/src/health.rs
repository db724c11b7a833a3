//! For balancers, orchestrators and Prometheus.

use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::options;
use http::StatusCode;
use http::header::{ALLOW, CONTENT_TYPE};
use placard_model::Version;
use placard_replica as replica;
use placard_replica::core::Readiness;
use serde::Serialize;

use crate::app::App;
use crate::headers::Unconditional;
use crate::metrics::Shown;
use crate::openapi::answers;
use crate::render::{self, with_own_clock, with_stale, with_version};

#[derive(Serialize)]
struct Health<'a> {
    status: &'static str,
    version: Version,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_fault: Option<&'a str>,
}

/// Says that the process answers.
///
/// It rests on nothing else: a replica that is not ready, or has no journal, is live.
#[utoipa::path(
    get,
    path = "/livez",
    operation_id = "showLife",
    tag = "operation",
    responses(answers::Live)
)]
pub(crate) async fn livez(_: Unconditional) -> Response {
    render::json(StatusCode::OK, &b"{\"status\":\"live\"}"[..])
}

/// Says whether the replica may be sent clients.
///
/// It may if it is restored, caught up, and not about to go. Balancers ask this. That the stream is not used is said too, and
/// makes no difference to that.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "showReadiness",
    tag = "operation",
    responses(answers::Readiness)
)]
pub(crate) async fn readyz(State(app): State<App>, _: Unconditional) -> Response {
    told(&app, StatusCode::SERVICE_UNAVAILABLE)
}

/// Says by 404 that the replica may not be sent clients.
///
/// It is for a balancer that takes 404 for "send it nobody new" and anything else for "it is gone", as HAProxy does under
/// `disable-on-404`: what such a replica is answering is not cut off then.
#[utoipa::path(
    get,
    path = "/readyz/404",
    operation_id = "showReadinessOr404",
    tag = "operation",
    responses(answers::ReadinessOr404)
)]
pub(crate) async fn readyz_or_404(State(app): State<App>, _: Unconditional) -> Response {
    told(&app, StatusCode::NOT_FOUND)
}

fn told(app: &App, unready: StatusCode) -> Response {
    let state = app.replica.state();
    let Readiness { is_ready, status, verdict } = readiness(app, &state);
    let code = if is_ready { StatusCode::OK } else { unready };
    let version = state.published.version;
    let fault = app.replica.stream_fault();
    let stream_fault = fault.as_deref();
    let mut response = render::serialised(code, &Health { status, version, stream_fault });
    with_version(&mut response, version);
    // For a load balancer that can choose: a replica that sends neither header is better.
    if let Some(lag) = verdict.lag() {
        with_stale(&mut response, lag.age);
    }
    if !app.replica.clock().is_anchored() {
        with_own_clock(&mut response);
    }
    response
}

/// Returns the routes for load balancers without a configured health-check page, which send `OPTIONS` for the server as
/// a whole or for `/readyz`.
pub(crate) fn checks() -> Router<App> {
    const ALL: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
    const PAGE: &str = "GET, HEAD, OPTIONS";
    let check = |allowed| options(async move |State(app): State<App>| checked(&app, allowed));
    Router::new().route("/", check(ALL)).route("/readyz", check(PAGE))
}

/// Answers by the status code alone what `/readyz` says.
fn checked(app: &App, allowed: &'static str) -> Response {
    let Readiness { is_ready, .. } = readiness(app, &app.replica.state());
    let code = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, [(ALLOW, allowed)]).into_response()
}

/// Returns the readiness of the replica in this state; a server that is being shut down says so first.
fn readiness(app: &App, state: &replica::State) -> Readiness {
    app.replica
        .readiness(&replica::State { draining: app.is_draining() || state.draining, ..*state })
}

/// Shows what is counted, for Prometheus.
///
/// It is text in the format of Prometheus, version 0.0.4.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "showMetrics",
    tag = "operation",
    responses(answers::Metrics)
)]
pub(crate) async fn metrics(State(app): State<App>, _: Unconditional) -> Response {
    let state = app.replica.state();
    let Readiness { is_ready, verdict, .. } = readiness(&app, &state);
    let text = app.metrics.render(&Shown {
        replica: &app.replica,
        state: &state,
        is_ready,
        verdict,
        expiry: &app.expiry.account(),
        spans: &app.spans,
        log_lost: app.config.log_lost.load(Ordering::Relaxed),
    });
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
