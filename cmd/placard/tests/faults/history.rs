//! What the journal says has happened, and whether everything that clients were told agrees with it.

use std::collections::BTreeMap;

use bytes::Bytes;
use placard_model::entry::{Chain, Change, Entry, Record};
use placard_model::{Timestamp, Version};
use placard_testkit::scan::Scan;
use sqlx::{Connection, PgConnection};

use crate::load::{Load, Write};

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

    /// What the log has as this version.
    pub(crate) fn record(&self, version: Version) -> Option<&Record> {
        let before = usize::try_from(version.checked_sub(1)?).ok()?;
        self.entries.get(before).map(|(_, record)| record)
    }

    /// Compares it with all that clients were told.
    pub(crate) fn check(&self, load: &Load) {
        let (mut written, mut samples) = (load.written(), BTreeMap::<_, Vec<_>>::new());
        for sample in load.samples() {
            samples.entry(sample.version).or_default().push(sample);
        }
        let (mut scan, now) = (Scan::default(), Timestamp::parse("2030-01-01T00:00:00Z"));
        let (now, positions) = (now.expect("a constant"), load.positions());
        for (entry, Record { version, chain, .. }) in &self.entries {
            let version = *version;
            let wrote = match &entry.change {
                Change::Put(ad) => {
                    let ad = ad.decode().expect("an ad can be decoded");
                    let wrote = Write::Put(ad.id, ad.spec.title.clone());
                    scan.put(ad);
                    wrote
                }
                Change::Delete(id) => {
                    assert!(scan.delete(*id), "{id} was deleted twice");
                    Write::Delete(*id)
                }
            };
            // Writers stop only when they have their answer: what is in the log was acknowledged, once.
            let told = written.remove(&version);
            assert_eq!(told.as_ref(), Some(&wrote), "version {version}: what was acknowledged");
            for sample in samples.remove(&version).into_iter().flatten() {
                let expected = scan.search(&sample.query, now);
                assert_eq!(
                    (sample.ids, sample.total),
                    expected,
                    "read at {version}: {:?}",
                    sample.query
                );
            }
            if let Some((said, digest)) = positions.get(&version) {
                assert_eq!(said, &chain.to_string(), "a replica's chain at {version}");
                assert_eq!(digest, &entry.digest.to_string(), "a replica's digest at {version}");
            }
        }
        assert!(written.is_empty(), "acknowledged, and not in the log: {written:?}");
        for sample in samples.remove(&0).into_iter().flatten() {
            assert_eq!(sample.total, 0, "there was nothing before the first version");
        }
        assert!(
            samples.is_empty(),
            "answered from versions that the log does not have: {samples:?}"
        );
        assert!(!load.samples().is_empty(), "no read was compared");
    }
}
