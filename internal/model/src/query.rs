//! The query of a site's page: which ads fit this visitor, and which part of the answer to send. [`Targeting::fits`] is
//! the reference implementation: the index must agree with it, ad by ad.

use crate::{Country, Gender, Platform, Targeting, limits};

/// The filters and the page of one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// The visitor's age in years, 1 to 100; `None` does not filter.
    pub age: Option<u8>,
    /// The visitor's country; `None` does not filter.
    pub country: Option<Country>,
    /// The visitor's gender; `None` does not filter.
    pub gender: Option<Gender>,
    /// The visitor's platform; `None` does not filter.
    pub platform: Option<Platform>,
    /// How many fitting ads to pass over, from 0.
    pub offset: u32,
    /// How many ads to send at the most, 1 to 100.
    pub limit: u32,
}

impl Default for Query {
    /// No filter, the first page.
    fn default() -> Self {
        Self {
            age: None,
            country: None,
            gender: None,
            platform: None,
            offset: 0,
            limit: limits::PAGE_ADS_DEFAULT,
        }
    }
}

impl Targeting {
    /// Returns true if a query's filters fit: an absent filter fits every ad; a present one fits the ads that target
    /// its value or leave the dimension open.
    pub fn fits(&self, query: &Query) -> bool {
        let age = |age| self.age.is_none_or(|range| range.start <= age && age <= range.end);
        let country = |c: Country| self.countries.is_empty() || self.countries.contains(c);
        let gender = |g: Gender| self.genders.is_empty() || self.genders.contains(g);
        let platform = |p: Platform| self.platforms.is_empty() || self.platforms.contains(p);
        query.age.is_none_or(age)
            && query.country.is_none_or(country)
            && query.gender.is_none_or(gender)
            && query.platform.is_none_or(platform)
    }
}
