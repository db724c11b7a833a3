//! A TCP proxy with faults that a test switches: connections are cut, refused, forgotten, held or delayed, at once
//! or at the moment when a client sends certain bytes; large packets are swallowed.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A direction through the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Requests,
    /// From the server to the client.
    Answers,
}

/// How bytes go in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Passes bytes on as they come.
    Pass,
    /// Holds all bytes back; what has arrived meanwhile goes on once they pass again.
    Hold,
    /// Passes each piece on after this delay.
    Delay(Duration),
    /// Passes on this number of bytes in a second.
    Slow(u32),
    /// Drops everything on a connection from the first piece on that is larger than this number of bytes: such packets
    /// do not fit through the path, and neither end learns of it (a path MTU black hole). They pass, with what has come
    /// since, once the flow is another.
    Swallow(usize),
}

/// What happens to a connection whose client sends a trap's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It is cut before the server gets them.
    LoseRequest,
    /// The server gets them, and the connection is cut in the place of its answer.
    LoseAnswer,
    /// The server gets them and keeps its connection, but the client is cut at once.
    Orphan,
    /// The server gets the bytes up to the trap's last one and nothing more; both ends stay open.
    StallRequest,
    /// The server gets them, and its answer is not taken; both ends stay open.
    StallAnswer,
    /// The server gets the bytes up to the trap's last one and nothing more, and nothing is taken of it; both ends stay
    /// open.
    Stall,
    /// The server gets them, and from now on answers are held on every connection, as by [`Flow::Hold`].
    HoldAnswers,
}

#[derive(Debug, Clone)]
struct State {
    /// Connections that were made in an earlier epoch are to end.
    epoch: u64,
    /// The number of times that connections were forgotten.
    forgotten: u64,
    refuses: bool,
    requests: Flow,
    answers: Flow,
    trap: Option<(Arc<[u8]>, Then)>,
    sprung: u64,
}

/// The proxy; it and its connections end when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: Arc<watch::Sender<State>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1, and passes on what comes to the server's port there.
    ///
    /// # Errors
    /// There is no port to listen on.
    pub async fn start(server: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (state, _) = watch::channel(State {
            epoch: 0,
            forgotten: 0,
            refuses: false,
            requests: Flow::Pass,
            answers: Flow::Pass,
            trap: None,
            sprung: 0,
        });
        let state = Arc::new(state);
        let task = tokio::spawn(serve(listener, server, Arc::clone(&state)));
        Ok(Self { port, state, task })
    }

    /// Returns the port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts every connection there is.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.epoch += 1);
    }

    /// Forgets every connection there is, as a restarted firewall does: nothing passes on them any more, and neither
    /// end is notified. New ones pass.
    pub fn forget(&self) {
        self.state.send_modify(|state| state.forgotten += 1);
    }

    /// Sets whether it closes new connections at once.
    pub fn refuse(&self, refuses: bool) {
        self.state.send_modify(|state| state.refuses = refuses);
    }

    /// Sets how bytes go in a direction from now on, on every connection.
    pub fn set(&self, way: Way, flow: Flow) {
        self.state.send_modify(|state| match way {
            Way::Requests => state.requests = flow,
            Way::Answers => state.answers = flow,
        });
    }

    /// Sets a trap for the next connection whose client sends these bytes. There is one at a time.
    pub fn trap(&self, bytes: &[u8], then: Then) {
        self.state.send_modify(|state| state.trap = Some((bytes.into(), then)));
    }

    /// Waits until the trap that was set has been sprung.
    pub async fn sprung(&self) {
        // The sender is this value's own: it is there.
        let _ = self.state.subscribe().wait_for(|state| state.trap.is_none()).await;
    }

    /// Returns the number of traps that have been sprung.
    pub fn springs(&self) -> u64 {
        self.state.borrow().sprung
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, server: u16, state: Arc<watch::Sender<State>>) {
    // Aborted with this task, since they are in its set.
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        if state.borrow().refuses {
            continue;
        }
        let state = Arc::clone(&state);
        connections.spawn(async move {
            // An error ends the connection, which is all that there is to say.
            let _ = pass(client, server, state).await;
        });
    }
}

/// What both directions of a connection know.
struct Connection {
    state: Arc<watch::Sender<State>>,
    /// What a sprung trap has done to it.
    caught: watch::Sender<Option<Then>>,
}

async fn pass(
    mut client: TcpStream,
    server: u16,
    state: Arc<watch::Sender<State>>,
) -> io::Result<()> {
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (epoch, forgotten) = {
        let state = state.borrow();
        (state.epoch, state.forgotten)
    };
    let connection = Connection { state, caught: watch::Sender::new(None) };
    let (mut ended, mut lost) = (connection.state.subscribe(), connection.state.subscribe());
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    tokio::select! {
        done = requests(&connection, &mut from_client, &mut to_server) => done?,
        done = answers(&connection, &mut from_server, &mut to_client) => done?,
        _ = ended.wait_for(|state| state.epoch != epoch) => {}
        _ = lost.wait_for(|state| state.forgotten != forgotten) => {}
    }
    if connection.state.borrow().forgotten != forgotten {
        // Both ends stay open.
        let _ = ended.wait_for(|state| state.epoch != epoch).await;
    }
    if *connection.caught.borrow() == Some(Then::Orphan) {
        drop(client);
        let mut nowhere = tokio::io::sink();
        tokio::select! {
            done = tokio::io::copy(&mut server, &mut nowhere) => drop(done?),
            _ = ended.wait_for(|state| state.epoch != epoch) => {}
        }
    }
    Ok(())
}

impl Connection {
    /// Waits until `bytes` bytes may go on.
    async fn flows(&self, way: Way, bytes: usize) {
        let mut state = self.state.subscribe();
        let of = |state: &State| match way {
            Way::Requests => state.requests,
            Way::Answers => state.answers,
        };
        let passes = |flow: Flow| match flow {
            Flow::Hold => false,
            Flow::Swallow(larger) => bytes <= larger,
            Flow::Pass | Flow::Delay(_) | Flow::Slow(_) => true,
        };
        let passing = state.wait_for(|state| passes(of(state))).await;
        let flow = passing.map_or(Flow::Pass, |state| of(&state));
        let pause = match flow {
            Flow::Delay(pause) => pause,
            Flow::Slow(rate) => Duration::from_secs_f64(bytes as f64 / f64::from(rate)),
            Flow::Pass | Flow::Hold | Flow::Swallow(_) => return,
        };
        tokio::time::sleep(pause).await;
    }

    /// Returns how far the bytes go that end in `tail`, if they spring a trap; the bytes before `new` went on earlier,
    /// and spring no trap by themselves.
    fn springs(&self, tail: &[u8], new: usize) -> Option<(usize, Then)> {
        let mut sprung = None;
        self.state.send_if_modified(|state| {
            let Some((bytes, then)) = &state.trap else { return false };
            let from = (new + 1).saturating_sub(bytes.len());
            let mut windows = tail[from..].windows(bytes.len());
            let Some(at) = windows.position(|window| window == &**bytes) else { return false };
            sprung = Some((from + at + bytes.len(), *then));
            if *then == Then::HoldAnswers {
                state.answers = Flow::Hold;
            }
            state.trap = None;
            state.sprung += 1;
            true
        });
        sprung
    }
}

async fn requests(
    connection: &Connection,
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
) -> io::Result<()> {
    // What came before the newest piece, as long as a trap's bytes may begin in it.
    const TAIL: usize = 256;
    let (mut buffer, mut tail) = (vec![0; 64 << 10], Vec::new());
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let piece = &buffer[..read];
        let before = tail.len();
        tail.extend_from_slice(piece);
        if let Some((end, then)) = connection.springs(&tail, before) {
            match then {
                Then::LoseRequest => return Ok(()),
                Then::LoseAnswer | Then::StallAnswer => {
                    connection.caught.send_replace(Some(then));
                }
                Then::Orphan => {
                    connection.caught.send_replace(Some(then));
                    return to.write_all(piece).await;
                }
                Then::StallRequest | Then::Stall => {
                    connection.caught.send_replace(Some(then));
                    to.write_all(&piece[..end.saturating_sub(before)]).await?;
                    return std::future::pending().await;
                }
                // Before the bytes go on, answers are.
                Then::HoldAnswers => {}
            }
        }
        tail.drain(..tail.len().saturating_sub(TAIL));
        connection.flows(Way::Requests, read).await;
        to.write_all(piece).await?;
    }
}

async fn answers(
    connection: &Connection,
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let mut caught = connection.caught.subscribe();
    loop {
        let read = tokio::select! {
            biased;
            () = stalled(&mut caught) => return std::future::pending().await,
            read = from.read(&mut buffer) => read?,
        };
        if read == 0 || *connection.caught.borrow() == Some(Then::LoseAnswer) {
            return Ok(());
        }
        connection.flows(Way::Answers, read).await;
        to.write_all(&buffer[..read]).await?;
    }
}

async fn stalled(caught: &mut watch::Receiver<Option<Then>>) {
    // The sender lives as long as the connection.
    let stalls = |then: &Option<Then>| matches!(then, Some(Then::StallAnswer | Then::Stall));
    let _ = caught.wait_for(stalls).await;
}
