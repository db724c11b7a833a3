//! HTTP: the routes, what they take and what they answer, and the accept loop with its deadlines. Handlers
//! touch no database; they read from the replica's memory and write through its queue.

mod access;
mod admin;
mod app;
mod batch;
mod body;
mod client;
mod cluster;
mod connection;
mod cors;
mod entity_tag;
mod head;
mod headers;
mod health;
mod house;
mod life;
mod metrics;
mod observed;
mod openapi;
mod params;
mod paths;
mod principal;
mod problem;
mod pulse;
mod read;
mod receipts;
mod render;
mod requests;
mod routes;
mod serve;
mod timed;
mod write;
mod writing;

pub use access::{Access, TokensError, first_token};
pub use admin::admin;
pub use app::{App, Config};
pub use axum::Router;
pub use client::{NetworkError, TrustedProxies};
pub use cors::{Cors, OriginError};
pub use metrics::connections::ConnectionMetrics;
pub use paths::{ADS_PATH, BATCH_PATH};
pub use serve::{Connections, Stage, listen, serve, short_backlog};
