//! Heads of requests that hyper lets through and that are not to be served. Its own bound is one of its buffer: it
//! refuses what does not fit there, but what has already arrived is served, however much that is. And it leaves it to
//! others how often a request says whom it is for.

use std::convert::Infallible;
use std::future::{Ready, ready};

use axum::Router;
use axum::body::Body;
use futures_util::future::Either;
use http::header::{CONNECTION, HOST};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::service::Service;
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};
use placard_model::limits;

/// A router behind these checks. What does not pass them is answered as hyper answers what it refuses itself.
#[derive(Debug, Clone)]
pub(crate) struct Checked(TowerToHyperService<Router>);

impl Checked {
    pub(crate) fn new(router: Router) -> Self {
        Self(TowerToHyperService::new(router))
    }
}

impl Service<Request<Body>> for Checked {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<
        TowerToHyperServiceFuture<Router, Request<Body>>,
        Ready<Result<Response<Body>, Infallible>>,
    >;

    fn call(&self, request: Request<Body>) -> Self::Future {
        let Some(status) = refused(&request) else {
            return Either::Left(self.0.call(request));
        };
        let mut refusal = Response::new(Body::empty());
        *refusal.status_mut() = status;
        refusal.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        Either::Right(ready(Ok(refusal)))
    }
}

/// Why a request is not served, if it is not.
fn refused<B>(request: &Request<B>) -> Option<StatusCode> {
    if bytes(request) > limits::HEAD_BYTES_MAX {
        return Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    // RFC 9112, section 3.2. Of two hosts, a balancer may go by one and this server by the other.
    let hosts = request.headers().get_all(HOST).iter().count();
    let fits = hosts == 1 || hosts == 0 && request.version() < Version::HTTP_11;
    (!fits).then_some(StatusCode::BAD_REQUEST)
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
