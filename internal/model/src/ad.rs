//! An ad, its time window and its targeting.

use uuid::Uuid;

use crate::format::{CAPACITY_LEVEL, FORMAT_LEVEL_MIN};
use crate::{Delivery, DeliveryView, Targeting, Timestamp, Version};

/// The part of an ad that its advertiser sets; all of it can be changed later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Its title, 5 to 100 characters.
    pub title: String,
    /// Its content, 1 to 10,000 characters.
    pub content: String,
    /// From when it is served (inclusive).
    pub start_at: Timestamp,
    /// Until when it is served (exclusive), after `start_at`.
    pub end_at: Timestamp,
    /// The visitors to whom it is served.
    pub targeting: Targeting,
    /// How it is delivered.
    pub delivery: Delivery,
}

/// An ad as the journal holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ad {
    /// Its identity, for ever.
    pub id: Uuid,
    /// The entry that wrote it last.
    pub version: Version,
    /// When it was created, by the journal's clock.
    pub created_at: Timestamp,
    /// What its advertiser says of it.
    pub spec: Spec,
}

/// A [`Spec`] whose texts lie elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecView<'a> {
    /// Its title.
    pub title: &'a str,
    /// Its content.
    pub content: &'a str,
    /// From when it is served (inclusive).
    pub start_at: Timestamp,
    /// Until when it is served (exclusive), after `start_at`.
    pub end_at: Timestamp,
    /// The visitors to whom it is served.
    pub targeting: Targeting,
    /// How it is delivered.
    pub delivery: DeliveryView<'a>,
}

/// An [`Ad`] whose texts lie elsewhere, as in its stored form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdView<'a> {
    /// Its identity, for ever.
    pub id: Uuid,
    /// The entry that wrote it last.
    pub version: Version,
    /// When it was created, by the journal's clock.
    pub created_at: Timestamp,
    /// What its advertiser says of it.
    pub spec: SpecView<'a>,
}

impl<'a> From<&'a Spec> for SpecView<'a> {
    fn from(spec: &'a Spec) -> Self {
        let Spec { title, content, start_at, end_at, targeting, delivery } = spec;
        let (start_at, end_at, targeting) = (*start_at, *end_at, *targeting);
        Self { title, content, start_at, end_at, targeting, delivery: delivery.into() }
    }
}

impl<'a> From<&'a Ad> for AdView<'a> {
    fn from(ad: &'a Ad) -> Self {
        let Ad { id, version, created_at, spec } = ad;
        Self { id: *id, version: *version, created_at: *created_at, spec: spec.into() }
    }
}

impl From<AdView<'_>> for Ad {
    fn from(ad: AdView<'_>) -> Self {
        let SpecView { title, content, start_at, end_at, targeting, delivery } = ad.spec;
        let (title, content, delivery) = (title.to_owned(), content.to_owned(), delivery.into());
        let spec = Spec { title, content, start_at, end_at, targeting, delivery };
        Self { id: ad.id, version: ad.version, created_at: ad.created_at, spec }
    }
}

/// What is true of an ad at an instant: the first of these, from the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Before its start.
    Scheduled,
    /// From its start, before its end: it is served.
    Active,
    /// It is paused, before its end: it is not served.
    Paused,
    /// From its end on: it is no longer served, and stays readable by id until it is deleted.
    Ended,
}

impl Spec {
    /// Returns the format level that reading it needs.
    pub(crate) fn level(&self) -> u8 {
        let is_plain = DeliveryView::from(&self.delivery).is_default();
        let delivery = if is_plain { FORMAT_LEVEL_MIN } else { CAPACITY_LEVEL };
        self.targeting.level().max(delivery)
    }

    /// Returns the status at a moment.
    pub fn status(&self, now: Timestamp) -> Status {
        Status::of((self.start_at, self.end_at), self.delivery.paused, now)
    }
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Scheduled, Self::Active, Self::Paused, Self::Ended];

    /// The status of an ad with the window `[start_at, end_at)` at `now`.
    pub fn of((start_at, end_at): (Timestamp, Timestamp), is_paused: bool, now: Timestamp) -> Self {
        if now >= end_at {
            Self::Ended
        } else if is_paused {
            Self::Paused
        } else if now >= start_at {
            Self::Active
        } else {
            Self::Scheduled
        }
    }

    /// Returns the status with this name in the API.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }

    /// Returns its name in the API.
    pub fn code(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Ended => "ended",
        }
    }
}
