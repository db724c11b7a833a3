//! The reasons of a failure, for a line of the log. An adapter's error names what could not be done, and the cause is
//! often two sources further down: a wrong password behind a connection that cannot be made.

use std::error::Error;

/// Returns what the sources of an error say, from the nearest to the last, with `: ` between them; `None` if the error
/// has no source. A text that a source repeats from the one behind it appears once. Adapters ensure that no source
/// contains a secret.
pub fn reasons(error: &dyn Error) -> Option<String> {
    let mut told: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(source) = next {
        next = source.source();
        let text = source.to_string();
        if !told.last().is_some_and(|before| before.ends_with(&text)) {
            told.push(text);
        }
    }
    (!told.is_empty()).then(|| told.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{CommitError, Unavailable};

    #[test]
    fn all_error_sources_are_named_once() {
        let wrong = std::io::Error::other("WRONGPASS");
        let connect = Unavailable("connect", wrong.into());
        let error = Unavailable("read the stream", connect.into());
        assert_eq!(reasons(&error).as_deref(), Some("cannot connect: WRONGPASS"));
        let error = CommitError::Unknown("cannot connect".into());
        assert_eq!(reasons(&error).as_deref(), Some("cannot connect"));
        assert_eq!(reasons(&std::io::Error::from(std::io::ErrorKind::TimedOut)), None);
        #[derive(Debug, thiserror::Error)]
        #[error("refused: {0}")]
        struct Telling(#[source] std::io::Error);
        let error = Unavailable("connect", Telling(std::io::Error::other("by rule")).into());
        assert_eq!(reasons(&error).as_deref(), Some("refused: by rule"));
    }
}
