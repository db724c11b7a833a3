//! What a dimension is made of. All that there is to say of one stands in its own file, as an implementation of
//! [`Dimension`]; everything else walks the list of them.

use std::borrow::Cow;
use std::fmt::Debug;
use std::hash::Hash;

use rand_chacha::ChaCha8Rng;
use serde::ser::SerializeMap;
use serde_json::Value as Json;

use crate::Violation;
use crate::protobuf::Value;
use crate::reading::Reading;

/// One bit for each value of a dimension, by place, the lowest for the first.
pub type Places = [u64; 4];

/// A respect in which an ad can choose its visitors.
pub trait Dimension: Debug + Send + Sync + 'static {
    /// What an ad asks of its visitors; the default leaves the dimension open, for anyone.
    type Condition: Copy + Debug + Default + Eq + Hash + Send + Sync;
    /// What a visitor is.
    type Value: Copy + Debug + Eq + Hash + Send + Sync;
    /// A condition as a client gives it, field by field.
    type Draft: Clone + Debug + Default + Eq;
    /// A condition's fields in a stored ad, as they are read.
    type Stored<'a>: Debug + Default;

    /// The name of the parameter of a query.
    const NAME: &'static str;
    /// The number of values.
    const VALUES: usize;
    /// Whether a condition is a range of values, and not any set of them.
    const IS_RANGE: bool;
    /// The names of the fields of an ad's JSON.
    const FIELDS: &'static [&'static str];
    /// The tags of the fields of a stored ad, ascending; no other field has or had one of them.
    const TAGS: &'static [u32];
    /// The format level from which on builds know the dimension. The first builds are of level 1.
    const LEVEL: u8 = 1;

    /// Returns true if a condition is for anyone.
    fn is_open(condition: Self::Condition) -> bool {
        condition == Self::Condition::default()
    }
    /// Returns the place of a value, from 0.
    fn place(value: Self::Value) -> usize;
    /// Returns the places of the values that fit; none if the dimension is open.
    fn places(condition: Self::Condition) -> Places;
    /// Returns true if a condition that is not open fits a value. What [`Dimension::places`] says must agree.
    fn targets(condition: Self::Condition, value: Self::Value) -> bool;

    /// Returns the value that a query's parameter has.
    fn parse(text: &str) -> Option<Self::Value>;
    /// Returns how a query's parameter has a value.
    fn text(value: Self::Value) -> String;
    /// Returns the rule that a parameter breaks if it has no value, as a clause: "must be M, F or unknown".
    fn rule() -> Cow<'static, str>;

    /// Takes its fields from a client's object.
    fn read(fields: &mut Reading) -> Self::Draft;
    /// Returns the draft that leads to a condition.
    fn draft(condition: Self::Condition) -> Self::Draft;
    /// Takes over one of the fields of a patch.
    fn patch(draft: &mut Self::Draft, patch: &Self::Draft, field: &str);
    /// Returns one of the fields of a patch.
    fn to_json(draft: &Self::Draft, field: &str) -> Json;
    /// Returns the condition, and adds what its fields break together.
    fn finish(draft: Self::Draft, broken: &mut Vec<Violation>) -> Self::Condition;
    /// Writes the fields of an ad's JSON; those of an open dimension are left out.
    ///
    /// # Errors
    /// The map's.
    fn show<M: SerializeMap>(condition: Self::Condition, ad: &mut M) -> Result<(), M::Error>;

    /// Writes the field of a tag, unless it has protobuf's default.
    fn encode(condition: Self::Condition, tag: u32, ad: &mut Vec<u8>);
    /// Reads the field of a tag; `None` if it is of another type.
    fn take<'a>(stored: &mut Self::Stored<'a>, tag: u32, value: Value<'a>) -> Option<()>;
    /// Returns the condition of all fields that were read; `None` if no condition is stored like that.
    fn decode(stored: Self::Stored<'_>) -> Option<Self::Condition>;

    /// Draws a condition, for generated ads.
    fn sample(rng: &mut ChaCha8Rng) -> Self::Condition;

    /// Returns what the API's document says.
    fn document() -> Document;
}

/// What the API's document says of a dimension.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// What a value is in a query, as a sentence.
    pub asked: &'static str,
    /// A value in a query.
    pub example: Json,
    /// Which values there are.
    pub values: Values,
    /// The fields of an ad, in the order of [`Dimension::FIELDS`]: each has one value if the condition is a range, and
    /// else a set of them.
    pub fields: Vec<FieldDocument>,
}

/// Which values a dimension has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Values {
    /// Whole numbers.
    Whole {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// Codes.
    Codes {
        /// The name of their schema.
        name: &'static str,
        /// What a code is, as a sentence.
        description: &'static str,
        /// All of them, by place.
        codes: Vec<&'static str>,
    },
}

/// What the API's document says of a field of an ad.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldDocument {
    /// What it is, as a sentence.
    pub description: &'static str,
    /// What it may be.
    pub example: Json,
}
