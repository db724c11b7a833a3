//! A whole cluster as `make cluster` has it: its parts are started again when they die, and none outlives it.

use std::path::Path;
use std::time::Duration;

use placard_testkit::cluster::{Cluster, Options};
use placard_testkit::directory::Directory;
use placard_testkit::wait::until;
use reqwest::{Client, StatusCode};

use crate::cluster::{ADS, PLACARD};

/// Names the file in which a process of a test that is to be killed says what it has started.
const VICTIM: &str = "TEST_VICTIM";

/// Where a cluster is, and the cluster, which is not started yet.
pub(crate) async fn prepared(link: &Path, program: &str) -> (Directory, Cluster) {
    let directory = Directory::temporary(link).await.expect("a directory can be made");
    let cluster = Cluster::new(Options {
        program: program.into(),
        directory: directory.path().to_owned(),
        is_temporary: true,
        port: 0,
        statistics: 0,
        token_file: None,
    });
    (directory, cluster)
}

/// Returns the processes of all parts, all of which run.
fn processes(cluster: &mut Cluster) -> Vec<u32> {
    let parts = cluster.parts().into_iter();
    parts.map(|(name, id, _)| id.unwrap_or_else(|| panic!("{name} does not run"))).collect()
}

/// A process whose parent has died may stay as a zombie.
fn is_gone(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with(['Z', 'X']))
}

fn kill(process: u32) {
    signal(process, "-KILL");
}

fn signal(process: u32, signal: &str) {
    let sent = std::process::Command::new("kill").args([signal, &process.to_string()]).status();
    assert!(sent.expect("kill can be run").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_parts_of_a_cluster_are_started_again() {
    let place = tempfile::tempdir().expect("a directory can be made");
    let (directory, mut cluster) = prepared(&place.path().join("link"), PLACARD).await;
    cluster.start(2, &|_| {}).await.expect("the cluster starts");
    let client = Client::builder().no_proxy().build().expect("a client can be made");
    let url = format!("{}{ADS}", cluster.url());
    let before = processes(&mut cluster);
    assert_eq!(before.len(), 5, "PostgreSQL, Redis, HAProxy and two replicas");
    for (nth, dead) in before.iter().enumerate() {
        kill(*dead);
        until("the part that was killed", async || {
            cluster.mend(&|_| {}).await;
            let (_, id, _) = cluster.parts().swap_remove(nth);
            id.filter(|id| id != dead)
        })
        .await;
        until("an answer through the balancer", async || {
            // Replicas may end with PostgreSQL.
            cluster.mend(&|_| {}).await;
            client.get(&url).send().await.ok()?.status().is_success().then_some(())
        })
        .await;
    }
    let after = processes(&mut cluster);
    cluster.stop(std::future::pending(), &|_| {}).await;
    let alive: Vec<_> = after.into_iter().filter(|id| !is_gone(*id)).collect();
    assert!(alive.is_empty(), "{alive:?} outlive the cluster");
    let path = directory.path().to_owned();
    drop(directory);
    assert!(!path.exists() && !place.path().join("link").is_symlink());
}

/// Until the balancer has found it, which may take half a minute, other commands are answered.
#[tokio::test(flavor = "multi_thread")]
async fn look_does_not_wait_for_a_held_replica() {
    let place = tempfile::tempdir().expect("a directory can be made");
    let (_directory, mut cluster) = prepared(&place.path().join("link"), PLACARD).await;
    cluster.start(1, &|_| {}).await.expect("the cluster starts");
    let (_, before, _) = cluster.parts().swap_remove(3);
    kill(before.expect("the replica runs"));
    let client = Client::builder().no_proxy().build().expect("a client can be made");
    let url = format!("{}{ADS}", cluster.url());
    until("the balancer to miss it", async || {
        let answer = client.get(&url).send().await.ok()?;
        (answer.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    let look = async |cluster: &mut Cluster| {
        let looked = tokio::time::timeout(Duration::from_secs(15), cluster.mend(&|_| {})).await;
        looked.expect("a look does not wait for a replica");
    };
    // Held before the balancer has looked for it.
    let held = until("the replica that was killed", async || {
        let (_, id, address) = cluster.parts().swap_remove(3);
        match id.filter(|id| Some(*id) != before) {
            Some(id) => address.map(|_| id),
            None => {
                look(&mut cluster).await;
                None
            }
        }
    })
    .await;
    signal(held, "-STOP");
    look(&mut cluster).await;
    look(&mut cluster).await;
    signal(held, "-CONT");
    until("an answer through the balancer", async || {
        look(&mut cluster).await;
        client.get(&url).send().await.ok()?.status().is_success().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_that_does_not_start_is_not_kept() {
    let place = tempfile::tempdir().expect("a directory can be made");
    let (_directory, mut cluster) = prepared(&place.path().join("link"), "/bin/false").await;
    let error = cluster.start(2, &|_| {}).await.expect_err("no replica starts");
    assert_eq!(error.to_string(), "replica-1 did not start: it says nothing");
    assert_eq!(cluster.replicas(), 0);
    assert_eq!(processes(&mut cluster).len(), 3, "its servers run");
}

/// The first start in a directory that is kept may be killed at any moment.
#[tokio::test(flavor = "multi_thread")]
async fn halves_of_a_killed_first_start_are_not_used() {
    let place = tempfile::tempdir().expect("a directory can be made");
    let (directory, mut cluster) = prepared(&place.path().join("link"), "/bin/false").await;
    let half = directory.path().join("postgres.new");
    std::fs::create_dir(&half).expect("the directory can be made");
    std::fs::write(half.join("PG_VERSION"), "1").expect("the file can be written");
    std::fs::write(directory.path().join("secret.new"), "").expect("the file can be written");
    cluster.start(1, &|_| {}).await.expect_err("no replica starts");
    assert_eq!(processes(&mut cluster).len(), 3, "its servers run");
    let secret = std::fs::read_to_string(directory.path().join("secret"));
    assert!(!secret.expect("there is a secret").is_empty());
}

/// Started by the test below, in a process of its own.
#[tokio::test(flavor = "multi_thread")]
async fn victim_with_a_cluster() {
    let Some(told) = std::env::var_os(VICTIM) else { return };
    let link = Path::new(&told).with_extension("link");
    let (directory, mut cluster) = prepared(&link, PLACARD).await;
    cluster.start(1, &|_| {}).await.expect("the cluster starts");
    let started = (processes(&mut cluster), directory.path());
    let text = serde_json::to_string(&started).expect("it is JSON");
    std::fs::write(&told, text).expect("the file can be written");
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_cluster_leaves_nothing() {
    let place = tempfile::tempdir().expect("a directory can be made");
    let told = place.path().join("told");
    let mut victim = std::process::Command::new(std::env::current_exe().expect("it is a file"))
        .args(["--exact", "supervised::victim_with_a_cluster"])
        .env(VICTIM, &told)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the victim can be started");
    let (processes, directory): (Vec<u32>, std::path::PathBuf) =
        until("a cluster of the victim", async || {
            let text = std::fs::read_to_string(&told).ok()?;
            serde_json::from_str(&text).ok()
        })
        .await;
    assert_eq!(processes.len(), 4);
    victim.kill().expect("the victim can be killed");
    victim.wait().expect("the victim can be waited for");
    until("the end of all", async || {
        (processes.iter().all(|id| is_gone(*id)) && !directory.exists()).then_some(())
    })
    .await;
}
