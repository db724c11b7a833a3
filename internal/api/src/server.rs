//! The server: the routes, served by the HTTP machinery.

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::http::connection::Routes;
use crate::http::serve::{self, Connections, Stage};
use crate::routes;

/// Serves connections until the stage is [`Stage::Stopping`]. Then it takes no new ones, gives those that are idle a last
/// moment, and has those under way finish their request. Returns whether all did in time.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    connections: Connections,
    stage: watch::Receiver<Stage>,
) -> bool {
    let routes = Routes { router, is_reserved: routes::is_reserved };
    serve::serve(listener, routes, connections, stage).await
}
