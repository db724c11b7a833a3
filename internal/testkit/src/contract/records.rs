//! What a journal promises of pools and holds: a batch is decided on what is there, whatever that is, and all of it is
//! written in the same transaction.

use std::collections::HashSet;
use std::sync::Arc;

use super::{poll, snapshot};
use crate::capacity::{batch, command, id, reserve, spec};
use crate::requests;
use crate::seed::seed;
use placard_model::capacity::{Books, Command, Giving, PoolSpec, Refusal, Report};
use placard_model::command as ad;
use placard_model::command::{Conditions, Outcome};
use placard_model::entry::{CAPACITY_LEVEL, Change, Digest, Entry, FORMAT_LEVEL_MIN};
use placard_model::{Delivery, Encoded, Said, Spec, Timestamp};
use placard_replica::capacity::{Clocks, State, decide};
use placard_replica::ports::Journal;
use placard_replica::{Batch, Plan};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Batches of a run, and commands of a batch at the most.
const BATCHES: u128 = 60;
const COMMANDS_MAX: usize = 12;

/// A journal, and what it must hold.
struct Followed<J> {
    journal: J,
    books: Books,
    digest: Digest,
    version: u64,
    /// The journal's clock when it was asked last: what a replica believes of it.
    now: Timestamp,
    /// Whether batches are committed as repeated ones.
    repeated: bool,
}

/// Checks all that a journal promises of records. `journal` is empty; `reopen` closes it and opens it again.
pub async fn records<J: Journal>(journal: J, reopen: impl AsyncFn(J) -> J) {
    let (books, digest) = Default::default();
    let now = poll(&journal, 0).await.now;
    let mut followed = Followed { journal, books, digest, version: 0, now, repeated: false };
    nothing_is_written_for_older_builds(&followed).await;
    let mut rng = ChaCha8Rng::seed_from_u64(seed("placard-storage", "records"));
    for nth in 1..=BATCHES {
        let count = rng.random_range(1..=COMMANDS_MAX);
        let commands = (0..count).map(|_| command(&mut rng, &followed.books)).collect();
        // As if an earlier try had had an unknown outcome: a journal may commit such a batch in another way.
        followed.repeated = rng.random_ratio(1, 3);
        followed.commit(nth, commands).await;
        if nth % 20 == 0 {
            followed = Followed { journal: reopen(followed.journal).await, ..followed };
            followed.holds_what_it_must().await;
        }
    }
    followed.repeated = false;
    lapsed_ones_make_room_for_a_whole_batch(&mut followed).await;
    a_repeated_batch_is_written_once(&mut followed).await;
    followed.holds_what_it_must().await;
    pool_that_ads_name_is_not_deleted(&followed).await;
}

/// Whichever way a batch is committed.
async fn pool_that_ads_name_is_not_deleted<J: Journal>(followed: &Followed<J>) {
    let named = |pool: Option<u128>| Delivery { pool: pool.map(id), ..Delivery::default() };
    let ad = |pool| Spec { delivery: named(pool), ..requests::spec("an ad of a pool") };
    let create = |pool| ad::Command::Create { id: id(70), spec: ad(Some(pool)) };
    let replace = || {
        let (only_if, said, spec) = (Conditions::default(), Said::default(), ad(None));
        ad::Command::Replace { id: id(70), only_if, said, spec }
    };
    let of_pools = |command| {
        let own_clock = Some(followed.now);
        ad::Command::Capacity { command: Box::new(command), own_clock }
    };
    let drop_pool = || of_pools(Command::DeletePool { id: id(60), only_if: Conditions::default() });
    let paused = PoolSpec { paused: true, ..spec(5) };
    let refused = Outcome::Refused { id: id(60), refusal: Refusal::Named };
    let gone = |outcomes: &[Outcome]| {
        outcomes.iter().filter(|one| matches!(one, Outcome::Deleted { .. })).count()
    };
    for (nth, repeated) in [(4_000, false), (4_010, true)] {
        let commit = async |nth: u128, commands: Vec<ad::Command>| {
            let request = Arc::new(requests::request(nth, commands));
            let batch = Batch { repeated, ..super::batch(vec![request]) };
            let plan = followed.journal.commit(Arc::new(batch)).await;
            plan.expect("a healthy journal commits").answers[0].outcomes.clone()
        };
        let unknown = commit(nth, vec![create(60)]).await;
        assert!(matches!(unknown[..], [Outcome::Invalid { .. }]), "{unknown:?}");
        let pool = of_pools(Command::CreatePool { id: id(60), spec: paused.clone() });
        let made = commit(nth + 1, vec![pool, create(60), drop_pool()]).await;
        assert!(matches!(made[1], Outcome::Created { .. }), "{made:?}");
        assert_eq!(made[2], refused);
        assert_eq!(commit(nth + 2, vec![drop_pool()]).await, std::slice::from_ref(&refused));
        // A batch that says nothing of pools takes the ad out of one.
        let replaced = commit(nth + 3, vec![replace()]).await;
        assert!(matches!(replaced[..], [Outcome::Updated { .. }]), "{replaced:?}");
        let none = ad::Command::Delete { id: id(70), only_if: Conditions::default() };
        assert_eq!(gone(&commit(nth + 4, vec![drop_pool(), none]).await), 2);
    }
}

/// A replica of an older build is registered.
async fn nothing_is_written_for_older_builds<J: Journal>(followed: &Followed<J>) {
    let create = Command::CreatePool { id: id(1), spec: spec(5) };
    let batch = Arc::new(batch(1_000, vec![create], followed.now, FORMAT_LEVEL_MIN));
    let plan = followed.journal.commit(batch).await.expect("a healthy journal commits");
    let not_yet = Outcome::Refused { id: id(1), refusal: Refusal::NotYet };
    assert_eq!(plan.answers[0].outcomes, [not_yet]);
    let head = poll(&followed.journal, 0).await;
    assert_eq!((head.position.version, head.level), (0, FORMAT_LEVEL_MIN));
}

impl<J: Journal> Followed<J> {
    /// Commits a batch, and compares it with decisions on all that there is.
    async fn commit(&mut self, id: u128, commands: Vec<Command>) -> Plan {
        let batch = batch(id, commands.clone(), self.now, CAPACITY_LEVEL);
        let batch = Arc::new(Batch { repeated: self.repeated, ..batch });
        let plan = self.journal.commit(Arc::clone(&batch)).await;
        let plan = plan.expect("a healthy journal commits");
        let mut changes = Vec::new();
        for (asked, outcome) in commands.iter().zip(&plan.answers[0].outcomes) {
            let clocks = Clocks { journal: plan.now, own: Some(self.now) };
            let (registered, ads) = (None, HashSet::new());
            let (books, next, named) = (&self.books, self.version + 1, HashSet::new());
            let state = State { books, clocks, next, registered, ads: &ads, named: &named };
            let decision = decide(asked, &state);
            assert_eq!(outcome, &decision.outcome, "{asked:?} in batch {id}");
            if let Some(change) = decision.change {
                self.version += 1;
                self.apply(&change);
                changes.push(change);
            }
        }
        let written = plan.log.iter().map(|row| {
            let entry = Entry::decode(&row.record.bytes).expect("it was just written");
            entry.change
        });
        assert_eq!(written.collect::<Vec<_>>(), changes, "batch {id}");
        assert_eq!((plan.head.version, plan.head.digest), (self.version, self.digest));
        self.now = plan.now;
        plan
    }

    /// Its snapshot and its head.
    async fn holds_what_it_must(&self) {
        let (position, all) = snapshot(&self.journal).await;
        let mut books = Books::default();
        for one in &all {
            let Encoded::Record(record) = one else { panic!("it holds no ads") };
            books.put(record).expect("it was written here");
        }
        assert_eq!(books, self.books);
        let head = poll(&self.journal, 0).await;
        assert_eq!((head.level, head.position), (CAPACITY_LEVEL, position));
        assert_eq!((position.version, position.digest), (self.version, self.digest));
        assert_eq!(
            all.iter().map(Digest::of_any).fold(Digest::default(), Digest::plus),
            self.digest
        );
    }

    fn apply(&mut self, change: &Change) {
        let (minus, plus) = self.books.enter(change, self.version);
        self.digest = self.digest.minus(minus).plus(plus);
    }
}

/// Each needs others that have lapsed, more than one command closes.
async fn lapsed_ones_make_room_for_a_whole_batch<J: Journal>(followed: &mut Followed<J>) {
    let units = 300;
    let create = Command::CreatePool { id: id(9), spec: spec(units) };
    let lapsing = (0..units).map(|nth| reserve(1_000 + u128::from(nth), 9, 1, Some(0)));
    let commands = [create].into_iter().chain(lapsing).collect();
    followed.commit(2_000, commands).await;
    let wanted = (0..units).map(|nth| reserve(2_000 + u128::from(nth), 9, 1, None)).collect();
    let plan = followed.commit(2_001, wanted).await;
    assert_eq!(plan.log.len() as u64, units);
}

/// Its first try had an unknown outcome.
async fn a_repeated_batch_is_written_once<J: Journal>(followed: &mut Followed<J>) {
    let gives = vec![Giving { hold: id(3_001), pool: id(8), least: 1, most: 9 }];
    let report = Report { owner: id(90), gives, ..Report::default() };
    let commands = vec![
        Command::CreatePool { id: id(8), spec: spec(5) },
        reserve(3_000, 8, 2, None),
        Command::Report(report),
        Command::Close { hold: id(3_000), only_if: Conditions::default(), used: 1 },
    ];
    let first = followed.commit(3_000, commands.clone()).await;
    let again = Batch { repeated: true, ..batch(3_000, commands, followed.now, CAPACITY_LEVEL) };
    let plan = followed.journal.commit(Arc::new(again)).await.expect("a healthy journal commits");
    assert_eq!((&plan.log[..], plan.head), (&[][..], first.head));
    assert_eq!(plan.answers[0].outcomes, first.answers[0].outcomes);
}
