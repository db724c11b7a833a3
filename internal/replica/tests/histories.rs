//! Clients wait for a version while the journal loses it and tells another history under the same numbers, as after an
//! asynchronous failover or a restore: what do they get? The core is stepped by hand, on model ports; waits for all
//! replicas are tested on a running one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use placard_engine::Builder;
use placard_model::entry::Incarnation;
use placard_model::{Timestamp, Version};
use placard_replica::core::{Core, Input, Moment, Now, Output, Settings, Ticket};
use placard_replica::ports::{Appended, NoCheckpoints};
use placard_replica::{Batch, Config, Lost, Plan, Replica, Reply};
use placard_testkit::contract::{batch, heartbeat};
use placard_testkit::models::{JournalState, ModelJournal, ModelStream};
use placard_testkit::requests::{create, request};
use placard_testkit::wait::until;

const TICKET: Ticket = 7;

fn now() -> Timestamp {
    Timestamp::parse("2026-01-01T00:00:00Z").expect("a constant")
}

/// A history in which these ads were created, one by one.
fn history(ads: &[u128]) -> JournalState {
    let mut journal = JournalState::new(now());
    ads.iter().for_each(|id| drop(write(&mut journal, *id)));
    journal
}

/// A client creates an ad.
fn write(journal: &mut JournalState, id: u128) -> Plan {
    let requests = vec![Arc::new(request(id, vec![create(id, "an ad of some history")]))];
    journal.commit(&batch(requests)).expect("an empty journal is taken")
}

/// A replica whose journal answers at once, and whose stream brings nothing. Its own transactions are held.
struct Stepped {
    core: Core,
    journal: JournalState,
    moment: Duration,
    commits: Vec<Arc<Batch>>,
    replies: HashMap<Ticket, Reply>,
    /// The versions that were to be appended, and to which journal's stream. No append has a result.
    appends: Vec<(Incarnation, Vec<Version>)>,
    /// Whether a state can be built.
    restores: bool,
}

impl Stepped {
    fn new(journal: JournalState) -> Self {
        let core = Core::new(Settings {
            identity: heartbeat(1, journal.head).identity,
            lease: Duration::from_secs(2),
            stream_entries_max: 1_024,
            checkpoint_every: None,
            // What is lost here may be all there was.
            takes_new_journal: true,
        });
        let (commits, replies, appends) = Default::default();
        Self { core, journal, moment: Duration::ZERO, commits, replies, appends, restores: true }
    }

    /// Takes a step, and whatever it leads to.
    fn step(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            self.moment += Duration::from_millis(1);
            let now = Now {
                moment: Moment(self.moment),
                time: now(),
                poll_after: Duration::from_millis(250),
            };
            let mut outputs = Vec::new();
            self.core.step(now, input, &mut outputs);
            inputs.extend(outputs.into_iter().filter_map(|output| self.done(output)));
        }
    }

    fn done(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Commit(batch) => {
                self.commits.push(batch);
                None
            }
            Output::Answer(ticket, reply) => {
                assert!(self.replies.insert(ticket, reply).is_none(), "answered twice");
                None
            }
            Output::Append(journal, records) => {
                let versions = records.iter().map(|record| record.version).collect();
                self.appends.push((journal, versions));
                None
            }
            Output::ReadLog(purpose, after, max) => {
                Some(Input::LogRead(purpose, Ok(self.journal.log(after, max))))
            }
            Output::Poll(heartbeat, at) => {
                Some(Input::Polled(Ok(self.journal.poll(heartbeat, at))))
            }
            Output::Restore => {
                let mut builder = Builder::default();
                let ads = self.journal.contents();
                builder.extend(ads).expect("ads of the model's own");
                let engine = builder.finish(self.journal.head, now()).expect("the digest fits");
                Some(Input::Restored(self.restores.then(|| Box::new(engine))))
            }
            Output::LoadCheckpoint => Some(Input::CheckpointLoaded(None)),
            _ => None,
        }
    }

    /// Time goes on until the core wants nothing more for a while.
    fn goes_on(&mut self) {
        for _ in 0..10 {
            self.moment += Duration::from_millis(300);
            self.step(Input::Tick);
        }
    }

    /// A client creates an ad, and the transaction is committed; the replica does not know yet.
    fn commits(&mut self, id: u128) -> Plan {
        self.replies.remove(&TICKET);
        let request = Arc::new(request(id, vec![create(id, "an ad that is waited for")]));
        let deadline = Moment(self.moment + Duration::from_secs(3_600));
        self.step(Input::Submit(vec![(TICKET, request)], deadline));
        let batch = self.commits.pop().expect("a transaction is wanted");
        self.journal.commit(&batch).expect("an empty journal is taken")
    }

    fn told(&self) -> Option<&Reply> {
        self.replies.get(&TICKET)
    }
}

/// A copy of a journal has its own stream. A replica that went over to it appended what it still had for the stream of
/// the first to that of the copy, and took what it heard of the first for the copy's.
#[test]
fn records_never_reach_another_journals_stream() {
    let mut stepped = Stepped::new(history(&[1]));
    stepped.goes_on();
    let one = stepped.journal.incarnation;
    for id in [2, 3] {
        let plan = stepped.commits(id);
        stepped.step(Input::Committed(Ok(plan)));
    }
    // The first append is under way, and has version 3 wait behind it; so is a transaction.
    assert_eq!(stepped.appends, [(one, vec![2])]);
    let plan = stepped.commits(4);
    let other = Incarnation { database: one.database + 1, ..one };
    stepped.journal.incarnation = other;
    // One head poll tells, and the answer to the transaction comes after it.
    stepped.moment += Duration::from_millis(300);
    stepped.step(Input::Tick);
    stepped.step(Input::Committed(Ok(plan)));
    assert_eq!(stepped.appends.len(), 1, "the worker is at the first");
    stepped.step(Input::Appended(Ok(Appended::Fork)));
    stepped.goes_on();
    assert_eq!(
        stepped.appends.len(),
        1,
        "nothing is left of the one, and the other is not suspected"
    );
    let plan = stepped.commits(5);
    stepped.step(Input::Committed(Ok(plan)));
    assert_eq!(stepped.appends[1..], [(other, vec![5])]);
    assert_eq!(stepped.core.reader().published(), stepped.journal.head);
}

/// It waits for version 2 of one history, and has nothing of it yet; version 2 of another one comes.
#[test]
fn version_of_another_history_confirms_no_write() {
    let mut stepped = Stepped::new(history(&[]));
    stepped.goes_on();
    write(&mut stepped.journal, 1);
    let plan = stepped.commits(2);
    stepped.step(Input::Committed(Ok(plan)));
    assert_eq!(stepped.told(), None);
    stepped.journal = history(&[3, 4, 5]);
    stepped.goes_on();
    assert_eq!(stepped.core.reader().published(), stepped.journal.head);
    assert_eq!(stepped.told(), Some(&Reply::Unknown));
}

/// It has no state while it writes, and builds one that is beyond its own entry.
#[test]
fn state_of_another_history_confirms_no_lower_write() {
    for is_lost in [false, true] {
        let mut stepped = Stepped::new(history(&[]));
        stepped.restores = false;
        stepped.goes_on();
        let plan = stepped.commits(1);
        stepped.step(Input::Committed(Ok(plan)));
        if is_lost {
            stepped.journal = history(&[3, 4]);
        } else {
            write(&mut stepped.journal, 3);
        }
        assert_eq!(stepped.told(), None);
        stepped.restores = true;
        (0..10).for_each(|_| stepped.goes_on());
        assert_eq!(stepped.core.reader().published(), stepped.journal.head);
        let applied = matches!(stepped.told(), Some(Reply::Applied(answer)) if answer.version == 1);
        assert_eq!((applied, stepped.told() == Some(&Reply::Unknown)), (!is_lost, is_lost));
    }
}

/// The log ends before what is waited for.
#[test]
fn a_loss_that_is_noticed_ends_every_wait() {
    let mut stepped = Stepped::new(history(&[1]));
    stepped.goes_on();
    write(&mut stepped.journal, 2);
    let plan = stepped.commits(3);
    stepped.step(Input::Committed(Ok(plan)));
    stepped.journal = history(&[]);
    stepped.goes_on();
    assert_eq!(stepped.told(), Some(&Reply::Unknown));
}

/// The journal has failed over to a state without the last entries of what the replica has applied, and takes a write
/// under a lower version. The replica has not noticed, or has and cannot restore yet.
#[test]
fn a_write_below_a_lost_history_is_not_called_visible() {
    for is_noticed in [false, true] {
        let mut stepped = Stepped::new(history(&[1, 2, 3, 4]));
        stepped.goes_on();
        assert_eq!(stepped.core.reader().published().version, 4);
        stepped.restores = false;
        stepped.journal = history(&[1]);
        if is_noticed {
            stepped.goes_on();
        }
        let plan = stepped.commits(5);
        assert_eq!(plan.head.version, 2);
        stepped.step(Input::Committed(Ok(plan)));
        assert_eq!(stepped.told(), None, "its ad is not shown, noticed: {is_noticed}");
        stepped.restores = true;
        (0..10).for_each(|_| stepped.goes_on());
        assert_eq!(stepped.core.reader().published(), stepped.journal.head);
        let applied = matches!(stepped.told(), Some(Reply::Applied(answer)) if answer.version == 2);
        // What waits when the loss is noticed may be lost with it.
        let unknown = stepped.told() == Some(&Reply::Unknown);
        assert_eq!((applied, unknown), (is_noticed, !is_noticed));
    }
}

/// The answer to a commit is on its way while the journal loses what it committed, and the replica restores.
#[test]
fn lost_write_is_unknown_when_its_answer_is_late() {
    let mut stepped = Stepped::new(history(&[1]));
    stepped.goes_on();
    let plan = stepped.commits(2);
    assert_eq!(plan.head.version, 2);
    stepped.journal = history(&[3, 4, 5]);
    (0..10).for_each(|_| stepped.goes_on());
    assert_eq!(stepped.core.reader().published(), stepped.journal.head);
    stepped.step(Input::Committed(Ok(plan)));
    assert_eq!(stepped.told(), Some(&Reply::Unknown));
}

/// As before, but the other history does not get to the write's version before the deadline.
#[test]
fn unreplaced_lost_write_is_unknown_at_its_deadline() {
    let mut stepped = Stepped::new(history(&[1]));
    stepped.goes_on();
    let plan = stepped.commits(2);
    stepped.journal = history(&[]);
    (0..10).for_each(|_| stepped.goes_on());
    stepped.step(Input::Committed(Ok(plan)));
    stepped.goes_on();
    assert_eq!(stepped.told(), None);
    stepped.moment += Duration::from_secs(3_600);
    stepped.step(Input::Tick);
    assert_eq!(stepped.told(), Some(&Reply::Unknown));
}

/// The stream has brought its own entry, and another replica's, before the answer to the commit.
#[test]
fn write_that_state_is_beyond_is_answered_at_once() {
    let mut stepped = Stepped::new(history(&[1]));
    stepped.goes_on();
    let plan = stepped.commits(2);
    write(&mut stepped.journal, 3);
    stepped.goes_on();
    assert_eq!(stepped.core.reader().published().version, 3);
    stepped.step(Input::Committed(Ok(plan)));
    assert!(matches!(stepped.told(), Some(Reply::Applied(answer)) if answer.version == 2));
}

/// A takedown waits for a replica that is behind. The journal fails over to a state without it, goes on past its
/// version, and everybody publishes that.
#[tokio::test]
async fn a_write_of_a_lost_history_is_not_confirmed_by_all() {
    const WAIT: Duration = Duration::from_secs(60);
    let journal = ModelJournal::new(now());
    let replica =
        Replica::start(journal.clone(), ModelStream::default(), NoCheckpoints, Config::default());
    let handle = replica.handle().clone();
    handle.ready().await;
    let behind = heartbeat(2, journal.state().head);
    journal.state().poll(behind, 0);
    let (asked, before) = (handle.state().polls, handle.state().history);
    let Ok(Reply::Applied(answer)) = handle.write(request(1, vec![create(1, "lost")])).await else {
        panic!("it is written");
    };
    let confirmed = handle.confirmed(answer.version, before, WAIT);
    let failover = async {
        until("a poll that waits for all", async || {
            (handle.state().polls > asked + 1).then_some(())
        })
        .await;
        let members = journal.state().members.clone();
        let mut other = history(&[11, 12, 13]);
        other.members = members;
        let head = other.head;
        other.poll(heartbeat(2, head), 0);
        *journal.state() = other;
        until("the other history to be published", async || {
            (handle.reader().published() == head).then_some(())
        })
        .await;
    };
    let (confirmed, ()) = tokio::join!(confirmed, failover);
    assert_eq!(confirmed, Err(Lost));
    let Ok(Reply::Applied(answer)) = handle.write(request(2, vec![create(2, "kept")])).await else {
        panic!("it is written");
    };
    let caught_up = heartbeat(2, journal.state().head);
    journal.state().poll(caught_up, 0);
    let history = handle.state().history;
    let receipts = handle.confirmed(answer.version, history, WAIT).await.expect("nothing is lost");
    assert_eq!((receipts.confirmed.len(), receipts.unconfirmed.len()), (2, 0));
}
