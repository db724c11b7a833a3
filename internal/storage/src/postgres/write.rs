//! The statement that writes a plan down, if the head is still the one that the plan follows: by itself, with its values
//! bound, or by name behind the head's lock, in a message that commits too.

use std::sync::LazyLock;

use placard_model::entry::{FORMAT_LEVEL_MIN, format_level};
use placard_model::{Ad, Timestamp};
use placard_replica::Plan;
use sqlx::{PgConnection, Row};

use super::codec::{Stamp, column};
use super::failure::Failure;
use super::head_guard::HeadGuard;
use super::values::{self, Value};

/// What a plan rests on, and what its statement must do beside moving the head, appending to the log and putting
/// ads: few plans need either, and together they cost a small write a third of the server's time even if there is
/// nothing to do.
struct Statement {
    basis: Basis,
    kept: bool,
    deleted: bool,
    raised: bool,
    /// Whether it writes records, and the pools of ads.
    capacity: bool,
}

impl Statement {
    fn text(&self) -> &'static str {
        static TEXTS: LazyLock<[String; 2 * READ]> =
            LazyLock::new(|| std::array::from_fn(|nth| Statement::numbered(nth).write()));
        &TEXTS[self.number()]
    }

    /// Those that rest on what was read come first.
    fn numbered(nth: usize) -> Self {
        let basis = if nth < READ { Basis::Read } else { Basis::Nothing };
        let (kept, deleted, raised, capacity) =
            (nth & 8 != 0, nth & 4 != 0, nth & 2 != 0, nth & 1 != 0);
        Self { basis, kept, deleted, raised, capacity }
    }

    fn number(&self) -> usize {
        let is_blind = self.basis == Basis::Nothing;
        let flags = [is_blind, self.kept, self.deleted, self.raised, self.capacity];
        flags.iter().fold(0, |nth, flag| nth * 2 + usize::from(*flag))
    }

    /// Returns the statement for a plan.
    fn of(basis: Basis, plan: &Plan) -> Self {
        Self {
            basis,
            kept: !plan.kept.is_empty(),
            deleted: plan.ads.iter().any(|(_, ad)| ad.is_none()),
            raised: plan.level() > FORMAT_LEVEL_MIN,
            capacity: is_of_capacity(plan),
        }
    }

    /// Returns the text that writes everything that a plan changes. It writes nothing if another transaction has
    /// written since the plan's state was read; if the plan rests on the absence of its ads and keys, and one exists;
    /// or if the journal needs more than this build reads. The head comes first: the other parts wait for it, and for a
    /// transaction that has it locked.
    fn write(&self) -> String {
        let (unkept, keep) = if self.kept { (UNKEPT, KEEP) } else { ("", "") };
        // Parameters that only some plans have come last.
        let mut next = if self.kept { 23 } else { 19 };
        let mut optional = |wanted: bool, parameters: u8, text: fn(u8) -> String| {
            let first = next;
            next += if wanted { parameters } else { 0 };
            if wanted { text(first) } else { String::new() }
        };
        let delete = optional(self.deleted, 1, delete);
        let raise = optional(self.raised, 1, raise);
        // The pools of ads first, then the records.
        let pools = optional(self.capacity, 1, |nth| format!(", ${nth}::uuid[]"));
        let records = optional(self.capacity, 7, records);
        let pool_column = if self.capacity { ", pool" } else { "" };
        let (none, replace) = match self.basis {
            Basis::Read if self.capacity => (String::new(), REPLACE_WITH_POOL),
            Basis::Read => (String::new(), REPLACE),
            // To look for a conflict too would cost a write of 16 new ads a seventh of the server's time.
            Basis::Nothing => {
                let exists = "EXISTS (SELECT FROM ads WHERE id = ANY ($12))";
                (format!("AND NOT ({exists} {unkept})"), "")
            }
        };
        let level = format_level();
        format!(
            "WITH moved AS (
                UPDATE head SET version = $1, chain = $2, digest = $3, writes = writes + 1
                 WHERE single AND writes = $4 AND chain = $5 {none}
                   AND EXISTS (SELECT FROM journal WHERE single AND level <= {level})
                RETURNING 1
            ), appended AS (
                INSERT INTO log (version, chain, request, item, at, bytes)
                SELECT new.* FROM moved, unnest($6::bigint[], $7::bytea[], $8::uuid[], $9::int[],
                                                $10::timestamptz[], $11::bytea[]) AS new
            ), put AS (
                INSERT INTO ads (id, version, created_at, start_at, end_at, title, encoded{pool_column})
                SELECT new.* FROM moved, unnest($12::uuid[], $13::bigint[], $14::timestamptz[],
                                                $15::timestamptz[], $16::timestamptz[], $17::text[],
                                                $18::bytea[]{pools}) AS new {replace}
            ) {keep} {delete} {raise} {records}
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
const REPLACE_WITH_POOL: &str = "
                ON CONFLICT (id) DO UPDATE
                SET version = excluded.version, created_at = excluded.created_at,
                    start_at = excluded.start_at, end_at = excluded.end_at, title = excluded.title,
                    encoded = excluded.encoded, pool = excluded.pool";
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

/// Puts the records whose columns are the first five of the parameters, and removes those that the other two name.
fn records(first: u8) -> String {
    let [kind, id, parent, due, encoded, gone_kind, gone_id] =
        std::array::from_fn(|nth| first + nth as u8);
    format!(
        ", put_records AS (
            INSERT INTO records (kind, id, parent, due, encoded)
            SELECT new.* FROM moved, unnest(${kind}::smallint[], ${id}::uuid[], ${parent}::uuid[],
                                            ${due}::timestamptz[], ${encoded}::bytea[]) AS new
            ON CONFLICT (kind, id) DO UPDATE
            SET parent = excluded.parent, due = excluded.due, encoded = excluded.encoded
        ), removed_records AS (
            DELETE FROM records
             USING unnest(${gone_kind}::smallint[], ${gone_id}::uuid[]) AS gone (kind, id)
             WHERE records.kind = gone.kind AND records.id = gone.id AND EXISTS (SELECT FROM moved)
        )"
    )
}

/// What a plan rests on beside the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Basis {
    /// The state that was read.
    Read,
    /// The absence of the ads and keys that it writes.
    Nothing,
}

/// The number of statements for plans that rest on what was read.
const READ: usize = 16;

/// Prepares the statements that [`execute`] calls for plans with records, or for those without.
pub(super) fn prepare(with_records: bool) -> String {
    let statements = (0..READ).map(|nth| (nth, Statement::numbered(nth)));
    let needed = statements.filter(|(_, statement)| statement.capacity == with_records);
    let prepare = |(nth, statement): (_, Statement)| {
        format!("PREPARE placard_write_{nth} AS {}", statement.text())
    };
    needed.map(prepare).collect::<Vec<_>>().join("; ")
}

/// Has a prepared statement write a plan down that rests on what was read: for a message that goes on behind it.
pub(super) fn execute(from: HeadGuard, plan: &Plan) -> String {
    let nth = Statement::of(Basis::Read, plan).number();
    values::execute(&format!("placard_write_{nth}"), &written(&from, plan))
}

/// Writes a plan down, in one round trip, if the head is still what it follows. Returns the time of the write, by
/// the database, or nothing if it did not write.
pub(super) async fn write(
    connection: &mut PgConnection,
    from: HeadGuard,
    basis: Basis,
    plan: &Plan,
) -> Result<Option<Timestamp>, Failure> {
    let text = Statement::of(basis, plan).text();
    let query = written(&from, plan).into_iter().fold(sqlx::query(text), |q, v| v.bind(q));
    let row = query.fetch_one(connection).await?;
    let Stamp(now) = row.try_get("now")?;
    Ok((row.try_get::<i64, _>("moved")? == 1).then_some(now))
}

/// The values of a plan's statement.
fn written<'v>(from: &'v HeadGuard, plan: &'v Plan) -> Vec<Value<'v>> {
    let log = &plan.log;
    let put: Vec<_> = plan.ads.iter().filter_map(|(id, ad)| Some((id, ad.as_ref()?))).collect();
    let deleted: Vec<_> =
        plan.ads.iter().filter(|(_, ad)| ad.is_none()).map(|(id, _)| *id).collect();
    let (kept, level) = (&plan.kept, plan.level());
    let mut values = vec![
        Value::Number(column(plan.head.version)),
        Value::Bytes(&plan.head.chain.0),
        Value::Digest(plan.head.digest),
        Value::Number(from.writes),
        Value::Bytes(&from.chain.0),
        Value::Numbers(list(log, |row| column(row.record.version))),
        Value::BytesList(list(log, |row| row.record.chain.0.as_slice())),
        Value::Ids(list(log, |row| row.request)),
        Value::Items(list(log, |row| row.item as i32)),
        Value::Stamps(list(log, |row| Stamp(row.at))),
        Value::BytesList(list(log, |row| row.record.bytes.as_ref())),
        Value::Ids(list(&put, |(id, _)| **id)),
        Value::Numbers(list(&put, |(_, (ad, _))| column(ad.version))),
        Value::Stamps(list(&put, |(_, (ad, _))| Stamp(ad.created_at))),
        Value::Stamps(list(&put, |(_, (ad, _))| Stamp(ad.spec.start_at))),
        Value::Stamps(list(&put, |(_, (ad, _))| Stamp(ad.spec.end_at))),
        // PostgreSQL's text cannot hold the character U+0000, be it bound or written out, and no other text is a value;
        // the encoded ad has the title as it is.
        Value::Texts(list(&put, |(_, (ad, _))| ad.spec.title.replace('\0', "\u{fffd}"))),
        Value::BytesList(list(&put, |(_, (_, encoded))| encoded.bytes().as_ref())),
    ];
    if !kept.is_empty() {
        values.push(Value::Stamp(Stamp(plan.now)));
        values.push(Value::BytesList(list(kept, |one| one.scope.as_slice())));
        values.push(Value::BytesList(list(kept, |one| one.body.as_slice())));
        values.push(Value::BytesList(list(kept, |one| one.answer.as_ref())));
    }
    if !deleted.is_empty() {
        values.push(Value::Ids(deleted));
    }
    if level > FORMAT_LEVEL_MIN {
        values.push(Value::Level(level.into()));
    }
    if is_of_capacity(plan) {
        let pool = |ad: &Ad| ad.spec.delivery.pool;
        values.push(Value::OptionalIds(list(&put, |(_, (ad, _))| pool(ad))));
        values.extend(record_values(plan));
    }
    values
}

/// Returns true if a plan writes records, or ads that name pools or did: what builds before pools have no column for.
pub(super) fn is_of_capacity(plan: &Plan) -> bool {
    !plan.records.is_empty() || plan.names_pools
}

fn record_values(plan: &Plan) -> [Value<'_>; 7] {
    let put: Vec<_> = plan.records.iter().filter_map(|(_, row)| row.as_ref()).collect();
    let gone = plan.records.iter().filter(|(_, row)| row.is_none()).map(|(key, _)| *key);
    let gone: Vec<_> = gone.collect();
    [
        Value::Kinds(list(&put, |row| row.key.kind.number().into())),
        Value::Ids(list(&put, |row| row.key.id)),
        Value::OptionalIds(list(&put, |row| row.parent)),
        Value::OptionalStamps(list(&put, |row| row.due.map(Stamp))),
        Value::BytesList(list(&put, |row| row.encoded.bytes().as_ref())),
        Value::Kinds(list(&gone, |key| key.kind.number().into())),
        Value::Ids(list(&gone, |key| key.id)),
    ]
}

/// One column of a bulk insert.
fn list<'r, R, T>(rows: &'r [R], column: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(column).collect()
}
