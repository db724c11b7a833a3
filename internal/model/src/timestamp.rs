//! An instant in whole microseconds, and the two ways in which clients write one.

use std::fmt;

use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

/// Microseconds since 1970-01-01T00:00:00Z; years 0 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// `2006-01-02 15:04:05 +0800`, the form in which Go prints a time, less its zone name.
const GO_STAMP: &[BorrowedFormatItem<'_>] = format_description!(
    version = 2,
    "[year]-[month]-[day] [hour]:[minute]:[second][optional [.[subsecond digits:1+]]] [offset_hour sign:mandatory][offset_minute]"
);

/// 0000-01-01T00:00:00Z.
const EARLIEST: i64 = -62_167_219_200_000_000;
/// 9999-12-31T23:59:59.999999Z.
const LATEST: i64 = 253_402_300_799_999_999;
/// Longest accepted stamp, in bytes; both forms stay well below it.
const STAMP_BYTES_MAX: usize = 64;
/// Most digits of a second: programs write nanoseconds.
const FRACTION_DIGITS_MAX: usize = 9;
/// Where a date ends, in bytes.
const DATE_BYTES: usize = "2006-01-02".len();

impl Timestamp {
    /// 0000-01-01T00:00:00Z, the earliest instant.
    pub const MIN: Self = Self(EARLIEST);
    /// The latest.
    pub const MAX: Self = Self(LATEST);
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// Returns the instant `micros` microseconds after (or, if negative, before) the Unix epoch; `None` outside the
    /// years 0 to 9999.
    pub fn from_micros(micros: i64) -> Option<Self> {
        (EARLIEST..=LATEST).contains(&micros).then_some(Self(micros))
    }

    /// Microseconds since the Unix epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Returns this instant moved by `micros` microseconds, clamped to the years 0 to 9999.
    pub fn saturating_add_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros).clamp(EARLIEST, LATEST))
    }

    /// Reads RFC 3339 (`2026-01-02T15:04:05.5+08:00`) or `2026-01-02 15:04:05.5 +0800 CST`, where the zone's
    /// name is optional and ignored, because the offset already says all. In both forms `T`, `t` or a space stands
    /// between date and time. What a second has beyond microseconds is cut off, so that no stamp is later than what
    /// was written.
    ///
    /// # Errors
    /// A clause that says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const SHAPE: &str =
            "must be RFC 3339 (2026-01-02T15:04:05+08:00) or like 2026-01-02 15:04:05 +0800 CST";
        if text.len() > STAMP_BYTES_MAX || !text.is_ascii() {
            return Err(SHAPE);
        }
        let digits_of_fraction = text
            .split_once('.')
            .map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
        if digits_of_fraction > FRACTION_DIGITS_MAX {
            return Err("must not be finer than a nanosecond (9 digits of a second)");
        }
        let moment = moment(text).ok_or(SHAPE)?;
        // An ordinary division would round instants before 1970 up.
        i64::try_from(moment.unix_timestamp_nanos().div_euclid(1_000))
            .ok()
            .and_then(Self::from_micros)
            .ok_or("must be within the years 0 to 9999 in UTC")
    }
}

/// Reads either form. The parser takes any character between date and time, so it is given the one that it should be.
fn moment(text: &str) -> Option<OffsetDateTime> {
    let (date, rest) = text.split_at_checked(DATE_BYTES)?;
    let time = rest.strip_prefix(['T', 't', ' '])?;
    OffsetDateTime::parse(&format!("{date}T{time}"), &Rfc3339)
        .or_else(|_| {
            let stamp = format!("{date} {time}");
            OffsetDateTime::parse(without_zone_name(&stamp), GO_STAMP)
        })
        .ok()
}

/// Cuts off a fourth word that looks like a zone's name: letters, or digits after a sign.
fn without_zone_name(text: &str) -> &str {
    let Some((stamp, zone)) = text.rsplit_once(' ') else { return text };
    let named = (1..=5).contains(&zone.len()) && zone.bytes().all(|b| b.is_ascii_alphabetic());
    let numbered = matches!(zone.len(), 3 | 5)
        && zone.starts_with(['+', '-'])
        && zone[1..].bytes().all(|b| b.is_ascii_digit());
    if (named || numbered) && stamp.matches(' ').count() == 2 { stamp } else { text }
}

impl fmt::Display for Timestamp {
    /// Formats it as RFC 3339 in UTC, with as many digits of a second as it needs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000)
            .map(|moment| moment.to_offset(UtcOffset::UTC))
            .ok()
            .and_then(|moment| moment.format(&Rfc3339).ok())
            .expect("a timestamp is within the years that RFC 3339 can write");
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> i64 {
        Timestamp::parse(text).unwrap().micros()
    }

    #[test]
    fn both_forms_name_the_same_instant() {
        let expected = micros("2026-01-02T07:04:05Z");
        for text in [
            "2026-01-02T15:04:05+08:00",
            "2026-01-02t07:04:05z",
            "2026-01-02 07:04:05Z",
            "2026-01-02T15:04:05 +0800 CST",
            "2026-01-02T07:04:05.000000999Z",
            "2026-01-02 15:04:05 +0800 CST",
            "2026-01-02 15:04:05 +0800",
            "2026-01-02 15:04:05 +0800 +08",
            "2026-01-02 02:04:05 -0500 EST",
            "2026-01-02 15:04:05.000000 +0800 CST",
        ] {
            assert_eq!(micros(text), expected, "{text}");
        }
        assert_eq!(micros("2026-01-02 15:04:05.25 +0800 CST"), expected + 250_000);
    }

    #[test]
    fn invalid_timestamps_are_refused() {
        for text in [
            "",
            "now",
            "2026-01-02",
            "2026-01-02T15:04:05",
            "2026-01-02 15:04:05",
            "2026-01-02 15:04:05 CST",
            "2026-13-02T15:04:05Z",
            "2026-02-30T15:04:05Z",
            "2026-01-02T25:04:05Z",
            "2026-01-02_15:04:05Z",
            "2026-01-02\u{0}15:04:05Z",
            "2026-01-02_15:04:05 +0800 CST",
            "2026-01-0215:04:05Z",
            "2026-01-02T15:04:05.1234567890Z",
            "2026-01-02 15:04:05.1234567890 +0800 CST",
            "2026-01-02 15:04:05 +0800 CST extra",
            "2026-01-02 15:04:05 +0800 C5T",
            "２026-01-02T15:04:05Z",
            "10000-01-01T00:00:00Z",
            "9999-12-31T23:59:59-01:00",
        ] {
            assert!(Timestamp::parse(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn timestamps_are_cut_to_microseconds_never_rounded() {
        for (text, cut) in [
            ("1970-01-01T00:00:00.000001999Z", 1),
            ("1970-01-01 00:00:00.999999999 +0000", 999_999),
            ("1969-12-31T23:59:59.999999999Z", -1),
            ("1969-12-31 23:59:59.0000001 +0000 UTC", -1_000_000),
            ("9999-12-31T23:59:59.999999999Z", LATEST),
        ] {
            assert_eq!(micros(text), cut, "{text}");
        }
    }

    #[test]
    fn printed_timestamps_are_read_back() {
        for micros in [EARLIEST, -1, 0, 1, 999_999, 1_700_000_000_123_456, LATEST] {
            let stamp = Timestamp::from_micros(micros).unwrap();
            assert_eq!(Timestamp::parse(&stamp.to_string()), Ok(stamp));
        }
        assert_eq!(Timestamp::from_micros(LATEST + 1), None);
        assert_eq!(Timestamp::from_micros(EARLIEST - 1), None);
    }
}
