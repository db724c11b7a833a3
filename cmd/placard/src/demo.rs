//! `placard demo`: the embedded server on a temporary directory, filled through its own write path.

use std::time::Duration;

use anyhow::Context;
use placard_node::{ApiConfig, Config, Storage};
use reqwest::{Client, ClientBuilder, Response};

use crate::misconfigured::Misconfigured;
use crate::options::DemoOptions;
use crate::output::{Log, announce};
use crate::signals::Signals;
use crate::{access, seed, serve};

/// An ad for anyone to create.
const EXAMPLE: &str = concat!(
    r#"{"title":"Hello, Taiwan","content":"Fits anyone there","country":["TW"],"#,
    r#""start_at":"2026-01-01T00:00:00Z","end_at":"2099-12-31T00:00:00Z"}"#,
);

/// The pools, with ids that do not change, so that commands can name them: two delivery slots, and what a customer has bought.
const POOLS: [&str; 3] = [
    concat!(
        r#"{"id":"00000000-0000-4000-8000-000000000001","name":"Delivery, Saturday 10 to 12","capacity":20,"#,
        r#""country":["TW"]}"#,
    ),
    concat!(
        r#"{"id":"00000000-0000-4000-8000-000000000002","name":"Delivery, Saturday 12 to 14","capacity":2,"#,
        r#""country":["TW"]}"#,
    ),
    concat!(
        r#"{"id":"00000000-0000-4000-8000-000000000003","name":"Autumn campaign","capacity":1000000,"#,
        r#""country":["US"]}"#,
    ),
];
/// A reservation for anyone to make, under an id that the command after it names.
const RESERVATION: &str = concat!(
    r#"{"id":"00000000-0000-4000-8000-0000000000a1","pool":"00000000-0000-4000-8000-000000000001","#,
    r#""amount":3,"expires_in":900}"#,
);
const RESERVATION_ID: &str = "00000000-0000-4000-8000-0000000000a1";
/// The change that confirms it.
const CONFIRMED: &str = r#"{"expires_at":null}"#;
/// How long the server may take to answer.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) async fn run(options: DemoOptions, log: &Log) -> anyhow::Result<()> {
    access::require(options.listen, options.insecure, "--insecure").map_err(Misconfigured::new)?;
    let directory = tempfile::Builder::new()
        .prefix("placard-demo-")
        .tempdir()
        .context("cannot make a temporary directory")?;
    let signals = Signals::listen()?;
    let config = Config {
        storage: Storage::Embedded(directory.path().to_owned()),
        drain_delay: Duration::ZERO,
        connections: Default::default(),
        api: ApiConfig { log_lost: log.lost(), ..ApiConfig::default() },
        replica: Default::default(),
        traces: None,
    };
    let node = serve::start(options.listen, None, config).await?;
    let (handle, url) = (node.handle().clone(), format!("http://{}", node.address()));
    let opening = async move {
        handle.ready().await;
        let DemoOptions { ads, seed, .. } = options;
        seed::fill(client(), url.parse()?, ads, seed, log).await?;
        create_pools(&url).await?;
        let pools = POOLS.len();
        announce(format!(
            "Placard is serving {ads} ads and {pools} pools at {url} from a temporary directory; Ctrl-C stops it. Try:

  curl '{url}/api/v1/ad?age=24&gender=F&country=TW&platform=ios&limit=3'
  curl '{url}/api/v1/ad?country=JP&offset=20&limit=5'
  curl -H 'Content-Type: application/json' -d '{EXAMPLE}' {url}/api/v1/ad

  curl '{url}/api/v1/pool?country=TW&available=3'
  curl -H 'Content-Type: application/json' -d '{RESERVATION}' {url}/api/v1/reservation
  curl -X PATCH -H 'Content-Type: application/json' -d '{CONFIRMED}' {url}/api/v1/reservation/{RESERVATION_ID}

"
        ))
        .await;
        Ok(())
    };
    let served = serve::until_stopped(node, signals, opening).await;
    directory.close().context("cannot remove the temporary directory")?;
    served
}

/// The demo talks to its own server: a proxy in the environment must not see these requests.
fn client() -> ClientBuilder {
    Client::builder().no_proxy()
}

async fn create_pools(url: &str) -> anyhow::Result<()> {
    let client = client().timeout(DEADLINE).build().context("cannot make a client")?;
    for pool in POOLS {
        let request = client.post(format!("{url}/api/v1/pool"));
        let request = request.header("Content-Type", "application/json").body(pool);
        let answer = request.send().await.and_then(Response::error_for_status);
        answer.context("cannot create a pool")?;
    }
    Ok(())
}
