//! Recomputes a journal's chain and digest from what it holds, and compares them with its head and with what
//! replicas say of themselves.

use std::collections::BTreeMap;
use std::path::PathBuf;

use placard_model::capacity::{Books, Fault};
use placard_model::entry::{Digest, Entry, Position};
use placard_model::{Encoded, Version, limits};
use placard_replica::ports::{Audit, Unavailable};
use placard_storage::postgres::{self, PostgresJournal};
use placard_storage::sqlite::{AuditError, SqliteAudit};
use tokio::sync::mpsc;

use crate::{Secret, StartError};

/// Records read at once.
const PAGE: usize = limits::READ_ENTRIES_MAX;
/// Chunks of ads between the database and the sum.
const CHUNKS: usize = 4;
/// Most inconsistencies that the report lists one by one; it counts the others.
const WRONG_MAX: usize = 100;

/// A report of what was read, and whether it is consistent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Where the log begins.
    pub base: Version,
    /// Where it ends.
    pub head: Version,
    /// The number of entries that were read.
    pub entries: u64,
    /// The number of ads that were read.
    pub ads: u64,
    /// The numbers of pools, holds and tombstones that were read.
    pub records: (usize, usize, usize),
    /// The inconsistencies, in plain words; empty if the journal is consistent. If there are many: the first ones, and
    /// the number of the others.
    pub wrong: Vec<String>,
}

/// What a replica says about its state, to be compared with the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// The replica's name in the report.
    pub name: String,
    /// The version of its state.
    pub version: Version,
    /// The chain at that version, as the cluster's page shows it.
    pub chain: String,
    /// The digest of its ads, as the cluster's page shows it.
    pub digest: String,
}

/// Verifies the journal of a cluster, at PostgreSQL's URL, and compares each of `claims` with the log at its version.
///
/// # Errors
/// The journal cannot be read to its end.
pub async fn verify_cluster(
    postgres_url: Secret,
    claims: &[Audited],
) -> Result<Report, VerifyError> {
    let options = postgres::Options {
        run_migrations: false,
        accept_older_tables: true,
        accept_unsafe_durability: true,
    };
    let journal =
        PostgresJournal::connect(postgres_url, options).await.map_err(StartError::from)?;
    Ok(verify(journal.audit().await?, claims).await?)
}

/// Verifies the journal of a standalone server's directory, while the server runs or when it is stopped.
///
/// # Errors
/// There is no journal, or it cannot be read to its end.
pub async fn verify_standalone(
    directory: PathBuf,
    claims: &[Audited],
) -> Result<Report, VerifyError> {
    let begun = tokio::task::spawn_blocking(move || SqliteAudit::begin(&directory)).await;
    let begun = begun.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    Ok(verify(begun?, claims).await?)
}

async fn verify(mut audit: impl Audit, claims: &[Audited]) -> Result<Report, Unavailable> {
    let (base, head) = (audit.base(), audit.head());
    let mut wrong = Wrong::default();
    let mut by_version: BTreeMap<Version, Vec<&Audited>> = BTreeMap::new();
    for claim in claims {
        by_version.entry(claim.version).or_default().push(claim);
    }
    let mut check = |at: Position, wrong: &mut Wrong| {
        for claim in by_version.remove(&at.version).into_iter().flatten() {
            let (chain, digest) = (at.chain.to_string(), at.digest.to_string());
            if (&claim.chain, &claim.digest) != (&chain, &digest) {
                let Audited { name, version, .. } = claim;
                wrong.push(format!("{name} differs from the log at version {version}"));
            }
        }
    };
    let mut at = base;
    check(at, &mut wrong);
    loop {
        let records = audit.log(at.version, PAGE).await?;
        let Some(last) = records.last().map(|record| record.version) else { break };
        for record in records {
            if record.version != at.version + 1 {
                wrong.push(format!("entry {} follows entry {}", record.version, at.version));
            }
            if at.chain.next(record.version, &record.bytes) != record.chain {
                wrong.push(format!("the chain breaks at entry {}", record.version));
            }
            let digest = match Entry::decode(&record.bytes) {
                Ok(entry) => entry.digest,
                Err(error) => {
                    wrong.push(format!("entry {}: {error}", record.version));
                    at.digest
                }
            };
            at = Position { version: record.version, chain: record.chain, digest };
            check(at, &mut wrong);
        }
        if last >= head.version {
            break;
        }
    }
    if at != head {
        wrong.push(format!(
            "the head is at version {}, the log ends at {}",
            head.version, at.version
        ));
    }
    let Contents { ads, digest, books } = contents(&mut audit, &mut wrong).await?;
    let records = books.len();
    audit.end().await;
    if digest != head.digest {
        let all = if records != (0, 0, 0) { "ads and records" } else { "ads" };
        wrong.push(format!("the {all} sum to {digest}, the head says {}", head.digest));
    }
    for Fault { pool, stated, held } in books.audit() {
        wrong.push(format!(
            "pool {pool} says that {} units are reserved and {} allotted, its holds sum to {} and {}",
            stated.0, stated.1, held.0, held.1
        ));
    }
    for claim in by_version.into_values().flatten() {
        let Audited { name, version, .. } = claim;
        wrong.push(format!("{name} is at version {version}, which the log does not hold"));
    }
    let entries = at.version - base.version;
    Ok(Report {
        base: base.version,
        head: head.version,
        entries,
        ads,
        records,
        wrong: wrong.told(),
    })
}

/// The inconsistencies, up to the number that a report lists: a log of any length may be broken at each of its entries.
#[derive(Debug, Default)]
struct Wrong {
    first: Vec<String>,
    more: u64,
}

impl Wrong {
    fn push(&mut self, what: String) {
        if self.first.len() < WRONG_MAX {
            self.first.push(what);
        } else {
            self.more += 1;
        }
    }

    fn told(mut self) -> Vec<String> {
        if self.more > 0 {
            self.first.push(format!("and {} more that do not fit", self.more));
        }
        self.first
    }
}

/// What a journal holds at its head.
#[derive(Debug, Default)]
struct Contents {
    ads: u64,
    digest: Digest,
    books: Books,
}

async fn contents(audit: &mut impl Audit, wrong: &mut Wrong) -> Result<Contents, Unavailable> {
    let (chunks, mut arriving) = mpsc::channel::<Vec<Encoded>>(CHUNKS);
    let adding = async {
        let mut found = Contents::default();
        while let Some(chunk) = arriving.recv().await {
            for one in &chunk {
                found.digest = found.digest.plus(Digest::of_any(one));
                match one {
                    Encoded::Ad(_) => found.ads += 1,
                    Encoded::Record(record) => {
                        if let Err(error) = found.books.put(record) {
                            wrong.push(format!("a record cannot be read: {error}"));
                        }
                    }
                }
            }
        }
        found
    };
    let (sent, found) = tokio::join!(audit.contents(chunks), adding);
    sent.map(|()| found)
}

/// Why a journal was not verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] StartError),
    /// A directory's cannot be opened.
    #[error(transparent)]
    Directory(#[from] AuditError),
    /// It cannot be read to its end.
    #[error(transparent)]
    Read(#[from] Unavailable),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verify_reports_a_bounded_number_of_faults() {
        let mut wrong = Wrong::default();
        (0..WRONG_MAX).for_each(|nth| wrong.push(nth.to_string()));
        wrong.push("more".to_owned());
        wrong.push("yet more".to_owned());
        let told = wrong.told();
        assert_eq!(told.len(), WRONG_MAX + 1);
        assert_eq!(told[WRONG_MAX], "and 2 more that do not fit");
        assert_eq!(Wrong::default().told(), Vec::<String>::new());
    }
}
