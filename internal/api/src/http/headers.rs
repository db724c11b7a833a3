//! The header fields that mean something here.

use axum::extract::FromRequestParts;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use placard_model::command::{Conditions, Tags};
use placard_model::{Cursor, Status, Version, Violation, limits};

use crate::http::entity_tag::EntityTag;
use crate::http::params;
use crate::http::problem::Problem;

/// Every precondition of RFC 9110, section 13.1.
const PRECONDITIONS: [HeaderName; 5] =
    [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE];
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
pub(crate) const MIN_VERSION: HeaderName = HeaderName::from_static("placard-min-version");

pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The one value of a field, if it is there.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Violation> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Violation::header(name.as_str(), "is given more than once"));
    }
    let text = value.to_str();
    text.map(Some).map_err(|_| Violation::header(name.as_str(), "must be visible ASCII"))
}

/// The client's idempotency key.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Violation> {
    let Some(key) = single(headers, &IDEMPOTENCY_KEY)? else { return Ok(None) };
    let sized = (1..=limits::IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len());
    if sized && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Some(key));
    }
    let detail = "must be 1 to 255 visible ASCII characters, without spaces";
    Err(Violation::header(IDEMPOTENCY_KEY.as_str(), detail))
}

/// The version that a read must have reached.
pub(crate) fn min_version(headers: &HeaderMap) -> Result<Option<Version>, Violation> {
    let Some(text) = single(headers, &MIN_VERSION)? else { return Ok(None) };
    let version = params::version(text);
    let broken = || Violation::header(MIN_VERSION.as_str(), "must be a whole number");
    version.map(Some).ok_or_else(broken)
}

/// The last event of a stream that the client had.
pub(crate) fn last_event_id(headers: &HeaderMap) -> Result<Option<Cursor>, Violation> {
    let Some(text) = single(headers, &LAST_EVENT_ID)? else { return Ok(None) };
    let cursor = Cursor::parse(text);
    let broken = || Violation::header(LAST_EVENT_ID.as_str(), params::CURSOR_RULE);
    cursor.map(Some).ok_or_else(broken)
}

/// Returns true if the client names this media type among those that it takes.
pub(crate) fn accepts(headers: &HeaderMap, media: &str) -> bool {
    let lines = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let mut ranges = lines.flat_map(|line| line.split(','));
    ranges.any(|range| {
        let essence = range.split(';').next().unwrap_or_default();
        essence.trim().eq_ignore_ascii_case(media)
    })
}

/// A request without preconditions, for routes whose answers have no tag that could match.
#[derive(Debug)]
pub(crate) struct Unconditional;

impl<S: Sync> FromRequestParts<S> for Unconditional {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(&parts.headers)
    }
}

impl Unconditional {
    /// Checks the same for a handler that has the fields.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        match precondition(headers, &PRECONDITIONS) {
            None => Ok(Self),
            Some(name) => {
                let detail = "is not evaluated here: what is at this path has no entity tag";
                Err(Problem::invalid(vec![Violation::header(name.as_str(), detail)]))
            }
        }
    }
}

/// Returns the first of these preconditions that the request has. It is cheaper for a read than to look for each.
fn precondition(headers: &HeaderMap, of: &[HeaderName]) -> Option<HeaderName> {
    let mut names = headers.keys().filter(|name| name.as_str().starts_with("if-"));
    names.find(|name| of.contains(name)).cloned()
}

/// Returns the preconditions of a request for one ad. A precondition by date is an error: an ad's last change has no
/// date.
pub(crate) fn conditions(headers: &HeaderMap) -> Result<Conditions, Violation> {
    conditions_of(headers, |_| true)
}

/// As [`conditions`], for what has no status in its tag: a tag with one matches nothing.
pub(crate) fn conditions_by_version(headers: &HeaderMap) -> Result<Conditions, Violation> {
    conditions_of(headers, |tag| tag.status.is_none())
}

fn conditions_of(
    headers: &HeaderMap,
    fits: fn(&EntityTag) -> bool,
) -> Result<Conditions, Violation> {
    if let Some(name) = precondition(headers, &PRECONDITIONS[2..]) {
        let detail = "is not evaluated: use If-Match or If-None-Match with the ad's ETag";
        return Err(Violation::header(name.as_str(), detail));
    }
    let if_match = tags(headers, &IF_MATCH, Comparison::Strong, fits)?;
    let if_none_match = tags(headers, &IF_NONE_MATCH, Comparison::Weak, fits)?;
    Ok(Conditions { if_match, if_none_match })
}

/// The ways to compare entity tags (RFC 9110, section 8.8.3.2).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    /// A weak tag matches nothing.
    Strong,
    /// A weak tag matches like a strong one.
    Weak,
}

/// Returns the tags of one precondition, by version: a write has nothing to do with the status. A tag that no ad can have
/// matches nothing.
fn tags(
    headers: &HeaderMap,
    name: &HeaderName,
    comparison: Comparison,
    fits: fn(&EntityTag) -> bool,
) -> Result<Option<Tags>, Violation> {
    Ok(match listed_tags(headers, name, comparison)? {
        None => None,
        Some(Listed::Any) => Some(Tags::Any),
        Some(Listed::Tags(tags)) => {
            Some(Tags::Versions(tags.into_iter().filter(fits).map(|tag| tag.version).collect()))
        }
    })
}

/// Returns true if the client has what would be shown to it with this tag, by its `If-None-Match`.
pub(crate) fn is_known(headers: &HeaderMap, tag: EntityTag) -> bool {
    match listed_tags(headers, &IF_NONE_MATCH, Comparison::Weak) {
        Ok(Some(Listed::Any)) => true,
        Ok(Some(Listed::Tags(tags))) => tags.contains(&tag),
        Ok(None) | Err(_) => false,
    }
}

/// The entity tags of a precondition.
enum Listed {
    Any,
    Tags(Vec<EntityTag>),
}

fn listed_tags(
    headers: &HeaderMap,
    name: &HeaderName,
    comparison: Comparison,
) -> Result<Option<Listed>, Violation> {
    let broken = || Violation::header(name.as_str(), "must be * or a list of entity tags");
    let mut tags = None;
    let lines = headers.get_all(name);
    let is_alone = lines.iter().nth(1).is_none();
    for value in lines {
        let text = value.to_str().map_err(|_| broken())?;
        if text.trim() == "*" && is_alone {
            return Ok(Some(Listed::Any));
        }
        let listed = listed(text, comparison).ok_or_else(broken)?;
        tags.get_or_insert_with(Vec::new).extend(listed);
    }
    Ok(tags.map(Listed::Tags))
}

/// Returns the tags of a list of entity tags (RFC 9110, section 8.8.3) that an ad can have; `None` if it is not such a list,
/// or an empty one.
fn listed(text: &str, comparison: Comparison) -> Option<Vec<EntityTag>> {
    let mut tags = Vec::new();
    let mut rest = text.trim_start_matches(BETWEEN_TAGS);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let matches = comparison == Comparison::Weak || !rest.starts_with("W/");
        let quoted = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"')?;
        let (tag, after) = quoted.split_once('"')?;
        tags.extend(entity_tag(tag).filter(|_| matches));
        rest = after.trim_start_matches(BETWEEN_TAGS);
        let listed = after[..after.len() - rest.len()].contains(',');
        if !rest.is_empty() && !listed {
            return None;
        }
    }
    Some(tags)
}

/// Returns the tag with this text between its quotes, if an ad can have it.
fn entity_tag(text: &str) -> Option<EntityTag> {
    let (version, status) = match text.split_once('-') {
        Some((version, status)) => (version, Some(Status::from_code(status)?)),
        None => (text, None),
    };
    Some(EntityTag { version: params::version(version)?, status })
}

const BETWEEN_TAGS: [char; 3] = [' ', '\t', ','];

/// Refuses a body that does not say that it is JSON, or that says that it is in another character set than UTF-8.
pub(crate) fn require_json(headers: &HeaderMap, accepted: &[&str]) -> Result<(), Problem> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = given.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    if !accepted.iter().any(|media| media.eq_ignore_ascii_case(essence)) {
        return Err(Problem::media_type(&accepted.join(" or ")));
    }
    let mut parameters = parts.filter_map(|parameter| parameter.split_once('='));
    let is_utf8 = |(name, value): (&str, &str)| {
        let value = value.trim().trim_matches('"');
        !name.trim_end().eq_ignore_ascii_case("charset")
            || ["utf-8", "utf8"].iter().any(|utf8| value.eq_ignore_ascii_case(utf8))
    };
    if parameters.all(is_utf8) { Ok(()) } else { Err(Problem::charset()) }
}

/// Refuses a body with a content coding, and says in the answer that no coding is accepted.
pub(crate) fn require_uncoded(headers: &HeaderMap) -> Result<(), Problem> {
    const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    let is_none = |coding: &HeaderValue| {
        let coding = coding.as_bytes().trim_ascii();
        coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
    };
    if codings.all(is_none) {
        return Ok(());
    }
    Err(Problem::content_coding().with(ACCEPT_ENCODING, IDENTITY))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn if_match_of(values: &[&'static str]) -> Option<Option<Tags>> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IF_MATCH, value.parse().unwrap());
        }
        conditions(&headers).ok().map(|conditions| conditions.if_match)
    }

    #[test]
    fn preconditions_are_read() {
        let versions = |versions: &[Version]| Some(Some(Tags::Versions(versions.to_vec())));
        assert_eq!(if_match_of(&[]), Some(None));
        assert_eq!(if_match_of(&["*"]), Some(Some(Tags::Any)));
        assert_eq!(if_match_of(&["\"7\""]), versions(&[7]));
        assert_eq!(if_match_of(&["\"7\", \"9\"", "\"11\""]), versions(&[7, 9, 11]));
        assert_eq!(if_match_of(&["W/\"7\""]), versions(&[]));
        assert_eq!(if_match_of(&["\"abc\""]), versions(&[]));
        assert_eq!(if_match_of(&["\"a,b\" , ,\"7\""]), versions(&[7]));
        assert_eq!(if_match_of(&["\"7\" \"9\""]), None);
        assert_eq!(if_match_of(&["\"7\"9"]), None);
        assert_eq!(if_match_of(&["7"]), None);
        assert_eq!(if_match_of(&["*, \"7\""]), None);
        assert_eq!(if_match_of(&[""]), None);
        assert_eq!(if_match_of(&[" , "]), None);
        assert_eq!(if_match_of(&["\"7"]), None);
    }
}
