//! The whole engine: what it costs to apply records, what readers notice of that, how fast a tail is caught up
//! with, and what a body costs.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use placard_engine::{Builder, Engine, Reader};
use placard_model::entry::Record;
use placard_model::{Ad, Encoded, EncodedAd, Filter, Query, Timestamp, fragment, limits};
use placard_testkit::log::Log;

use crate::candidate::Candidate as _;
use crate::compare::{BATCH, Budget, check};
use crate::measure::{Latencies, allocated, median, progress, rate, timed};
use crate::ours::{self, Ours};
use crate::report::Report;
use crate::world::{MIXES, Spread, World, ads, mixes, noon};

pub(crate) const NAME: &str = "engine";
pub(crate) const BYTES_ALL_COUNTRIES: &str = "index bytes per ad, 249 countries";
pub(crate) const IDLE: &str = "readers' p99.9, writer idle";
pub(crate) const PACED: &str = "readers' p99.9, 10,000 writes/s";
pub(crate) const FLAT_OUT: &str = "readers' p99.9, writer flat out";
pub(crate) const FRAGMENTS: &str = "body of 10 ads from fragments";
pub(crate) const SERIALISED: &str = "body of 10 ads by serde_json";
pub(crate) const TAIL: &str = "tail applied, published every 16,384";
const TAIL_READ: &str = "tail applied, published every 1,024";
pub(crate) const TAIL_OFTEN: &str = "tail applied, published every 64";

/// Entries between two publications while an engine catches up: as the figure has it, as many as are read at a
/// time, and as many as a writer's queue is published after.
const TAIL_BATCHES: [usize; 3] = [TAIL_BATCH, 1_024, BATCH];
const TAIL_BATCH: usize = 16_384;
/// Entries between two publications of a replica that has more to apply than it can.
const AS_SERVED: usize = limits::PUBLISH_ENTRIES_MAX;
/// Most entries of a tail.
const TAIL_MAX: usize = 1_000_000;
/// Characters of the content of each of a vast number of ads.
const CONTENT_SHORT: usize = 8;
/// Rounds of readers beside a writer, of which the median counts.
const ROUNDS: usize = 5;
/// Writes per second of the paced writer.
const PACE: f64 = 10_000.0;

/// Ours with ads that target all 249 countries.
pub(crate) fn all_countries(world: &World, budget: Budget, report: &mut Report) {
    progress("ours, 249 countries");
    let n = world.ads.len();
    let items: Vec<_> = world.ads.iter().map(Ours::prepare).collect();
    let before = allocated() - items.capacity() * size_of_val(&items[0]);
    let ours = Ours::build(items, world.now);
    let bytes = (allocated() - before) as f64;
    check(&ours, &world.cases, world.now);
    let mut put = |measure: &str, unit, value| report.put(n, ours::NAME, measure, unit, value);
    put(BYTES_ALL_COUNTRIES, "B", bytes / n as f64);
    let counted = ours.0.reader().index_bytes() as f64;
    put("index bytes per ad, 249 countries, by its own count", "B", counted / n as f64);
    let reader = ours.0.reader();
    for (mix, queries) in MIXES.iter().zip(&world.mixes) {
        let per_second = rate(budget.cell, |at| {
            visit(reader, &queries[at % queries.len()], world.now);
        });
        put(&format!("{mix}, 249 countries"), "queries/s", per_second);
    }
}

fn visit(reader: &Reader, query: &Query, now: Timestamp) {
    black_box(reader.visit(query, now, |ad| _ = black_box(ad)));
}

/// An engine with the world's ads, built from a snapshot, and the log behind it.
fn built(world: &World) -> (Engine, Log, f64) {
    let mut log = Log::default();
    let encode = |ad: &Arc<Ad>| {
        let mut ad = Ad::clone(ad);
        log.put(&mut ad);
        Encoded::from(EncodedAd::encode(&ad))
    };
    let snapshot: Vec<_> = world.ads.iter().map(encode).collect();
    let head = log.head();
    let (engine, seconds) = timed(|| {
        let mut builder = Builder::default();
        builder.extend(snapshot).unwrap();
        builder.finish(head, world.now).unwrap()
    });
    (engine, log, seconds)
}

/// Applies records and publishes after each batch.
fn apply(engine: &mut Engine, records: &[Record], batch: usize) {
    for records in records.chunks(batch) {
        engine.apply_all(records).unwrap();
        engine.publish();
    }
}

/// As [`apply`], at a pace.
fn apply_paced(engine: &mut Engine, records: &[Record], per_second: f64) {
    let (started, mut done) = (Instant::now(), 0);
    while done < records.len() {
        let due = (started.elapsed().as_secs_f64() * per_second) as usize;
        let due = due.clamp(done, records.len());
        if due == done {
            // Not asleep: waking would occasionally take the reader's core, which is not the index's doing.
            std::hint::spin_loop();
            continue;
        }
        apply(engine, &records[done..due], AS_SERVED);
        done = due;
    }
}

/// Puts of these ads, then deletes of them, over and over, in the log's order.
fn records(log: &mut Log, ads: &[Arc<Ad>], count: usize) -> Vec<Record> {
    let record = |nth: usize| {
        let ad = &ads[nth % ads.len()];
        let puts = (nth / ads.len()).is_multiple_of(2);
        if puts { log.put(&mut Ad::clone(ad)) } else { log.delete(ad.id) }
    };
    (0..count).map(record).collect()
}

/// The 99.9th percentile of a reader's queries while something else is done.
fn beside(reader: &Reader, world: &World, work: impl FnOnce()) -> f64 {
    let (done, queries) = (AtomicBool::new(false), &world.mixes[1]);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let finished = || done.load(Ordering::Relaxed);
            let read = |at: usize| visit(reader, &queries[at % queries.len()], world.now);
            Latencies::until(finished, read).quantile(0.999)
        });
        work();
        done.store(true, Ordering::Relaxed);
        reading.join().unwrap()
    })
}

/// Everything about the engine as a whole.
pub(crate) fn measure(world: &World, seed: u64, budget: Budget, report: &mut Report) {
    progress("engine");
    let n = world.ads.len();
    let (mut engine, mut log, seconds) = built(world);
    let mut put = |measure: &str, unit, value| report.put(n, NAME, measure, unit, value);
    put("bulk build", "s", seconds);
    let of_no_age = |query: &Query| Query { age: Filter::Unknown, ..*query };
    let unknown: Vec<_> = world.mixes[0].iter().map(of_no_age).collect();
    let reader = engine.reader();
    let per_second = rate(budget.cell, |at| {
        visit(&reader, &unknown[at % unknown.len()], world.now);
    });
    put("all filters, age unknown", "queries/s", per_second);
    drop(reader);
    let count = world.more.len().min((budget.long.as_secs_f64() * 40_000.0) as usize + BATCH);
    for (batch, how) in [(1, "one by one"), (BATCH, "in batches of 64")] {
        let made = records(&mut log, &world.more[..count], count * 2);
        let (inserts, deletes) = made.split_at(count);
        for (what, records) in [("inserts", inserts), ("deletes", deletes)] {
            let (_, seconds) = timed(|| apply(&mut engine, records, batch));
            put(&format!("{what} {how}"), "/s", count as f64 / seconds);
        }
    }
    progress("readers beside the writer");
    let reader = engine.reader();
    let mut rounds = [const { Vec::new() }; 4];
    let seconds = budget.long.as_secs_f64();
    let paced = (PACE * seconds) as usize + BATCH;
    for _ in 0..ROUNDS {
        let wait = || {
            let started = Instant::now();
            while let left = budget.long.saturating_sub(started.elapsed())
                && !left.is_zero()
            {
                std::thread::park_timeout(left);
            }
        };
        rounds[0].push(beside(&reader, world, wait));
        let made = records(&mut log, &world.more, paced);
        let write = || apply_paced(&mut engine, &made, PACE);
        rounds[1].push(beside(&reader, world, write));
        let made = records(&mut log, &world.more, paced * 2);
        let started = Instant::now();
        rounds[2].push(beside(&reader, world, || apply(&mut engine, &made, AS_SERVED)));
        rounds[3].push(made.len() as f64 / started.elapsed().as_secs_f64());
    }
    let [idle, paced, busy, written] = rounds.map(median);
    put(IDLE, "ns", idle);
    put(PACED, "ns", paced);
    put(FLAT_OUT, "ns", busy);
    put("writes beside a reader, flat out", "/s", written);
    bodies(&engine.reader(), world, budget, &mut put);
    progress("a tail");
    let [seldom, read, often] = catch_up(&mut engine, &mut log, n, seed, budget);
    put(TAIL, "/s", seldom);
    put(TAIL_READ, "/s", read);
    put(TAIL_OFTEN, "/s", often);
}

/// A page's body, put together and serialised.
fn bodies(
    reader: &Reader,
    world: &World,
    budget: Budget,
    put: &mut impl FnMut(&str, &'static str, f64),
) {
    let page = reader.search(&Query::default(), world.now);
    let ads: Vec<Ad> = page.ads.iter().map(|ad| ad.encoded.decode().unwrap()).collect();
    let joined = rate(budget.cell, |_| {
        let mut body = Vec::with_capacity(4_096);
        for ad in &page.ads {
            body.extend_from_slice(ad.fragment());
            body.push(b',');
        }
        black_box(body);
    });
    put(FRAGMENTS, "ns", 1e9 / joined);
    let serialised = rate(budget.cell, |_| {
        let mut body = Vec::with_capacity(4_096);
        for ad in &ads {
            // What the engine's fragments are made by: `serde_json::to_vec`.
            body.extend_from_slice(&fragment(ad.into()));
            body.push(b',');
        }
        black_box(body);
    });
    put(SERIALISED, "ns", 1e9 / serialised);
}

/// Entries per second of a tail of new ads, as many as there are already, at most [`TAIL_MAX`]. The tail comes
/// in parts, each published in another one of [`TAIL_BATCHES`], so that all rates are of the same engine.
fn catch_up(engine: &mut Engine, log: &mut Log, n: usize, seed: u64, budget: Budget) -> [f64; 3] {
    let mut ads = ads(!seed, Spread::Generator, usize::MAX);
    let most = if budget.full { n.min(TAIL_MAX) } else { 1_000 };
    let (mut applied, mut seconds) = ([0; 3], [0.0; 3]);
    // The records are made ahead part by part, so that they take less memory than the ads.
    while applied.iter().sum::<usize>() < most {
        for (way, batch) in TAIL_BATCHES.into_iter().enumerate() {
            let part = (most / 3 + 1).min(TAIL_BATCH * 2);
            let made: Vec<_> = ads.by_ref().take(part).map(|mut ad| log.put(&mut ad)).collect();
            seconds[way] += timed(|| apply(engine, &made, batch)).1;
            applied[way] += part;
        }
    }
    [0, 1, 2].map(|way| applied[way] as f64 / seconds[way])
}

/// Ours alone with more ads than the others can stand, their contents cut short so that they fit in memory.
pub(crate) fn vast(n: usize, seed: u64, budget: Budget, report: &mut Report) {
    let mut put = |measure: &str, unit, value| report.put(n, ours::NAME, measure, unit, value);
    let mut drawn = ads(seed, Spread::All, CONTENT_SHORT).map(Arc::new);
    let slim = |ad: Arc<Ad>| Ours::prepare(&ad);
    progress("drawing");
    let mut asked = Vec::new();
    let mut items = Vec::with_capacity(n);
    for ad in drawn.by_ref().take(n) {
        if asked.len() < 100_000 {
            asked.push(Arc::clone(&ad));
        }
        items.push(slim(ad));
    }
    let more: Vec<_> = drawn.take(50_000).map(slim).collect();
    progress("ours");
    let (now, mixes) = (noon(), mixes(&asked, seed));
    let before = allocated() - items.capacity() * size_of_val(&items[0]);
    let (mut ours, seconds) = timed(|| Ours::build(items, now));
    put("bulk build", "s", seconds);
    put(BYTES_ALL_COUNTRIES, "B", (allocated() - before) as f64 / n as f64);
    for (mix, queries) in MIXES.iter().zip(&mixes) {
        let query = |at: usize| &queries[at % queries.len()];
        let per_second = rate(budget.cell, |at| {
            visit(ours.0.reader(), query(at), now);
        });
        put(mix, "queries/s", per_second);
        let latencies = Latencies::of(budget.cell, |at| visit(ours.0.reader(), query(at), now));
        put(&format!("{mix}: p50"), "ns", latencies.quantile(0.5));
        put(&format!("{mix}: p99"), "ns", latencies.quantile(0.99));
    }
    for (batch, how) in [(1, "one by one"), (BATCH, "in batches of 64")] {
        let (_, inserting) = timed(|| {
            for ads in more.chunks(batch) {
                ads.iter().for_each(|ad| ours.insert(ad));
                ours.commit();
            }
        });
        put(&format!("inserts {how}"), "/s", more.len() as f64 / inserting);
        let (_, removing) = timed(|| {
            for ads in more.chunks(batch) {
                ads.iter().for_each(|ad| ours.remove(ad));
                ours.commit();
            }
        });
        put(&format!("deletes {how}"), "/s", more.len() as f64 / removing);
    }
}
