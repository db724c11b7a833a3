//! What a journal promises about the ends of ads.

use std::time::Duration;

use placard_model::Timestamp;
use placard_model::command::{Command, Outcome};
use placard_model::entry::{Change, Entry, Reason};
use placard_replica::ports::Journal;
use placard_scheduler::ports::Expirations;
use uuid::Uuid;

use super::{commit, poll};
use crate::requests::{request, spec};
use crate::wait::until;

/// Checks all that a journal promises about expirations, by a clock that runs. `journal` is empty.
pub async fn expirations<J: Journal + Expirations>(journal: J) {
    const SECOND: i64 = 1_000_000;
    let head = poll(&journal, 0).await;
    let now = head.now;
    let ending = |id: u128, end_at: i64| {
        let mut spec = spec("An ad that ends");
        spec.end_at = Timestamp::from_micros(end_at).expect("a time in range");
        Command::Create { id: Uuid::from_u128(id), spec }
    };
    let expired = journal.expired(10).await.expect("a healthy journal is read");
    assert_eq!(expired.ads, []);
    assert!(expired.now >= now);
    // Two ends share a second, and one ends exactly with it; those far ahead are not asked for.
    let minute = (now.micros() / SECOND + 60) * SECOND;
    let soon = [1, 400_000, SECOND, SECOND + 1].map(|after| minute + after);
    let mut commands: Vec<_> = (1..).zip(soon).map(|(id, end)| ending(id, end)).collect();
    commands.push(ending(5, now.micros() + 10_000));
    commands.push(ending(6, now.micros() + 3_600 * SECOND));
    let plan = commit(&journal, vec![request(1, commands)]).await;
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
    let expired = until("an ad that has ended", async || {
        let expired = journal.expired(10).await.expect("a healthy journal is read");
        (!expired.ads.is_empty()).then_some(expired)
    })
    .await;
    let id = Uuid::from_u128(5);
    assert_eq!(expired.ads, [(id, version)]);
    assert_eq!(journal.expired(0).await.expect("a healthy journal is read").ads, []);
    // An ad that has not ended is not deleted, nor one at another version; one that has ended is, once, with its
    // reason.
    let expire = |id: u128, version| Command::Expire { id: Uuid::from_u128(id), version };
    let first = plan.answers[0].outcomes[0].entry().expect("it was created");
    let commands =
        vec![expire(1, first), expire(5, version + 1), expire(5, version), expire(5, version)];
    let expired = commit(&journal, vec![request(2, commands)]).await;
    let outcomes = &expired.answers[0].outcomes;
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
    let [row] = &expired.log[..] else { panic!("one entry: {:?}", expired.log) };
    let entry = Entry::decode(&row.record.bytes).expect("it was just written");
    assert_eq!((entry.reason, entry.change), (Reason::Expired, Change::Delete(id)));
    assert_eq!(journal.expired(10).await.expect("a healthy journal is read").ads, []);
}
