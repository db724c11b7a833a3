//! The log as a stream of server-sent events, which goes on until the client leaves or the server stops. What there is to send
//! is made when the connection takes it: a client that reads slowly holds up only itself.

use std::convert::Infallible;
use std::pin::Pin;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::unfold;
use placard_model::Cursor;
use placard_model::entry::Record;
use placard_model::limits::{
    FEED_CHUNK_BYTES, FEED_ENTRIES_MAX, FEED_HEARTBEAT, FEED_RECONNECT, FEED_RETRY,
};
use placard_replica::{FeedError, LogFeed};
use tokio::time::sleep;

use super::{problem_of, shown};
use crate::feed::Slot;
use crate::http::problem::Problem;

/// A line that clients ignore, and that shows load balancers that there is a server.
const HEARTBEAT: &[u8] = b":\n\n";

/// Returns the body of a stream behind a cursor; `page` is what was read of it already.
pub(super) fn body(log: LogFeed, after: Cursor, page: Vec<Record>, slot: Slot) -> Body {
    let page = page.into_iter();
    let events = Events { log, at: after, page, next: None, slot, state: State::Begun };
    Body::from_stream(unfold(events, async |mut events| {
        let sent = events.sent_next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(sent)), events))
    }))
}

/// A stream under way.
struct Events {
    log: LogFeed,
    /// The last entry that was sent.
    at: Cursor,
    /// What was read and is not sent yet.
    page: std::vec::IntoIter<Record>,
    /// The wait for what comes next, once there is nothing to send.
    next: Option<Pin<Box<dyn Future<Output = Next> + Send>>>,
    slot: Slot,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    Begun,
    UnderWay,
    Over,
}

/// What comes next: a page, or the reason why none does; `None` if the replica has stopped.
type Next = Option<Result<Vec<Record>, FeedError>>;

impl Events {
    /// Returns what is sent next; `None` at the end.
    async fn sent_next(&mut self) -> Option<Vec<u8>> {
        match self.state {
            State::Begun => {
                self.state = State::UnderWay;
                return Some(format!("retry: {}\n\n", FEED_RECONNECT.as_millis()).into());
            }
            State::UnderWay => {}
            State::Over => return None,
        }
        let mut chunk = self.chunk();
        if chunk.is_empty() {
            let (log, at) = (&self.log, self.at);
            let next = self.next.get_or_insert_with(|| Box::pin(next_page(log.clone(), at)));
            let next = tokio::select! {
                biased;
                () = self.slot.ends() => return None,
                next = next => next?,
                () = sleep(FEED_HEARTBEAT) => return Some(HEARTBEAT.to_vec()),
            };
            self.next = None;
            match next {
                Ok(page) => {
                    self.page = page.into_iter();
                    chunk = self.chunk();
                }
                Err(error) => chunk = self.last_words(problem_of(&error)),
            }
        }
        Some(chunk)
    }

    /// Returns some of what was read; empty if all of it was sent.
    fn chunk(&mut self) -> Vec<u8> {
        let mut chunk = Vec::new();
        while chunk.len() < FEED_CHUNK_BYTES
            && let Some(record) = self.page.next()
        {
            match shown(&record) {
                Ok(json) => {
                    self.at = Cursor::at(&record);
                    let id = self.at.to_string();
                    let parts: [&[u8]; 5] = [b"id: ", id.as_bytes(), b"\ndata: ", &json, b"\n\n"];
                    parts.iter().for_each(|part| chunk.extend_from_slice(part));
                    self.slot.sends_one();
                }
                Err(problem) => {
                    chunk.extend(self.last_words(problem));
                    break;
                }
            }
        }
        chunk
    }

    /// Returns the event that says why the stream ends. It has no id, so that the client asks for what it lacks when it
    /// comes back.
    fn last_words(&mut self, problem: Problem) -> Vec<u8> {
        self.state = State::Over;
        let details = serde_json::to_string(&problem.into_details());
        let details = details.expect("problems of ours serialise");
        format!("event: problem\ndata: {details}\n\n").into()
    }
}

/// Waits until something follows the cursor, and reads it. While the journal cannot be asked, it is asked again: the client
/// would find no other replica that can. The log says so.
async fn next_page(log: LogFeed, at: Cursor) -> Next {
    loop {
        match log.after(at, FEED_ENTRIES_MAX as usize).await {
            Ok(page) if page.is_empty() => {
                if !log.moved(at).await {
                    return None;
                }
            }
            Err(FeedError::Unavailable(_)) => sleep(FEED_RETRY).await,
            next => return Some(next),
        }
    }
}
