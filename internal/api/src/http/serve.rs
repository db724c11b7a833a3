//! The accept loop. `axum::serve` has nothing of what is needed here: a bound on connections, with a choice of the
//! connection that goes when it is reached; deadlines ([`crate::http::connection`]); and a stop that no client notices.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use placard_model::limits;
use placard_replica::Outage;
use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use crate::http::connection::{Connection, Routes};
use crate::http::occupancy::Occupancy;
use crate::http::pulse::BEAT;
use crate::metrics::connections::ConnectionMetrics;

/// Pause after an accept that failed because a resource ran out (descriptors, memory), so that the loop is not busy.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How the connections of a server are treated.
#[derive(Debug)]
pub struct Connections {
    /// How many there may be at once.
    pub max: usize,
    /// How many more are taken in, so that health checks are heard.
    pub reserved: usize,
    /// How long one may be silent or idle.
    pub idle_timeout: Duration,
    /// Their metrics.
    pub metrics: ConnectionMetrics,
    /// How long those under way may take to finish their request, once the server is to stop.
    pub wait: Duration,
}

/// What a server is to do. Dropping the sender of these stops it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stage {
    /// Serve.
    #[default]
    Serving,
    /// Serve on, with every answer its connection's last, so that clients go elsewhere by themselves.
    Draining,
    /// Take no new connections, and end.
    Stopping,
}

/// Listens on an address, with room for a burst of connections ([`limits::BACKLOG`]).
///
/// # Errors
/// The address cannot be bound.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // As std's listeners do: the port of a server that has just stopped can be bound again.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(limits::BACKLOG)
}

/// Returns the number of connections that may wait to be accepted on this system, if it is less than a listener asks
/// for.
pub fn short_backlog() -> Option<u32> {
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?;
    most.trim().parse().ok().filter(|most| *most < limits::BACKLOG)
}

/// Serves connections until the stage is [`Stage::Stopping`]. Then it takes no new ones, gives those that are idle a last
/// moment, and has those under way finish their request. Returns whether all did in time.
pub(crate) async fn serve(
    listener: TcpListener,
    routes: Routes,
    connections: Connections,
    mut stage: watch::Receiver<Stage>,
) -> bool {
    let Connections { max, reserved, idle_timeout, metrics, wait } = connections;
    let occupancy = Occupancy::new(max, reserved, idle_timeout, metrics.clone());
    let mut running = JoinSet::new();
    let mut beats = interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut outage = Outage::of("connections cannot be accepted");
    loop {
        let accept = async {
            occupancy.takes_one_more().await;
            listener.accept().await
        };
        let accepted = tokio::select! {
            biased;
            stage = next(&mut stage) => match stage {
                Stage::Serving => continue,
                Stage::Draining => {
                    occupancy.drain();
                    continue;
                }
                Stage::Stopping => break,
            },
            _ = beats.tick() => {
                occupancy.pulse().beat();
                outage.settle();
                continue;
            }
            Some(ended) = running.join_next() => {
                tell(ended, &metrics);
                continue;
            }
            accepted = accept => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                outage.works();
                running.spawn(Connection::new(
                    stream,
                    peer.ip(),
                    routes.clone(),
                    occupancy.enter(),
                ));
            }
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                outage.failed(&error);
                occupancy.shrink();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    occupancy.drain();
    for (stream, peer) in last_accepted(listener) {
        running.spawn(Connection::new(stream, peer.ip(), routes.clone(), occupancy.enter()));
    }
    let mut all_ended = async |running: &mut JoinSet<()>| {
        loop {
            tokio::select! {
                ended = running.join_next() => match ended {
                    Some(ended) => tell(ended, &metrics),
                    None => break,
                },
                _ = beats.tick() => occupancy.pulse().beat(),
            }
        }
    };
    // A request may be on its way on a connection that is idle.
    if tokio::time::timeout(limits::LAST_REQUESTS, all_ended(&mut running)).await.is_ok() {
        return true;
    }
    occupancy.finish();
    let finished = tokio::time::timeout(wait, all_ended(&mut running)).await.is_ok();
    // Connections that have not finished have what is left of the process' time.
    running.detach_all();
    finished
}

async fn next(stage: &mut watch::Receiver<Stage>) -> Stage {
    match stage.changed().await {
        Ok(()) => *stage.borrow_and_update(),
        Err(_) => Stage::Stopping,
    }
}

/// Closes a listener, and returns the connections that were not accepted yet: they would be reset with it, and a client
/// may have sent a request on them.
fn last_accepted(listener: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    /// A classic BPF program that lets nothing through: `BPF_RET | BPF_K` with 0 (linux/filter.h).
    const NOTHING: SockFilter = SockFilter::new(0x06, 0, 0, 0);
    let socket = SockRef::from(&listener);
    // No client may connect between the last accept and the close. A client that tries meanwhile gets no reply and
    // tries again, as after any lost packet. Without the filter that gap stays open, which is no reason not to stop.
    if let Err(error) = socket.attach_filter(&[NOTHING]) {
        tracing::debug!(%error, "connections may be reset while the listener closes");
    }
    let accepted = std::iter::from_fn(|| socket.accept().ok());
    let streams = accepted.filter_map(|(stream, peer)| {
        stream.set_nonblocking(true).ok()?;
        Some((TcpStream::from_std(stream.into()).ok()?, peer.as_socket()?))
    });
    streams.take(limits::BACKLOG as usize).collect()
}

fn tell(ended: Result<(), JoinError>, metrics: &ConnectionMetrics) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection has ended in a panic");
        metrics.panicked();
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
