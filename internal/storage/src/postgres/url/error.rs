//! Why a URL of PostgreSQL's cannot be used. No message shows what may be a part of a password.

use std::path::PathBuf;

/// Why a URL cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// It is not a PostgreSQL URL.
    #[error(
        "not a PostgreSQL URL (postgres://user:password@host:port/database, with what is special in a name or password \
         percent-encoded)"
    )]
    Form,
    /// A parameter means nothing: a mistyped `sslmode` would leave the connection unchecked. It is named only if it cannot
    /// be a part of a password that was not escaped.
    #[error("the PostgreSQL URL has an unknown parameter{}", parameter(.0.as_deref()))]
    Unknown(Option<String>),
    /// A parameter's value is invalid.
    #[error("the PostgreSQL URL's {0} must be {1}")]
    Value(&'static str, &'static str),
    /// A parameter is libpq's, and what it asks for cannot be had.
    #[error("the PostgreSQL URL's {0} cannot be honoured: {1}")]
    Refused(&'static str, &'static str),
    /// A file that is named cannot be read.
    #[error("cannot read {1}, which the PostgreSQL URL names as {0}")]
    File(&'static str, PathBuf, #[source] std::io::Error),
}

/// A parameter's name, or what it may be if it is not shown.
fn parameter(name: Option<&str>) -> String {
    match name {
        Some(name) => format!(", {name}"),
        None => {
            ": is it a part of a password, in which ? must be percent-encoded as %3F?".to_owned()
        }
    }
}
