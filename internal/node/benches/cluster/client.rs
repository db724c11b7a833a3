//! A client that costs little: one HTTP/1.1 connection, the same request repeatedly, and of each answer its
//! status only.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// One connection, kept alive.
pub(crate) struct Client {
    address: SocketAddr,
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Client {
    /// A connection to the replica at `address`.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let body = r#"{"title":"an ad like many","content":"for those whom it may concern",
            "start_at":"2020-01-01T00:00:00Z","end_at":"2099-01-01T00:00:00Z",
            "age_start":20,"age_end":40,"country":["TW","JP"],"platform":["ios"]}"#;
        let request = format!(
            "POST /api/v1/ad HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        Self { address, stream, request: request.into_bytes(), answer: Vec::new() }
    }

    /// The replica's address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Creates an ad. Returns true if it was acknowledged as published.
    pub(crate) async fn create(&mut self) -> bool {
        self.stream.write_all(&self.request).await.unwrap();
        self.answer.clear();
        let end = loop {
            assert!(self.stream.read_buf(&mut self.answer).await.unwrap() > 0, "connection closed");
            if let Some(end) = end_of(&self.answer) {
                break end;
            }
        };
        while self.answer.len() < end {
            assert!(self.stream.read_buf(&mut self.answer).await.unwrap() > 0, "connection closed");
        }
        let is_created = self.answer.starts_with(b"HTTP/1.1 201");
        let is_refused = self.answer.starts_with(b"HTTP/1.1 503");
        let is_pending = self.answer.starts_with(b"HTTP/1.1 202");
        let said = String::from_utf8_lossy(&self.answer);
        assert!(is_created || is_refused || is_pending, "{said}");
        is_created
    }
}

/// Returns where an answer with a complete head ends.
fn end_of(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&answer[..head]).unwrap();
    let length = text.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
    });
    Some(head + 4 + length.expect("the answer tells its length"))
}

/// The results of a load.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// How long each acknowledged write took.
    pub(crate) took: Vec<Duration>,
    /// Writes that were not acknowledged as published.
    pub(crate) refused: usize,
    /// For how long writes were counted.
    pub(crate) span: Duration,
}

impl Load {
    /// Acknowledged writes per second.
    pub(crate) fn rate(&self) -> f64 {
        self.took.len() as f64 / self.span.as_secs_f64()
    }

    /// Appends another run's figures to these.
    pub(crate) fn append(&mut self, other: Self) {
        self.took.extend(other.took);
        self.refused += other.refused;
        self.span += other.span;
    }
}

/// A source of single writes, which says of each whether it was acknowledged.
pub(crate) trait Write: Send + 'static {
    /// Writes.
    fn write(&mut self) -> impl Future<Output = bool> + Send;
}

impl Write for Client {
    async fn write(&mut self) -> bool {
        self.create().await
    }
}

/// Has all writers write, each as soon as its last write is answered. Those are counted that are
/// answered within the span. With a rate, each write has its time, and takes from then on.
pub(crate) async fn load<W: Write>(
    writers: Vec<W>,
    warm_up: Duration,
    span: Duration,
    rate: Option<f64>,
) -> (Load, Vec<W>) {
    let begin = Instant::now() + warm_up;
    let end = begin + span;
    let pace = rate.map(|rate| Duration::from_secs_f64(writers.len() as f64 / rate));
    let mut tasks = JoinSet::new();
    for (nth, mut writer) in writers.into_iter().enumerate() {
        let offset = pace.unwrap_or_default() / 64 * (nth % 64) as u32;
        tasks.spawn(async move {
            let first = tokio::time::Instant::now() + offset;
            let mut ticks = pace.map(|pace| tokio::time::interval_at(first, pace));
            if let Some(ticks) = &mut ticks {
                ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            }
            let mut load = Load { span, ..Load::default() };
            loop {
                let since = match &mut ticks {
                    Some(ticks) => ticks.tick().await.into_std(),
                    None => Instant::now(),
                };
                if Instant::now() >= end {
                    return (load, writer);
                }
                let written = writer.write().await;
                let now = Instant::now();
                if now < begin || now > end {
                    continue;
                }
                if written {
                    load.took.push(now - since);
                } else {
                    load.refused += 1;
                }
            }
        });
    }
    let (mut all, mut back) = (Load::default(), Vec::new());
    while let Some(ended) = tasks.join_next().await {
        let (load, writer) = ended.unwrap();
        all.append(load);
        back.push(writer);
    }
    all.span = span;
    (all, back)
}

/// Opens `count` connections to a replica.
pub(crate) async fn clients(address: SocketAddr, count: usize) -> Vec<Client> {
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        clients.push(Client::connect(address).await);
    }
    clients
}
