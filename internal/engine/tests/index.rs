//! The index against two oracles, a plain scan and SQLite, over random histories with a moving clock; readers
//! while a writer publishes; and what an engine refuses.

#![allow(clippy::disallowed_methods, reason = "tests use clocks, chance and tasks as they like")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use placard_engine::{Builder, Engine, Reader, Refusal};
use placard_model::entry::{Digest, Position, Record};
use placard_model::{
    Ad, AgeRange, Country, Delivery, Encoded, Filter, Gender, Platform, Query, Spec, Targeting,
    Timestamp,
};
use placard_testkit::log::Log;
use placard_testkit::scan::Scan;
use placard_testkit::seed::seed;
use placard_testkit::sqlite::Sqlite;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

/// Where the clocks of these tests start.
const NOON: i64 = 1_800_000_000_000_000;

fn stamp(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap()
}

/// Draws ads and queries in which boundaries meet: few values, and windows of a few microseconds.
struct Draw {
    rng: ChaCha8Rng,
    ids: u128,
}

impl Draw {
    fn new(seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), ids: 0 }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn country(&mut self) -> Country {
        // Mostly a few, so that rows and lists both occur; sometimes any of the 249.
        let most = if self.chance(80) { 6 } else { Country::COUNT };
        Country::all().nth(self.rng.random_range(0..most)).unwrap()
    }

    fn targeting(&mut self) -> Targeting {
        let age = (!self.chance(30)).then(|| {
            let start = self.rng.random_range(1..=100);
            AgeRange { start, end: self.rng.random_range(start..=100) }
        });
        let countries = if self.chance(30) { 0 } else { self.rng.random_range(1..=6) };
        Targeting {
            age,
            country: (0..countries).map(|_| self.country()).collect(),
            gender: Gender::ALL.iter().copied().filter(|_| self.chance(40)).collect(),
            platform: Platform::ALL.iter().copied().filter(|_| self.chance(40)).collect(),
        }
    }

    fn spec(&mut self, now: i64, spread: i64) -> Spec {
        let start = now + self.rng.random_range(-spread..spread);
        let end = start.max(now) + self.rng.random_range(1..spread * 2);
        Spec {
            title: "An ad".to_owned(),
            content: "to be found".to_owned(),
            start_at: stamp(start),
            end_at: stamp(end),
            targeting: self.targeting(),
            // One that is paused is in no answer.
            delivery: Delivery { paused: self.chance(10), ..Delivery::default() },
        }
    }

    fn ad(&mut self, now: i64, spread: i64) -> Ad {
        self.ids += 1;
        // Not in the order of their ends, and sharing most of their bits.
        let id = Uuid::from_u128(self.ids.wrapping_mul(0x9e37_79b9_7f4a_7c15) & 0xffff_ffff);
        let created_at = stamp(now);
        Ad { id, version: 0, created_at, spec: self.spec(now, spread) }
    }

    fn filter<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Filter<T> {
        match self.rng.random_range(0..100) {
            0..45 => Filter::Absent,
            45..60 => Filter::Unknown,
            _ => Filter::Value(value(self)),
        }
    }

    fn query(&mut self, ads: usize) -> Query {
        let deep = if self.chance(30) { ads as u32 / 2 + 2 } else { 12 };
        Query {
            age: self.filter(|draw| draw.rng.random_range(1..=100)),
            country: self.filter(Self::country),
            gender: self.filter(|draw| Gender::ALL[draw.rng.random_range(0..2)]),
            platform: self.filter(|draw| Platform::ALL[draw.rng.random_range(0..3)]),
            offset: self.rng.random_range(0..deep),
            limit: self.rng.random_range(1..=100),
        }
    }
}

/// An engine, and the same ads in the oracles.
struct World {
    draw: Draw,
    now: i64,
    spread: i64,
    log: Log,
    engine: Engine,
    scan: Scan,
    sqlite: Option<Sqlite>,
    ids: Vec<Uuid>,
}

impl World {
    fn new(seed: u64, spread: i64, sqlite: bool) -> Self {
        Self {
            draw: Draw::new(seed),
            now: NOON,
            spread,
            log: Log::default(),
            engine: Engine::new(),
            scan: Scan::default(),
            sqlite: sqlite.then(Sqlite::default),
            ids: Vec::new(),
        }
    }

    fn apply(&mut self, record: &Record) {
        self.engine.apply(record).unwrap();
        assert_eq!(self.engine.applied(), self.log.head());
    }

    fn put(&mut self, mut ad: Ad) {
        let record = self.log.put(&mut ad);
        self.apply(&record);
        if let Some(sqlite) = &mut self.sqlite {
            sqlite.remove(ad.id);
            if !ad.spec.delivery.paused {
                sqlite.insert(&ad);
            }
        }
        self.scan.put(ad);
    }

    fn create(&mut self) {
        let ad = self.draw.ad(self.now, self.spread);
        self.ids.push(ad.id);
        self.put(ad);
    }

    fn update(&mut self) {
        let id = self.ids[self.draw.rng.random_range(0..self.ids.len())];
        let mut ad = self.scan.get(id).unwrap().clone();
        ad.spec = self.draw.spec(self.now, self.spread);
        self.put(ad);
    }

    fn delete(&mut self) {
        let at = self.draw.rng.random_range(0..self.ids.len());
        let id = self.ids.swap_remove(at);
        let record = self.log.delete(id);
        self.apply(&record);
        assert!(self.scan.delete(id));
        if let Some(sqlite) = &mut self.sqlite {
            sqlite.remove(id);
        }
    }

    /// One random change, around `size` ads.
    fn change(&mut self, size: usize) {
        if self.ids.len() < 2 || (self.ids.len() < size && self.draw.chance(60)) {
            self.create();
        } else if self.draw.chance(40) {
            self.update();
        } else if self.ids.len() > size || self.draw.chance(50) {
            self.delete();
        } else {
            self.create();
        }
    }

    /// Time goes on; the engine is advanced occasionally.
    fn tick(&mut self) {
        self.now += self.draw.rng.random_range(0..=self.spread / 20 + 1);
        if self.draw.chance(40) {
            self.engine.advance(stamp(self.now));
        }
        if self.draw.chance(80) {
            self.engine.publish();
        }
    }

    fn ask(&mut self) {
        self.engine.publish();
        let query = self.draw.query(self.ids.len());
        self.check(&self.engine.reader(), &query, self.now);
    }

    fn check(&self, reader: &Reader, query: &Query, now: i64) {
        let page = reader.search(query, stamp(now));
        let found = (page.ads.iter().map(|ad| ad.id).collect::<Vec<_>>(), page.total);
        assert_eq!(page.version, self.log.head().version);
        assert_eq!(found, self.scan.search(query, stamp(now)), "{query:?} at {now}");
        if let Some(sqlite) = &self.sqlite {
            assert_eq!(found, sqlite.search(query, stamp(now)), "{query:?} at {now}");
        }
    }
}

fn history(seed: u64, steps: usize, size: usize, spread: i64, sqlite: bool) {
    let mut world = World::new(seed, spread, sqlite);
    for _ in 0..steps {
        for _ in 0..world.draw.rng.random_range(1..4) {
            world.change(size);
        }
        world.tick();
        world.ask();
        world.ask();
    }
}

/// A fixed seed, so that every run covers the same ground, and a fresh one, so that runs add up.
fn with_seeds(name: &str, run: impl Fn(u64)) {
    run(42);
    run(seed("placard-engine", name));
}

#[test]
fn small_histories_agree_with_both_oracles() {
    with_seeds("small_histories_agree_with_both_oracles", |seed| {
        history(seed, 8_000, 40, 60, true);
        history(seed, 4_000, 400, 4_000, true);
    });
}

#[test]
fn long_histories_agree_with_the_scan() {
    with_seeds("long_histories_agree_with_the_scan", |seed| {
        history(seed, 60_000, 60, 100, false);
        history(seed, 6_000, 2_500, 40_000, false);
    });
}

/// Chunks and groups split, are joined, and run empty.
#[test]
fn growing_and_shrinking_index_agrees_with_the_scan() {
    with_seeds("growing_and_shrinking_index_agrees_with_the_scan", |seed| {
        let mut world = World::new(seed, 1_000_000_000, false);
        for round in 0..3 {
            for step in 0..60_000 {
                world.create();
                if step % 5_000 == 0 {
                    world.tick();
                    world.ask();
                }
            }
            // In the order of creation, which is no order of the index; the last round down to nothing.
            let left = if round == 2 { 0 } else { 500 };
            while world.ids.len() > left {
                world.delete();
                if world.ids.len() % 5_000 == 1 || world.ids.len() == left {
                    world.tick();
                    world.ask();
                }
            }
        }
        assert_eq!(world.engine.reader().indexed(), (0, 0));
    });
}

/// Publishes enough changes at once that they are shared out among the cores, while ads begin and end, down to a few
/// microseconds in which thousands share their ends.
#[test]
fn bursts_of_changes_agree_with_the_scan() {
    with_seeds("bursts_of_changes_agree_with_the_scan", |seed| {
        for (spread, size) in [(200, 3_000), (20_000, 9_000), (1_000_000_000, 60_000)] {
            let mut world = World::new(seed, spread, false);
            for round in 0..60 {
                // The last ones take everything away, in parts of which the first still grow a little.
                let size = if round < 50 { size } else { 0 };
                for _ in 0..world.draw.rng.random_range(100..size / 3 + 3_000) {
                    world.change(size);
                }
                world.tick();
                (0..4).for_each(|_| world.ask());
            }
        }
    });
}

#[test]
fn index_built_from_a_snapshot_equals_the_grown_one() {
    with_seeds("index_built_from_a_snapshot_equals_the_grown_one", |seed| {
        let mut world = World::new(seed, 1_000_000, false);
        (0..30_000).for_each(|_| world.change(20_000));
        world.now += 50_000;
        let mut builder = Builder::default();
        builder.extend(world.engine.snapshot().collect()).unwrap();
        let built = builder.finish(world.log.head(), stamp(world.now)).unwrap();
        assert!(world.engine.replace_with(built).free().is_ok());
        for _ in 0..300 {
            world.ask();
        }
        // It goes on like one that grew.
        for _ in 0..2_000 {
            world.change(20_000);
        }
        world.tick();
        (0..100).for_each(|_| world.ask());
    });
}

/// Readers' clock is the journal's, which an operator may set back: ads that had ended are there again, ads that had
/// begun are not.
#[test]
fn index_agrees_with_the_scan_after_a_clock_set_back() {
    with_seeds("index_agrees_with_the_scan_after_a_clock_set_back", |seed| {
        // The last one by up to a quarter of an hour, which is further back than what has begun and ended is kept for.
        let spreads =
            [(60, 40, 3_000), (4_000, 400, 2_000), (40_000, 9_000, 60), (900_000_000, 400, 1_000)];
        for (spread, size, steps) in spreads {
            let mut world = World::new(seed, spread, size < 1_000);
            let mut back = 0;
            for _ in 0..steps {
                let changes = if size < 1_000 { 4 } else { size / 8 };
                for _ in 0..world.draw.rng.random_range(1..changes) {
                    world.change(size);
                }
                world.tick();
                world.ask();
                if world.draw.chance(20) {
                    world.now -= world.draw.rng.random_range(0..=spread);
                    back += u64::from(world.engine.rewind(stamp(world.now)));
                    (0..3).for_each(|_| world.ask());
                }
            }
            assert!(back > 0, "the clock was never set back beyond what the index had done");
        }
    });
}

/// No timer runs here at all: the engine learns the time once, at the start, or never.
#[test]
fn ad_is_served_from_start_to_end_to_the_microsecond() {
    for told in [false, true] {
        let mut world = World::new(1, 1_000, false);
        if told {
            world.engine.advance(stamp(NOON));
        }
        let mut ad = world.draw.ad(NOON, 1_000);
        ad.spec.start_at = stamp(NOON + 10);
        ad.spec.end_at = stamp(NOON + 20);
        ad.spec.targeting = Targeting::default();
        world.put(ad);
        (0..50).for_each(|_| world.create());
        world.engine.publish();
        let reader = world.engine.reader();
        for now in NOON..NOON + 2_500 {
            world.check(&reader, &Query { limit: 100, ..Query::default() }, now);
        }
        let served = |now| reader.search(&Query { limit: 100, ..Query::default() }, stamp(now));
        let ids = |now| served(now).ads.iter().map(|ad| ad.id).collect::<Vec<_>>();
        let first = world.scan.ads().find(|ad| ad.spec.start_at == stamp(NOON + 10)).unwrap().id;
        assert!(!ids(NOON + 9).contains(&first) && ids(NOON + 10).contains(&first));
        assert!(ids(NOON + 19).contains(&first) && !ids(NOON + 20).contains(&first));
    }
}

/// Readers run while the writer publishes: each page must be the scan's at the version that it names.
#[test]
fn no_reader_ever_sees_half_of_a_change() {
    const VERSIONS: usize = 3_000;
    let seed = seed("placard-engine", "no_reader_ever_sees_half_of_a_change");
    let mut world = World::new(seed, 1_000_000_000, false);
    let queries: Vec<_> = (0..12).map(|_| world.draw.query(40)).collect();
    let mut records = Vec::new();
    let mut expected = vec![];
    // The whole history first, with the answers of each version.
    let mut scratch = Engine::new();
    std::mem::swap(&mut scratch, &mut world.engine);
    for _ in 0..=VERSIONS {
        let answers = queries.iter().map(|query| world.scan.search(query, stamp(NOON)));
        expected.push(answers.collect::<Vec<_>>());
        let mut ad = match world.ids.len() {
            0..300 => world.draw.ad(NOON, 1_000_000_000),
            ads => {
                let id = world.ids[world.draw.rng.random_range(0..ads)];
                let mut ad = world.scan.get(id).unwrap().clone();
                ad.spec = world.draw.spec(NOON, 1_000_000_000);
                ad
            }
        };
        records.push(world.log.put(&mut ad));
        if !world.ids.contains(&ad.id) {
            world.ids.push(ad.id);
        }
        world.scan.put(ad);
    }
    let mut engine = scratch;
    engine.advance(stamp(NOON));
    let done = AtomicBool::new(false);
    let pages = std::thread::scope(|scope| {
        let reading = |reader: Reader| {
            let (expected, queries, done) = (&expected, &queries, &done);
            scope.spawn(move || {
                let mut pages = 0_usize;
                while !done.load(Ordering::Relaxed) {
                    for (nth, query) in queries.iter().enumerate() {
                        let page = reader.search(query, stamp(NOON));
                        let ids: Vec<_> = page.ads.iter().map(|ad| ad.id).collect();
                        let answer = &expected[page.version as usize][nth];
                        assert_eq!(&(ids, page.total), answer, "at version {}", page.version);
                        pages += 1;
                    }
                }
                pages
            })
        };
        let readers = [reading(engine.reader()), reading(engine.reader())];
        for (nth, record) in records.iter().take(VERSIONS).enumerate() {
            engine.apply(record).unwrap();
            if nth % 3 != 1 {
                engine.publish();
            }
        }
        engine.publish();
        done.store(true, Ordering::Relaxed);
        readers.map(|reader| reader.join().unwrap()).iter().sum::<usize>()
    });
    assert!(pages > 0, "no reader had a turn");
}

#[test]
fn invalid_record_is_refused_and_changes_nothing() {
    let mut world = World::new(3, 1_000, false);
    (0..20).for_each(|_| world.create());
    world.engine.publish();
    let head = world.log.head();
    let before = world.engine.snapshot().collect().len();
    let mut ad = world.draw.ad(NOON, 1_000);
    let next = world.log.put(&mut ad);
    let after = world.log.put(&mut world.draw.ad(NOON, 1_000));
    let changed = |change: &dyn Fn(&mut Record)| {
        let mut record = next.clone();
        change(&mut record);
        record
    };
    let forged = changed(&|record| {
        let mut bytes = record.bytes.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        record.bytes = bytes.into();
    });
    let poison = changed(&|record| {
        record.bytes = vec![1, 0xff].into();
        record.chain = head.chain.next(record.version, &record.bytes);
    });
    let newer = changed(&|record| {
        record.bytes = vec![99].into();
        record.chain = head.chain.next(record.version, &record.bytes);
    });
    // Rightly chained, but decided on other ads: the digest it carries is not the one it leads to here.
    let diverged = {
        let mut other = Log::default();
        let mut records = BTreeMap::new();
        for _ in 0..=head.version {
            let record = other.put(&mut world.draw.ad(NOON, 1_000));
            records.insert(record.version, record);
        }
        changed(&|record| {
            record.bytes = records[&record.version].bytes.clone();
            record.chain = head.chain.next(record.version, &record.bytes);
        })
    };
    let refusal = |engine: &mut Engine, record| engine.apply(record).unwrap_err();
    let engine = &mut world.engine;
    assert!(matches!(refusal(engine, &after), Refusal::Gap { .. }));
    assert!(matches!(refusal(engine, &forged), Refusal::Fork(_)));
    assert!(matches!(refusal(engine, &poison), Refusal::Poison(..)));
    assert!(matches!(refusal(engine, &newer), Refusal::Poison(..)));
    assert!(matches!(refusal(engine, &diverged), Refusal::Diverged(_)));
    assert_eq!((engine.applied(), engine.snapshot().collect().len()), (head, before));
    engine.apply(&next).unwrap();
    assert!(matches!(refusal(engine, &next), Refusal::Old { .. }));
}

#[test]
fn snapshot_with_a_wrong_digest_is_refused() {
    let mut world = World::new(4, 1_000, false);
    (0..50).for_each(|_| world.create());
    let ads = world.engine.snapshot().collect();
    let head = world.log.head();
    let build = |ads: &[Encoded], position: Position| {
        let mut builder = Builder::default();
        builder.extend(ads.to_vec()).unwrap();
        builder.finish(position, stamp(NOON)).map(|engine| engine.applied())
    };
    assert_eq!(build(&ads, head), Ok(head));
    assert_eq!(build(&ads[1..], head), Err(Refusal::Diverged(head.version)));
    let other = Position { digest: Digest(head.digest.0 ^ 1), ..head };
    assert_eq!(build(&ads, other), Err(Refusal::Diverged(head.version)));
}

/// Two are under way at once, and collected later: in between ads are replaced, created, and deleted, some of them in
/// turn, and some were deleted and not yet published when it was taken.
#[test]
fn a_snapshot_is_of_its_position_whatever_comes_after() {
    with_seeds("a_snapshot_is_of_its_position_whatever_comes_after", |seed| {
        let mut world = World::new(seed, 1_000_000, false);
        let mut taken = Vec::new();
        for round in 0..40 {
            (0..50).for_each(|_| world.change(300));
            taken.push((world.log.head(), world.engine.snapshot()));
            if round % 3 > 0 {
                let (head, snapshot) = taken.remove(0);
                assert_eq!(snapshot.position(), head);
                let mut builder = Builder::default();
                builder.extend(snapshot.collect()).unwrap();
                let built = builder.finish(head, stamp(world.now));
                assert!(built.is_ok(), "{:?}", built.err());
            }
        }
    });
}

/// A reader that reads while a state is replaced does not have to drop the old one.
#[test]
fn a_replaced_engine_is_freed_when_no_reader_is_at_it() {
    let mut world = World::new(5, 1_000, false);
    (0..50).for_each(|_| world.create());
    world.engine.publish();
    let reader = world.engine.reader();
    let (query, mut replaced) = (Query { limit: 1, ..Query::default() }, None);
    let other = Engine::new();
    let mut other = Some(other);
    reader.visit(&query, stamp(NOON), |_| {
        if let Some(other) = other.take() {
            let busy = world.engine.replace_with(other).free();
            assert!(busy.is_err());
            replaced = busy.err();
        }
    });
    assert!(replaced.expect("an ad was visited").free().is_ok());
    assert_eq!(reader.published(), Position::START);
}

#[test]
fn applying_a_batch_equals_applying_one_by_one() {
    let mut world = World::new(9, 1_000_000, false);
    let mut records = Vec::new();
    for _ in 0..700 {
        let mut ad = world.draw.ad(NOON, 1_000_000);
        records.push(world.log.put(&mut ad));
        if records.len() % 3 == 0 {
            records.push(world.log.delete(ad.id));
        }
    }
    let (mut together, mut alone) = (Engine::new(), Engine::new());
    records.iter().for_each(|record| alone.apply(record).unwrap());
    together.apply_all(&records[..600]).unwrap();
    // Known records are skipped; a hole stops it, and the records before the hole are applied.
    together.apply_all(&records[..650]).unwrap();
    let mut holed = records[600..].to_vec();
    holed.remove(200);
    assert!(matches!(together.apply_all(&holed), Err(Refusal::Gap { .. })));
    assert_eq!(together.applied().version, 800);
    together.apply_all(&records[700..]).unwrap();
    assert_eq!(together.applied(), alone.applied());
    assert_eq!(together.applied(), world.log.head());
}
