//! A connection by hand, for what no well-behaved client sends.

use std::net::SocketAddr;
use std::time::Duration;

use placard_testkit::wait::PATIENCE;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// One connection.
pub(crate) struct Wire {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    arrived: Vec<u8>,
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Wire {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server takes connections");
        let (from, to) = stream.into_split();
        Self { from, to, arrived: Vec::new() }
    }

    /// Sends these bytes; whether the server has taken them all.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let sent = timeout(PATIENCE, self.to.write_all(bytes.as_ref())).await;
        matches!(sent, Ok(Ok(())))
    }

    /// Sends these bytes again and again, until so many are sent or the server takes no more; how many were.
    pub(crate) async fn flood(&mut self, bytes: &[u8], up_to: u64) -> u64 {
        let mut sent = 0;
        while sent < up_to && self.send(bytes).await {
            sent += bytes.len() as u64;
        }
        sent
    }

    /// The next answer, or `None` if the connection is closed without one.
    pub(crate) async fn answer(&mut self) -> Option<Raw> {
        let end = loop {
            match find(&self.arrived, b"\r\n\r\n") {
                Some(end) => break end + 4,
                None if self.more().await => {}
                None => return None,
            }
        };
        let head = String::from_utf8(self.arrived.drain(..end).collect()).expect("a head is text");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("{head} has no status"));
        let field = |line: &str| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        };
        let length = head.lines().find_map(field).unwrap_or(0);
        while self.arrived.len() < length {
            assert!(self.more().await, "closed in the middle of an answer: {head}");
        }
        let body = self.arrived.drain(..length).collect();
        Some(Raw { status, head, body })
    }

    /// Waits until the server closes the connection. What still arrives is passed over.
    pub(crate) async fn closed(mut self) {
        while self.more().await {
            self.arrived.clear();
        }
    }

    /// Sends this again and again and reads nothing; whether the server lets the connection go in time.
    pub(crate) async fn drops_unread(mut self, bytes: &[u8]) -> bool {
        let sending = async { while self.to.write_all(bytes).await.is_ok() {} };
        timeout(PATIENCE, sending).await.is_ok()
    }

    /// Whether something to read has come.
    pub(crate) async fn has_answer(&mut self) -> bool {
        let ready = timeout(Duration::from_millis(1), self.from.readable()).await;
        matches!(ready, Ok(Ok(())))
    }

    /// Reads a little more; false at the end, however it comes.
    async fn more(&mut self) -> bool {
        let read = timeout(PATIENCE, self.from.read_buf(&mut self.arrived)).await;
        let read = read.unwrap_or_else(|_| panic!("the server neither sends nor closes"));
        read.is_ok_and(|bytes| bytes > 0)
    }
}

impl Raw {
    /// Checks that it is a problem of this status and kind.
    pub(crate) fn problem(&self, status: u16, kind: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.head.contains("content-type: application/problem+json\r\n"), "{}", self.head);
        let body: Value = serde_json::from_slice(&self.body).expect("a problem is JSON");
        assert_eq!(body["type"], format!("/problems/{kind}"));
        body
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
