//! Reads JSON: a client's object becomes a [`Creation`], a [`Spec`] or a [`Patch`], or a list of everything that is
//! wrong with it; `capacity::form` reads pools and reservations of it. Types are read field by field rather than by one
//! `Deserialize`, because serde stops at the first wrong field and an answer should list all of them.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};
use uuid::Uuid;
use validator::Validate;

use crate::dimensions::{self, Drafts};
use crate::form::{Form, Patch};
use crate::given::Given;
use crate::limits::{WEIGHT_DEFAULT, WEIGHT_MAX};
use crate::reading::Reading;
use crate::said::Said;
use crate::violation::told;
use crate::{Spec, Status, Version, Violation};

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

const WEIGHT_RULE: &str = "must be a whole number from 1 to 1,000,000";

/// What a client can set beside the fields of the dimensions.
const OWN: &[&str] =
    &["title", "content", "start_at", "end_at", "pool", "weight", "link", "paused"];
/// What a client reads of an ad and cannot set; a creation may choose the id.
const READ_ONLY: [&str; 4] = ["id", "version", "created_at", "status"];
/// The names that objects other than ads have.
const OTHERS: &[&str] = &[
    "name",
    "capacity",
    "pacing",
    "reserved",
    "allotted",
    "used",
    "lost",
    "available",
    "lapsed",
    "as_of",
    "amount",
    "expires_at",
    "expires_in",
];
/// All that a client can set.
fn settable() -> impl Iterator<Item = &'static str> {
    OWN.iter().chain(dimensions::FIELDS.into_iter().flatten()).copied()
}

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
        let mut object = Object::new(self);
        let id = object.id();
        let (form, _) = object.form();
        let spec = form.finish(&mut object.reading.violations);
        object.outcome(spec).map(|spec| Creation { id, spec })
    }

    /// Returns the whole new spec of an existing ad that these fields describe, and what they say about its read-only
    /// fields.
    ///
    /// # Errors
    /// Every field that breaks a rule.
    pub fn into_spec(self) -> Result<(Spec, Said), Vec<Violation>> {
        let mut object = Object::new(self);
        let said = object.said();
        let (form, _) = object.form();
        let spec = form.finish(&mut object.reading.violations);
        object.outcome(spec).map(|spec| (spec, said))
    }

    /// Returns the merge patch that these fields describe, and what they say about the ad's read-only fields.
    ///
    /// # Errors
    /// Every field that breaks a rule whatever it is merged into.
    pub fn into_patch(self) -> Result<(Patch, Said), Vec<Violation>> {
        let mut object = Object::new(self);
        let said = object.said();
        let (form, given) = object.form();
        object.outcome(Some((Patch { form, given }, said)))
    }
}

fn unmarked(body: &[u8]) -> &[u8] {
    body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body)
}

/// One object that is being read, and the names in it that cannot be.
pub(crate) struct Object {
    pub(crate) reading: Reading,
    unknown: Vec<String>,
    no_object: bool,
}

impl Object {
    pub(crate) fn new(fields: Fields) -> Self {
        let twice = |name: &&str| Violation::field(name, "is given more than once");
        let violations = fields.repeated.iter().map(twice).collect();
        Self {
            reading: Reading { values: fields.values, violations },
            unknown: fields.unknown,
            no_object: fields.no_object,
        }
    }

    /// The settable fields, and the names of those that were given (null included).
    fn form(&mut self) -> (Form, Vec<&'static str>) {
        let values = &self.reading.values;
        let given = settable().filter(|name| values.contains_key(*name)).collect();
        let pool = self.uuid("pool");
        let reading = &mut self.reading;
        let weight = |value: Given| value.whole(u64::from(WEIGHT_DEFAULT), u64::from(WEIGHT_MAX));
        let weight = reading.field("weight", WEIGHT_RULE, weight);
        let form = Form {
            title: reading.text("title"),
            content: reading.text("content"),
            start_at: reading.stamp("start_at"),
            end_at: reading.stamp("end_at"),
            pool,
            weight: weight.and_then(|weight| u32::try_from(weight).ok()),
            link: reading.text("link"),
            paused: reading.field("paused", "must be true or false", Given::flag),
            conditions: Drafts::read(reading),
        };
        self.validated(&form);
        (form, given)
    }

    /// Adds what the rules of single fields refuse.
    pub(crate) fn validated(&mut self, form: &impl Validate) {
        if let Err(errors) = form.validate() {
            for (name, errors) in errors.field_errors() {
                let details = errors.iter().filter_map(|error| error.message.as_deref());
                details.for_each(|detail| self.reading.refuse(Violation::field(&name, detail)));
            }
        }
    }

    /// Returns `thing`, if nothing was wrong and no field is left over.
    pub(crate) fn outcome<T>(self, thing: Option<T>) -> Result<T, Vec<Violation>> {
        let Reading { values, mut violations } = self.reading;
        if self.no_object {
            return Err(vec![Violation::pointer("", "must be a JSON object")]);
        }
        // Read-only fields are known names, but a creation must not have them: no ad exists whose values they could be.
        let left = values.keys().map(|name| (*name).to_owned());
        for name in &left.chain(self.unknown).collect::<Vec<_>>() {
            let read_only = READ_ONLY.contains(&name.as_str());
            let detail = if read_only { "is read-only here" } else { "is not a known field" };
            violations.push(Violation::field(name, detail));
        }
        violations.sort();
        violations.dedup();
        thing.filter(|_| violations.is_empty()).ok_or(violations)
    }

    pub(crate) fn id(&mut self) -> Option<Uuid> {
        self.uuid("id")
    }

    pub(crate) fn uuid(&mut self, name: &str) -> Option<Uuid> {
        let hyphenated = |value: Given| match value {
            Given::Text(text) if text.len() == 36 => Uuid::try_parse(&text).ok(),
            _ => None,
        };
        let rule = "must be a UUID like 6f9619ff-8b86-4d01-b42d-00c04fc964ff";
        self.reading.field(name, rule, hyphenated)
    }

    /// Returns what the body says about the fields that cannot be set. A null says nothing.
    fn said(&mut self) -> Said {
        let status = |value: Given| Status::from_code(&value.text()?);
        let status =
            self.reading.field("status", "must be scheduled, active, paused or ended", status);
        Said { status, ..self.said_of_any() }
    }

    /// Returns what the body says about the fields that all objects have and no client can set.
    pub(crate) fn said_of_any(&mut self) -> Said {
        let whole = |value: Given| value.whole(0, Version::MAX);
        let id = self.id();
        let reading = &mut self.reading;
        Said {
            id,
            version: reading.field("version", "must be a whole number", whole),
            created_at: reading.stamp("created_at"),
            status: None,
        }
    }
}

/// An object of a hundred thousand unknown fields is answered with the first few.
const FIELDS_SHOWN: usize = 16;

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
            let mut all = settable().chain(READ_ONLY).chain(OTHERS.iter().copied());
            let Some(known) = all.find(|known| *known == name) else {
                map.next_value::<IgnoredAny>()?;
                if fields.unknown.len() < FIELDS_SHOWN {
                    fields.unknown.push(name);
                }
                continue;
            };
            if fields.values.insert(known, map.next_value()?).is_some()
                && !fields.repeated.contains(&known)
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
