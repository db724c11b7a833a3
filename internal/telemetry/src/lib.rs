//! Traces of writes, sent to a collector as OTLP over HTTP. The sole user of OpenTelemetry: a replica reports the steps
//! of a write through its port for spans. Whatever is wrong with the collector, no request waits for it: spans wait in
//! a bounded queue, are dropped beyond it, and both are counted.

mod client;
mod error;
mod queue;
mod remote;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, TraceFlags, TraceState,
    TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, Span as SdkSpan,
};
use placard_model::{TraceContext, limits};
use placard_replica::spans::{Arrival, Serving, SpanCounts, Spans, Stage, Step};

pub use error::StartError;
use queue::{Bounded, Counted, Counts};

/// The path below the endpoint at which a collector takes spans.
const TRACES_PATH: &str = "v1/traces";
/// Methods that a span names, of RFC 9110 and RFC 5789.
const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
/// Most spans that are sent in one request.
const EXPORT_SPANS_MAX: usize = 512;
/// How long spans wait for others to be sent with.
const EXPORT_EVERY: Duration = Duration::from_secs(1);

/// The configuration of tracing: what is traced, and where spans go.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The collector, as `http://host:4318` or with `https`.
    pub endpoint: String,
    /// The fraction of the writes without a `traceparent` that is traced, from 0 to 1.
    pub sample: f64,
    /// The name of this replica among the others.
    pub instance: String,
    /// The build's version.
    pub build: String,
}

/// The running adapter.
#[derive(Clone)]
pub struct Telemetry {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    counts: Arc<Counts>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Starts it, on this tokio runtime. The collector need not be there.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client::Client::new(&config.endpoint)?)
            .with_endpoint(format!("{}/{TRACES_PATH}", config.endpoint.trim_end_matches('/')))
            .with_timeout(limits::EXPORT_DEADLINE)
            .build()?;
        let counts = Arc::new(Counts::default());
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(limits::SPANS_MAX)
            .with_max_export_batch_size(EXPORT_SPANS_MAX)
            .with_scheduled_delay(EXPORT_EVERY)
            .build();
        let exporter = Counted::new(exporter, Arc::clone(&counts));
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let drawn = Sampler::TraceIdRatioBased(config.sample);
        let resource = Resource::builder_empty().with_service_name("placard").with_attributes([
            KeyValue::new("service.version", config.build.clone()),
            KeyValue::new("service.instance.id", config.instance.clone()),
        ]);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Bounded::new(processor, Arc::clone(&counts)))
            .with_sampler(Sampler::ParentBased(Box::new(drawn)))
            .with_resource(resource.build())
            .build();
        let tracer = provider.tracer("placard");
        Ok(Self { provider, tracer, counts })
    }

    /// Sends the spans that wait, for at most `wait`, and stops.
    pub async fn stop(self, wait: Duration) {
        let stopping = tokio::task::spawn_blocking(move || {
            self.provider.shutdown_with_timeout(wait).map_err(|error| error.to_string())
        });
        if let Ok(Err(error)) = stopping.await {
            tracing::warn!(error, "stopped before every span was sent");
        }
    }
}

impl Spans for Telemetry {
    fn arrived(&self, arrival: &Arrival<'_>) -> Option<Box<dyn Serving>> {
        let parent = remote::context(arrival.traceparent, arrival.tracestate);
        let asked = parent.span().span_context().is_valid();
        if !asked && !arrival.writes {
            return None;
        }
        let span = SpanBuilder::from_name(name(arrival))
            .with_kind(SpanKind::Server)
            .with_attributes(attributes(arrival))
            .start_with_context(&self.tracer, &parent);
        span.is_recording().then(|| Box::new(Served(span)) as Box<dyn Serving>)
    }

    fn done(&self, step: &Step) {
        let (name, kind, mut attributes) = match step.stage {
            Stage::Commit { requests } => {
                ("commit", SpanKind::Client, vec![count("placard.commit.requests", requests)])
            }
            Stage::Publish { entries } => {
                ("publish", SpanKind::Producer, vec![count("placard.publish.entries", entries)])
            }
            Stage::Apply { from } => (
                "apply",
                SpanKind::Consumer,
                vec![KeyValue::new("placard.apply.from", from.code())],
            ),
        };
        if let Some((first, last)) = step.versions {
            let version = |version| i64::try_from(version).unwrap_or(i64::MAX);
            attributes.push(KeyValue::new("placard.version.first", version(first)));
            attributes.push(KeyValue::new("placard.version.last", version(last)));
        }
        let mut span = SpanBuilder::from_name(name)
            .with_kind(kind)
            .with_start_time(step.begun)
            .with_attributes(attributes)
            .start_with_context(&self.tracer, &under(step.parent));
        if step.failed {
            span.set_status(Status::error(""));
        }
        span.end_with_timestamp(step.ended);
    }

    fn counts(&self) -> SpanCounts {
        self.counts.read()
    }
}

/// Names a request's span by values of low cardinality: the method and the route.
fn name(arrival: &Arrival<'_>) -> String {
    let method = method(arrival).unwrap_or("HTTP");
    arrival.route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"))
}

/// Returns the attributes of a request's span. Some thousands of spans may wait, so each is bounded, however much a
/// client sends.
fn attributes(arrival: &Arrival<'_>) -> Vec<KeyValue> {
    let path = &arrival.path[..arrival.path.floor_char_boundary(limits::SPAN_PATH_BYTES_MAX)];
    let mut attributes = vec![
        KeyValue::new("http.request.method", method(arrival).unwrap_or("_OTHER")),
        KeyValue::new("url.path", path.to_owned()),
    ];
    attributes.extend(arrival.route.map(|route| KeyValue::new("http.route", route)));
    let client = arrival.client.map(|client| KeyValue::new("client.address", client.to_string()));
    attributes.extend(client);
    attributes
}

/// Returns the method, if it is one that OpenTelemetry's conventions know; others may have any length.
fn method(arrival: &Arrival<'_>) -> Option<&'static str> {
    METHODS.into_iter().find(|known| *known == arrival.method)
}

fn count(key: &'static str, count: usize) -> KeyValue {
    KeyValue::new(key, i64::try_from(count).unwrap_or(i64::MAX))
}

/// Returns the context in which a span belongs to this place in its trace.
fn under(parent: TraceContext) -> Context {
    Context::new().with_remote_span_context(SpanContext::new(
        parent.trace_id.into(),
        parent.span_id.into(),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    ))
}

/// The span of a request under way. If it is dropped, the client has gone.
struct Served(SdkSpan);

impl Serving for Served {
    fn context(&self) -> TraceContext {
        let context = self.0.span_context();
        TraceContext {
            trace_id: u128::from_be_bytes(context.trace_id().to_bytes()),
            span_id: u64::from_be_bytes(context.span_id().to_bytes()),
        }
    }

    fn answered(mut self: Box<Self>, status: u16) {
        self.0.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if status >= 500 {
            self.0.set_status(Status::error(""));
        }
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival<'a>(method: &'a str, path: &'a str) -> Arrival<'a> {
        Arrival {
            method,
            route: None,
            path,
            client: None,
            traceparent: None,
            tracestate: None,
            writes: false,
        }
    }

    fn told(arrival: &Arrival<'_>, key: &str) -> String {
        let attributes = attributes(arrival);
        let found = attributes.iter().find(|attribute| attribute.key.as_str() == key);
        found.unwrap_or_else(|| panic!("{key} is not among {attributes:?}")).value.to_string()
    }

    #[test]
    fn a_span_holds_a_bounded_part_of_a_path() {
        let whole = "/".repeat(limits::SPAN_PATH_BYTES_MAX);
        assert_eq!(told(&arrival("GET", &whole), "url.path"), whole);
        assert_eq!(told(&arrival("GET", &format!("{whole}x")), "url.path"), whole);
        // The last character that fits would be cut in two.
        let wide = format!("{}é", &whole[1..]);
        assert_eq!(told(&arrival("GET", &wide), "url.path"), whole[1..]);
    }

    #[test]
    fn span_names_the_client() {
        let client = Some("203.0.113.9".parse().expect("an address"));
        let arrival = Arrival { client, ..arrival("GET", "/") };
        assert_eq!(told(&arrival, "client.address"), "203.0.113.9");
    }

    #[test]
    fn a_span_names_known_methods_only() {
        let own = "X".repeat(60_000);
        assert_eq!(name(&arrival("PATCH", "/")), "PATCH");
        assert_eq!(name(&arrival(&own, "/")), "HTTP");
        assert_eq!(told(&arrival("PATCH", "/"), "http.request.method"), "PATCH");
        assert_eq!(told(&arrival(&own, "/"), "http.request.method"), "_OTHER");
    }
}
