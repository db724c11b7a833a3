//! The others write on while one replica is held in the one place where it keeps them from that: it has the head's lock.

use std::time::Duration;

use placard_testkit::proxy::{Flow, Then, Way};
use placard_testkit::wait::{PATIENCE, until};
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use crate::world::World;

/// The statement that takes the lock for longer than itself. A commit in one or two round trips (ADR 2) locks the head
/// only while the server runs it, which no client that is held after it has sent it can make longer.
const LOCK: &[u8] = b"SELECT FROM head FOR UPDATE";
/// Finds a silent session that has the lock: healthy sessions send something within some milliseconds.
const SILENT: &str = "
    SELECT count(*) > 0 FROM pg_stat_activity JOIN pg_locks USING (pid)
     WHERE state = 'idle in transaction' AND relation = 'head'::regclass AND mode = 'RowShareLock'
       AND clock_timestamp() - state_change > interval '100 ms'";
/// Longer than the lease, and than PostgreSQL lets a silent session keep the lock.
const HELD: Duration = Duration::from_secs(3);

async fn silent_with_the_lock(connection: &mut PgConnection) {
    let mut look = async || sqlx::query_scalar::<_, bool>(SILENT).fetch_one(&mut *connection).await;
    while !look().await.expect("PostgreSQL answers") {}
}

/// All writers but one ask the other replicas; that one ensures that the replica that is to be held takes the lock.
#[tokio::test(flavor = "multi_thread")]
async fn others_write_while_the_lock_holder_is_paused() {
    const FAULT: &str = "a replica held with the head locked";
    let mut world = World::prepared("others_write_while_the_lock_holder_is_paused", &[]).await;
    let mut proxies = Vec::new();
    for nth in 0..3 {
        proxies.push(world.postgres_proxy(nth).await);
    }
    world.begin().await;
    (0..3).for_each(|nth| world.load.write_on(nth));
    let mut looking = PgConnection::connect(&world.postgres.url()).await.expect("PostgreSQL is up");
    let mut longest = Duration::ZERO;
    for nth in [0, 1, 2, 0, 1, 2] {
        let others: Vec<_> = (0..3).filter(|other| *other != nth).collect();
        world.load.ask(&others);
        world.load.goes_on().await;
        let proxy = &proxies[nth];
        // Until it was caught in time: it may have waited for the lock for longer than it was looked for.
        until("a replica to be caught with the lock", async || {
            proxy.trap(LOCK, Then::HoldAnswers);
            timeout(PATIENCE, proxy.sprung()).await.expect("the lock is asked for");
            world.process(nth).pause();
            // The answer is in its socket when it goes on; until then it is as silent as a paused machine.
            proxy.set(Way::Answers, Flow::Pass);
            let caught = timeout(Duration::from_secs(1), silent_with_the_lock(&mut looking)).await;
            caught.inspect_err(|_| world.process(nth).resume()).ok()
        })
        .await;
        world.load.go_on_for(HELD).await;
        let stall = world.load.longest();
        eprintln!("longest write of the others while replica {nth} has the lock: {stall:?}");
        longest = longest.max(stall);
        world.process(nth).resume();
        world.recovers(FAULT).await;
    }
    world.figures.took(FAULT, "stall_ms", longest);
    world.load.ask(&[0, 1, 2]);
    world.check().await;
}
