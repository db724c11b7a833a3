//! The visitor's age: an ad targets a range of years.

use std::borrow::Cow;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::ser::SerializeMap;
use serde_json::{Value as Json, json};
use validator::ValidateRange;

use super::dimension::{Dimension, Document, FieldDocument, Places, Values};
use crate::Violation;
use crate::given::Given;
use crate::limits::{AGE_MAX, AGE_MIN};
use crate::number::whole;
use crate::protobuf::{Value, write_number};
use crate::reading::Reading;

/// The dimension of ages, whose values are years.
#[derive(Debug)]
pub enum Age {}

/// An inclusive range of ages, in years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AgeRange {
    /// Youngest age that fits, 1 to 100.
    pub start: u8,
    /// Oldest age that fits, from `start` to 100.
    pub end: u8,
}

/// The ends of a range, as far as they are given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AgeDraft {
    start: Option<u8>,
    end: Option<u8>,
}

const START: &str = "age_start";
const END: &str = "age_end";
const TAG_START: u32 = 8;
const TAG_END: u32 = 9;
const RULE: &str = "must be a whole number from 1 to 100";
// The ages are the bits of a `u128`.
const _: () = assert!(AGE_MIN == 1 && AGE_MAX == 100);

impl Dimension for Age {
    type Condition = Option<AgeRange>;
    type Value = u8;
    type Draft = AgeDraft;
    /// Both ends, or twice 0 if the dimension is open.
    type Stored<'a> = [u32; 2];

    const NAME: &'static str = "age";
    const VALUES: usize = (AGE_MAX - AGE_MIN + 1) as usize;
    const IS_RANGE: bool = true;
    const FIELDS: &'static [&'static str] = &[START, END];
    const TAGS: &'static [u32] = &[TAG_START, TAG_END];

    #[inline]
    fn place(age: u8) -> usize {
        usize::from(age - AGE_MIN)
    }

    #[inline]
    fn places(condition: Option<AgeRange>) -> Places {
        let Some(AgeRange { start, end }) = condition else { return [0; 4] };
        let (first, last) = (start - AGE_MIN, end - AGE_MIN);
        let bits = u128::MAX >> (127 - last) & u128::MAX << first;
        [bits as u64, (bits >> 64) as u64, 0, 0]
    }

    fn targets(condition: Option<AgeRange>, age: u8) -> bool {
        condition.is_some_and(|range| range.start <= age && age <= range.end)
    }

    fn parse(text: &str) -> Option<u8> {
        whole(text, AGE_MIN, AGE_MAX)
    }

    fn text(age: u8) -> String {
        age.to_string()
    }

    fn rule() -> Cow<'static, str> {
        format!("{RULE}, or unknown").into()
    }

    fn read(fields: &mut Reading) -> AgeDraft {
        let [start, end] = [START, END].map(|name| {
            let age = fields.field(name, RULE, Given::small)?;
            // It is kept, to be compared with the other end.
            if !age.validate_range(Some(AGE_MIN), Some(AGE_MAX), None, None) {
                fields.refuse(Violation::field(name, RULE));
            }
            Some(age)
        });
        AgeDraft { start, end }
    }

    fn draft(condition: Option<AgeRange>) -> AgeDraft {
        AgeDraft {
            start: condition.map(|range| range.start),
            end: condition.map(|range| range.end),
        }
    }

    fn patch(draft: &mut AgeDraft, patch: &AgeDraft, field: &str) {
        match field {
            START => draft.start = patch.start,
            _ => draft.end = patch.end,
        }
    }

    fn to_json(draft: &AgeDraft, field: &str) -> Json {
        json!(if field == START { draft.start } else { draft.end })
    }

    fn finish(draft: AgeDraft, broken: &mut Vec<Violation>) -> Option<AgeRange> {
        let (absent, other) = match draft {
            AgeDraft { start: Some(start), end: Some(end) } if start > end => {
                broken.push(Violation::field(END, "must not be below age_start"));
                return None;
            }
            AgeDraft { start: Some(start), end: Some(end) } => {
                return Some(AgeRange { start, end });
            }
            AgeDraft { start: None, end: None } => return None,
            AgeDraft { start: Some(_), end: None } => (END, START),
            AgeDraft { start: None, end: Some(_) } => (START, END),
        };
        broken.push(Violation::field(absent, format!("is required together with {other}")));
        None
    }

    fn show<M: SerializeMap>(condition: Option<AgeRange>, ad: &mut M) -> Result<(), M::Error> {
        let Some(AgeRange { start, end }) = condition else { return Ok(()) };
        ad.serialize_entry(START, &start)?;
        ad.serialize_entry(END, &end)
    }

    fn encode(condition: Option<AgeRange>, tag: u32, ad: &mut Vec<u8>) {
        let Some(AgeRange { start, end }) = condition else { return };
        let age = if tag == TAG_START { start } else { end };
        write_number(tag, age.into(), ad);
    }

    fn take(stored: &mut [u32; 2], tag: u32, value: Value<'_>) -> Option<()> {
        stored[usize::from(tag == TAG_END)] = value.u32()?;
        Some(())
    }

    fn decode(stored: [u32; 2]) -> Option<Option<AgeRange>> {
        let [start, end] = stored;
        let ages = u32::from(AGE_MIN)..=u32::from(AGE_MAX);
        match (start, end) {
            (0, 0) => Some(None),
            _ if start <= end && ages.contains(&start) && ages.contains(&end) => {
                Some(Some(AgeRange { start: start as u8, end: end as u8 }))
            }
            _ => None,
        }
    }

    /// 30 % open; else it starts at 1 to 90 and spans 5 to 40 years, up to 100.
    fn sample(rng: &mut ChaCha8Rng) -> Option<AgeRange> {
        (!rng.random_bool(0.3)).then(|| {
            let start = rng.random_range(1..=90);
            let span = rng.random_range(5..=40);
            AgeRange { start, end: (start + span).min(AGE_MAX) }
        })
    }

    fn document() -> Document {
        let field =
            |description, example: u8| FieldDocument { description, example: json!(example) };
        Document {
            asked: "The visitor's age, in years.",
            example: json!(24),
            values: Values::Whole { min: AGE_MIN.into(), max: AGE_MAX.into() },
            fields: vec![
                field("The youngest age that it is for, in years; together with age_end.", 18),
                field("The oldest age that it is for, in years; not below age_start.", 35),
            ],
        }
    }
}
