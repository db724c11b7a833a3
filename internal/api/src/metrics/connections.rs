//! Metrics of connections, and of requests that are refused before any route is looked for.

use std::sync::Arc;

use metrics::{Counter, Gauge, Key, KeyName, Label, Recorder, SharedString};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::metadata::METADATA;

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

/// The handles of a server's connections; cloning them is cheap.
#[derive(Debug, Clone)]
pub struct ConnectionMetrics(Arc<Handles>);

#[derive(Debug)]
struct Handles {
    open: Gauge,
    ended: [Counter; Ending::CODES.len()],
    refused: [Counter; Refusal::STATUSES.len()],
    panics: Counter,
}

impl ConnectionMetrics {
    pub(super) fn new(recorder: &PrometheusRecorder) -> Self {
        let describe = |name, text: &'static str| {
            (KeyName::from_const_str(name), None, SharedString::from(text))
        };
        let counters = |name: &'static str, label: &'static str, values: [&'static str; 4]| {
            values.map(|value| {
                let key = Key::from_parts(name, vec![Label::new(label, value)]);
                recorder.register_counter(&key, &METADATA)
            })
        };
        let open = "placard_connections";
        let (name, unit, text) = describe(open, "Connections that are open");
        recorder.describe_gauge(name, unit, text);
        let ended = "placard_connections_ended_total";
        let (name, unit, text) =
            describe(ended, "Connections that the server has ended by itself, by why");
        recorder.describe_counter(name, unit, text);
        let refused = "placard_http_refused_total";
        let (name, unit, text) =
            describe(refused, "Requests refused before any route was looked for, by status");
        recorder.describe_counter(name, unit, text);
        let panics = "placard_connection_panics_total";
        let (name, unit, text) = describe(panics, "Connections that have ended in a panic");
        recorder.describe_counter(name, unit, text);
        Self(Arc::new(Handles {
            open: recorder.register_gauge(&Key::from_static_name(open), &METADATA),
            ended: counters(ended, "reason", Ending::CODES),
            refused: counters(refused, "status", Refusal::STATUSES),
            panics: recorder.register_counter(&Key::from_static_name(panics), &METADATA),
        }))
    }

    /// Returns the metrics for another server of the same process, of which only panics count.
    #[must_use]
    pub fn panics_alone(&self) -> Self {
        let (open, panics) = (Gauge::noop(), self.0.panics.clone());
        let (ended, refused) = ([const { Counter::noop() }; 4], [const { Counter::noop() }; 4]);
        Self(Arc::new(Handles { open, ended, refused, panics }))
    }

    pub(crate) fn opened(&self) {
        self.0.open.increment(1.0);
    }

    pub(crate) fn closed(&self) {
        self.0.open.decrement(1.0);
    }

    pub(crate) fn ended(&self, ending: Ending) {
        self.0.ended[ending as usize].increment(1);
    }

    pub(crate) fn refused(&self, refusal: Refusal) {
        self.0.refused[refusal as usize].increment(1);
    }

    pub(crate) fn panicked(&self) {
        self.0.panics.increment(1);
    }
}
