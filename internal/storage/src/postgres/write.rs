//! The statement that writes a plan down, if the head is still the one that the plan follows.

use std::sync::LazyLock;

use placard_model::Timestamp;
use placard_model::entry::{Chain, FORMAT_LEVEL, FORMAT_LEVEL_MIN, Position};
use placard_replica::Plan;
use sqlx::{PgConnection, Row};

use super::lane::Failure;
use super::rows::{Stamp, column};

/// What a plan rests on, and what its statement must do beside moving the head, appending to the log and putting
/// ads: few plans need either, and together they cost a small write a third of the server's time even if there is
/// nothing to do.
struct Statement {
    basis: Basis,
    kept: bool,
    deleted: bool,
    raised: bool,
}

impl Statement {
    fn text(&self) -> &'static str {
        static TEXTS: LazyLock<[String; 16]> = LazyLock::new(|| {
            std::array::from_fn(|nth| {
                let basis = if nth & 8 == 0 { Basis::Read } else { Basis::Nothing };
                let (kept, deleted, raised) = (nth & 4 != 0, nth & 2 != 0, nth & 1 != 0);
                Statement { basis, kept, deleted, raised }.write()
            })
        });
        let flags = [self.basis == Basis::Nothing, self.kept, self.deleted, self.raised];
        &TEXTS[flags.iter().fold(0, |nth, flag| nth * 2 + usize::from(*flag))]
    }

    /// Everything that a plan changes, or nothing if another transaction has written since the plan's state was
    /// read, if the plan rests on there being none of its ads and keys, and there is one, or if the journal needs more
    /// than this build reads. The head comes first: the others wait for it, and for whoever has it locked.
    fn write(&self) -> String {
        let (unkept, keep) = if self.kept { (UNKEPT, KEEP) } else { ("", "") };
        // Parameters that only some plans have come last.
        let mut next = if self.kept { 23 } else { 19 };
        let mut optional = |wanted: bool, text: fn(u8) -> String| {
            let parameter = next;
            next += u8::from(wanted);
            if wanted { text(parameter) } else { String::new() }
        };
        let (delete, raise) = (optional(self.deleted, delete), optional(self.raised, raise));
        let (none, replace) = match self.basis {
            Basis::Read => (String::new(), REPLACE),
            // To look for a conflict too would cost a write of 16 new ads a seventh of the server's time.
            Basis::Nothing => {
                let exists = "EXISTS (SELECT FROM ads WHERE id = ANY ($12))";
                (format!("AND NOT ({exists} {unkept})"), "")
            }
        };
        format!(
            "WITH moved AS (
                UPDATE head SET version = $1, chain = $2, digest = $3, writes = writes + 1
                 WHERE single AND writes = $4 AND chain = $5 {none}
                   AND EXISTS (SELECT FROM journal WHERE single AND level <= {FORMAT_LEVEL})
                RETURNING 1
            ), appended AS (
                INSERT INTO log (version, chain, request, item, at, bytes)
                SELECT new.* FROM moved, unnest($6::bigint[], $7::bytea[], $8::uuid[], $9::int[],
                                                $10::timestamptz[], $11::bytea[]) AS new
            ), put AS (
                INSERT INTO ads (id, version, created_at, start_at, end_at, title, encoded)
                SELECT new.* FROM moved, unnest($12::uuid[], $13::bigint[], $14::timestamptz[],
                                                $15::timestamptz[], $16::timestamptz[], $17::text[],
                                                $18::bytea[]) AS new {replace}
            ) {keep} {delete} {raise}
            SELECT (SELECT count(*) FROM moved) AS moved, clock_timestamp() AS now"
        )
    }
}

/// For ads that may be there.
const REPLACE: &str = "
                ON CONFLICT (id) DO UPDATE
                SET version = excluded.version, created_at = excluded.created_at,
                    start_at = excluded.start_at, end_at = excluded.end_at, title = excluded.title,
                    encoded = excluded.encoded";
const UNKEPT: &str = "OR EXISTS (SELECT FROM idempotency WHERE scope = ANY ($20))";
const KEEP: &str = ", kept AS (
        INSERT INTO idempotency (scope, body, answer, at)
        SELECT scope, body, answer, $19
          FROM moved, unnest($20::bytea[], $21::bytea[], $22::bytea[]) AS new (scope, body, answer)
        ON CONFLICT (scope) DO UPDATE
        SET body = excluded.body, answer = excluded.answer, at = excluded.at
    )";

fn delete(parameter: u8) -> String {
    format!(
        ", deleted AS (
            DELETE FROM ads WHERE id = ANY (${parameter}) AND EXISTS (SELECT FROM moved)
        )"
    )
}

fn raise(parameter: u8) -> String {
    format!(
        ", raised AS (
            UPDATE journal SET level = ${parameter} WHERE single AND level < ${parameter} AND EXISTS (SELECT FROM moved)
        )"
    )
}

/// The head that a plan follows: how many writes had led to it, and its chain, which tells it from the head of
/// a server that has lost some of them in a failover and has seen others since.
#[derive(Debug, Clone, Copy)]
pub(super) struct From {
    pub(super) writes: i64,
    pub(super) chain: Chain,
}

/// What else a plan rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Basis {
    /// What was read.
    Read,
    /// That there is none of the ads and keys that it writes.
    Nothing,
}

/// Writes a plan down, in one round trip, if the head is still what it follows. Returns the time of the write, by
/// the database, or nothing if it did not write.
pub(super) async fn write(
    connection: &mut PgConnection,
    from: From,
    basis: Basis,
    plan: &Plan,
) -> Result<Option<Timestamp>, Failure> {
    let log = &plan.log;
    let put: Vec<_> = plan.ads.iter().filter_map(|(id, ad)| Some((id, ad.as_ref()?))).collect();
    let deleted: Vec<_> =
        plan.ads.iter().filter(|(_, ad)| ad.is_none()).map(|(id, _)| *id).collect();
    // PostgreSQL's text cannot hold the character U+0000; the encoded ad has the title as it is.
    let titles = list(&put, |(_, (ad, _))| ad.spec.title.replace("\0", "\u{fffd}"));
    let kept = &plan.kept;
    let Position { version, chain, digest } = plan.head;
    let level = plan.level();
    let (kept_any, deleted_any, raised) =
        (!kept.is_empty(), !deleted.is_empty(), level > FORMAT_LEVEL_MIN);
    let statement = Statement { basis, kept: kept_any, deleted: deleted_any, raised };
    let mut query = sqlx::query(statement.text())
        .bind(column(version))
        .bind(chain.0.as_slice())
        .bind(digest.0.to_be_bytes().as_slice())
        .bind(from.writes)
        .bind(from.chain.0.as_slice())
        .bind(list(log, |row| column(row.record.version)))
        .bind(list(log, |row| row.record.chain.0.as_slice()))
        .bind(list(log, |row| row.request))
        .bind(list(log, |row| row.item as i32))
        .bind(list(log, |row| Stamp(row.at)))
        .bind(list(log, |row| row.record.bytes.as_ref()))
        .bind(list(&put, |(id, _)| **id))
        .bind(list(&put, |(_, (ad, _))| column(ad.version)))
        .bind(list(&put, |(_, (ad, _))| Stamp(ad.created_at)))
        .bind(list(&put, |(_, (ad, _))| Stamp(ad.spec.start_at)))
        .bind(list(&put, |(_, (ad, _))| Stamp(ad.spec.end_at)))
        .bind(titles)
        .bind(list(&put, |(_, (_, encoded))| encoded.bytes().as_ref()));
    if statement.kept {
        query = query
            .bind(Stamp(plan.now))
            .bind(list(kept, |one| one.scope.as_slice()))
            .bind(list(kept, |one| one.body.as_slice()))
            .bind(list(kept, |one| one.answer.as_ref()));
    }
    if statement.deleted {
        query = query.bind(deleted);
    }
    if statement.raised {
        query = query.bind(i16::from(level));
    }
    let row = query.fetch_one(connection).await?;
    let Stamp(now) = row.try_get("now")?;
    Ok((row.try_get::<i64, _>("moved")? == 1).then_some(now))
}

/// One column of a bulk insert.
fn list<'r, R, T>(rows: &'r [R], column: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(column).collect()
}
