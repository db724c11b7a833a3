//! `placard migrate`: brings the tables of a cluster's journal up to date.

use crate::config;
use crate::options::MigrateOptions;
use crate::output::print;

pub(crate) async fn run(options: MigrateOptions) -> anyhow::Result<()> {
    placard_node::migrate(config::required_postgres_url(&options.postgres)?).await?;
    print("The journal's tables are up to date.\n").map(drop)
}
