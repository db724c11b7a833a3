//! Reads what the journal says has happened, and checks that every answer that clients had agrees with it.

use std::collections::BTreeMap;

use bytes::Bytes;
use placard_model::entry::{Chain, Change, Entry, Record};
use placard_model::{Timestamp, Version};
use placard_testkit::scan::Scan;
use sqlx::{Connection, PgConnection};

use crate::load::{Load, Position, Sample, Write};

/// The journal's log, from the first entry on.
pub(crate) struct History {
    entries: Vec<(Entry, Record)>,
}

impl History {
    /// Reads it; versions have no holes, and the chain is the one that the entries give.
    pub(crate) async fn read(url: &str) -> Self {
        let mut connection = PgConnection::connect(url).await.expect("PostgreSQL answers");
        let rows: Vec<(i64, Vec<u8>, Vec<u8>)> =
            sqlx::query_as("SELECT version, chain, bytes FROM log ORDER BY version")
                .fetch_all(&mut connection)
                .await
                .expect("the log can be read");
        let mut chain = Chain::GENESIS;
        let entries = (1..).zip(rows).map(|(expected, (version, written, bytes))| {
            assert_eq!(version, expected, "the log has a hole");
            chain = chain.next(expected.unsigned_abs(), &bytes);
            assert_eq!(chain.0.as_slice(), written, "the chain at {version}");
            let (version, bytes) = (expected.unsigned_abs(), Bytes::from(bytes));
            let entry = Entry::decode(&bytes).expect("an entry can be decoded");
            (entry, Record { version, chain, bytes })
        });
        Self { entries: entries.collect() }
    }

    pub(crate) fn head(&self) -> Version {
        self.entries.len() as Version
    }

    /// Returns the log's record of this version.
    pub(crate) fn record(&self, version: Version) -> Option<&Record> {
        let before = usize::try_from(version.checked_sub(1)?).ok()?;
        self.entries.get(before).map(|(_, record)| record)
    }

    /// Compares it with all answers that clients had. If an operator has replaced another history by it, reads and
    /// positions may be that one's.
    pub(crate) fn check(&self, load: &Load, replaced: Option<&Self>) {
        self.holds_exactly(load.written());
        let samples = load.samples();
        assert!(!samples.is_empty(), "no read was compared");
        let mut wrong = self.wrong(samples);
        if let Some(replaced) = replaced {
            wrong = replaced.wrong(wrong);
        }
        assert!(wrong.is_empty(), "not what a scan at the version finds: {wrong:?}");
        for position in load.positions() {
            let held = self.holds(&position) || replaced.is_some_and(|old| old.holds(&position));
            assert!(held, "a replica said that it stands at {position:?}");
        }
    }

    /// Each entry was acknowledged, and what was acknowledged is there: writers stop only when they have their answer.
    fn holds_exactly(&self, mut acknowledged: BTreeMap<Version, Write>) {
        for (entry, Record { version, .. }) in &self.entries {
            let wrote = match &entry.change {
                Change::Put(ad) => {
                    let ad = ad.decode().expect("an ad can be decoded");
                    Write::Put(ad.id, ad.spec.title)
                }
                Change::Delete(id) => Write::Delete(*id),
                other => panic!("no ad is in {other:?}"),
            };
            let told = acknowledged.remove(version);
            assert_eq!(told.as_ref(), Some(&wrote), "version {version}: what was acknowledged");
        }
        assert!(acknowledged.is_empty(), "acknowledged, and not in the log: {acknowledged:?}");
    }

    /// Returns true if this history had the position that a replica reported.
    fn holds(&self, (version, chain, digest): &Position) -> bool {
        let at = version.checked_sub(1).and_then(|before| self.entries.get(before as usize));
        at.map_or(*version == 0, |(entry, record)| {
            *chain == record.chain.to_string() && *digest == entry.digest.to_string()
        })
    }

    /// Returns those of the pages that differ from what a scan of the ads at their version finds.
    fn wrong(&self, samples: Vec<Sample>) -> Vec<Sample> {
        let mut at = BTreeMap::<_, Vec<_>>::new();
        for sample in samples {
            at.entry(sample.version).or_default().push(sample);
        }
        let now = Timestamp::parse("2030-01-01T00:00:00Z").expect("a constant");
        let (mut scan, mut wrong) = (Scan::default(), Vec::new());
        let mut compare = |scan: &Scan, samples: Option<Vec<Sample>>| {
            let differs =
                |page: &Sample| (page.ids.clone(), page.total) != scan.search(&page.query, now);
            wrong.extend(samples.into_iter().flatten().filter(differs));
        };
        compare(&scan, at.remove(&0));
        for (entry, Record { version, .. }) in &self.entries {
            match &entry.change {
                Change::Put(ad) => {
                    scan.put(ad.decode().expect("an ad can be decoded"));
                }
                Change::Delete(id) => assert!(scan.delete(*id), "{id} was deleted twice"),
                other => panic!("no ad is in {other:?}"),
            }
            compare(&scan, at.remove(version));
        }
        // From versions that the log does not have.
        wrong.extend(at.into_values().flatten());
        wrong
    }
}
