//! Shows what is counted.

use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::response::Response;
use placard_replica::core::Readiness;
use serde_json::json;

use super::health::readiness;
use crate::app::App;
use crate::http::headers::Unconditional;
use crate::metrics::{Shown, page};
use crate::openapi::answers::{Answer, answers, invalid};

/// The path of the metrics.
pub(crate) use page::METRICS_PATH;

answers!([
    Answer::page(
        "text/plain",
        json!({"type": "string", "description": "Prometheus text, version 0.0.4."}),
        "What is counted; docs/OPERATIONS.md lists it.",
    ),
    invalid(),
]);

/// Shows what is counted, for Prometheus.
///
/// It is text in the format of Prometheus, version 0.0.4.
#[utoipa::path(
    get,
    path = METRICS_PATH,
    operation_id = "showMetrics",
    tag = "operation",
    responses(Answers)
)]
pub(crate) async fn handle(State(app): State<App>, _: Unconditional) -> Response {
    let state = app.replica.state();
    let Readiness { is_ready, verdict, .. } = readiness(&app, &state);
    let text = app.metrics.render(&Shown {
        replica: &app.replica,
        state: &state,
        is_ready,
        verdict,
        expiry: &app.expiry.account(),
        spans: &app.spans,
        feed: &app.feed,
        log_lost: app.config.log_lost.load(Ordering::Relaxed),
    });
    page::answer(text)
}
