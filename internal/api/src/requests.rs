//! What every request passes through: it gets an id, which its answer and its log lines carry, and what no handler
//! wants of its body is taken in. One layer for all of that: each costs a read as much as finding its answer.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue};
use placard_model::limits;
use tracing::Instrument;
use uuid::{Builder, Uuid};

use crate::linger::linger;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The layer.
pub(crate) async fn identify(request: Request, next: Next) -> Response {
    let id = given(request.headers()).unwrap_or_else(generated);
    let request = linger(request);
    let mut response = if tracing::enabled!(tracing::Level::DEBUG) {
        traced(&id, request, next).await
    } else {
        next.run(request).await
    };
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Every log line of the request names it. A span for each would cost those who do not look at them too much.
async fn traced(id: &HeaderValue, request: Request, next: Next) -> Response {
    let id = id.to_str().unwrap_or_default();
    let span = tracing::debug_span!(
        "request",
        id,
        method = %request.method(),
        path = request.uri().path()
    );
    async {
        let started = Instant::now();
        let response = next.run(request).await;
        let took_us = started.elapsed().as_micros() as u64;
        tracing::debug!(status = response.status().as_u16(), took_us, "answered");
        response
    }
    .instrument(span)
    .await
}

/// The client's, or the balancer's. What cannot be one is not worth an error.
fn given(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(REQUEST_ID)?;
    let fits = (1..=limits::REQUEST_ID_BYTES_MAX).contains(&id.len());
    (fits && id.as_bytes().iter().all(u8::is_ascii_graphic)).then(|| id.clone())
}

/// A UUID of this process's random half and a number: random ones would cost each read a system call.
fn generated() -> HeaderValue {
    static PROCESS: LazyLock<u128> = LazyLock::new(|| Uuid::new_v4().as_u128() << 64);
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let id = Builder::from_custom_bytes((*PROCESS | u128::from(number)).to_be_bytes());
    let mut text = Uuid::encode_buffer();
    let text = id.into_uuid().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).expect("a UUID is visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_ids_are_uuids_of_their_own() {
        let (one, other) = (generated(), generated());
        assert_ne!(one, other);
        assert!(Uuid::try_parse(one.to_str().unwrap()).is_ok());
    }

    #[test]
    fn ids_that_cannot_be_one_are_replaced() {
        let read = |id: &[u8]| {
            let value = HeaderValue::from_bytes(id).unwrap();
            given(&HeaderMap::from_iter([(REQUEST_ID, value)])).is_some()
        };
        assert!(read(b"x") && read(&[b'~'; limits::REQUEST_ID_BYTES_MAX]));
        for other in [&b""[..], b"a b", b"\xe9", &[b'x'; limits::REQUEST_ID_BYTES_MAX + 1]] {
            assert!(!read(other), "{other:?}");
        }
    }
}
