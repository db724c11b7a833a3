//! A server that other machines can reach does not start without a rule who may write.

use std::path::Path;

use placard_testkit::process::{Ended, Process};

use crate::server::{ANY_PORT, PLACARD, Server, ad};

const EVERYWHERE: &str = "0.0.0.0:0";
const TOKEN: &str = "correct-horse-battery";

async fn run(arguments: &[&str]) -> Ended {
    Process::start(PLACARD, arguments, &[]).ended().await
}

fn failed(ended: &Ended, code: i32, says: &str) {
    assert_eq!(ended.status.code(), Some(code), "{ended:#?}");
    let [line] = ended.err.as_slice() else { panic!("{ended:#?}") };
    assert!(line.starts_with("error: ") && line.contains(says), "{line}");
    assert!(ended.out.is_empty() && !line.contains(TOKEN), "{ended:#?}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

#[tokio::test]
async fn non_loopback_server_requires_tokens_or_insecure() {
    let directory = tempfile::tempdir().unwrap();
    let data = text(directory.path());
    for listen in [EVERYWHERE, "[::]:0"] {
        let refused = run(&["serve", "--listen", listen, "--data-dir", data]).await;
        failed(&refused, 2, "--admin-token-file, or --insecure");
    }
    failed(&run(&["demo", "--listen", EVERYWHERE]).await, 2, "give --insecure");
    let arguments = ["serve", "--listen", EVERYWHERE, "--data-dir", data, "--insecure"];
    let mut open = Server::of(Process::start(PLACARD, &arguments, &[])).await;
    open.url = open.url.replace("0.0.0.0", "127.0.0.1");
    open.create(&ad("By anyone")).await;
    open.stop().await;
}

#[tokio::test]
async fn a_file_of_tokens_that_cannot_be_used_is_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let data = text(directory.path());
    let file = directory.path().join("tokens");
    let arguments =
        ["serve", "--listen", ANY_PORT, "--data-dir", data, "--admin-token-file", text(&file)];
    failed(&run(&arguments).await, 2, "cannot read");
    for (content, says) in [
        ("", "it contains no token"),
        ("# ann\nann:too-short", "line 2: a token must have 16"),
        ("ann:correct horse battery", "line 1: a token may have letters"),
        (&format!("{TOKEN}\n{TOKEN}"), "line 2: duplicate token"),
    ] {
        std::fs::write(&file, content).unwrap();
        failed(&run(&arguments).await, 2, says);
    }
    std::fs::write(&file, TOKEN).unwrap();
    let both = run(&[&arguments[..], &["--insecure"]].concat()).await;
    assert_eq!((both.status.code(), both.err.len()), (Some(2), 1), "{both:#?}");
    let origin = run(&[&arguments[..], &["--cors-origin", "example.org"]].concat()).await;
    assert_eq!((origin.status.code(), origin.err.len()), (Some(2), 1), "{origin:#?}");
}

#[tokio::test]
async fn seed_and_status_show_a_token() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens");
    std::fs::write(&file, format!("# the seeder's\nseeder:{TOKEN}\n")).unwrap();
    let server = Server::with(directory.path(), &["--admin-token-file", text(&file)]).await;
    let seed = ["seed", "--target", &server.url, "--ads", "3"];
    failed(&run(&seed).await, 1, "--token-file");
    let with_token = [&seed[..], &["--token-file", text(&file)]].concat();
    let seeded = run(&with_token).await;
    assert_eq!(seeded.status.code(), Some(0), "{seeded:#?}");
    assert_eq!(server.ads().await, 3);
    let status = ["status", "--once", "--target", &server.url, "--token-file", text(&file)];
    let shown = run(&status).await;
    assert_eq!(shown.status.code(), Some(0), "{shown:#?}");
    server.stop().await;
}
