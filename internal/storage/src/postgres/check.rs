//! What a server must be so that the journal's promises hold on it.

use sqlx::{PgConnection, Row};

/// The oldest version that has every setting the adapter relies on.
const OLDEST: i32 = 140_000;

/// What is wrong with a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Its version.
    #[error("PostgreSQL {0} is too old: 14 or newer is needed")]
    TooOld(String),
    /// It follows another server.
    #[error("the server is a standby: the journal must be on the primary")]
    Standby,
    /// `default_transaction_read_only` is on.
    #[error("the server is set to read only (default_transaction_read_only = on)")]
    ReadOnly,
    /// The database's encoding.
    #[error("the database's encoding is {0}: it must be UTF8")]
    Encoding(String),
    /// `fsync` is off.
    #[error(
        "fsync = off: a crash of the machine may lose acknowledged writes or the whole journal \
         (turn it on, or accept unsafe durability)"
    )]
    Fsync,
    /// `full_page_writes` is off.
    #[error(
        "full_page_writes = off: a crash of the machine may corrupt the journal (turn it on, or accept \
         unsafe durability)"
    )]
    FullPageWrites,
}

const SETTINGS: &str = "
    SELECT current_setting('server_version_num')::int AS number,
           current_setting('server_version') AS version,
           pg_is_in_recovery() AS standby,
           current_setting('server_encoding') AS encoding,
           current_setting('default_transaction_read_only') AS read_only,
           current_setting('fsync') AS fsync,
           current_setting('full_page_writes') AS full_page_writes,
           current_setting('synchronous_commit') AS synchronous_commit";

/// Finds out whether what is committed on this connection is durable, and sees to it as far as a session can:
/// `synchronous_commit` is turned on if it is off. Every other of its values makes a commit wait for the
/// local disk, and says how far to wait for standbys, which is the operator's choice; none is changed.
pub(super) async fn durable(
    connection: &mut PgConnection,
    accept_unsafe: bool,
) -> Result<(), super::lane::Failure> {
    let row = sqlx::query(SETTINGS).fetch_one(&mut *connection).await?;
    let text = |name: &str| row.try_get::<String, _>(name);
    if row.try_get::<i32, _>("number")? < OLDEST {
        return Err(Unfit::TooOld(text("version")?).into());
    }
    if row.try_get("standby")? {
        return Err(Unfit::Standby.into());
    }
    if text("read_only")? == "on" {
        return Err(Unfit::ReadOnly.into());
    }
    if text("encoding")? != "UTF8" {
        return Err(Unfit::Encoding(text("encoding")?).into());
    }
    let broken = [("fsync", Unfit::Fsync), ("full_page_writes", Unfit::FullPageWrites)];
    for (name, unfit) in broken {
        if text(name)? != "on" && !accept_unsafe {
            return Err(unfit.into());
        }
    }
    if text("synchronous_commit")? == "off" {
        sqlx::raw_sql("SET synchronous_commit = on").execute(connection).await?;
    }
    Ok(())
}
