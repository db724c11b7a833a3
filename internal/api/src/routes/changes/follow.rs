//! Follows the log: every entry that is published, in order, read from the journal. In pages, or as a stream of server-sent
//! events.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use placard_model::limits::{
    FEED_CLIENTS_MAX, FEED_ENTRIES_DEFAULT, FEED_ENTRIES_MAX, FEED_READ_DEADLINE, FEED_WAIT_MAX,
    MIN_VERSION_WAIT,
};
use placard_model::{Cursor, Version, Violation};
use placard_replica::{FeedError, Handle};
use serde_json::json;
use tokio::time::timeout;

use super::change::Change;
use super::lines::{Wanted, lines};
use super::{CHANGES_PATH, problem_of, stream};
use crate::app::App;
use crate::http::headers::{self, Unconditional};
use crate::http::params;
use crate::http::problem::Problem;
use crate::http::render::{self, with_version};
use crate::openapi::answers::{
    Answer, CLOCK, RETRY_AFTER, STALE, VERSION, answers, invalid, renamed, unauthorised,
};
use crate::openapi::parameters::{groups, of};
use crate::openapi::schema::{whole, with_default};
use crate::principal::Principal;
use crate::routes::freshness::{fresh, wait_for};

const LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
/// Makes nginx pass on each event as it comes.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The texts of a cursor.
const CURSOR_PATTERN: &str = "^(0|[1-9][0-9]{0,18})(-[0-9a-f]{64})?$";

groups! {
    /// From where on, and how much.
    From = vec![
        of("query", "after", with_default(cursor(
            "The entry behind which the answer begins: the `id` of an event, or a version. 0 is before the first entry. \
             Only with an id is it checked that the entry is in the journal's history.",
        ), "0")),
        of("header", "Last-Event-ID", cursor(
            "As `after`, which it overrides: browsers send it when they connect to a stream again.",
        )),
        of("query", "limit", with_default(
            whole(1, FEED_ENTRIES_MAX.into(), "How many entries to answer at the most. Not for a stream.", 100),
            FEED_ENTRIES_DEFAULT,
        )),
        of("query", "wait", with_default(
            whole(0, FEED_WAIT_MAX.into(), "How many seconds to wait until there is an entry. Not for a stream.", 0), 0,
        )),
    ];
}

fn cursor(description: &str) -> serde_json::Value {
    json!({
        "type": "string", "minLength": 1, "maxLength": 84, "pattern": CURSOR_PATTERN,
        "description": description, "examples": ["41"],
    })
}

answers!([
    Answer::lines::<Change>("The entries, one in each line; empty if no entry comes in time.")
        .or(
            "text/event-stream",
            json!({
                "type": "string",
                "description": "Server-sent events: the data of each is a Change, and its id is the Change's.",
            }),
        )
        .with(&[VERSION, STALE, CLOCK]),
    invalid(),
    unauthorised(),
    Answer::problem(
        409,
        "The journal's history has no such entry: the journal was restored to an older state, or is another one. Read \
         everything again.",
    )
    .with(&[VERSION]),
    Answer::problem(410, "The log does not reach back that far. Read everything again.")
        .with(&[VERSION]),
    renamed(),
    Answer::problem(503, format!(
        "This replica cannot answer now: {FEED_CLIENTS_MAX} clients follow it already, it has no state yet, has not heard of \
         the journal for too long, has not reached the entry in time, cannot read the log, or is of too old a build to read \
         the next entry.",
    ))
    .with(&[RETRY_AFTER, VERSION]),
    Answer::problem(500, "An entry of the log cannot be read."),
]);

/// Follows the log: every change of ads, pools and reservations, in order.
///
/// Each entry says what it did, for whom, why and when, and the state that it has left. Nothing is left out, and nothing comes
/// twice: ask again with the `id` of the last entry that you have, on any replica. Start with the `Placard-Version` of what you
/// have read elsewhere. With `Accept: text/event-stream` the answer goes on for as long as you read; an event `problem`, with a
/// Problem as its data, says why it ends. An entry is sent once it is durable and this replica shows what it has left.
#[utoipa::path(
    get,
    path = CHANGES_PATH,
    operation_id = "followChanges",
    tag = "changes",
    params(From),
    responses(Answers),
    security(("bearer" = [])),
)]
pub(crate) async fn handle(
    _: Principal,
    State(app): State<App>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Unconditional::of(&headers)?;
    let (after, form) = asked(&uri, &headers)?;
    let slot = app.feed.enter()?;
    let replica = &app.replica;
    reached(replica, after).await?;
    let fresh_enough = wait_for(replica, None, &headers).await?;
    let log = replica.log();
    let mut response = match form {
        Form::Stream => {
            let first = log.after(after, FEED_ENTRIES_MAX as usize);
            let page = match timeout(FEED_READ_DEADLINE, first).await {
                Ok(Ok(page)) => page,
                // The stream begins when the log can be read.
                Err(_) | Ok(Err(FeedError::Unavailable(_))) => Vec::new(),
                Ok(Err(error)) => return Err(problem_of(&error).at(published(replica))),
            };
            let mut response = Response::new(stream::body(log.clone(), after, page, slot));
            response.headers_mut().insert(CONTENT_TYPE, EVENTS);
            response.headers_mut().insert(BUFFERING, HeaderValue::from_static("no"));
            response
        }
        Form::Lines { limit, wait } => {
            let page = lines(log, Wanted { after, limit, wait }, slot).await;
            let page = page.map_err(|problem| problem.at(published(replica)))?;
            let mut response = render::json(StatusCode::OK, page);
            response.headers_mut().insert(CONTENT_TYPE, LINES);
            response
        }
    };
    with_version(&mut response, published(replica));
    fresh(replica, fresh_enough, response)
}

/// The form in which a client asks for the log.
enum Form {
    Stream,
    Lines { limit: usize, wait: Duration },
}

/// Reads what the client asks for: from where on, and in which form.
fn asked(uri: &Uri, headers: &HeaderMap) -> Result<(Cursor, Form), Problem> {
    let (asked, last_event) = match (params::changes(uri.query()), headers::last_event_id(headers))
    {
        (Ok(asked), Ok(last_event)) => (asked, last_event),
        (asked, last_event) => {
            let broken = asked.err().into_iter().flatten().chain(last_event.err());
            return Err(Problem::invalid(broken.collect()));
        }
    };
    let after = last_event.or(asked.after).unwrap_or(Cursor::START);
    if !headers::accepts(headers, "text/event-stream") {
        let limit = asked.limit.unwrap_or(FEED_ENTRIES_DEFAULT) as usize;
        let wait = Duration::from_secs(asked.wait.unwrap_or(0).into());
        return Ok((after, Form::Lines { limit, wait }));
    }
    let given = [("limit", asked.limit), ("wait", asked.wait)].into_iter();
    let broken = given.filter(|(_, value)| value.is_some());
    let broken = broken.map(|(name, _)| Violation::parameter(name, "is not for an event stream"));
    let broken: Vec<_> = broken.collect();
    if broken.is_empty() { Ok((after, Form::Stream)) } else { Err(Problem::invalid(broken)) }
}

fn published(replica: &Handle) -> Version {
    replica.reader().published().version
}

/// Waits until the replica has published the cursor's version.
async fn reached(replica: &Handle, after: Cursor) -> Result<(), Problem> {
    let polls = replica.state().polls;
    if replica.published(after.version, MIN_VERSION_WAIT).await {
        return Ok(());
    }
    // A client has an entry only once it is durable: if a poll that was sent since does not find it, it is lost.
    let is_lost = replica
        .cluster()
        .is_some_and(|cluster| cluster.poll > polls && cluster.head.version < after.version);
    let problem = if is_lost { Problem::not_in_history() } else { Problem::version_not_reached() };
    Err(problem.at(published(replica)))
}
