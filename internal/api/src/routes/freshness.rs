//! How new an answer must be, and how old it may be. Every read asks this before and after it looks at the state.

use axum::response::Response;
use http::HeaderMap;
use placard_model::{Version, limits};
use placard_replica::core::Verdict;
use placard_replica::{Handle, ReadPermit};

use crate::http::headers;
use crate::http::problem::Problem;
use crate::http::render::{with_own_clock, with_stale};

/// What is known about an answer before it is made.
pub(super) struct Asked {
    permit: ReadPermit,
    /// Whether the time that it will be judged at is the journal's.
    is_anchored: bool,
}

/// Makes sure that there is a state to read, that it is as new as the client asks, and that clients may see it. The
/// permission is taken before the state is read, since the replica may catch up between that and the answer.
pub(super) async fn wait_for(
    replica: &Handle,
    parameter: Option<Version>,
    headers: &HeaderMap,
) -> Result<Asked, Problem> {
    let header = headers::min_version(headers).map_err(|broken| Problem::invalid(vec![broken]))?;
    if let Some(version) = parameter.max(header)
        && !replica.published(version, limits::MIN_VERSION_WAIT).await
    {
        let published = replica.reader().published().version;
        return Err(Problem::version_not_reached().at(published));
    }
    let permit = replica.read_permits().permit().map_err(|verdict| match verdict {
        Verdict::NoState => Problem::not_ready(),
        _ => Problem::stale(),
    })?;
    Ok(Asked { permit, is_anchored: replica.clock().is_anchored() })
}

/// Says how old an answer may be, and whose clock it was judged by if not the journal's; or takes it back. Asked last:
/// the process may have been paused while the answer was made.
pub(super) fn fresh(
    replica: &Handle,
    asked: Asked,
    mut answer: Response,
) -> Result<Response, Problem> {
    match replica.read_permits().verdict_since(asked.permit) {
        Verdict::Current => {}
        Verdict::Old(lag) => with_stale(&mut answer, lag.age),
        Verdict::Refused(_) | Verdict::NoState => return Err(Problem::stale()),
    }
    if !asked.is_anchored {
        with_own_clock(&mut answer);
    }
    Ok(answer)
}
