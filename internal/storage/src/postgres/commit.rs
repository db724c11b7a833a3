//! Commits, on a connection of their own, in one of three ways.
//!
//! **Blindly**, in one round trip: a batch that only creates ads needs to know no more than the head that this replica
//! has just written itself. The statement that writes checks that it still is the head, and that none of the ads and
//! keys exists yet.
//!
//! **At once**, in two round trips: one statement reads what the batch touches, and another, a transaction of its own,
//! writes the plan if no other replica has written in between. Nothing is locked while the plan is made.
//!
//! **Locked**: the head's lock is taken first, and held until the commit. A batch goes this way for a while after
//! another replica was found to have written in between, since waiting for the lock costs less than a decision that is
//! discarded, and whenever the batch is repeated. An earlier try of that batch may still be on its way: it either holds
//! the lock, and what it has written is seen behind it, or it comes too late, because the repetition counts as a write
//! even if it changes nothing.
//!
//! The lock keeps all others waiting, for as many round trips as its holder makes. A replica near PostgreSQL makes three:
//! it locks, reads, writes and commits with four messages, and its values are bound. One far away costs the others least
//! with the fewest: one message locks and reads, another writes and commits. Such a message has several statements, and
//! PostgreSQL takes no parameters with it: they were prepared by name, once on each connection, and their values are
//! written out as text. That has several times the bytes and work, and PostgreSQL's log has them if it refuses the
//! statement. So it is not done with a batch of some size.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use placard_model::command::Command;
use placard_model::entry::Position;
use placard_model::{Timestamp, limits};
use placard_replica::ports::CommitError;
use placard_replica::{Batch, Current, Plan};
use sqlx::postgres::{PgDatabaseError, PgSeverity};
use sqlx::{AssertSqlSafe, Row};

use super::connection_set::{Checkout, ConnectionSet, Opened};
use super::failure::{Failure, IDLE_IN_TRANSACTION};
use super::head_guard::HeadGuard;
use super::rows::{self, State};
use super::server::Server;
use super::session::{Session, Setting};
use super::write::{self, Basis};

/// How the server guards the head's lock.
///
/// A replica that stalls while it holds the lock loses it 0.4 s after the server has last heard of it (with a large
/// batch after two): between two messages, or in the middle of one, through `idle_in_transaction_session_timeout`. With
/// the queue behind the lock that holds the others up for about half a second. One that does not take a large answer
/// loses it within about a second, through `tcp_user_timeout`. A transaction raises both by its replica's round trip,
/// or one far away would lose the lock at every try; and the first after each loss, as [`Manner`] has it. One that dies
/// in the queue leaves it through `client_connection_check_interval`. A replica that waits behind healthy holders is
/// never hurried: each of them holds the lock for some milliseconds, and `lock_timeout` is long enough for six stalled
/// ones in a row. It is there for a lock that is not a replica's (an operator's open transaction): the batch is then
/// tried again, from the end of the queue. None of these cuts a commit short that waits for a standby: PostgreSQL has
/// put the statement's timer off by then.
pub(super) const SETTINGS: &[Setting] = &[
    ("default_transaction_isolation", "read committed"),
    ("idle_in_transaction_session_timeout", "400ms"),
    ("tcp_user_timeout", "500ms"),
    ("client_connection_check_interval", "100ms"),
    ("lock_timeout", "3500ms"),
    ("statement_timeout", "4s"),
    // The statements never change and touch few rows by key. A plan made while a table was small must not
    // scan it when it has grown.
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    // Messages that hold the lock have their values written out, and are answered in text.
    ("standard_conforming_strings", "on"),
    ("bytea_output", "hex"),
];

/// How long an answer may take that may wait for the head's lock; the server has given up before.
const STATEMENT: Duration = Duration::from_secs(5);
/// When the server has given up, as the settings have it.
const EXECUTION: Duration = Duration::from_secs(4);
/// How long the answer to a read without the lock may take, and how much longer for each ad that is read: a thousand
/// large ones are some 10 MB. The others who write wait for none of that.
const READ: Duration = Duration::from_secs(2);
const READ_AD: Duration = Duration::from_millis(10);
/// How long a commit may take before it is repeated; with a synchronous standby it waits for that one too.
const COMMIT: Duration = Duration::from_secs(5);
/// How long what was written last is taken for the head, the database's clock for one that goes like ours, and
/// the connection for one that is not lost: a write on a lost one would have an unknown outcome.
const WRITTEN: Duration = Duration::from_millis(100);
/// Batches that are committed locked after a decision was discarded.
const CAUTIOUS: u32 = 32;

/// How long the server waits for the next message of a transaction that holds the head's lock, beside a round trip.
const IDLE: Duration = Duration::from_millis(400);
/// A large batch may keep a slow machine busy between two messages for longer than that: it would lose the lock at
/// every try.
const IDLE_LARGE: Duration = Duration::from_secs(2);
/// The most times that the server's wait is doubled.
const DOUBLINGS_MAX: u32 = 4;
/// How long an answer may go unheard, beside a round trip.
const UNHEARD: Duration = Duration::from_millis(500);
/// A round trip that took longer when the connection was opened says nothing of the way.
const TRIP_MAX: Duration = Duration::from_secs(1);

/// From this round trip on, the round trips that are saved are worth more than the work of writing values out. On one
/// machine, where there is nothing to save, that work halved what three replicas wrote.
const FAR: Duration = Duration::from_millis(5);
/// The most commands and bytes of a batch whose values are written out: as text they are about eight times as large,
/// and all of it has to arrive before the server gives up waiting.
const WRITTEN_OUT_COMMANDS: usize = 64;
const WRITTEN_OUT_BYTES: usize = 64 << 10;

/// Commits, and so waits for the standby, behind everything that could be seen before. It writes only a message in the
/// write-ahead log that is never read. It changes no row, and discards no replica's plan.
const BEHIND_ALL: &str = "SELECT pg_logical_emit_message(true, 'placard', '')";

/// Prepares what messages of several statements call, and what only batches with records call in addition. The second is
/// sent with the first such batch: tables that were restored from a dump of a build before pools have no `records`, and
/// no batch asks for them.
static PREPARE: LazyLock<[String; 2]> = LazyLock::new(|| {
    [false, true].map(|records| format!("{}; {};", rows::prepare(records), write::prepare(records)))
});

pub(super) struct Committer {
    set: ConnectionSet,
    /// The number of batches that are still to be committed locked.
    cautious: AtomicU32,
    /// How often in succession the connection was lost under the lock, or its answer came too late.
    losses: AtomicU32,
    written: Mutex<Option<Written>>,
}

/// How a transaction that holds the head's lock sends values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Bound, each statement in a message of its own.
    Bound,
    /// Written out as text, so that several statements go in one message.
    WrittenOut,
}

/// How a batch is committed under the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Manner {
    form: Form,
    /// How long the server waits for the next message. What is sent may take longer than that on a slow way, and then it
    /// would at each try; so each loss doubles it, and the batch gets through at last. One that may have been
    /// committed before is all that its replica tries.
    idle: Duration,
    /// How long the server's answer may go unheard.
    unheard: Duration,
}

impl Manner {
    fn of(batch: &Batch, trip: Duration, losses: u32) -> Self {
        let (commands, bytes) = size(batch);
        let is_large = commands > limits::COMMIT_ENTRIES_MAX || bytes > limits::COMMIT_BYTES_MAX;
        let is_small = commands <= WRITTEN_OUT_COMMANDS && bytes <= WRITTEN_OUT_BYTES;
        let form = if is_small && trip >= FAR { Form::WrittenOut } else { Form::Bound };
        let trip = trip.min(TRIP_MAX);
        let idle = trip + if is_large { IDLE_LARGE } else { IDLE };
        Self { form, idle: idle * (1 << losses.min(DOUBLINGS_MAX)), unheard: trip + UNHEARD }
    }

    /// How long an answer may take that may wait for the head's lock, and for what is sent before and with it.
    fn answer(self) -> Duration {
        STATEMENT + self.idle
    }

    /// The settings of its transaction.
    fn settings(self) -> String {
        format!(
            "SET LOCAL idle_in_transaction_session_timeout = {};
             SET LOCAL tcp_user_timeout = {};
             SET LOCAL statement_timeout = {};",
            self.idle.as_millis(),
            self.unheard.as_millis(),
            (EXECUTION + self.idle).as_millis(),
        )
    }
}

/// The last write of this replica.
#[derive(Debug, Clone, Copy)]
struct Written {
    head: Position,
    writes: i64,
    /// The database's time when it was written.
    at: Timestamp,
    since: Instant,
}

impl Written {
    fn from(self) -> HeadGuard {
        HeadGuard { writes: self.writes, chain: self.head.chain }
    }
}

impl Committer {
    pub(super) fn new(server: &Server, session: Session) -> Self {
        Self {
            set: ConnectionSet::new(server, 1, 1, session),
            cautious: AtomicU32::new(0),
            losses: AtomicU32::new(0),
            written: Mutex::default(),
        }
    }

    /// Returns the set of its connection.
    pub(super) fn set(&self) -> &ConnectionSet {
        &self.set
    }

    /// Returns whether it could get a connection when it last asked for one.
    pub(super) fn opened(&self) -> Opened {
        self.set.opened()
    }

    /// Runs one transaction.
    pub(super) async fn commit(&self, batch: Arc<Batch>) -> Result<Plan, CommitError> {
        let plan = self.commit_somehow(&batch).await.map_err(|error| of_records(error, &batch))?;
        self.losses.store(0, Ordering::Relaxed);
        Ok(plan)
    }

    async fn commit_somehow(&self, batch: &Arc<Batch>) -> Result<Plan, CommitError> {
        let cautious = self.cautious.load(Ordering::Relaxed);
        if cautious == 0 && !batch.repeated {
            if let Some(plan) = self.blindly(batch).await? {
                return Ok(plan);
            }
            if let Some(plan) = self.at_once(batch).await? {
                return Ok(plan);
            }
            self.cautious.store(CAUTIOUS, Ordering::Relaxed);
        } else {
            self.cautious.store(cautious.saturating_sub(1), Ordering::Relaxed);
        }
        self.locked(batch).await
    }

    /// Returns no plan if something has to be read first.
    async fn blindly(&self, batch: &Batch) -> Result<Option<Plan>, CommitError> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(written) = written.filter(|written| written.since.elapsed() < WRITTEN) else {
            return Ok(None);
        };
        let mut commands = batch.requests.iter().flat_map(|request| &request.commands);
        if !commands.all(|command| matches!(command, Command::Create { .. })) {
            return Ok(None);
        }
        // To open a connection takes time: the clock is read when there is one.
        let mut checkout = self.set.hold().await.map_err(before)?;
        let elapsed = written.since.elapsed();
        if elapsed >= WRITTEN {
            checkout.keep();
            return Ok(None);
        }
        let plan = batch.plan(Current {
            head: written.head,
            now: written.at.saturating_add_micros(elapsed.as_micros() as i64),
            ads: HashMap::new(),
            records: Vec::new(),
            pools_of_ads: HashSet::new(),
            registered: None,
            kept: HashMap::new(),
            written: HashMap::new(),
        })?;
        // A request that is refused here may have had another answer before, or be refused for another reason: the
        // statement does not look for its ads and keys.
        let mut outcomes = plan.answers.iter().flat_map(|answer| &answer.outcomes);
        if plan.log.is_empty() || outcomes.any(|outcome| outcome.entry().is_none()) {
            checkout.keep();
            return Ok(None);
        }
        let at = self.write(&mut checkout, written.from(), Basis::Nothing, &plan);
        let committed = self.set.within(COMMIT, at).await.map_err(at_commit)?;
        checkout.keep();
        Ok(committed.then_some(plan))
    }

    /// Writes a plan down in a separate transaction, and remembers it. Returns whether it was written.
    #[expect(clippy::disallowed_methods, reason = "what was written is believed for a while")]
    async fn write(
        &self,
        checkout: &mut Checkout<'_>,
        from: HeadGuard,
        basis: Basis,
        plan: &Plan,
    ) -> Result<bool, Failure> {
        let at = write::write(&mut checkout.connection, from, basis, plan).await?;
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = at.map(|at| Written {
            head: plan.head,
            writes: from.writes + 1,
            at,
            since: Instant::now(),
        });
        Ok(at.is_some())
    }

    /// Returns no plan if another replica has written in between.
    async fn at_once(&self, batch: &Arc<Batch>) -> Result<Option<Plan>, CommitError> {
        let each = READ_AD * batch.ads().len().try_into().unwrap_or(u32::MAX);
        let read = self.set.repeatable((READ + each).min(STATEMENT), |checkout| {
            let batch = Arc::clone(batch);
            Box::pin(async move { rows::state(&mut checkout.connection, &batch).await })
        });
        let (State { current, from, standby }, mut checkout) = read.await.map_err(before)?;
        let plan = batch.plan(current)?;
        let committed = if writes_nothing(&plan) {
            if standby {
                self.settle(&mut checkout, BEHIND_ALL).await.map_err(before)?;
            }
            true
        } else {
            let written = self.write(&mut checkout, from, Basis::Read, &plan);
            self.set.within(COMMIT, written).await.map_err(at_commit)?
        };
        checkout.keep();
        Ok(committed.then_some(plan))
    }

    async fn locked(&self, batch: &Batch) -> Result<Plan, CommitError> {
        let committed = self.try_locked(batch).await;
        match &committed {
            Err(CommitError::NotCommitted(cause) | CommitError::Unknown(cause))
                if cause.downcast_ref().is_some_and(Failure::is_loss)
                    && self.opened() == Opened::Yes =>
            {
                self.losses.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        committed
    }

    async fn try_locked(&self, batch: &Batch) -> Result<Plan, CommitError> {
        let (State { current, from, standby }, mut checkout, manner) =
            self.lock(batch).await.map_err(before)?;
        let plan = batch.plan(current)?;
        if writes_nothing(&plan) && !batch.repeated {
            if standby {
                // No replica waits for the lock while this waits for the standby.
                let settle = format!("ROLLBACK; {BEHIND_ALL}");
                self.settle(&mut checkout, settle).await.map_err(before)?;
                checkout.keep();
            } else if self.settle(&mut checkout, "ROLLBACK").await.is_ok() {
                // What was read stays true whether or not this message arrives.
                checkout.keep();
            }
            return Ok(plan);
        }
        self.write_and_commit(&mut checkout, from, &plan, manner).await?;
        checkout.keep();
        Ok(plan)
    }

    /// Begins a transaction that holds the head's lock, and reads what the batch touches.
    async fn lock(&self, batch: &Batch) -> Result<(State, Checkout<'_>, Manner), Failure> {
        let losses = self.losses.load(Ordering::Relaxed);
        // The round trip to the server is known only once a connection is open.
        let limit = Manner::of(batch, TRIP_MAX, losses).answer();
        let locked = self.set.repeatable(limit, |checkout| {
            let manner = Manner::of(batch, checkout.trip(), losses);
            let needed = match manner.form {
                Form::Bound => [false; 2],
                Form::WrittenOut => [true, batch.named().is_some()],
            };
            let read = if needed[0] { rows::execute(batch) } else { String::new() };
            // Prepared statements outlive a transaction that is rolled back.
            let prepare = [0, 1].map(|nth| match needed[nth] && !checkout.prepared()[nth] {
                true => PREPARE[nth].as_str(),
                false => "",
            });
            let prepare = prepare.concat();
            let message = format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
                 {} {prepare} SELECT FROM head FOR UPDATE; {read}",
                manner.settings(),
            );
            Box::pin(async move {
                let message = sqlx::raw_sql(AssertSqlSafe(message));
                let mut rows = message.fetch_all(&mut checkout.connection).await?;
                let prepared = checkout.prepared();
                *prepared = [0, 1].map(|nth| prepared[nth] || needed[nth]);
                // The lock's own row has no columns.
                rows.retain(|row| !row.is_empty());
                Ok((rows, manner))
            })
        });
        let ((rows, manner), mut checkout) = locked.await?;
        let state = match manner.form {
            Form::Bound => {
                let read = rows::state(&mut checkout.connection, batch);
                self.set.within(manner.answer(), read).await?
            }
            Form::WrittenOut => rows::read(&rows)?,
        };
        Ok((state, checkout, manner))
    }

    /// Writes a plan down and commits it, in a transaction that holds the head's lock.
    async fn write_and_commit(
        &self,
        checkout: &mut Checkout<'_>,
        from: HeadGuard,
        plan: &Plan,
        manner: Manner,
    ) -> Result<(), CommitError> {
        // Under the lock no other replica can have written. A transaction that finds a moved head is not committed, or
        // has changed nothing.
        let unmoved = || before(Failure::Malformed("a moved head"));
        if manner.form == Form::Bound {
            let written = write::write(&mut checkout.connection, from, Basis::Read, plan);
            let written = self.set.within(manner.answer(), written).await.map_err(before)?;
            written.ok_or_else(unmoved)?;
            return self.settle(checkout, "COMMIT").await.map_err(at_commit);
        }
        // If the statement fails the server does nothing with the rest of the message.
        // An ad that gives its pool up is written as such, and nobody could say so before it was read.
        let needed = usize::from(write::is_of_capacity(plan));
        let prepare = if checkout.prepared()[needed] { "" } else { PREPARE[needed].as_str() };
        let message = format!("{prepare} {}; COMMIT", write::execute(from, plan));
        let message = sqlx::raw_sql(AssertSqlSafe(message)).fetch_all(&mut checkout.connection);
        let rows = self.set.within(manner.answer(), message).await.map_err(at_commit)?;
        checkout.prepared()[needed] = true;
        let moved = rows.first().map(|row| row.try_get::<i64, _>("moved"));
        match moved {
            Some(Ok(1)) => Ok(()),
            Some(Ok(_)) => Err(unmoved()),
            _ => Err(at_commit(Failure::Malformed("an answer"))),
        }
    }

    /// Ends what is under way on the connection.
    async fn settle(
        &self,
        checkout: &mut Checkout<'_>,
        end: impl Into<String>,
    ) -> Result<(), Failure> {
        let ended = sqlx::raw_sql(AssertSqlSafe(end.into())).execute(&mut checkout.connection);
        self.set.within(COMMIT, ended).await.map(drop)
    }
}

/// A batch's commands, and their bytes as they are counted.
fn size(batch: &Batch) -> (usize, usize) {
    let requests = || batch.requests.iter();
    (
        requests().map(|request| request.commands.len()).sum(),
        requests().map(|request| request.bytes()).sum(),
    )
}

/// Returns true if the plan writes nothing: it answers with what others have written. Where commits wait for a standby,
/// a row may be visible that the standby does not have: its commit was given up, or came out of the server's recovery.
/// Then the answer waits for a commit that comes behind that row's.
fn writes_nothing(plan: &Plan) -> bool {
    plan.log.is_empty() && plan.kept.is_empty()
}

/// Returns the error of work before a commit was asked for: nothing is committed.
fn before(failure: Failure) -> CommitError {
    if blames_the_batch(&failure) {
        CommitError::Refused(failure.into())
    } else {
        CommitError::NotCommitted(failure.into())
    }
}

/// Returns the error of work after a commit was asked for. An error of the statement or of the commit itself has rolled
/// it back, and a session that ends because its transaction was idle has not had the message that commits. After
/// anything else, the end of the session included, it is unknown whether the commit came first.
fn at_commit(failure: Failure) -> CommitError {
    match database_error(&failure) {
        Some(error)
            if error.severity() == PgSeverity::Error || error.code() == IDLE_IN_TRANSACTION =>
        {
            before(failure)
        }
        _ => CommitError::Unknown(failure.into()),
    }
}

/// Returns true if the server found fault with the data: 22 data exception, 23 integrity constraint violation, 54
/// program limit exceeded. A version that is in the log already is the journal's fault, not a request's.
fn blames_the_batch(failure: &Failure) -> bool {
    database_error(failure).is_some_and(|error| {
        let class = matches!(error.code().get(..2), Some("22" | "23" | "54"));
        class && error.severity() == PgSeverity::Error && error.constraint() != Some("log_pkey")
    })
}

/// Blames a batch with pools, if what only such batches need is missing, or the role has no right to it: 42P01 a table, 42703
/// a column, 42501 a right. It happens where a dump of a build before pools was restored under replicas that run. The
/// batch would be tried until its deadline otherwise, and all others would wait behind it.
fn of_records(error: CommitError, batch: &Batch) -> CommitError {
    let CommitError::NotCommitted(why) = error else { return error };
    let failure = why.downcast_ref::<Failure>().and_then(database_error);
    let lacks = failure.is_some_and(|error| matches!(error.code(), "42P01" | "42703" | "42501"));
    match lacks && batch.named().is_some() {
        true => CommitError::Refused(why),
        false => CommitError::NotCommitted(why),
    }
}

fn database_error(failure: &Failure) -> Option<&PgDatabaseError> {
    let Failure::Sql(sqlx::Error::Database(error)) = failure else { return None };
    error.try_downcast_ref()
}

#[cfg(test)]
mod tests {
    use placard_testkit::contract;
    use placard_testkit::requests::{delete, request};

    use super::*;

    /// Tables that were restored from a dump of a build before pools have no `records`.
    #[test]
    fn records_are_prepared_only_for_batches_with_them() {
        let [plain, with_records] = &*PREPARE;
        assert!(plain.contains("placard_state AS") && plain.contains("placard_write_0 AS"));
        assert!(!plain.contains("records"), "{plain}");
        let state = with_records.contains("placard_state_records AS");
        assert!(state && with_records.contains("placard_write_1 AS"), "{with_records}");
        let statements = PREPARE.each_ref().map(|text| text.matches("PREPARE ").count());
        assert_eq!(statements, [9, 9]);
    }

    fn batch(commands: u128) -> Batch {
        let request = request(1, (1..=commands).map(delete).collect());
        contract::batch(vec![Arc::new(request)])
    }

    #[test]
    fn small_distant_batches_write_their_values_out() {
        let form = |commands, trip_ms| {
            Manner::of(&batch(commands), Duration::from_millis(trip_ms), 0).form
        };
        assert_eq!((form(1, 4), form(64, 4)), (Form::Bound, Form::Bound));
        assert_eq!((form(1, 5), form(64, 5)), (Form::WrittenOut, Form::WrittenOut));
        assert_eq!(form(65, 400), Form::Bound);
    }

    #[test]
    fn each_loss_doubles_the_idle_timeout_up_to_a_bound() {
        let far = Duration::from_millis(100);
        let idle_ms = |losses| Manner::of(&batch(1), far, losses).idle.as_millis();
        let found: Vec<_> = [0, 1, 2, 3, 4, 5, u32::MAX].map(idle_ms).into();
        assert_eq!(found, [500, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
        assert_eq!(Manner::of(&batch(513), far, 0).idle.as_millis(), 2_100);
    }
}
