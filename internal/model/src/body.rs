//! JSON out: how an ad is shown to clients. The engine serialises each ad once, when it is first read, and
//! answers are put together from these fragments.

use serde::Serialize;

use crate::{AdView, Spec, SpecView, Status, Targeting, Version};

#[derive(Serialize)]
struct AdBody<'a> {
    id: String,
    version: Version,
    created_at: String,
    #[serde(flatten)]
    spec: SpecBody<'a>,
}

/// An open dimension is left out, as it may be when an ad is created.
#[derive(Serialize)]
struct SpecBody<'a> {
    title: &'a str,
    content: &'a str,
    start_at: String,
    end_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_start: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_end: Option<u8>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gender: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    country: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    platform: Vec<&'static str>,
}

impl<'a> SpecBody<'a> {
    fn of(spec: SpecView<'a>) -> Self {
        let Targeting { age, countries, genders, platforms } = spec.targeting;
        Self {
            title: spec.title,
            content: spec.content,
            start_at: spec.start_at.to_string(),
            end_at: spec.end_at.to_string(),
            age_start: age.map(|range| range.start),
            age_end: age.map(|range| range.end),
            gender: genders.iter().map(|value| value.code()).collect(),
            country: countries.iter().map(|value| value.code()).collect(),
            platform: platforms.iter().map(|value| value.code()).collect(),
        }
    }
}

/// The ad as a JSON object.
pub fn fragment(ad: AdView<'_>) -> Vec<u8> {
    let body = AdBody {
        id: ad.id.to_string(),
        version: ad.version,
        created_at: ad.created_at.to_string(),
        spec: SpecBody::of(ad.spec),
    };
    serde_json::to_vec(&body).expect("strings and numbers serialise")
}

/// A [`fragment`] with one more field, the ad's status.
pub fn fragment_with_status(fragment: &[u8], status: Status) -> Vec<u8> {
    let open = fragment.strip_suffix(b"}").expect("a fragment is a JSON object");
    [open, b",\"status\":\"", status.code().as_bytes(), b"\"}"].concat()
}

impl Spec {
    /// The JSON object that creates this ad.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(SpecBody::of(self.into())).expect("strings and numbers serialise")
    }
}
