//! Why a piece of work on the server came to nothing, and what is wrong with a server.

use std::time::Duration;

use placard_model::entry::format_level;
use sqlx::migrate::MigrateError;

use crate::tls;

/// What is wrong with a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Its version is too old.
    #[error("PostgreSQL {0} is too old: 14 or newer is needed")]
    TooOld(String),
    /// It follows another server.
    #[error("the server is a standby: the journal must be on the primary")]
    Standby,
    /// `default_transaction_read_only` is on.
    #[error("the server is set to read only (default_transaction_read_only = on)")]
    ReadOnly,
    /// The database's encoding is not UTF8.
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
    /// Sessions are shared among the transactions of several connections.
    #[error(
        "a pooler in transaction or statement mode shares sessions between connections: use session mode \
         (pool_mode = session, with its server_reset_query), or connect to PostgreSQL itself"
    )]
    SharedSessions,
    /// A setting that a connection needs was refused; what the server says.
    #[error("PostgreSQL refused a setting that Placard needs: {0}")]
    Refused(String),
    /// A setting does not last.
    #[error("the setting {0} does not last on a connection: a pooler or the server resets it")]
    Dropped(String),
    /// The URL's or the environment's options did not reach the server.
    #[error(
        "the options of the URL or of PGOPTIONS did not reach PostgreSQL: a pooler drops them \
         (take them out, and set them with ALTER ROLE)"
    )]
    OptionsDropped,
}

/// The server's error code for a transaction that was idle for too long.
pub(super) const IDLE_IN_TRANSACTION: &str = "25P03";

/// The reason why a piece of work failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("no answer from PostgreSQL within {0:?}")]
    Late(Duration),
    #[error("PostgreSQL has not answered on another connection either")]
    Silent,
    #[error("{}", told(.0))]
    Sql(sqlx::Error),
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error(
        "reading the journal needs format level {0}, and this build's is {own}: run a newer build",
        own = format_level()
    )]
    TooNew(u8),
    #[error("corrupt journal: {0}")]
    Malformed(&'static str),
    #[error(
        "the server is not the one of the last head poll: it was started again, or another has taken its place"
    )]
    Moved,
    #[error("there is no connection to commit with: housekeeping takes none")]
    NoneToSpare,
    /// None of several hosts can be used: the reason of each, and whether waiting does not help.
    #[error("none of the hosts can be used: {0}")]
    NoHost(String, bool),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

/// States what went wrong, once: sqlx repeats an error's source in the error, and adds the server's source line to its
/// errors. Every error of sqlx goes through this.
pub(super) fn told(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Configuration(error) => error.to_string(),
        sqlx::Error::Migrate(error) => match &**error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => told(error),
            other => other.to_string(),
        },
        sqlx::Error::Database(error) => format!("PostgreSQL says: {}", error.message()),
        sqlx::Error::Io(error) => tls::told(error.to_string()),
        sqlx::Error::Tls(error) => format!("TLS: {}", tls::told(error.to_string())),
        other => other.to_string(),
    }
}

impl Failure {
    /// Returns the failure of several hosts of which none can be used. If one that was reached cannot hold the journal,
    /// or all are there and none takes writes, waiting does not help.
    pub(super) fn of_hosts(failed: Vec<(String, Self)>) -> Self {
        let told: Vec<_> = failed.iter().map(|(host, why)| format!("{host}: {why}")).collect();
        let told = told.join("; ");
        let is_follower = |why: &Self| matches!(why, Self::Unfit(Unfit::Standby | Unfit::ReadOnly));
        let unfit = |why: &Self| matches!(why, Self::Unfit(_)) && !is_follower(why);
        let is_final = failed.iter().any(|(_, why)| unfit(why))
            || failed.iter().all(|(_, why)| is_follower(why));
        Self::NoHost(told, is_final)
    }

    /// Returns true if the work took too long: here, or in the server, which cancels what takes longer than it may
    /// (57014).
    pub(super) fn is_late(&self) -> bool {
        match self {
            Self::Late(_) => true,
            Self::Sql(sqlx::Error::Database(error)) => error.code().as_deref() == Some("57014"),
            _ => false,
        }
    }

    /// Returns true if the connection was lost, or its answer took too long: what was sent on it may have been too much
    /// for the way.
    pub(super) fn is_loss(&self) -> bool {
        let was_idle = match self {
            Self::Sql(sqlx::Error::Database(error)) => {
                error.code().as_deref() == Some(IDLE_IN_TRANSACTION)
            }
            _ => false,
        };
        was_idle || self.is_late() || self.is_broken()
    }

    /// Returns true if the connection was lost before the server has answered, as idle ones are when it restarts.
    pub(super) fn is_broken(&self) -> bool {
        match self {
            Self::Sql(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| code.starts_with("57P"))
            }
            Self::Sql(sqlx::Error::Io(_) | sqlx::Error::Protocol(_)) => true,
            _ => false,
        }
    }
}
