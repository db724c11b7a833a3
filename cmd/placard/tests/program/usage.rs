//! The command line: an error is one line, with code 2 for usage and configuration, and 1 for everything else.

use std::path::Path;

use placard_testkit::port::Port;
use placard_testkit::process::{Ended, Process};
use placard_testkit::wait::until;
use tokio::net::TcpListener;

use crate::server::{ANY_PORT, PLACARD, Server, ad};

async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    Process::start(PLACARD, arguments, variables).ended().await
}

/// Checks that it failed with this code and said so in one line.
fn failed(ended: &Ended, code: i32, what: &str) {
    assert_eq!(ended.status.code(), Some(code), "{what}: {ended:#?}");
    assert!(ended.out.is_empty(), "{what}: {ended:#?}");
    let [line] = ended.err.as_slice() else { panic!("{what}: {ended:#?}") };
    assert!(line.starts_with("error: ") && line.len() > 12, "{what}: {line}");
}

/// A value that may be a secret is left out of what clap says, and was once left out of its words too.
#[tokio::test]
async fn an_error_of_a_short_value_is_readable() {
    let arguments = ["serve", "--advertise", "a"];
    let ended = run(&arguments, &[]).await;
    failed(&ended, 2, "--advertise a");
    assert!(ended.err[0].contains("invalid value '...' for '--advertise"), "{ended:?}");
}

#[tokio::test]
async fn bad_usage_is_one_line_and_code_2() {
    for arguments in [
        &[][..],
        &["bogus"],
        &["--bogus"],
        &["serve", "--bogus"],
        &["serve", "extra"],
        &["serve", "--listen"],
        &["serve", "--listen", "here"],
        &["serve", "--listen", "127.0.0.1:70000"],
        &["serve", "--listen", ANY_PORT, "--listen", ANY_PORT],
        &["serve", "--drain-delay", "-1"],
        &["serve", "--drain-delay", "soon"],
        &["serve", "--drain-delay", "600001"],
        &["serve", "--log", "placard=[", "--listen", ANY_PORT],
        &["serve", "--log", "", "--listen", ANY_PORT],
        &["serve", "--log", "warning", "--listen", ANY_PORT],
        &["serve", "--log", "info,verbose", "--listen", ANY_PORT],
        &["serve", "--log", "placard_api", "--listen", ANY_PORT],
        &["serve", "--log-format", "xml"],
        &["serve", "--advertise", ""],
        &["serve", "--advertise", "ads-1"],
        &["serve", "--advertise", "http://ads-1:8080"],
        &["serve", "--otlp-endpoint", "127.0.0.1:4318"],
        &["serve", "--otlp-endpoint", "http://127.0.0.1:4318", "--otlp-sample", "1.1"],
        &["serve", "--otlp-endpoint", "http://127.0.0.1:4318", "--otlp-sample", "NaN"],
        &["demo", "--ads", "-1"],
        &["demo", "--ads", "10000001"],
        &["demo", "--seed", "x"],
        &["seed"],
        &["seed", "--target", "http://127.0.0.1:1"],
        &["seed", "--ads", "1"],
        &["seed", "--ads", "1", "--target", ""],
        &["seed", "--ads", "1", "--target", "127.0.0.1:1"],
        &["seed", "--ads", "1", "--target", "localhost:1"],
        &["seed", "--ads", "1", "--target", "ftp://127.0.0.1"],
        &["seed", "--ads", "1", "--target", "not a\n\nURL"],
        &["seed", "--ads", "1", "--target", "http://127.0.0.1:1", "--retry-for", "43201"],
        &["autoscale", "--balancer", "http://lb", "--requests-per-replica", "1"],
        &["autoscale", "--balancer", "http://lb", "--", "true", "{replicas}"],
        &["autoscale", "--requests-per-replica", "1", "--", "true", "{replicas}"],
        &[
            "autoscale",
            "--balancer",
            "lb:8404",
            "--requests-per-replica",
            "1",
            "--",
            "true",
            "{replicas}",
        ],
        &[
            "autoscale",
            "--balancer",
            "http://lb",
            "--sessions-per-replica",
            "0",
            "--",
            "true",
            "{replicas}",
        ],
    ] {
        failed(&run(arguments, &[]).await, 2, &format!("{arguments:?}"));
    }
    for (name, value) in [
        ("PLACARD_LISTEN", "here"),
        ("PLACARD_DRAIN_DELAY", "x"),
        ("PLACARD_LOG", "warning"),
        ("PLACARD_LOG_FORMAT", "xml"),
        ("PLACARD_ADVERTISE", "here"),
        ("PLACARD_INSECURE", "perhaps"),
        ("PLACARD_INSECURE", " "),
        ("PLACARD_NO_MIGRATE", "2"),
        ("PLACARD_ACCEPT_UNSAFE_DURABILITY", "ye"),
    ] {
        let ended = run(&["serve"], &[(name, value)]).await;
        failed(&ended, 2, name);
        let option = name.trim_start_matches("PLACARD_").to_lowercase().replace('_', "-");
        assert!(ended.err[0].contains(&format!("--{option}")), "{ended:#?}");
    }
}

/// So that a typing mistake can be found.
#[tokio::test]
async fn a_mistyped_option_is_shown() {
    for option in ["--admin-token-fil", "--accept-unsafe-durabilty"] {
        let ended = run(&["serve", option], &[]).await;
        failed(&ended, 2, option);
        assert!(ended.err[0].contains(option), "{ended:#?}");
    }
}

/// A service manager must not start it again every few seconds.
#[tokio::test]
async fn configuration_that_cannot_work_is_code_2() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let missing = text(&missing);
    let file = directory.path().join("url");
    std::fs::write(&file, "not-a-url").unwrap();
    let postgres = ("PLACARD_POSTGRES_URL", "postgres://nobody@127.0.0.1:1/none");
    let redis = ("PLACARD_REDIS_URL", "redis://127.0.0.1:1");
    let serve = ["serve", "--listen", ANY_PORT];
    for (more, variables) in [
        (&["--redis-url", "redis://127.0.0.1:1"][..], &[][..]),
        (&["--postgres-url", "postgres://nobody@127.0.0.1:1/none"], &[]),
        (&["--admin-token-file", missing], &[]),
        (&["--admin-listen", "0.0.0.0:0"], &[]),
        (&["--redis-url-file", missing], &[postgres]),
        (&["--redis-url-file", text(&file)], &[postgres]),
        (&["--postgres-url-file", text(&file)], &[redis]),
        (&["--redis-ca-file", missing], &[postgres, redis]),
        (&[], &[("PLACARD_POSTGRES_URL", "postgres://h/db?sslmode=none"), redis]),
        (&[], &[postgres, ("PLACARD_REDIS_URL", "http://127.0.0.1:1")]),
    ] {
        let ended = run(&[&serve[..], more].concat(), variables).await;
        failed(&ended, 2, &format!("{more:?} {variables:?}"));
    }
    let url_file = ["--postgres-url-file", text(&file)];
    let token_file = ["--target", "http://127.0.0.1:1", "--token-file", missing];
    for arguments in [
        [&["verify"][..], &url_file].concat(),
        [&["migrate"][..], &url_file].concat(),
        vec!["migrate"],
        [&["status"][..], &token_file].concat(),
        [&["seed", "--ads", "1"][..], &token_file].concat(),
        vec!["demo", "--listen", "0.0.0.0:0"],
    ] {
        failed(&run(&arguments, &[]).await, 2, &format!("{arguments:?}"));
    }
    // A server that is away may come back.
    let ended = run(&serve, &[postgres, redis]).await;
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
}

/// The options that the program takes from the environment, as its source has them.
pub(crate) fn variables() -> Vec<String> {
    let sources = [
        include_str!("../../src/options.rs"),
        include_str!("../../src/options/autoscale.rs"),
        include_str!("../../src/options/clients.rs"),
        include_str!("../../src/options/cluster.rs"),
        include_str!("../../src/options/serve.rs"),
    ]
    .concat();
    let names = sources.split("env = \"").skip(1).filter_map(|rest| rest.split('"').next());
    let names: std::collections::BTreeSet<_> = names.map(str::to_owned).collect();
    names.into_iter().collect()
}

/// Compose makes an empty variable of what is not set.
#[tokio::test]
async fn empty_variable_counts_as_unset() {
    let names = variables();
    assert!(names.len() > 30, "{names:?}");
    let empty: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    let directory = tempfile::tempdir().unwrap();
    let data = text(directory.path());
    let arguments = ["serve", "--listen", ANY_PORT, "--data-dir", data];
    let server = Server::of(Process::start(PLACARD, &arguments, &empty)).await;
    let seed = ["seed", "--target", &server.url, "--ads", "3"];
    assert_eq!(run(&seed, &empty).await.status.code(), Some(0));
    assert_eq!(server.ads().await, 3);
    server.stop().await;
    // An option without a default is missing, not empty.
    for (arguments, says) in [(&["seed"][..], "--target"), (&["migrate"], "--postgres-url")] {
        let ended = run(arguments, &empty).await;
        assert!(matches!(ended.err.as_slice(), [line] if line.contains(says)), "{ended:#?}");
    }
}

#[tokio::test]
async fn flag_variable_accepts_words_for_yes_and_no() {
    let directory = tempfile::tempdir().unwrap();
    let data = text(directory.path());
    let everywhere = ["serve", "--listen", "0.0.0.0:0", "--data-dir", data];
    for yes in ["1", "true", "TRUE", "yes", "y", "on", "t"] {
        let insecure = [("PLACARD_INSECURE", yes)];
        Server::of(Process::start(PLACARD, &everywhere, &insecure)).await.stop().await;
    }
    let tokens = directory.path().join("tokens");
    std::fs::write(&tokens, "\u{feff}ann:correct-horse-battery\r\n").unwrap();
    let tokens = text(&tokens);
    for no in ["0", "false", "False", "no", "n", "off", "f", ""] {
        let insecure = ("PLACARD_INSECURE", no);
        failed(&run(&everywhere, &[insecure]).await, 2, no);
        // It does not exclude what the flag excludes.
        let variables = [insecure, ("PLACARD_ADMIN_TOKEN_FILE", tokens)];
        Server::of(Process::start(PLACARD, &everywhere, &variables)).await.stop().await;
    }
    let both = [("PLACARD_INSECURE", "yes"), ("PLACARD_ADMIN_TOKEN_FILE", tokens)];
    failed(&run(&everywhere, &both).await, 2, "both");
}

/// Compose makes empty variables of URLs that were forgotten.
#[tokio::test]
async fn a_replica_without_its_cluster_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let urls = [("PLACARD_POSTGRES_URL", ""), ("PLACARD_REDIS_URL", "")];
    let arguments = ["serve", "--listen", ANY_PORT, "--data-dir", text(&data)];
    for (name, value) in [
        ("PLACARD_ADVERTISE", "ads-1:8080"),
        ("PLACARD_ON_STALE", "refuse"),
        ("PLACARD_NO_MIGRATE", "yes"),
        ("PLACARD_REDIS_CA_FILE", "authority.pem"),
        ("PLACARD_LOG_KEEP_HOURS", "168"),
    ] {
        let ended = run(&arguments, &[&urls[..], &[(name, value)]].concat()).await;
        failed(&ended, 2, name);
        let option = name.trim_start_matches("PLACARD_").to_lowercase().replace('_', "-");
        let says = format!("--{option} is for a cluster's replicas: name PostgreSQL and Redis");
        assert!(ended.err[0].contains(&says), "{ended:#?}");
    }
    assert!(!data.exists(), "a journal was begun");
    // Without any it is embedded, and says so.
    let ended = Server::of(Process::start(PLACARD, &arguments, &urls)).await.stop().await;
    let says = |line: &String| line.contains("embedded: ") && line.contains(text(&data));
    assert!(ended.err.iter().any(says), "{ended:#?}");
}

/// A name, or no address at all, stands for one.
#[tokio::test]
async fn listen_address_may_be_a_name() {
    for listen in ["localhost:0", ":0", "[::1]:0"] {
        let directory = tempfile::tempdir().unwrap();
        let arguments =
            ["serve", "--insecure", "--listen", listen, "--data-dir", text(directory.path())];
        Server::of(Process::start(PLACARD, &arguments, &[])).await.stop().await;
    }
}

/// A container's health check gets the same `--listen` as the server.
#[tokio::test]
async fn healthcheck_works_on_an_ipv6_only_server() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["serve", "--listen", "[::1]:0", "--data-dir", text(directory.path())];
    let server = Server::of(Process::start(PLACARD, &arguments, &[])).await;
    let port = server.url.rsplit(':').next().unwrap();
    for listen in [format!("[::1]:{port}"), format!("[::]:{port}")] {
        let asked = run(&["healthcheck", "--listen", &listen], &[]).await;
        assert_eq!(asked.status.code(), Some(0), "{listen}: {asked:#?}");
    }
    server.stop().await;
}

/// Statements of the queue of tasks are logged if they are asked for.
#[tokio::test]
async fn debug_log_omits_sql_unless_asked_for() {
    for (filter, is_there) in [("debug", false), ("debug,sqlx=debug", true)] {
        let directory = tempfile::tempdir().unwrap();
        let data = text(directory.path());
        let arguments = ["serve", "--listen", ANY_PORT, "--data-dir", data, "--log", filter];
        let server = Server::of(Process::start(PLACARD, &arguments, &[])).await;
        server.create(&ad("An ad whose end is planned")).await;
        let queue = directory.path().join("expiry.db");
        until("the queue of tasks", async || queue.exists().then_some(())).await;
        let ended = server.stop().await;
        let statements = ended.err.iter().filter(|line| line.contains("sqlx::query")).count();
        assert_eq!(statements > 0, is_there, "{filter}: {statements}");
    }
}

/// Behind a proxy that is trusted, whom that names.
#[tokio::test]
async fn log_names_the_requests_client() {
    for (trusted, client) in
        [("192.0.2.0/24", "127.0.0.1"), ("192.0.2.1,127.0.0.0/8", "203.0.113.9")]
    {
        let directory = tempfile::tempdir().unwrap();
        let data = text(directory.path());
        let arguments = ["serve", "--listen", ANY_PORT, "--data-dir", data, "--log", "debug"];
        let variables = [("PLACARD_TRUSTED_PROXIES", trusted)];
        let server = Server::of(Process::start(PLACARD, &arguments, &variables)).await;
        let asked = reqwest::Client::builder().no_proxy().build().unwrap();
        let asked = asked.get(format!("{}/livez", server.url));
        asked.header("X-Forwarded-For", "1.1.1.1, 203.0.113.9").send().await.unwrap();
        let ended = server.stop().await;
        let says = format!("client={client}");
        let is_told = |line: &String| line.contains("/livez") && line.contains(&says);
        assert!(ended.err.iter().any(is_told), "{trusted}: {ended:#?}");
    }
}

/// A proxy that is set for other things gets neither requests nor tokens.
#[tokio::test]
async fn seed_and_status_ignore_proxy_env() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::on(directory.path()).await;
    let gone = Port::reserve();
    let proxy = [("http_proxy", &*format!("http://{}", gone.address())), ("no_proxy", "")];
    for arguments in [
        &["seed", "--target", &server.url, "--ads", "3"][..],
        &["status", "--once", "--target", &server.url],
    ] {
        let ended = run(arguments, &proxy).await;
        assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    }
    assert_eq!(server.ads().await, 3);
    server.stop().await;
}

#[tokio::test]
async fn variables_without_their_feature_are_ignored() {
    let directory = tempfile::tempdir().unwrap();
    let variables = [
        ("PLACARD_OTLP_ENDPOINT", ""),
        ("PLACARD_OTLP_SAMPLE", "0.5"),
        ("PLACARD_CORS_ORIGIN", "https://a.org,"),
    ];
    let arguments = ["serve", "--listen", ANY_PORT, "--data-dir", text(directory.path())];
    Server::of(Process::start(PLACARD, &arguments, &variables)).await.stop().await;
}

#[tokio::test]
async fn help_and_version_are_no_errors() {
    for arguments in
        [&["--help"][..], &["help"], &["--version"], &["serve", "--help"], &["help", "seed"]]
    {
        let ended = run(arguments, &[]).await;
        assert_eq!(ended.status.code(), Some(0), "{arguments:?}: {ended:#?}");
        assert!(!ended.out.is_empty() && ended.err.is_empty(), "{arguments:?}: {ended:#?}");
    }
    let ended = run(&["--help"], &[]).await;
    assert!(ended.out[0].contains("serves targeted ads from memory"), "{ended:#?}");
}

#[tokio::test]
async fn a_port_in_use_is_one_line_and_code_1() {
    let taken = TcpListener::bind(ANY_PORT).await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let data = text(directory.path());
    failed(&run(&["serve", "--listen", &address, "--data-dir", data], &[]).await, 1, "serve");
    failed(&run(&["demo", "--listen", &address], &[]).await, 1, "demo");
}

#[tokio::test]
async fn a_directory_in_use_is_one_line_and_code_1() {
    let directory = tempfile::tempdir().unwrap();
    let data = text(directory.path());
    let first = Server::on(directory.path()).await;
    let second = ["serve", "--listen", ANY_PORT, "--data-dir", data];
    let refused = run(&second, &[]).await;
    failed(&refused, 1, "a second process");
    assert!(refused.err[0].contains(data), "{refused:#?}");
    first.create(&ad("Still here")).await;
    first.stop().await;
    let second = Server::on(directory.path()).await;
    assert_eq!(second.ads().await, 1);
}

#[tokio::test]
async fn an_unusable_directory_is_one_line_and_code_1() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "no directory").unwrap();
    failed(&serve(&file).await, 1, "a file");
    failed(&serve(&file.join("below")).await, 1, "below a file");
    let garbage = directory.path().join("garbage");
    std::fs::create_dir(&garbage).unwrap();
    std::fs::write(garbage.join("journal.sqlite"), vec![b'x'; 8_192]).unwrap();
    failed(&serve(&garbage).await, 1, "garbage");
}

async fn serve(data: &Path) -> Ended {
    run(&["serve", "--listen", ANY_PORT, "--data-dir", text(data)], &[]).await
}

#[tokio::test]
async fn a_target_out_of_reach_is_one_line_and_code_1() {
    let gone = Port::reserve();
    let target = format!("http://{}", gone.address());
    let seed = ["seed", "--target", &target, "--ads", "1", "--retry-for", "0"];
    failed(&run(&seed, &[]).await, 1, "seed");
}

#[tokio::test]
async fn options_come_from_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let data = text(directory.path());
    let variables =
        [("PLACARD_LISTEN", ANY_PORT), ("PLACARD_DATA_DIR", data), ("PLACARD_LOG", "error")];
    let server = Server::of(Process::start(PLACARD, &["serve"], &variables)).await;
    let target =
        [("PLACARD_TARGET", server.url.as_str()), ("PLACARD_ADS", "12"), ("PLACARD_SEED", "7")];
    let seeded = run(&["seed"], &target).await;
    assert_eq!(seeded.status.code(), Some(0), "{seeded:#?}");
    assert_eq!(server.ads().await, 12);
    server.stop().await;
    // The command line goes first.
    let other = tempfile::tempdir().unwrap();
    let arguments = ["serve", "--data-dir", text(other.path())];
    let server = Server::of(Process::start(PLACARD, &arguments, &variables)).await;
    assert_eq!(server.ads().await, 0);
    server.stop().await;
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}
