//! The ads, or the whole journal, at one moment: a transaction that only reads and sees nothing of what is
//! committed after its first statement.

use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::TryStreamExt;
use placard_model::entry::{CAPACITY_LEVEL, Position, Record};
use placard_model::records::{EncodedRecord, Kind};
use placard_model::{Encoded, EncodedAd, Version, limits};
use placard_replica::ports::{Audit, Unavailable};
use tokio::sync::mpsc;

use super::codec::{PositionRow, position};
use super::connection_set::{Checkout, ConnectionSet};
use super::copy;
use super::failure::Failure;
use super::rows;
use super::session::Setting;
use crate::chunk::Chunk;

/// Nothing here holds a lock that others wait for; the reader sets its own pace.
pub(super) const SETTINGS: &[Setting] = &[
    ("lock_timeout", "5s"),
    ("statement_timeout", "0"),
    ("idle_in_transaction_session_timeout", "60s"),
];

/// How long the next piece may take to arrive.
const PIECE: Duration = Duration::from_secs(10);
/// Pieces of a copy that are read before the clock is asked again.
const PIECES: usize = 1_024;

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
const HEAD: &str = "SELECT version, chain, digest FROM head";
const BASE: &str = "SELECT version, chain, digest FROM log_base";
const ADS: &str = "COPY (SELECT encoded FROM ads) TO STDOUT (FORMAT binary)";
/// Two bytes of the kind, and the record.
const RECORDS: &str =
    "COPY (SELECT int2send(kind) || encoded FROM records) TO STDOUT (FORMAT binary)";

/// Begins the transaction; its first statement, which is what fixes the moment, reads the head. A journal that holds
/// what this build cannot read is refused before anything of it is sent.
async fn begin(set: &ConnectionSet) -> Result<(Position, u8, Checkout<'_>), Failure> {
    let mut checkout = set.hold().await?;
    set.within(PIECE, sqlx::raw_sql(BEGIN).execute(&mut checkout.connection)).await?;
    let head = one_row(&mut checkout, HEAD).await?;
    let level = set.within(PIECE, rows::level(&mut checkout.connection)).await?;
    Ok((head, level, checkout))
}

async fn one_row(
    checkout: &mut Checkout<'_>,
    statement: &'static str,
) -> Result<Position, Failure> {
    let row = sqlx::query_as::<_, PositionRow>(statement).fetch_one(&mut checkout.connection);
    position(checkout.set.within(PIECE, row).await?)
}

/// Sends all ads and records. Returns whether it has come to their end. A receiver that has gone ends it early, and says
/// why itself.
async fn all(
    checkout: &mut Checkout<'_>,
    level: u8,
    chunks: &mpsc::Sender<Vec<Encoded>>,
) -> Result<bool, Failure> {
    let ad = |row| Ok(EncodedAd::from_bytes(row).into());
    if !copy_all(checkout, ADS, chunks, ad).await? {
        return Ok(false);
    }
    // Below that level there are none. There may be no table for them, or no right to read it.
    match level {
        ..CAPACITY_LEVEL => Ok(true),
        _ => copy_all(checkout, RECORDS, chunks, record).await,
    }
}

fn record(mut row: Bytes) -> Result<Encoded, Failure> {
    let unknown = Failure::Malformed("a record's kind");
    let kind = row.try_get_i16().ok().and_then(|kind| u8::try_from(kind).ok());
    let kind = kind.and_then(Kind::from_number).ok_or(unknown)?;
    Ok(EncodedRecord::from_bytes(kind, row).into())
}

/// Sends the rows of a copy, each of which is an ad or a record.
async fn copy_all(
    checkout: &mut Checkout<'_>,
    copy: &'static str,
    chunks: &mpsc::Sender<Vec<Encoded>>,
    one: fn(Bytes) -> Result<Encoded, Failure>,
) -> Result<bool, Failure> {
    let set = checkout.set;
    let pieces = set.within(PIECE, checkout.connection.copy_out_raw(copy)).await?;
    // Each row comes as a piece of its own: a timer for each of them would cost more than to read it.
    let mut pieces = pieces.try_ready_chunks(PIECES).map_err(|error| error.1);
    let (mut reader, mut chunk) = (copy::Reader::new(), Chunk::default());
    while let Some(some) = set.within(PIECE, pieces.try_next()).await? {
        for piece in some {
            let mut malformed = None;
            reader.feed(&piece, |row| match one(row) {
                Ok(one) => chunk.push(one),
                Err(failure) => malformed = Some(failure),
            })?;
            if let Some(failure) = malformed {
                return Err(failure);
            }
            if chunk.is_full() && chunks.send(chunk.take()).await.is_err() {
                return Ok(false);
            }
        }
    }
    reader.finish()?;
    Ok(chunks.send(chunk.take()).await.is_ok())
}

/// Ends the transaction and the connection, which the server would else complain of in its log.
async fn end(mut checkout: Checkout<'_>) {
    // All that was wanted is there.
    let _ =
        checkout.set.within(PIECE, sqlx::raw_sql("COMMIT").execute(&mut checkout.connection)).await;
    checkout.close().await;
}

/// Sends all ads and records at one position, and returns it.
pub(super) async fn snapshot(
    set: &ConnectionSet,
    chunks: mpsc::Sender<Vec<Encoded>>,
) -> Result<Position, Failure> {
    // Snapshots are rare: their connection is not kept.
    let (head, level, mut checkout) = begin(set).await?;
    if all(&mut checkout, level, &chunks).await? {
        end(checkout).await;
    }
    Ok(head)
}

/// The journal at one moment, which lasts until this is dropped, at most 60 s after the last reading. A server that falls
/// silent for 10 s ends it.
pub struct PostgresAudit<'j> {
    checkout: Checkout<'j>,
    level: u8,
    head: Position,
    base: Position,
}

impl<'j> PostgresAudit<'j> {
    pub(super) async fn begin(set: &'j ConnectionSet) -> Result<Self, Failure> {
        let (head, level, mut checkout) = begin(set).await?;
        let base = one_row(&mut checkout, BASE).await?;
        Ok(Self { checkout, level, head, base })
    }
}

impl Audit for PostgresAudit<'_> {
    fn head(&self) -> Position {
        self.head
    }

    fn base(&self) -> Position {
        self.base
    }

    async fn log(&mut self, after: Version, max: usize) -> Result<Vec<Record>, Unavailable> {
        let log = rows::log(&mut self.checkout.connection, after, max, limits::READ_BYTES_MAX);
        let records = self.checkout.set.within(PIECE, log).await;
        records.map_err(|failure| Unavailable("read the journal's log", failure.into()))
    }

    async fn contents(&mut self, chunks: mpsc::Sender<Vec<Encoded>>) -> Result<(), Unavailable> {
        let sent = all(&mut self.checkout, self.level, &chunks).await;
        sent.map(drop).map_err(|failure| Unavailable("read the journal's ads", failure.into()))
    }

    async fn end(self) {
        end(self.checkout).await;
    }
}
