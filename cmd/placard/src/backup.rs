//! `placard backup`: a copy of an embedded journal, whether or not a server runs on it.

use std::path::PathBuf;

use crate::config::DATA_DIR;
use crate::options::BackupOptions;
use crate::output::print;

pub(crate) async fn run(options: BackupOptions) -> anyhow::Result<()> {
    let BackupOptions { data_dir, to } = options;
    let directory = data_dir.unwrap_or_else(|| PathBuf::from(DATA_DIR));
    let version = placard_node::backup(directory, to.clone()).await?;
    print(&format!("{} has the journal up to version {version}.\n", to.display())).map(drop)
}
