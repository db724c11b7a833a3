//! The layer that times and counts a route's answers. It is a service and not one of axum's middleware functions, which
//! would box a future and clone the route for each read.

#![expect(clippy::disallowed_methods, reason = "it times requests")]

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::extract::Request;
use axum::response::Response;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::metrics::requests::RouteMetrics;

/// Times a route.
#[derive(Debug, Clone)]
pub(crate) struct Timer(pub(crate) Arc<RouteMetrics>);

impl<S> Layer<S> for Timer {
    type Service = Timed<S>;

    fn layer(&self, inner: S) -> Timed<S> {
        Timed { inner, route: Arc::clone(&self.0) }
    }
}

/// A timed service.
#[derive(Debug, Clone)]
pub(crate) struct Timed<S> {
    inner: S,
    route: Arc<RouteMetrics>,
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
        Timing { inner: self.inner.call(request), route: Arc::clone(&self.route), method, started }
    }
}

pin_project! {
    /// A timed request under way.
    pub(crate) struct Timing<F> {
        #[pin]
        inner: F,
        route: Arc<RouteMetrics>,
        method: Option<usize>,
        started: Instant,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for Timing<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(response) = ready!(this.inner.poll(context));
        if let Some(method) = *this.method {
            this.route.answered(method, response.status(), this.started.elapsed());
        }
        Poll::Ready(Ok(response))
    }
}
