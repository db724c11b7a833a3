//! Equal versions have equal digests, pools and holds included: in the journal, in a state that has applied each entry, and in
//! one that was built from a snapshot.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use placard_engine::{Builder, Engine, Refusal};
use placard_model::capacity::{Books, Closing, Command, Giving, Pool, Report};
use placard_model::command::{Conditions, Outcome};
use placard_model::entry::{CAPACITY_LEVEL, Change, Entry};
use placard_model::records::{EncodedRecord, Key, Kind};
use placard_model::{Encoded, Timestamp};
use placard_replica::{Batch, Current};
use placard_testkit::capacity::{batch, command, id, reserve, spec};
use placard_testkit::contract;
use placard_testkit::models::JournalState;
use placard_testkit::requests::{create, delete, request};
use placard_testkit::seed::seed;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const BATCHES: u128 = 120;

fn now() -> Timestamp {
    Timestamp::parse("2026-01-01T00:00:00Z").expect("a constant")
}

/// Commits the next batch: of ads, or of pools and holds.
fn commit(journal: &mut JournalState, nth: u128, rng: &mut ChaCha8Rng, books: &Books) {
    let batch = if rng.random_ratio(1, 4) {
        let ad = rng.random_range(1..6);
        let command = if rng.random_ratio(2, 3) { create(ad, "An ad") } else { delete(ad) };
        contract::batch(vec![Arc::new(request(nth, vec![command]))])
    } else {
        let commands = (0..rng.random_range(1..8)).map(|_| command(rng, books)).collect();
        batch(nth, commands, journal.now, CAPACITY_LEVEL)
    };
    journal.commit(&batch).expect("an empty journal is taken");
}

fn built(contents: Vec<Encoded>, journal: &JournalState) -> Engine {
    let mut builder = Builder::default();
    builder.extend(contents).expect("it can be read");
    builder.finish(journal.head, now()).expect("it sums to the digest")
}

#[test]
fn streamed_and_restored_states_are_equal() {
    let name = "streamed_and_restored_states_are_equal";
    let mut rng = ChaCha8Rng::seed_from_u64(seed("placard-replica", name));
    let (mut journal, mut engine) = (JournalState::new(now()), Engine::new());
    for nth in 1..=BATCHES {
        let known = journal.log.len();
        let snapshot = engine.snapshot();
        let books = engine.books().clone();
        commit(&mut journal, nth, &mut rng, &books);
        for row in &journal.log[known..] {
            engine.apply(&row.record).expect("it follows");
        }
        assert_eq!(engine.applied(), journal.head);
        assert_eq!(engine.books().audit(), []);
        let restored = built(journal.contents(), &journal);
        assert_eq!((restored.applied(), restored.books()), (engine.applied(), engine.books()));
        // A checkpoint's position is that of its beginning, whatever was applied since.
        let (position, mut builder) = (snapshot.position(), Builder::default());
        builder.extend(snapshot.collect()).expect("it can be read");
        let before = builder.finish(position, now()).expect("it sums to the digest");
        assert_eq!(before.books(), &books);
    }
    assert!(engine.books().holds().count() > 0 && engine.books().tombstones().count() > 0);
    a_digest_without_records_is_found(&journal);
    balances_that_differ_are_found();
    hold_of_a_damaged_pool_is_not_closed();
}

/// A state that leaves out one record is not taken.
fn a_digest_without_records_is_found(journal: &JournalState) {
    let mut contents = journal.contents();
    assert!(matches!(contents.pop(), Some(Encoded::Record(_))));
    let mut builder = Builder::default();
    builder.extend(contents).expect("it can be read");
    let refused = builder.finish(journal.head, now()).map(drop);
    assert_eq!(refused, Err(Refusal::Diverged(journal.head.version)));
}

/// A replica whose books are wrong does not go on with them.
fn balances_that_differ_are_found() {
    let mut journal = JournalState::new(now());
    let create = Command::CreatePool { id: id(1), spec: spec(5) };
    let first = batch(1, vec![create], now(), CAPACITY_LEVEL);
    let first = journal.commit(&first).expect("an empty journal is taken");
    let second = batch(2, vec![reserve(7, 1, 2, None)], now(), CAPACITY_LEVEL);
    let second = journal.commit(&second).expect("it has a plan");
    let mut engine = Engine::new();
    engine.apply(&first.log[0].record).expect("it follows");
    assert_eq!(engine.books().pool(id(1)).map(Pool::available), Some(5));
    engine.apply(&second.log[0].record).expect("it follows");
    assert_eq!(engine.books().pool(id(1)).map(Pool::available), Some(3));
    // The same entry, for a journal in which another unit was reserved: its digest is another.
    let mut other = journal.clone();
    other.commit(&batch(3, vec![reserve(8, 1, 1, None)], now(), CAPACITY_LEVEL)).expect("a plan");
    let third = other.log[2].record.clone();
    let entry = Entry::decode(&third.bytes).expect("it was just written");
    let Change::Move(mut moves) = entry.change.clone() else { panic!("it moves") };
    moves.after[0].balance.reserved += 1;
    let bytes = Entry { change: Change::Move(moves), ..entry }.encode();
    let chain = engine.applied().chain.next(3, &bytes);
    let forged = placard_model::entry::Record { version: 3, chain, bytes };
    assert_eq!(engine.apply(&forged), Err(Refusal::Diverged(3)));
    engine.apply(&third).expect("the state is as it was");
}

/// Its units could not go back: they would be missing for ever.
fn hold_of_a_damaged_pool_is_not_closed() {
    let mut journal = JournalState::new(now());
    let create = Command::CreatePool { id: id(1), spec: spec(5) };
    let create = batch(1, vec![create, reserve(7, 1, 2, None)], now(), CAPACITY_LEVEL);
    journal.commit(&create).expect("an empty journal is taken");
    let record = |kind, id| {
        let key = Key { kind, id };
        (id, journal.records[&key].encoded.clone())
    };
    let (pool, hold) = (record(Kind::Pool, id(1)), record(Kind::Hold, id(7)));
    let damaged = (pool.0, EncodedRecord::from_bytes(Kind::Pool, Bytes::from_static(&[2, 0xff])));
    let close = Command::Close { hold: id(7), only_if: Conditions::default(), used: 0 };
    let close = batch(2, vec![close], now(), CAPACITY_LEVEL);
    for (pool, written) in [(pool, 1), (damaged, 0)] {
        let plan = close.plan(Current {
            head: journal.head,
            now: now(),
            ads: HashMap::new(),
            records: vec![pool, hold.clone()],
            pools_of_ads: HashSet::new(),
            registered: None,
            kept: HashMap::new(),
            written: HashMap::new(),
        });
        let plan = plan.expect("the journal is not empty");
        assert_eq!((plan.log.len(), plan.records.is_empty()), (written, written == 0));
    }
}

/// What a try has written does not say why it left out an item, and it must not say that it took it.
#[test]
fn repeated_report_leaves_out_the_same_items() {
    let mut journal = JournalState::new(now());
    let give = Giving { hold: id(7), pool: id(1), least: 1, most: 5 };
    let (owner, gives) = (id(9), vec![give]);
    let gives = Report { owner, gives, ..Report::default() };
    let create = Command::CreatePool { id: id(1), spec: spec(5) };
    let first = batch(1, vec![create, Command::Report(gives)], now(), CAPACITY_LEVEL);
    journal.commit(&first).expect("an empty journal is taken");
    let close = |used| Closing { hold: id(7), used };
    for closes in [[close(1), close(2)], [close(6), close(2)]] {
        let mut journal = journal.clone();
        let report = Report { owner, closes: closes.to_vec(), ..Report::default() };
        let tried = batch(2, vec![Command::Report(report)], now(), CAPACITY_LEVEL);
        let again = Batch { repeated: true, ..tried.clone() };
        let left_out = [tried, again].map(|batch| {
            let plan = journal.commit(&batch).expect("the journal is not empty");
            let [Outcome::Reported { version: Some(3), left_out }] = &plan.answers[0].outcomes[..]
            else {
                panic!("it was taken: {:?}", plan.answers)
            };
            left_out.iter().map(|(nth, _)| *nth).collect::<Vec<_>>()
        });
        assert_eq!(left_out[0].len(), 1);
        assert_eq!(left_out[0], left_out[1]);
    }
}
