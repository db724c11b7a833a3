//! The autoscaler on a whole cluster: real load at a real HAProxy makes it start replicas, and stop them again.

use std::path::Path;
use std::sync::Mutex;

use placard_testkit::control::{self, Command, Control};
use placard_testkit::process::Process;
use placard_testkit::wait::until;
use reqwest::Client;

use crate::balancers::{Crowd, Kind};
use crate::cluster::PLACARD;
use crate::supervised::prepared;

/// Name the cluster, and how many replicas it is to have, in the process that the autoscaler starts.
const DIRECTORY: &str = "TEST_CLUSTER";
const REPLICAS: &str = "TEST_REPLICAS";
/// More than one client asks for, and less than half of what many ask for.
const TARGET: &str = "30";

/// What the autoscaler of the test below has for `make cluster-scale`.
#[tokio::test]
async fn client_that_scales_a_cluster() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let replicas = std::env::var(REPLICAS).ok().and_then(|replicas| replicas.parse().ok());
    let command = Command::Scale(replicas.expect("a number of replicas"));
    control::ask(Path::new(&directory), command, &|_| {}).await.expect("the cluster is scaled");
}

#[tokio::test(flavor = "multi_thread")]
async fn load_grows_and_shrinks_a_cluster_without_a_failed_request() {
    let place = tempfile::tempdir().expect("a directory can be made");
    let (directory, mut cluster) = prepared(&place.path().join("link"), PLACARD).await;
    cluster.start(1, &|_| {}).await.expect("the cluster starts");
    let control = Control::listen(directory.path()).expect("the cluster listens");
    let (url, statistics) = (cluster.url(), cluster.statistics_url());
    let orders = Mutex::new(Vec::new());
    let serving = async {
        loop {
            let mut client = control.accept().await;
            let Some(Command::Scale(replicas)) = client.command().await else {
                panic!("the autoscaler only scales");
            };
            orders.lock().expect("no test thread panics").push(replicas);
            let scaled = cluster.scale(replicas, &|_| {}).await;
            client.end(scaled.map_err(|error| error.to_string())).await;
        }
    };
    let directory = directory.path().to_str().expect("the directory's name is text").to_owned();
    tokio::select! {
        () = serving => unreachable!("it serves for ever"),
        () = grow_and_shrink(&url, &statistics, &directory) => {}
    }
    let orders = orders.into_inner().expect("no test thread panics");
    // The first seconds of the crowd may be counted apart.
    assert!(matches!(orders[..], [3, 2, 1] | [2, 3, 2, 1]), "{orders:?}");
    cluster.stop(std::future::pending(), &|_| {}).await;
}

async fn grow_and_shrink(url: &str, statistics: &str, directory: &str) {
    let test = std::env::current_exe().expect("it is a file");
    let test = test.to_str().expect("the test's name is text");
    let (directory, replicas) =
        (format!("{DIRECTORY}={directory}"), format!("{REPLICAS}={{replicas}}"));
    let limits = ["--requests-per-replica", TARGET, "--replicas-min", "1", "--replicas-max", "3"];
    let times = ["--interval", "1", "--quiet", "2"];
    let places = ["--balancer", statistics, "--metrics-listen", "127.0.0.1:0"];
    let command = ["--", "env", &directory, &replicas, test, "--exact"];
    let client_of_cluster = "autoscaled::client_that_scales_a_cluster";
    let arguments =
        [&["autoscale"][..], &limits, &times, &places, &command, &[client_of_cluster]].concat();
    let mut autoscaler = Process::start(PLACARD, &arguments, &[]);
    let metrics = autoscaler.url().await;
    let client = Client::builder().no_proxy().build().expect("a client can be made");
    let serve = async |replicas: u32| {
        until("the replicas", async || {
            let text = client.get(&metrics).send().await.ok()?.text().await.ok()?;
            let line = format!("\nplacard_autoscale_replicas_serving {replicas}\n");
            text.contains(&line).then_some(text)
        })
        .await
    };
    let port = url.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
    serve(1).await;
    let one = Crowd::of(1, port, &[Kind::Read]);
    let many = Crowd::start(port, &[Kind::Read, Kind::Read, Kind::KeyedWrite]);
    serve(3).await;
    many.goes_on(3).await;
    many.acknowledged().await;
    serve(2).await;
    let text = serve(1).await;
    one.goes_on(3).await;
    one.acknowledged().await;
    for line in ["placard_autoscale_downs_total 2", "placard_autoscale_commands_failed_total 0"] {
        assert!(text.contains(&format!("\n{line}\n")), "{line}: {text}");
    }
    autoscaler.terminate();
    let ended = autoscaler.ended().await;
    assert!(ended.status.success(), "{ended:#?}");
}
