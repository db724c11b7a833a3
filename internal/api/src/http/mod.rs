//! The HTTP machinery, which knows no route: connections and their deadlines, what is read of a request, and how an answer
//! or a problem is written.

pub(crate) mod body;
pub(crate) mod client;
pub(crate) mod connection;
pub(crate) mod connection_state;
pub(crate) mod cors;
pub(crate) mod entity_tag;
pub(crate) mod head;
pub(crate) mod headers;
pub(crate) mod observed;
pub(crate) mod occupancy;
pub(crate) mod params;
pub(crate) mod problem;
pub(crate) mod pulse;
pub(crate) mod render;
pub(crate) mod requests;
pub(crate) mod serve;
pub(crate) mod subject;
pub(crate) mod timed;
