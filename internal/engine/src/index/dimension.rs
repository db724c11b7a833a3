//! How the index treats each dimension. A new dimension is one more entry in a schema's `DIMENSIONS`; nothing else in the
//! index names an age or a country. What it costs depends on its role:
//!
//! | role | values | bit rows per chunk | counts |
//! |---|---|---|---|
//! | `Leading` | up to 254 | one per value that many ads of the chunk target, lists for the others, one for open ads | one table row per value, plus ALL and ANY |
//! | `Crossed` | product of (values + 1) over all of them up to 64 | one per combination, "absent" included, and one for open ads | multiplies every table row by (values + 1) |
//! | `Ranged` | up to 254 | one per value, and one for open ads | multiplies every table row by (values + 1) |
//! | `Listed` | up to 256 | as `Leading` | none: a query that names it has its total counted by walking |
//!
//! So a small dimension (say, 4 connection types) is `Crossed` and makes the counts 5 times as large; one
//! with many values (say, 200 languages) is `Listed`. The bounds are checked when the crate is compiled.
//!
//! A query for visitors whose value is unknown has its total counted by walking too, unless the dimension leads: one
//! more value in the counts for "open" would make them 1.7 times as large, for queries that are rare.

use std::fmt::Debug;
use std::hint::black_box;

use placard_model::dimensions::{self, Listed};
use placard_model::{Age, Country, Filter, Gender, Platform, Query, Timestamp};
use uuid::Uuid;

use super::values::{VALUES_MAX, ValueSet};
use crate::StoredAd;

/// The order of every answer: by end, then by id.
pub(crate) type Key = (Timestamp, Uuid);

/// How the index treats a dimension; the module says what each costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The first level of the counts. Exactly one.
    Leading,
    /// The second level: all such dimensions are crossed into one combination.
    Crossed,
    /// The third level: exactly one, with many values of which an ad targets a range.
    Ranged,
    /// Bit rows only.
    Listed,
}

/// One dimension: how many values it has, and how ads and queries map to them.
#[derive(Debug)]
pub(crate) struct Dimension<S: Schema> {
    /// How many values it has; they are numbered from 0.
    pub(crate) values: usize,
    /// How the index treats it.
    pub(crate) role: Role,
    /// The values that an ad targets; none means that it is open to all.
    pub(crate) targeted: fn(&S::Ad) -> ValueSet,
    /// What a query says of the visitor.
    pub(crate) asked: fn(&S::Query) -> Filter<usize>,
}

/// What the index must know of an ad besides its targeting.
pub(crate) trait Item: Debug + Send + Sync + 'static {
    /// Returns its place in the order of answers, which never changes.
    fn key(&self) -> Key;
    /// Returns the time from which it is served.
    fn start_at(&self) -> Timestamp;
    /// Prefetches into the processor's cache what is read of it soon.
    fn fetch(&self) {}
}

/// A set of dimensions, with the ads and queries that they describe.
pub(crate) trait Schema: Sized + Debug + Send + Sync + 'static {
    /// What is indexed.
    type Ad: Item;
    /// What is asked.
    type Query;

    /// The dimensions, in the order of the index's levels.
    const DIMENSIONS: &'static [Dimension<Self>];

    /// Returns how many fitting ads to pass over, and how many to return at most.
    fn page(query: &Self::Query) -> (u64, u64);

    /// Values of the leading dimension.
    const LEADING: usize = only(Self::DIMENSIONS, Role::Leading);
    /// Combinations of the crossed dimensions, "absent" being one more value of each.
    const COMBINATIONS: usize = combinations(Self::DIMENSIONS);
    /// Values of the ranged dimension and one for "absent", which is 0.
    const STEPS: usize = only(Self::DIMENSIONS, Role::Ranged) + 1;
    /// Crossed and ranged dimensions.
    const NARROW: usize = narrow(Self::DIMENSIONS);
    /// Cells in one row of the counts.
    const CELLS: usize = Self::COMBINATIONS * Self::STEPS;

    /// Returns true if a query's filters fit an ad, dimension by dimension, without the index.
    fn fits(ad: &Self::Ad, query: &Self::Query) -> bool {
        Self::DIMENSIONS.iter().all(|dimension| {
            let asked = (dimension.asked)(query);
            asked == Filter::Absent || {
                let targeted = (dimension.targeted)(ad);
                asked.fits(targeted.is_empty(), |value| targeted.contains(value))
            }
        })
    }
}

/// Combinations are the bits of a `u64`.
pub(super) const COMBINATIONS_MAX: usize = 64;
/// Two rows of the counts are ALL and ANY.
const LEADING_MAX: usize = VALUES_MAX - 2;

/// Returns the number of values of the one dimension of this role.
const fn only<S: Schema>(dimensions: &[Dimension<S>], role: Role) -> usize {
    let (mut at, mut found, mut values) = (0, 0, 0);
    while at < dimensions.len() {
        if dimensions[at].role as u8 == role as u8 {
            found += 1;
            values = dimensions[at].values;
        }
        at += 1;
    }
    assert!(found == 1, "exactly one dimension leads, and exactly one is ranged");
    assert!(values <= LEADING_MAX, "a counted dimension has at most 254 values");
    values
}

const fn combinations<S: Schema>(dimensions: &[Dimension<S>]) -> usize {
    let (mut at, mut product) = (0, 1);
    while at < dimensions.len() {
        if matches!(dimensions[at].role, Role::Crossed) {
            product *= dimensions[at].values + 1;
        }
        assert!(dimensions[at].values <= VALUES_MAX, "a dimension has at most 256 values");
        at += 1;
    }
    assert!(product <= COMBINATIONS_MAX, "crossed dimensions have at most 64 combinations");
    product
}

const fn narrow<S: Schema>(dimensions: &[Dimension<S>]) -> usize {
    let (mut at, mut found) = (0, 0);
    while at < dimensions.len() {
        if matches!(dimensions[at].role, Role::Crossed | Role::Ranged) {
            found += 1;
        }
        at += 1;
    }
    assert!(found <= u8::BITS as usize, "crossed and ranged dimensions are the bits of a `u8`");
    found
}

/// What Placard serves: the ads and queries of the model.
#[derive(Debug)]
pub(crate) struct Ads;

impl Schema for Ads {
    type Ad = StoredAd;
    type Query = Query;

    const DIMENSIONS: &'static [Dimension<Self>] = &[
        of::<Country>(Role::Leading),
        of::<Gender>(Role::Crossed),
        of::<Platform>(Role::Crossed),
        of::<Age>(Role::Ranged),
    ];

    fn page(query: &Query) -> (u64, u64) {
        (query.offset.into(), query.limit.into())
    }
}

const _: () = assert!(Ads::DIMENSIONS.len() == dimensions::COUNT, "a dimension has no role");

/// Returns a dimension of the model in this role.
const fn of<D: Listed>(role: Role) -> Dimension<Ads> {
    Dimension {
        values: D::VALUES,
        role,
        targeted: |ad| ValueSet::of(D::places(D::condition(&ad.targeting))),
        asked: |query| D::filter(query).map(D::place),
    }
}

impl Item for StoredAd {
    fn key(&self) -> Key {
        (self.end_at, self.id)
    }

    fn start_at(&self) -> Timestamp {
        self.start_at
    }

    fn fetch(&self) {
        black_box((self.end_at, self.targeting.age));
    }
}
