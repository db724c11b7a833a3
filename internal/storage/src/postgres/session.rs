//! The settings that a connection needs in its session, and the properties that a server needs so that the journal's
//! promises hold on it.
//!
//! A session is set up by statements and read back in another transaction. What a connection asks for while it
//! begins may be dropped by a pooler, silently, and with it the guards of the head's lock; a pooler that shares a
//! session among transactions would drop them later.

use std::time::{Duration, Instant};

use placard_model::entry::Incarnation;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use uuid::Uuid;

use super::failure::{Failure, Unfit};

/// The oldest version that has every setting the adapter relies on.
const OLDEST: i32 = 140_000;

/// A setting's name and value.
pub(super) type Setting = (&'static str, &'static str);

/// The settings of every connection. Those for the server's side of a silent connection are stated here, since the
/// server must not wait for a peer that has vanished silently.
const EVERY: [Setting; 7] = [
    ("tcp_user_timeout", "10s"),
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "2"),
    ("tcp_keepalives_count", "3"),
    ("idle_session_timeout", "0"),
    ("client_min_messages", "warning"),
    ("jit", "off"),
];

/// A setting without a meaning, which is asked for beside the operator's as a connection begins: if it is there, so are
/// those, whatever they are.
pub(super) const ASKED: Setting = ("placard.asked", "1");

/// The setting that names a session's owner. A pooler that hands the session to another connection hands that on too.
const OWNER: &str = "placard.connection";

const SYNCHRONOUS_COMMIT: &str = "synchronous_commit";

/// Whether new connections are checked for the durability of what is written through them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// It does not matter.
    Any,
    /// What is written must be durable.
    Checked,
    /// It should be; an operator has accepted that it is not.
    Accepted,
}

/// A database on one run of a server. One that was started again, or is a copy, is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    database: u32,
    /// In microseconds since 1970.
    started: i64,
}

impl From<Incarnation> for Run {
    fn from(Incarnation { database, started, .. }: Incarnation) -> Self {
        Self { database, started: started.micros() }
    }
}

impl Run {
    fn of(row: &PgRow) -> Result<Self, Failure> {
        let malformed = |_| Failure::Malformed("the server's run");
        Ok(Self {
            database: row.try_get::<&str, _>("database")?.parse().map_err(malformed)?,
            started: row.try_get::<&str, _>("started")?.parse().map_err(malformed)?,
        })
    }
}

/// A session that was set up.
#[derive(Debug)]
pub(super) struct Begun {
    /// The connection's id, by which the session is recognised from then on.
    pub(super) owner: Uuid,
    /// How long the quicker of two round trips took, since a busy machine makes a near server look far.
    pub(super) trip: Duration,
    pub(super) run: Run,
    /// The first schema of its search path that there is.
    pub(super) schema: Option<String>,
}

/// The setup of the sessions of one kind of work.
#[derive(Debug, Clone)]
pub(super) struct Session {
    settings: Vec<Setting>,
    durability: Durability,
}

impl Session {
    /// These settings, beside those of every connection; the last of a name counts.
    pub(super) fn new(settings: &[&[Setting]], durability: Durability) -> Self {
        let mut all: Vec<Setting> = EVERY.to_vec();
        for setting in settings.iter().copied().flatten() {
            all.retain(|(name, _)| *name != setting.0);
            all.push(*setting);
        }
        Self { settings: all, durability }
    }

    /// Sets a new connection up, in two round trips. An operator may ask for more as it begins.
    #[expect(clippy::disallowed_methods, reason = "a session has an id, and round trips are timed")]
    pub(super) async fn begin(
        &self,
        connection: &mut PgConnection,
        asks_more: bool,
    ) -> Result<Begun, Failure> {
        let owner = Uuid::new_v4();
        let begun = Instant::now();
        let rows = sqlx::raw_sql(AssertSqlSafe(self.set(owner))).fetch_all(&mut *connection).await;
        let first = begun.elapsed();
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => return Err(refused(connection, error).await),
        };
        let [found, set] = &rows[..] else { return Err(Failure::Malformed("a session")) };
        if found.try_get::<Option<&str>, _>("owner")?.is_some_and(|owner| !owner.is_empty()) {
            return Err(Unfit::SharedSessions.into());
        }
        let asked = Instant::now();
        let read = sqlx::raw_sql(AssertSqlSafe(self.read())).fetch_one(&mut *connection).await?;
        let trip = first.min(asked.elapsed());
        let same = |name: &str| -> Result<bool, sqlx::Error> {
            Ok(set.try_get::<&str, _>(name)?
                == read.try_get::<Option<&str>, _>(name)?.unwrap_or(""))
        };
        if found.try_get::<&str, _>("process")? != read.try_get::<&str, _>("process")? {
            return Err(Unfit::SharedSessions.into());
        }
        if !same(OWNER)? {
            return Err(Unfit::SharedSessions.into());
        }
        let durable = (self.durability != Durability::Any).then_some(SYNCHRONOUS_COMMIT);
        for name in self.settings.iter().map(|(name, _)| *name).chain(durable) {
            if !same(name)? {
                return Err(Unfit::Dropped(name.to_owned()).into());
            }
        }
        if asks_more && found.try_get::<Option<&str>, _>("asked")? != Some(ASKED.1) {
            return Err(Unfit::OptionsDropped.into());
        }
        takes_writes(&read)?;
        if self.durability != Durability::Any {
            fit(&read, self.durability == Durability::Accepted)?;
        }
        Ok(Begun { owner, trip, run: Run::of(&read)?, schema: read.try_get("schema")? })
    }

    /// Returns the statements that read what the session was before, and then set every setting. `synchronous_commit`
    /// is turned on if it is off. Each of its other values makes a commit wait for the local disk, and says how far to
    /// wait for standbys, which is the operator's choice: it is left as it is.
    fn set(&self, owner: Uuid) -> String {
        let set =
            |name: &str, value: &str| format!("set_config('{name}', {value}, false) AS \"{name}\"");
        let literal = |(name, value): &Setting| set(name, &format!("'{value}'"));
        let mut columns: Vec<_> = self.settings.iter().map(literal).collect();
        columns.push(set(OWNER, &format!("'{owner}'")));
        if self.durability != Durability::Any {
            let on = "CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
                           ELSE current_setting('synchronous_commit') END";
            columns.push(set(SYNCHRONOUS_COMMIT, on));
        }
        let (asked, _) = ASKED;
        format!(
            "SELECT current_setting('{OWNER}', true) AS owner, pg_backend_pid()::text AS process,
                    current_setting('{asked}', true) AS asked;
             SELECT {}",
            columns.join(", ")
        )
    }

    fn read(&self) -> String {
        const SERVER: [&str; 6] = [
            "server_version_num",
            "server_version",
            "server_encoding",
            "default_transaction_read_only",
            "fsync",
            "full_page_writes",
        ];
        let column = |name: &str| format!("current_setting('{name}', true) AS \"{name}\"");
        let own = self.settings.iter().map(|(name, _)| *name).chain([OWNER, SYNCHRONOUS_COMMIT]);
        let columns: Vec<_> = own.chain(SERVER).map(column).collect();
        format!(
            "SELECT pg_backend_pid()::text AS process, pg_is_in_recovery()::text AS standby,
                    current_schema()::text AS schema,
                    (SELECT oid FROM pg_database WHERE datname = current_database())::text AS database,
                    (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint::text AS started, {}",
            columns.join(", ")
        )
    }
}

/// Why a session cannot be set up: what the server does not let us have, or that it is too old to know of it.
async fn refused(connection: &mut PgConnection, error: sqlx::Error) -> Failure {
    let Some(database) = error.as_database_error() else { return error.into() };
    let code = database.code();
    // 22 data exception (a value), 42 syntax error or access rule violation (a name or a right).
    if !matches!(code.as_deref().and_then(|code| code.get(..2)), Some("22" | "42")) {
        return error.into();
    }
    let why = Unfit::Refused(database.message().to_owned());
    let version = "SELECT current_setting('server_version_num') AS server_version_num,
                          current_setting('server_version') AS server_version";
    let version = sqlx::raw_sql(version).fetch_one(connection).await;
    match version.map_err(Failure::from).and_then(|version| new_enough(&version)) {
        Err(too_old @ Failure::Unfit(_)) => too_old,
        _ => why.into(),
    }
}

fn new_enough(server: &PgRow) -> Result<(), Failure> {
    let number: &str = server.try_get("server_version_num")?;
    let number: i32 = number.parse().map_err(|_| Failure::Malformed("the server's version"))?;
    if number < OLDEST {
        return Err(Unfit::TooOld(server.try_get("server_version")?).into());
    }
    Ok(())
}

/// Checks that a connection still has the session that it has set up.
pub(super) async fn still_owns(connection: &mut PgConnection, owner: Uuid) -> Result<(), Failure> {
    let text = format!("SELECT current_setting('{OWNER}', true) AS owner");
    let row = sqlx::raw_sql(AssertSqlSafe(text)).fetch_one(connection).await?;
    let found: Option<&str> = row.try_get("owner")?;
    let is_own = found == Some(owner.to_string().as_str());
    if is_own { Ok(()) } else { Err(Unfit::SharedSessions.into()) }
}

/// Checks that a server that says this of itself takes writes: of several hosts, only one does.
fn takes_writes(server: &PgRow) -> Result<(), Failure> {
    let text = |name: &str| server.try_get::<&str, _>(name);
    new_enough(server)?;
    if text("standby")? == "true" {
        return Err(Unfit::Standby.into());
    }
    if text("default_transaction_read_only")? == "on" {
        return Err(Unfit::ReadOnly.into());
    }
    Ok(())
}

/// Checks that what is committed is durable on a server that says this of itself.
fn fit(server: &PgRow, accept_unsafe: bool) -> Result<(), Failure> {
    let text = |name: &str| server.try_get::<&str, _>(name);
    if text("server_encoding")? != "UTF8" {
        return Err(Unfit::Encoding(text("server_encoding")?.to_owned()).into());
    }
    let broken = [("fsync", Unfit::Fsync), ("full_page_writes", Unfit::FullPageWrites)];
    for (name, unfit) in broken {
        if text(name)? != "on" && !accept_unsafe {
            return Err(unfit.into());
        }
    }
    Ok(())
}
