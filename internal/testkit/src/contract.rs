//! Contract suites: what every adapter of a port must do, checked through the ports alone.

mod checkpoints;
mod chores;
mod expirations;
mod records;
mod tasks;

use std::sync::Arc;
use std::time::Duration;

use placard_model::command::{Answer, Command, Conditions, Outcome, Request};
use placard_model::entry::{Chain, Digest, Entry, FORMAT_LEVEL, Position, Record};
use placard_model::{Encoded, Spec, Version, limits};
use placard_replica::ports::{
    Appended, Audit, CommitError, Head, Heartbeat, Identity, Journal, Member, ReplicaStatus,
    Stream, StreamStatus,
};
use placard_replica::{Batch, Emptied, Plan};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::requests::{create, delete, keyed, replace, request, spec};

pub use checkpoints::checkpoints;
pub use chores::chores;
pub use expirations::expirations;
pub use records::records;
pub use tasks::tasks;

/// Commits one batch that must be accepted as a whole by the database.
async fn commit<J: Journal>(journal: &J, requests: Vec<Request>) -> Plan {
    let requests = requests.into_iter().map(Arc::new).collect();
    let batch = Arc::new(batch(requests));
    journal.commit(batch).await.expect("a healthy journal commits")
}

/// A batch of a replica that has no entries.
pub fn batch(requests: Vec<Arc<Request>>) -> Batch {
    Batch { requests, repeated: false, format_level: FORMAT_LEVEL, refuses_empty: false }
}

/// A replica's head poll.
pub fn heartbeat(replica: u128, published: Position) -> Heartbeat {
    let identity = Identity {
        replica: Uuid::from_u128(replica),
        address: format!("replica-{replica}:8080"),
        build: "1.2.3".to_owned(),
        format_level: 1,
        refuses_after: Some(Duration::from_secs(3)),
        marks_leaving: true,
    };
    let status = ReplicaStatus {
        state: "ready".to_owned(),
        published,
        clock_ahead: -7,
        tails_journal: true,
    };
    let (known, forgotten) = Default::default();
    Heartbeat { identity, status, lease: Duration::from_secs(60), known, forgotten }
}

async fn poll<J: Journal>(journal: &J, at: Version) -> Head {
    let heartbeat = heartbeat(1, Position::START);
    journal.poll(heartbeat, at).await.expect("a healthy journal is polled")
}

async fn chunks<J: Journal>(journal: &J) -> (Position, Vec<Vec<Encoded>>) {
    let (chunks, mut arriving) = mpsc::channel(4);
    let collect = async {
        let mut all = Vec::new();
        while let Some(chunk) = arriving.recv().await {
            all.push(chunk);
        }
        all
    };
    let (position, all) = tokio::join!(journal.snapshot(chunks), collect);
    (position.expect("a healthy journal has a snapshot"), all)
}

async fn snapshot<J: Journal>(journal: &J) -> (Position, Vec<Encoded>) {
    let (position, chunks) = chunks(journal).await;
    (position, chunks.concat())
}

fn versions(records: &[Record]) -> Vec<Version> {
    records.iter().map(|record| record.version).collect()
}

fn outcomes(plan: &Plan) -> Vec<&Outcome> {
    plan.answers.iter().flat_map(|answer| &answer.outcomes).collect()
}

/// Checks all that a journal promises. `journal` is empty; `reopen` closes it and opens it again.
pub async fn journal<J: Journal>(journal: J, reopen: impl AsyncFn(J) -> J) {
    empty(&journal).await;
    empty_journal_refuses_a_replica_with_entries(&journal).await;
    versions_are_gapless_and_chained(&journal).await;
    conflicts_concern_only_themselves(&journal).await;
    kept_answers_are_given_again(&journal).await;
    a_repeated_batch_is_written_once(&journal).await;
    a_replica_registers_and_leaves(&journal).await;
    large_ads_come_in_chunks(&journal).await;
    log_pages_are_bounded_in_bytes(&journal).await;
    let (head, ads) = snapshot(&journal).await;
    let log = all_pages(&journal).await;
    let journal = reopen(journal).await;
    assert_eq!(snapshot(&journal).await, (head, ads));
    assert_eq!(all_pages(&journal).await, log);
    sums_agree(&journal).await;
}

async fn empty<J: Journal>(journal: &J) {
    let head = poll(journal, 0).await;
    assert_eq!((head.position, head.chain_at), (Position::START, None));
    assert_eq!(journal.log(0, 10).await.expect("a healthy journal is read"), []);
    assert_eq!(snapshot(journal).await, (Position::START, Vec::new()));
}

/// Neither in any of the ways in which it commits; nor is anything answered that rests on there being nothing.
async fn empty_journal_refuses_a_replica_with_entries<J: Journal>(journal: &J) {
    for repeated in [false, true] {
        for command in [create(1, "the first of another journal"), delete(1)] {
            let requests = vec![Arc::new(request(1, vec![command]))];
            let batch = Batch { repeated, refuses_empty: true, ..batch(requests) };
            let refused = journal.commit(Arc::new(batch)).await;
            let Err(CommitError::NotCommitted(cause)) = &refused else { panic!("{refused:?}") };
            assert!(cause.is::<Emptied>(), "{cause}");
        }
    }
    empty(journal).await;
}

async fn versions_are_gapless_and_chained<J: Journal>(journal: &J) {
    let plan =
        commit(journal, vec![request(1, vec![create(1, "first"), create(2, "second")])]).await;
    assert_eq!(plan.head.version, 2);
    assert_eq!(plan.answers[0].version, 2);
    let requests = [request(2, vec![replace(1, "first again")]), request(3, vec![delete(2)])];
    // By now the replica has entries.
    let next = Batch { refuses_empty: true, ..batch(requests.map(Arc::new).to_vec()) };
    let plan = journal.commit(Arc::new(next)).await.expect("a healthy journal commits");
    assert_eq!(plan.answers.iter().map(|answer| answer.version).collect::<Vec<_>>(), [3, 4]);
    let log = journal.log(0, 10).await.expect("a healthy journal is read");
    assert_eq!(versions(&log), [1, 2, 3, 4]);
    assert_eq!(versions(&journal.log(1, 2).await.expect("a healthy journal is read")), [2, 3]);
    let mut chain = Chain::GENESIS;
    for record in &log {
        chain = chain.next(record.version, &record.bytes);
        assert_eq!(chain, record.chain);
        let head = poll(journal, record.version).await;
        assert_eq!(head.chain_at, Some(chain));
        assert_eq!(head.position, plan.head);
    }
    let beyond = poll(journal, 99).await;
    assert_eq!(beyond.chain_at, None);
    sums_agree(journal).await;
}

/// A snapshot of any size comes in chunks of bounded memory.
async fn large_ads_come_in_chunks<J: Journal>(journal: &J) {
    let (_, before) = snapshot(journal).await;
    let large = Spec { content: "\u{1f600}".repeat(10_000), ..spec("a large ad") };
    for part in 0..8 {
        let ids = (1_000 + 20 * part)..(1_020 + 20 * part);
        let create = |id| Command::Create { id: Uuid::from_u128(id), spec: large.clone() };
        commit(journal, vec![request(1_000 + part, ids.map(create).collect())]).await;
    }
    let (_, chunks) = chunks(journal).await;
    assert!(chunks.iter().all(|chunk| is_bounded_chunk(chunk)));
    let ads: usize = chunks.iter().map(Vec::len).sum();
    assert_eq!(ads, before.len() + 160);
    sums_agree(journal).await;
}

/// The pages of the whole log.
async fn all_pages<J: Journal>(journal: &J) -> Vec<Vec<Record>> {
    let (mut pages, mut after) = (Vec::<Vec<Record>>::new(), 0);
    loop {
        let page = journal.log(after, 10_000).await.expect("a healthy journal is read");
        let Some(last) = page.last() else { return pages };
        after = last.version;
        pages.push(page);
    }
}

/// Large entries come in more pages, so that each page takes a bounded time on a slow path; no entry is left out.
async fn log_pages_are_bounded_in_bytes<J: Journal>(journal: &J) {
    let pages = all_pages(journal).await;
    let head = poll(journal, 0).await.position;
    assert!(pages.len() > 1, "the log is larger than one page");
    assert!(pages.iter().all(|page| is_bounded(page)));
    assert_eq!(versions(&pages.concat()), (1..=head.version).collect::<Vec<_>>());
}

/// Returns true if a page has no more bytes than it may.
fn is_bounded(page: &[Record]) -> bool {
    let bytes: usize = page.iter().map(|record| record.bytes.len()).sum();
    page.len() == 1 || bytes <= limits::READ_BYTES_MAX
}

/// Returns true if a chunk has no more bytes than a sender may hold in memory.
fn is_bounded_chunk(chunk: &[Encoded]) -> bool {
    const CHUNK_BYTES_MAX: usize = 5 << 20;
    chunk.iter().map(|ad| ad.bytes().len()).sum::<usize>() < CHUNK_BYTES_MAX
}

/// The digest of the head is that of the ads, and the newest entry carries it.
async fn sums_agree<J: Journal>(journal: &J) {
    let (position, ads) = snapshot(journal).await;
    let digest = ads.iter().map(Digest::of_any).fold(Digest::default(), Digest::plus);
    assert_eq!(digest, position.digest);
    let newest = journal.log(position.version - 1, 10).await.expect("a healthy journal is read");
    let entry = Entry::decode(&newest[0].bytes).expect("our own entry");
    assert_eq!((newest.len(), newest[0].chain), (1, position.chain));
    assert_eq!(entry.digest, position.digest);
}

async fn conflicts_concern_only_themselves<J: Journal>(journal: &J) {
    let before = poll(journal, 0).await.position.version;
    let only_if = Conditions::at([1]);
    let plan = commit(
        journal,
        vec![
            request(10, vec![create(1, "there already"), create(10, "fresh one")]),
            request(11, vec![create(10, "there since a moment")]),
            request(12, vec![replace(11, "nobody")]),
            request(13, vec![Command::Delete { id: Uuid::from_u128(1), only_if }]),
            request(14, vec![delete(10), create(10, "and back again")]),
        ],
    )
    .await;
    let seen: Vec<_> = outcomes(&plan).into_iter().map(Outcome::entry).collect();
    let new = |nth| Some(before + nth);
    assert_eq!(seen, [None, new(1), None, None, None, new(2), new(3)]);
    assert!(matches!(outcomes(&plan)[0], Outcome::Exists { version: 3, .. }));
    assert!(matches!(outcomes(&plan)[3], Outcome::NotFound { .. }));
    assert!(matches!(outcomes(&plan)[4], Outcome::VersionMismatch { version: 3, .. }));
    assert_eq!(plan.head.version, before + 3);
    sums_agree(journal).await;
}

async fn kept_answers_are_given_again<J: Journal>(journal: &J) {
    let first = || keyed(request(20, vec![create(20, "only once")]), 7, 1);
    let again = || keyed(request(21, vec![create(21, "only once")]), 7, 1);
    let other = || keyed(request(22, vec![create(22, "something else")]), 7, 2);
    // In one batch, and again in a later one.
    let plan = commit(journal, vec![first(), again(), other()]).await;
    let later = commit(journal, vec![again(), other()]).await;
    let expected = Answer { replayed: true, ..plan.answers[0].clone() };
    assert_eq!(plan.answers[1], expected);
    assert_eq!(later.answers[0], expected);
    assert_eq!(plan.answers[2].outcomes, [Outcome::KeyReused]);
    assert_eq!(later.answers[1].outcomes, [Outcome::KeyReused]);
    assert_eq!((plan.log.len(), later.log.len()), (1, 0));
    assert_eq!(later.head, plan.head);
    // A request that the state made invalid stays rejected; a malformed one may be mended.
    let missing = || keyed(request(23, vec![delete(23)]), 8, 1);
    let plan = commit(journal, vec![missing(), request(24, vec![create(23, "too late")])]).await;
    assert!(matches!(plan.answers[0].outcomes[..], [Outcome::NotFound { .. }]));
    let later = commit(journal, vec![missing()]).await;
    assert_eq!(later.answers[0], Answer { replayed: true, ..plan.answers[0].clone() });
}

async fn a_repeated_batch_is_written_once<J: Journal>(journal: &J) {
    let requests = vec![
        request(30, vec![create(30, "once"), create(1, "there already"), delete(20)]),
        keyed(request(31, vec![create(31, "with a key")]), 9, 1),
        request(32, vec![replace(30, "and changed")]),
    ];
    let first = commit(journal, requests.clone()).await;
    let requests: Vec<_> = requests.into_iter().map(Arc::new).collect();
    let repeated = Arc::new(Batch { repeated: true, ..batch(requests) });
    let again = journal.commit(repeated).await.expect("a healthy journal commits");
    assert_eq!(again.head, first.head);
    assert_eq!(again.log, []);
    // No client got these answers before: none is a replay.
    assert_eq!(again.answers, first.answers);
    sums_agree(journal).await;
}

async fn a_replica_registers_and_leaves<J: Journal>(journal: &J) {
    let here = poll(journal, 0).await.position;
    let sent = heartbeat(9, here);
    let head = journal.poll(sent.clone(), 0).await.expect("a healthy journal is polled");
    let own = |head: &Head| {
        let mut members = head.members.iter();
        members.find(|member| member.identity == sent.identity).cloned()
    };
    let member = own(&head).expect("it has registered itself");
    assert_eq!(member.status, sent.status);
    assert_eq!(member.seen_at, head.now);
    assert_eq!(member.lease_until, head.now.saturating_add_micros(60_000_000));
    journal.leave(sent.identity.replica).await.expect("a healthy journal is written");
    assert_eq!(own(&poll(journal, 0).await), None);
}

/// Checks what a journal promises that several replicas share: they see each other.
pub async fn shared_journal<J: Journal>(journal: J) {
    for replica in [1, 2, 3, 2] {
        let polled = journal.poll(heartbeat(replica, Position::START), 0).await;
        polled.expect("a healthy journal is polled");
    }
    let head = poll(&journal, 0).await;
    let replicas: Vec<_> =
        head.members.iter().map(|member| member.identity.replica.as_u128()).collect();
    assert_eq!(replicas, [1, 2, 3]);
    let members = async |journal: &J, heartbeat| {
        let head = journal.poll(heartbeat, 0).await.expect("a healthy journal is polled");
        let name = |member: &Member| member.identity.replica.as_u128();
        (head.members.iter().map(name).collect::<Vec<_>>(), head.left)
    };
    let asking = |replica| {
        let known = [1, 2, 3, 4].map(Uuid::from_u128).to_vec();
        Heartbeat { known, ..heartbeat(replica, Position::START) }
    };
    journal.leave(Uuid::from_u128(2)).await.expect("a healthy journal is written");
    let second = Uuid::from_u128(2);
    assert_eq!(members(&journal, asking(1)).await, (vec![1, 3], vec![second]));
    // A poll of its own that arrives late does not bring it back, and to leave twice is nothing.
    journal.poll(heartbeat(2, Position::START), 0).await.expect("a healthy journal is polled");
    journal.leave(second).await.expect("a healthy journal is written");
    assert_eq!(members(&journal, asking(3)).await, (vec![1, 3], vec![second]));
    // A row that has not changed since then is deleted, one that was seen since is not, and neither has left.
    let third = poll(&journal, 0).await.members.remove(1);
    let forgets = |seen_at| {
        let forgotten = vec![(third.identity.replica, seen_at)];
        Heartbeat { forgotten, ..asking(1) }
    };
    let before = forgets(third.seen_at.saturating_add_micros(-1));
    assert_eq!(members(&journal, before).await.0, [1, 3]);
    let forgets = forgets(third.seen_at);
    assert_eq!(members(&journal, forgets).await, (vec![1], vec![second]));
    assert_eq!(members(&journal, asking(3)).await, (vec![1, 3], vec![second]));
}

/// Checks all that a stream promises. `stream` is empty.
pub async fn stream<S: Stream>(stream: S) {
    let records = chained(&[b"one", b"two", b"three", b"four", b"five"]);
    let append = async |records: &[Record]| {
        stream.append(records.into()).await.expect("a healthy stream takes records")
    };
    let read = async |after, max| stream.read(after, max).await.expect("a healthy stream is read");
    // An empty one takes any first record, and none is lost between a reader's look and its wait.
    let (waited, appended) = tokio::join!(read(1, 10), append(&records[1..3]));
    assert_eq!(appended, Appended::Done);
    assert_eq!(waited, records[1..3]);
    assert_eq!(read(2, 10).await, records[2..3]);
    assert_eq!(read(0, 1).await, records[1..2]);
    // To append what is there already changes nothing; a hole is not accepted.
    assert_eq!(append(&records[1..3]).await, Appended::Done);
    assert_eq!(append(&records[4..]).await, Appended::Behind { top: 3 });
    assert_eq!(append(&records[2..4]).await, Appended::Done);
    assert_eq!(read(0, 10).await, records[1..4]);
    // Nor is another history accepted, at the top or below it.
    let mut other = chained(&[b"one", b"two", b"three", b"vier", b"five"]);
    assert_eq!(append(&other[4..]).await, Appended::Fork);
    assert_eq!(append(&other[3..4]).await, Appended::Fork);
    other[4] = records[4].clone();
    assert_eq!(append(&other[4..]).await, Appended::Done);
    assert_eq!(read(1, 10).await, records[1..5]);
    // It returns its top, forgets entries that are old or too many but not the top, and forgets everything on request.
    let (top, chain) = (records[4].version, records[4].chain);
    let status = async || stream.status().await.expect("a healthy stream tells its top");
    assert_eq!(status().await, StreamStatus { top: Some((top, chain)), entries: 4 });
    let trim = async |keep, max| {
        stream.trim(keep, max, top).await.expect("a healthy stream is trimmed");
    };
    trim(3, 100).await;
    assert_eq!(read(0, 10).await, records[2..5]);
    trim(0, 1).await;
    assert_eq!(read(0, 10).await, records[4..5]);
    trim(99, 0).await;
    assert_eq!(status().await, StreamStatus { top: Some((top, chain)), entries: 0 });
    assert_eq!(append(&records[1..3]).await, Appended::Done);
    let reset = async |top, chain| {
        stream.reset(top, chain).await.expect("a healthy stream is reset");
    };
    reset(top, other[3].chain).await;
    reset(top - 1, chain).await;
    assert_eq!(status().await.top, Some((top, chain)));
    reset(top, chain).await;
    assert_eq!(status().await, StreamStatus::default());
    assert_eq!(append(&records[2..5]).await, Appended::Done);
    // A reader that has everything waits for a bounded time, and gets nothing.
    assert_eq!(read(5, 10).await, []);
    stream_pages_are_bounded_in_bytes(stream, records[4].clone()).await;
}

/// Large entries come in more pages, so that each page takes a bounded time on a slow path; no entry is left out, not
/// even one that is larger than a page.
async fn stream_pages_are_bounded_in_bytes<S: Stream>(stream: S, top: Record) {
    const COUNT: Version = 60;
    let mut chain = top.chain;
    let (first, last) = (top.version + 1, top.version + COUNT);
    let record = |version| {
        let larger_than_a_page = version == first + COUNT / 2;
        let size = if larger_than_a_page { limits::READ_BYTES_MAX + 1 } else { 40_000 };
        let bytes = bytes::Bytes::from(vec![version as u8; size]);
        chain = chain.next(version, &bytes);
        Record { version, chain, bytes }
    };
    let large: Vec<_> = (first..=last).map(record).collect();
    for part in large.chunks(20) {
        let appended = stream.append(part.into()).await;
        assert_eq!(appended.expect("a healthy stream takes records"), Appended::Done);
    }
    let (mut read, mut after) = (Vec::new(), top.version);
    while after < last {
        let page = stream.read(after, 1_000).await.expect("a healthy stream is read");
        assert!(!page.is_empty() && is_bounded(&page), "{} entries", page.len());
        after = page[page.len() - 1].version;
        read.extend(page);
    }
    assert_eq!(read, large);
}

/// Records that follow each other from version 1; a stream does not look into them.
fn chained(bodies: &[&'static [u8]]) -> Vec<Record> {
    let mut chain = Chain::GENESIS;
    let record = |(version, bytes): (Version, &&'static [u8])| {
        chain = chain.next(version, bytes);
        Record { version, chain, bytes: bytes::Bytes::from_static(bytes) }
    };
    (1..).zip(bodies).map(record).collect()
}

/// Checks all that an audit promises. `journal` is empty; `begin` begins an audit of it.
pub async fn audit<J: Journal, A: Audit>(journal: J, begin: impl AsyncFn(&J) -> A) {
    let mut nothing = begin(&journal).await;
    assert_eq!((nothing.base(), nothing.head()), (Position::START, Position::START));
    assert_eq!(nothing.log(0, 10).await.expect("a healthy journal is read"), []);
    nothing.end().await;
    for id in 1..=5 {
        commit(&journal, vec![request(id, vec![create(id, "An ad of the audit")])]).await;
    }
    let head = poll(&journal, 0).await.position;
    let mut audit = begin(&journal).await;
    // What is committed from here on is not seen.
    let later = vec![create(6, "A later ad"), delete(1)];
    commit(&journal, vec![request(6, later)]).await;
    assert_eq!((audit.base(), audit.head()), (Position::START, head));
    let mut chain = Chain::GENESIS;
    let mut read = Vec::new();
    loop {
        let after = read.last().copied().unwrap_or(0);
        let page = audit.log(after, 2).await.expect("a healthy journal is read");
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        for record in page {
            chain = chain.next(record.version, &record.bytes);
            assert_eq!(chain, record.chain);
            read.push(record.version);
        }
    }
    assert_eq!((&read[..], chain), (&[1, 2, 3, 4, 5][..], head.chain));
    let (chunks, mut arriving) = mpsc::channel::<Vec<Encoded>>(1);
    let collect = async {
        let mut digest = Digest::default();
        while let Some(chunk) = arriving.recv().await {
            digest = chunk.iter().map(Digest::of_any).fold(digest, Digest::plus);
        }
        digest
    };
    let (sent, digest) = tokio::join!(audit.contents(chunks), collect);
    sent.expect("a healthy journal is read");
    assert_eq!(digest, head.digest);
    audit.end().await;
}
