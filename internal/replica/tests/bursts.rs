//! Writes that come together after a pause.

use std::sync::{Arc, Mutex, PoisonError};

use placard_model::command::Request;
use placard_model::{Timestamp, TraceContext};
use placard_replica::ports::NoCheckpoints;
use placard_replica::spans::{Arrival, Serving, SpanCounts, Spans, Stage, Step};
use placard_replica::{Config, Replica, Reply};
use placard_testkit::models::{ModelJournal, ModelStream};
use placard_testkit::requests::{create, request};
use tokio::task::JoinSet;

/// The requests of each commit, told once by each of them.
#[derive(Debug, Default)]
struct Commits(Mutex<Vec<usize>>);

impl Spans for Commits {
    fn arrived(&self, _: &Arrival<'_>) -> Option<Box<dyn Serving>> {
        None
    }

    fn done(&self, step: &Step) {
        if let Stage::Commit { requests } = step.stage {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(requests);
        }
    }

    fn counts(&self) -> SpanCounts {
        SpanCounts::default()
    }
}

#[tokio::test]
async fn first_request_of_a_burst_is_not_committed_alone() {
    let commits = Arc::new(Commits::default());
    let config = Config { spans: Some(Arc::clone(&commits) as _), ..Config::default() };
    let journal = ModelJournal::new(Timestamp::EPOCH);
    let replica = Replica::start(journal, ModelStream::default(), NoCheckpoints, config);
    replica.handle().ready().await;
    // All are sent before this test's one thread has time for the replica.
    let trace = Some(TraceContext { trace_id: 1, span_id: 1 });
    let mut writes = JoinSet::new();
    for id in 1..=8 {
        let request = Request { trace, ..request(id, vec![create(id, "one of many")]) };
        let handle = replica.handle().clone();
        writes.spawn(async move { handle.write(request).await });
    }
    for reply in writes.join_all().await {
        assert!(matches!(reply, Ok(Reply::Applied(_))), "{reply:?}");
    }
    assert_eq!(*commits.0.lock().expect("nobody has panicked"), [8; 8]);
}
