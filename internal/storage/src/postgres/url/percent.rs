//! Percent-encoding in URLs. What is malformed is refused rather than passed on.

use std::fmt::Write;

use super::error::UrlError;

/// Percent-encodes all but letters, digits, `-` and `_`, so that nothing in the text has a meaning in a URL.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let _ = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => {
                write!(encoded, "{}", char::from(byte))
            }
            byte => write!(encoded, "%{byte:02X}"),
        };
    }
    encoded
}

/// Decodes percent-encoding.
pub(super) fn decoded(text: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let byte = match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                rest = after;
                let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(UrlError::Form);
                (digit(*high)? * 16 + digit(*low)?) as u8
            }
            (b'%', _) => return Err(UrlError::Form),
            (byte, _) => *byte,
        };
        bytes.push(byte);
    }
    let decoded = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    decoded.ok_or(UrlError::Form)
}
