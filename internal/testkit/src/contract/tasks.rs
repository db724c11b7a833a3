//! What a store of tasks promises.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use placard_replica::system_now;
use placard_scheduler::ports::{Expire, TaskStore};

use crate::wait::until;

/// Counts the tasks that were begun.
#[derive(Default)]
struct Begun {
    count: AtomicU64,
    /// Whether the next task panics.
    panics: AtomicBool,
}

impl Begun {
    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Expire for Begun {
    fn due(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            self.count.fetch_add(1, Ordering::Relaxed);
            assert!(!self.panics.swap(false, Ordering::Relaxed), "it panics, as a test wants it");
        })
    }
}

/// Checks all that a store of tasks promises, by a clock that runs. There are no tasks yet; `handle` returns another
/// handle to the same store each time, as another replica has it.
pub async fn tasks<T: TaskStore>(handle: impl AsyncFn() -> T) {
    let (store, other) = (handle().await, handle().await);
    for store in [&store, &other, &store] {
        store.open().await.expect("a healthy store is opened");
    }
    let push = async |store: &T, second| store.push(second).await.expect("it takes tasks");
    let now = system_now().micros() as u64 / 1_000_000;
    let (past, future) = (now - 2, now + 3_600);
    // There is one task for a second, from whichever replica it comes, and however often.
    assert!(push(&store, future).await);
    assert!(!push(&store, future).await && !push(&other, future).await);
    // Of two at once one is the first. If the other fails it is repeated.
    let both = tokio::join!(store.push(future + 1), other.push(future + 1));
    assert!(matches!(both, (Ok(true), _) | (_, Ok(true))), "{both:?}");
    assert!(!push(&store, future + 1).await && !push(&other, future + 1).await);
    assert!(push(&store, past).await && push(&other, past - 1).await);
    let begun = Arc::new(Begun::default());
    let work =
        async |store: &T, name: &str| store.work(name.to_owned(), Arc::clone(&begun) as _).await;
    let reaches = async |count| {
        until("the tasks that are due", async || (begun.count() >= count).then_some(())).await;
    };
    // What is due is done once, by one worker or the other, also what is added while they wait; and nothing else is.
    tokio::select! {
        ended = work(&store, "one") => panic!("a worker ends: {ended:?}"),
        ended = work(&other, "another") => panic!("a worker ends: {ended:?}"),
        () = async {
            reaches(2).await;
            assert!(push(&other, past - 2).await);
            reaches(3).await;
            assert_eq!(begun.count(), 3);
        } => {}
    }
    // A worker comes back under another name. It goes on after a task that panics.
    begun.panics.store(true, Ordering::Relaxed);
    assert!(push(&store, past - 3).await);
    tokio::select! {
        ended = work(&store, "one again") => panic!("a worker ends: {ended:?}"),
        () = async {
            until("a panic", async || (!begun.panics.load(Ordering::Relaxed)).then_some(())).await;
            let before = begun.count();
            assert!(push(&store, past - 4).await && push(&store, past - 5).await);
            reaches(before + 2).await;
        } => {}
    }
    // What is to come is not dropped.
    store.forget_done().await.expect("a healthy store is written");
    assert!(!push(&store, future).await && !push(&other, future + 1).await);
}
