//! The hosts and ports that a URL names.

use std::net::Ipv6Addr;

use super::error::UrlError;
use super::percent::decoded;

/// A host, if it is named, and a port, if it is.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Place(pub(super) Option<String>, pub(super) Option<u16>);

/// Hosts, each with its port, between commas.
pub(super) fn places(text: &str) -> Result<Vec<Place>, UrlError> {
    text.split(',').map(place).collect()
}

fn place(text: &str) -> Result<Place, UrlError> {
    let (host, after) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, after)) => {
            host.parse::<Ipv6Addr>().map_err(|_| UrlError::Form)?;
            (Some(host.to_owned()), after)
        }
        None => {
            let end = text.find(':').unwrap_or(text.len());
            (named(&decoded(&text[..end])?)?, &text[end..])
        }
    };
    let port = match after {
        "" | ":" => None,
        _ => Some(port(after.strip_prefix(':').ok_or(UrlError::Form)?)?),
    };
    Ok(Place(host, port))
}

/// A host's name, its address, or the directory of its socket; `None` if it is empty, which means the default.
pub(super) fn named(host: &str) -> Result<Option<String>, UrlError> {
    let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let is_known = is_name || host.starts_with('/') || host.parse::<Ipv6Addr>().is_ok();
    is_known.then(|| (!host.is_empty()).then(|| host.to_owned())).ok_or(UrlError::Form)
}

pub(super) fn port(text: &str) -> Result<u16, UrlError> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_number && *port > 0).ok_or(UrlError::Form)
}
