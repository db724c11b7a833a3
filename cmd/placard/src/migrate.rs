//! `placard migrate`: brings the tables of a cluster's journal up to date.

use crate::config;
use crate::misconfigured::Misconfigured;
use crate::options::MigrateOptions;
use crate::output::print;

pub(crate) async fn run(options: MigrateOptions) -> anyhow::Result<()> {
    let url = config::required_postgres_url(&options.postgres).map_err(Misconfigured::new)?;
    placard_node::migrate(url).await?;
    print("The journal's tables are up to date.\n").map(drop)
}
