//! A raw connection: the test decides what it sends, and how it ends.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wait::PATIENCE;

/// One connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    arrived: Vec<u8>,
}

/// An answer as it came.
#[derive(Debug)]
pub struct Raw {
    /// Its status.
    pub status: u16,
    /// Its first line and its fields, as they came.
    pub head: String,
    /// Its body.
    pub body: String,
}

impl Raw {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut values = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value.trim())
    }

    /// Returns true if it says that it is the last on its connection.
    pub fn is_last(&self) -> bool {
        self.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// Checks that it is a problem of this status and kind, and returns its body.
    ///
    /// # Panics
    /// It is anything else.
    pub fn problem(&self, status: u16, kind: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.field("content-type"), Some("application/problem+json"), "{self:?}");
        let body: Value = serde_json::from_str(&self.body).expect("a problem is JSON");
        assert_eq!(body["type"], format!("/problems/{kind}"));
        body
    }
}

impl Wire {
    /// Connects to `host:port` or `http://host:port`.
    ///
    /// # Panics
    /// No server listens there.
    pub async fn open(place: impl ToString) -> Self {
        Self::try_open(place).await.expect("the server takes connections")
    }

    /// As [`Wire::open`], if a server listens there; otherwise returns `None`.
    pub async fn try_open(place: impl ToString) -> Option<Self> {
        let place = place.to_string();
        let address = place.trim_start_matches("http://");
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await.ok()?.ok()?;
        Some(Self { stream, arrived: Vec::new() })
    }

    /// Sends these bytes. Returns true if the server has taken them all.
    ///
    /// # Panics
    /// It takes too long.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let sent = timeout(PATIENCE, self.stream.write_all(bytes.as_ref())).await;
        sent.expect("the server takes bytes in time").is_ok()
    }

    /// Sends these bytes repeatedly, until `up_to` are sent or the server takes no more. Returns how many were.
    pub async fn flood(&mut self, bytes: &[u8], up_to: u64) -> u64 {
        let mut sent = 0;
        while sent < up_to && self.send(bytes).await {
            sent += bytes.len() as u64;
        }
        sent
    }

    /// Sends this repeatedly and reads nothing. Returns whether the server drops the connection in time.
    pub async fn drops_unread(mut self, bytes: &[u8]) -> bool {
        let sending = async { while self.stream.write_all(bytes).await.is_ok() {} };
        timeout(PATIENCE, sending).await.is_ok()
    }

    /// Shuts the sending side.
    ///
    /// # Panics
    /// The connection is gone.
    pub async fn shut(&mut self) {
        self.stream.shutdown().await.expect("the connection is there");
    }

    /// The next answer, or `None` if the connection ends without a whole one.
    ///
    /// # Panics
    /// It is no answer, or does not come in time.
    pub async fn answer(&mut self) -> Option<Raw> {
        let mut answer = self.answer_to_head().await?;
        let length = answer.field("content-length").and_then(|length| length.parse().ok());
        let length = length.unwrap_or(0);
        while self.arrived.len() < length {
            if !self.more().await {
                return None;
            }
        }
        answer.body = String::from_utf8(self.arrived.drain(..length).collect()).expect("text");
        Some(answer)
    }

    /// As [`Wire::answer`], to a request whose answer has no body.
    ///
    /// # Panics
    /// As [`Wire::answer`].
    pub async fn answer_to_head(&mut self) -> Option<Raw> {
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
        Some(Raw { status, head, body: String::new() })
    }

    /// A request's answer.
    ///
    /// # Panics
    /// As [`Wire::answer`].
    pub async fn ask(&mut self, request: impl AsRef<[u8]>) -> Option<Raw> {
        self.send(request).await;
        self.answer().await
    }

    /// Returns true if something to read, or the end, comes within a millisecond.
    pub async fn has_answer(&mut self) -> bool {
        let ready = timeout(Duration::from_millis(1), self.stream.readable()).await;
        matches!(ready, Ok(Ok(())))
    }

    /// Returns true if the server has ended the connection, without waiting.
    pub fn has_ended(&self) -> bool {
        match self.stream.try_read(&mut [0; 1]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }

    /// Waits until the server ends the connection, by no more bytes.
    ///
    /// # Panics
    /// It sends more, or does not end it in time.
    pub async fn ended(mut self) {
        while self.more().await {}
        assert!(self.arrived.is_empty(), "{}", String::from_utf8_lossy(&self.arrived));
    }

    /// Waits until the server ends the connection. What still arrives is passed over.
    ///
    /// # Panics
    /// It does not end it in time.
    pub async fn closed(mut self) {
        while self.more().await {
            self.arrived.clear();
        }
    }

    /// Reads a little more; false at the end, however it comes.
    async fn more(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.arrived)).await;
        read.expect("the server sends or ends in time").is_ok_and(|bytes| bytes > 0)
    }
}

/// A request without a body.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")
}

/// A request with a JSON body.
pub fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}
