//! Checks of request heads that hyper lets through and that must not be served. hyper's own bound is the size of its
//! buffer: it refuses a head that does not fit, but serves what has already arrived, however large that is. And it does
//! not check the number of `Host` fields, the transfer codings, and the form of the target.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::Ipv6Addr;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use futures_util::future::Either;
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::service::Service;
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};
use placard_model::limits;

use crate::http::problem::Problem;
use crate::http::requests;
use crate::metrics::connections::{ConnectionMetrics, Refusal};

/// Among a request's extensions: its head says a length, which hyper has taken out because it says a transfer coding too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SaysLength;

/// A router behind these checks. What does not pass them is the last request of its connection.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    inner: TowerToHyperService<Router>,
    metrics: ConnectionMetrics,
}

impl Checked {
    /// Returns a router that counts the requests that it refuses.
    pub(crate) fn new(router: Router, metrics: ConnectionMetrics) -> Self {
        Self { inner: TowerToHyperService::new(router), metrics }
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
        let Some(problem) = refused(&request) else {
            return Either::Left(self.inner.call(request));
        };
        self.metrics.refused(match problem.status() {
            StatusCode::NOT_IMPLEMENTED => Refusal::NotImplemented,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Refusal::TooLarge,
            _ => Refusal::Malformed,
        });
        let id = requests::id_of(request.headers());
        let mut refusal = problem.into_response();
        requests::name(&mut refusal, id);
        refusal.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        Either::Right(ready(Ok(refusal)))
    }
}

/// Returns the reason why a request is refused, if it is.
fn refused<B>(request: &Request<B>) -> Option<Problem> {
    if bytes(request) > limits::HEAD_BYTES_MAX {
        return Some(Problem::head_too_large(limits::HEAD_BYTES_MAX));
    }
    if !has_host(request) {
        return Some(Problem::invalid_host());
    }
    // RFC 9112, section 6.1, lets a server go by the coding and close. But a proxy that went by the length has sent on
    // what follows as another request, perhaps of another client: it would be read as a part of this one.
    if request.extensions().get::<SaysLength>().is_some() {
        return Some(Problem::ambiguous_length());
    }
    if !is_delimited(request) {
        return Some(Problem::not_implemented("the only transfer coding taken is chunked"));
    }
    if request.method() == Method::CONNECT {
        return Some(Problem::not_implemented("this server is no proxy"));
    }
    (!has_target(request)).then(Problem::invalid_target)
}

/// Returns true if the request has one valid host (RFC 9112, section 3.2). Of two hosts, a load balancer may go by one
/// and this server by the other.
fn has_host<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().is_ok_and(is_host),
        (None, _) => request.version() < Version::HTTP_11,
        (Some(_), Some(_)) => false,
    }
}

/// Returns true if the body ends where this server sees its end (RFC 9112, section 6.1): it has no transfer coding, or
/// `chunked` alone.
fn is_delimited<B>(request: &Request<B>) -> bool {
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    codings.next().is_none_or(is_chunked) && codings.next().is_none()
}

/// Returns true if the target is valid (RFC 9112, section 3.2): a path, a URL, or `*` for the server as a whole.
fn has_target<B>(request: &Request<B>) -> bool {
    let uri = request.uri();
    match (uri.scheme_str(), uri.authority()) {
        (Some(scheme), Some(authority)) => {
            let known = ["http", "https"].iter().any(|known| known.eq_ignore_ascii_case(scheme));
            known && is_host(authority.as_str())
        }
        (None, None) if uri.path() == "*" => request.method() == Method::OPTIONS,
        (None, None) => uri.path().starts_with('/'),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Returns true for a host and at most a port (RFC 3986, section 3.2), without the comma, which would make it a list.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => match bracketed.split_once(']') {
            Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => ("", port),
            _ => return false,
        },
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let is_port = |digits: &str| {
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number && (digits.is_empty() || digits.parse::<u16>().is_ok())
    };
    let mut escapes = host.split('%');
    let is_plain = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(&byte))
    };
    let is_escaped = |text: &str| {
        let digits = text.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) && is_plain(text)
    };
    (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
        && escapes.next().is_some_and(is_plain)
        && escapes.all(is_escaped)
}

/// Returns the size of a head as it is written without needless space.
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
