//! Cross-origin reads from a browser: no page may read, unless an operator names its origin. Writes are never let
//! through: a client that has a token for them does not keep it in a page.

use std::str::FromStr;
use std::time::Duration;

use http::header::{CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, Method, Uri};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::http::headers::{LAST_EVENT_ID, MIN_VERSION};
use crate::http::headers::{REQUEST_ID, TRACEPARENT, TRACESTATE};
use crate::http::render::{CLOCK_HEADER, STALE_HEADER, VERSION_HEADER};

/// The prefix of the paths that pages may read.
const READABLE: &str = "/api/v1/";
/// How long a browser may cache the answer to a preflight request.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// The origins whose pages may read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cors {
    any: bool,
    origins: Vec<HeaderValue>,
}

/// Why a text is not an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be * or an origin like https://example.org:8443, without a path or its scheme's own port"
)]
pub struct OriginError;

/// One origin, or any.
impl FromStr for Cors {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        if text == "*" {
            return Ok(Self { any: true, origins: Vec::new() });
        }
        let (scheme, authority) = text.split_once("://").ok_or(OriginError)?;
        let uri: Uri = text.parse().map_err(|_| OriginError)?;
        // A browser sends its origin in lower case, and without a path, a user or the scheme's own port; another text
        // would never match.
        let host = uri.host().unwrap_or_default();
        let is_whole = match (uri.port_u16(), scheme) {
            (Some(80), "http") | (Some(443), "https") => false,
            (Some(port), _) => authority == format!("{host}:{port}"),
            (None, _) => authority == host,
        };
        let is_plain = !text.contains(|c: char| c.is_ascii_uppercase() || c == '@' || c == '*');
        if !matches!(scheme, "http" | "https") || !is_whole || !is_plain {
            return Err(OriginError);
        }
        let origin = HeaderValue::from_str(text).map_err(|_| OriginError)?;
        Ok(Self { any: false, origins: vec![origin] })
    }
}

/// All of several.
impl FromIterator<Cors> for Cors {
    fn from_iter<I: IntoIterator<Item = Self>>(all: I) -> Self {
        all.into_iter().fold(Self::default(), |mut sum, one| {
            sum.any |= one.any;
            sum.origins.extend(one.origins);
            sum
        })
    }
}

impl Cors {
    /// Returns the number of named origins.
    pub fn origins(&self) -> usize {
        self.origins.len()
    }

    fn allows(&self, origin: &HeaderValue, request: &Parts) -> bool {
        let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(&request.method);
        reads
            && request.uri.path().starts_with(READABLE)
            && (self.any || self.origins.contains(origin))
    }

    /// Returns the layer that answers browsers, if an origin may read.
    pub(crate) fn layer(&self) -> Option<CorsLayer> {
        if !self.any && self.origins.is_empty() {
            return None;
        }
        let cors = self.clone();
        let allowed = AllowOrigin::predicate(move |origin, request| cors.allows(origin, request));
        let layer = CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods([Method::GET, Method::HEAD])
            .allow_headers([
                MIN_VERSION,
                LAST_EVENT_ID,
                REQUEST_ID,
                CONTENT_TYPE,
                IF_MATCH,
                IF_NONE_MATCH,
                TRACEPARENT,
                TRACESTATE,
            ])
            .expose_headers([
                VERSION_HEADER,
                STALE_HEADER,
                CLOCK_HEADER,
                ETAG,
                RETRY_AFTER,
                REQUEST_ID,
            ])
            .max_age(MAX_AGE);
        Some(layer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cors_accepts_only_origins_as_browsers_send_them() {
        for origin in [
            "*",
            "http://localhost:3000",
            "https://example.org",
            "http://[::1]:8080",
            "http://[::1]",
            "http://example.org:443",
            "https://example.org:80",
        ] {
            assert!(origin.parse::<Cors>().is_ok(), "{origin}");
        }
        for other in [
            "",
            "null",
            "example.org",
            "https://",
            "https://example.org/",
            "https://example.org/page",
            "https://example.org?x",
            "https://Example.org",
            "https://user@example.org",
            "https://*.example.org",
            "ftp://example.org",
            "https://example.org:443",
            "http://example.org:80",
            "https://example.org:",
            "https://example.org:08443",
            "https://a b",
            "https://exämple.org",
        ] {
            assert_eq!(other.parse::<Cors>(), Err(OriginError), "{other}");
        }
    }
}
