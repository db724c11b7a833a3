//! Request bodies: read whole, within a size and a time, and all of those under way within a size.

use std::ops::Deref;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use placard_model::limits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::problem::Problem;

/// What room is counted in.
const UNIT: usize = 1 << 10;

/// The room that all bodies under way share.
#[derive(Debug, Clone)]
pub(crate) struct Room(Arc<Semaphore>);

/// A body that has arrived; it takes up its room until it is dropped.
#[derive(Debug)]
pub(crate) struct Whole {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl Deref for Whole {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(limits::BODIES_BYTES_MAX / UNIT)))
    }
}

impl Room {
    /// Reads a body of at most `bytes_max`. One that announces more is refused before a byte of it is read.
    pub(crate) async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
        bytes_max: usize,
    ) -> Result<Whole, Problem> {
        let announced =
            headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if announced.is_some_and(|bytes: u64| bytes > bytes_max as u64) {
            return Err(Problem::body_too_large(bytes_max));
        }
        let deadline = Instant::now() + limits::BODY_DEADLINE;
        let bytes = announced.map_or(bytes_max, |bytes| bytes as usize);
        let units = u32::try_from(bytes / UNIT + 1).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.0).acquire_many_owned(units);
        let Ok(Ok(room)) = tokio::time::timeout_at(deadline, room).await else {
            return Err(Problem::overloaded());
        };
        let whole = Limited::new(body, bytes_max).collect();
        match tokio::time::timeout_at(deadline, whole).await {
            Ok(Ok(body)) => Ok(Whole { bytes: body.to_bytes(), _room: room }),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                Err(Problem::body_too_large(bytes_max))
            }
            Ok(Err(_)) => Err(Problem::body_broken()),
            Err(_) => Err(Problem::body_too_slow()),
        }
    }
}
