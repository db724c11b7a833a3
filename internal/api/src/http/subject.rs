//! What a request is about, as its path and its answers name it.

use uuid::Uuid;

/// A kind of thing that has a path of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// An ad.
    Ad,
    /// A pool.
    Pool,
    /// A reservation.
    Reservation,
}

impl Subject {
    /// Returns its name, without an article.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Ad => "ad",
            Self::Pool => "pool",
            Self::Reservation => "reservation",
        }
    }

    /// Returns its name with its indefinite article.
    pub(crate) fn one(self) -> &'static str {
        match self {
            Self::Ad => "an ad",
            Self::Pool => "a pool",
            Self::Reservation => "a reservation",
        }
    }

    /// Returns the path of the one with this id.
    pub(crate) fn path(self, id: Uuid) -> String {
        format!("/api/v1/{}/{id}", self.noun())
    }
}
