//! A dimension of which an ad targets any set of values that have codes.

use std::borrow::Cow;
use std::fmt::Debug;
use std::hash::Hash;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::ser::SerializeMap;
use serde_json::Value as Json;

use super::dimension::{Dimension, Document, FieldDocument, Places, Values};
use crate::Violation;
use crate::protobuf::Value;
use crate::reading::Reading;

/// Values with codes, and the sets of them.
pub trait Codes: Copy + Debug + Eq + Hash + Send + Sync + 'static {
    /// A set of them; the default is empty.
    type Set: Copy + Debug + Default + Eq + Hash + Send + Sync + FromIterator<Self>;
    /// A set's field in a stored ad, as it is read.
    type Stored<'a>: Debug + Default;

    /// The number of values.
    const COUNT: usize;

    /// Returns the value of a code.
    fn from_code(code: &str) -> Option<Self>;
    /// Returns its code in the API.
    fn code(self) -> &'static str;
    /// Returns its place, from 0.
    fn place(self) -> usize;
    /// Returns all values, by place.
    fn all() -> impl Iterator<Item = Self>;
    /// Returns the values in a set, by place.
    fn of(set: &Self::Set) -> impl Iterator<Item = Self>;
    /// Returns true if a value is in a set.
    fn is_in(self, set: &Self::Set) -> bool;
    /// Returns the places of the values in a set.
    fn places(set: &Self::Set) -> Places;
    /// Writes a set as a field, unless it is empty.
    fn encode(set: &Self::Set, tag: u32, ad: &mut Vec<u8>);
    /// Reads the field; `None` if it is of another type.
    fn take<'a>(stored: &mut Self::Stored<'a>, value: Value<'a>) -> Option<()>;
    /// Returns the set that was read; `None` if no set is stored like that.
    fn decode(stored: Self::Stored<'_>) -> Option<Self::Set>;
}

/// The dimension of these values: all that is not the same for each.
pub trait Choice: Codes {
    /// The name of the parameter of a query, and of the field of an ad's JSON.
    const NAME: &'static str;
    /// The tag of the field of a stored ad; no other has or had it.
    const TAG: &'static [u32; 1];
    /// The format level from which on builds know the dimension. The first builds are of level 1.
    const LEVEL: u8 = 1;
    /// The rule of a value in an ad.
    const RULE: &'static str;
    /// The rule of a query's parameter.
    const RULE_ASKED: &'static str;
    /// The name of the schema of the values in the API's document.
    const SCHEMA: &'static str;
    /// What a value is, as a sentence.
    const DESCRIPTION: &'static str;
    /// What a value is in a query, as a sentence.
    const ASKED: &'static str;
    /// What the values are in an ad, as a sentence.
    const TARGETED: &'static str;
    /// Values that an ad may have.
    const EXAMPLES: &'static [&'static str];

    /// Draws a set, for generated ads: 40 % empty; else each value with a chance of a half, at least one.
    fn sample(rng: &mut ChaCha8Rng) -> Self::Set {
        if rng.random_bool(0.4) {
            return Self::Set::default();
        }
        let drawn: Vec<_> = Self::all().filter(|_| rng.random_bool(0.5)).collect();
        if drawn.is_empty() {
            return Self::all().nth(rng.random_range(0..Self::COUNT)).into_iter().collect();
        }
        drawn.into_iter().collect()
    }
}

impl<C: Choice> Dimension for C {
    type Condition = C::Set;
    type Value = C;
    type Draft = C::Set;
    type Stored<'a> = <C as Codes>::Stored<'a>;

    const NAME: &'static str = <C as Choice>::NAME;
    const VALUES: usize = C::COUNT;
    const IS_RANGE: bool = false;
    const FIELDS: &'static [&'static str] = &[<C as Choice>::NAME];
    const TAGS: &'static [u32] = C::TAG;
    const LEVEL: u8 = <C as Choice>::LEVEL;

    fn place(value: C) -> usize {
        Codes::place(value)
    }

    fn places(condition: C::Set) -> Places {
        <C as Codes>::places(&condition)
    }

    fn targets(condition: C::Set, value: C) -> bool {
        value.is_in(&condition)
    }

    fn parse(text: &str) -> Option<C> {
        C::from_code(text)
    }

    fn text(value: C) -> String {
        value.code().to_owned()
    }

    fn rule() -> Cow<'static, str> {
        C::RULE_ASKED.into()
    }

    fn read(fields: &mut Reading) -> C::Set {
        fields.set(<C as Choice>::NAME, C::RULE, C::from_code)
    }

    fn draft(condition: C::Set) -> C::Set {
        condition
    }

    fn patch(draft: &mut C::Set, patch: &C::Set, _: &str) {
        *draft = *patch;
    }

    fn to_json(draft: &C::Set, _: &str) -> Json {
        C::of(draft).map(C::code).collect()
    }

    fn finish(draft: C::Set, _: &mut Vec<Violation>) -> C::Set {
        draft
    }

    fn show<M: SerializeMap>(condition: C::Set, ad: &mut M) -> Result<(), M::Error> {
        let codes: Vec<_> = C::of(&condition).map(C::code).collect();
        if codes.is_empty() { Ok(()) } else { ad.serialize_entry(<C as Choice>::NAME, &codes) }
    }

    fn encode(condition: C::Set, tag: u32, ad: &mut Vec<u8>) {
        <C as Codes>::encode(&condition, tag, ad);
    }

    fn take<'a>(stored: &mut <C as Codes>::Stored<'a>, _: u32, value: Value<'a>) -> Option<()> {
        <C as Codes>::take(stored, value)
    }

    fn decode(stored: <C as Codes>::Stored<'_>) -> Option<C::Set> {
        <C as Codes>::decode(stored)
    }

    fn sample(rng: &mut ChaCha8Rng) -> C::Set {
        <C as Choice>::sample(rng)
    }

    fn document() -> Document {
        Document {
            asked: C::ASKED,
            example: C::EXAMPLES[0].into(),
            values: Values::Codes {
                name: C::SCHEMA,
                description: C::DESCRIPTION,
                codes: C::all().map(C::code).collect(),
            },
            fields: vec![FieldDocument { description: C::TARGETED, example: C::EXAMPLES.into() }],
        }
    }
}
