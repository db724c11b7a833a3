//! What clients send of pools and reservations: the fields of one JSON object become what is asked for, or a list of
//! everything that is wrong with them. The rules are those of ads: `validator` has the ones of a single field.

use std::time::Duration;

use serde_json::{Map, Value, json};
use uuid::Uuid;
use validator::Validate;

use super::hold::{Expires, Hold};
use super::pool::{Pacing, PoolSpec};
use crate::dimensions::{self, Drafts};
use crate::fields::{Fields, Object};
use crate::form::{not_blank, one_line};
use crate::given::Given;
use crate::limits::{
    CAPACITY_MAX, EXPIRES_IN_MAX, EXPIRES_IN_MIN, POOL_NAME_CHARS_MAX, POOL_NAME_CHARS_MIN,
};
use crate::{Said, Timestamp, Violation};

const CAPACITY_RULE: &str = "must be a whole number from 0 to 1,000,000,000,000,000";
const AMOUNT_RULE: &str = "must be a whole number from 1 to 1,000,000,000,000,000";
const EXPIRES_IN_RULE: &str = "must be a whole number of seconds from 1 to 31622400";

/// What clients can set of a pool, beside the fields of the dimensions.
const OWN: [&str; 6] = ["name", "capacity", "start_at", "end_at", "pacing", "paused"];
/// What a client reads of a pool and cannot set, and what changes with every hold. A client that sends back what it has
/// read sends these too, and they may have changed meanwhile, so that nothing is made of them.
const MOVING: [&str; 8] =
    ["reserved", "allotted", "used", "lost", "available", "lapsed", "status", "as_of"];

/// All that clients can set of a pool.
fn settable() -> impl Iterator<Item = &'static str> {
    OWN.into_iter().chain(dimensions::FIELDS.into_iter().flatten().copied())
}

/// What a client sends to create a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolCreation {
    /// The id the client chose, if it chose one.
    pub id: Option<Uuid>,
    /// The pool.
    pub spec: PoolSpec,
}

/// What a client sends to reserve units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservationRequest {
    /// The id the client chose, if it chose one.
    pub id: Option<Uuid>,
    /// The pool.
    pub pool: Uuid,
    /// How many units.
    pub amount: u64,
    /// For how long; without end if `None`.
    pub expires_in: Option<Duration>,
}

/// What a client sends to change a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservationChange {
    /// How many units it has from now on; as many as before if `None`.
    pub amount: Option<u64>,
    /// When it lapses from now on; as before if `None`.
    pub expires: Option<Expires>,
    /// What is said of its read-only fields.
    pub said: ReservationSaid,
}

/// What a body says about the fields of a reservation that it cannot set; each is optional. They are accepted if they are
/// true.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReservationSaid {
    /// Its id, its version and when it was given.
    pub of_any: Said,
    /// Its pool.
    pub pool: Option<Uuid>,
    /// When it lapses.
    pub expires_at: Option<Timestamp>,
}

impl ReservationSaid {
    /// Returns every field that is untrue for a reservation.
    pub fn violations(&self, hold: &Hold) -> Vec<Violation> {
        let mut untrue = self.of_any.untrue(hold.id, hold.version, hold.created_at);
        if self.pool.is_some_and(|pool| pool != hold.pool) {
            untrue.push(Violation::field("pool", format!("is read-only, and is {}", hold.pool)));
        }
        if self.expires_at.is_some() && self.expires_at != hold.expires_at {
            let detail = "can be set to null only; expires_in sets it to a time from now on";
            untrue.push(Violation::field("expires_at", detail));
        }
        untrue
    }
}

/// A JSON merge patch (RFC 7396) of a pool, with its types and single-field rules already checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolPatch {
    form: Form,
    /// The fields that were given, null included.
    given: Vec<&'static str>,
}

/// What clients can set of a pool, each as far as it was given and of the right type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Validate)]
struct Form {
    #[validate(
        length(min = POOL_NAME_CHARS_MIN, max = POOL_NAME_CHARS_MAX, message = "must have 1 to 100 characters"),
        custom(function = one_line),
        custom(function = not_blank)
    )]
    name: Option<String>,
    capacity: Option<u64>,
    start_at: Option<Timestamp>,
    end_at: Option<Timestamp>,
    pacing: Option<Pacing>,
    paused: Option<bool>,
    conditions: Drafts,
}

impl Fields {
    /// Returns the creation of a pool that these fields describe.
    ///
    /// # Errors
    /// Every field that breaks a rule.
    pub fn into_pool_creation(self) -> Result<PoolCreation, Vec<Violation>> {
        let mut object = Object::new(self);
        let id = object.id();
        for name in MOVING {
            if object.reading.values.remove(name).is_some() {
                object.reading.refuse(Violation::field(name, "is read-only here"));
            }
        }
        let (form, _) = form(&mut object);
        let spec = form.finish(&mut object.reading.violations);
        object.outcome(spec).map(|spec| PoolCreation { id, spec })
    }

    /// Returns the whole new spec of an existing pool that these fields describe, and what they say about its id, its
    /// version and its creation.
    ///
    /// # Errors
    /// Every field that breaks a rule.
    pub fn into_pool_spec(self) -> Result<(PoolSpec, Said), Vec<Violation>> {
        let mut object = Object::new(self);
        let said = said(&mut object);
        let (form, _) = form(&mut object);
        let spec = form.finish(&mut object.reading.violations);
        object.outcome(spec).map(|spec| (spec, said))
    }

    /// Returns the merge patch of a pool that these fields describe, and what they say about its id, its version and its
    /// creation.
    ///
    /// # Errors
    /// Every field that breaks a rule whatever it is merged into.
    pub fn into_pool_patch(self) -> Result<(PoolPatch, Said), Vec<Violation>> {
        let mut object = Object::new(self);
        let said = said(&mut object);
        let (form, given) = form(&mut object);
        object.outcome(Some((PoolPatch { form, given }, said)))
    }

    /// Returns the reservation that these fields ask for.
    ///
    /// # Errors
    /// Every field that breaks a rule.
    pub fn into_reservation(self) -> Result<ReservationRequest, Vec<Violation>> {
        let mut object = Object::new(self);
        let (id, pool) = (object.id(), object.uuid("pool"));
        let (amount, expires_in) = (amount(&mut object), expires_in(&mut object));
        for (name, missing) in [("pool", pool.is_none()), ("amount", amount.is_none())] {
            require(&mut object, name, missing);
        }
        let asked = pool.zip(amount);
        let asked = asked.map(|(pool, amount)| ReservationRequest { id, pool, amount, expires_in });
        object.outcome(asked)
    }

    /// Returns the change of a reservation that these fields ask for: another `amount`, `expires_at: null` to confirm it, or
    /// `expires_in` to renew it.
    ///
    /// # Errors
    /// Every field that breaks a rule.
    pub fn into_reservation_change(self) -> Result<ReservationChange, Vec<Violation>> {
        let mut object = Object::new(self);
        let (of_any, pool) = (object.said_of_any(), object.uuid("pool"));
        // It changes by itself, so that nothing is made of it.
        drop(object.reading.values.remove("status"));
        let amount = amount(&mut object);
        let renewed = expires_in(&mut object).map(Expires::In);
        let confirms = object.reading.values.get("expires_at") == Some(&Given::Null);
        let expires_at = object.reading.stamp("expires_at");
        if confirms && renewed.is_some() {
            let detail = "must not be given with expires_at: null, which confirms";
            object.reading.refuse(Violation::field("expires_in", detail));
        }
        let expires = renewed.or(confirms.then_some(Expires::Never));
        let said = ReservationSaid { of_any, pool, expires_at };
        object.outcome(Some(ReservationChange { amount, expires, said }))
    }
}

fn amount(object: &mut Object) -> Option<u64> {
    object.reading.field("amount", AMOUNT_RULE, |value| value.whole(1, CAPACITY_MAX))
}

fn expires_in(object: &mut Object) -> Option<Duration> {
    let seconds = |value: Given| value.whole(EXPIRES_IN_MIN, EXPIRES_IN_MAX);
    object.reading.field("expires_in", EXPIRES_IN_RULE, seconds).map(Duration::from_secs)
}

/// Refuses the absence of a field, unless something else was wrong with it.
fn require(object: &mut Object, name: &str, missing: bool) {
    let absent = Violation::field(name, "is required");
    let known = &object.reading.violations;
    if missing && known.iter().all(|violation| violation.place != absent.place) {
        object.reading.refuse(absent);
    }
}

fn said(object: &mut Object) -> Said {
    MOVING.iter().for_each(|name| drop(object.reading.values.remove(name)));
    object.said_of_any()
}

/// The settable fields, and the names of those that were given (null included).
fn form(object: &mut Object) -> (Form, Vec<&'static str>) {
    let reading = &mut object.reading;
    let given = settable().filter(|name| reading.values.contains_key(*name)).collect();
    let pacing = |value: Given| Pacing::from_code(&value.text()?);
    let form = Form {
        name: reading.text("name"),
        capacity: reading.field("capacity", CAPACITY_RULE, |value| value.whole(0, CAPACITY_MAX)),
        start_at: reading.stamp("start_at"),
        end_at: reading.stamp("end_at"),
        pacing: reading.field("pacing", "must be asap or even", pacing),
        paused: reading.field("paused", "must be true or false", Given::flag),
        conditions: Drafts::read(reading),
    };
    object.validated(&form);
    (form, given)
}

impl Form {
    fn of(spec: &PoolSpec) -> Self {
        Self {
            name: Some(spec.name.clone()),
            capacity: Some(spec.capacity),
            start_at: spec.start_at,
            end_at: spec.end_at,
            pacing: Some(spec.pacing),
            paused: Some(spec.paused),
            conditions: Drafts::of(&spec.targeting),
        }
    }

    /// Checks the rules that concern the pool as a whole. A field that is already in `violations` is not reported again.
    fn finish(self, violations: &mut Vec<Violation>) -> Option<PoolSpec> {
        let mut broken = Vec::new();
        for (name, missing) in
            [("name", self.name.is_none()), ("capacity", self.capacity.is_none())]
        {
            if missing {
                broken.push(Violation::field(name, "is required"));
            }
        }
        let (start_at, end_at) = (self.start_at, self.end_at);
        if start_at.zip(end_at).is_some_and(|(start, end)| start >= end) {
            broken.push(Violation::field("end_at", "must be after start_at"));
        }
        let pacing = self.pacing.unwrap_or_default();
        let is_open = |at: Option<_>, name| {
            let place = Violation::field(name, "").place;
            at.is_none() && violations.iter().all(|old| old.place != place)
        };
        if pacing == Pacing::Even && (is_open(start_at, "start_at") || is_open(end_at, "end_at")) {
            broken.push(Violation::field("pacing", "can be even only with start_at and end_at"));
        }
        let targeting = self.conditions.finish(&mut broken);
        broken.retain(|new| violations.iter().all(|old| old.place != new.place));
        violations.append(&mut broken);
        let paused = self.paused.unwrap_or_default();
        let (name, capacity) = (self.name?, self.capacity?);
        Some(PoolSpec { name, capacity, start_at, end_at, pacing, paused, targeting })
    }
}

impl PoolPatch {
    /// Returns what `current` becomes: a field that was given replaces it, null opens it, the others stay.
    ///
    /// # Errors
    /// Every field of the result that breaks a rule.
    pub fn merged(&self, current: &PoolSpec) -> Result<PoolSpec, Vec<Violation>> {
        let mut form = Form::of(current);
        let patch = self.form.clone();
        for name in &self.given {
            match *name {
                "name" => form.name.clone_from(&patch.name),
                "capacity" => form.capacity = patch.capacity,
                "start_at" => form.start_at = patch.start_at,
                "end_at" => form.end_at = patch.end_at,
                "pacing" => form.pacing = patch.pacing,
                "paused" => form.paused = patch.paused,
                condition => form.conditions.patch(&patch.conditions, condition),
            }
        }
        let mut violations = Vec::new();
        form.finish(&mut violations).filter(|_| violations.is_empty()).ok_or(violations)
    }

    /// Bytes that the patch holds, about.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.form.name.as_ref().map_or(0, String::len)
    }

    /// Returns true if it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// Returns the fields that were given, in one canonical form however they were sent.
    pub fn to_json(&self) -> Value {
        let Form { name, capacity, start_at, end_at, pacing, paused, conditions } = &self.form;
        let stamp = |stamp: &Option<Timestamp>| json!(stamp.map(|stamp| stamp.to_string()));
        let value = |field: &str| match field {
            "name" => json!(name),
            "capacity" => json!(capacity),
            "start_at" => stamp(start_at),
            "end_at" => stamp(end_at),
            "pacing" => json!(pacing.map(Pacing::code)),
            "paused" => json!(paused),
            condition => json!(conditions.to_json(condition)),
        };
        let fields = self.given.iter().map(|name| ((*name).to_owned(), value(name)));
        fields.collect::<Map<_, _>>().into()
    }
}
