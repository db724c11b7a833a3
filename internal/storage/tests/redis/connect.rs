//! The ways to a Redis: with a password, over TLS, through Sentinels; and what it is asked when it is found.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use placard_replica::ports::{Appended, Stream};
use placard_replica::reasons;
use placard_storage::redis::{Options, RedisStream, Sentinel, Server, Warning};
use placard_storage::secret::Secret;
use placard_testkit::authority::{Authority, Certificate};
use placard_testkit::contract;
use placard_testkit::servers::redis::RedisServer;
use placard_testkit::servers::sentinel::RedisSentinel;

use crate::{DEADLINE, append, append_at_last, connect, following, records, run, status};

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_forgets_is_warned_of() {
    let settings = [("maxmemory-policy", "allkeys-lru")];
    let mut server = RedisServer::start_with(&settings).await.unwrap();
    let stream = connect(&server);
    let expected = [Warning::Evicts("allkeys-lru".to_owned()), Warning::NotPersistent];
    assert_eq!(stream.check().await.unwrap(), expected);
    let settings = [("maxmemory-policy", "noeviction"), ("appendonly", "yes")];
    server.restart_with(&settings).await.unwrap();
    append_at_last(&stream, &[]).await;
    assert_eq!(connect(&server).check().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn password_is_used_and_never_shown() {
    let server = RedisServer::start().await.unwrap();
    run::<()>(&server, "CONFIG SET requirepass opensesame").await;
    let with = |password: &str| {
        let url = format!("redis://:{password}@127.0.0.1:{}", server.port());
        following(&Options::new(Server::Url(url.into())))
    };
    assert_eq!(append(&with("opensesame"), &records(2)).await, Appended::Done);
    let wrong = with("opensesam");
    let error = wrong.status().await.unwrap_err();
    let told = format!("{error} {error:?} {wrong:?}");
    assert!(!told.contains("opensesam"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_changes_is_read_from_its_file() {
    let server = RedisServer::start().await.unwrap();
    let file = server.directory().join("url");
    let write = |password: &str| {
        let url = format!("redis://teller:{password}@127.0.0.1:{}\n", server.port());
        std::fs::write(&file, url).unwrap();
    };
    run::<()>(&server, "ACL SETUSER teller on >first ~* &* +@all").await;
    write("first");
    let stream = following(&Options::new(Server::Url(Secret::read(&file).unwrap())));
    let all = records(4);
    assert_eq!(append(&stream, &all[..2]).await, Appended::Done);
    write("second");
    run::<()>(&server, "ACL SETUSER teller resetpass >second").await;
    run::<u64>(&server, "CLIENT KILL USER teller").await;
    assert_eq!(append_at_last(&stream, &all[2..]).await, Appended::Done);
}

/// An operator may give a pipe, or a file on a server that is away. What the file said before is used then.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_hangs_does_not_keep_redis_away() {
    let server = RedisServer::start().await.unwrap();
    let file = server.directory().join("url");
    std::fs::write(&file, server.url()).unwrap();
    let secret = Secret::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    // Readers wait as long as there is a writer that does not write.
    let hangs = std::fs::OpenOptions::new().read(true).write(true).open(&file).unwrap();
    let stream = following(&Options::new(Server::Url(secret)));
    let all = records(2);
    assert_eq!(append(&stream, &all).await, Appended::Done);
    assert_eq!(stream.read(0, 10).await.unwrap(), all[..]);
    drop((stream, hangs));
}

/// The rights that docs/OPERATIONS.md lists.
const MANUAL: &str = include_str!("../../../../docs/OPERATIONS.md");

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_that_the_manual_lists_are_enough() {
    let server = RedisServer::start().await.unwrap();
    let (_, rule) = MANUAL.split_once("ACL SETUSER placard_replica").expect("the manual has it");
    let rule = rule.lines().next().expect("it has a line");
    run::<()>(&server, &format!("ACL SETUSER placard_replica{rule}")).await;
    let url = format!("redis://placard_replica:password@127.0.0.1:{}", server.port());
    let options = Options { entries_max: Some(1_000), ..Options::new(Server::Url(url.into())) };
    let stream = following(&options);
    assert_eq!(stream.check().await.unwrap(), connect(&server).check().await.unwrap());
    contract::stream(stream).await;
    let denied = run::<redis::Value>(&server, "ACL LOG").await;
    assert_eq!(denied, redis::Value::Array(Vec::new()));
}

/// A Redis that speaks TLS on a port of its own.
struct Encrypted {
    _server: RedisServer,
    port: u16,
    authority: Authority,
}

impl Encrypted {
    async fn start(asks_clients: bool) -> Self {
        let authority = Authority::new();
        let signed = authority.sign("127.0.0.1");
        Self::start_with(authority, &signed, asks_clients).await
    }

    async fn start_with(authority: Authority, signed: &Certificate, asks_clients: bool) -> Self {
        let server = RedisServer::start().await.unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let write = |name: &str, text: &str| {
            let file = server.directory().join(name);
            std::fs::write(&file, text).unwrap();
            file.display().to_string()
        };
        let settings = [
            format!("tls-cert-file {}", write("certificate.pem", &signed.certificate)),
            format!("tls-key-file {}", write("key.pem", &signed.key)),
            format!("tls-ca-cert-file {}", write("authority.pem", authority.pem())),
            format!("tls-auth-clients {}", if asks_clients { "yes" } else { "no" }),
            format!("tls-port {port}"),
        ];
        run::<()>(&server, &format!("CONFIG SET {}", settings.join(" "))).await;
        Self { _server: server, port, authority }
    }

    fn to(&self, host: &str, authority: &Authority) -> Options {
        let url = format!("rediss://{host}:{}", self.port);
        let mut options = Options::new(Server::Url(url.into()));
        options.tls.authorities_pem = Some(authority.pem().as_bytes().to_vec());
        options
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_checks_the_given_authority_and_name() {
    let server = Encrypted::start(false).await;
    let stranger = Authority::new();
    let to = |host: &str, authority: &Authority| following(&server.to(host, authority));
    let all = records(2);
    assert_eq!(append(&to("127.0.0.1", &server.authority), &all).await, Appended::Done);
    assert_eq!(to("127.0.0.1", &server.authority).read(0, 10).await.unwrap(), all[..]);
    let elsewhere = to("localhost", &server.authority);
    assert!(elsewhere.status().await.is_err(), "not the certificate's name");
    assert!(to("127.0.0.1", &stranger).status().await.is_err(), "not the certificate's authority");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_version_1_is_refused_with_words() {
    let old = Certificate::version_1("127.0.0.1");
    let server = Encrypted::start_with(Authority::new(), &old, false).await;
    let mut options = server.to("127.0.0.1", &server.authority);
    options.tls.authorities_pem = Some(old.certificate.into_bytes());
    let told = fault(&following(&options)).await;
    assert!(told.contains("certificate is X.509 version 1, which is refused"), "{told}");
}

/// The cause of a failure, as the log has it.
async fn fault(stream: &RedisStream) -> String {
    reasons(&stream.status().await.unwrap_err()).unwrap()
}

/// The result of the first attempt, which is repeated while no other attempt is made.
#[tokio::test(flavor = "multi_thread")]
async fn redis_faults_are_reported_in_words_each_time() {
    let server = RedisServer::start().await.unwrap();
    run::<()>(&server, "ACL SETUSER teller on >opensesame ~* &* +@all").await;
    run::<()>(&server, "ACL SETUSER limited on >opensesame ~other:* &* +@all").await;
    run::<()>(&server, "ACL SETUSER mute on >opensesame ~* &* +@all -evalsha").await;
    let port = server.port();
    let at = |login: &str, port: u16| {
        let url = format!("redis://{login}127.0.0.1:{port}");
        following(&Options::new(Server::Url(url.into())))
    };
    run::<()>(&server, "ACL SETUSER default off").await;
    for (stream, says) in [
        (at("", port), "NOAUTH"),
        (at("teller:opensesam@", port), "refuses the user or the password"),
        (at("limited:opensesame@", port), "NOPERM"),
        (at("mute:opensesame@", port), "evalsha"),
        (at("", 1), "cannot connect: Connection refused"),
    ] {
        for _ in 0..3 {
            let told = fault(&stream).await;
            assert!(told.contains(says) && !told.contains("opensesam"), "{says}: {told}");
            assert!(!told.contains(": :") && !told.contains('"'), "{told}");
        }
    }
}

/// Two nodes of a cluster, the first of which has one slot, and what it says of all other keys.
#[tokio::test(flavor = "multi_thread")]
async fn redis_cluster_node_without_the_stream_is_named() {
    let settings = [("cluster-enabled", "yes")];
    let (one, other) =
        tokio::join!(RedisServer::start_with(&settings), RedisServer::start_with(&settings));
    let (one, other) = (one.unwrap(), other.unwrap());
    run::<()>(&one, "CLUSTER ADDSLOTSRANGE 0 0").await;
    run::<()>(&other, "CLUSTER ADDSLOTSRANGE 1 16383").await;
    run::<()>(&one, &format!("CLUSTER MEET 127.0.0.1 {}", other.port())).await;
    until(async || {
        let said = run::<String>(&one, "CLUSTER INFO").await;
        said.contains("cluster_state:ok") && said.contains("cluster_slots_assigned:16384")
    })
    .await;
    let told = fault(&connect(&one)).await;
    assert!(told.contains("node of a Redis Cluster") && told.contains("(MOVED "), "{told}");
}

/// By default Redis asks clients for certificates.
#[tokio::test(flavor = "multi_thread")]
async fn client_certificate_is_shown_when_redis_asks() {
    let server = Encrypted::start(true).await;
    let with = |signed: Option<Certificate>| {
        let mut options = server.to("127.0.0.1", &server.authority);
        options.tls.client_pem =
            signed.map(|signed| (signed.certificate.into_bytes(), signed.key.into_bytes()));
        following(&options)
    };
    let known = with(Some(server.authority.sign("replica")));
    assert_eq!(append(&known, &records(2)).await, Appended::Done);
    assert!(with(None).status().await.is_err(), "no certificate");
    let strange = with(Some(Authority::new().sign("replica")));
    assert!(strange.status().await.is_err(), "a stranger's certificate");
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinel_and_redis_logins_and_database_are_used() {
    let master = RedisServer::start().await.unwrap();
    run::<()>(&master, "ACL SETUSER teller on >opensesame ~* &* +@all").await;
    let sentinel = RedisSentinel::start("main", &master).await.unwrap();
    let asked = redis::Client::open(format!("redis://{}", sentinel.address())).unwrap();
    let mut asked = asked.get_multiplexed_async_connection().await.unwrap();
    for rule in ["ACL SETUSER guard on >knock &* +@all", "ACL SETUSER default off"] {
        let words: Vec<_> = rule.split(' ').collect();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]).query_async::<()>(&mut asked).await.unwrap();
    }
    let with = |sentinel_password: &str, password: &str| {
        let server = Sentinel {
            addresses: vec![sentinel.address()],
            master: "main".to_owned(),
            sentinel_username: Some("guard".to_owned()),
            sentinel_password: Some(sentinel_password.into()),
            username: Some("teller".to_owned()),
            password: Some(password.into()),
            database: 3,
            ..Sentinel::default()
        };
        following(&Options::new(Server::Sentinel(server)))
    };
    assert_eq!(append(&with("knock", "opensesame"), &records(2)).await, Appended::Done);
    assert!(with("nock", "opensesame").status().await.is_err(), "the Sentinels' password");
    assert!(with("knock", "sesame").status().await.is_err(), "Redis' password");
    let keyspace = run::<String>(&master, "INFO keyspace").await;
    assert!(keyspace.contains("db3:") && !keyspace.contains("db0:"), "{keyspace}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_lead_to_the_new_master() {
    // By default a master waits seconds for further replicas before it sends its data.
    let settings = [("repl-diskless-sync-delay", "0")];
    let mut master = RedisServer::start_with(&settings).await.unwrap();
    let replica = RedisServer::start().await.unwrap();
    run::<()>(&replica, &format!("REPLICAOF 127.0.0.1 {}", master.port())).await;
    until(async || {
        run::<String>(&replica, "INFO replication").await.contains("master_link_status:up")
    })
    .await;
    let sentinel = RedisSentinel::start("main", &master).await.unwrap();
    let asked = redis::Client::open(format!("redis://{}", sentinel.address())).unwrap();
    let asked = asked.get_multiplexed_async_connection().await.unwrap();
    until(async || {
        let mut command = redis::cmd("SENTINEL");
        let replicas = command.arg("REPLICAS").arg("main").query_async(&mut asked.clone()).await;
        replicas.is_ok_and(|replicas: Vec<redis::Value>| replicas.len() == 1)
    })
    .await;
    // One that cannot be reached does not matter.
    let addresses = vec!["127.0.0.1:1".to_owned(), sentinel.address()];
    let server = Sentinel { addresses, master: "main".to_owned(), ..Sentinel::default() };
    let stream = following(&Options::new(Server::Sentinel(server)));
    let all = records(6);
    assert_eq!(append(&stream, &all[..3]).await, Appended::Done);
    assert_eq!(stream.read(0, 10).await.unwrap(), all[..3]);
    until(async || run::<u64>(&replica, &format!("EXISTS {}", crate::MARK)).await == 1).await;
    master.kill().await;
    assert!(stream.append(all[3..].into()).await.is_err());
    assert!(stream.read(3, 10).await.is_err());
    assert_eq!(append_at_last(&stream, &all[3..]).await, Appended::Done);
    until(async || stream.read(0, 10).await.is_ok_and(|read| read == all[..])).await;
    assert_eq!(connect(&replica).status().await.unwrap(), status(&stream).await);
}

async fn until(condition: impl AsyncFn() -> bool) {
    let since = Instant::now();
    while !condition().await {
        assert!(since.elapsed() < DEADLINE, "the condition does not come true");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
