//! The phases of a connection: it is silent, has a part of a head, has a request, answers, is idle between two
//! requests, and closes. hyper speaks HTTP and keeps these phases to itself; here they are kept where other parts see
//! them. They decide how long each may last, which connection goes first when room is short ([`crate::http::occupancy`]), and
//! which answer is a connection's last.
//!
//! An answer is the last one (`Connection: close`) if the request was not read whole, if the server is about to stop, or
//! if there are more connections than there may be. Whatever closes, the sending side is shut first, and what still
//! comes is read for a while: closed at once, the connection would be reset under a client that is still sending, and
//! most clients then never look at the answer.

#![expect(clippy::disallowed_methods, reason = "a connection has deadlines")]

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{self, Either};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use placard_model::limits;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::http::client::Peer;
use crate::http::connection_state::{Order, Phase, UNKNOWN};
use crate::http::observed::Observed;
use crate::http::occupancy::{ConnectionSlot, Occupancy};
use crate::http::problem::{Overload, Problem};
use crate::http::{head, headers, requests};
use crate::metrics::connections::{Ending, Refusal};

/// What a connection serves.
#[derive(Debug, Clone)]
pub(crate) struct Routes {
    pub(crate) router: Router,
    /// Returns true for a path that is answered even on connections beyond the maximum.
    pub(crate) is_reserved: fn(&str) -> bool,
}

pin_project! {
    /// A connection being served. Its future ends with the connection, and never fails.
    pub(crate) struct Connection {
        // Until hyper is done with it.
        http: Option<http1::Connection<TokioIo<Observed>, Serving>>,
        // What hyper left open.
        rest: Option<Observed>,
        #[pin]
        timer: Sleep,
        // Whether hyper knows that the request under way is the last.
        is_ending: bool,
        slot: ConnectionSlot,
    }
}

impl Connection {
    /// Serves what comes on a stream.
    pub(crate) fn new(
        stream: TcpStream,
        peer: IpAddr,
        routes: Routes,
        slot: ConnectionSlot,
    ) -> Self {
        let Routes { router, is_reserved } = routes;
        // Answers are small and written whole; a socket that refuses the option works, only later.
        let _ = stream.set_nodelay(true);
        let observed = Observed::new(stream, slot.clone());
        let serving = Serving {
            inner: head::Checked::new(router, slot.occupancy().metrics().clone()),
            peer,
            is_reserved,
            slot: slot.clone(),
        };
        let timer = sleep_until(Instant::now() + slot.occupancy().idle_timeout());
        let http = http1::Builder::new()
            // A client that shuts its sending side waits for its answer (RFC 9112, section 9.6).
            .half_close(true)
            .header_read_timeout(None)
            // A head that fits fits the buffer too.
            .max_buf_size(limits::HEAD_BYTES_MAX)
            .max_headers(limits::HEADERS_MAX)
            .serve_connection(TokioIo::new(observed), serving);
        Self { http: Some(http), rest: None, timer, is_ending: false, slot }
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let (state, occupancy) = (this.slot.state(), this.slot.occupancy());
        state.waker.register(context.waker());
        loop {
            // First, so that what has arrived counts.
            if let Some(http) = this.http
                && let Poll::Ready(ended) = Pin::new(http).poll(context)
            {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection closed");
                    tell_of(&error, occupancy);
                    return Poll::Ready(());
                }
                // hyper does not shut a connection that was asked to upgrade to another protocol, although this server
                // upgrades none.
                *this.rest = this.http.take().map(|http| http.into_parts().io.into_inner());
            }
            if let Some(rest) = this.rest
                && Pin::new(rest).poll_shutdown(context).is_ready()
            {
                return Poll::Ready(());
            }
            this.slot.settle();
            let (phase, since_ms) = state.phase();
            let is_free = matches!(phase, Phase::Silent | Phase::Idle);
            let ends = match state.order() {
                Order::Stay => false,
                Order::MakeRoom if phase == Phase::Closing => return Poll::Ready(()),
                Order::MakeRoom if phase == Phase::Head => {
                    occupancy.metrics().ended(Ending::Room);
                    return Poll::Ready(());
                }
                Order::MakeRoom => {
                    if !is_free {
                        this.slot.remain();
                    }
                    is_free
                }
                Order::Finish => true,
            };
            if ends && !*this.is_ending {
                *this.is_ending = true;
                if state.order() == Order::MakeRoom {
                    occupancy.metrics().ended(Ending::Room);
                }
                this.http.as_mut().map(Pin::new).map(http1::Connection::graceful_shutdown);
                continue;
            }
            let Some(allowed) = state.allowed(phase, occupancy.idle_timeout()) else {
                return Poll::Pending;
            };
            let due = occupancy.at(since_ms) + allowed;
            // The timer may stay set for an earlier time: otherwise each request would move it.
            if due < this.timer.deadline() || this.timer.is_elapsed() {
                this.timer.as_mut().reset(due);
            }
            ready!(this.timer.as_mut().poll(context));
            if Instant::now() < due {
                continue;
            }
            if !is_free || *this.is_ending {
                if phase == Phase::Head {
                    occupancy.metrics().ended(Ending::Head);
                }
                return Poll::Ready(());
            }
            *this.is_ending = true;
            occupancy.metrics().ended(Ending::Idle);
            this.http.as_mut().map(Pin::new).map(http1::Connection::graceful_shutdown);
        }
    }
}

/// Counts the reason why a connection was ended.
fn tell_of(error: &hyper::Error, occupancy: &Occupancy) {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    if error.is_parse_too_large() {
        occupancy.metrics().refused(Refusal::TooLarge);
    } else if error.is_parse() {
        occupancy.metrics().refused(Refusal::Malformed);
    } else if cause.is_some_and(|cause: &io::Error| cause.kind() == io::ErrorKind::TimedOut) {
        occupancy.metrics().ended(Ending::Stalled);
    }
}

/// The routes, as one connection asks them.
#[derive(Clone)]
struct Serving {
    inner: head::Checked,
    peer: IpAddr,
    is_reserved: fn(&str) -> bool,
    slot: ConnectionSlot,
}

type Inner = Either<<head::Checked as Service<Request<Body>>>::Future, Late>;
type Late = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl Service<Request<Incoming>> for Serving {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let state = self.slot.state();
        self.slot.enter(Phase::Request);
        self.slot.settle();
        state.owed.store(!request.body().is_end_stream(), Ordering::Relaxed);
        let length = request.body().size_hint().exact().unwrap_or(UNKNOWN);
        state.to_come.store(length, Ordering::Relaxed);
        state.is_followed.store(false, Ordering::Relaxed);
        let mut request = request.map(|body| match body.is_end_stream() {
            true => Body::empty(),
            false => Body::new(Watched { body, slot: self.slot.clone() }),
        });
        // `OPTIONS *` asks about the server as a whole (RFC 9110, section 9.3.7).
        if request.method() == Method::OPTIONS && request.uri().path() == "*" {
            *request.uri_mut() = Uri::from_static("/");
        }
        // hyper goes by the coding, and has taken the length out.
        if state.says_length.load(Ordering::Relaxed)
            && request.headers().contains_key(TRANSFER_ENCODING)
        {
            request.extensions_mut().insert(head::SaysLength);
        }
        // Only where a log line or a span may name the peer: on every read it would cost an allocation.
        if !request.method().is_safe()
            || request.headers().contains_key(headers::TRACEPARENT)
            || tracing::enabled!(tracing::Level::DEBUG)
        {
            request.extensions_mut().insert(Peer(self.peer));
        }
        let is_reserved =
            || request.method() == Method::OPTIONS || (self.is_reserved)(request.uri().path());
        let is_abandoned = state.is_abandoned.load(Ordering::Relaxed);
        let inner = if is_abandoned && !request.method().is_safe() {
            // A client that has given the request up meanwhile, such as a load balancer, must not find it done later.
            Either::Right(future::ready(Ok(self.overloaded(Overload::Pause, &request))).boxed())
        } else if state.is_extra.load(Ordering::Relaxed) && !is_reserved() {
            Either::Right(self.late(request))
        } else {
            Either::Left(self.inner.call(request))
        };
        Answering { inner, slot: self.slot.clone() }
    }
}

impl Serving {
    /// Answers once there is room, on a connection beyond the most there may be.
    fn late(&self, request: Request<Body>) -> Late {
        let serving = self.clone();
        Box::pin(async move {
            if serving.slot.occupancy().has_room().await {
                serving.slot.state().is_extra.store(false, Ordering::Relaxed);
                return serving.inner.call(request).await;
            }
            Ok(serving.overloaded(Overload::Connections, &request))
        })
    }

    /// Returns a refusal without calling a route.
    fn overloaded(&self, by: Overload, request: &Request<Body>) -> Response<Body> {
        self.slot.occupancy().metrics().refused(Refusal::Overloaded);
        let mut refusal = Problem::overloaded(by).into_response();
        let id = requests::id_of(request.headers());
        requests::name(&mut refusal, id);
        refusal
    }
}

pin_project! {
    /// A request under way on a connection.
    struct Answering {
        #[pin]
        inner: Inner,
        slot: ConnectionSlot,
    }
}

impl Future for Answering {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = ready!(this.inner.poll(context));
        let state = this.slot.state();
        let is_last = state.owed.load(Ordering::Relaxed)
            || state.is_followed.load(Ordering::Relaxed)
            || this.slot.occupancy().wants_out();
        if is_last {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        // axum gives the length of the body that it has, an empty one (RFC 9110, section 8.6).
        if response.status() == StatusCode::NOT_MODIFIED {
            response.headers_mut().remove(CONTENT_LENGTH);
        }
        this.slot.enter(Phase::Answer);
        Poll::Ready(Ok(response))
    }
}

/// A request's body, which says when all of it was read.
struct Watched {
    body: Incoming,
    slot: ConnectionSlot,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            let state = self.slot.state();
            state.owed.store(false, Ordering::Relaxed);
            if state.is_abandoned.load(Ordering::Relaxed) {
                return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
            }
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(io::Error::other)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
