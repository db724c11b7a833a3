//! Adapters of the replica's ports: the journal in SQLite or PostgreSQL, the stream in Redis or inside the
//! process, the checkpoint in a file. No other crate knows a database or a broker.

pub mod checkpoint;
mod chunk;
pub mod directory;
pub mod in_process;
mod page;
pub mod place;
pub mod postgres;
pub mod redis;
pub mod secret;
pub mod sqlite;
mod tls;
