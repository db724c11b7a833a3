//! How an ad is delivered, beside when and to whom: out of which pool, how heavy it weighs among others, where a click leads,
//! and whether it is paused.

use uuid::Uuid;
use validator::ValidationError;

use crate::limits::{LINK_BYTES_MAX, WEIGHT_DEFAULT};

/// How an ad is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The pool that its decisions are taken out of; without one they are free.
    pub pool: Option<Uuid>,
    /// Its weight among the ads that fit, from 1 to [`WEIGHT_MAX`](crate::limits::WEIGHT_MAX).
    pub weight: u32,
    /// Where a click leads: a URL of http or https.
    pub link: Option<String>,
    /// Whether it is not served for now.
    pub paused: bool,
}

/// A [`Delivery`] whose text lies elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryView<'a> {
    /// See [`Delivery::pool`].
    pub pool: Option<Uuid>,
    /// See [`Delivery::weight`].
    pub weight: u32,
    /// See [`Delivery::link`].
    pub link: Option<&'a str>,
    /// See [`Delivery::paused`].
    pub paused: bool,
}

impl Default for Delivery {
    fn default() -> Self {
        DeliveryView::default().into()
    }
}

impl Default for DeliveryView<'_> {
    fn default() -> Self {
        Self { pool: None, weight: WEIGHT_DEFAULT, link: None, paused: false }
    }
}

impl DeliveryView<'_> {
    /// Returns true if it says nothing: builds before pools read such an ad.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl<'a> From<&'a Delivery> for DeliveryView<'a> {
    fn from(delivery: &'a Delivery) -> Self {
        let Delivery { pool, weight, link, paused } = delivery;
        Self { pool: *pool, weight: *weight, link: link.as_deref(), paused: *paused }
    }
}

impl From<DeliveryView<'_>> for Delivery {
    fn from(view: DeliveryView<'_>) -> Self {
        let DeliveryView { pool, weight, link, paused } = view;
        Self { pool, weight, link: link.map(str::to_owned), paused }
    }
}

/// The rule that a link keeps.
pub(crate) const LINK_RULE: &str =
    "must be a URL of http or https with a host, without a user, of at most 2048 bytes";

/// Refuses what is not a link. A browser is sent there, so that another scheme would run code, and a user's name in it could
/// pass for the host.
pub(crate) fn is_a_link(text: &str) -> Result<(), ValidationError> {
    let is_sent = text.len() <= LINK_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>".contains(&byte));
    // Parsers mend what is not absolute, each in its own way.
    let starts =
        |with: &str| text.get(..with.len()).is_some_and(|of| of.eq_ignore_ascii_case(with));
    let rest = ["http://", "https://"].into_iter().find(|with| starts(with));
    let rest = rest.and_then(|with| text.get(with.len()..)).filter(|_| is_sent);
    let fits = rest.is_some_and(|rest| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        !authority.is_empty() && !authority.contains('@') && url::Url::parse(text).is_ok()
    });
    if fits { Ok(()) } else { Err(ValidationError::new("link").with_message(LINK_RULE.into())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_is_a_url_of_http_or_https() {
        for text in [
            "https://example.com",
            "http://example.com:8080/a?b=c#d",
            "https://[::1]/",
            "HTTPS://EXAMPLE.com/%20",
        ] {
            assert_eq!(is_a_link(text), Ok(()), "{text}");
        }
        let long = format!("https://example.com/{}", "x".repeat(LINK_BYTES_MAX));
        for text in [
            "",
            "example.com",
            "/a",
            "javascript:alert(1)",
            "ftp://example.com/",
            "https://",
            "https://shop.example@evil.example/",
            "https://example.com/a b",
            "https://example.com/\n",
            "https://exämple.com/",
            "https:example.com",
            "http:evil",
            "https:///x",
            "https:\\\\x",
            "https://@evil.example/",
            "https://:@host/",
            "https://ex\"ample.com/",
            "https://example.com/<a>",
            &long,
        ] {
            assert!(is_a_link(text).is_err(), "{text}");
        }
    }
}
