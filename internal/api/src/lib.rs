//! HTTP: the routes, what they take and what they answer, and the accept loop with its deadlines. Handlers
//! touch no database; they read from the replica's memory and write through its queue.

mod access;
mod admin;
mod app;
mod feed;
mod http;
mod metrics;
mod openapi;
mod principal;
mod routes;
mod server;

pub use crate::http::client::{NetworkError, TrustedProxies};
pub use crate::http::cors::{Cors, OriginError};
pub use crate::http::serve::{Connections, Stage, listen, short_backlog};
pub use access::{Access, TokensError, first_token};
pub use admin::admin;
pub use app::{App, Config};
pub use axum::Router;
pub use metrics::Exposition;
pub use metrics::connections::ConnectionMetrics;
pub use metrics::page::metrics_page;
pub use routes::{ADS_PATH, BATCH_PATH};
pub use server::serve;
