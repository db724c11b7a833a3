//! What a client gave for one field. Only what can be valid is kept: a body of nested or endless values takes little
//! more memory than its bytes.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::limits::CONDITION_VALUES_MAX;

/// A JSON value, as far as a field can have it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Given {
    /// `null`.
    Null,
    /// A string.
    Text(String),
    /// A number.
    Number(f64),
    /// An array.
    List(Vec<Code>),
    /// An array of more values than a condition may list.
    LongList,
    /// `true` or `false`.
    Flag(bool),
    /// An object.
    Other,
}

impl Given {
    /// Returns the number, if it is whole and small. A JSON number without a fraction is whole, however it is written (18,
    /// 18.0).
    pub(crate) fn small(self) -> Option<u8> {
        match self {
            Self::Number(number) if number.fract() == 0.0 && (0.0..=255.0).contains(&number) => {
                Some(number as u8)
            }
            _ => None,
        }
    }

    /// Returns the number, if it is whole and from `min` to `max`.
    pub(crate) fn whole(self, min: u64, max: u64) -> Option<u64> {
        let Self::Number(number) = self else { return None };
        let is_whole = number.fract() == 0.0 && number >= 0.0;
        is_whole.then_some(number as u64).filter(|number| (min..=max).contains(number))
    }

    /// Returns the flag, if it is one.
    pub(crate) fn flag(self) -> Option<bool> {
        match self {
            Self::Flag(flag) => Some(flag),
            _ => None,
        }
    }

    /// Returns the text, if it is one.
    pub(crate) fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// A value of an array, if it is a string as short as all codes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code([u8; CODE_BYTES]);

const CODE_BYTES: usize = 8;
/// Fills up what a shorter code leaves; no code has it.
const FILL: u8 = 0;

impl Code {
    const NONE: Self = Self([FILL; CODE_BYTES]);

    fn of(text: &str) -> Self {
        let mut bytes = [FILL; CODE_BYTES];
        match bytes.get_mut(..text.len()) {
            Some(start) if !text.as_bytes().contains(&FILL) => {
                start.copy_from_slice(text.as_bytes());
                Self(bytes)
            }
            _ => Self::NONE,
        }
    }

    /// Returns the string; `None` if the value was not a string, or cannot be a code.
    pub(crate) fn text(&self) -> Option<&str> {
        let len = self.0.iter().position(|byte| *byte == FILL).unwrap_or(CODE_BYTES);
        str::from_utf8(&self.0[..len]).ok().filter(|text| !text.is_empty())
    }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Given, E> {
        Ok(Given::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Given, E> {
        Ok(Given::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Given, E> {
        Ok(Given::Number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Given, E> {
        Ok(Given::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Given, E> {
        Ok(Given::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Given, E> {
        Ok(Given::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Given, E> {
        Ok(Given::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Given, A::Error> {
        let mut list = Vec::new();
        while let Some(code) = seq.next_element()? {
            if list.len() == CONDITION_VALUES_MAX {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(Given::LongList);
            }
            list.push(code);
        }
        Ok(Given::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Given::Other)
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(AnyCode)
    }
}

/// Reads a string as a code, and notes of any other value only that it is not a string.
struct AnyCode;

impl<'de> Visitor<'de> for AnyCode {
    type Value = Code;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<Code, E> {
        Ok(Code::of(text))
    }

    fn visit_unit<E>(self) -> Result<Code, E> {
        Ok(Code::NONE)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Code, E> {
        Ok(Code::NONE)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Code, E> {
        Ok(Code::NONE)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Code, E> {
        Ok(Code::NONE)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Code, E> {
        Ok(Code::NONE)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Code, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Code::NONE)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Code, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Code::NONE)
    }
}
