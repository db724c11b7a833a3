//! JSON in: a client's object becomes a [`Spec`] or a [`Patch`], or a list of everything that is wrong with
//! it. Types are read field by field rather than by one `Deserialize`, because serde stops at the first
//! wrong field and a client wants to hear of all of them at once; the rules are `validator`'s.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use uuid::Uuid;
use validator::{Validate, ValidationError};

use crate::given::Given;
use crate::limits::{
    AGE_MAX, AGE_MIN, CONDITION_VALUES_MAX, CONTENT_CHARS_MAX, CONTENT_CHARS_MIN, TITLE_CHARS_MAX,
    TITLE_CHARS_MIN,
};
use crate::violation::told;
use crate::{
    AgeRange, Country, CountrySet, Gender, GenderSet, Platform, PlatformSet, Spec, Targeting,
    Timestamp, Violation,
};

/// The fields of one JSON object, by name. Any JSON value can be read into it: one that is no object, or that
/// names a field twice, is refused when it is turned into something, together with all else that is wrong.
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

/// A JSON merge patch (RFC 7396) of an ad, with its types and single-field rules already checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    form: Form,
    given: Vec<&'static str>,
}

/// The fields that a client can set, each as far as it was given and of the right type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Validate)]
struct Form {
    #[validate(
        length(min = TITLE_CHARS_MIN, max = TITLE_CHARS_MAX, message = "must have 5 to 100 characters"),
        custom(function = one_line)
    )]
    title: Option<String>,
    #[validate(
        length(min = CONTENT_CHARS_MIN, max = CONTENT_CHARS_MAX, message = "must have 1 to 10,000 characters"),
        custom(function = plain_text)
    )]
    content: Option<String>,
    start_at: Option<Timestamp>,
    end_at: Option<Timestamp>,
    #[validate(range(min = AGE_MIN, max = AGE_MAX, message = "must be a whole number from 1 to 100"))]
    age_start: Option<u8>,
    #[validate(range(min = AGE_MIN, max = AGE_MAX, message = "must be a whole number from 1 to 100"))]
    age_end: Option<u8>,
    gender: GenderSet,
    country: CountrySet,
    platform: PlatformSet,
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
const READ_ONLY: [&str; 4] = ["id", "version", "created_at", "status"];

fn one_line(text: &str) -> Result<(), ValidationError> {
    refuse_characters(text, char::is_control, "must not contain control characters")
}

fn plain_text(text: &str) -> Result<(), ValidationError> {
    let refused = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    refuse_characters(
        text,
        refused,
        "must not contain control characters other than line ends and tabs",
    )
}

fn refuse_characters(
    text: &str,
    refused: fn(char) -> bool,
    message: &'static str,
) -> Result<(), ValidationError> {
    if text.contains(refused) {
        return Err(ValidationError::new("characters").with_message(message.into()));
    }
    Ok(())
}

impl Fields {
    /// Reads a body that holds one JSON value.
    ///
    /// # Errors
    /// The body as a whole is not JSON in UTF-8, or is nested too deep.
    pub fn from_json(body: &[u8]) -> Result<Self, Vec<Violation>> {
        serde_json::from_slice(body).map_err(not_json)
    }

    /// Reads a body that holds an array of at most `items_max` JSON values.
    ///
    /// # Errors
    /// The body as a whole is not such an array, or is empty.
    pub fn many_from_json(body: &[u8], items_max: usize) -> Result<Vec<Self>, Vec<Violation>> {
        let mut json = serde_json::Deserializer::from_slice(body);
        let items = json
            .deserialize_seq(Items(items_max))
            .and_then(|items| json.end().map(|()| items))
            .map_err(not_json)?;
        if items.is_empty() || items.len() > items_max {
            return Err(vec![Violation::pointer("", format!("must have 1 to {items_max} items"))]);
        }
        Ok(items)
    }

    /// The creation that these fields describe.
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

    /// The whole new spec of an existing ad that these fields describe.
    ///
    /// # Errors
    /// Every field that breaks a rule.
    pub fn into_spec(self) -> Result<Spec, Vec<Violation>> {
        let mut reading = Reading::new(self);
        let (form, _) = reading.form();
        let spec = form.finish(&mut reading.violations);
        reading.outcome(spec)
    }

    /// The merge patch that these fields describe.
    ///
    /// # Errors
    /// Every field that breaks a rule whatever it is merged into.
    pub fn into_patch(self) -> Result<Patch, Vec<Violation>> {
        let mut reading = Reading::new(self);
        let (form, given) = reading.form();
        reading.outcome(Some(Patch { form, given }))
    }
}

impl Patch {
    /// What `current` becomes: a field that was given replaces it, null opens it, the others stay.
    ///
    /// # Errors
    /// Every field of the result that breaks a rule.
    pub fn merged(&self, current: &Spec) -> Result<Spec, Vec<Violation>> {
        let mut form = Form::of(current);
        let patch = self.form.clone();
        for name in &self.given {
            match *name {
                "title" => form.title.clone_from(&patch.title),
                "content" => form.content.clone_from(&patch.content),
                "start_at" => form.start_at = patch.start_at,
                "end_at" => form.end_at = patch.end_at,
                "age_start" => form.age_start = patch.age_start,
                "age_end" => form.age_end = patch.age_end,
                "gender" => form.gender = patch.gender,
                "country" => form.country = patch.country,
                "platform" => form.platform = patch.platform,
                other => unreachable!("{other} is not settable"),
            }
        }
        let mut violations = Vec::new();
        form.finish(&mut violations).filter(|_| violations.is_empty()).ok_or(violations)
    }

    /// Bytes that the patch holds, about.
    pub fn bytes(&self) -> usize {
        let text = |field: &Option<String>| field.as_ref().map_or(0, String::len);
        size_of::<Self>() + text(&self.form.title) + text(&self.form.content)
    }
}

impl Form {
    fn of(spec: &Spec) -> Self {
        let Targeting { age, countries, genders, platforms } = spec.targeting;
        Self {
            title: Some(spec.title.clone()),
            content: Some(spec.content.clone()),
            start_at: Some(spec.start_at),
            end_at: Some(spec.end_at),
            age_start: age.map(|range| range.start),
            age_end: age.map(|range| range.end),
            gender: genders,
            country: countries,
            platform: platforms,
        }
    }

    /// Checks what concerns the ad as a whole. A field that is already in `violations` is not reported again.
    fn finish(self, violations: &mut Vec<Violation>) -> Option<Spec> {
        let mut broken = Vec::new();
        for (name, missing) in [
            ("title", self.title.is_none()),
            ("content", self.content.is_none()),
            ("start_at", self.start_at.is_none()),
            ("end_at", self.end_at.is_none()),
        ] {
            if missing {
                broken.push(Violation::field(name, "is required"));
            }
        }
        if let (Some(start), Some(end)) = (self.start_at, self.end_at)
            && start >= end
        {
            broken.push(Violation::field("end_at", "must be after start_at"));
        }
        let age = match (self.age_start, self.age_end) {
            (Some(start), Some(end)) if start > end => {
                broken.push(Violation::field("age_end", "must not be below age_start"));
                None
            }
            (Some(start), Some(end)) => Some(AgeRange { start, end }),
            (None, None) => None,
            (given, _) => {
                let (absent, other) = if given.is_some() {
                    ("age_end", "age_start")
                } else {
                    ("age_start", "age_end")
                };
                broken.push(Violation::field(absent, format!("is required together with {other}")));
                None
            }
        };
        broken.retain(|new| violations.iter().all(|old| old.place != new.place));
        violations.append(&mut broken);
        let targeting = Targeting {
            age,
            countries: self.country,
            genders: self.gender,
            platforms: self.platform,
        };
        let (start_at, end_at) = (self.start_at?, self.end_at?);
        Some(Spec { title: self.title?, content: self.content?, start_at, end_at, targeting })
    }
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

    /// `thing`, if nothing was wrong and nothing is left over.
    fn outcome<T>(mut self, thing: Option<T>) -> Result<T, Vec<Violation>> {
        if self.no_object {
            return Err(vec![Violation::pointer("", "must be a JSON object")]);
        }
        // The id is a known field, but only where an ad is created.
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

/// Reads an object into [`Fields`], and notes of anything else only that it is none.
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
            let Some(known) = SETTABLE.iter().chain(["id"].iter()).find(|known| **known == name)
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
