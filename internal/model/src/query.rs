//! What a site's page asks: which ads fit this visitor, and which part of the answer to send.

use crate::{Country, Gender, Platform, limits};

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
