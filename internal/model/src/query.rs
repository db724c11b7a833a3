//! The query of a site's page: which ads fit this visitor, and which part of the answer to send. [`Targeting::fits`] is
//! the reference implementation: the index must agree with it, ad by ad.

use crate::{Country, Gender, Platform, Targeting, limits};

/// How a client writes [`Filter::Unknown`].
pub const UNKNOWN: &str = "unknown";

/// What a query says about the visitor in one dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Filter<T> {
    /// Nothing: every ad fits.
    #[default]
    Absent,
    /// That the value is not known: only ads that leave the dimension open fit.
    Unknown,
    /// The value: ads that target it fit, and ads that leave the dimension open.
    Value(T),
}

impl<T> Filter<T> {
    /// Returns the value, if the filter has one.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Unknown => None,
        }
    }

    /// Converts the value, if the filter has one.
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> Filter<U> {
        match self {
            Self::Absent => Filter::Absent,
            Self::Unknown => Filter::Unknown,
            Self::Value(value) => Filter::Value(convert(value)),
        }
    }

    /// Returns true if an ad fits that leaves the dimension open, or targets the values for which `targets` is true.
    pub fn fits(self, is_open: bool, targets: impl FnOnce(T) -> bool) -> bool {
        match self {
            Self::Absent => true,
            Self::Unknown => is_open,
            Self::Value(value) => is_open || targets(value),
        }
    }
}

/// No value is no filter.
impl<T> From<Option<T>> for Filter<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Self::Value)
    }
}

/// The filters and the page of one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// The visitor's age in years, 1 to 100.
    pub age: Filter<u8>,
    /// The visitor's country.
    pub country: Filter<Country>,
    /// The visitor's gender.
    pub gender: Filter<Gender>,
    /// The visitor's platform.
    pub platform: Filter<Platform>,
    /// How many fitting ads to pass over, from 0.
    pub offset: u32,
    /// How many ads to send at the most, 1 to 100.
    pub limit: u32,
}

impl Default for Query {
    /// No filter, the first page.
    fn default() -> Self {
        Self {
            age: Filter::Absent,
            country: Filter::Absent,
            gender: Filter::Absent,
            platform: Filter::Absent,
            offset: 0,
            limit: limits::PAGE_ADS_DEFAULT,
        }
    }
}

impl Targeting {
    /// Returns true if all of a query's filters fit.
    pub fn fits(&self, query: &Query) -> bool {
        let Self { age, countries, genders, platforms } = self;
        let in_age = |asked| age.is_some_and(|range| range.start <= asked && asked <= range.end);
        query.age.fits(age.is_none(), in_age)
            && query.country.fits(countries.is_empty(), |country| countries.contains(country))
            && query.gender.fits(genders.is_empty(), |gender| genders.contains(gender))
            && query.platform.fits(platforms.is_empty(), |platform| platforms.contains(platform))
    }
}
