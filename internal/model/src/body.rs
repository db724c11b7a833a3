//! JSON out: how an ad is shown to clients. The engine serialises each ad once, when it is first read, and
//! answers are put together from these fragments.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::limits::WEIGHT_DEFAULT;
use crate::{AdView, DeliveryView, Spec, SpecView, Status};

/// An ad as clients see it.
pub(crate) struct AdBody<'a>(pub(crate) AdView<'a>);

/// What a client has set.
struct SpecBody<'a>(SpecView<'a>);

impl Serialize for AdBody<'_> {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        let AdView { id, version, created_at, spec } = self.0;
        let mut ad = json.serialize_map(None)?;
        ad.serialize_entry("id", &id.to_string())?;
        ad.serialize_entry("version", &version)?;
        ad.serialize_entry("created_at", &created_at.to_string())?;
        SpecBody(spec).entries(&mut ad)?;
        ad.end()
    }
}

impl Serialize for SpecBody<'_> {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        let mut ad = json.serialize_map(None)?;
        self.entries(&mut ad)?;
        ad.end()
    }
}

impl SpecBody<'_> {
    /// What is open, or as it is unless it is said, is left out, as it may be when an ad is created.
    fn entries<M: SerializeMap>(&self, ad: &mut M) -> Result<(), M::Error> {
        let SpecView { title, content, start_at, end_at, targeting, delivery } = self.0;
        ad.serialize_entry("title", title)?;
        ad.serialize_entry("content", content)?;
        ad.serialize_entry("start_at", &start_at.to_string())?;
        ad.serialize_entry("end_at", &end_at.to_string())?;
        let DeliveryView { pool, weight, link, paused } = delivery;
        if let Some(pool) = pool {
            ad.serialize_entry("pool", &pool.to_string())?;
        }
        if weight != WEIGHT_DEFAULT {
            ad.serialize_entry("weight", &weight)?;
        }
        if let Some(link) = link {
            ad.serialize_entry("link", link)?;
        }
        if paused {
            ad.serialize_entry("paused", &paused)?;
        }
        targeting.show(ad)
    }
}

/// The ad as a JSON object.
pub fn fragment(ad: AdView<'_>) -> Vec<u8> {
    serde_json::to_vec(&AdBody(ad)).expect("strings and numbers serialise")
}

/// A [`fragment`] with one more field, the ad's status.
pub fn fragment_with_status(fragment: &[u8], status: Status) -> Vec<u8> {
    let open = fragment.strip_suffix(b"}").expect("a fragment is a JSON object");
    [open, b",\"status\":\"", status.code().as_bytes(), b"\"}"].concat()
}

impl Spec {
    /// The JSON object that creates this ad.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(SpecBody(self.into())).expect("strings and numbers serialise")
    }
}
