//! What a journal promises about the ends of ads, reservations and tombstones.

use std::sync::Arc;
use std::time::Duration;

use placard_model::capacity::Command as Asked;
use placard_model::command::{Command, Conditions, Outcome};
use placard_model::entry::{CAPACITY_LEVEL, Change, Entry, Reason};
use placard_model::{Timestamp, Version};
use placard_replica::ports::Journal;
use placard_scheduler::ports::{Expirations, Expired};
use uuid::Uuid;

use super::{commit, poll};
use crate::capacity::{self, batch, id, reserve};
use crate::requests::{request, spec};
use crate::wait::until;

const SECOND: i64 = 1_000_000;

/// Checks all that a journal promises about expirations, by a clock that runs. `journal` is empty. `date` makes the
/// tombstones that it has due at a number of seconds from now.
pub async fn expirations<J: Journal + Expirations>(journal: J, date: impl AsyncFn(&J, i64)) {
    ads_end(&journal).await;
    reservations_and_tombstones_are_due(&journal, date).await;
}

async fn expired<J: Expirations>(journal: &J, max: usize) -> Expired {
    journal.expired(max).await.expect("a healthy journal is read")
}

async fn ads_end<J: Journal + Expirations>(journal: &J) {
    let head = poll(journal, 0).await;
    let now = head.now;
    let ending = |id: u128, end_at: i64| {
        let mut spec = spec("An ad that ends");
        spec.end_at = Timestamp::from_micros(end_at).expect("a time in range");
        Command::Create { id: Uuid::from_u128(id), spec }
    };
    let none = expired(journal, 10).await;
    assert_eq!(none.items().count(), 0);
    assert!(none.now >= now);
    // Two ends share a second, and one ends exactly with it; those far ahead are not asked for.
    let minute = (now.micros() / SECOND + 60) * SECOND;
    let soon = [1, 400_000, SECOND, SECOND + 1].map(|after| minute + after);
    let mut commands: Vec<_> = (1..).zip(soon).map(|(id, end)| ending(id, end)).collect();
    commands.push(ending(5, now.micros() + 10_000));
    commands.push(ending(6, now.micros() + 3_600 * SECOND));
    let plan = commit(journal, vec![request(1, commands)]).await;
    // The fifth may have come after its own end: then it was not created.
    let created = plan.answers[0].outcomes[4].entry();
    let second = u64::try_from(minute / SECOND).expect("after 1970");
    let upcoming = async |seconds, max| {
        let ahead = Duration::from_secs(seconds);
        journal.upcoming(ahead, max).await.expect("a healthy journal is read")
    };
    // The fifth may still be among them.
    let mut all = upcoming(120, 10).await;
    all.retain(|end| *end >= second);
    assert_eq!(all, [second + 1, second + 2]);
    assert_eq!(upcoming(120, 1).await.len(), 1);
    let few = upcoming(5, 10).await;
    assert!(few.iter().all(|end| *end < second), "{few:?}");
    let Some(version) = created else { return };
    let found = until("an ad that has ended", async || {
        let found = expired(journal, 10).await;
        (!found.ads.is_empty()).then_some(found)
    })
    .await;
    let id = Uuid::from_u128(5);
    assert!(found.items().eq([(id, version)]) && found.ads == [(id, version)], "{found:?}");
    assert_eq!(expired(journal, 0).await.items().count(), 0);
    // An ad that has not ended is not deleted, nor one at another version; one that has ended is, once, with its
    // reason.
    let expire = |id: u128, version| Command::Expire { id: Uuid::from_u128(id), version };
    let first = plan.answers[0].outcomes[0].entry().expect("it was created");
    let commands =
        vec![expire(1, first), expire(5, version + 1), expire(5, version), expire(5, version)];
    let plan = commit(journal, vec![request(2, commands)]).await;
    let outcomes = &plan.answers[0].outcomes;
    assert!(
        matches!(
            outcomes[..],
            [
                Outcome::Invalid { .. },
                Outcome::VersionMismatch { .. },
                Outcome::Deleted { .. },
                Outcome::NotFound { .. }
            ]
        ),
        "{outcomes:?}"
    );
    let [row] = &plan.log[..] else { panic!("one entry: {:?}", plan.log) };
    let entry = Entry::decode(&row.record.bytes).expect("it was just written");
    assert_eq!((entry.reason, entry.change), (Reason::Expired, Change::Delete(id)));
    assert_eq!(expired(journal, 10).await.items().count(), 0);
}

async fn reservations_and_tombstones_are_due<J: Journal + Expirations>(
    journal: &J,
    date: impl AsyncFn(&J, i64),
) {
    let ask = async |request: u128, commands: Vec<Asked>| {
        let now = poll(journal, 0).await.now;
        let batch = Arc::new(batch(request, commands, now, CAPACITY_LEVEL));
        let plan = journal.commit(batch).await.expect("a healthy journal commits");
        (plan.now, plan.answers[0].outcomes.clone())
    };
    // Those that lapse later are given first; two of them lapse at one instant.
    let create = Asked::CreatePool { id: id(100), spec: capacity::spec(50) };
    let close = Asked::Close { hold: id(120), only_if: Conditions::default(), used: 0 };
    let later = [(110, Some(90)), (111, Some(75)), (112, Some(75)), (113, None)];
    let later = later.map(|(hold, seconds)| reserve(hold, 100, 1, seconds));
    let (given, outcomes) = ask(10, [create, close].into_iter().chain(later).collect()).await;
    assert!(outcomes.iter().all(|outcome| outcome.entry().is_some()), "{outcomes:?}");
    let tombstone = (id(120), version(&outcomes[1]));
    assert_eq!(expired(journal, 10).await.items().count(), 0);
    let mut lapsed = Vec::new();
    for hold in [115, 114] {
        let (at, outcomes) = ask(hold, vec![reserve(hold, 100, 1, Some(0))]).await;
        lapsed.push((id(hold), version(&outcomes[0])));
        let later = async || (poll(journal, 0).await.now > at).then_some(());
        until("the clock to go on", later).await;
    }
    // The second that a time is in, or ends with.
    let second = |time: Timestamp| (time.micros() as u64).div_ceil(SECOND as u64);
    let lapses = [75, 90].map(|after| second(given.saturating_add_micros(after * SECOND)));
    // A tombstone needs no task. One ad ends with those reservations.
    date(journal, 80).await;
    let mut ending = spec("An ad that ends as reservations do");
    ending.end_at = given.saturating_add_micros(75 * SECOND);
    let create = Command::Create { id: id(20), spec: ending };
    commit(journal, vec![request(20, vec![create])]).await;
    let upcoming = async |max| {
        let ahead = Duration::from_secs(120);
        journal.upcoming(ahead, max).await.expect("a healthy journal is read")
    };
    let all = upcoming(10).await;
    assert!(all.is_sorted_by(|one, next| one < next), "{all:?}");
    // The other ads end within a minute.
    let after = second(given.saturating_add_micros(70 * SECOND));
    assert!(all.iter().filter(|second| **second >= after).eq(&lapses), "{all:?}, not {lapses:?}");
    assert_eq!(upcoming(2).await, all[..2]);
    // Those that lapsed first come first, and tombstones after them.
    let is_due = async |max, (reservations, tombstones): (&[_], &[_])| {
        let found = expired(journal, max).await;
        let due = (&found.reservations[..], &found.tombstones[..]);
        assert_eq!(due, (reservations, tombstones), "at most {max}");
        assert!(found.ads.is_empty() && found.items().count() <= max);
    };
    is_due(10, (&lapsed, &[])).await;
    date(journal, -1).await;
    is_due(10, (&lapsed, &[tombstone])).await;
    is_due(2, (&lapsed, &[])).await;
    is_due(1, (&lapsed[..1], &[])).await;
    is_due(0, (&[], &[])).await;
    // Ads come first of all.
    let ended = ended_ad(journal).await;
    let found = expired(journal, 2).await;
    assert!(found.items().eq([ended, lapsed[0]]), "{found:?}");
    // A reservation lapses once, at its version, and not before its end. What is left of it is not due for a day.
    let lapse = |(id, version)| Asked::Lapse { id, version };
    let [first, second] = lapsed[..] else { unreachable!("there are two") };
    let commands = vec![lapse(first), lapse((second.0, second.1 + 1)), lapse(first), lapse(second)];
    let (_, outcomes) = ask(30, commands).await;
    let is_deleted = |outcome: &Outcome| matches!(outcome, Outcome::Deleted { .. });
    assert_eq!(
        outcomes.iter().map(is_deleted).collect::<Vec<_>>(),
        [true, false, false, true],
        "{outcomes:?}"
    );
    let found = expired(journal, 10).await;
    assert!(found.items().eq([ended, tombstone]), "{found:?}");
}

/// Creates an ad, and waits until it has ended.
async fn ended_ad<J: Journal + Expirations>(journal: &J) -> (Uuid, Version) {
    for nth in 200_u128.. {
        let mut ending = spec("An ad that ends at once");
        let now = poll(journal, 0).await.now;
        ending.end_at = now.saturating_add_micros(SECOND / 5);
        let create = Command::Create { id: id(nth), spec: ending };
        let plan = commit(journal, vec![request(nth, vec![create])]).await;
        // If it came after its own end it was not created.
        if let Some(version) = plan.answers[0].outcomes[0].entry() {
            let ended = async || expired(journal, 1).await.ads.first().copied();
            assert_eq!(until("the ad to end", ended).await, (id(nth), version));
            return (id(nth), version);
        }
    }
    unreachable!("there are more numbers than that")
}

fn version(outcome: &Outcome) -> Version {
    outcome.entry().unwrap_or_else(|| panic!("an entry: {outcome:?}"))
}
