//! The layer that every request passes through. It gives the request an id, which its answer and its log lines carry,
//! and its place in a trace if it has one; and no cache keeps the answer unless the answer says so. One layer does all
//! of that, and allocates nothing but the id: each layer costs a read as much as finding its answer.

#![expect(
    clippy::disallowed_methods,
    reason = "it times requests, and draws the half of their ids that is the process's"
)]

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::extract::Request;
use axum::response::Response;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use pin_project_lite::pin_project;
use placard_model::limits;
use placard_replica::spans::{Arrival, Serving, Sink};
use tower::{Layer, Service};
use tracing::Span;
use uuid::{Builder, Uuid};

use crate::app::Config;
use crate::http::client::TrustedProxies;
use crate::http::headers::{REQUEST_ID, TRACEPARENT, TRACESTATE};

/// The layer.
#[derive(Debug, Clone)]
pub(crate) struct Identify {
    /// Where the spans of traced requests go.
    pub(crate) spans: Sink,
    /// Says which proxies are trusted to say where a request comes from.
    pub(crate) config: Arc<Config>,
    /// Returns the route of a path, if requests for it can be traced.
    pub(crate) route_of: fn(&str) -> Option<&'static str>,
}

impl<S> Layer<S> for Identify {
    type Service = Identified<S>;

    fn layer(&self, inner: S) -> Identified<S> {
        Identified { inner, layer: self.clone() }
    }
}

/// A service behind the layer.
#[derive(Debug, Clone)]
pub(crate) struct Identified<S> {
    inner: S,
    layer: Identify,
}

impl<S> Service<Request> for Identified<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let id = id_of(request.headers());
        let Identify { spans, config, route_of } = &self.layer;
        let serving = spans
            .as_ref()
            .and_then(|spans| spans.arrived(&arrival(&request, &config.trusted, *route_of)));
        if let Some(serving) = &serving {
            request.extensions_mut().insert(serving.context());
        }
        let logged = tracing::enabled!(tracing::Level::DEBUG).then(|| {
            // Every log line of the request names it. A span for each request would cost too much while no operator
            // looks at them.
            let id = id.to_str().unwrap_or_default();
            let client = config.trusted.client(request.headers(), request.extensions());
            let trace = serving.as_ref().map(|serving| serving.context().trace_id);
            let span = tracing::debug_span!(
                "request",
                id,
                method = %request.method(),
                path = request.uri().path(),
                client = client.map(tracing::field::display),
                trace = trace.map(|trace| tracing::field::display(format!("{trace:032x}"))),
            );
            (span, Instant::now())
        });
        let inner = match &logged {
            Some((span, _)) => span.in_scope(|| self.inner.call(request)),
            None => self.inner.call(request),
        };
        Answering { inner, id: Some(id), serving, logged }
    }
}

pin_project! {
    /// A request under way.
    pub(crate) struct Answering<F> {
        #[pin]
        inner: F,
        id: Option<HeaderValue>,
        serving: Option<Box<dyn Serving>>,
        logged: Option<(Span, Instant)>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for Answering<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let entered = this.logged.as_ref().map(|(span, _)| span.enter());
        let Ok(mut response) = ready!(this.inner.poll(context));
        let status = response.status().as_u16();
        if let Some((_, started)) = &this.logged {
            let took_us = started.elapsed().as_micros() as u64;
            tracing::debug!(status, took_us, "answered");
        }
        drop(entered);
        if let Some(serving) = this.serving.take() {
            serving.answered(status);
        }
        if let Some(id) = this.id.take() {
            name(&mut response, id);
        }
        Poll::Ready(Ok(response))
    }
}

/// Describes a request for the decision whether it is traced.
fn arrival<'r>(
    request: &'r Request,
    trusted: &TrustedProxies,
    route_of: fn(&str) -> Option<&'static str>,
) -> Arrival<'r> {
    let (method, path) = (request.method(), request.uri().path());
    let route = route_of(path);
    let safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
    Arrival {
        method: method.as_str(),
        route,
        path,
        client: trusted.client(request.headers(), request.extensions()),
        traceparent: only(request.headers(), &TRACEPARENT),
        tracestate: only(request.headers(), &TRACESTATE),
        writes: route.is_some() && !safe,
    }
}

/// A field's value, if it is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// The id of the request that has these fields.
pub(crate) fn id_of(headers: &HeaderMap) -> HeaderValue {
    given(headers).unwrap_or_else(generated)
}

/// Adds the header fields that every answer has. Nearly all answers depend on the ads or on the time, and a cache would
/// keep an answer without `Cache-Control` by its own rules.
pub(crate) fn name(response: &mut Response, id: HeaderValue) {
    const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers.entry(CACHE_CONTROL).or_insert(NO_STORE);
}

/// Returns the id that the client, or the load balancer, gave. An invalid one is ignored: it is not worth an error.
fn given(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(REQUEST_ID)?;
    let fits = (1..=limits::REQUEST_ID_BYTES_MAX).contains(&id.len());
    (fits && id.as_bytes().iter().all(u8::is_ascii_graphic)).then(|| id.clone())
}

/// Returns a UUID of this process's random half and a counter, which is cheaper for a read than a random one.
fn generated() -> HeaderValue {
    static PROCESS: LazyLock<u128> = LazyLock::new(|| Uuid::new_v4().as_u128() << 64);
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let id = Builder::from_custom_bytes((*PROCESS | u128::from(number)).to_be_bytes());
    let mut text = Uuid::encode_buffer();
    let text = id.into_uuid().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).expect("a UUID is visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_ids_are_distinct_uuids() {
        let (one, other) = (generated(), generated());
        assert_ne!(one, other);
        assert!(Uuid::try_parse(one.to_str().unwrap()).is_ok());
    }

    #[test]
    fn invalid_request_ids_are_replaced() {
        let read = |id: &[u8]| {
            let value = HeaderValue::from_bytes(id).unwrap();
            given(&HeaderMap::from_iter([(REQUEST_ID, value)])).is_some()
        };
        assert!(read(b"x") && read(&[b'~'; limits::REQUEST_ID_BYTES_MAX]));
        for other in [&b""[..], b"a b", b"\xe9", &[b'x'; limits::REQUEST_ID_BYTES_MAX + 1]] {
            assert!(!read(other), "{other:?}");
        }
    }
}
