//! Query and path parameters. Read strictly: an unknown, empty or repeated one is an error, since a filter
//! with a typo would otherwise quietly not filter.

use std::borrow::Cow;

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use placard_model::capacity::PoolStatus;
use placard_model::dimensions::{self, Listed, Visitor};
use placard_model::limits::{
    CAPACITY_MAX, FEED_ENTRIES_MAX, FEED_WAIT_MAX, OFFSET_MAX, PAGE_ADS_DEFAULT, PAGE_ADS_MAX,
    PAGE_ADS_MIN, VERSION_MAX,
};
use placard_model::{Cursor, Filter, Query, UNKNOWN, Version, Violation, whole};
use uuid::Uuid;

use crate::http::problem::Problem;
use crate::openapi::schema::{code, with_default};
use crate::openapi::shape::shape;

/// Most violations that one answer lists.
const VIOLATIONS_SHOWN: usize = 32;

/// The parameters of a listing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Search {
    pub(crate) query: Query,
    pub(crate) min_version: Option<Version>,
}

/// The parameters of a listing of pools.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PoolList {
    /// The targeting filters, and which of the pools to show.
    pub(crate) query: Query,
    pub(crate) status: Option<PoolStatus>,
    /// The fewest units that a pool must have available.
    pub(crate) available: Option<u64>,
}

/// The parameters of a client that follows the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) after: Option<Cursor>,
    pub(crate) limit: Option<u32>,
    /// In seconds.
    pub(crate) wait: Option<u32>,
}

/// What the text of a cursor must be.
pub(crate) const CURSOR_RULE: &str = "must be a version, or the id of an event";

/// The name-value pairs of one query string, checked off as they are asked for.
struct Params<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    violations: Vec<Violation>,
}

pub(crate) fn search(query: Option<&str>) -> Result<Search, Vec<Violation>> {
    let mut params = Params::new(query);
    let query = params.query();
    let min_version = params.min_version();
    params.finish().map(|()| Search { query, min_version })
}

/// Returns the parameters of a listing of pools, and the version that it must have reached.
pub(crate) fn pools(query: Option<&str>) -> Result<(PoolList, Option<Version>), Vec<Violation>> {
    let mut params = Params::new(query);
    let query = params.query();
    let rule = format!("must be one of {}", PoolStatus::ALL.map(PoolStatus::code).join(", "));
    let status = params.take("status", &rule, PoolStatus::from_code);
    let rule = format!("must be a whole number from 1 to {CAPACITY_MAX}");
    let available = params.take("available", &rule, |text| whole(text, 1, CAPACITY_MAX));
    let min_version = params.min_version();
    params.finish().map(|()| (PoolList { query, status, available }, min_version))
}

pub(crate) fn changes(query: Option<&str>) -> Result<Changes, Vec<Violation>> {
    let mut params = Params::new(query);
    let after = params.take("after", CURSOR_RULE, Cursor::parse);
    let rule = format!("must be a whole number from 1 to {FEED_ENTRIES_MAX}");
    let limit = params.take("limit", &rule, |text| whole(text, 1, FEED_ENTRIES_MAX));
    let rule = format!("must be a whole number from 0 to {FEED_WAIT_MAX}");
    let wait = params.take("wait", &rule, |text| whole(text, 0, FEED_WAIT_MAX));
    params.finish().map(|()| Changes { after, limit, wait })
}

/// Reads the filter of each dimension.
struct Filters<'p, 'a> {
    params: &'p mut Params<'a>,
    query: Query,
}

impl Visitor for Filters<'_, '_> {
    fn visit<D: Listed>(&mut self) {
        let filter = self.params.take(D::NAME, &D::rule(), |text| match text {
            UNKNOWN => Some(Filter::Unknown),
            text => D::parse(text).map(Filter::Value),
        });
        *D::filter_mut(&mut self.query) = filter.unwrap_or_default();
    }
}

/// The parameters of a read by id.
pub(crate) fn min_version(query: Option<&str>) -> Result<Option<Version>, Vec<Violation>> {
    let mut params = Params::new(query);
    let min_version = params.min_version();
    params.finish().map(|()| min_version)
}

/// Whom a write waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ack {
    /// This replica.
    Applied,
    /// Every registered replica.
    All,
}

shape! {
    /// When a write is answered: once the replica that takes it serves it, or once every registered replica does.
    Ack as "Ack" = |_| with_default(code(&["applied", "all"], "", "applied"), "applied")
}

/// The parameters of a write.
pub(crate) fn ack(query: Option<&str>) -> Result<Ack, Vec<Violation>> {
    let mut params = Params::new(query);
    let ack = params.ack();
    params.finish().map(|()| ack)
}

/// The parameters of a release: whom it waits for, and how many units were used.
pub(crate) fn release(query: Option<&str>) -> Result<(Ack, u64), Vec<Violation>> {
    let mut params = Params::new(query);
    let ack = params.ack();
    let rule = format!("must be a whole number from 0 to {CAPACITY_MAX}");
    let used = params.take("used", &rule, |text| whole(text, 0, CAPACITY_MAX)).unwrap_or(0);
    params.finish().map(|()| (ack, used))
}

/// The id in a path.
pub(crate) struct Id(pub(crate) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // A path that is not UTF-8 once it is decoded is refused like any other that holds no id.
        let text = Path::<String>::from_request_parts(parts, state).await.ok();
        let hyphenated = text.filter(|Path(text)| text.len() == 36);
        let id = hyphenated.and_then(|Path(text)| Uuid::try_parse(&text).ok());
        let detail = "must be a UUID like 6f9619ff-8b86-4d01-b42d-00c04fc964ff";
        id.map(Self).ok_or_else(|| Problem::invalid(vec![Violation::parameter("id", detail)]))
    }
}

/// A version as clients write it.
pub(crate) fn version(text: &str) -> Option<Version> {
    whole(text, 0, VERSION_MAX)
}

impl<'a> Params<'a> {
    /// Returns the targeting filters, and which of what they find to show.
    fn query(&mut self) -> Query {
        let limit = format!("must be a whole number from {PAGE_ADS_MIN} to {PAGE_ADS_MAX}");
        let offset = format!("must be a whole number from 0 to {OFFSET_MAX}");
        let query = Query {
            offset: self.take("offset", &offset, |text| whole(text, 0, OFFSET_MAX)).unwrap_or(0),
            limit: self
                .take("limit", &limit, |text| whole(text, PAGE_ADS_MIN, PAGE_ADS_MAX))
                .unwrap_or(PAGE_ADS_DEFAULT),
            ..Query::default()
        };
        let mut filters = Filters { params: self, query };
        dimensions::each(&mut filters);
        filters.query
    }

    fn new(query: Option<&'a str>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).collect();
        Self { pairs, violations: Vec::new() }
    }

    fn take<T>(
        &mut self,
        name: &str,
        rule: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let at = self.pairs.iter().position(|(known, _)| known == name)?;
        let (_, text) = self.pairs.swap_remove(at);
        if self.pairs.iter().any(|(other, _)| other == name) {
            self.pairs.retain(|(other, _)| other != name);
            self.violations.push(Violation::parameter(name, "is given more than once"));
            return None;
        }
        let value = read(&text);
        if value.is_none() {
            self.violations.push(Violation::parameter(name, rule));
        }
        value
    }

    fn ack(&mut self) -> Ack {
        let read = |text: &str| match text {
            "applied" => Some(Ack::Applied),
            "all" => Some(Ack::All),
            _ => None,
        };
        self.take("ack", "must be applied or all", read).unwrap_or(Ack::Applied)
    }

    fn min_version(&mut self) -> Option<Version> {
        self.take("min_version", "must be a whole number", version)
    }

    fn finish(mut self) -> Result<(), Vec<Violation>> {
        let unknown = |(name, _): &(Cow<'_, str>, _)| {
            Violation::parameter(name.as_ref(), "is not a known parameter")
        };
        self.violations.extend(self.pairs.iter().take(VIOLATIONS_SHOWN).map(unknown));
        self.violations.sort();
        self.violations.dedup();
        if self.violations.is_empty() { Ok(()) } else { Err(self.violations) }
    }
}

#[cfg(test)]
mod tests {
    use placard_model::{Country, Gender, Platform};

    use super::*;

    fn broken(query: &str) -> Vec<String> {
        let violations = search(Some(query)).unwrap_err();
        violations.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_parameters_are_read() {
        let text = "age=24&country=TW&gender=F&platform=ios&offset=20&limit=5&min_version=7";
        let Search { query, min_version } = search(Some(text)).unwrap();
        assert_eq!(query.age, Filter::Value(24));
        assert_eq!(query.country, Country::from_code("TW").into());
        assert_eq!(query.gender, Filter::Value(Gender::Female));
        assert_eq!(query.platform, Filter::Value(Platform::Ios));
        assert_eq!((query.offset, query.limit, min_version), (20, 5, Some(7)));
        assert_eq!(search(None).unwrap().query, Query::default());
        assert_eq!(search(Some("")).unwrap().query, Query::default());
    }

    #[test]
    fn each_dimension_can_be_unknown() {
        let text = "age=unknown&country=unknown&gender=unknown&platform=unknown";
        let unknown = Query {
            age: Filter::Unknown,
            country: Filter::Unknown,
            gender: Filter::Unknown,
            platform: Filter::Unknown,
            ..Query::default()
        };
        assert_eq!(search(Some(text)).unwrap().query, unknown);
        for other in ["offset=unknown", "limit=unknown", "min_version=unknown", "age=Unknown"] {
            assert!(search(Some(other)).is_err(), "{other} was accepted");
        }
        assert_eq!(broken("gender=unknown&gender=F"), ["gender: is given more than once"]);
        assert_eq!(broken("platform=none"), ["platform: must be android, ios, web or unknown"]);
    }

    #[test]
    fn out_of_bounds_or_malformed_values_are_refused() {
        for fits in ["age=1", "age=100", "limit=1", "limit=100", "offset=0", "offset=10000000"] {
            assert!(search(Some(fits)).is_ok(), "{fits}");
        }
        for broken in [
            "age=0",
            "age=101",
            "age=-1",
            "age=+5",
            "age=05",
            "age=5.0",
            "age=",
            "age",
            "age=%20",
            "limit=0",
            "limit=101",
            "offset=-1",
            "offset=10000001",
            "country=tw",
            "country=ZZ",
            "country=",
            "gender=f",
            "gender=",
            "platform=IOS",
            "min_version=-1",
            "min_version=x",
            "age=5&age=5",
            "age=%FF",
            "Age=5",
            "q=1",
            "limit=99999999999999999999",
        ] {
            assert!(search(Some(broken)).is_err(), "{broken} was accepted");
        }
    }

    #[test]
    fn every_broken_parameter_is_named_once() {
        let named = broken("age=0&age=2&limit=0&x=1&country=tw");
        assert_eq!(
            named,
            [
                "age: is given more than once",
                "country: must be an ISO 3166-1 alpha-2 code in capitals, or unknown",
                "limit: must be a whole number from 1 to 100",
                "x: is not a known parameter",
            ]
        );
    }
}
