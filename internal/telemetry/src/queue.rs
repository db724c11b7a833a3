//! Bounds the spans that wait to be sent, and counts what became of them. OpenTelemetry's own queue has a bound too,
//! but does not report it while it drops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use placard_model::limits;
use placard_replica::spans::SpanCounts;

/// Counts what became of spans.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// In the queue, or being sent.
    waiting: AtomicUsize,
    sent: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    /// Whether the last attempt to send has failed.
    failing: AtomicBool,
    /// Whether a span was dropped since the queue was last empty.
    dropping: AtomicBool,
}

impl Counts {
    pub(crate) fn read(&self) -> SpanCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        SpanCounts {
            sent: read(&self.sent),
            failed: read(&self.failed),
            dropped: read(&self.dropped),
        }
    }
}

/// Takes a span only if there is room for it.
#[derive(Debug)]
pub(crate) struct Bounded<P> {
    next: P,
    counts: Arc<Counts>,
}

impl<P> Bounded<P> {
    pub(crate) fn new(next: P, counts: Arc<Counts>) -> Self {
        Self { next, counts }
    }
}

impl<P: SpanProcessor> SpanProcessor for Bounded<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.next.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        let counts = &self.counts;
        if counts.waiting.fetch_add(1, Ordering::Relaxed) < limits::SPANS_MAX {
            self.next.on_end(span);
            return;
        }
        counts.waiting.fetch_sub(1, Ordering::Relaxed);
        counts.dropped.fetch_add(1, Ordering::Relaxed);
        if !counts.dropping.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                waiting = limits::SPANS_MAX,
                "spans are dropped: more are made than the collector takes"
            );
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, wait: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(wait)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

/// Sends spans, and says how that went.
#[derive(Debug)]
pub(crate) struct Counted<E> {
    next: E,
    counts: Arc<Counts>,
}

impl<E> Counted<E> {
    pub(crate) fn new(next: E, counts: Arc<Counts>) -> Self {
        Self { next, counts }
    }
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        let (counts, count) = (&self.counts, spans.len());
        let result = self.next.export(spans).await;
        if counts.waiting.fetch_sub(count, Ordering::Relaxed) == count {
            counts.dropping.store(false, Ordering::Relaxed);
        }
        let outcome = if result.is_ok() { &counts.sent } else { &counts.failed };
        outcome.fetch_add(count as u64, Ordering::Relaxed);
        let failed_before = counts.failing.swap(result.is_err(), Ordering::Relaxed);
        match &result {
            Err(error) if !failed_before => {
                tracing::warn!(%error, "spans cannot be sent, and are lost until they can");
            }
            Ok(()) if failed_before => tracing::info!("spans are sent again"),
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, wait: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(wait)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    use opentelemetry::trace::{SpanBuilder, TracerProvider as _};
    use opentelemetry_sdk::error::OTelSdkError;
    use opentelemetry_sdk::trace::SdkTracerProvider;

    /// Keeps what it is given, and sends nothing.
    #[derive(Debug, Clone, Default)]
    struct Stuck(Arc<Mutex<Vec<SpanData>>>);

    impl SpanProcessor for Stuck {
        fn on_start(&self, _: &mut Span, _: &Context) {}

        fn on_end(&self, span: SpanData) {
            self.0.lock().unwrap().push(span);
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    /// Takes everything, or nothing.
    #[derive(Debug)]
    struct Sending(bool);

    impl SpanExporter for Sending {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            if self.0 { Ok(()) } else { Err(OTelSdkError::AlreadyShutdown) }
        }
    }

    #[tokio::test]
    async fn spans_beyond_the_bound_are_dropped_and_counted() {
        let (counts, stuck) = (Arc::new(Counts::default()), Stuck::default());
        let bounded = Bounded::new(stuck.clone(), Arc::clone(&counts));
        let provider = SdkTracerProvider::builder().with_span_processor(bounded).build();
        let tracer = provider.tracer("test");
        let make = |count: usize| {
            (0..count).for_each(|_| drop(SpanBuilder::from_name("span").start(&tracer)));
        };
        make(limits::SPANS_MAX + 10);
        let waiting = std::mem::take(&mut *stuck.0.lock().unwrap());
        assert_eq!(waiting.len(), limits::SPANS_MAX);
        assert_eq!(counts.read(), SpanCounts { sent: 0, failed: 0, dropped: 10 });
        // Spans that were sent, or could not be, make room.
        let (sent, failed) = waiting.split_at(5);
        let sending = |works| Counted::new(Sending(works), Arc::clone(&counts));
        assert!(sending(true).export(sent.to_vec()).await.is_ok());
        assert!(sending(false).export(failed[..7].to_vec()).await.is_err());
        make(5 + 7 + 1);
        assert_eq!(stuck.0.lock().unwrap().len(), 5 + 7);
        assert_eq!(counts.read(), SpanCounts { sent: 5, failed: 7, dropped: 11 });
    }
}
