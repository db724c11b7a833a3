//! Whole numbers as clients write them in a query.

use std::str::FromStr;

/// Parses a whole number of digits only, from `min` to `max`: `+5`, `05` and ` 5` are invalid.
pub fn whole<T: FromStr + PartialOrd>(text: &str, min: T, max: T) -> Option<T> {
    let canonical = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|number| canonical && *number >= min && *number <= max)
}
