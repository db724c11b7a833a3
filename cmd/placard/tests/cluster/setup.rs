//! What the command line says of a cluster.

use placard_testkit::process::{Ended, Process};
use placard_testkit::servers::postgres::PostgresServer;
use placard_testkit::servers::redis::RedisServer;

use crate::cluster::{PLACARD, Servers};

async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    Process::start(PLACARD, arguments, variables).ended().await
}

fn one_line(ended: &Ended, code: i32, says: &str) {
    assert_eq!(ended.status.code(), Some(code), "{:?}", ended.err);
    let errors: Vec<_> = ended.err.iter().filter(|line| line.starts_with("error:")).collect();
    assert_eq!(errors.len(), 1, "{:?}", ended.err);
    assert!(errors[0].contains(says), "{}", errors[0]);
}

#[tokio::test]
async fn serve_requires_both_postgresql_and_redis() {
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    let postgres = [("PLACARD_POSTGRES_URL", "postgres://nobody@127.0.0.1:1/none")];
    one_line(&run(&serve, &postgres).await, 2, "needs Redis beside PostgreSQL");
    let redis = [("PLACARD_REDIS_URL", "redis://127.0.0.1:1")];
    one_line(&run(&serve, &redis).await, 2, "needs PostgreSQL beside Redis");
}

#[tokio::test]
async fn unusable_url_fails_in_one_line_without_password() {
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    let redis = ("PLACARD_REDIS_URL", "redis://127.0.0.1:1");
    for (url, code) in
        [("postgres://me:secret@127.0.0.1:1/none", 1), ("mysql://me:secret@127.0.0.1/none", 2)]
    {
        let ended = run(&serve, &[("PLACARD_POSTGRES_URL", url), redis]).await;
        one_line(&ended, code, "PostgreSQL");
        assert!(!ended.err.concat().contains("secret"), "{:?}", ended.err);
    }
}

/// Its redirections are not followed, so a part of all streams could never be reached.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_a_redis_cluster_is_refused_by_name() {
    let settings = [("cluster-enabled", "yes")];
    let (postgres, redis) =
        tokio::join!(PostgresServer::start(), RedisServer::start_with(&settings));
    let postgres = postgres.expect("a private PostgreSQL starts");
    let redis = redis.expect("a private Redis starts");
    let urls = [postgres.url(), redis.url()];
    let variables = [("PLACARD_POSTGRES_URL", &*urls[0]), ("PLACARD_REDIS_URL", &*urls[1])];
    let ended = run(&["serve", "--listen", "127.0.0.1:0"], &variables).await;
    one_line(&ended, 1, "Redis Cluster");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_come_from_files_and_tables_from_migrate() {
    let servers = Servers::start().await;
    let directory = tempfile::tempdir().expect("a directory can be made");
    let file = directory.path().join("postgres-url");
    std::fs::write(&file, format!("{}\n", servers.postgres.url())).expect("a file can be written");
    let file = file.to_str().expect("the file's name is text");
    let redis = servers.redis.url();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--no-migrate", "--postgres-url-file", file];
    let variables = [("PLACARD_REDIS_URL", redis.as_str())];
    one_line(&run(&serve, &variables).await, 1, "placard migrate");
    for _ in 0..2 {
        let migrated = run(&["migrate", "--postgres-url-file", file], &[]).await;
        assert!(migrated.status.success(), "{:?}", migrated.err);
    }
    let mut process = Process::start(PLACARD, &serve, &variables);
    process.url().await;
    process.terminate();
    assert!(process.ended().await.status.success());
}
