//! Reads JSON: a client's object becomes a [`Creation`], a [`Spec`] or a [`Patch`], or a list of everything that is
//! wrong with it. Types are read field by field rather than by one `Deserialize`, because serde stops at the first
//! wrong field and an answer should list all of them.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};
use uuid::Uuid;
use validator::Validate;

use crate::form::{Form, Patch};
use crate::given::Given;
use crate::limits::CONDITION_VALUES_MAX;
use crate::said::Said;
use crate::violation::told;
use crate::{Country, Gender, Platform, Spec, Status, Timestamp, Version, Violation};

/// The fields of one JSON object, by name. Any JSON value can be read into it: a value that is not an object, or that
/// names a field twice, is refused on conversion, together with all other errors.
#[derive(Debug, Default)]
pub struct Fields {
    values: BTreeMap<&'static str, Given>,
    /// The first few fields that there are not.
    unknown: Vec<String>,
    repeated: Vec<&'static str>,
    no_object: bool,
}

/// What a client sends to create an ad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Creation {
    /// The id the client chose, if it chose one.
    pub id: Option<Uuid>,
    /// The ad.
    pub spec: Spec,
}

const SETTABLE: [&str; 9] = [
    "title",
    "content",
    "start_at",
    "end_at",
    "age_start",
    "age_end",
    "gender",
    "country",
    "platform",
];
/// What a client reads of an ad and cannot set; a creation may choose the id.
const READ_ONLY: [&str; 4] = ["id", "version", "created_at", "status"];
/// U+FEFF, which some programs write before UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

impl Creation {
    /// Returns what it says, in one canonical form however it was sent.
    pub fn to_json(&self) -> Value {
        json!([self.id.map(|id| id.to_string()), self.spec.to_json()])
    }
}

impl Fields {
    /// Reads a body that holds one JSON value.
    ///
    /// # Errors
    /// The body as a whole is not JSON in UTF-8, or is nested too deep.
    pub fn from_json(body: &[u8]) -> Result<Self, Vec<Violation>> {
        serde_json::from_slice(unmarked(body)).map_err(not_json)
    }

    /// Reads a body that holds an array of at most `items_max` JSON values.
    ///
    /// # Errors
    /// The body as a whole is not such an array, or is empty.
    pub fn many_from_json(body: &[u8], items_max: usize) -> Result<Vec<Self>, Vec<Violation>> {
        let mut json = serde_json::Deserializer::from_slice(unmarked(body));
        let items = json
            .deserialize_seq(Items(items_max))
            .and_then(|items| json.end().map(|()| items))
            .map_err(not_json)?;
        if items.is_empty() || items.len() > items_max {
            return Err(vec![Violation::pointer("", format!("must have 1 to {items_max} items"))]);
        }
        Ok(items)
    }

    /// Returns the creation that these fields describe.
    ///
    /// # Errors
    /// Every field that breaks a rule.
    pub fn into_creation(self) -> Result<Creation, Vec<Violation>> {
        let mut reading = Reading::new(self);
        let id = reading.id();
        let (form, _) = reading.form();
        let spec = form.finish(&mut reading.violations);
        reading.outcome(spec).map(|spec| Creation { id, spec })
    }

    /// Returns the whole new spec of an existing ad that these fields describe, and what they say about its read-only
    /// fields.
    ///
    /// # Errors
    /// Every field that breaks a rule.
    pub fn into_spec(self) -> Result<(Spec, Said), Vec<Violation>> {
        let mut reading = Reading::new(self);
        let said = reading.said();
        let (form, _) = reading.form();
        let spec = form.finish(&mut reading.violations);
        reading.outcome(spec).map(|spec| (spec, said))
    }

    /// Returns the merge patch that these fields describe, and what they say about the ad's read-only fields.
    ///
    /// # Errors
    /// Every field that breaks a rule whatever it is merged into.
    pub fn into_patch(self) -> Result<(Patch, Said), Vec<Violation>> {
        let mut reading = Reading::new(self);
        let said = reading.said();
        let (form, given) = reading.form();
        reading.outcome(Some((Patch { form, given }, said)))
    }
}

fn unmarked(body: &[u8]) -> &[u8] {
    body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body)
}

/// The reading of one object: what is left of its fields, and what was wrong so far.
struct Reading {
    values: BTreeMap<&'static str, Given>,
    unknown: Vec<String>,
    violations: Vec<Violation>,
    no_object: bool,
}

impl Reading {
    fn new(fields: Fields) -> Self {
        let twice = |name: &&str| Violation::field(name, "is given more than once");
        Self {
            violations: fields.repeated.iter().map(twice).collect(),
            values: fields.values,
            unknown: fields.unknown,
            no_object: fields.no_object,
        }
    }

    /// The settable fields, and the names of those that were given (null included).
    fn form(&mut self) -> (Form, Vec<&'static str>) {
        let given = SETTABLE.into_iter().filter(|name| self.values.contains_key(*name)).collect();
        let form = Form {
            title: self.field("title", "must be a string", text),
            content: self.field("content", "must be a string", text),
            start_at: self.stamp("start_at"),
            end_at: self.stamp("end_at"),
            age_start: self.field("age_start", "must be a whole number from 1 to 100", age),
            age_end: self.field("age_end", "must be a whole number from 1 to 100", age),
            gender: self.set("gender", "must be M or F", Gender::from_code),
            country: self.set(
                "country",
                "must be an ISO 3166-1 alpha-2 code in capitals",
                Country::from_code,
            ),
            platform: self.set("platform", "must be android, ios or web", Platform::from_code),
        };
        if let Err(errors) = form.validate() {
            for (name, errors) in errors.field_errors() {
                let details = errors.iter().filter_map(|error| error.message.as_deref());
                self.violations.extend(details.map(|detail| Violation::field(&name, detail)));
            }
        }
        (form, given)
    }

    /// Returns `thing`, if nothing was wrong and no field is left over.
    fn outcome<T>(mut self, thing: Option<T>) -> Result<T, Vec<Violation>> {
        if self.no_object {
            return Err(vec![Violation::pointer("", "must be a JSON object")]);
        }
        // Read-only fields are known names, but a creation must not have them: no ad exists whose values they could be.
        let left = self.values.keys().map(|name| (*name).to_owned());
        for name in &left.chain(self.unknown).collect::<Vec<_>>() {
            let read_only = READ_ONLY.contains(&name.as_str());
            let detail = if read_only { "is read-only here" } else { "is not a known field" };
            self.violations.push(Violation::field(name, detail));
        }
        self.violations.sort();
        self.violations.dedup();
        thing.filter(|_| self.violations.is_empty()).ok_or(self.violations)
    }

    fn id(&mut self) -> Option<Uuid> {
        let hyphenated = |value: Given| match value {
            Given::Text(text) if text.len() == 36 => Uuid::try_parse(&text).ok(),
            _ => None,
        };
        self.field("id", "must be a UUID like 6f9619ff-8b86-4d01-b42d-00c04fc964ff", hyphenated)
    }

    /// Returns what the body says about the fields that cannot be set. A null says nothing.
    fn said(&mut self) -> Said {
        let whole = |value: Given| match value {
            Given::Number(number) if number.fract() == 0.0 && number >= 0.0 => {
                Some(number as Version)
            }
            _ => None,
        };
        let status = |value: Given| Status::from_code(&text(value)?);
        Said {
            id: self.id(),
            version: self.field("version", "must be a whole number", whole),
            created_at: self.stamp("created_at"),
            status: self.field("status", "must be scheduled, active or ended", status),
        }
    }

    fn stamp(&mut self, name: &str) -> Option<Timestamp> {
        let text = self.field(name, "must be a string", text)?;
        Timestamp::parse(&text)
            .map_err(|detail| self.violations.push(Violation::field(name, detail)))
            .ok()
    }

    fn field<T>(
        &mut self,
        name: &str,
        rule: &str,
        read: impl FnOnce(Given) -> Option<T>,
    ) -> Option<T> {
        match self.values.remove(name)? {
            Given::Null => None,
            value => {
                let read = read(value);
                if read.is_none() {
                    self.violations.push(Violation::field(name, rule));
                }
                read
            }
        }
    }

    fn set<T, S: FromIterator<T>>(
        &mut self,
        name: &str,
        rule: &str,
        read: fn(&str) -> Option<T>,
    ) -> S {
        let values = match self.values.remove(name) {
            None | Some(Given::Null) => Vec::new(),
            Some(Given::List(values)) => values,
            Some(Given::LongList) => {
                let detail = format!("must not have more than {CONDITION_VALUES_MAX} values");
                self.violations.push(Violation::field(name, detail));
                Vec::new()
            }
            Some(_) => {
                self.violations.push(Violation::field(name, "must be an array of strings"));
                Vec::new()
            }
        };
        let mut broken = Vec::new();
        let set = values
            .iter()
            .enumerate()
            .filter_map(|(at, value)| {
                let read = value.text().and_then(read);
                if read.is_none() && broken.len() < BROKEN_VALUES_SHOWN {
                    broken.push(Violation::pointer(format!("/{name}/{at}"), rule));
                }
                read
            })
            .collect();
        self.violations.append(&mut broken);
        set
    }
}

/// An array of a hundred thousand wrong values is answered with the first few.
const BROKEN_VALUES_SHOWN: usize = 16;
/// So is an object of as many unknown fields.
const FIELDS_SHOWN: usize = 16;

fn text(value: Given) -> Option<String> {
    match value {
        Given::Text(text) => Some(text),
        _ => None,
    }
}

/// A JSON number without a fraction is whole, however it is written (18, 18.0).
fn age(value: Given) -> Option<u8> {
    match value {
        Given::Number(number) if number.fract() == 0.0 && (0.0..=255.0).contains(&number) => {
            Some(number as u8)
        }
        _ => None,
    }
}

fn not_json(error: serde_json::Error) -> Vec<Violation> {
    let detail = format!("is not acceptable JSON: {}", told(&error.to_string()));
    vec![Violation::pointer("", detail)]
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(AnyValue)
    }
}

/// Reads an object into [`Fields`], and notes of any other value only that it is not an object.
struct AnyValue;

const NO_OBJECT: Fields =
    Fields { values: BTreeMap::new(), unknown: Vec::new(), repeated: Vec::new(), no_object: true };

impl<'de> Visitor<'de> for AnyValue {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key::<String>()? {
            let Some(known) = SETTABLE.iter().chain(&READ_ONLY).find(|known| **known == name)
            else {
                map.next_value::<IgnoredAny>()?;
                if fields.unknown.len() < FIELDS_SHOWN {
                    fields.unknown.push(name);
                }
                continue;
            };
            if fields.values.insert(known, map.next_value()?).is_some()
                && !fields.repeated.contains(known)
            {
                fields.repeated.push(known);
            }
        }
        Ok(fields)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Fields, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(NO_OBJECT)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Fields, E> {
        Ok(NO_OBJECT)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Fields, E> {
        Ok(NO_OBJECT)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Fields, E> {
        Ok(NO_OBJECT)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Fields, E> {
        Ok(NO_OBJECT)
    }

    fn visit_str<E>(self, _: &str) -> Result<Fields, E> {
        Ok(NO_OBJECT)
    }

    fn visit_unit<E>(self) -> Result<Fields, E> {
        Ok(NO_OBJECT)
    }
}

/// Reads an array of values, and stops keeping them one past the most that are allowed, so that a body of
/// millions of tiny items costs no more memory than its bytes.
struct Items(usize);

impl<'de> Visitor<'de> for Items {
    type Value = Vec<Fields>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a JSON array of 1 to {} objects", self.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Fields>, A::Error> {
        let mut items = Vec::new();
        while items.len() <= self.0 {
            match seq.next_element()? {
                Some(item) => items.push(item),
                None => return Ok(items),
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(items)
    }
}
