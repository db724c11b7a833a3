//! The accept loop. `axum::serve` sets no timer, so hyper's header deadline would not work there; here every
//! connection has a deadline for its head, for being idle, and for taking its answers, and there is a bound
//! on how many there are.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use placard_model::limits;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio_io_timeout::TimeoutStream;

use crate::head;

/// Pause after an accept that failed for want of something (descriptors, memory), lest it fail in a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How the connections of a server are treated.
#[derive(Debug)]
pub struct Connections<P> {
    /// How many there may be at once.
    pub max: usize,
    /// Called when one has ended in a panic, which costs no other.
    pub panicked: P,
    /// How long those under way may take to finish their request, once the server is to stop.
    pub wait: Duration,
}

/// Serves connections until `stop` is done; then takes no new ones, and has those under way finish their request.
/// Returns whether all did in time.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    Connections { max, panicked, wait }: Connections<impl Fn()>,
    stop: impl Future<Output = ()>,
) -> bool {
    let places = Arc::new(Semaphore::new(max));
    let graceful = GracefulShutdown::new();
    let mut running = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let accept = async {
            let permit = Arc::clone(&places).acquire_owned().await;
            let accepted = listener.accept().await;
            (permit.expect("the semaphore is never closed"), accepted)
        };
        let (permit, accepted) = tokio::select! {
            biased;
            () = &mut stop => break,
            Some(ended) = running.join_next() => {
                tell(ended, &panicked);
                continue;
            }
            next = accept => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = connection(stream, router.clone());
                let watched = graceful.watch(connection);
                running.spawn(async move {
                    if let Err(error) = watched.await {
                        tracing::debug!(%error, "connection closed");
                    }
                    drop(permit);
                });
            }
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let finished = tokio::time::timeout(wait, graceful.shutdown()).await.is_ok();
    while let Some(ended) = running.try_join_next() {
        tell(ended, &panicked);
    }
    // Who has not finished has what is left of the process' time.
    running.detach_all();
    finished
}

fn tell(ended: Result<(), JoinError>, panicked: &impl Fn()) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection has ended in a panic");
        panicked();
    }
}

fn is_the_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

type Connection =
    http1::Connection<TokioIo<std::pin::Pin<Box<TimeoutStream<TcpStream>>>>, head::Checked>;

fn connection(stream: TcpStream, router: Router) -> Connection {
    // Answers are small and written whole; a socket that refuses the option works, only later.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits::STALL_DEADLINE));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEADER_DEADLINE)
        .max_headers(limits::HEADERS_MAX)
        // A head that fits fits the buffer too.
        .max_buf_size(limits::HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Box::pin(stream)), head::Checked::new(router))
}
