//! The API's documentation for people and tools: the document, and the pages of Swagger UI, which need no other server.

use std::collections::BTreeSet;

use crate::server::Server;

const DOCUMENT: &str = include_str!("../../../../docs/openapi.json");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_is_sent_as_it_is_kept() {
    let server = Server::over_socket().await;
    let sent = server.get("/openapi.json").await.is(200);
    assert_eq!(sent.header("content-type"), Some("application/json"));
    assert!(sent.body == DOCUMENT.as_bytes(), "{}", String::from_utf8_lossy(&sent.body));
}

/// A user follows the address that a server prints at its start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_leads_to_the_pages() {
    let server = Server::over_socket().await;
    let (root, page) = (server.get("/").await.is(200), server.get("/docs").await.is(200));
    assert_eq!(root.body, page.body);
}

/// Everything that the page loads is on this server, and so is everything that those files load.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docs_pages_load_only_local_assets() {
    let server = Server::over_socket().await;
    let page = server.get("/docs").await.is(200);
    assert_eq!(page.header("content-type"), Some("text/html"));
    let page = String::from_utf8(page.body.to_vec()).expect("a page is text");
    assert!(page.contains("id=\"swagger-ui\""), "{page}");
    let mut scripts = String::new();
    let loaded: BTreeSet<_> =
        [" src=\"", " href=\""].iter().flat_map(|at| after(&page, at)).collect();
    for name in ["swagger-ui.css", "swagger-ui-bundle.js", "swagger-initializer.js"] {
        assert!(loaded.iter().any(|link| link.ends_with(name)), "{name} is not among {loaded:?}");
    }
    for link in loaded {
        assert!(is_local(link), "{link} leads away");
        let asset = server.get(&format!("/docs/{}", link.trim_start_matches("./"))).await.is(200);
        assert!(!asset.body.is_empty(), "{link} is empty");
        let text = String::from_utf8_lossy(&asset.body).into_owned();
        if link.ends_with(".css") {
            for within in after(&text, "url(").chain(after(&text, "@import ")) {
                assert!(is_local(within) || within.starts_with("data:"), "{link} loads {within}");
            }
        }
        if link.ends_with("initializer.js") {
            scripts += &text;
        }
    }
    // What the page asks for when it is shown.
    assert!(scripts.contains("\"/openapi.json\""), "{scripts}");
    assert!(scripts.contains("\"validatorUrl\": \"none\""), "{scripts}");
    let away = scripts.split('"').find(|text| text.starts_with("http"));
    assert_eq!(away, None, "the page asks somebody else: {scripts}");
}

/// To scripts that look for files, the pages' folder is as any other path.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_file_of_the_docs_is_a_problem() {
    let server = Server::over_socket().await;
    for path in ["/docs/none", "/docs/none.css", "/docs/sub/index.html", "/docs/..%2Fnone"] {
        server.get(path).await.problem(404, "route-not-found");
    }
}

/// Returns what follows each `mark`, up to its end.
fn after<'a>(text: &'a str, mark: &str) -> impl Iterator<Item = &'a str> {
    let ends = |rest: &'a str| rest.trim_start_matches('"').split(['"', ')', ';']).next();
    text.split(mark).skip(1).filter_map(ends).collect::<Vec<_>>().into_iter()
}

fn is_local(link: &str) -> bool {
    !link.contains("//") && !link.contains(':')
}
