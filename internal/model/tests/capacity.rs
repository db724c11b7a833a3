//! The stored formats of pools, holds, tombstones and of the entries that move them, held to the byte; and whatever can be
//! said in them is read back. `UPDATE_GOLDEN=1` rewrites the files, which is right only together with a new format level.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod golden;

use bytes::Bytes;
use placard_model::capacity::{
    After, Balance, CloseReason, Closed, Counted, Hold, Moves, Pacing, Pool, PoolSpec, Refusal,
    Tombstone,
};
use placard_model::command::{Answer, Outcome};
use placard_model::entry::{CAPACITY_LEVEL, Change, Digest, Entry, FORMAT_LEVEL_MIN, Reason};
use placard_model::records::{EncodedRecord, Kind};
use placard_model::{
    AgeRange, Country, Gender, Platform, Targeting, Timestamp, TraceContext, Undecodable, limits,
};
use proptest::prelude::*;
use uuid::Uuid;

use golden::{entry, golden, id, stamp};

fn pool() -> Pool {
    let countries = ["TW", "JP"].iter().filter_map(|code| Country::from_code(code));
    Pool {
        id: id(1),
        version: 300,
        created_at: stamp("2026-01-02T03:04:05.678901Z"),
        spec: PoolSpec {
            name: "Früher Abend 台北".to_owned(),
            capacity: 1_000_000,
            start_at: Some(stamp("2026-02-01T00:00:00Z")),
            end_at: Some(stamp("2026-03-01T00:00:00Z")),
            pacing: Pacing::Even,
            paused: true,
            targeting: Targeting {
                age: Some(AgeRange { start: 18, end: 65 }),
                country: countries.collect(),
                gender: [Gender::Female].into_iter().collect(),
                platform: [Platform::Android, Platform::Web].into_iter().collect(),
            },
        },
        balance: Balance { reserved: 1, allotted: 200, used: 30_000, lost: 4_000_000 },
    }
}

fn open_pool() -> Pool {
    let mut pool = pool();
    let spec = &mut pool.spec;
    (spec.start_at, spec.end_at, spec.pacing, spec.paused) = (None, None, Pacing::Asap, false);
    spec.targeting = Targeting::default();
    pool.balance = Balance::default();
    pool
}

fn reservation() -> Hold {
    Hold {
        id: id(5),
        version: 301,
        created_at: stamp("2026-01-02T03:04:05.678901Z"),
        pool: id(1),
        amount: 250,
        owner: None,
        expires_at: Some(stamp("2026-01-02T03:19:05.678901Z")),
    }
}

fn allotment() -> Hold {
    Hold { id: id(6), owner: Some(id(77)), expires_at: None, ..reservation() }
}

fn tombstone() -> Tombstone {
    let until = stamp("2026-01-03T03:04:05.678901Z");
    Tombstone { id: id(7), version: 302, until, used: 3, reason: CloseReason::Closed }
}

fn moves() -> Moves {
    let closed = |hold, reason| Closed { hold: id(hold), used: 0, lost: 0, reason, until: None };
    Moves {
        given: vec![reservation(), allotment()],
        closed: vec![
            Closed { used: 3, until: Some(tombstone().until), ..closed(7, CloseReason::Closed) },
            Closed { until: Some(tombstone().until), ..closed(8, CloseReason::Expired) },
            Closed { lost: 9, ..closed(9, CloseReason::Forfeited) },
            Closed { used: 12, ..closed(10, CloseReason::Overrun) },
            closed(11, CloseReason::Forgotten),
        ],
        counted: vec![Counted { ad: id(20), decisions: 300, impressions: 40, clicks: 0 }],
        after: vec![
            After { pool: id(1), balance: pool().balance },
            After { pool: id(2), balance: Balance::default() },
        ],
    }
}

#[test]
fn records_match_golden_bytes_and_are_read_back() {
    for (name, pool) in [("pool.hex", pool()), ("pool_open.hex", open_pool())] {
        let encoded = EncodedRecord::of_pool(&pool);
        golden(name, encoded.bytes());
        assert_eq!((encoded.kind(), encoded.pool()), (Kind::Pool, Ok(pool)));
    }
    for (name, hold) in [("reservation.hex", reservation()), ("allotment.hex", allotment())] {
        let encoded = EncodedRecord::of_hold(&hold);
        golden(name, encoded.bytes());
        assert_eq!((encoded.kind(), encoded.hold()), (Kind::Hold, Ok(hold)));
    }
    let encoded = EncodedRecord::of_tombstone(&tombstone());
    golden("tombstone.hex", encoded.bytes());
    assert_eq!((encoded.kind(), encoded.tombstone()), (Kind::Tombstone, Ok(tombstone())));
}

#[test]
fn entries_match_golden_bytes_and_are_read_back() {
    for (name, entry) in [
        ("entry_pool.hex", entry(Change::PutPool(pool()), Reason::Client)),
        ("entry_pool_deleted.hex", entry(Change::DeletePool(id(1)), Reason::Client)),
        ("entry_moves.hex", entry(Change::Move(moves()), Reason::Replica)),
    ] {
        let bytes = entry.encode();
        assert_eq!(bytes[0], CAPACITY_LEVEL);
        golden(name, &bytes);
        assert_eq!(Entry::decode(&bytes), Ok(entry));
    }
}

fn answer(outcomes: Vec<Outcome>) -> Answer {
    Answer { version: 301, outcomes, replayed: false }
}

fn exhausted() -> Outcome {
    Outcome::Exhausted { pool: id(1), available: 249 }
}

#[test]
fn kept_answers_match_golden_bytes_and_are_read_back() {
    let record = EncodedRecord::of_hold(&reservation());
    let recorded = Outcome::Recorded { id: id(5), version: 301, record, is_new: true };
    let refused = Refusal::ALL.map(|refusal| Outcome::Refused { id: id(6), refusal });
    let outcomes = [vec![recorded, exhausted()], refused.into()].concat();
    let kept = answer(outcomes);
    let bytes = kept.encode();
    golden("answer_capacity.hex", &bytes);
    assert_eq!(Answer::decode(&bytes), Ok(kept));
}

/// There may be room at the next try.
#[test]
fn refusal_for_want_of_room_is_not_kept() {
    let refused = |refusal| Outcome::Refused { id: id(6), refusal };
    let deleted = Outcome::Deleted { id: id(5), version: 9 };
    assert!(!answer(vec![exhausted()]).is_final());
    assert!(!answer(vec![refused(Refusal::Paused), exhausted()]).is_final());
    assert!(!answer(vec![refused(Refusal::NotYet)]).is_final());
    assert!(answer(vec![refused(Refusal::Closed)]).is_final());
    // A repetition would write the first again.
    assert!(answer(vec![deleted, exhausted()]).is_final());
}

/// The kind counts: a tombstone and a hold of the same bytes are not the same.
#[test]
fn digests_of_records_match_golden_bytes() {
    let encoded = [
        EncodedRecord::of_pool(&pool()),
        EncodedRecord::of_hold(&reservation()),
        EncodedRecord::of_tombstone(&tombstone()),
    ];
    let sums = encoded.each_ref().map(|record| Digest::of_record(record).0.to_be_bytes());
    golden("record_sums.hex", &sums.concat());
    let bytes = encoded[1].bytes().clone();
    let other = EncodedRecord::from_bytes(Kind::Tombstone, bytes);
    assert_ne!(Digest::of_record(&encoded[1]), Digest::of_record(&other));
}

#[test]
fn record_of_another_kind_or_level_is_refused() {
    let encoded = EncodedRecord::of_hold(&reservation());
    assert_eq!(encoded.pool(), Err(Undecodable::Field("kind")));
    assert_eq!(encoded.tombstone(), Err(Undecodable::Field("kind")));
    let leveled = |level: u8| {
        let bytes = [&[level], &encoded.bytes()[1..]].concat();
        EncodedRecord::from_bytes(Kind::Hold, bytes.into())
    };
    assert_eq!((leveled(CAPACITY_LEVEL).level(), leveled(7).level()), (CAPACITY_LEVEL, 7));
    let newer = CAPACITY_LEVEL + 1;
    assert_eq!(leveled(newer).hold(), Err(Undecodable::TooNew(newer)));
    for older in [0, FORMAT_LEVEL_MIN] {
        assert_eq!(leveled(older).hold(), Err(Undecodable::Field("format level")));
    }
    let empty = EncodedRecord::from_bytes(Kind::Hold, Bytes::new());
    assert_eq!(empty.hold(), Err(Undecodable::Field("format level")));
}

/// Builds of the first level do not know these changes, and an entry that says it is for them is damaged.
#[test]
fn entry_marked_with_too_low_a_level_is_refused() {
    for change in
        [Change::PutPool(pool()), Change::DeletePool(id(1)), Change::Move(Moves::default())]
    {
        let bytes = entry(change, Reason::Client).encode();
        let marked = [&[FORMAT_LEVEL_MIN], &bytes[1..]].concat();
        assert_eq!(Entry::decode(&marked.into()), Err(Undecodable::Field("format level")));
    }
}

/// Pages of the stream are bounded by it: a report of the most items that each give something, and have lapsed
/// reservations closed to make room.
#[test]
fn the_largest_moves_are_within_an_entrys_bound() {
    let largest = Hold {
        version: limits::VERSION_MAX,
        amount: limits::CAPACITY_MAX,
        expires_at: Some(Timestamp::MAX),
        ..allotment()
    };
    let most = Balance { reserved: u64::MAX, allotted: u64::MAX, used: u64::MAX, lost: u64::MAX };
    let reason = CloseReason::Expired;
    let (used, lost, until) = (limits::CAPACITY_MAX, limits::CAPACITY_MAX, Some(Timestamp::MAX));
    let moves = Moves {
        given: vec![largest; limits::REPORT_ITEMS_MAX],
        closed: vec![Closed { hold: id(1), used, lost, reason, until }; limits::LAPSED_MAX],
        counted: Vec::new(),
        after: vec![After { pool: id(1), balance: most }; limits::REPORT_ITEMS_MAX],
    };
    let mut entry = entry(Change::Move(moves), Reason::Replica);
    entry.principal = "p".repeat(limits::TOKEN_NAME_BYTES_MAX);
    entry.trace = Some(TraceContext { trace_id: u128::MAX, span_id: u64::MAX });
    let bytes = entry.encode().len();
    assert!(bytes <= limits::ENTRY_BYTES_MAX, "{bytes} bytes");
    assert!(bytes > limits::ENTRY_BYTES_MAX * 2 / 3, "{bytes} bytes");
}

fn any_id() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn any_stamp() -> impl Strategy<Value = Timestamp> {
    let range = Timestamp::MIN.micros()..=Timestamp::MAX.micros();
    range.prop_map(|micros| Timestamp::from_micros(micros).unwrap())
}

fn any_balance() -> impl Strategy<Value = Balance> {
    any::<[u64; 4]>().prop_map(|[reserved, allotted, used, lost]| Balance {
        reserved,
        allotted,
        used,
        lost,
    })
}

fn any_targeting() -> impl Strategy<Value = Targeting> {
    let age = prop::option::of((1_u8..=100, 1_u8..=100));
    let countries: Vec<_> = Country::all().collect();
    let country = prop::sample::subsequence(countries, 0..8);
    let gender = prop::sample::subsequence(Gender::ALL, 0..=2);
    let platform = prop::sample::subsequence(Platform::ALL, 0..=3);
    (age, country, gender, platform).prop_map(|(age, country, gender, platform)| Targeting {
        age: age.map(|(one, other)| AgeRange { start: one.min(other), end: one.max(other) }),
        country: country.into_iter().collect(),
        gender: gender.into_iter().collect(),
        platform: platform.into_iter().collect(),
    })
}

prop_compose! {
    fn any_pool()(
        (id, version, created_at) in (any_id(), any::<u64>(), any_stamp()),
        (name, capacity, paused, even) in (".{0,100}", any::<u64>(), any::<bool>(), any::<bool>()),
        (one, other) in (prop::option::of(any_stamp()), prop::option::of(any_stamp())),
        (targeting, balance) in (any_targeting(), any_balance()),
    ) -> Pool {
        let window = one.zip(other).filter(|(one, other)| one != other);
        let window = window.map(|(one, other)| (one.min(other), one.max(other)));
        let (start_at, end_at) = match window {
            Some((start, end)) => (Some(start), Some(end)),
            None => (one, None),
        };
        let pacing = if even && window.is_some() { Pacing::Even } else { Pacing::Asap };
        let spec = PoolSpec { name, capacity, start_at, end_at, pacing, paused, targeting };
        Pool { id, version, created_at, spec, balance }
    }
}

prop_compose! {
    fn any_hold()(
        (id, version, created_at) in (any_id(), any::<u64>(), any_stamp()),
        (pool, amount) in (any_id(), 1..=u64::MAX),
        (owner, expires_at) in (prop::option::of(any_id()), prop::option::of(any_stamp())),
    ) -> Hold {
        Hold { id, version, created_at, pool, amount, owner, expires_at }
    }
}

prop_compose! {
    fn any_closed()(
        (hold, used, lost) in (any_id(), any::<u64>(), any::<u64>()),
        reason in prop::sample::select(&CloseReason::ALL[..]),
        until in prop::option::of(any_stamp()),
    ) -> Closed {
        Closed { hold, used, lost, reason, until }
    }
}

prop_compose! {
    fn any_moves()(
        given in prop::collection::vec(any_hold(), 0..5),
        closed in prop::collection::vec(any_closed(), 0..5),
        counted in prop::collection::vec((any_id(), any::<[u64; 3]>()), 0..5),
        after in prop::collection::vec((any_id(), any_balance()), 0..5),
    ) -> Moves {
        let counted = counted.into_iter();
        let counted = counted.map(|(ad, [decisions, impressions, clicks])| Counted {
            ad, decisions, impressions, clicks,
        });
        let after = after.into_iter().map(|(pool, balance)| After { pool, balance });
        Moves { given, closed, counted: counted.collect(), after: after.collect() }
    }
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        any_pool().prop_map(Change::PutPool),
        any_id().prop_map(Change::DeletePool),
        any_moves().prop_map(Change::Move),
    ]
}

proptest! {
    #[test]
    fn whatever_an_entry_says_is_read_back(change in any_change()) {
        let entry = entry(change, Reason::Client);
        prop_assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
    }

    #[test]
    fn whatever_a_tombstone_says_is_read_back(closed in any_closed(), version in any::<u64>()) {
        let Closed { hold: id, used, reason, until, .. } = closed;
        let until = until.unwrap_or(Timestamp::EPOCH);
        let tombstone = Tombstone { id, version, until, used, reason };
        prop_assert_eq!(EncodedRecord::of_tombstone(&tombstone).tombstone(), Ok(tombstone));
    }

    /// Cut, overwritten or lengthened: what is read can be written and read again, and nothing panics.
    #[test]
    fn damaged_entries_never_panic(
        change in any_change(),
        cut in any::<prop::sample::Index>(),
        more in prop::collection::vec(any::<u8>(), 0..12),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = entry(change, Reason::Client).encode().to_vec();
        if places.is_empty() {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes.extend(more);
        for (place, byte) in places {
            let at = place.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(entry) = Entry::decode(&bytes.into()) {
            prop_assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
        }
    }
}
