//! Lists every test of the suite, and the ways to heal that its faults must take: each way is a counter, and a way that
//! no test takes is not tested. A new counter is in neither list below, and fails this file's test.

use std::collections::BTreeSet;
use std::process::Command;

use crate::world::World;

/// Each test by the name of its function, and the counters that must have moved when it ends.
const TESTS: &[(&str, &[&str])] = &[
    (
        "forged_and_corrupt_entries_reach_no_state",
        &[
            "placard_stream_rejects_total",
            "placard_stream_resets_total",
            "placard_poison_total",
            "placard_diverged_total",
        ],
    ),
    (
        "replica_with_wrong_digest_is_isolated_and_repaired",
        &["placard_diverged_total", r#"placard_restores_total{cause="digest"}"#],
    ),
    (
        "a_replica_is_cut_off_from_both_servers",
        &["placard_commits_failed_total", "placard_heals_total", "placard_lease_ends_total"],
    ),
    ("replica_recovers_after_path_drops_large_packets", &["placard_heals_total"]),
    ("replica_recovers_after_connections_are_forgotten", &["placard_lease_ends_total"]),
    (
        "postgresql_is_killed_and_held",
        &["placard_commits_failed_total", "placard_lease_ends_total"],
    ),
    ("the_connection_is_cut_at_the_commit", &["placard_commits_unknown_total"]),
    ("a_write_that_postgresql_refuses_costs_no_other", &["placard_commits_refused_total"]),
    (
        "replicas_follow_restored_journal_past_its_old_head",
        &["placard_forks_total", r#"placard_restores_total{cause="fork"}"#],
    ),
    (
        "stream_recovers_when_flushed_deleted_or_trimmed",
        &["placard_heals_total", "placard_stream_gaps_total"],
    ),
    ("redis_stops_for_a_while_and_comes_back_empty", &["placard_heals_total"]),
    (
        "redis_is_away_for_more_writes_than_a_replica_holds",
        &["placard_heals_total", "placard_relayed_total"],
    ),
    ("redis_is_rolled_back_to_an_older_state", &["placard_relayed_total"]),
    ("three_relays_race", &["placard_heals_total", "placard_relayed_total"]),
    (
        "replicas_recover_when_killed_in_turn_and_together",
        &[r#"placard_restores_total{cause="start"}"#],
    ),
    ("a_replica_dies_between_the_commit_and_the_append", &["placard_heals_total"]),
    (
        "held_replica_restores_when_log_is_trimmed_past_it",
        &[r#"placard_restores_total{cause="gap"}"#],
    ),
    ("a_replica_joins_in_the_middle_of_writes", &[r#"placard_restores_total{cause="start"}"#]),
    ("replica_joins_during_5000_writes_a_second", &[r#"placard_restores_total{cause="start"}"#]),
    (
        "a_checkpoint_that_is_damaged_is_not_used",
        &["placard_checkpoints_loaded_total", r#"placard_restores_total{cause="start"}"#],
    ),
    ("under_serve_a_silent_replica_is_unconfirmed", &["placard_lease_ends_total"]),
    ("under_refuse_silence_confirms_and_hides_takedowns", &["placard_lease_ends_total"]),
    ("under_refuse_start_from_checkpoint_hides_takedowns", &["placard_checkpoints_loaded_total"]),
    ("a_replica_whose_row_is_deleted_is_unconfirmed", &["placard_lease_ends_total"]),
    ("replica_on_lost_side_of_failover_is_unconfirmed", &["placard_forks_total"]),
    ("a_takedown_that_is_lost_is_not_confirmed", &["placard_forks_total"]),
    (
        "others_write_while_the_lock_holder_is_paused",
        &["placard_commits_failed_total", "placard_lease_ends_total"],
    ),
    // The ways that it takes are drawn at random.
    ("storm_of_random_faults_loses_no_write", &[]),
];

/// Counters that count no fault, or (expiry's) of what has tests of its own.
const ORDINARY: &[&str] = &[
    "placard_http_requests_total",
    r#"placard_http_unrouted_total{status="404"}"#,
    r#"placard_http_unrouted_total{status="405"}"#,
    "placard_http_refused_total",
    "placard_connections_ended_total",
    "placard_commits_total",
    "placard_commit_entries_total",
    "placard_applied_total",
    "placard_expired_total",
    "placard_reservations_lapsed_total",
    "placard_tombstones_dropped_total",
    "placard_not_yet_total",
    "placard_feed_entries_total",
    "placard_feed_refused_total",
    "placard_spans_total",
    "placard_expiry_looks_total",
    "placard_expiry_failures_total",
    "placard_expiry_tasks_pushed_total",
    "placard_expiry_tasks_done_total",
    "placard_chore_runs_total",
    "placard_chore_failures_total",
    "placard_chore_rows_total",
    "placard_connection_panics_total",
    "placard_log_lines_lost_total",
    "placard_scheduler_restarts_total",
];

/// Ways to heal that have no line in the log of their own: the log is read, up to hundreds of times a second, because
/// of what has one; and failing commits are logged when they begin and when they are over, however many there are.
pub(crate) const UNSAID: &[&str] = &[
    "placard_heals_total",
    "placard_commits_failed_total",
    "placard_commits_refused_total",
    "placard_commits_unknown_total",
];

/// Ways that no test here takes, and why.
const ELSEWHERE: &[&str] = &[
    // The next entry would have to be a newer build's, which does not exist: `placard_replica::restores` has a test.
    r#"placard_restores_total{cause="format"}"#,
];

/// The name of a counter that may have labels, and each label with its value.
pub(crate) fn split(counter: &str) -> (&str, Vec<(&str, &str)>) {
    let Some((name, labels)) = counter.split_once('{') else { return (counter, Vec::new()) };
    let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
    (name, labels.map(|(label, value)| (label, value.trim_matches('"'))).collect())
}

/// Returns the ways to heal that a test must take.
///
/// # Panics
/// It is not in the list.
pub(crate) fn ways(test: &str) -> &'static [&'static str] {
    let found = TESTS.iter().find(|(name, _)| *name == test);
    found.unwrap_or_else(|| panic!("{test} is not in the list of the suite")).1
}

/// The tests' functions, as this program lists them.
fn tests() -> BTreeSet<String> {
    let program = std::env::current_exe().expect("this program has a name");
    let ended = Command::new(program).args(["--list", "--format", "terse"]).output();
    let listed = String::from_utf8(ended.expect("it runs").stdout).expect("names are text");
    let function = |line: &str| Some(line.strip_suffix(": test")?.rsplit("::").next()?.to_owned());
    listed.lines().filter_map(function).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_heal_is_taken_by_a_test() {
    let listed: BTreeSet<_> = TESTS.iter().map(|(test, _)| (*test).to_owned()).collect();
    let mut tests = tests();
    assert!(tests.remove("every_way_to_heal_is_taken_by_a_test"));
    assert_eq!(tests, listed, "left: the tests that there are; right: the list");
    let mut world = World::prepared("every_way_to_heal_is_taken_by_a_test", &[]).await;
    world.launch(0);
    let exported = world.counters_exported_by(0).await;
    // The labels of counters that count no fault name no way that a test would have to take.
    let unlabelled = |counter: &String| {
        let (name, _) = split(counter);
        if ORDINARY.contains(&name) { name.to_owned() } else { counter.clone() }
    };
    let exported: BTreeSet<_> = exported.iter().map(unlabelled).collect();
    let taken = TESTS.iter().flat_map(|(_, ways)| *ways).chain(ORDINARY).chain(ELSEWHERE);
    let known: BTreeSet<_> = taken.map(|way| (*way).to_owned()).collect();
    assert_eq!(exported, known, "left: what a replica exports; right: what the tests know");
}
