//! The HTTP contract of the embedded server, from the outside. Whatever a client could notice is tested twice: on a
//! node with a socket, and on the same routes in process; what only a socket can show is tested on a node.

#![allow(clippy::disallowed_methods, reason = "tests use clocks, chance and tasks as they like")]

mod access;
mod acks;
mod batches;
mod bodies;
mod brake;
mod by_id;
mod caching;
mod changes;
mod creation;
mod delivery;
mod docs;
mod document;
mod feed;
mod golden;
mod heads;
mod hostile;
mod idempotency;
mod late;
mod listing;
mod manual;
mod measured;
mod operation;
mod outage;
mod pools;
mod preconditions;
mod refusals;
mod reservations;
mod scan;
mod server;
mod stamps;
mod versions;
mod window;

/// Makes two tests of each function: over a socket and in process.
macro_rules! both {
    ($($name:ident),+ $(,)?) => {
        mod over_socket {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name($crate::server::Server::over_socket().await).await;
                }
            )+
        }

        mod in_process {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name($crate::server::Server::in_process().await).await;
                }
            )+
        }
    };
}
pub(crate) use both;
