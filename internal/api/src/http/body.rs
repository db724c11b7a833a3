//! Request bodies: read whole, within a size and a time, and all of those under way within a size.

#![expect(clippy::disallowed_methods, reason = "a body has a deadline")]

use std::ops::Deref;
use std::sync::Arc;

use axum::body::Body;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use placard_model::limits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::http::problem::{Overload, Problem};

/// The unit in which room is counted, in bytes.
const UNIT: usize = 1 << 10;

/// The room that all bodies under way share.
#[derive(Debug, Clone)]
pub(crate) struct BodyBudget(Arc<Semaphore>);

/// A body that has arrived; it takes up its room until it is dropped.
#[derive(Debug)]
pub(crate) struct BufferedBody {
    bytes: Vec<u8>,
    _held: OwnedSemaphorePermit,
}

impl Deref for BufferedBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Default for BodyBudget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(limits::BODIES_BYTES_MAX / UNIT)))
    }
}

impl BodyBudget {
    /// Reads a body of at most `bytes_max`. One that announces more is refused before a byte of it is read.
    pub(crate) async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
        bytes_max: usize,
    ) -> Result<BufferedBody, Problem> {
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
            return Err(Problem::overloaded(Overload::Bodies));
        };
        match tokio::time::timeout_at(deadline, collected(body, bytes, bytes_max)).await {
            Ok(Ok(bytes)) => Ok(BufferedBody { bytes, _held: room }),
            Ok(Err(problem)) => Err(problem),
            Err(_) => Err(Problem::body_too_slow()),
        }
    }
}

/// Collects a whole body in one buffer. Each frame is copied and dropped, however small: kept one by one, frames of a
/// byte each would take forty times the room that was counted.
async fn collected(mut body: Body, announced: usize, bytes_max: usize) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::with_capacity(announced.min(UNIT));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Problem::body_broken())?.into_data() else { continue };
        let length = bytes.len() + data.len();
        if length > bytes_max {
            return Err(Problem::body_too_large(bytes_max));
        }
        if length > bytes.capacity() {
            // Doubled, up to what the room was taken for.
            let doubled = (bytes.capacity() * 2).clamp(length, announced.max(length));
            bytes.reserve_exact(doubled - bytes.len());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use futures_util::stream;

    use super::*;

    /// A byte of a frame, which holds what is counted for as long as it is there.
    struct Byte {
        _held: Arc<()>,
    }

    impl AsRef<[u8]> for Byte {
        fn as_ref(&self) -> &[u8] {
            b" "
        }
    }

    /// Returns a body of `frames` frames of a byte each, and a count of the most of them that there were at once.
    fn trickled(frames: usize) -> (Body, Arc<AtomicUsize>) {
        let (held, most) = (Arc::new(()), Arc::new(AtomicUsize::new(0)));
        let peak = Arc::clone(&most);
        let frame = move |_| {
            peak.fetch_max(Arc::strong_count(&held), Ordering::Relaxed);
            Ok::<_, Infallible>(Bytes::from_owner(Byte { _held: Arc::clone(&held) }))
        };
        (Body::from_stream(stream::iter((0..frames).map(frame))), most)
    }

    #[tokio::test]
    async fn frames_of_a_byte_are_not_kept_one_by_one() {
        const FRAMES: usize = 10_000;
        let (body, most) = trickled(FRAMES);
        let bytes = collected(body, FRAMES, FRAMES).await.expect("it fits");
        assert_eq!((bytes.len(), bytes.capacity()), (FRAMES, FRAMES));
        let most = most.load(Ordering::Relaxed);
        assert!(most <= 2, "{most} frames were kept");
    }

    #[tokio::test]
    async fn a_body_takes_no_more_than_it_may() {
        for (frames, fits) in [(3_000, true), (3_001, false)] {
            let (body, _) = trickled(frames);
            let collected = collected(body, 3_000, 3_000).await;
            assert_eq!(collected.is_ok(), fits);
            assert!(collected.is_ok_and(|bytes| bytes.capacity() == 3_000) == fits);
        }
    }
}
