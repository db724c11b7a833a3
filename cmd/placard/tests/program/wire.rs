//! A connection by hand: what it sends, and how it ends, is the test's to say.

use placard_testkit::wait::PATIENCE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// One connection.
pub(crate) struct Wire {
    stream: TcpStream,
    arrived: Vec<u8>,
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Raw {
    /// Whether it says that it is the last on its connection.
    pub(crate) fn is_last(&self) -> bool {
        self.head.contains("\r\nconnection: close\r\n")
    }
}

impl Wire {
    /// Connects to `http://host:port`.
    pub(crate) async fn open(url: &str) -> Self {
        Self::try_open(url).await.expect("the server takes connections")
    }

    /// As [`Wire::open`], if somebody listens there.
    pub(crate) async fn try_open(url: &str) -> Option<Self> {
        let address = url.trim_start_matches("http://");
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await.ok()?.ok()?;
        Some(Self { stream, arrived: Vec::new() })
    }

    /// Sends these bytes; whether the server has taken them all.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let sent = timeout(PATIENCE, self.stream.write_all(bytes.as_ref())).await;
        sent.expect("the server takes bytes in time").is_ok()
    }

    /// Shuts the sending side.
    pub(crate) async fn shut(&mut self) {
        self.stream.shutdown().await.expect("the connection is there");
    }

    /// The next answer, or `None` if the connection ends without one.
    pub(crate) async fn answer(&mut self) -> Option<Raw> {
        let end = loop {
            match self.arrived.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None if self.more().await => {}
                None => return None,
            }
        };
        let head = String::from_utf8(self.arrived.drain(..end).collect()).expect("a head is text");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("{head} has no status"));
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let length = length.unwrap_or(0);
        while self.arrived.len() < length {
            if !self.more().await {
                return None;
            }
        }
        let body = String::from_utf8(self.arrived.drain(..length).collect()).expect("text");
        Some(Raw { status, head, body })
    }

    /// A request's answer.
    pub(crate) async fn ask(&mut self, request: &str) -> Option<Raw> {
        self.send(request).await;
        self.answer().await
    }

    /// Whether the server has ended the connection, without waiting.
    pub(crate) fn has_ended(&self) -> bool {
        match self.stream.try_read(&mut [0; 1]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }

    /// Waits until the server ends the connection, by no more bytes.
    pub(crate) async fn ended(mut self) {
        while self.more().await {}
        assert!(self.arrived.is_empty(), "{}", String::from_utf8_lossy(&self.arrived));
    }

    async fn more(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.arrived)).await;
        read.expect("the server sends or ends in time").is_ok_and(|bytes| bytes > 0)
    }
}

/// A request without a body.
pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")
}

/// A request with a JSON body.
pub(crate) fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}
