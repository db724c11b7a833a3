//! Rounds over a model journal whose clock the test sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use placard_model::command::Command;
use placard_replica::ports::NoCheckpoints;
use placard_replica::{Config, Replica};
use placard_testkit::models::{ModelJournal, ModelStream};
use placard_testkit::requests::{request, spec};
use placard_testkit::wait::until;

use super::*;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;

struct World {
    journal: ModelJournal,
    replica: Replica,
    expiry: Expiry,
    expirer: Arc<Expirer<ModelJournal>>,
}

impl World {
    /// A replica that is ready, with one ad that ends in half an hour and one that stays.
    async fn start(own_clock: fn() -> Timestamp) -> Self {
        let journal = ModelJournal::new(super::own_clock());
        let replica = Replica::start(
            journal.clone(),
            ModelStream::default(),
            NoCheckpoints,
            Config::default(),
        );
        replica.handle().ready().await;
        let half = super::own_clock().saturating_add_micros(HOUR / 2);
        let mut ending = spec("It ends");
        ending.end_at = half;
        let create = |id: u128, spec| Command::Create { id: Uuid::from_u128(id), spec };
        let creation = request(1, vec![create(1, ending), create(2, spec("It stays"))]);
        assert!(matches!(replica.handle().write(creation).await, Ok(Reply::Applied(_))));
        let expiry = Expiry::default();
        let handle = replica.handle().clone();
        let expirer = Expirer::new(journal.clone(), handle, expiry.clone(), own_clock);
        Self { journal, replica, expiry, expirer: Arc::new(expirer) }
    }

    fn move_clock(&self, micros: i64) {
        let mut state = self.journal.state();
        state.now = state.now.saturating_add_micros(micros);
    }

    fn ads(&self) -> usize {
        self.journal.state().ads.len()
    }

    /// Expires until the account is as it should be: the clocks are compared with every head poll.
    async fn expire_until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        until(what, async || {
            self.expirer.expire().await;
            holds(self).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_jump_of_the_journals_clock_nothing_is_deleted_until_somebody_says_so() {
    static AHEAD: AtomicI64 = AtomicI64::new(0);
    let own = || own_clock().saturating_add_micros(AHEAD.load(Ordering::Relaxed));
    let world = World::start(own).await;
    world.expirer.expire().await;
    assert_eq!(world.expiry.account().braked, None);
    // The database's machine and this one are set at once, as by one wrong time server.
    world.move_clock(HOUR);
    AHEAD.store(HOUR, Ordering::Relaxed);
    for _ in 0..3 {
        world.expirer.expire().await;
        assert_eq!(world.ads(), 2);
    }
    let jump = world.expiry.account().braked.map(|brake| brake.jump);
    assert!(jump.is_some_and(|jump| (jump - HOUR).abs() < 60 * SECOND), "{jump:?}");
    assert!(world.expiry.release());
    assert!(!world.expiry.release(), "it was off");
    // The model's clock stands still between the test's moves, so that this replica's is ahead again in a while.
    world.expire_until("the ended ad to go", |world| world.ads() == 1).await;
    assert_eq!(world.expiry.account().deleted, 1);
    assert!(world.replica.stop(Duration::from_secs(5)).await.is_ok());
}

/// It took ten hours: readers' clocks follow a jump at once, and lose it again one part in ten.
#[tokio::test(flavor = "multi_thread")]
async fn once_the_clock_is_set_right_again_and_the_brake_released_ended_ads_go() {
    static AHEAD: AtomicI64 = AtomicI64::new(0);
    let own = || own_clock().saturating_add_micros(AHEAD.load(Ordering::Relaxed));
    let world = World::start(own).await;
    let follow = || world.journal.state().now = own();
    world.expirer.expire().await;
    AHEAD.store(HOUR, Ordering::Relaxed);
    follow();
    world.expirer.expire().await;
    let handle = world.replica.handle();
    until("readers to follow", async || {
        follow();
        (handle.clock().now() > own().saturating_add_micros(-HOUR / 2)).then_some(())
    })
    .await;
    AHEAD.store(0, Ordering::Relaxed);
    until("readers to be ahead", async || {
        follow();
        (handle.state().clock_ahead > HOUR / 2).then_some(())
    })
    .await;
    world.expirer.expire().await;
    assert!(world.expiry.release());
    let mut ending = spec("It ends soon");
    ending.end_at = own().saturating_add_micros(SECOND);
    let creation = vec![Command::Create { id: Uuid::from_u128(3), spec: ending }];
    assert!(matches!(handle.write(request(2, creation)).await, Ok(Reply::Applied(_))));
    assert_eq!(world.ads(), 3);
    until("the ended ad to go", async || {
        follow();
        world.expirer.expire().await;
        (world.ads() == 2).then_some(())
    })
    .await;
    assert!(handle.state().clock_ahead > HOUR / 2, "readers are still ahead");
    assert!(world.replica.stop(Duration::from_secs(5)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_whose_clock_is_an_hour_ahead_deletes_nothing() {
    let own = || own_clock().saturating_add_micros(HOUR);
    let world = World::start(own).await;
    // By the journal's clock one of the ads has ended: it is the others' to delete.
    world.move_clock(HOUR / 2 + SECOND);
    let before = world.expiry.account().looks;
    for _ in 0..3 {
        world.expirer.expire().await;
    }
    let account = world.expiry.account();
    assert_eq!((account.looks - before, account.clock_off, account.braked), (3, true, None));
    assert_eq!((world.ads(), account.deleted), (2, 0));
    assert!(world.replica.stop(Duration::from_secs(5)).await.is_ok());
}
