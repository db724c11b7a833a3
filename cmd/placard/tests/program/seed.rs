//! `placard seed`: so many ads, sent through the batch route.

use placard_testkit::process::Process;

use crate::server::{PLACARD, Server};

#[tokio::test]
async fn seed_sends_so_many_ads() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::on(directory.path()).await;
    for (ads, there) in [("0", 0), ("1", 1), ("2500", 2_501), ("2500", 5_001)] {
        let arguments = ["seed", "--target", &server.url, "--ads", ads, "--seed", "7"];
        let ended = Process::start(PLACARD, &arguments, &[]).ended().await;
        assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
        assert_eq!(server.ads().await, there);
    }
    server.stop().await;
}

/// A trailing slash is what people copy out of a browser.
#[tokio::test]
async fn a_target_may_end_in_a_slash() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::on(directory.path()).await;
    let target = format!("{}/", server.url);
    let ended =
        Process::start(PLACARD, &["seed", "--target", &target, "--ads", "3"], &[]).ended().await;
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    assert_eq!(server.ads().await, 3);
}
