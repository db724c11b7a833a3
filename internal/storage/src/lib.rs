//! Adapters of the replica's ports: the journal in SQLite or PostgreSQL, and the stream in Redis or
//! inside the process. No other crate knows a database or a broker.

pub mod in_process;
pub mod postgres;
pub mod redis;
pub mod sqlite;
