//! One broken rule of a client's input: where it is broken, and how to mend it.

use std::fmt;

/// Where in a request a rule was broken.
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
    /// What the rule is, as a clause that can be shown to a person.
    pub detail: String,
}

impl Violation {
    /// A violation in the field `name` of a JSON object body.
    pub fn field(name: &str, detail: impl Into<String>) -> Self {
        let escaped = name.replace('~', "~0").replace('/', "~1");
        Self::pointer(format!("/{escaped}"), detail)
    }

    /// A violation at a JSON pointer.
    pub fn pointer(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { place: Place::Pointer(pointer.into()), detail: detail.into() }
    }

    /// A violation in a query or path parameter.
    pub fn parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { place: Place::Parameter(name.into()), detail: detail.into() }
    }

    /// A violation in a header field.
    pub fn header(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { place: Place::Header(name.into()), detail: detail.into() }
    }
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
