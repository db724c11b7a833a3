//! Nothing that may be a password or a token is shown: not in errors, not in the log, not in the help.

use std::path::Path;

use placard_testkit::process::{Ended, Process};

use crate::server::{ANY_PORT, PLACARD, Server};

/// The text that no output may contain.
const SECRET: &str = "s3cret";

/// URLs of PostgreSQL that are not quite ones.
const POSTGRES: [&str; 16] = [
    "s3cret",
    "ann:s3cret@h/db",
    "postgres:/ann:s3cret@h/db",
    "postgres:ann:s3cret@h/db",
    "postgres:///ann:s3cret@h/db",
    "postgres:///ann:s3cret",
    "postgres://ann:s3cret/db",
    "postgres://ann:12/s3cret@h/db",
    "postgres://ann:12#s3cret@h/db",
    "postgres://ann:12?s3cret@h/db",
    "postgres://ann:s3cret@h:port/db",
    "postgres://ann:s3cret@127.0.0.1:1/db?sslmode=s3cret",
    "jdbc:postgresql://ann:s3cret@h/db",
    "jdbc:postgresql://h/db?user=ann&password=s3cret",
    "mysql://ann:s3cret@127.0.0.1:1/db",
    "host=h user=ann password=s3cret",
];

/// URLs of Redis that are not quite ones.
const REDIS: [&str; 11] = [
    "s3cret",
    ":s3cret@h:6379",
    "redis:ann:s3cret@h",
    "redis:/ann:s3cret@h",
    "redis:///ann:s3cret@h",
    "redis://ann:s3cret",
    "redis://ann:12/s3cret@h",
    "rediss://:12#s3cret@h",
    "redis://ann:12#s3cret@h",
    "redis://ann:12?s3cret@h",
    "http://ann:s3cret@h",
];

/// URLs of HTTP servers that are not quite ones.
const HTTP: [&str; 8] = [
    "s3cret",
    "ann:s3cret@h",
    "http:ann:s3cret@h",
    "http://ann:s3cret@127.0.0.1:1",
    "http://127.0.0.1:1/s3cret",
    "http://127.0.0.1:1?token=s3cret",
    "http://127.0.0.1:1#s3cret",
    "http://h:s3cret",
];

/// Runs it; it must fail, and keep the secret.
async fn fails(arguments: &[&str], variables: &[(&str, &str)]) {
    let ended = Process::start(PLACARD, arguments, variables).ended().await;
    assert!(matches!(ended.status.code(), Some(1 | 2)), "{arguments:?} {variables:?}: {ended:#?}");
    assert!(!ended.err.is_empty(), "{arguments:?} {variables:?}: {ended:#?}");
    keeps_it(&ended, &format!("{arguments:?} {variables:?}"));
}

fn keeps_it(ended: &Ended, what: &str) {
    let said = [&ended.out[..], &ended.err[..]].concat().concat();
    assert!(!said.contains(SECRET), "{what}: {ended:#?}");
}

fn written(directory: &Path, text: &str) -> String {
    let file = directory.join("file");
    std::fs::write(&file, text).expect("a file can be written");
    file.to_str().expect("the file's name is text").to_owned()
}

const SERVE: [&str; 5] = ["serve", "--listen", ANY_PORT, "--log", "trace"];

#[tokio::test]
async fn a_url_of_postgres_is_never_shown() {
    let directory = tempfile::tempdir().unwrap();
    let redis = ("PLACARD_REDIS_URL", "redis://127.0.0.1:1");
    for url in POSTGRES {
        let file = written(directory.path(), url);
        fails(&["migrate", "--postgres-url", url, "--log", "trace"], &[]).await;
        fails(&["verify", "--postgres-url-file", &file], &[]).await;
        fails(&SERVE, &[("PLACARD_POSTGRES_URL", url), redis]).await;
        // Given where the name of a file is wanted, and where nothing is.
        fails(&["migrate", "--postgres-url-file", url], &[]).await;
        fails(&["migrate", "--postgres-url=", url], &[]).await;
    }
}

#[tokio::test]
async fn a_url_of_redis_is_never_shown() {
    let directory = tempfile::tempdir().unwrap();
    let postgres = ("PLACARD_POSTGRES_URL", "postgres://nobody@127.0.0.1:1/none");
    for url in REDIS {
        let file = written(directory.path(), url);
        fails(&SERVE, &[("PLACARD_REDIS_URL", url), postgres]).await;
        fails(&[&SERVE[..], &["--redis-url-file", &file]].concat(), &[postgres]).await;
        fails(&[&SERVE[..], &["--redis-url-file", url]].concat(), &[postgres]).await;
    }
    for sentinel in ["redis://ann:s3cret@h:1", "ann:s3cret@h:1", ":s3cret@h:1", "h:1,h:s3cret"] {
        let sentinels = ["--redis-sentinel", sentinel, "--redis-master", "main"];
        fails(&[&SERVE[..], &sentinels].concat(), &[postgres]).await;
    }
    let password = ["--redis-sentinel", "h:1", "--redis-master", "main", "--redis-password-file"];
    fails(&[&SERVE[..], &password, &["s3cret"]].concat(), &[postgres]).await;
}

#[tokio::test]
async fn malformed_server_url_is_not_shown() {
    for url in HTTP {
        fails(&["seed", "--ads", "1", "--retry-for", "0", "--target", url], &[]).await;
        fails(&["status"], &[("PLACARD_TARGET", url)]).await;
        fails(&["verify", "--postgres-url", "postgres://h", "--target", url], &[]).await;
        let collector = url.replace("/s3cret", "/s3cret/v1/traces");
        fails(&[&SERVE[..], &["--otlp-endpoint", &collector]].concat(), &[]).await;
        fails(&[&SERVE[..], &["--cors-origin", url]].concat(), &[]).await;
        fails(&[&SERVE[..], &["--advertise", url]].concat(), &[]).await;
    }
}

#[tokio::test]
async fn a_token_is_not_shown_where_a_file_is_wanted() {
    let directory = tempfile::tempdir().unwrap();
    for token in ["s3cret", "ann:s3cret", "s3cret/s3cret", &"s3cret".repeat(100)] {
        fails(&[&SERVE[..], &["--admin-token-file", token]].concat(), &[]).await;
        fails(&["status", "--target", "http://127.0.0.1:1"], &[("PLACARD_TOKEN_FILE", token)])
            .await;
    }
    // In a file that is not quite one of tokens.
    for text in ["s3cret", "a b:s3cret-but-long-enough", "s3cret\u{7}but-long-enough\n"] {
        let file = written(directory.path(), text);
        fails(&[&SERVE[..], &["--admin-token-file", &file]].concat(), &[]).await;
        fails(&["status", "--target", "http://127.0.0.1:1", "--token-file", &file], &[]).await;
    }
    let file = written(directory.path(), "");
    std::fs::write(&file, b"s3cret\xff").unwrap();
    fails(&[&SERVE[..], &["--admin-token-file", &file]].concat(), &[]).await;
}

#[tokio::test]
async fn misplaced_arguments_are_not_shown() {
    for arguments in [
        &["s3cret"][..],
        &["postgres://ann:s3cret@h/db"],
        &["serve", "s3cret"],
        &["serve", "postgres://ann:s3cret@h/db"],
        &["serve", "--password=s3cret"],
        &["serve", "--token", "s3cret"],
        &["serve", "-ps3cret"],
        &["serve", "--insecure=s3cret"],
        &["serve", "--listen", "ann:s3cret@127.0.0.1:1"],
    ] {
        fails(arguments, &[]).await;
    }
}

#[tokio::test]
async fn help_shows_no_values_of_variables() {
    for command in ["serve", "seed", "status", "verify", "migrate", "demo", "backup"] {
        let variables = ["POSTGRES_URL", "REDIS_URL", "TARGET", "OTLP_ENDPOINT", "TOKEN_FILE"];
        let variables = variables.map(|name| format!("PLACARD_{name}"));
        let variables = variables.each_ref().map(|name| (name.as_str(), "http://ann:s3cret@h"));
        let ended = Process::start(PLACARD, &[command, "--help"], &variables).ended().await;
        assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
        keeps_it(&ended, command);
    }
}

/// sqlx shows a line of this file that it cannot read.
#[tokio::test]
async fn a_line_of_a_file_of_passwords_is_not_shown() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let file = written(directory.path(), "s3cret\n");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let variables = [("PGPASSFILE", file.as_str())];
    let migrate = ["migrate", "--postgres-url", "postgres://ann@127.0.0.1:1/db", "--log", "trace"];
    fails(&migrate, &variables).await;
}

/// One that works is not shown either, at whatever level of the log.
#[tokio::test]
async fn a_token_that_works_is_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let token = "s3cret-and-long-enough";
    let file = written(directory.path(), token);
    let server =
        Server::with(directory.path(), &["--admin-token-file", &file, "--log", "trace"]).await;
    let seed = ["seed", "--ads", "1", "--target", &server.url, "--token-file", &file];
    let seeded = Process::start(PLACARD, &[&seed[..], &["--log", "trace"]].concat(), &[]);
    let seeded = seeded.ended().await;
    assert_eq!(seeded.status.code(), Some(0), "{seeded:#?}");
    keeps_it(&seeded, "seed");
    keeps_it(&server.stop().await, "serve");
}
