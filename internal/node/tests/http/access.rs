//! Who may write, and whose pages may read. Both are open or closed by configuration, so that these ask a node of
//! their own each.

use bytes::Bytes;
use placard_model::entry::Entry;
use placard_node::{Access, ApiConfig, Cors};
use rusqlite::Connection;
use serde_json::json;
use uuid::Uuid;

use crate::feed::CHANGES;
use crate::pools::{POOLS, RESERVATIONS};
use crate::server::{ADS, Answer, BATCH, Call, Server, ad};

const ANN: &str = "0123456789abcdef";
const ANN_NEW: &str = "0123456789abcdef-new";
const UNNAMED: &str = "fedcba9876543210";
const RELEASE: &str = "/api/v1/admin/expiry/release";

async fn guarded() -> Server {
    let file = format!("# rotated\nann:{ANN}\nann:{ANN_NEW}\n{UNNAMED}\n");
    let access = Access::from_file(&file).expect("the file is right");
    Server::with_api(ApiConfig { access, ..ApiConfig::default() }).await
}

async fn with_cors(origins: &[&str]) -> Server {
    let cors = origins.iter().map(|origin| origin.parse::<Cors>().expect("it is an origin"));
    Server::with_api(ApiConfig { cors: cors.collect(), ..ApiConfig::default() }).await
}

/// Every request that changes something.
fn writes<'a>(server: &'a Server, one: &str) -> Vec<Call<'a>> {
    vec![
        server.call("POST", ADS).json(&ad()),
        server.call("POST", BATCH).json(&json!([ad()])),
        server.call("PUT", one).json(&ad()),
        server.call("PATCH", one).json(&json!({ "title": "Changed" })),
        server.call("DELETE", one),
        server.call("POST", RELEASE),
    ]
}

/// Every read of what only those may see who write.
fn guarded_reads(server: &Server) -> Vec<Call<'_>> {
    let (pool, reservation) =
        (format!("{POOLS}/{}", Uuid::nil()), format!("{RESERVATIONS}/{}", Uuid::nil()));
    [POOLS, &pool, &reservation, CHANGES].map(|path| server.call("GET", path)).into()
}

fn refused(answer: &Answer) {
    answer.problem(401, "unauthorized");
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_need_a_token_and_reads_do_not() {
    let server = guarded().await;
    let bearer = format!("Bearer {ANN}");
    let created = server.call("POST", ADS).header("authorization", &bearer).json(&ad()).send();
    let one = created.await.is(201).location();
    for call in writes(&server, &one).into_iter().chain(guarded_reads(&server)) {
        refused(&call.send().await);
    }
    for call in guarded_reads(&server) {
        let answer = call.header("authorization", &bearer).send().await;
        assert!([200, 404].contains(&answer.status), "{answer:?}");
    }
    for wrong in
        ["Bearer 0123456789abcdeX", "Bearer 0123456789abcdef0", "Bearer ", "Basic YTpi", ANN]
    {
        for call in writes(&server, &one) {
            refused(&call.header("authorization", wrong).send().await);
        }
    }
    for call in writes(&server, &one) {
        refused(
            &call.header("authorization", &bearer).header("authorization", &bearer).send().await,
        );
    }
    // Nor does the answer say what else would be wrong with the request.
    refused(&server.call("POST", ADS).text("no JSON").send().await);
    refused(&server.call("DELETE", "/api/v1/ad/none").send().await);
    let cluster = "/api/v1/cluster";
    for read in [ADS, one.as_str(), cluster, "/livez", "/readyz", "/metrics"] {
        server.get(read).await.is(200);
    }
    server.call("DELETE", ADS).send().await.problem(405, "method-not-allowed");
    assert_eq!(server.list("").await.1, 1);
    for call in writes(&server, &one) {
        let status = call.header("authorization", &bearer).send().await.status;
        assert!((200..300).contains(&status), "{status}");
    }
}

/// The journal says who wrote what; two tokens of one name are one writer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_name_of_the_token_is_recorded_and_scopes_keys() {
    let server = guarded().await;
    let create = |token: &str| {
        let call = server.call("POST", ADS).header("authorization", &format!("bearer {token}"));
        call.key("k-1").json(&ad()).send()
    };
    let first = create(ANN).await.is(201);
    let rotated = create(ANN_NEW).await.is(201);
    assert_eq!((rotated.id(), rotated.header("idempotency-replayed")), (first.id(), Some("true")));
    let other = create(UNNAMED).await.is(201);
    assert_ne!(other.id(), first.id());

    let journal = Connection::open(server.directory().join("journal.sqlite")).unwrap();
    let mut log = journal.prepare("SELECT bytes FROM log ORDER BY version").unwrap();
    let entries = log.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    let principals: Vec<_> = entries
        .map(|bytes| Entry::decode(&Bytes::from(bytes.unwrap())).unwrap().principal)
        .collect();
    let [ann, unnamed] = principals.as_slice() else { panic!("{principals:?}") };
    assert_eq!(ann, "ann");
    assert!(unnamed.starts_with("token-") && !unnamed.contains(UNNAMED), "{unnamed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_page_may_read_unless_its_origin_is_named() {
    const ALLOWED: &str = "access-control-allow-origin";
    let closed = Server::over_socket().await;
    let asked = closed.call("GET", ADS).header("origin", "https://example.org").send().await;
    assert_eq!(asked.is(200).header(ALLOWED), None);

    let server = with_cors(&["https://example.org", "http://localhost:3000"]).await;
    for origin in ["https://example.org", "http://localhost:3000"] {
        let read = server.call("GET", ADS).header("origin", origin).send().await.is(200);
        assert_eq!(read.header(ALLOWED), Some(origin));
        let exposed = read.header("access-control-expose-headers").unwrap_or_default();
        assert!(exposed.contains("placard-version"), "{exposed}");
    }
    for (method, path, origin) in [
        ("GET", ADS, "https://example.com"),
        ("GET", "/metrics", "https://example.org"),
        ("POST", ADS, "https://example.org"),
    ] {
        let call = server.call(method, path).header("origin", origin);
        assert_eq!(call.send().await.header(ALLOWED), None, "{method} {path} {origin}");
    }
    let any = with_cors(&["*"]).await;
    let read = any.call("GET", ADS).header("origin", "https://example.net").send().await;
    assert_eq!(read.is(200).header(ALLOWED), Some("https://example.net"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preflight_allows_only_reads() {
    let server = with_cors(&["https://example.org"]).await;
    let preflight = server
        .call("OPTIONS", ADS)
        .header("origin", "https://example.org")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type,authorization")
        .send()
        .await
        .is(200);
    let of = |name: &str| preflight.header(name).unwrap_or_default().to_ascii_lowercase();
    assert_eq!(of("access-control-allow-methods"), "get,head");
    let headers = of("access-control-allow-headers");
    assert!(headers.contains("placard-min-version") && !headers.contains("authorization"));
    // What clients and tracing systems send with every request, reads too.
    for name in [
        "content-type",
        "traceparent",
        "tracestate",
        "if-none-match",
        "x-request-id",
        "last-event-id",
    ] {
        assert!(headers.split(',').any(|allowed| allowed == name), "{name} is not in {headers}");
    }
    assert_eq!(preflight.header("access-control-allow-credentials"), None);
}

/// A browser sends such a request without asking first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_page_releases_no_brake() {
    let server = with_cors(&["https://example.org"]).await;
    let from = |origin: &str| {
        server
            .call("POST", RELEASE)
            .header("content-type", "text/plain")
            .untyped("x")
            .header("origin", origin)
            .send()
    };
    let address = server.address();
    for origin in ["https://example.org", "https://example.com", "http://127.0.0.1:1", "null"] {
        from(origin).await.problem(403, "foreign-page");
    }
    // The page at /docs, and clients that are not browsers.
    from(&format!("http://{address}")).await.is(200);
    server.call("POST", RELEASE).send().await.is(200);
    // A client with a token is not a page.
    let server = guarded().await;
    let call = server.call("POST", RELEASE).header("origin", "https://example.com");
    call.header("authorization", &format!("Bearer {ANN}")).send().await.is(200);
}

/// A page's own name may resolve to this machine (DNS rebinding); for its browser the server then has the page's
/// origin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_under_a_foreign_host_name_changes_nothing() {
    let server = with_cors(&[]).await;
    let created = server.create(&ad()).await;
    let path = created.location();
    for host in ["evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example:80"] {
        for call in writes(&server, &path) {
            let call = call.header("host", host).header("origin", &format!("http://{host}"));
            call.send().await.problem(421, "misdirected");
        }
    }
    // Nothing was changed, nor was anything created.
    assert_eq!(server.get(&path).await.is(200).json()["version"], created.json()["version"]);
    assert_eq!(server.list("").await.1, 1);
    for host in ["localhost:8080", "127.0.0.1", "[::1]:8080"] {
        let page = format!("http://{host}");
        let call = server.call("POST", ADS).json(&ad());
        call.header("host", host).header("origin", &page).send().await.is(201);
        let call = server.call("POST", RELEASE).header("host", host);
        call.header("origin", &page).send().await.is(200);
    }
    // A client that is not a browser may know the server by any name.
    server.call("POST", ADS).json(&ad()).header("host", "ads.example").send().await.is(201);
    // Nor has a page the token.
    let server = guarded().await;
    let call = server.call("POST", ADS).json(&ad()).header("host", "ads.example");
    let call = call.header("origin", "http://ads.example");
    call.header("authorization", &format!("Bearer {ANN}")).send().await.is(201);
}

/// If other machines reach the server, an operator has allowed every client to write, and the server has whatever name
/// the operator gave it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn public_server_accepts_any_host_name() {
    let server = Server::everywhere().await;
    for call in [server.call("POST", ADS).json(&ad()), server.call("POST", RELEASE)] {
        let call = call.header("host", "ads.example").header("origin", "http://ads.example");
        let status = call.send().await.status;
        assert!((200..300).contains(&status), "{status}");
    }
}
