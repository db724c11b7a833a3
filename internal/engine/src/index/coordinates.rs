//! Where an ad lies in the index, and where a query looks: both are worked out once per operation from the
//! schema, so that chunks and counts deal in numbers alone.

use placard_model::Filter;

use super::dimension::{Role, Schema};
use super::values::ValueSet;

/// Most listed dimensions in one schema; a query keeps its filters on them on the stack.
const LISTED_MAX: usize = 4;

/// Everything that an ad matches.
#[derive(Debug, Clone)]
pub(super) struct Coordinates {
    /// One bit per combination of the crossed dimensions.
    pub(super) combinations: u64,
    /// Steps of the ranged dimension; 0, "absent", is always in it.
    pub(super) steps: ValueSet,
    /// One bit for each crossed or ranged dimension, in the schema's order, that is open.
    pub(super) open: u8,
    /// Targeted values of the leading dimension; empty means any.
    pub(super) leading: ValueSet,
    /// Targeted values of each listed dimension; empty means any.
    pub(super) listed: Vec<ValueSet>,
}

impl Coordinates {
    pub(super) fn of<S: Schema>(ad: &S::Ad) -> Self {
        let mut found = Self {
            combinations: 1,
            steps: ValueSet::default(),
            open: 0,
            leading: ValueSet::default(),
            listed: Vec::new(),
        };
        let mut narrow = 0;
        for dimension in S::DIMENSIONS {
            let targeted = (dimension.targeted)(ad);
            if matches!(dimension.role, Role::Crossed | Role::Ranged) {
                found.open |= u8::from(targeted.is_empty()) << narrow;
                narrow += 1;
            }
            match dimension.role {
                Role::Leading => found.leading = targeted,
                Role::Listed => found.listed.push(targeted),
                Role::Ranged => found.steps = steps(&targeted, dimension.values),
                Role::Crossed => {
                    let targeted = u64_of(&targeted, dimension.values);
                    found.combinations = cross(found.combinations, targeted, dimension.values);
                }
            }
        }
        found
    }

    /// The combinations, by number.
    pub(super) fn combinations(&self) -> impl Iterator<Item = usize> + use<> {
        let mut left = self.combinations;
        std::iter::from_fn(move || {
            let next = (left != 0).then(|| left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(next)
        })
    }
}

/// The values as steps: each one further, behind "absent".
fn steps(targeted: &ValueSet, values: usize) -> ValueSet {
    if targeted.is_empty() {
        return ValueSet::from_range(0, values);
    }
    targeted.behind_zero()
}

/// The values as bits behind the one for "absent".
fn u64_of(targeted: &ValueSet, values: usize) -> u64 {
    if targeted.is_empty() {
        return (1 << (values + 1)) - 1;
    }
    targeted.iter().fold(1, |bits, value| bits | 1 << (value + 1))
}

/// Every combination so far with every value of one more dimension.
fn cross(combinations: u64, values: u64, count: usize) -> u64 {
    let (mut crossed, mut left) = (0, combinations);
    while left != 0 {
        crossed |= values << (left.trailing_zeros() as usize * (count + 1));
        left &= left - 1;
    }
    crossed
}

/// The place where a query looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) leading: Filter<usize>,
    pub(super) combination: usize,
    pub(super) step: usize,
    /// One bit for each crossed or ranged dimension, in the schema's order, that an ad must leave open.
    open: u8,
    /// `(listed dimension, value)` of each filter on a listed dimension; without a value if an ad must leave it open.
    listed: [(usize, Option<usize>); LISTED_MAX],
    listed_len: usize,
}

impl Place {
    pub(super) fn of<S: Schema>(query: &S::Query) -> Self {
        let mut place = Self {
            leading: Filter::Absent,
            combination: 0,
            step: 0,
            open: 0,
            listed: [(0, None); LISTED_MAX],
            listed_len: 0,
        };
        let (mut narrow, mut listed) = (0, 0);
        for dimension in S::DIMENSIONS {
            let asked = (dimension.asked)(query);
            // Ads that must be open are looked for among all: they are in every step and combination.
            let digit = asked.value().map_or(0, |value| value + 1);
            if matches!(dimension.role, Role::Crossed | Role::Ranged) {
                place.open |= u8::from(asked == Filter::Unknown) << narrow;
                narrow += 1;
            }
            match dimension.role {
                Role::Leading => place.leading = asked,
                Role::Ranged => place.step = digit,
                Role::Crossed => {
                    place.combination = place.combination * (dimension.values + 1) + digit;
                }
                Role::Listed => {
                    if asked != Filter::Absent {
                        place.listed[place.listed_len] = (listed, asked.value());
                        place.listed_len += 1;
                    }
                    listed += 1;
                }
            }
        }
        place
    }

    /// Returns true if the counts know the answer: no filter is on a listed dimension, and no other than the leading one
    /// must be open.
    pub(super) fn is_counted(&self) -> bool {
        self.listed_len == 0 && self.open == 0
    }

    /// The crossed and ranged dimensions that an ad must leave open.
    pub(super) fn open(&self) -> impl Iterator<Item = usize> + use<> {
        let mut left = self.open;
        std::iter::from_fn(move || {
            let next = (left != 0).then(|| left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(next)
        })
    }

    pub(super) fn listed(&self) -> &[(usize, Option<usize>)] {
        &self.listed[..self.listed_len]
    }
}
