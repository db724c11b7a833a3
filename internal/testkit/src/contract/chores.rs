//! What a journal promises about its housekeeping.

use std::time::Duration;

use placard_model::entry::Chain;
use placard_replica::ports::Journal;
use placard_scheduler::ports::Chores;

use super::{all_pages, commit, poll, snapshot, sums_agree};
use crate::requests::{create, delete, keyed, request};

const HOUR: Duration = Duration::from_secs(3600);

/// Checks all that a journal promises about its chores. `journal` is empty. `age` makes the rows of the log two hours
/// older, and the kept answers two days: all of them but the row of that version, and the answer with that key.
pub async fn chores<J: Journal + Chores>(journal: J, age: impl AsyncFn(&J, u64, u8)) {
    let trim = async |keep| journal.trim_log(keep).await.expect("a healthy journal is trimmed");
    let forget = async || journal.forget_answers().await.expect("a healthy journal is written");
    assert_eq!((trim(HOUR).await, forget().await), (0, 0));
    // There are no tasks, and perhaps no place for them.
    assert_eq!(journal.forget_tasks(HOUR).await.expect("a healthy journal is written"), 0);
    let ask = |id: u128, key| keyed(request(id, vec![create(id, "An old ad")]), key, key);
    for id in 1..=5 {
        commit(&journal, vec![ask(id, id as u8)]).await;
    }
    let log = all_pages(&journal).await.concat();
    let (head, ads) = snapshot(&journal).await;
    // What is young stays, however little is to be kept.
    assert_eq!((trim(HOUR).await, trim(Duration::ZERO).await, forget().await), (0, 0, 0));
    age(&journal, 3, 5).await;
    assert_eq!(trim(3 * HOUR).await, 0);
    // Two of the old rows are behind a newer one, as after a step of the clock: they stay, so that the log has no hole.
    assert_eq!((trim(Duration::ZERO).await, trim(HOUR).await), (2, 0));
    assert_eq!(all_pages(&journal).await.concat(), log[2..]);
    assert_eq!(snapshot(&journal).await, (head, ads));
    assert_eq!(poll(&journal, 3).await.chain_at, Some(log[2].chain));
    assert_eq!(poll(&journal, 1).await.chain_at, None);
    // An answer is given again until it is dropped, and not afterwards.
    assert_eq!((forget().await, forget().await), (4, 0));
    let plan = commit(&journal, vec![ask(11, 1), ask(15, 5)]).await;
    assert_eq!(
        plan.answers.iter().map(|answer| answer.replayed).collect::<Vec<_>>(),
        [false, true]
    );
    // The log goes on behind what was trimmed, even behind nothing.
    age(&journal, 0, 0).await;
    assert_eq!(trim(HOUR).await, 4);
    assert_eq!(all_pages(&journal).await, Vec::<Vec<_>>::new());
    let plan = commit(&journal, vec![request(20, vec![delete(1)])]).await;
    let [record] = &journal.log(0, 10).await.expect("a healthy journal is read")[..] else {
        panic!("the log has one entry")
    };
    assert_eq!((record.version, plan.head.version), (7, 7));
    let before: Chain = poll(&journal, 7).await.position.chain;
    assert_eq!(record.chain, before);
    sums_agree(&journal).await;
}
