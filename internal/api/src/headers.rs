//! The header fields that mean something here.

use http::header::{CONTENT_TYPE, IF_MATCH};
use http::{HeaderMap, HeaderName};
use placard_model::command::IfMatch;
use placard_model::{Version, Violation, limits};

use crate::params;
use crate::problem::Problem;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(crate) const MIN_VERSION: HeaderName = HeaderName::from_static("placard-min-version");

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

/// The precondition of a write. A weak tag, or one that is no version of ours, matches nothing.
pub(crate) fn if_match(headers: &HeaderMap) -> Result<Option<IfMatch>, Violation> {
    let mut versions = None;
    for value in headers.get_all(IF_MATCH) {
        let broken = || Violation::header(IF_MATCH.as_str(), "must be * or a list of entity tags");
        let text = value.to_str().map_err(|_| broken())?;
        if text.trim() == "*" {
            return Ok(Some(IfMatch::Any));
        }
        versions.get_or_insert_with(Vec::new).extend(tags(text).ok_or_else(broken)?);
    }
    Ok(versions.map(IfMatch::Versions))
}

/// The versions in a list of entity tags (RFC 9110, section 8.8.3); `None` if it is no such list.
fn tags(text: &str) -> Option<Vec<Version>> {
    let mut versions = Vec::new();
    let mut rest = text.trim_start_matches(BETWEEN_TAGS);
    while !rest.is_empty() {
        let weak = rest.starts_with("W/");
        let quoted = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"')?;
        let (tag, after) = quoted.split_once('"')?;
        versions.extend(params::version(tag).filter(|_| !weak));
        rest = after.trim_start_matches(BETWEEN_TAGS);
        let listed = after[..after.len() - rest.len()].contains(',');
        if !rest.is_empty() && !listed {
            return None;
        }
    }
    Some(versions)
}

const BETWEEN_TAGS: [char; 3] = [' ', '\t', ','];

/// Refuses a body that does not say that it is JSON.
pub(crate) fn require_json(headers: &HeaderMap, accepted: &[&str]) -> Result<(), Problem> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if accepted.iter().any(|media| media.eq_ignore_ascii_case(essence)) {
        return Ok(());
    }
    Err(Problem::media_type(&accepted.join(" or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn if_match_of(values: &[&'static str]) -> Option<Option<IfMatch>> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IF_MATCH, value.parse().unwrap());
        }
        if_match(&headers).ok()
    }

    #[test]
    fn preconditions_are_read() {
        let versions = |versions: &[Version]| Some(Some(IfMatch::Versions(versions.to_vec())));
        assert_eq!(if_match_of(&[]), Some(None));
        assert_eq!(if_match_of(&["*"]), Some(Some(IfMatch::Any)));
        assert_eq!(if_match_of(&["\"7\""]), versions(&[7]));
        assert_eq!(if_match_of(&["\"7\", \"9\"", "\"11\""]), versions(&[7, 9, 11]));
        assert_eq!(if_match_of(&["W/\"7\""]), versions(&[]));
        assert_eq!(if_match_of(&["\"abc\""]), versions(&[]));
        assert_eq!(if_match_of(&["\"a,b\" , ,\"7\""]), versions(&[7]));
        assert_eq!(if_match_of(&["\"7\" \"9\""]), None);
        assert_eq!(if_match_of(&["\"7\"9"]), None);
        assert_eq!(if_match_of(&["7"]), None);
        assert_eq!(if_match_of(&["\"7"]), None);
    }
}
