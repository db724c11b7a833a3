//! The examples for newcomers, run as they are.

use std::path::Path;

use placard_testkit::process::Process;

use crate::server::{ANY_PORT, PLACARD, Server};

const TOKEN: &str = "correct-horse-battery";

#[tokio::test]
async fn walkthrough_gets_the_answers_that_it_expects() {
    let directory = tempfile::tempdir().unwrap();
    let (data, tokens) = (directory.path().join("data"), directory.path().join("tokens"));
    std::fs::write(&tokens, TOKEN).unwrap();
    let [data, tokens] = [&data, &tokens].map(|path| path.to_str().unwrap());
    let serve = ["serve", "--listen", ANY_PORT, "--data-dir", data, "--admin-token-file", tokens];
    let server = Server::of(Process::start(PLACARD, &serve, &[])).await;
    let walkthrough = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/walkthrough.sh");
    let environment =
        [("TARGET", server.url.as_str()), ("TOKEN", TOKEN), ("NO_PROXY", "127.0.0.1")];
    let ended = Process::start("sh", &[walkthrough.to_str().unwrap()], &environment).ended().await;
    assert!(ended.status.success(), "{ended:#?}");
    server.stop().await;
}
