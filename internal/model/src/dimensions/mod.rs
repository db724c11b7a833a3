//! The dimensions of targeting, each in a file of its own, and the one list of them. Ads, queries, and whatever is read,
//! written, drawn or documented of either follow from the list. A new dimension is a file, its line in the list, and its
//! place in the index.

mod age;
mod choice;
mod country;
mod dimension;
mod gender;
mod platform;
mod values;

use rand_chacha::ChaCha8Rng;
use serde::ser::SerializeMap;
use serde_json::Value as Json;

pub use age::{Age, AgeRange};
pub use choice::{Choice, Codes};
pub use country::{Country, CountrySet};
pub use dimension::{Dimension, Document, FieldDocument, Places, Values};
pub use gender::{Gender, GenderSet};
pub use platform::{Platform, PlatformSet};

use crate::filter::Filter;
use crate::protobuf::Value;
use crate::reading::Reading;
use crate::{Violation, limits};

/// A dimension that is in the list, and where it is in what follows from the list.
pub trait Listed: Dimension {
    /// Returns what an ad asks of its visitors.
    fn condition(targeting: &Targeting) -> Self::Condition;
    /// Returns what a query says of the visitor.
    fn filter(query: &Query) -> Filter<Self::Value>;
    /// Returns the place of what a query says of the visitor.
    fn filter_mut(query: &mut Query) -> &mut Filter<Self::Value>;
}

/// Does something with each dimension of the list.
pub trait Visitor {
    /// Does it with one.
    fn visit<D: Listed>(&mut self);
}

/// Declares the list: the dimensions in the order of an ad's fields, each with the name of its field in [`Targeting`] and
/// [`Query`].
macro_rules! dimensions {
    ($($(#[$doc:meta])* $name:ident: $dimension:ty),+ $(,)?) => {
        /// The number of dimensions.
        pub const COUNT: usize = [$(<$dimension as Dimension>::NAME),+].len();

        /// The fields of an ad's JSON, dimension by dimension.
        pub(crate) const FIELDS: [&[&str]; COUNT] = [$(<$dimension as Dimension>::FIELDS),+];

        /// The tags of a stored ad's fields, dimension by dimension.
        const TAGS: [&[u32]; COUNT] = [$(<$dimension as Dimension>::TAGS),+];

        /// The format level of the newest dimension.
        pub(crate) const LEVEL: u8 = {
            let mut newest = 1;
            $(
                if <$dimension as Dimension>::LEVEL > newest {
                    newest = <$dimension as Dimension>::LEVEL;
                }
            )+
            newest
        };

        /// Visits each dimension, in the order of the list.
        pub fn each(visitor: &mut impl Visitor) {
            $(visitor.visit::<$dimension>();)+
        }

        $(
            impl Listed for $dimension {
                #[inline]
                fn condition(targeting: &Targeting) -> Self::Condition {
                    targeting.$name
                }

                #[inline]
                fn filter(query: &Query) -> Filter<Self::Value> {
                    query.$name
                }

                fn filter_mut(query: &mut Query) -> &mut Filter<Self::Value> {
                    &mut query.$name
                }
            }
        )+

        /// The conditions of an ad, per dimension. A dimension left open fits everyone.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
        pub struct Targeting {
            $($(#[$doc])* pub $name: <$dimension as Dimension>::Condition,)+
        }

        /// The filters and the page of one read.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct Query {
            $($(#[$doc])* pub $name: Filter<<$dimension as Dimension>::Value>,)+
            /// How many fitting ads to pass over, from 0.
            pub offset: u32,
            /// How many ads to send at the most, 1 to 100.
            pub limit: u32,
        }

        impl Default for Query {
            /// No filter, the first page.
            fn default() -> Self {
                Self { $($name: Filter::Absent,)+ offset: 0, limit: limits::PAGE_ADS_DEFAULT }
            }
        }

        impl Targeting {
            /// Returns true if all of a query's filters fit. This is the reference implementation: the index must agree
            /// with it, ad by ad.
            pub fn fits(&self, query: &Query) -> bool {
                true $(&& {
                    let is_open = <$dimension as Dimension>::is_open(self.$name);
                    query.$name.fits(is_open, |value| {
                        <$dimension as Dimension>::targets(self.$name, value)
                    })
                })+
            }

            /// Returns the format level from which on builds understand it.
            pub(crate) fn level(&self) -> u8 {
                let mut newest = 1;
                $(
                    if !<$dimension as Dimension>::is_open(self.$name) {
                        newest = newest.max(<$dimension as Dimension>::LEVEL);
                    }
                )+
                newest
            }

            /// Draws one. Dimensions draw by name, so that the order of the list does not change what a seed gives.
            pub(crate) fn sample(rng: &mut ChaCha8Rng) -> Self {
                type Draw = fn(&mut ChaCha8Rng, &mut Targeting);
                let mut draws: [(&str, Draw); COUNT] = [$(
                    (<$dimension as Dimension>::NAME, |rng, drawn| {
                        drawn.$name = <$dimension as Dimension>::sample(rng);
                    })
                ),+];
                draws.sort_unstable_by_key(|(name, _)| *name);
                let mut drawn = Self::default();
                draws.iter().for_each(|(_, draw)| draw(rng, &mut drawn));
                drawn
            }

            /// Writes the fields of an ad's JSON.
            pub(crate) fn show<M: SerializeMap>(&self, ad: &mut M) -> Result<(), M::Error> {
                $(<$dimension as Dimension>::show(self.$name, ad)?;)+
                Ok(())
            }

            /// Returns the fields of a stored ad, by tag.
            pub(crate) fn encode(&self) -> Vec<u8> {
                let mut fields = Vec::with_capacity(64);
                for tag in FIRST_TAG..=LAST_TAG {
                    $(
                        if <$dimension as Dimension>::TAGS.contains(&tag) {
                            <$dimension as Dimension>::encode(self.$name, tag, &mut fields);
                        }
                    )+
                }
                fields
            }
        }

        /// The conditions of a stored ad, as far as they have been read.
        #[derive(Debug, Default)]
        pub(crate) struct Stored<'a> {
            $($name: <$dimension as Dimension>::Stored<'a>,)+
        }

        impl<'a> Stored<'a> {
            /// Reads a field; one that no dimension has is skipped. Returns `None` if it is of another type.
            pub(crate) fn take(&mut self, tag: u32, value: Value<'a>) -> Option<()> {
                match tag {
                    $(
                        tag if <$dimension as Dimension>::TAGS.contains(&tag) => {
                            <$dimension as Dimension>::take(&mut self.$name, tag, value)
                        }
                    )+
                    _ => Some(()),
                }
            }

            /// Returns the conditions.
            ///
            /// # Errors
            /// The name of the first dimension of which no condition is stored like that.
            pub(crate) fn targeting(self) -> Result<Targeting, &'static str> {
                Ok(Targeting {
                    $(
                        $name: <$dimension as Dimension>::decode(self.$name)
                            .ok_or(<$dimension as Dimension>::NAME)?,
                    )+
                })
            }
        }

        /// The conditions as a client gives them, as far as each field is of the right type.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub(crate) struct Drafts {
            $($name: <$dimension as Dimension>::Draft,)+
        }

        impl Drafts {
            /// Takes them from a client's object.
            pub(crate) fn read(fields: &mut Reading) -> Self {
                Self { $($name: <$dimension as Dimension>::read(fields),)+ }
            }

            /// Returns those that lead to these conditions.
            pub(crate) fn of(targeting: &Targeting) -> Self {
                Self { $($name: <$dimension as Dimension>::draft(targeting.$name),)+ }
            }

            /// Takes over a field of a patch, if a dimension has it.
            pub(crate) fn patch(&mut self, patch: &Self, field: &str) {
                $(
                    if <$dimension as Dimension>::FIELDS.contains(&field) {
                        <$dimension as Dimension>::patch(&mut self.$name, &patch.$name, field);
                    }
                )+
            }

            /// Returns a field of a patch, if a dimension has it.
            pub(crate) fn to_json(&self, field: &str) -> Option<Json> {
                $(
                    if <$dimension as Dimension>::FIELDS.contains(&field) {
                        return Some(<$dimension as Dimension>::to_json(&self.$name, field));
                    }
                )+
                None
            }

            /// Returns the conditions, and adds what fields break together.
            pub(crate) fn finish(self, broken: &mut Vec<Violation>) -> Targeting {
                Targeting { $($name: <$dimension as Dimension>::finish(self.$name, broken),)+ }
            }
        }
    };
}

dimensions! {
    /// Age in years.
    age: Age,
    /// Gender.
    gender: Gender,
    /// Country.
    country: Country,
    /// Platform.
    platform: Platform,
}

const FIRST_TAG: u32 = ends_of(&TAGS).0;
const LAST_TAG: u32 = ends_of(&TAGS).1;

/// Returns the lowest and the highest of the tags.
const fn ends_of(dimensions: &[&[u32]]) -> (u32, u32) {
    let (mut first, mut last, mut at) = (u32::MAX, 0, 0);
    while at < dimensions.len() {
        let tags = dimensions[at];
        let mut nth = 0;
        while nth < tags.len() {
            first = if tags[nth] < first { tags[nth] } else { first };
            last = if tags[nth] > last { tags[nth] } else { last };
            nth += 1;
        }
        at += 1;
    }
    (first, last)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;

    use super::*;

    /// Checks what must hold of each dimension by itself.
    #[derive(Default)]
    struct Sound {
        names: BTreeSet<&'static str>,
        tags: BTreeSet<u32>,
        seen: usize,
    }

    impl Visitor for Sound {
        fn visit<D: Listed>(&mut self) {
            self.seen += 1;
            assert!(D::TAGS.iter().all(|tag| *tag > 7 && self.tags.insert(*tag)), "{}", D::NAME);
            assert!(D::FIELDS.iter().all(|field| self.names.insert(field)), "{}", D::NAME);
            assert_eq!(D::places(D::Condition::default()), [0; 4], "an open dimension");
            assert_eq!(D::parse(crate::UNKNOWN), None, "{}", D::NAME);
            let document = D::document();
            assert_eq!(document.fields.len(), D::FIELDS.len());
            let texts: Vec<_> = match &document.values {
                Values::Whole { min, max } => {
                    (*min..=*max).map(|value| value.to_string()).collect()
                }
                Values::Codes { codes, .. } => codes.iter().map(ToString::to_string).collect(),
            };
            assert_eq!(texts.len(), D::VALUES);
            let values: Vec<_> = texts.iter().filter_map(|text| D::parse(text)).collect();
            assert!(values.iter().map(|value| D::text(*value)).eq(texts), "{}", D::NAME);
            assert!(values.iter().map(|value| D::place(*value)).eq(0..D::VALUES), "{}", D::NAME);
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            for _ in 0..200 {
                let condition = D::sample(&mut rng);
                let places = D::places(condition);
                for value in &values {
                    let place = D::place(*value);
                    let is_placed = places[place / 64] >> (place % 64) & 1 == 1;
                    assert_eq!(is_placed, D::targets(condition, *value), "{condition:?} {value:?}");
                }
                let mut broken = Vec::new();
                assert_eq!(D::finish(D::draft(condition), &mut broken), condition);
                assert_eq!(broken, []);
                let mut fields = Vec::new();
                D::TAGS.iter().for_each(|tag| D::encode(condition, *tag, &mut fields));
                let mut stored = D::Stored::default();
                let mut left = crate::protobuf::Input(&fields);
                while !left.0.is_empty() {
                    let (tag, value) = left.field().expect("it is a field");
                    assert!(D::TAGS.contains(&tag));
                    assert_eq!(D::take(&mut stored, tag, value), Some(()));
                }
                assert_eq!(D::decode(stored), Some(condition));
            }
        }
    }

    #[test]
    fn each_dimensions_values_and_codecs_are_consistent() {
        let mut sound = Sound::default();
        each(&mut sound);
        assert_eq!(sound.seen, COUNT);
    }
}
