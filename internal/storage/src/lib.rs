//! Adapters of the replica's ports: the journal in SQLite, the stream inside the process, the checkpoint in a
//! file. No other crate knows a database or a broker.

pub mod checkpoint;
pub mod in_process;
pub mod sqlite;
