//! The task board: apalis' own pages about the queue, its tasks and its workers, with their assets in the program.
//! Only to look at: what else the board offers is to add tasks, and one whose id is no ULID blocks the queue.
//!
//! apalis makes it for axum, which only the API knows. Here it is a service that answers requests, no more.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use apalis_board_api::framework::{ApiBuilder, RegisterRoute};
use apalis_board_api::ui::ServeUI;
use apalis_postgres::PgPool;
use apalis_sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use placard_model::limits;
use placard_scheduler::ports::BoxError;
use tokio::sync::watch;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt};

use crate::queue::QUEUE;
use crate::sqlite::SqliteTasks;
use crate::{postgres, sqlite};

/// The path at which the pages ask for what they show; not the API of ads.
const API: &str = "/api/v1";
/// The path at which they ask for a stream of what is logged.
const EVENTS: &str = "/api/v1/events";

/// The interval at which an open stream of events sends something, so that a browser that is gone is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);

type Answers = BoxCloneSyncService<Request<Empty<Bytes>>, Response<Bytes>, BoxError>;

/// The body of the board's answers.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The tasks that a board shows, which need not exist yet.
#[derive(Debug, Clone)]
pub enum Shown {
    /// A cluster's. The connections should be separate ones: operators who look at tasks must not keep the workers waiting.
    Postgres(PgPool),
    /// An embedded replica's, in this directory.
    Sqlite(PathBuf),
}

/// The board of a queue; cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Board {
    answers: Answers,
    closed: watch::Sender<bool>,
}

impl Board {
    /// Creates the board of these tasks.
    pub fn new(tasks: Shown) -> Self {
        let answers = match tasks {
            Shown::Postgres(pool) => answers(postgres::storage(&pool)),
            Shown::Sqlite(directory) => {
                let file = SqliteTasks::file(&directory);
                // Only to look, but not opened to be read only: such a connection can neither begin nor recover
                // the file's log.
                let options = SqliteConnectOptions::new().filename(file).pragma("query_only", "ON");
                let pool = SqlitePoolOptions::new().max_connections(1);
                answers(sqlite::storage(&pool.connect_lazy_with(options)))
            }
        };
        Self { answers, closed: watch::Sender::new(false) }
    }

    /// Ends what would stay open, for all clones.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Answers a browser's request. Errors of the queue are answers too.
    pub async fn answer(&self, request: Request<()>) -> Response<Body> {
        if request.uri().path() == EVENTS && request.method() == Method::GET {
            return self.events();
        }
        self.page(request).await.map(|whole| Full::new(whole).boxed_unsync())
    }

    async fn page(&self, request: Request<()>) -> Response<Bytes> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "the board is read-only");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let Some(asked) = request.uri().path().strip_prefix(API) else {
            return asset(request.uri().path());
        };
        let query = request.uri().query();
        if !query.is_none_or(is_bounded) {
            return plain(StatusCode::BAD_REQUEST, "no such page");
        }
        let path = query.map_or_else(|| asked.to_owned(), |query| format!("{asked}?{query}"));
        let known = asked.starts_with('/') && request.uri().path() != EVENTS;
        let (Ok(uri), true) = (path.parse::<Uri>(), known) else {
            return plain(StatusCode::NOT_FOUND, "there is nothing at this path");
        };
        let mut inner = request.map(|()| Empty::new());
        *inner.uri_mut() = uri;
        match self.answers.clone().oneshot(inner).await {
            Ok(response) if response.status() == StatusCode::INTERNAL_SERVER_ERROR => {
                let error = String::from_utf8_lossy(response.body());
                unanswered(&error)
            }
            Ok(response) => response,
            Err(error) => unanswered(&error.to_string()),
        }
    }

    /// A stream without events, that ends with the board: what is logged is in the server's log, but the pages take
    /// the end of the stream for the end of the server.
    fn events(&self) -> Response<Body> {
        let mut closed = self.closed.subscribe();
        let ended = async move {
            // It also ends when no handle is left that could close it.
            let _ = closed.wait_for(|closed| *closed).await;
        };
        let beats = stream::unfold(tokio::time::interval(HEARTBEAT), async |mut beats| {
            beats.tick().await;
            Some((Ok(Frame::data(Bytes::from_static(b":\n\n"))), beats))
        });
        let body = StreamBody::new(beats.take_until(Box::pin(ended)));
        let mut response = Response::new(body.boxed_unsync());
        let events = HeaderValue::from_static("text/event-stream");
        response.headers_mut().insert(CONTENT_TYPE, events);
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// Returns what apalis answers about this queue.
fn answers<B, R, D>(backend: B) -> Answers
where
    ApiBuilder<R>: RegisterRoute<B, u64>,
    R: Default + Clone + Send + Sync + 'static,
    R: Service<Request<Empty<Bytes>>, Response = Response<D>, Error = Infallible, Future: Send>,
    D: BodyExt<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let routes = ApiBuilder::new(R::default()).register(QUEUE, backend).build();
    let whole = routes.map_err(|never| match never {}).and_then(async |response: Response<D>| {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(Into::into)?.to_bytes();
        Ok(Response::from_parts(parts, body))
    });
    BoxCloneSyncService::new(whole)
}

/// Returns true if a query asks for no page before the first, and for no page that is too long. apalis takes any
/// numbers, and does not survive some.
fn is_bounded(query: &str) -> bool {
    form_urlencoded::parse(query.as_bytes()).all(|(name, value)| {
        let within = |max: u32| value.parse().is_ok_and(|number| (1..=max).contains(&number));
        match &*name {
            "page" => within(limits::BOARD_PAGES_MAX),
            "page_size" => within(limits::BOARD_PAGE_TASKS_MAX),
            _ => true,
        }
    })
}

/// A file of the pages; paths without a dot are pages, of which there is one file.
fn asset(path: &str) -> Response<Bytes> {
    let Some(file) = ServeUI::get_file(path) else {
        return plain(StatusCode::NOT_FOUND, "there is nothing at this path");
    };
    let name = file.path().to_str().unwrap_or_default();
    let mut response = Response::new(Bytes::copy_from_slice(file.contents()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(ServeUI::content_type(name)));
    if let Some(cache) = ServeUI::cache_control(name) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    }
    response
}

/// The queue cannot be asked: it has not been made yet, a moment after the first start, or the database is away.
fn unanswered(error: &str) -> Response<Bytes> {
    // apalis has made a text of it, with the line of PostgreSQL's own source.
    let (error, _) = error.split_once(" at line ").unwrap_or((error, ""));
    tracing::warn!(error, "the board cannot ask the queue");
    plain(StatusCode::SERVICE_UNAVAILABLE, "the queue of tasks cannot be asked now")
}

fn plain(status: StatusCode, says: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(format!("{says}\n")));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response
}
