//! `placard demo`: the embedded server on a temporary directory, filled through its own write path.

use std::time::Duration;

use anyhow::Context;

use crate::options::DemoOptions;
use crate::{seed, serve};

/// An ad for anyone to create.
const EXAMPLE: &str = concat!(
    r#"{"title":"Hello, Taiwan","content":"Fits anyone there","country":["TW"],"#,
    r#""start_at":"2026-01-01T00:00:00Z","end_at":"2099-12-31T00:00:00Z"}"#,
);

pub(crate) async fn run(options: DemoOptions) -> anyhow::Result<()> {
    let directory = tempfile::Builder::new()
        .prefix("placard-demo-")
        .tempdir()
        .context("cannot make a temporary directory")?;
    let mut node = serve::start(options.listen, directory.path(), Duration::ZERO).await?;
    serve::ready(&mut node).await?;
    let url = format!("http://{}", node.address());
    seed::fill(&url, options.ads, options.seed).await?;
    let ads = options.ads;
    println!(
        "Placard is serving {ads} ads at {url} from a temporary directory; Ctrl-C stops it. Try:

  curl '{url}/api/v1/ad?age=24&gender=F&country=TW&platform=ios&limit=3'
  curl '{url}/api/v1/ad?country=JP&offset=20&limit=5'
  curl -H 'Content-Type: application/json' -d '{EXAMPLE}' {url}/api/v1/ad
"
    );
    let served = serve::until_stopped(node).await;
    directory.close().context("cannot remove the temporary directory")?;
    served
}
