//! The inputs of every implementation: seeded ads, the queries of the four mixes, and the right answers, all computed
//! before anything is timed.

use std::sync::Arc;

use placard_model::generator::Generator;
use placard_model::{Ad, Country, Filter, Gender, Platform, Query, Timestamp};
use placard_testkit::scan::Scan;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

/// The instant at which everything is built and asked.
const NOON: i64 = 1_800_000_000_000_000;
/// Queries of a mix, asked in turn.
const QUERIES: usize = 4_096;
/// Queries of a mix that are checked against the scan.
const CHECKED: usize = 3;
/// Countries that count as rare.
const RARE: usize = 10;

/// The mixes, in the order of [`World::mixes`].
pub(crate) const MIXES: [&str; 4] =
    ["all filters", "each absent half the time", "deep offsets", "rare countries"];

/// How many countries the ads target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    /// The 60 of the generator.
    Generator,
    /// All 249, the n-th with a weight of 1/n, where the generator draws among 60.
    All,
}

/// A query and its right answer.
pub(crate) struct Case {
    pub(crate) query: Query,
    pub(crate) ids: Vec<Uuid>,
    pub(crate) total: u64,
}

pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) ads: Vec<Arc<Ad>>,
    /// Ads that are inserted and deleted again.
    pub(crate) more: Vec<Arc<Ad>>,
    pub(crate) mixes: [Vec<Query>; 4],
    pub(crate) cases: Vec<Case>,
}

pub(crate) fn noon() -> Timestamp {
    Timestamp::from_micros(NOON).unwrap()
}

/// Returns the ads of a seed in turn. Their titles and contents are cut to `content` characters.
pub(crate) fn ads(seed: u64, spread: Spread, content: usize) -> impl Iterator<Item = Ad> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
    let all: Vec<Country> = Country::all().collect();
    let weights: Vec<f64> = (1..=all.len())
        .scan(0.0, |sum, n| {
            *sum += 1.0 / n as f64;
            Some(*sum)
        })
        .collect();
    Generator::new(seed, noon()).map(move |mut spec| {
        if spread == Spread::All && !spec.targeting.country.is_empty() {
            let draws = rng.random_range(1..=6);
            spec.targeting.country = (0..draws)
                .map(|_| {
                    let drawn = rng.random_range(0.0..weights[weights.len() - 1]);
                    all[weights.partition_point(|sum| *sum <= drawn)]
                })
                .collect();
        }
        if content < spec.content.len() {
            spec.content.truncate(content);
            spec.content.shrink_to_fit();
        }
        let id = Uuid::from_u128(rng.random());
        Ad { id, version: 1, created_at: noon(), spec }
    })
}

impl World {
    pub(crate) fn new(n: usize, more: usize, seed: u64, spread: Spread) -> Self {
        let mut drawn = ads(seed, spread, usize::MAX).map(Arc::new);
        let ads: Vec<_> = drawn.by_ref().take(n).collect();
        let more: Vec<_> = drawn.take(more).collect();
        let mixes = mixes(&ads, seed);
        let mut scan = Scan::default();
        for ad in &ads {
            scan.put(Ad::clone(ad));
        }
        let now = noon();
        let checked = mixes.iter().flat_map(|mix| mix.iter().take(CHECKED));
        let cases = checked.map(|query| {
            let (ids, total) = scan.search(query, now);
            Case { query: *query, ids, total }
        });
        let cases = cases.collect();
        Self { now, ads, more, mixes, cases }
    }
}

/// The queries of the four mixes.
pub(crate) fn mixes(ads: &[Arc<Ad>], seed: u64) -> [Vec<Query>; 4] {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0xa5c);
    let mut counts = vec![0_u64; Country::COUNT];
    let mut targeted = Vec::new();
    for ad in ads {
        for country in ad.spec.targeting.country.iter() {
            counts[country.place()] += 1;
        }
        if targeted.len() < 100_000 {
            targeted.extend(ad.spec.targeting.country.iter());
        }
    }
    let mut rare: Vec<_> = Country::all().filter(|country| counts[country.place()] > 0).collect();
    rare.sort_by_key(|country| counts[country.place()]);
    rare.truncate(RARE);
    let mut all = |countries: &[Country]| Query {
        age: Filter::Value(rng.random_range(1..=100)),
        country: Filter::Value(countries[rng.random_range(0..countries.len())]),
        gender: Filter::Value(Gender::ALL[rng.random_range(0..Gender::ALL.len())]),
        platform: Filter::Value(Platform::ALL[rng.random_range(0..Platform::ALL.len())]),
        ..Query::default()
    };
    let filters: Vec<_> = (0..QUERIES).map(|_| all(&targeted)).collect();
    let rare = (0..QUERIES).map(|_| all(&rare)).collect();
    let half = |query: &Query| Query {
        age: if rng.random_bool(0.5) { query.age } else { Filter::Absent },
        country: if rng.random_bool(0.5) { query.country } else { Filter::Absent },
        gender: if rng.random_bool(0.5) { query.gender } else { Filter::Absent },
        platform: if rng.random_bool(0.5) { query.platform } else { Filter::Absent },
        ..*query
    };
    let halves: Vec<_> = filters.iter().map(half).collect();
    let deep = |query: &Query| Query { offset: rng.random_range(0..=10_000), ..*query };
    let deep = halves.iter().map(deep).collect();
    [filters, halves, deep, rare]
}
