//! What happens to the rest of a request's body that no handler wants, because the request was refused before
//! it was read: it goes on being taken in for a while. Closed at once, the connection would be reset under a
//! client that is still sending, and most clients then never look at the answer.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use placard_model::limits;
use tokio::runtime::Handle;

/// A body whose rest, when it is dropped, is taken in and thrown away, within a size and a time.
struct Lingering(Body);

/// Makes a request's body one of these.
pub(crate) fn linger(request: Request) -> Request {
    request.map(|body| if body.is_end_stream() { body } else { Body::new(Lingering(body)) })
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.0).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let rest = std::mem::take(&mut self.0);
        if let (false, Ok(runtime)) = (rest.is_end_stream(), Handle::try_current()) {
            runtime.spawn(tokio::time::timeout(limits::UNWANTED_BODY_DEADLINE, discard(rest)));
        }
    }
}

async fn discard(mut rest: Body) {
    let mut taken = 0;
    while let Some(Ok(frame)) = rest.frame().await {
        taken += frame.data_ref().map_or(0, Bytes::len);
        if taken > limits::UNWANTED_BODY_BYTES_MAX {
            return;
        }
    }
}
