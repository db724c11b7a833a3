//! JSON out: how pools and reservations are shown to clients.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use super::form::{PoolCreation, ReservationChange, ReservationRequest, ReservationSaid};
use super::hold::{Expires, Hold};
use super::pool::{Balance, Pool, PoolSpec};
use crate::Timestamp;
use crate::planted::Planted;

/// A pool as an answer shows it.
#[derive(Debug, Clone, Copy)]
pub struct PoolBody<'a> {
    /// The pool.
    pub pool: &'a Pool,
    /// When it is looked at, and how many reserved units have lapsed by then: they are available, whether or not they were
    /// returned. `None` shows only what an entry has left.
    pub seen: Option<(Timestamp, u64)>,
}

/// A reservation as an answer shows it.
#[derive(Debug, Clone, Copy)]
pub struct ReservationBody<'a> {
    /// The reservation.
    pub hold: &'a Hold,
    /// When it is looked at. `None` shows only what an entry has left.
    pub seen: Option<Timestamp>,
}

/// A hold, a client's or a replica's, as an entry has left it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HoldBody<'a>(pub(crate) &'a Hold);

/// What a client has set of a pool.
struct SpecBody<'a>(&'a PoolSpec);

impl PoolBody<'_> {
    /// Returns how many units of the pool can be had.
    pub fn available(&self) -> u64 {
        self.pool.spec.available(self.balance())
    }

    fn balance(&self) -> Balance {
        let seen = self.seen.filter(|_| !Planted::LapsedUnavailable.is_there());
        let lapsed = seen.map_or(0, |(_, lapsed)| lapsed);
        let Balance { reserved, .. } = self.pool.balance;
        Balance { reserved: reserved.saturating_sub(lapsed), ..self.pool.balance }
    }
}

impl Serialize for PoolBody<'_> {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        let Pool { id, version, created_at, spec, .. } = self.pool;
        let Balance { reserved, allotted, used, lost } = self.balance();
        let mut pool = json.serialize_map(None)?;
        pool.serialize_entry("id", &id.to_string())?;
        pool.serialize_entry("version", version)?;
        pool.serialize_entry("created_at", &created_at.to_string())?;
        SpecBody(spec).entries(&mut pool)?;
        let units =
            [("reserved", reserved), ("allotted", allotted), ("used", used), ("lost", lost)];
        for (name, units) in units {
            pool.serialize_entry(name, &units)?;
        }
        pool.serialize_entry("available", &self.available())?;
        if let Some((now, lapsed)) = self.seen {
            pool.serialize_entry("lapsed", &lapsed)?;
            pool.serialize_entry("status", self.pool.status(now, lapsed).code())?;
            pool.serialize_entry("as_of", &now.to_string())?;
        }
        pool.end()
    }
}

impl Serialize for ReservationBody<'_> {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        let mut reservation = json.serialize_map(None)?;
        hold_entries(self.hold, &mut reservation)?;
        if let Some(now) = self.seen {
            reservation.serialize_entry("status", self.hold.status(now).code())?;
        }
        reservation.end()
    }
}

impl Serialize for HoldBody<'_> {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        let mut hold = json.serialize_map(None)?;
        hold_entries(self.0, &mut hold)?;
        hold.serialize_entry("owner", &self.0.owner.map(|owner| owner.to_string()))?;
        hold.end()
    }
}

/// What is shown of each hold.
fn hold_entries<M: SerializeMap>(hold: &Hold, json: &mut M) -> Result<(), M::Error> {
    let Hold { id, version, created_at, pool, amount, expires_at, .. } = hold;
    json.serialize_entry("id", &id.to_string())?;
    json.serialize_entry("version", version)?;
    json.serialize_entry("created_at", &created_at.to_string())?;
    json.serialize_entry("pool", &pool.to_string())?;
    json.serialize_entry("amount", amount)?;
    json.serialize_entry("expires_at", &expires_at.map(|expires_at| expires_at.to_string()))
}

impl Serialize for SpecBody<'_> {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        let mut pool = json.serialize_map(None)?;
        self.entries(&mut pool)?;
        pool.end()
    }
}

impl SpecBody<'_> {
    /// What is open is left out, as it may be when a pool is created.
    fn entries<M: SerializeMap>(&self, pool: &mut M) -> Result<(), M::Error> {
        let PoolSpec { name, capacity, start_at, end_at, pacing, paused, targeting } = self.0;
        pool.serialize_entry("name", name)?;
        pool.serialize_entry("capacity", capacity)?;
        for (name, at) in [("start_at", start_at), ("end_at", end_at)] {
            if let Some(at) = at {
                pool.serialize_entry(name, &at.to_string())?;
            }
        }
        pool.serialize_entry("pacing", pacing.code())?;
        pool.serialize_entry("paused", paused)?;
        targeting.show(pool)
    }
}

impl PoolSpec {
    /// Returns the JSON object that creates this pool.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(SpecBody(self)).expect("strings and numbers serialise")
    }
}

impl PoolCreation {
    /// Returns what it says, in one canonical form however it was sent.
    pub fn to_json(&self) -> Value {
        json!([self.id.map(|id| id.to_string()), self.spec.to_json()])
    }
}

impl ReservationRequest {
    /// Returns what it says, in one canonical form however it was sent.
    pub fn to_json(&self) -> Value {
        let Self { id, pool, amount, expires_in } = self;
        let id = id.map(|id| id.to_string());
        json!([id, pool.to_string(), amount, expires_in.map(|expires_in| expires_in.as_secs())])
    }
}

impl ReservationChange {
    /// Returns what it says, in one canonical form however it was sent.
    pub fn to_json(&self) -> Value {
        let expires = self.expires.map(|expires| match expires {
            Expires::Never => Value::Null,
            Expires::In(duration) => duration.as_secs().into(),
        });
        // An absent field and one that is null are not the same.
        let expires = expires.map(|expires| json!([expires]));
        json!([self.amount, expires, self.said.to_json()])
    }
}

impl ReservationSaid {
    fn to_json(self) -> Value {
        let Self { of_any, pool, expires_at } = self;
        let pool = pool.map(|pool| pool.to_string());
        json!([of_any.to_json(), pool, expires_at.map(|at| at.to_string())])
    }
}
