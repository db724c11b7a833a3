//! The port through which a replica reports the steps of traced writes. The adapter is in the telemetry crate; a
//! replica without one only passes on the trace contexts that requests and entries carry.

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use placard_model::{TraceContext, Version};

/// Where spans go, if they go anywhere.
pub type Sink = Option<Arc<dyn Spans>>;

/// Takes spans. No call waits for anything.
pub trait Spans: Debug + Send + Sync + 'static {
    /// A request has arrived. `None` if it is not traced: its `traceparent` says so, or it has none and was not
    /// drawn.
    fn arrived(&self, arrival: &Arrival<'_>) -> Option<Box<dyn Serving>>;

    /// Takes a step of a traced write that is done.
    fn done(&self, step: &Step);

    /// Returns what has become of the spans so far.
    fn counts(&self) -> SpanCounts;
}

/// A request that has just arrived.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Its method.
    pub method: &'a str,
    /// The route that will answer it, such as `/api/v1/ad/{id}`; `None` if none does.
    pub route: Option<&'static str>,
    /// The path that it asks for.
    pub path: &'a str,
    /// Whom it comes from, if that is known.
    pub client: Option<IpAddr>,
    /// Its only `traceparent`.
    pub traceparent: Option<&'a str>,
    /// Its only `tracestate`.
    pub tracestate: Option<&'a str>,
    /// Whether it may change something: only such requests are sampled for a trace that the client did not ask for.
    pub writes: bool,
}

/// The span of a request that is being served. Dropped before an answer, it ends without one.
pub trait Serving: Send + Sync {
    /// Returns the place in the trace for everything that is done for the request.
    fn context(&self) -> TraceContext;

    /// Notes that the request was answered with this status.
    fn answered(self: Box<Self>, status: u16);
}

/// A step that a replica took for a traced write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The request's place in the trace.
    pub parent: TraceContext,
    /// What was done.
    pub stage: Stage,
    /// The first and the last version concerned; `None` if nothing was written.
    pub versions: Option<(Version, Version)>,
    /// When it was begun, by this machine's clock.
    pub begun: SystemTime,
    /// When it was done.
    pub ended: SystemTime,
    /// Whether it failed. It may have been tried again, as a step of its own.
    pub failed: bool,
}

/// The kinds of steps for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// One transaction was tried, for all requests of a batch.
    Commit {
        /// The requests in it.
        requests: usize,
    },
    /// The entries were appended to the stream, together with others.
    Publish {
        /// The entries that were appended together.
        entries: usize,
    },
    /// The entries were applied and made visible to readers.
    Apply {
        /// How they came here.
        from: Source,
    },
}

/// How entries come to a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// It has committed them itself.
    Commit,
    /// By the stream.
    Stream,
    /// From the journal, because the stream did not bring them.
    Journal,
}

impl Source {
    /// Returns the source in one word.
    pub fn code(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Stream => "stream",
            Self::Journal => "journal",
        }
    }
}

/// What became of spans, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpanCounts {
    /// Sent, and taken by the collector.
    pub sent: u64,
    /// Not taken by the collector, whatever it or the way to it failed in.
    pub failed: u64,
    /// Never sent, because too many were waiting.
    pub dropped: u64,
}
