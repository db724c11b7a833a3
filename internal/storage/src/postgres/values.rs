//! The values of a statement, either bound to it or written out: a message of several statements saves round trips, and
//! PostgreSQL takes no parameters with it. What is written out is the same value as what is bound, whatever is in it.

use std::fmt::{self, Display, Write};

use placard_model::entry::Digest;
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use uuid::Uuid;

use super::codec::Stamp;

/// One value.
pub(super) enum Value<'v> {
    Number(i64),
    Level(i16),
    Seconds(f64),
    Bytes(&'v [u8]),
    Stamp(Stamp),
    Digest(Digest),
    Numbers(Vec<i64>),
    Items(Vec<i32>),
    Texts(Vec<String>),
    BytesList(Vec<&'v [u8]>),
    Ids(Vec<Uuid>),
    Stamps(Vec<Stamp>),
    Kinds(Vec<i16>),
    /// Some of them may be missing.
    OptionalIds(Vec<Option<Uuid>>),
    OptionalStamps(Vec<Option<Stamp>>),
}

type Bound<'q> = Query<'q, Postgres, PgArguments>;

impl<'q> Value<'q> {
    pub(super) fn bind(self, query: Bound<'q>) -> Bound<'q> {
        match self {
            Self::Number(value) => query.bind(value),
            Self::Level(value) => query.bind(value),
            Self::Seconds(value) => query.bind(value),
            Self::Bytes(value) => query.bind(value),
            Self::Stamp(value) => query.bind(value),
            Self::Digest(Digest(value)) => query.bind(value.to_be_bytes()),
            Self::Numbers(values) => query.bind(values),
            Self::Items(values) => query.bind(values),
            Self::Texts(values) => query.bind(values),
            Self::BytesList(values) => query.bind(values),
            Self::Ids(values) => query.bind(values),
            Self::Stamps(values) => query.bind(values),
            Self::Kinds(values) => query.bind(values),
            Self::OptionalIds(values) => query.bind(values),
            Self::OptionalStamps(values) => query.bind(values),
        }
    }
}

impl Display for Value<'_> {
    /// As a literal whose type is that of what it is given to, for `standard_conforming_strings = on`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(value) => write!(f, "{value}"),
            Self::Level(value) => write!(f, "{value}"),
            Self::Seconds(value) => write!(f, "{value}"),
            Self::Bytes(value) => bytes(f, value),
            Self::Digest(Digest(value)) => bytes(f, &value.to_be_bytes()),
            Self::Stamp(value) => write!(f, "'{value}'"),
            Self::Numbers(values) => array(f, values, |f, value| write!(f, "{value}")),
            Self::Items(values) => array(f, values, |f, value| write!(f, "{value}")),
            Self::Texts(values) => array(f, values, |f, value| quoted(f, value)),
            Self::BytesList(values) => array(f, values, |f, value| {
                f.write_str("\"\\\\x")?;
                hex(f, value)?;
                f.write_char('"')
            }),
            Self::Ids(values) => array(f, values, |f, value| write!(f, "{value}")),
            Self::Stamps(values) => array(f, values, |f, value| write!(f, "\"{value}\"")),
            Self::Kinds(values) => array(f, values, |f, value| write!(f, "{value}")),
            Self::OptionalIds(values) => array(f, values, |f, value| match value {
                Some(value) => write!(f, "{value}"),
                None => f.write_str("NULL"),
            }),
            Self::OptionalStamps(values) => array(f, values, |f, value| match value {
                Some(value) => write!(f, "\"{value}\""),
                None => f.write_str("NULL"),
            }),
        }
    }
}

/// A call of a prepared statement.
pub(super) fn execute(name: &str, values: &[Value<'_>]) -> String {
    let values: Vec<_> = values.iter().map(Value::to_string).collect();
    format!("EXECUTE {name} ({})", values.join(", "))
}

fn array<T>(
    f: &mut fmt::Formatter<'_>,
    values: &[T],
    element: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    f.write_str("'{")?;
    for (nth, value) in values.iter().enumerate() {
        if nth > 0 {
            f.write_char(',')?;
        }
        element(f, value)?;
    }
    f.write_str("}'")
}

fn bytes(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    f.write_str("'\\x")?;
    hex(f, bytes)?;
    f.write_char('\'')
}

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |four: u8| char::from(DIGITS[usize::from(four)]);
    bytes.iter().try_for_each(|byte| {
        f.write_char(digit(byte >> 4))?;
        f.write_char(digit(byte & 15))
    })
}

/// Writes an element of an array, which is within a literal. Neither ends before the text does, and the text NULL does
/// not become a null.
fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for one in text.chars() {
        match one {
            '"' | '\\' => f.write_char('\\')?,
            '\'' => f.write_char('\'')?,
            _ => {}
        }
        f.write_char(one)?;
    }
    f.write_char('"')
}

#[cfg(test)]
mod tests {
    use placard_model::Timestamp;
    use placard_testkit::servers::postgres::PostgresServer;
    use sqlx::{AssertSqlSafe, Connection, PgConnection};

    use super::*;

    const TEXTS: [&str; 16] = [
        "",
        " ",
        "NULL",
        "it's",
        "''",
        "\"quoted\"",
        "\\",
        "\\'\\\"",
        "ends with \\",
        "{1,2}",
        "a, b",
        "$1 $$ $q$ :x ? %s",
        "'); COMMIT; --",
        "/* no comment",
        "\t\r\n\u{1}\u{7f}",
        "\u{e4} \u{6f22} \u{1f600} \u{202e} \u{ffff}",
    ];

    fn stamps() -> Vec<Stamp> {
        let year_one = -62_135_596_800_000_000;
        let moments = [-1, 0, 1, year_one - 1, year_one, 951_782_399_999_999];
        let moments = moments.into_iter().filter_map(Timestamp::from_micros);
        moments.chain([Timestamp::MIN, Timestamp::MAX]).map(Stamp).collect()
    }

    fn values() -> Vec<(&'static str, Value<'static>)> {
        let every: Vec<u8> = (0..=255).collect();
        let every: &'static [u8] = every.leak();
        let mut values = vec![
            ("bigint", Value::Number(0)),
            ("bigint", Value::Number(i64::MAX)),
            ("smallint", Value::Level(2)),
            ("double precision", Value::Seconds(86_400.0)),
            ("double precision", Value::Seconds(0.1)),
            ("bytea", Value::Bytes(b"")),
            ("bytea", Value::Bytes(every)),
            ("bytea", Value::Digest(Digest(u128::MAX - 1))),
            ("bytea", Value::Digest(Digest(0))),
            ("bigint[]", Value::Numbers(vec![])),
            ("bigint[]", Value::Numbers(vec![1, i64::MAX, 0])),
            ("int[]", Value::Items(vec![])),
            ("int[]", Value::Items(vec![0, i32::MAX])),
            ("text[]", Value::Texts(vec![])),
            ("text[]", Value::Texts(TEXTS.map(str::to_owned).into())),
            ("bytea[]", Value::BytesList(vec![])),
            ("bytea[]", Value::BytesList(vec![b"", every, b"\\", b"NULL"])),
            ("uuid[]", Value::Ids(vec![])),
            ("uuid[]", Value::Ids(vec![Uuid::nil(), Uuid::max(), Uuid::from_u128(1)])),
            ("timestamptz[]", Value::Stamps(vec![])),
            ("timestamptz[]", Value::Stamps(stamps())),
            ("smallint[]", Value::Kinds(vec![])),
            ("smallint[]", Value::Kinds(vec![1, 0, i16::MAX])),
            ("uuid[]", Value::OptionalIds(vec![])),
            ("uuid[]", Value::OptionalIds(vec![None, Some(Uuid::max()), None])),
            ("timestamptz[]", Value::OptionalStamps(vec![])),
            (
                "timestamptz[]",
                Value::OptionalStamps(stamps().into_iter().map(Some).chain([None]).collect()),
            ),
        ];
        values.extend(stamps().into_iter().map(|stamp| ("timestamptz", Value::Stamp(stamp))));
        values.extend(TEXTS.map(|text| ("text[]", Value::Texts(vec![text.to_owned()]))));
        values
    }

    /// U+0000 is in none of the texts, because PostgreSQL takes it neither way.
    #[tokio::test]
    async fn value_written_out_is_the_value_that_is_bound() {
        let server = PostgresServer::start().await.expect("a server starts");
        let mut connection = PgConnection::connect(&server.url()).await.expect("it can be reached");
        for (kind, value) in values() {
            let text = format!("SELECT ({value})::{kind} IS NOT DISTINCT FROM $1 AS same");
            let bound = value.bind(sqlx::query(AssertSqlSafe(text.clone())));
            let row = bound.fetch_one(&mut connection).await;
            let same = row.and_then(|row| sqlx::Row::try_get::<bool, _>(&row, "same"));
            assert!(matches!(same, Ok(true)), "{text}: {same:?}");
        }
    }
}
