//! Health: whether the process answers, and whether the replica may be sent clients. For balancers and orchestrators.

pub(super) mod live;
pub(super) mod ready;
pub(super) mod ready_or_404;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::options;
use http::StatusCode;
use http::header::ALLOW;
use placard_model::Version;
use placard_replica as replica;
use placard_replica::core::Readiness;
use serde::Serialize;
use serde_json::json;

use crate::app::App;
use crate::http::render::{self, with_own_clock, with_stale, with_version};
use crate::openapi::schema::{code, object, shown_as, stream_fault, version};
use crate::openapi::shape::shape;

/// The path at which the process says that it answers.
pub(crate) const LIVE_PATH: &str = "/livez";
/// The path at which the replica says whether it may be sent clients.
pub(crate) const READY_PATH: &str = "/readyz";
/// The path for balancers that take 404 for "send it nobody new".
pub(crate) const READY_OR_404_PATH: &str = "/readyz/404";

/// Whether the replica may be sent clients.
#[derive(Serialize)]
pub(super) struct Health<'a> {
    status: &'static str,
    version: Version,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_fault: Option<&'a str>,
}

shape! {
    /// Whether the replica may be sent clients.
    Health<'_> as "Readiness" = |_| shown_as(object(&["stream_fault"], vec![
        ("status", code(
            &["ready", "stale", "behind", "draining", "restoring", "quarantined", "catching up", "read only", "empty journal"],
            "What it is doing. A stale one does not hear of the journal, one that is behind does not have yet what it was \
             told; both are ready until their answers are too old to be given. A read-only one has no connection to \
             commit with, and is ready if it had one since it started. One whose journal is empty, and was not before, \
             answers from what it has.",
            "ready",
        )),
        ("version", version("The version that it has published.", 42)),
        ("stream_fault", stream_fault()),
    ]), json!({"status": "ready", "version": 42}))
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
pub(super) fn checks() -> Router<App> {
    const ALL: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
    const PAGE: &str = "GET, HEAD, OPTIONS";
    let check = |allowed| options(async move |State(app): State<App>| checked(&app, allowed));
    Router::new().route("/", check(ALL)).route(READY_PATH, check(PAGE))
}

/// Answers by the status code alone what `/readyz` says.
fn checked(app: &App, allowed: &'static str) -> Response {
    let Readiness { is_ready, .. } = readiness(app, &app.replica.state());
    let code = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, [(ALLOW, allowed)]).into_response()
}

/// Returns the readiness of the replica in this state; a server that is being shut down says so first.
pub(super) fn readiness(app: &App, state: &replica::State) -> Readiness {
    app.replica
        .readiness(&replica::State { draining: app.is_draining() || state.draining, ..*state })
}
