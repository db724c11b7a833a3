//! Other clients change the keys: that is found out, reaches no replica's state, and can be cleared away.

use placard_model::entry::Chain;
use placard_replica::ports::{Appended, Stream, StreamStatus};
use placard_testkit::servers::redis::RedisServer;

use crate::{DEADLINE, MARK, STREAM, append, connect, records, run, status};

const ZEROS: Chain = Chain([0; 32]);
const HIGHEST: u64 = i64::MAX as u64;

#[tokio::test(flavor = "multi_thread")]
async fn foreign_stream_content_is_a_fork_and_can_be_reset() {
    let server = RedisServer::start().await.unwrap();
    let all = records(6);
    // A change behind the stream's back to versions 1 to 3, and the top that is shown then.
    let cases = [
        (format!("XADD {STREAM} 0-4 chain forged entry forged"), 4),
        (format!("XADD {STREAM} 0-9 whatever else"), 9),
        (format!("XADD {STREAM} * entry clocked"), HIGHEST),
        (format!("XADD {STREAM} 0-18446744073709551615 entry last"), HIGHEST),
        (format!("XSETID {STREAM} 0-5"), 5),
        (format!("DEL {MARK}"), 3),
        (format!("SET {MARK} short"), 3),
        (format!("APPEND {MARK} 0"), 3),
    ];
    for (deed, top) in cases {
        // One that was there before, and one that has to find out.
        let (known, new) = (connect(&server), connect(&server));
        assert_eq!(append(&known, &all[..3]).await, Appended::Done);
        run::<redis::Value>(&server, &deed).await;
        for stream in [&known, &new] {
            assert_eq!(append(stream, &all[3..5]).await, Appended::Fork, "{deed}");
            assert_eq!(append(stream, &all[2..3]).await, Appended::Fork, "{deed}");
            assert_eq!(status(stream).await.top, Some((top, ZEROS)), "{deed}");
        }
        // Neither what was there nor the same top with a chain is what is there now.
        for (version, chain) in [(3, all[2].chain), (top, all[3].chain), (top - 1, ZEROS)] {
            new.reset(version, chain).await.unwrap();
            assert_eq!(status(&new).await.top, Some((top, ZEROS)), "{deed}");
        }
        new.reset(top, ZEROS).await.unwrap();
        assert_eq!(status(&new).await, StreamStatus::default(), "{deed}");
        // The journal refills it, from wherever.
        assert_eq!(append(&known, &all[4..]).await, Appended::Done, "{deed}");
        known.reset(6, all[5].chain).await.unwrap();
    }
    assert_eq!(run::<u64>(&server, "DBSIZE").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_entry_is_read_as_an_inapplicable_one() {
    let server = RedisServer::start().await.unwrap();
    let stream = connect(&server);
    let all = records(3);
    assert_eq!(append(&stream, &all).await, Appended::Done);
    let whole = "c".repeat(32);
    let fields = [
        "entry e".to_owned(),
        format!("chain {whole}"),
        format!("chain {whole}c entry e"),
        "chain c entry e".to_owned(),
        "x y".to_owned(),
    ];
    for (version, fields) in (5..).zip(&fields) {
        run::<String>(&server, &format!("XADD {STREAM} 0-{version} {fields}")).await;
    }
    let read = stream.read(2, 100).await.unwrap();
    assert_eq!(read[0], all[2]);
    assert_eq!(read.len(), 1 + fields.len());
    for (record, version) in read[1..].iter().zip(5..) {
        assert_eq!((record.version, record.chain, record.bytes.len()), (version, ZEROS, 0));
    }
    // An id that is no version comes as the next one, and ends the page.
    run::<String>(&server, &format!("XADD {STREAM} 7-7 chain {whole} entry e")).await;
    run::<String>(&server, &format!("XADD {STREAM} 7-8 chain {whole} entry e")).await;
    let read = stream.read(9, 100).await.unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!((read[0].version, read[0].chain), (10, ZEROS));
    assert_eq!(stream.read(2, 100).await.unwrap().len(), 2 + fields.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_another_type_make_the_stream_unavailable() {
    let server = RedisServer::start().await.unwrap();
    let stream = connect(&server);
    let all = records(2);
    for (key, other) in [(STREAM, MARK), (MARK, STREAM)] {
        run::<()>(&server, &format!("DEL {STREAM} {MARK}")).await;
        run::<u64>(&server, &format!("SADD {key} member")).await;
        assert!(stream.append(all.clone()).await.is_err());
        assert!(stream.status().await.is_err());
        assert!(stream.reset(1, all[0].chain).await.is_err());
        if key == STREAM {
            assert!(stream.read(0, 10).await.is_err());
            assert!(stream.trim(1, 10, 1).await.is_err());
        }
        // Nothing was half done.
        assert_eq!(run::<u64>(&server, &format!("EXISTS {other}")).await, 0);
    }
    run::<()>(&server, &format!("DEL {STREAM} {MARK}")).await;
    assert_eq!(append(&stream, &all).await, Appended::Done);
    assert_eq!(stream.read(0, 10).await.unwrap(), all[..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn reader_survives_a_stream_restarted_below_it() {
    let server = RedisServer::start().await.unwrap();
    let stream = connect(&server);
    let all = records(40);
    assert_eq!(append(&stream, &all[..30]).await, Appended::Done);
    let reader = stream.clone();
    let read = tokio::spawn(async move { reader.read(30, 10).await });
    crate::until_blocked(&server, 1).await;
    run::<()>(&server, &format!("DEL {STREAM} {MARK}")).await;
    assert_eq!(append(&stream, &all[4..35]).await, Appended::Done);
    // Whether it was woken or not, it is not kept for ever, and the next look finds what is there.
    let read = tokio::time::timeout(DEADLINE, read).await.expect("it ends by itself");
    let read = read.unwrap().unwrap();
    assert!(read.is_empty() || read == all[30..35], "{read:?}");
    assert_eq!(stream.read(30, 10).await.unwrap(), all[30..35]);
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_were_forgotten_are_loaded_again() {
    let server = RedisServer::start().await.unwrap();
    let stream = connect(&server);
    for record in records(5).iter() {
        run::<()>(&server, "SCRIPT FLUSH").await;
        assert_eq!(append(&stream, std::slice::from_ref(record)).await, Appended::Done);
    }
    assert_eq!(status(&stream).await.entries, 5);
}
