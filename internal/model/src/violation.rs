//! One broken rule of a client's input: where it is broken, and how to mend it.

use std::borrow::Cow;
use std::fmt;

use crate::limits::TOLD_BYTES_MAX;

/// The place in a request where a rule was broken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A JSON pointer (RFC 6901) into the body; empty for the body as a whole.
    Pointer(String),
    /// The name of a query or path parameter.
    Parameter(String),
    /// The name of a header field.
    Header(String),
}

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Where.
    pub place: Place,
    /// The rule, as a clause that can be shown to a person.
    pub detail: String,
}

impl Violation {
    /// A violation in the field `name` of a JSON object body.
    pub fn field(name: &str, detail: impl Into<String>) -> Self {
        let escaped = told(name).replace('~', "~0").replace('/', "~1");
        Self::pointer(format!("/{escaped}"), detail)
    }

    /// A violation at a JSON pointer.
    pub fn pointer(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { place: Place::Pointer(pointer.into()), detail: detail.into() }
    }

    /// A violation in a query or path parameter.
    pub fn parameter(name: &str, detail: impl Into<String>) -> Self {
        Self { place: Place::Parameter(told(name).into_owned()), detail: detail.into() }
    }

    /// A violation in a header field.
    pub fn header(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { place: Place::Header(name.into()), detail: detail.into() }
    }
}

/// Returns as much of a client's own words as an error repeats: the client may have sent megabytes.
pub(crate) fn told(words: &str) -> Cow<'_, str> {
    if words.len() <= TOLD_BYTES_MAX {
        return words.into();
    }
    format!("{}…", &words[..words.floor_char_boundary(TOLD_BYTES_MAX)]).into()
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Pointer(p) if p.is_empty() => write!(f, "body: {}", self.detail),
            Place::Pointer(p) | Place::Parameter(p) | Place::Header(p) => {
                write!(f, "{p}: {}", self.detail)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fields;

    #[test]
    fn clients_words_are_truncated_in_violations() {
        let whole = "~".repeat(TOLD_BYTES_MAX);
        let cut = format!("{whole}…");
        let place = |violation: Violation| violation.place;
        assert_eq!(place(Violation::parameter(&whole, "")), Place::Parameter(whole.clone()));
        let longer = format!("{whole}x");
        assert_eq!(place(Violation::parameter(&longer, "")), Place::Parameter(cut));
        let escaped = format!("/{}…", "~0".repeat(TOLD_BYTES_MAX));
        assert_eq!(place(Violation::field(&longer, "")), Place::Pointer(escaped));
        // A parser's message repeats the value that it got instead of an array.
        let text = serde_json::to_vec(&"x".repeat(100_000)).unwrap();
        let broken = Fields::many_from_json(&text, 1).unwrap_err();
        assert!(broken[0].detail.len() < 2 * TOLD_BYTES_MAX, "{}", broken[0].detail.len());
    }
}
