//! The bound of a request's head. hyper's own is one of its buffer: it refuses what does not fit there, but what has
//! already arrived is served, however much that is. Here what it has let through is measured.

use std::convert::Infallible;
use std::future::{Ready, ready};

use axum::Router;
use axum::body::Body;
use futures_util::future::Either;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};
use placard_model::limits;

/// A router behind the bound. What is beyond it is answered as hyper answers what does not fit its buffer.
#[derive(Debug, Clone)]
pub(crate) struct Bounded(TowerToHyperService<Router>);

impl Bounded {
    pub(crate) fn new(router: Router) -> Self {
        Self(TowerToHyperService::new(router))
    }
}

impl Service<Request<Incoming>> for Bounded {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<
        TowerToHyperServiceFuture<Router, Request<Incoming>>,
        Ready<Result<Response<Body>, Infallible>>,
    >;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        if bytes(&request) <= limits::HEAD_BYTES_MAX {
            return Either::Left(self.0.call(request));
        }
        let mut refusal = Response::new(Body::empty());
        *refusal.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        refusal.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        Either::Right(ready(Ok(refusal)))
    }
}

/// The size of a head that is written without needless space.
fn bytes<B>(request: &Request<B>) -> usize {
    const LINE: usize = "  HTTP/1.1\r\n".len();
    const FIELD: usize = ": \r\n".len();
    const END: usize = "\r\n".len();
    let uri = request.uri();
    let scheme = uri.scheme_str().map_or(0, |scheme| scheme.len() + "://".len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let fields = request.headers().iter();
    let fields: usize = fields.map(|(name, value)| name.as_str().len() + value.len() + FIELD).sum();
    request.method().as_str().len() + scheme + authority + path + LINE + fields + END
}
