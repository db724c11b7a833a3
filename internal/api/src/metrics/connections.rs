//! Metrics of connections, and of requests that are refused before any route is looked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::exposition::Exposition;
use super::requests::increment;

/// Why a server ends a connection that its client would have kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It was silent or idle for longest when there was no room for another.
    Room,
    /// It was silent or idle for too long.
    Idle,
    /// A head took too long.
    Head,
    /// Its client took nothing of an answer for too long.
    Stalled,
}

impl Ending {
    const CODES: [&str; 4] = ["room", "idle", "head", "stalled"];
}

/// Why a request is refused before any route is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is not HTTP, or violates its RFC.
    Malformed,
    /// Its head is too large.
    TooLarge,
    /// It asks for what this server does not do.
    NotImplemented,
    /// There is no room for it, or its client had given it up when it was read.
    Overloaded,
}

impl Refusal {
    const STATUSES: [&str; 4] = ["400", "431", "501", "503"];
}

/// What is counted of a server's connections; cloning it is cheap.
#[derive(Debug, Clone, Default)]
pub struct ConnectionMetrics {
    counted: Arc<Counted>,
    panics: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Counted {
    opened: AtomicU64,
    closed: AtomicU64,
    ended: [AtomicU64; Ending::CODES.len()],
    refused: [AtomicU64; Refusal::STATUSES.len()],
}

impl ConnectionMetrics {
    /// Returns the metrics for another server of the same process, of which only panics are shown.
    #[must_use]
    pub fn panics_alone(&self) -> Self {
        Self { counted: Arc::default(), panics: Arc::clone(&self.panics) }
    }

    pub(crate) fn opened(&self) {
        increment(&self.counted.opened);
    }

    pub(crate) fn closed(&self) {
        increment(&self.counted.closed);
    }

    pub(crate) fn ended(&self, ending: Ending) {
        increment(&self.counted.ended[ending as usize]);
    }

    pub(crate) fn refused(&self, refusal: Refusal) {
        increment(&self.counted.refused[refusal as usize]);
    }

    pub(crate) fn panicked(&self) {
        increment(&self.panics);
    }

    pub(super) fn write(&self, text: &mut Exposition) {
        let Counted { opened, closed, ended, refused } = &*self.counted;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // In this order: a connection is opened before it is closed.
        let (closed, opened) = (count(closed), count(opened));
        text.gauge(
            "placard_connections",
            "Connections to the API that are open",
            opened.saturating_sub(closed) as f64,
        );
        text.labelled(
            "placard_connections_ended_total",
            "Connections that the replica ended by itself, by `reason`: `room`: to accept another one, because \
             `--connections-max` were open; `idle`: nothing came for `--idle-timeout`; `head`: a head took longer than \
             10 s; `stalled`: the client read nothing of an answer for 10 s",
            "reason",
            Ending::CODES.into_iter().zip(ended.iter().map(count)),
        );
        text.labelled(
            "placard_http_refused_total",
            "Requests refused before routing, by `status`: 400 and 431 for heads that are wrong or too large, 501 for \
             what is not implemented, 503 if there was no room or if the client had given up while the replica was held",
            "status",
            Refusal::STATUSES.into_iter().zip(refused.iter().map(count)),
        );
        text.counter(
            "placard_connection_panics_total",
            "Connections that ended in a panic, which affects no other connection; should always be 0",
            count(&self.panics),
        );
    }
}
