//! A listener for metrics alone, of a command that serves nothing else.

use std::time::Duration;

use placard_api::{ConnectionMetrics, Connections, Exposition, Stage, metrics_page};
use placard_model::limits;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// The connections that it may have: those of a few collectors.
const CONNECTIONS_MAX: usize = 64;

/// Serves what `write` writes at `/metrics`, until the returned future is dropped.
pub async fn serve(
    listener: TcpListener,
    write: impl Fn(&mut Exposition) + Clone + Send + Sync + 'static,
) {
    let connections = Connections {
        max: CONNECTIONS_MAX,
        reserved: 0,
        idle_timeout: limits::IDLE_TIMEOUT,
        metrics: ConnectionMetrics::default(),
        wait: Duration::ZERO,
    };
    // Its server is never told to stop.
    let stage = watch::Sender::new(Stage::Serving);
    placard_api::serve(listener, metrics_page(write), connections, stage.subscribe()).await;
}
