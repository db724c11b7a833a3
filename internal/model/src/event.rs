//! JSON out: an entry of the log, as those who follow the log are shown it: what it did, for whom, why and when, and the
//! state that it has left.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::body::AdBody;
use crate::capacity::{After, Balance, Closed, Counted, HoldBody, Moves, Pool, PoolBody};
use crate::entry::{Change, Entry, Record};
use crate::{AdView, Cursor, Undecodable};

/// Returns a record as a JSON object, in one line.
///
/// # Errors
/// The record, or the ad in it, cannot be read, or only by a newer build.
pub fn event(record: &Record) -> Result<Vec<u8>, Undecodable> {
    let entry = Entry::decode(&record.bytes)?;
    let did = match &entry.change {
        Change::Put(ad) => Did::PutAd(ad.view()?),
        Change::Delete(id) => Did::DeletedAd(*id),
        Change::PutPool(pool) => Did::PutPool(pool),
        Change::DeletePool(id) => Did::DeletedPool(*id),
        Change::Move(moves) => Did::Moved(moves),
    };
    let event = Event { record, entry: &entry, did };
    Ok(serde_json::to_vec(&event).expect("strings and numbers serialise"))
}

struct Event<'a> {
    record: &'a Record,
    entry: &'a Entry,
    did: Did<'a>,
}

/// What the entry did, read.
enum Did<'a> {
    PutAd(AdView<'a>),
    DeletedAd(Uuid),
    PutPool(&'a Pool),
    DeletedPool(Uuid),
    Moved(&'a Moves),
}

impl Serialize for Event<'_> {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        let Entry { at, request, item, principal, reason, change, .. } = self.entry;
        let mut event = json.serialize_map(None)?;
        event.serialize_entry("id", &Cursor::at(self.record).to_string())?;
        event.serialize_entry("version", &self.record.version)?;
        event.serialize_entry("at", &at.to_string())?;
        event.serialize_entry("request", &request.to_string())?;
        event.serialize_entry("item", item)?;
        event.serialize_entry("principal", principal)?;
        event.serialize_entry("reason", reason.code())?;
        event.serialize_entry("change", change.kind())?;
        match &self.did {
            Did::PutAd(ad) => {
                event.serialize_entry("ad", &ad.id.to_string())?;
                event.serialize_entry("after", &One("ad", Some(AdBody(*ad))))?;
            }
            Did::DeletedAd(id) => {
                event.serialize_entry("ad", &id.to_string())?;
                event.serialize_entry("after", &One("ad", None::<Value>))?;
            }
            Did::PutPool(pool) => {
                event.serialize_entry("pool", &pool.id.to_string())?;
                event
                    .serialize_entry("after", &One("pool", Some(PoolBody { pool, seen: None })))?;
            }
            Did::DeletedPool(id) => {
                event.serialize_entry("pool", &id.to_string())?;
                event.serialize_entry("after", &One("pool", None::<Value>))?;
            }
            Did::Moved(Moves { given, closed, counted, after }) => {
                event.serialize_entry("given", &Each(given, HoldBody))?;
                event.serialize_entry("closed", &Each(closed, closed_body))?;
                event.serialize_entry("counted", &Each(counted, counted_body))?;
                event
                    .serialize_entry("after", &One("balances", Some(Each(after, balance_body))))?;
            }
        }
        event.end()
    }
}

/// An object of one field.
struct One<T>(&'static str, T);

impl<T: Serialize> Serialize for One<T> {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        let mut object = json.serialize_map(Some(1))?;
        object.serialize_entry(self.0, &self.1)?;
        object.end()
    }
}

/// A list, each of whose items is shown by the function.
struct Each<'a, T, F>(&'a [T], F);

impl<'a, T, B: Serialize, F: Fn(&'a T) -> B> Serialize for Each<'a, T, F> {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        json.collect_seq(self.0.iter().map(&self.1))
    }
}

fn closed_body(closed: &Closed) -> Value {
    let Closed { hold, used, lost, reason, until } = closed;
    json!({
        "hold": hold.to_string(), "used": used, "lost": lost, "reason": reason.code(),
        "until": until.map(|until| until.to_string()),
    })
}

fn counted_body(counted: &Counted) -> Value {
    let Counted { ad, decisions, impressions, clicks } = counted;
    json!({
        "ad": ad.to_string(), "decisions": decisions, "impressions": impressions, "clicks": clicks,
    })
}

fn balance_body(after: &After) -> Value {
    let After { pool, balance: Balance { reserved, allotted, used, lost } } = after;
    json!({
        "pool": pool.to_string(), "reserved": reserved, "allotted": allotted, "used": used, "lost": lost,
    })
}
