//! Redis forgets, refuses, dies and stalls; the stream goes on by itself afterwards.

use std::time::Instant;

use placard_replica::ports::{Appended, Stream, StreamStatus};
use placard_storage::redis::{Options, Server};
use placard_testkit::proxy::{Flow, Proxy, Then, Way};
use placard_testkit::servers::redis::RedisServer;

use crate::{
    DEADLINE, MARK, STREAM, append, append_at_last, connect, following, records, run, status,
    until_blocked,
};

/// Waits for a call that ends by itself, whatever is the matter with Redis.
async fn ends<T>(call: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, call).await.expect("it ends by itself")
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_stream_can_begin_again_at_any_version() {
    let server = RedisServer::start().await.unwrap();
    let stream = connect(&server);
    let all = records(9);
    for deed in ["FLUSHALL", "FLUSHDB", &format!("DEL {STREAM}"), &format!("DEL {STREAM} {MARK}")] {
        assert_eq!(append(&stream, &all[..4]).await, Appended::Done);
        run::<redis::Value>(&server, deed).await;
        assert_eq!(status(&stream).await, StreamStatus::default(), "{deed}");
        // The guess of what the top is was wrong.
        assert_eq!(append(&stream, &all[6..8]).await, Appended::Done, "{deed}");
        assert_eq!(append(&stream, &all[8..]).await, Appended::Done, "{deed}");
        assert_eq!(stream.read(0, 10).await.unwrap(), all[6..], "{deed}");
        run::<()>(&server, "FLUSHALL").await;
        // Another has begun again, further back.
        assert_eq!(append(&connect(&server), &all[..2]).await, Appended::Done, "{deed}");
        assert_eq!(append(&stream, &all[4..]).await, Appended::Behind { top: 2 }, "{deed}");
        assert_eq!(append(&stream, &all[1..]).await, Appended::Done, "{deed}");
        run::<()>(&server, "FLUSHALL").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trimmed_stream_keeps_its_top() {
    let server = RedisServer::start().await.unwrap();
    let stream = connect(&server);
    let all = records(9);
    assert_eq!(append(&stream, &all[..4]).await, Appended::Done);
    run::<u64>(&server, &format!("XTRIM {STREAM} MAXLEN = 0")).await;
    let top = Some((4, all[3].chain));
    for stream in [&stream, &connect(&server)] {
        assert_eq!(status(stream).await, StreamStatus { top, entries: 0 });
        assert_eq!(append(stream, &all[5..]).await, Appended::Behind { top: 4 });
        assert_eq!(append(stream, &crate::history(5, "different")[4..]).await, Appended::Fork);
    }
    assert_eq!(append(&stream, &all[2..]).await, Appended::Done);
    assert_eq!(stream.read(0, 10).await.unwrap(), all[4..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_without_persistence_begins_again() {
    let mut server = RedisServer::start().await.unwrap();
    let stream = connect(&server);
    let all = records(9);
    assert_eq!(append(&stream, &all[..4]).await, Appended::Done);
    server.stop().await.unwrap();
    assert!(stream.append(all[4..6].into()).await.is_err());
    assert!(stream.read(4, 10).await.is_err());
    server.restart_empty().await.unwrap();
    assert_eq!(append_at_last(&stream, &all[4..6]).await, Appended::Done);
    assert_eq!(status(&stream).await.top, Some((6, all[5].chain)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_with_persistence_keeps_the_order() {
    let settings = [("appendonly", "yes"), ("appendfsync", "always")];
    let mut server = RedisServer::start_with(&settings).await.unwrap();
    let stream = connect(&server);
    let all = records(9);
    assert_eq!(append(&stream, &all[..4]).await, Appended::Done);
    server.kill().await;
    assert!(stream.append(all[4..6].into()).await.is_err());
    server.restart().await.unwrap();
    assert_eq!(append_at_last(&stream, &all[6..]).await, Appended::Behind { top: 4 });
    assert_eq!(append(&stream, &all[3..]).await, Appended::Done);
    assert_eq!(stream.read(0, 10).await.unwrap(), all[..]);
}

/// A snapshot from before is what a replica of Redis, or a backup, brings back.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_rolled_back_is_filled_up() {
    let mut server = RedisServer::start().await.unwrap();
    let stream = connect(&server);
    let all = records(9);
    assert_eq!(append(&stream, &all[..3]).await, Appended::Done);
    run::<()>(&server, "SAVE").await;
    assert_eq!(append(&stream, &all[3..6]).await, Appended::Done);
    server.kill().await;
    server.restart().await.unwrap();
    assert_eq!(append_at_last(&stream, &all[6..]).await, Appended::Behind { top: 3 });
    assert_eq!(append(&stream, &all[3..]).await, Appended::Done);
    assert_eq!(stream.read(0, 10).await.unwrap(), all[..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_reader_learns_that_redis_has_died() {
    let mut server = RedisServer::start().await.unwrap();
    let stream = connect(&server);
    let all = records(3);
    assert_eq!(append(&stream, &all[..1]).await, Appended::Done);
    let reader = stream.clone();
    let read = tokio::spawn(async move { reader.read(1, 10).await });
    until_blocked(&server, 1).await;
    server.kill().await;
    assert!(ends(read).await.unwrap().is_err());
    server.restart().await.unwrap();
    assert_eq!(append_at_last(&stream, &all[1..2]).await, Appended::Done);
    let since = Instant::now();
    while stream.read(1, 10).await.unwrap_or_default() != all[1..2] {
        assert!(since.elapsed() < DEADLINE);
    }
    // And it is woken again.
    let (read, appended) = tokio::join!(stream.read(2, 10), append(&stream, &all[2..]));
    assert_eq!((read.unwrap(), appended), (all[2..].to_vec(), Appended::Done));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_was_given_up_does_not_delay_the_next() {
    let server = RedisServer::start().await.unwrap();
    let stream = connect(&server);
    let all = records(2);
    // There is a connection to read with, which the next read takes.
    assert_eq!(append(&stream, &all[..1]).await, Appended::Done);
    assert_eq!(stream.read(0, 10).await.unwrap(), all[..1]);
    let reader = stream.clone();
    let given_up = tokio::spawn(async move { reader.read(7, 10).await });
    until_blocked(&server, 1).await;
    let clients = async || run::<String>(&server, "CLIENT LIST").await;
    let listed = clients().await;
    let blocked = listed.lines().find(|client| client.contains(" flags=b ")).unwrap();
    let (blocked, _) = blocked.split_once(' ').unwrap();
    given_up.abort();
    let _ = given_up.await;
    // Its connection is closed, rather than kept for a next read that would come behind it.
    let is_listed =
        |clients: &str| clients.lines().any(|client| client.starts_with(&format!("{blocked} ")));
    let since = Instant::now();
    while is_listed(&clients().await) {
        assert!(since.elapsed() < DEADLINE, "the connection is kept");
    }
    assert_eq!(append(&stream, &all[1..]).await, Appended::Done);
    assert_eq!(stream.read(0, 10).await.unwrap(), all[..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_redis_is_unavailable_in_time() {
    let server = RedisServer::start().await.unwrap();
    let stream = connect(&server);
    let all = records(4);
    assert_eq!(append(&stream, &all[..2]).await, Appended::Done);
    assert_eq!(stream.read(0, 10).await.unwrap(), all[..2]);
    server.pause();
    // With the connections of before, and then with new ones.
    for _ in 0..2 {
        let calls = async {
            tokio::join!(
                stream.append(all[2..].into()),
                stream.status(),
                stream.reset(2, all[1].chain),
                stream.trim(1, 1, 1),
                stream.read(2, 10),
            )
        };
        let answers = ends(calls).await;
        assert!(matches!(answers, (Err(_), Err(_), Err(_), Err(_), Err(_))), "{answers:?}");
    }
    server.resume();
    // A call that was given up may have been carried out by now; its records are not appended twice.
    assert_eq!(append_at_last(&stream, &all[2..]).await, Appended::Done);
    assert_eq!(status(&stream).await.top, Some((4, all[3].chain)));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_append_is_unavailable_and_leaves_nothing() {
    let server = RedisServer::start().await.unwrap();
    let stream = connect(&server);
    let all = records(9);
    assert_eq!(append(&stream, &all[..2]).await, Appended::Done);
    let port = server.port();
    let cases = [
        ("CONFIG SET maxmemory 1".to_owned(), "CONFIG SET maxmemory 0"),
        (format!("REPLICAOF 127.0.0.1 {port}"), "REPLICAOF NO ONE"),
        ("CONFIG SET min-replicas-to-write 3".to_owned(), "CONFIG SET min-replicas-to-write 0"),
        ("CONFIG SET requirepass secret".to_owned(), "CONFIG SET requirepass "),
    ];
    for (fault, heal) in cases {
        let mut raw = crate::raw(&server).await;
        run::<()>(&server, &fault).await;
        if fault.contains("requirepass") {
            // Those that are in stay in.
            run_on::<u64>(&mut raw, "CLIENT KILL TYPE normal SKIPME yes").await;
        }
        for _ in 0..3 {
            let appended = stream.append(all[2..].into()).await;
            assert!(appended.is_err(), "{fault}: {appended:?}");
        }
        run_on::<()>(&mut raw, heal).await;
        assert_eq!(append_at_last(&stream, &all[1..2]).await, Appended::Done, "{fault}");
        assert_eq!(status(&stream).await.top, Some((2, all[1].chain)), "{fault}");
    }
    assert_eq!(append(&stream, &all[2..]).await, Appended::Done);
}

async fn run_on<T: redis::FromRedisValue>(
    connection: &mut redis::aio::MultiplexedConnection,
    words: &str,
) -> T {
    let mut words = words.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    words.for_each(|word| {
        command.arg(word);
    });
    command.query_async(connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_need_not_be_there_at_the_start() {
    let mut server = RedisServer::start().await.unwrap();
    server.stop().await.unwrap();
    let stream = connect(&server);
    let all = records(3);
    for _ in 0..20 {
        assert!(ends(stream.append(all.clone())).await.is_err());
        assert!(ends(stream.read(0, 10)).await.is_err());
    }
    assert!(stream.check().await.is_err());
    server.restart().await.unwrap();
    assert_eq!(append_at_last(&stream, &all).await, Appended::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn unanswered_append_is_done_once_or_not_at_all() {
    let server = RedisServer::start().await.unwrap();
    let proxy = Proxy::start(server.port()).await.unwrap();
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    let stream = following(&Options::new(Server::Url(url.into())));
    let all = records(6);
    assert_eq!(append(&stream, &all[..2]).await, Appended::Done);
    let faults = [Then::LoseRequest, Then::StallRequest, Then::LoseAnswer, Then::StallAnswer];
    for (then, version) in faults.into_iter().zip(3_u64..) {
        proxy.trap(b"EVALSHA", then);
        let new = &all[..version as usize];
        let appended = ends(stream.append(new.into())).await;
        assert!(appended.is_err(), "{then:?}: {appended:?}");
        let done = matches!(then, Then::LoseAnswer | Then::StallAnswer);
        let top = version - u64::from(!done);
        let (seen, since) = (connect(&server), Instant::now());
        while status(&seen).await.top != Some((top, all[top as usize - 1].chain)) {
            assert!(since.elapsed() < DEADLINE, "{then:?}");
        }
        assert_eq!(append_at_last(&stream, new).await, Appended::Done, "{then:?}");
        assert_eq!(status(&stream).await.entries, version, "{then:?}");
    }
    assert_eq!(stream.read(0, 10).await.unwrap(), all[..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_behind_a_silent_network_learns_of_it() {
    let server = RedisServer::start().await.unwrap();
    let proxy = Proxy::start(server.port()).await.unwrap();
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    let stream = following(&Options::new(Server::Url(url.into())));
    let all = records(2);
    let reader = stream.clone();
    let read = tokio::spawn(async move { reader.read(0, 10).await });
    until_blocked(&server, 1).await;
    proxy.set(Way::Answers, Flow::Hold);
    assert_eq!(append(&connect(&server), &all).await, Appended::Done);
    assert!(ends(read).await.unwrap().is_err());
    proxy.set(Way::Answers, Flow::Pass);
    let since = Instant::now();
    while stream.read(0, 10).await.unwrap_or_default() != all[..] {
        assert!(since.elapsed() < DEADLINE);
    }
}
