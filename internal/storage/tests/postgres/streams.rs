//! Which stream goes with a journal: replicas of one journal share one, those of another never do.

use std::sync::Arc;
use std::time::Duration;

use placard_model::entry::{Chain, Incarnation, Position, Record};
use placard_model::{Timestamp, Version};
use placard_replica::ports::{
    Appended, CommitError, Journal, NoCheckpoints, Stream, StreamStatus, Unavailable,
};
use placard_replica::{Config, Replica, Reply};
use placard_storage::redis::{Options, RedisStream, Server};
use placard_testkit::contract::heartbeat;
use placard_testkit::requests::{create, request};
use placard_testkit::servers::redis::RedisServer;
use uuid::Uuid;

use crate::{commit, open, server, try_commit};

const PATIENCE: Duration = Duration::from_secs(60);

async fn incarnation(url: &str) -> Incarnation {
    let head = open(url).await.poll(heartbeat(1, Position::START), 0).await;
    head.unwrap().incarnation
}

/// Two databases have two streams however alike they are, and all connections to one have the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_journal_has_a_stream_of_its_own() {
    let mut server = server().await;
    let one = incarnation(&server.url()).await;
    assert_eq!(incarnation(&server.url()).await, one);
    server.sql("CREATE DATABASE template").unwrap();
    let database = |name: &str| server.url().replace("/postgres?", &format!("/{name}?"));
    let template = incarnation(&database("template")).await;
    assert_ne!(template.journal, one.journal);
    // The connection that has asked may take a moment to end.
    let copied = placard_testkit::wait::until("a copy of the database", async || {
        server.sql("CREATE DATABASE copy TEMPLATE template").ok()
    });
    copied.await;
    let copy = incarnation(&database("copy")).await;
    assert_eq!(copy.journal, template.journal, "it is a copy");
    assert_ne!(copy.to_string(), template.to_string());
    // A copy of the server's files is recognised by when it was started.
    server.restart().await.unwrap();
    let again = incarnation(&server.url()).await;
    assert_eq!((again.journal, again.database), (one.journal, one.database));
    assert_ne!(again.to_string(), one.to_string());
}

/// Entries that a replica wrote between a restart of PostgreSQL and its next head poll went to the stream from before.
#[tokio::test]
async fn restarted_server_is_not_used_before_it_is_followed() {
    let mut server = server().await;
    let journal = open(&server.url()).await;
    let poll = async || journal.poll(heartbeat(1, Position::START), 0).await;
    let one = poll().await.unwrap().incarnation;
    journal.follow(one);
    commit(&journal, vec![request(1, vec![create(1, "before")])]).await;
    server.restart().await.unwrap();
    let requests = || vec![request(2, vec![create(2, "after")])];
    let early = try_commit(&journal, requests(), false).await;
    assert!(matches!(early, Err(CommitError::NotCommitted(_))), "{early:?}");
    assert!(journal.log(0, 9).await.is_err());
    let other = poll().await.unwrap().incarnation;
    assert_ne!(other, one);
    assert!(journal.log(0, 9).await.is_err());
    journal.follow(other);
    assert_eq!(journal.log(0, 9).await.unwrap().len(), 1);
    assert_eq!(commit(&journal, requests()).await.head.version, 2);
}

/// Replicas go over to another stream when PostgreSQL is started again, and go on by it.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_write_on_after_a_server_restart() {
    let (mut postgres, redis) = tokio::join!(server(), RedisServer::start());
    let redis = redis.unwrap();
    let mut replicas = Vec::new();
    for name in ["a:1", "b:1"] {
        let stream = RedisStream::connect(&Options::new(Server::Url(redis.url().into()))).unwrap();
        let config = Config { address: name.to_owned(), ..Config::default() };
        let journal = open(&postgres.url()).await;
        replicas.push(Replica::start(journal, stream, NoCheckpoints, config));
        replicas.last().unwrap().handle().ready().await;
    }
    let mut written = 0;
    all_write(&replicas, &mut written).await;
    for _ in 0..3 {
        postgres.restart().await.unwrap();
        all_write(&replicas, &mut written).await;
    }
    let held: Vec<_> = replicas.iter().map(|replica| replica.handle().reader().ads()).collect();
    assert_eq!(held, [written as usize; 2]);
}

/// The stream as the first builds had it: its name is the same for every journal.
#[derive(Debug, Clone)]
struct Earlier(RedisStream);

impl Stream for Earlier {
    fn of(&self, _: Incarnation) -> Self {
        let (journal, database) = (Uuid::nil(), 0);
        Self(self.0.of(Incarnation { journal, database, started: Timestamp::EPOCH }))
    }

    async fn append(&self, records: Arc<[Record]>) -> Result<Appended, Unavailable> {
        self.0.append(records).await
    }

    async fn read(&self, after: Version, max: usize) -> Result<Vec<Record>, Unavailable> {
        self.0.read(after, max).await
    }

    async fn status(&self) -> Result<StreamStatus, Unavailable> {
        self.0.status().await
    }

    async fn reset(&self, top: Version, chain: Chain) -> Result<(), Unavailable> {
        self.0.reset(top, chain).await
    }

    async fn trim(&self, keep: Version, max: usize, head: Version) -> Result<(), Unavailable> {
        self.0.trim(keep, max, head).await
    }
}

/// Writes once on each replica, and waits until all show it.
async fn all_write(replicas: &[Replica], written: &mut u128) {
    for replica in replicas {
        *written += 1;
        let creation = request(*written, vec![create(*written, "during an upgrade")]);
        let Ok(Reply::Applied(answer)) = replica.handle().write(creation).await else {
            panic!("write {written} was not accepted");
        };
        for other in replicas {
            assert!(other.handle().published(answer.version, PATIENCE).await, "{written}");
        }
    }
}

/// While replicas of the first builds and of this one are there, each kind has a stream of its own, and hears of what the
/// other has written by its polls.
#[tokio::test(flavor = "multi_thread")]
async fn upgrade_from_the_first_stream_names_loses_nothing() {
    let (postgres, redis) = tokio::join!(server(), RedisServer::start());
    let redis = redis.unwrap();
    let stream = || RedisStream::connect(&Options::new(Server::Url(redis.url().into()))).unwrap();
    let config = |name: &str| Config { address: name.to_owned(), ..Config::default() };
    let url = postgres.url();
    let mut replicas = Vec::new();
    for name in ["a:1", "b:1", "c:1"] {
        let (journal, stream) = (open(&url).await, Earlier(stream()));
        replicas.push(Replica::start(journal, stream, NoCheckpoints, config(name)));
    }
    let mut written = 0;
    for replica in &replicas {
        replica.handle().ready().await;
    }
    all_write(&replicas, &mut written).await;
    for name in ["a:2", "b:2", "c:2"] {
        assert!(replicas.remove(0).stop(PATIENCE).await.unwrap());
        all_write(&replicas, &mut written).await;
        let replica = Replica::start(open(&url).await, stream(), NoCheckpoints, config(name));
        replica.handle().ready().await;
        replicas.push(replica);
        all_write(&replicas, &mut written).await;
    }
    let total = written as usize;
    let held: Vec<_> = replicas.iter().map(|replica| replica.handle().reader().ads()).collect();
    assert_eq!(held, [total; 3]);
}
