//! Rounds over a model journal whose clock the test sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use placard_model::capacity::Command as Asked;
use placard_model::command::Command;
use placard_model::records::{Key, Kind};
use placard_replica::core::Phase;
use placard_replica::ports::NoCheckpoints;
use placard_replica::{Config, Replica, system_now};
use placard_testkit::capacity::{self, id, reserve};
use placard_testkit::models::{ModelJournal, ModelStream};
use placard_testkit::requests::{request, spec};
use placard_testkit::wait::until;
use tokio::task::JoinSet;

use super::*;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;

/// The model as this build of the crate's port; the testkit implements that of another build.
#[derive(Clone)]
struct Model(ModelJournal);

impl Expirations for Model {
    async fn expired(&self, max: usize) -> Result<Expired, Unavailable> {
        let (now, ads, due) = self.0.ended(max);
        let mut expired = Expired::of_ads(now, ads);
        due.iter().for_each(|record| expired.push(record));
        Ok(expired)
    }

    async fn upcoming(&self, _: Duration, _: usize) -> Result<Vec<u64>, Unavailable> {
        unreachable!("the expirer looks at what has ended")
    }
}

struct World {
    journal: ModelJournal,
    journal_clock: fn() -> Timestamp,
    replica: Replica,
    expiry: Expiry,
    expirer: Arc<Expirer<Model>>,
    /// Has the model's clock go.
    _going: JoinSet<()>,
}

impl World {
    /// A replica that is ready, with one ad that ends after so long by the journal's clock and one that stays. This
    /// machine takes the time to be another.
    async fn start(
        journal_clock: fn() -> Timestamp,
        own_clock: fn() -> Timestamp,
        lasts: i64,
    ) -> Self {
        let world = Self::of(Config::default(), journal_clock, own_clock, lasts).await;
        world.replica.handle().ready().await;
        world
    }

    /// The same, of a replica that need not become ready.
    async fn of(
        config: Config,
        journal_clock: fn() -> Timestamp,
        own_clock: fn() -> Timestamp,
        lasts: i64,
    ) -> Self {
        let journal = ModelJournal::new(journal_clock());
        let (mut going, model) = (JoinSet::new(), journal.clone());
        going.spawn(async move {
            loop {
                model.state().now = journal_clock();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let stream = ModelStream::default();
        let replica = Replica::start(journal.clone(), stream, NoCheckpoints, config);
        let mut ending = spec("It ends");
        ending.end_at = journal_clock().saturating_add_micros(lasts);
        let create = |id: u128, spec| Command::Create { id: Uuid::from_u128(id), spec };
        let creation = request(1, vec![create(1, ending), create(2, spec("It stays"))]);
        assert!(matches!(replica.handle().write(creation).await, Ok(Reply::Applied(_))));
        let expiry = Expiry::default();
        let handle = replica.handle().clone();
        let expirer = Expirer::new(Model(journal.clone()), handle, expiry.clone(), own_clock);
        let expirer = Arc::new(expirer);
        Self { journal, journal_clock, replica, expiry, expirer, _going: going }
    }

    /// Sets the clock that both machines go by, as one wrong time server does.
    fn set(&self, ahead: &AtomicI64, micros: i64) {
        ahead.store(micros, Ordering::Relaxed);
        self.journal.state().now = (self.journal_clock)();
    }

    fn ads(&self) -> usize {
        self.journal.state().ads.len()
    }

    fn jump(&self) -> Option<i64> {
        self.expiry.account().braked.map(|brake| brake.jump)
    }

    /// By how many seconds the replica's estimate of the journal's time is ahead of this machine's clock.
    fn estimate_ahead(&self) -> Option<i64> {
        let ahead = self.expiry.own_clock()?.micros() - system_now().micros();
        Some((ahead as f64 / SECOND as f64).round() as i64)
    }

    /// Looks a few times: nothing is deleted, since the clock has jumped by about an hour.
    async fn is_braked(&self) {
        for _ in 0..3 {
            self.expirer.expire().await;
            assert_eq!(self.ads(), 2);
        }
        let jump = self.jump();
        assert!(jump.is_some_and(|jump| (jump - HOUR).abs() < 60 * SECOND), "{jump:?}");
    }

    /// Has commands on pools and holds decided, by this clock of the replica's own.
    async fn ask(&self, id: u128, commands: Vec<Asked>, own_clock: Option<Timestamp>) -> Answer {
        let capacity = |command| Command::Capacity { command: Box::new(command), own_clock };
        let commands = commands.into_iter().map(capacity).collect();
        match self.replica.handle().write(request(id, commands)).await {
            Ok(Reply::Applied(answer)) => answer,
            reply => panic!("it is not applied: {reply:?}"),
        }
    }

    /// How many holds and tombstones there are.
    fn holds(&self) -> (usize, usize) {
        let state = self.journal.state();
        let of = |kind| state.records.keys().filter(|key| key.kind == kind).count();
        (of(Kind::Hold), of(Kind::Tombstone))
    }

    /// Expires until `left` ads are left.
    async fn expire_until(&self, left: usize) {
        until("the ended ads to go", async || {
            self.expirer.expire().await;
            (self.ads() == left).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clock_jump_stops_deletion_until_brake_is_released() {
    static AHEAD: AtomicI64 = AtomicI64::new(0);
    let clock = || system_now().saturating_add_micros(AHEAD.load(Ordering::Relaxed));
    let world = World::start(clock, clock, HOUR / 2).await;
    assert_eq!(world.estimate_ahead(), None);
    world.expirer.expire().await;
    assert_eq!((world.jump(), world.estimate_ahead()), (None, Some(0)));
    world.set(&AHEAD, HOUR);
    world.is_braked().await;
    assert_eq!(world.estimate_ahead(), Some(0));
    assert!(world.expiry.release());
    assert!(!world.expiry.release(), "it was off");
    world.expire_until(1).await;
    assert_eq!(world.expiry.account().counts.deleted, 1);
    assert_eq!(world.estimate_ahead(), Some(HOUR / SECOND));
    assert!(world.replica.stop(Duration::from_secs(5)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn first_look_is_made_before_the_first_pause() {
    let world = World::of(Config::default(), system_now, system_now, HOUR).await;
    let handle = world.replica.handle().clone();
    let sweep = crate::sweep(Arc::clone(&world.expirer), handle, || Duration::from_secs(3_600));
    tokio::select! {
        () = sweep => unreachable!("it goes on for ever"),
        ahead = until("an estimate", async || world.estimate_ahead()) => assert_eq!(ahead, 0),
    }
    assert_eq!(world.expiry.account().counts.looks, 1);
    assert!(world.replica.stop(Duration::from_secs(5)).await.is_ok());
}

/// It was believed: the first look had nothing to compare with.
#[tokio::test(flavor = "multi_thread")]
async fn jump_before_the_first_look_is_braked() {
    static AHEAD: AtomicI64 = AtomicI64::new(0);
    let clock = || system_now().saturating_add_micros(AHEAD.load(Ordering::Relaxed));
    let world = World::start(clock, clock, HOUR / 2).await;
    world.set(&AHEAD, HOUR);
    world.is_braked().await;
    assert!(world.replica.stop(Duration::from_secs(5)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn reservation_lapses_once_and_its_tombstone_goes() {
    static AHEAD: AtomicI64 = AtomicI64::new(0);
    let clock = || system_now().saturating_add_micros(AHEAD.load(Ordering::Relaxed));
    let world = World::start(clock, clock, 48 * HOUR).await;
    let create = Asked::CreatePool { id: id(1), spec: capacity::spec(9) };
    let wanted = [(10, Some(0)), (11, Some(1_800)), (12, None)];
    let wanted = wanted.map(|(hold, seconds)| reserve(hold, 1, 2, seconds));
    world.ask(2, [create].into_iter().chain(wanted).collect(), None).await;
    until("the first to lapse", async || {
        world.expirer.expire().await;
        (world.holds() == (2, 1)).then_some(())
    })
    .await;
    // Half an hour is not over because the clock says so.
    world.set(&AHEAD, HOUR);
    world.is_braked().await;
    assert_eq!(world.holds(), (2, 1));
    assert!(world.expiry.release());
    world.expirer.expire().await;
    assert_eq!(world.holds(), (1, 2));
    world.set(&AHEAD, 24 * HOUR + 60 * SECOND);
    world.expirer.expire().await;
    assert_eq!(world.holds(), (1, 2));
    assert!(world.expiry.release());
    world.expirer.expire().await;
    // What is left of the first was to be kept for a day; the second has lapsed an hour later.
    assert_eq!(world.holds(), (1, 1));
    let counts = world.expiry.account().counts;
    assert_eq!((counts.lapsed, counts.forgotten, counts.deleted), (2, 1, 0));
    assert!(world.replica.stop(Duration::from_secs(5)).await.is_ok());
}

/// As when the journal's clock is set back between the look and the decision.
#[tokio::test(flavor = "multi_thread")]
async fn reservation_that_does_not_lapse_ends_a_round() {
    let world = World::start(system_now, system_now, SECOND).await;
    let create = Asked::CreatePool { id: id(1), spec: capacity::spec(9) };
    world.ask(2, vec![create, reserve(10, 1, 2, Some(3_600))], None).await;
    let hold = Key { kind: Kind::Hold, id: id(10) };
    world.journal.state().records.get_mut(&hold).expect("it was given").due =
        Some(Timestamp::EPOCH);
    let ended = async || world.journal.ended(2).1.first().copied();
    until("the ad to end", ended).await;
    world.expirer.expire().await;
    let counts = world.expiry.account().counts;
    // One look finds both, the next the reservation alone, and the last that it is still there.
    assert_eq!((counts.looks, counts.deleted, counts.lapsed, counts.failures), (3, 1, 0, 0));
    assert_eq!((world.ads(), world.holds()), (1, (1, 0)));
    assert!(world.replica.stop(Duration::from_secs(5)).await.is_ok());
}

/// It took ten hours, in which readers' clock lost the hour again, one part in ten.
#[tokio::test(flavor = "multi_thread")]
async fn expiry_resumes_once_clock_is_right_and_released() {
    static AHEAD: AtomicI64 = AtomicI64::new(0);
    let clock = || system_now().saturating_add_micros(AHEAD.load(Ordering::Relaxed));
    let world = World::start(clock, clock, HOUR / 2).await;
    world.expirer.expire().await;
    let handle = world.replica.handle();
    let readers_are_ahead = || handle.clock().now().micros() - system_now().micros() > HOUR / 2;
    world.set(&AHEAD, HOUR);
    until("readers to follow", async || readers_are_ahead().then_some(())).await;
    world.expirer.expire().await;
    world.set(&AHEAD, 0);
    until("readers to follow back", async || (!readers_are_ahead()).then_some(())).await;
    world.expirer.expire().await;
    assert!(world.expiry.release());
    let mut ending = spec("It ends soon");
    ending.end_at = system_now().saturating_add_micros(SECOND);
    let creation = vec![Command::Create { id: Uuid::from_u128(3), spec: ending }];
    assert!(matches!(handle.write(request(2, creation)).await, Ok(Reply::Applied(_))));
    assert_eq!(world.ads(), 3);
    world.expire_until(2).await;
    assert!(world.replica.stop(Duration::from_secs(5)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn machine_an_hour_ahead_deletes_nothing() {
    let own = || system_now().saturating_add_micros(HOUR);
    let world = World::start(system_now, own, SECOND).await;
    until("one of the ads to end, by the journal's clock", async || {
        let (_, ads, _) = world.journal.ended(1);
        (!ads.is_empty()).then_some(())
    })
    .await;
    let before = world.expiry.account().counts.looks;
    // It is the others' to delete.
    for _ in 0..3 {
        world.expirer.expire().await;
    }
    let account = world.expiry.account();
    assert_eq!((account.counts.looks - before, account.clock_off, account.braked), (3, true, None));
    assert_eq!((world.ads(), account.counts.deleted), (2, 0));
    assert_eq!(world.estimate_ahead(), None);
    assert!(world.replica.stop(Duration::from_secs(5)).await.is_ok());
}

/// Only its phase was looked at.
#[tokio::test(flavor = "multi_thread")]
async fn replica_that_refuses_reads_deletes_nothing() {
    // Whatever it heard of the journal is too old already.
    let none = Duration::ZERO;
    let config = Config { lease: none, refuses_after: Some(none), ..Config::default() };
    let world = World::of(config, system_now, system_now, SECOND).await;
    let handle = world.replica.handle();
    until("it is caught up, and one of the ads has ended", async || {
        let (_, ads, _) = world.journal.ended(1);
        (handle.state().phase == Phase::Ready && !ads.is_empty()).then_some(())
    })
    .await;
    for _ in 0..3 {
        world.expirer.expire().await;
    }
    let account = world.expiry.account();
    assert_eq!((account.clock_off, account.braked), (false, None));
    assert_eq!((world.ads(), account.counts.deleted), (2, 0));
    assert!(world.replica.stop(Duration::from_secs(5)).await.is_ok());
}
