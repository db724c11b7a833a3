//! `placard demo`: the embedded server on a temporary directory, filled through its own write path.

use std::time::Duration;

use anyhow::Context;
use placard_node::{ApiConfig, Config, Storage};
use reqwest::Client;

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
        // The demo talks to its own server: a proxy in the environment must not see these requests.
        let client = Client::builder().no_proxy();
        let DemoOptions { ads, seed, .. } = options;
        seed::fill(client, url.parse()?, ads, seed, log).await?;
        announce(format!(
            "Placard is serving {ads} ads at {url} from a temporary directory; Ctrl-C stops it. Try:

  curl '{url}/api/v1/ad?age=24&gender=F&country=TW&platform=ios&limit=3'
  curl '{url}/api/v1/ad?country=JP&offset=20&limit=5'
  curl -H 'Content-Type: application/json' -d '{EXAMPLE}' {url}/api/v1/ad

"
        ))
        .await;
        Ok(())
    };
    let served = serve::until_stopped(node, signals, opening).await;
    directory.close().context("cannot remove the temporary directory")?;
    served
}
