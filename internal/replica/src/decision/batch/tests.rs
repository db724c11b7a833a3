//! Batches whose requests were tried, kept or written before.

use bytes::Bytes;
use placard_model::command::Sums;
use placard_model::entry::FORMAT_LEVEL;
use placard_model::{Delivery, Spec, Targeting};

use super::*;

const BROKEN: Uuid = Uuid::from_u128(9);

fn key() -> Idempotency {
    let sums = Sums { conditions: [3; 32], meaning: [4; 32] };
    Idempotency { scope: [1; 32], spelt: None, body: [2; 32], sums }
}

/// The request to create an ad, and another under an id whose ad cannot be read; each time it is sent the first
/// ad has an id of its own, as ids that a server makes.
fn request(id: u128) -> Arc<Request> {
    let at = |second: i64| Timestamp::EPOCH.saturating_add_micros(second * 1_000_000);
    let spec = Spec {
        title: "Created once".to_owned(),
        content: "content".to_owned(),
        start_at: at(0),
        end_at: at(100),
        targeting: Targeting::default(),
        delivery: Delivery::default(),
    };
    let create = |id| Command::Create { id, spec: spec.clone() };
    Arc::new(Request {
        id: Uuid::from_u128(id),
        principal: String::new(),
        idempotency: Some(key()),
        trace: None,
        commands: vec![create(Uuid::from_u128(id)), create(BROKEN)],
    })
}

fn plan(request: Arc<Request>, kept: Vec<KeptAnswer>) -> Plan {
    let (requests, repeated, format_level) = (vec![request], false, FORMAT_LEVEL);
    let batch = Batch { requests, repeated, format_level, refuses_empty: false };
    let planned = batch.plan(Current {
        head: Position::START,
        now: Timestamp::EPOCH,
        ads: HashMap::from([(BROKEN, EncodedAd::from_bytes(Bytes::from_static(b"\xff")))]),
        records: Vec::new(),
        pools_of_ads: HashSet::new(),
        registered: None,
        kept: kept.into_iter().map(|kept| (kept.scope, kept)).collect(),
        written: HashMap::new(),
    });
    planned.expect("an empty journal is taken")
}

#[test]
fn a_partly_failed_batch_is_kept_under_its_key() {
    let first = plan(request(1), Vec::new());
    let [Outcome::Created { .. }, Outcome::Failed] = first.answers[0].outcomes[..] else {
        panic!("one is created, one fails: {:?}", first.answers)
    };
    let again = plan(request(2), first.kept);
    assert_eq!(again.log, [], "it was done twice under one key");
    assert_eq!(again.answers, [Answer { replayed: true, ..first.answers[0].clone() }]);
}

/// Creations of an ad like any, of one that is paused, and of one that names a pool that there is not; under a key.
fn of_each_level() -> Arc<Request> {
    let whole = Arc::unwrap_or_clone(request(1));
    let Command::Create { spec, .. } = &whole.commands[0] else { panic!("it creates") };
    let delivered = |id, delivery| Command::Create {
        id: Uuid::from_u128(id),
        spec: Spec { delivery, ..spec.clone() },
    };
    let paused = Delivery { paused: true, ..Delivery::default() };
    let pooled = Delivery { pool: Some(Uuid::nil()), ..Delivery::default() };
    let plain = whole.commands[0].clone();
    let commands = vec![plain, delivered(20, paused), delivered(21, pooled)];
    Arc::new(Request { commands, ..whole })
}

/// The first was written, and the refusal of the others was kept with it for good, in a form that the old build did not read.
#[test]
fn batch_that_a_build_cannot_read_writes_nothing() {
    let current = || Current {
        head: Position::START,
        now: Timestamp::EPOCH,
        ads: HashMap::new(),
        records: Vec::new(),
        pools_of_ads: HashSet::new(),
        registered: None,
        kept: HashMap::new(),
        written: HashMap::new(),
    };
    let batch = |format_level, repeated| Batch {
        requests: vec![of_each_level()],
        repeated,
        format_level,
        refuses_empty: false,
    };
    let old = batch(FORMAT_LEVEL_MIN, false).plan(current()).expect("an empty journal is taken");
    let is_refused =
        |outcome: &Outcome| matches!(outcome, Outcome::Refused { refusal: Refusal::NotYet, .. });
    assert!(old.answers[0].outcomes.iter().all(is_refused), "{:?}", old.answers);
    assert_eq!((&old.log[..], &old.kept[..]), (&[][..], &[][..]));
    let new = batch(FORMAT_LEVEL, false).plan(current()).expect("an empty journal is taken");
    let [Outcome::Created { .. }, Outcome::Created { .. }, Outcome::Invalid { .. }] =
        new.answers[0].outcomes[..]
    else {
        panic!("{:?}", new.answers)
    };
    // What is refused for itself is refused in the same way after the rest was written.
    let rows = new.log.iter().map(|row| ((row.request, row.item), row.record.clone()));
    let written = Current { head: new.head, written: rows.collect(), ..current() };
    let again = batch(FORMAT_LEVEL, true).plan(written).expect("the journal is not empty");
    assert_eq!(again.answers[0].outcomes, new.answers[0].outcomes);
}

#[test]
fn a_batch_that_failed_wholly_is_tried_again() {
    let only = |id| {
        let mut request = Arc::unwrap_or_clone(request(id));
        request.commands.remove(0);
        Arc::new(request)
    };
    let first = plan(only(1), Vec::new());
    assert_eq!(
        (&first.answers[0].outcomes[..], &first.kept[..]),
        (&[Outcome::Failed][..], &[][..])
    );
}

/// The same request under this key.
fn under(key: Idempotency) -> Arc<Request> {
    Arc::new(Request { idempotency: Some(key), ..Arc::unwrap_or_clone(request(2)) })
}

/// A build before the sums has kept an answer by the request's body and its path as it was spelt. It is given again,
/// whatever the new build would compare; and such a build finds what the new one keeps.
#[test]
fn answers_are_given_again_across_a_rolling_upgrade() {
    let first = plan(request(1), Vec::new());
    let spelt = [9; 32];
    let old = |scope| KeptAnswer { scope, body: key().body, answer: first.answers[0].encode() };
    let replayed = Answer { replayed: true, ..first.answers[0].clone() };
    for kept in [old(key().scope), old(spelt)] {
        let again = plan(under(Idempotency { spelt: Some(spelt), ..key() }), vec![kept]);
        assert_eq!((&again.answers[0], &again.log[..]), (&replayed, &[][..]));
    }
    let other = plan(under(Idempotency { body: [8; 32], ..key() }), vec![old(key().scope)]);
    assert_eq!(other.answers[0].outcomes, [Outcome::KeyReused, Outcome::KeyReused]);
    // One that took other items for well-formed has answered others than are asked for.
    let mut answer = first.answers[0].clone();
    answer.outcomes.pop();
    let fewer = KeptAnswer { answer: answer.encode(), ..old(key().scope) };
    let other = plan(request(1), vec![fewer]);
    assert_eq!(other.answers[0].outcomes, [Outcome::KeyReused, Outcome::KeyReused]);
    assert!(other.log.is_empty());
    let new = plan(under(Idempotency { spelt: Some(spelt), ..key() }), Vec::new()).kept;
    let known: Vec<_> = new.iter().map(|kept| (kept.scope, kept.body)).collect();
    assert_eq!(known, [(key().scope, key().body), (spelt, key().body)]);
    // What an old build reads of it is the answer.
    assert!(new.iter().all(|kept| Answer::decode(&kept.answer).is_ok()));
}

#[test]
fn request_is_known_by_its_conditions_and_meaning() {
    let kept = plan(request(1), Vec::new()).kept;
    for (body, conditions, meaning, same) in [
        ([2; 32], [3; 32], [4; 32], true),
        // Written otherwise; or a build that writes meanings otherwise.
        ([8; 32], [3; 32], [4; 32], true),
        ([2; 32], [3; 32], [8; 32], true),
        ([2; 32], [8; 32], [4; 32], false),
        ([8; 32], [3; 32], [8; 32], false),
    ] {
        let again = under(Idempotency { body, sums: Sums { conditions, meaning }, ..key() });
        let outcomes = &plan(again, kept.clone()).answers[0].outcomes;
        assert_eq!(outcomes[0] != Outcome::KeyReused, same, "{body:?} {conditions:?} {meaning:?}");
    }
}
