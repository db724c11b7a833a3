//! `placard migrate`: brings the tables of a cluster's journal up to date.

use crate::cluster;
use crate::options::MigrateOptions;
use crate::output::print;

pub(crate) async fn run(options: MigrateOptions) -> anyhow::Result<()> {
    placard_node::migrate(cluster::required_postgres_url(&options.postgres)?).await?;
    print("The journal's tables are up to date.\n").map(drop)
}
