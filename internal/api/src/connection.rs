//! A connection's life. It is silent, has a part of a head, has a request, answers, is idle between two requests, and
//! closes. hyper speaks HTTP and knows none of these but for itself; here they are kept where others see them: how long
//! each may last, who goes first when room is short ([`crate::house`]), and which answer is a connection's last.
//!
//! An answer is the last one (`Connection: close`) if the request was not read whole, if the server is about to stop, or
//! if there are more connections than there may be. Whatever closes, the sending side is shut first, and what still
//! comes is read for a while: closed at once, the connection would be reset under a client that is still sending, and
//! most clients then never look at the answer.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{self, Either};
use futures_util::task::AtomicWaker;
use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response, Uri};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use placard_model::limits;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_io_timeout::TimeoutStream;

use crate::client::Peer;
use crate::house::Stay;
use crate::problem::Problem;
use crate::{HEALTH_PATHS, head, requests};

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing has come on it.
    Silent,
    /// A part of a request's head has come.
    Head,
    /// A request is being read or decided.
    Request,
    /// Its answer is on the way.
    Answer,
    /// Every request so far is answered.
    Idle,
    /// The sending side is shut; what comes is thrown away.
    Closing,
}

impl Phase {
    const ALL: [Self; 6] =
        [Self::Silent, Self::Head, Self::Request, Self::Answer, Self::Idle, Self::Closing];
}

/// What a connection was told by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Stay,
    /// To go, unless it has a request.
    MakeRoom,
    /// To go as soon as it has no request.
    Finish,
}

/// What others may know of a connection, and tell it. Only the connection's own task changes its phase.
#[derive(Debug)]
pub(crate) struct Life {
    /// The phase, and the milliseconds of the house at which it began.
    moment: AtomicU64,
    order: AtomicU8,
    /// Whether a part of the request's body was not read.
    owed: AtomicBool,
    /// Whether the client had shut its sending side behind what it sent, in a time for which this process was held.
    is_abandoned: AtomicBool,
    /// Whether it was taken in beyond the most there may be, and room was not found since.
    is_extra: AtomicBool,
    waker: AtomicWaker,
}

/// Bits of a moment that hold the phase.
const PHASE_BITS: u32 = 3;

impl Life {
    /// One that begins at this millisecond.
    pub(crate) fn new(now_ms: u64, is_extra: bool) -> Self {
        Self {
            moment: AtomicU64::new(now_ms << PHASE_BITS | Phase::Silent as u64),
            order: AtomicU8::new(Order::Stay as u8),
            owed: AtomicBool::new(false),
            is_abandoned: AtomicBool::new(false),
            is_extra: AtomicBool::new(is_extra),
            waker: AtomicWaker::new(),
        }
    }

    /// The phase, and since which millisecond it lasts.
    pub(crate) fn phase(&self) -> (Phase, u64) {
        let moment = self.moment.load(Ordering::Relaxed);
        let phase = moment & ((1 << PHASE_BITS) - 1);
        (Phase::ALL[phase as usize], moment >> PHASE_BITS)
    }

    fn enter(&self, phase: Phase, now_ms: u64) {
        self.moment.store(now_ms << PHASE_BITS | phase as u64, Ordering::Relaxed);
    }

    fn order(&self) -> Order {
        match self.order.load(Ordering::Relaxed) {
            order if order == Order::MakeRoom as u8 => Order::MakeRoom,
            order if order == Order::Finish as u8 => Order::Finish,
            _ => Order::Stay,
        }
    }

    /// Gives another order, unless the one before was another one: nothing is put above [`Order::Finish`].
    fn tell(&self, before: Order, order: Order) {
        let (before, order) = (before as u8, order as u8);
        let told = self.order.compare_exchange(before, order, Ordering::Relaxed, Ordering::Relaxed);
        if told.is_ok() {
            self.waker.wake();
        }
    }

    /// Whether it was told to make room, and may not have gone yet.
    pub(crate) fn makes_room(&self) -> bool {
        self.order() == Order::MakeRoom
    }

    /// Has it go, unless it has a request by then.
    pub(crate) fn make_room(&self) {
        self.tell(Order::Stay, Order::MakeRoom);
    }

    /// Has it go as soon as it has no request.
    pub(crate) fn finish(&self) {
        self.order.store(Order::Finish as u8, Ordering::Relaxed);
        self.waker.wake();
    }

    /// How long its phase may last.
    fn allowed(&self, phase: Phase, idle_timeout: Duration) -> Option<Duration> {
        match phase {
            Phase::Silent | Phase::Idle => Some(idle_timeout),
            Phase::Head => Some(limits::HEADER_DEADLINE),
            // Bodies, decisions and answers have deadlines of their own.
            Phase::Request | Phase::Answer => None,
            Phase::Closing => {
                let (owed, ends) =
                    (self.owed.load(Ordering::Relaxed), self.order() == Order::Finish);
                Some(match (owed, ends) {
                    (true, false) => limits::UNWANTED_DEADLINE,
                    (false, true) => Duration::ZERO,
                    _ => limits::CLOSE_SIDE_DEADLINE,
                })
            }
        }
    }
}

pin_project! {
    /// A connection being served. It ends when its life does, and makes no error of it.
    pub(crate) struct Connection {
        // Until hyper is done with it.
        http: Option<http1::Connection<TokioIo<Observed>, Serving>>,
        // What hyper left open.
        rest: Option<Observed>,
        #[pin]
        timer: Sleep,
        // Whether hyper was told that what is under way is the last.
        is_ending: bool,
        stay: Stay,
    }
}

impl Connection {
    /// Serves what comes on a stream.
    pub(crate) fn new(stream: TcpStream, peer: IpAddr, router: Router, stay: Stay) -> Self {
        // Answers are small and written whole; a socket that refuses the option works, only later.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(limits::STALL_DEADLINE));
        let observed = Observed { stream: Box::pin(stream), stay: stay.clone(), unwanted: 0 };
        let serving = Serving { inner: head::Checked::new(router), peer, stay: stay.clone() };
        let timer = sleep_until(Instant::now() + stay.house().idle_timeout());
        let http = http1::Builder::new()
            // A client that shuts its sending side waits for its answer (RFC 9112, section 9.6).
            .half_close(true)
            .header_read_timeout(None)
            // A head that fits fits the buffer too.
            .max_buf_size(limits::HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(observed), serving);
        Self { http: Some(http), rest: None, timer, is_ending: false, stay }
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let (life, house) = (this.stay.life(), this.stay.house());
        life.waker.register(context.waker());
        loop {
            // First, so that what has arrived counts.
            if let Some(http) = this.http
                && let Poll::Ready(ended) = Pin::new(http).poll(context)
            {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection closed");
                    return Poll::Ready(());
                }
                // A connection that was asked to speak something else is not shut by hyper, though nobody here does.
                *this.rest = this.http.take().map(|http| http.into_parts().io.into_inner());
            }
            if let Some(rest) = this.rest
                && Pin::new(rest).poll_shutdown(context).is_ready()
            {
                return Poll::Ready(());
            }
            let (phase, since_ms) = life.phase();
            let is_free = matches!(phase, Phase::Silent | Phase::Idle);
            let ends = match life.order() {
                Order::Stay => false,
                Order::MakeRoom if matches!(phase, Phase::Head | Phase::Closing) => {
                    return Poll::Ready(());
                }
                Order::MakeRoom => {
                    if !is_free {
                        life.tell(Order::MakeRoom, Order::Stay);
                    }
                    is_free
                }
                Order::Finish => true,
            };
            if ends && !*this.is_ending {
                *this.is_ending = true;
                this.http.as_mut().map(Pin::new).map(http1::Connection::graceful_shutdown);
                continue;
            }
            let Some(allowed) = life.allowed(phase, house.idle_timeout()) else {
                return Poll::Pending;
            };
            let due = house.at(since_ms) + allowed;
            // It may stay set for earlier: each request would move it else.
            if due < this.timer.deadline() || this.timer.is_elapsed() {
                this.timer.as_mut().reset(due);
            }
            ready!(this.timer.as_mut().poll(context));
            if Instant::now() < due {
                continue;
            }
            if !is_free || *this.is_ending {
                return Poll::Ready(());
            }
            *this.is_ending = true;
            this.http.as_mut().map(Pin::new).map(http1::Connection::graceful_shutdown);
        }
    }
}

/// A stream that tells its connection's life what comes, and that reads on when it is shut.
struct Observed {
    stream: Pin<Box<TimeoutStream<TcpStream>>>,
    stay: Stay,
    /// Bytes that were thrown away.
    unwanted: u64,
}

impl Observed {
    /// Whether the client has shut its sending side right behind what was read.
    fn is_shut(&self) -> bool {
        let next = SockRef::from(self.stream.get_ref()).peek(&mut [MaybeUninit::uninit()]);
        next.is_ok_and(|bytes| bytes == 0)
    }
}

impl AsyncRead for Observed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = self.stream.as_mut().poll_read(context, buffer);
        let life = self.stay.life();
        let (phase, _) = life.phase();
        if buffer.filled().len() > before && self.stay.house().pulse().was_held() {
            life.is_abandoned.store(self.is_shut(), Ordering::Relaxed);
        }
        match phase {
            Phase::Request | Phase::Closing | Phase::Head => {}
            // What is read then is the rest of a body.
            Phase::Answer if life.owed.load(Ordering::Relaxed) => {}
            Phase::Answer if polled.is_pending() => self.stay.enter(Phase::Idle),
            _ if buffer.filled().len() > before => self.stay.enter(Phase::Head),
            _ => {}
        }
        polled
    }
}

impl AsyncWrite for Observed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(context)
    }

    /// Shuts the sending side, and is done when the client has shut its own, or has sent too much.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (phase, _) = self.stay.life().phase();
        if phase != Phase::Closing {
            ready!(self.stream.as_mut().poll_shutdown(context))?;
            if phase == Phase::Head {
                // It was refused, and more of it may come.
                self.stay.life().owed.store(true, Ordering::Relaxed);
            }
            self.stay.enter(Phase::Closing);
        }
        while self.unwanted <= limits::UNWANTED_BYTES_MAX {
            let mut bytes = [MaybeUninit::uninit(); 16 << 10];
            let mut buffer = ReadBuf::uninit(&mut bytes);
            // An error ends it as well as the end does.
            let read = ready!(self.stream.as_mut().poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
            self.unwanted += buffer.filled().len() as u64;
        }
        Poll::Ready(Ok(()))
    }
}

/// The routes, as one connection asks them.
struct Serving {
    inner: head::Checked,
    peer: IpAddr,
    stay: Stay,
}

type Inner = Either<<head::Checked as Service<Request<Body>>>::Future, Late>;
type Late = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl Service<Request<Incoming>> for Serving {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let life = self.stay.life();
        self.stay.enter(Phase::Request);
        life.owed.store(!request.body().is_end_stream(), Ordering::Relaxed);
        let mut request = request.map(|body| match body.is_end_stream() {
            true => Body::empty(),
            false => Body::new(Watched { body, stay: self.stay.clone() }),
        });
        // `OPTIONS *` asks about the server as a whole (RFC 9110, section 9.3.7).
        if request.method() == Method::OPTIONS && request.uri().path() == "*" {
            *request.uri_mut() = Uri::from_static("/");
        }
        // Where it may be told; to each read it would cost an allocation.
        if !request.method().is_safe()
            || request.headers().contains_key(requests::TRACEPARENT)
            || tracing::enabled!(tracing::Level::DEBUG)
        {
            request.extensions_mut().insert(Peer(self.peer));
        }
        let is_health =
            || request.method() == Method::OPTIONS || HEALTH_PATHS.contains(&request.uri().path());
        let is_abandoned = life.is_abandoned.load(Ordering::Relaxed);
        let inner = if is_abandoned && !request.method().is_safe() {
            // Who has given it up meanwhile, such as a balancer, must not find it done later.
            Either::Right(future::ready(Ok(overloaded(&request))).boxed())
        } else if life.is_extra.load(Ordering::Relaxed) && !is_health() {
            Either::Right(self.late(request))
        } else {
            Either::Left(self.inner.call(request))
        };
        Answering { inner, stay: self.stay.clone() }
    }
}

impl Serving {
    /// Answers once there is room, on a connection beyond the most there may be.
    fn late(&self, request: Request<Body>) -> Late {
        let (inner, stay) = (self.inner.clone(), self.stay.clone());
        Box::pin(async move {
            if stay.house().has_room().await {
                stay.life().is_extra.store(false, Ordering::Relaxed);
                return inner.call(request).await;
            }
            Ok(overloaded(&request))
        })
    }
}

/// A refusal that no route has a part in.
fn overloaded(request: &Request<Body>) -> Response<Body> {
    let mut refusal = Problem::overloaded().into_response();
    let id = requests::id_of(request.headers());
    requests::name(&mut refusal, id);
    refusal
}

pin_project! {
    /// A request under way on a connection.
    struct Answering {
        #[pin]
        inner: Inner,
        stay: Stay,
    }
}

impl Future for Answering {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = ready!(this.inner.poll(context));
        if this.stay.life().owed.load(Ordering::Relaxed) || this.stay.house().wants_out() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        this.stay.enter(Phase::Answer);
        Poll::Ready(Ok(response))
    }
}

/// A request's body, which says when all of it was read.
struct Watched {
    body: Incoming,
    stay: Stay,
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
            let life = self.stay.life();
            life.owed.store(false, Ordering::Relaxed);
            if life.is_abandoned.load(Ordering::Relaxed) {
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

impl Stay {
    fn enter(&self, phase: Phase) {
        self.life().enter(phase, self.house().now_ms());
    }
}
