//! A server to ask, by two ways: the client over a real socket and the client that calls the routes in
//! process. Calls and answers look the same to a test whichever it is.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use placard_api::App;
use placard_node::{ApiConfig, Config, Node, Storage};
use placard_replica::ports::NoCheckpoints;
use placard_replica::{Clock, Replica};
use placard_storage::in_process::InProcess;
use placard_storage::sqlite::SqliteJournal;
use placard_testkit::wait::PATIENCE;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tower::ServiceExt;

use crate::document;

pub(crate) const ADS: &str = "/api/v1/ad";
pub(crate) const BATCH: &str = "/api/v1/ad/batch";

/// Something that answers requests.
trait Client: Send + Sync {
    fn send(&self, request: Request<Bytes>) -> Answering<'_>;
}

type Answering<'a> = Pin<Box<dyn Future<Output = Response<Bytes>> + Send + 'a>>;

struct OverSocket {
    client: reqwest::Client,
    base: String,
}

impl Client for OverSocket {
    fn send(&self, request: Request<Bytes>) -> Answering<'_> {
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            parts.uri = format!("{}{}", self.base, parts.uri).parse().expect("the URL is one");
            let request = reqwest::Request::try_from(Request::from_parts(parts, body));
            let request = request.expect("the request is one");
            let answer = self.client.execute(request).await.expect("the server answers");
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = answer.status();
            response.headers_mut().clone_from(answer.headers());
            *response.body_mut() = answer.bytes().await.expect("the answer arrives whole");
            response
        })
    }
}

struct InProcessClient(Router);

impl Client for InProcessClient {
    fn send(&self, request: Request<Bytes>) -> Answering<'_> {
        Box::pin(async move {
            let answer = self.0.clone().oneshot(request.map(Full::new)).await;
            let (parts, body) = answer.expect("a router cannot fail").into_parts();
            let body = body.collect().await.expect("the body is in memory").to_bytes();
            Response::from_parts(parts, body)
        })
    }
}

/// The parts that run behind the client; they end when the server is dropped.
enum Running {
    Node { node: Box<Node> },
    Replica { replica: Box<Replica> },
}

/// A server with a private directory.
pub(crate) struct Server {
    client: Box<dyn Client>,
    address: Option<SocketAddr>,
    running: Running,
    directory: TempDir,
}

impl Server {
    /// A node on a port of its own.
    pub(crate) async fn over_socket() -> Self {
        Self::node(Default::default(), Default::default()).await
    }

    /// A node that other machines reach too.
    pub(crate) async fn everywhere() -> Self {
        Self::listening("0.0.0.0:0", Default::default(), Default::default()).await
    }

    /// A node that gives a write up this soon.
    pub(crate) async fn with_write_deadline(write_deadline: Duration) -> Self {
        let replica = placard_replica::Config { write_deadline, ..Default::default() };
        Self::node(replica, Default::default()).await
    }

    /// Starts a node with these access rules.
    pub(crate) async fn with_api(api: ApiConfig) -> Self {
        Self::node(Default::default(), api).await
    }

    async fn node(replica: placard_replica::Config, api: ApiConfig) -> Self {
        Self::listening("127.0.0.1:0", replica, api).await
    }

    async fn listening(at: &str, replica: placard_replica::Config, api: ApiConfig) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let listener = TcpListener::bind(at).await.expect("there is a free port");
        let config = Config {
            storage: Storage::Embedded(directory.path().to_owned()),
            drain_delay: Duration::ZERO,
            connections: Default::default(),
            api,
            replica,
            traces: None,
        };
        let node = Node::start(config, listener).await.expect("the node starts");
        ready(node.handle()).await;
        let address = SocketAddr::from(([127, 0, 0, 1], node.address().port()));
        let client = reqwest::Client::builder().no_proxy().build().expect("a client can be made");
        Self {
            client: Box::new(OverSocket { client, base: format!("http://{address}") }),
            address: Some(address),
            running: Running::Node { node: Box::new(node) },
            directory,
        }
    }

    /// The routes over a replica, without a socket.
    pub(crate) async fn in_process() -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let journal = SqliteJournal::open(directory.path()).expect("the journal opens");
        // No client reaches it, but every replica must have an address.
        let address = "in.process:1".to_owned();
        let config = placard_replica::Config { address, ..Default::default() };
        let replica = Replica::start(journal, InProcess::default(), NoCheckpoints, config);
        ready(replica.handle()).await;
        Self {
            client: Box::new(InProcessClient(App::new(replica.handle().clone()).router())),
            address: None,
            running: Running::Replica { replica: Box::new(replica) },
            directory,
        }
    }

    /// The routes of this app, without a socket, over a replica of the test's own.
    pub(crate) fn of(app: &App, replica: Replica) -> Self {
        Self {
            client: Box::new(InProcessClient(app.router())),
            address: None,
            running: Running::Replica { replica: Box::new(replica) },
            directory: tempfile::tempdir().expect("a directory can be made"),
        }
    }

    /// Where it listens, if it is on a socket.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address.expect("this server is on a socket")
    }

    /// The clock by which it judges what is served.
    pub(crate) fn clock(&self) -> Clock {
        let handle = match &self.running {
            Running::Node { node } => node.handle(),
            Running::Replica { replica } => replica.handle(),
        };
        handle.clock().clone()
    }

    /// Where its journal is.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Stops its node, and returns whether all was finished in time.
    pub(crate) async fn stop(self) -> bool {
        let Running::Node { node } = self.running else { panic!("there is no node") };
        let stopped = tokio::time::timeout(PATIENCE, node.stop()).await;
        stopped.expect("the node stops in time").expect("no task has failed")
    }

    /// A request to be filled in and sent.
    pub(crate) fn call(&self, method: &str, path: &str) -> Call<'_> {
        let mut request = Request::new(Bytes::new());
        *request.method_mut() = method.parse().expect("the method is one");
        *request.uri_mut() = path.parse().expect("the path is one");
        Call { client: &*self.client, request }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path).send().await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path).json(body).send().await
    }

    /// Creates an ad that must be accepted.
    pub(crate) async fn create(&self, ad: &Value) -> Answer {
        self.post(ADS, ad).await.is(201)
    }

    /// The ids of a listing, in order, and its total.
    pub(crate) async fn list(&self, query: &str) -> (Vec<String>, u64) {
        let body = self.get(&format!("{ADS}?{query}")).await.is(200).json();
        let ids = body["ads"].as_array().expect("ads is an array").iter().map(id_of).collect();
        (ids, body["total"].as_u64().expect("total is a number"))
    }

    /// Whatever was done to the server: it takes a write and shows it.
    pub(crate) async fn still_answers(&self) {
        let created = self.create(&ad()).await;
        self.get(&created.location()).await.is(200);
        self.get("/livez").await.is(200);
        self.get("/readyz").await.is(200);
    }
}

async fn ready(handle: &placard_replica::Handle) {
    let ready = tokio::time::timeout(PATIENCE, handle.ready()).await;
    ready.expect("the server is ready in time");
}

/// A request in the making.
pub(crate) struct Call<'a> {
    client: &'a dyn Client,
    request: Request<Bytes>,
}

impl Call<'_> {
    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        self.header_bytes(name, value.as_bytes())
    }

    /// Adds one more header field, whether or not it is there already.
    pub(crate) fn header_bytes(mut self, name: &str, value: &[u8]) -> Self {
        let name: HeaderName = name.parse().expect("the name is one");
        let value = HeaderValue::from_bytes(value).expect("the value can be sent");
        self.request.headers_mut().append(name, value);
        self
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    /// A JSON body, under the type for it unless another one was set.
    pub(crate) fn json(self, body: &Value) -> Self {
        self.text(body.to_string())
    }

    /// Any body, under the type for JSON unless another one was set.
    pub(crate) fn text(mut self, body: impl Into<Bytes>) -> Self {
        let json = HeaderValue::from_static("application/json");
        self.request.headers_mut().entry(CONTENT_TYPE).or_insert(json);
        self.untyped(body)
    }

    /// Any body, without a type.
    pub(crate) fn untyped(mut self, body: impl Into<Bytes>) -> Self {
        *self.request.body_mut() = body.into();
        self
    }

    pub(crate) async fn send(self) -> Answer {
        let (method, uri) = (self.request.method().clone(), self.request.uri().to_string());
        let asked = format!("{method} {uri}");
        let answer = tokio::time::timeout(PATIENCE, self.client.send(self.request)).await;
        let answer = answer.unwrap_or_else(|_| panic!("{asked} was not answered in time"));
        let (parts, body) = answer.into_parts();
        document::check((&method, &uri), parts.status.as_u16(), &parts.headers, &body);
        Answer { asked, status: parts.status.as_u16(), headers: parts.headers, body }
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    asked: String,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// Checks the status.
    pub(crate) fn is(self, status: u16) -> Self {
        let (asked, text) = (&self.asked, String::from_utf8_lossy(&self.body));
        assert_eq!(self.status, status, "{asked} was answered {text}");
        self
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("header fields are ASCII"))
    }

    pub(crate) fn json(&self) -> Value {
        let (asked, text) = (&self.asked, String::from_utf8_lossy(&self.body));
        let json = serde_json::from_slice(&self.body);
        json.unwrap_or_else(|error| panic!("{asked} was answered {text}: {error}"))
    }

    /// The `Placard-Version` of an answer that depends on state.
    pub(crate) fn version(&self) -> u64 {
        let text = self.header("placard-version");
        let text = text.unwrap_or_else(|| panic!("{} is answered without a version", self.asked));
        text.parse().expect("a version is a number")
    }

    pub(crate) fn location(&self) -> String {
        self.header("location").expect("a creation says where the ad is").to_owned()
    }

    /// The ad's id, in a body that is an ad.
    pub(crate) fn id(&self) -> String {
        id_of(&self.json())
    }

    /// Checks that it is a problem of this status and kind, and returns its body.
    pub(crate) fn problem(&self, status: u16, kind: &str) -> Value {
        let checked = self.clone().is(status);
        assert_eq!(checked.header("content-type"), Some("application/problem+json"));
        let body = checked.json();
        assert_eq!(body["type"], format!("/problems/{kind}"), "{} {body}", self.asked);
        assert_eq!(body["status"], status);
        let clause = |name: &str| body[name].as_str().is_some_and(|text| !text.is_empty());
        assert!(clause("title") && clause("detail"), "{body}");
        body
    }

    /// Checks that it is a 400 that names exactly these places, such as `pointer /title`.
    pub(crate) fn names(&self, places: &[&str]) {
        let body = self.problem(400, "invalid-request");
        assert_eq!(named(&body), places, "{} was answered {body}", self.asked);
    }
}

/// The places in a problem's errors; each must have a detail.
pub(crate) fn named(problem: &Value) -> Vec<String> {
    let errors = problem["errors"].as_array().map_or(&[][..], Vec::as_slice);
    let place = |error: &Value| {
        let detail = error["detail"].as_str().unwrap_or_default();
        assert!(!detail.is_empty(), "{error} says nothing");
        let kind =
            ["pointer", "parameter", "header"].into_iter().find(|kind| error[kind] != Value::Null);
        let kind = kind.unwrap_or_else(|| panic!("{error} names no place"));
        format!("{kind} {}", error[kind].as_str().expect("a place is text"))
    };
    errors.iter().map(place).collect()
}

/// Waits for all of these, which are under way together; their results in order.
pub(crate) async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.into_iter().map(|one| Box::pin(one)).collect();
    let mut done: Vec<_> = waiting.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in waiting.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
            if let Poll::Ready(result) = future.as_mut().poll(context) {
                *done = Some(result);
            }
        }
        if done.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

fn id_of(ad: &Value) -> String {
    ad["id"].as_str().unwrap_or_else(|| panic!("{ad} has no id")).to_owned()
}

/// The least that an ad must have; it is served for a long time.
pub(crate) fn ad() -> Value {
    json!({
        "title": "Summer sale",
        "content": "Everything must go",
        "start_at": "2020-01-01T00:00:00Z",
        "end_at": "2099-01-01T00:00:00Z",
    })
}

/// [`ad`] with other fields.
pub(crate) fn ad_with(fields: Value) -> Value {
    with(ad(), fields)
}

/// An object with other fields.
pub(crate) fn with(mut object: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("{fields} is no object") };
    object.as_object_mut().expect("an object").extend(fields);
    object
}
