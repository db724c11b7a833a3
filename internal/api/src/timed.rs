//! The layer that times and counts a route's answers. It is a service and not one of axum's middleware functions, which
//! would box a future and clone the route for each read.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::extract::Request;
use axum::response::Response;
use http::Method;
use metrics::{Counter, Histogram};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

/// The status classes that are answered.
pub(crate) const CLASSES: [(u16, &str); 4] = [(2, "2xx"), (3, "3xx"), (4, "4xx"), (5, "5xx")];

/// The handles of one route, looked up once; as a layer it times that route.
#[derive(Debug, Clone)]
pub(crate) struct RouteMetrics {
    methods: Arc<[MethodMetrics]>,
}

/// The handles of one method of it.
#[derive(Debug)]
pub(crate) struct MethodMetrics {
    pub(crate) method: Method,
    pub(crate) duration: Histogram,
    pub(crate) answered: [Counter; CLASSES.len()],
}

impl RouteMetrics {
    pub(crate) fn new(methods: Arc<[MethodMetrics]>) -> Self {
        Self { methods }
    }

    /// Returns the index of a method's handles. A method that the route does not accept is not timed.
    fn of(&self, method: &Method) -> Option<usize> {
        // A HEAD is a GET whose body is not sent.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.methods.iter().position(|timed| timed.method == method)
    }
}

impl<S> Layer<S> for RouteMetrics {
    type Service = Timed<S>;

    fn layer(&self, inner: S) -> Timed<S> {
        Timed { inner, route: self.clone() }
    }
}

/// A timed service.
#[derive(Debug, Clone)]
pub(crate) struct Timed<S> {
    inner: S,
    route: RouteMetrics,
}

impl<S> Service<Request> for Timed<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Timing<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let method = self.route.of(request.method());
        let started = Instant::now();
        Timing { inner: self.inner.call(request), route: self.route.clone(), method, started }
    }
}

pin_project! {
    /// A timed request under way.
    pub(crate) struct Timing<F> {
        #[pin]
        inner: F,
        route: RouteMetrics,
        method: Option<usize>,
        started: Instant,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for Timing<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(response) = ready!(this.inner.poll(context));
        if let Some(timed) = this.method.map(|at| &this.route.methods[at]) {
            timed.duration.record(this.started.elapsed());
            let class = response.status().as_u16() / 100;
            if let Some(at) = CLASSES.iter().position(|(known, _)| *known == class) {
                timed.answered[at].increment(1);
            }
        }
        Poll::Ready(Ok(response))
    }
}
