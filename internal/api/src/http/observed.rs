//! The stream of a connection, as hyper reads it. It records in the connection's state what comes, gives hyper one
//! request at a time, and reads on when it is shut.
//!
//! hyper alone would read whatever has come and keep it to itself. Then this server could not see, and time, a part of
//! a head behind a request; nor a length beside a transfer coding, since hyper takes the length out. So this stream
//! looks for the end of each head, and gives hyper what follows only when hyper asks for it.

use std::io::{self, IoSlice};
use std::mem::{self, MaybeUninit};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use placard_model::limits;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;

use crate::http::connection_state::{Phase, UNKNOWN};
use crate::http::occupancy::ConnectionSlot;

/// The stream.
pub(crate) struct Observed {
    stream: Pin<Box<TimeoutStream<TcpStream>>>,
    slot: ConnectionSlot,
    heads: Heads,
    /// Bytes that have arrived after those that hyper has.
    held: BytesMut,
    /// The last bytes that hyper has of a body in chunks.
    tail: [u8; CHUNKS_END.len()],
    /// Bytes that were thrown away.
    unwanted: u64,
}

/// How a body in chunks ends, with trailers and without (RFC 9112, section 7.1).
const CHUNKS_END: &[u8; 4] = b"\r\n\r\n";

impl Observed {
    pub(crate) fn new(stream: TcpStream, slot: ConnectionSlot) -> Self {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(limits::STALL_DEADLINE));
        let (stream, heads, held) = (Box::pin(stream), Heads::default(), BytesMut::new());
        Self { stream, slot, heads, held, tail: [0; CHUNKS_END.len()], unwanted: 0 }
    }

    /// Reads what was held back, or else what comes.
    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.held.is_empty() {
            let before = buffer.filled().len();
            let polled = self.stream.as_mut().poll_read(context, buffer);
            if buffer.filled().len() > before && self.slot.occupancy().pulse().was_held() {
                self.slot.state().is_abandoned.store(self.is_shut(), Ordering::Relaxed);
            }
            return polled;
        }
        let most = self.held.len().min(buffer.remaining());
        buffer.put_slice(&self.held[..most]);
        self.held.advance(most);
        Poll::Ready(Ok(()))
    }

    /// Returns true if the client has shut its sending side right after the bytes that were read.
    fn is_shut(&self) -> bool {
        let next = SockRef::from(self.stream.get_ref()).peek(&mut [MaybeUninit::uninit()]);
        next.is_ok_and(|bytes| bytes == 0)
    }

    /// Takes back the bytes that hyper must not have yet.
    fn hold_back(&mut self, buffer: &mut ReadBuf<'_>, from: usize) {
        let surplus = &buffer.filled()[from..];
        if surplus.is_empty() {
            return;
        }
        let mut held = BytesMut::with_capacity(surplus.len() + self.held.len());
        held.extend_from_slice(surplus);
        held.extend_from_slice(&self.held);
        self.held = held;
        buffer.set_filled(from);
    }

    /// Reads a part of a head.
    fn head(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        if let Some(end) = self.heads.end(&buffer.filled()[before..]) {
            self.slot.state().says_length.store(self.heads.says_length, Ordering::Relaxed);
            self.hold_back(buffer, before + end);
        }
    }

    /// Reads a part of a body.
    fn body(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        let to_come = self.slot.state().to_come.load(Ordering::Relaxed);
        let came = buffer.filled().len() - before;
        if to_come == UNKNOWN {
            for byte in buffer.filled()[before..].iter().rev().take(CHUNKS_END.len()).rev() {
                self.tail.rotate_left(1);
                self.tail[CHUNKS_END.len() - 1] = *byte;
            }
            let is_followed = self.tail != *CHUNKS_END || !self.held.is_empty();
            self.slot.state().is_followed.store(is_followed, Ordering::Relaxed);
        } else {
            let own = usize::try_from(to_come).unwrap_or(usize::MAX).min(came);
            self.slot.state().to_come.store(to_come - own as u64, Ordering::Relaxed);
            // Zero bytes would mean the end.
            if own > 0 {
                self.hold_back(buffer, before + own);
            }
        }
    }
}

impl AsyncRead for Observed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = self.poll_next(context, buffer);
        let has_come = buffer.filled().len() > before;
        let (phase, _) = self.slot.state().phase();
        match phase {
            Phase::Closing => {}
            // What is read then is the rest of a body.
            Phase::Answer if !self.slot.state().owed.load(Ordering::Relaxed) => match has_come {
                true => {
                    self.slot.enter(Phase::Head);
                    self.head(buffer, before);
                }
                false if polled.is_pending() => self.slot.enter(Phase::Idle),
                false => {}
            },
            Phase::Request | Phase::Answer if has_come => self.body(buffer, before),
            Phase::Silent | Phase::Idle | Phase::Head if has_come => {
                if phase != Phase::Head {
                    self.slot.enter(Phase::Head);
                }
                self.head(buffer, before);
            }
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
        let (phase, _) = self.slot.state().phase();
        if phase != Phase::Closing {
            ready!(self.stream.as_mut().poll_shutdown(context))?;
            if phase == Phase::Head {
                // It was refused, and more of it may come.
                self.slot.state().owed.store(true, Ordering::Relaxed);
            }
            self.slot.enter(Phase::Closing);
        }
        self.held = BytesMut::new();
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

/// Heads that come in pieces: where each ends, and whether it says a length. Lines end as they do for httparse.
#[derive(Debug, Default)]
struct Heads {
    /// Whether a line of it has come. Empty lines before a head mean nothing (RFC 9112, section 2.2).
    has_begun: bool,
    says_length: bool,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
}

impl Heads {
    const LENGTH: &[u8] = b"content-length:";

    /// Returns where in its next piece the head under way ends, if it does.
    fn end(&mut self, piece: &[u8]) -> Option<usize> {
        let mut from = 0;
        for at in memchr::memchr_iter(b'\n', piece) {
            let line = &piece[from..at];
            from = at + 1;
            let ends = if self.line.is_empty() {
                self.is_end(line)
            } else {
                self.keep(line);
                let line = mem::take(&mut self.line);
                self.is_end(&line)
            };
            if ends {
                return Some(from);
            }
        }
        self.keep(&piece[from..]);
        None
    }

    /// Returns true if a line, without its feed, is the last one of a head.
    fn is_end(&mut self, line: &[u8]) -> bool {
        let is_empty = matches!(line, b"" | b"\r");
        let ends = is_empty && self.has_begun;
        if !is_empty {
            self.says_length &= self.has_begun;
            let name = line.get(..Self::LENGTH.len());
            self.says_length |= name.is_some_and(|name| name.eq_ignore_ascii_case(Self::LENGTH));
        }
        self.has_begun = !ends && (self.has_begun || !is_empty);
        ends
    }

    /// Keeps as much of a line as can mean something.
    fn keep(&mut self, piece: &[u8]) {
        let room = Self::LENGTH.len() - self.line.len();
        self.line.extend_from_slice(&piece[..room.min(piece.len())]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns where heads end in these bytes, and which of them say a length, if the bytes come in pieces of `size`.
    fn ends(bytes: &str, size: usize) -> Vec<(usize, bool)> {
        let (mut heads, mut ends, mut from) = (Heads::default(), Vec::new(), 0);
        for piece in bytes.as_bytes().chunks(size) {
            let mut rest = piece;
            while let Some(end) = heads.end(rest) {
                ends.push((from + piece.len() - rest.len() + end, heads.says_length));
                rest = &rest[end..];
            }
            from += piece.len();
        }
        ends
    }

    #[test]
    fn each_head_ends_at_its_empty_line() {
        let first = "\r\n\nGET / HTTP/1.1\r\nhost: x\r\nContent-LENGTH:0\r\n\r\n";
        let second = "GET / HTTP/1.1\nhost: content-length:\n\n";
        let third = "GET / HTTP/1.1\r\ncontent-lengths: 1\r\nx: \r\n\r\n";
        let all = [first, second, third, "GET / HTTP/1.1\r\nhost:"].concat();
        let wanted = vec![
            (first.len(), true),
            (first.len() + second.len(), false),
            (first.len() + second.len() + third.len(), false),
        ];
        for size in 1..all.len() {
            assert_eq!(ends(&all, size), wanted, "in pieces of {size}");
        }
    }

    #[test]
    fn long_header_line_is_kept_only_up_to_a_bound() {
        let mut heads = Heads::default();
        for _ in 0..1_000 {
            assert_eq!(heads.end(&[b'x'; 1_000]), None);
        }
        assert_eq!(heads.line.len(), Heads::LENGTH.len());
    }
}
