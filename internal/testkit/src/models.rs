//! Models of the two ports: a journal that is a list, and a stream that is a list. They do what the ports'
//! documentation says and nothing else, so that an adapter can be compared with them and a simulation can
//! put faults between them and the core.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use placard_model::capacity::Named;
use placard_model::command::KeptAnswer;
use placard_model::entry::{Chain, FORMAT_LEVEL_MIN, Incarnation, Position, Record};
use placard_model::records::{EncodedRecord, Key, Kind, Row};
use placard_model::{Ad, Encoded, EncodedAd, Timestamp, Version, limits};
use placard_replica::ports::{
    Appended, CommitError, Head, Heartbeat, Journal, Member, PollError, Stream, StreamStatus,
    Unavailable,
};
use placard_replica::{Batch, Current, Emptied, LogRow, Plan, Uptime};
use placard_scheduler::ports::{Chores, Expirations, Expired};
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

/// What a journal holds.
#[derive(Debug, Clone)]
pub struct JournalState {
    /// The head.
    pub head: Position,
    /// The whole log.
    pub log: Vec<LogRow>,
    /// The ads at the head.
    pub ads: BTreeMap<Uuid, EncodedAd>,
    /// The records at the head.
    pub records: BTreeMap<Key, Row>,
    /// The answers kept.
    pub kept: HashMap<[u8; 32], KeptAnswer>,
    /// The register.
    pub members: BTreeMap<Uuid, Member>,
    /// Those that have taken themselves off it.
    pub left: BTreeSet<Uuid>,
    /// The journal's clock.
    pub now: Timestamp,
    /// The journal's identity.
    pub incarnation: Incarnation,
    /// The format level that reading it needs.
    pub level: u8,
    /// Counts the transactions that have written, or might have been tried before.
    pub writes: u64,
}

impl JournalState {
    /// An empty journal at a time.
    pub fn new(now: Timestamp) -> Self {
        let (log, ads, records, kept, members, left) = Default::default();
        let incarnation = Incarnation { journal: Uuid::nil(), database: 0, started: now };
        let (head, level, writes) = (Position::START, FORMAT_LEVEL_MIN, 0);
        Self { head, log, ads, records, kept, members, left, now, incarnation, level, writes }
    }

    /// One transaction.
    ///
    /// # Errors
    /// It is empty, and the batch refuses that.
    pub fn commit(&mut self, batch: &Batch) -> Result<Plan, Emptied> {
        let plan = self.plan(batch)?;
        self.write(&plan);
        // An earlier try of it that was decided before, and is still under way, must find that something was written.
        self.writes += u64::from(batch.repeated);
        Ok(plan)
    }

    /// Decides a batch, and writes nothing.
    ///
    /// # Errors
    /// It is empty, and the batch refuses that.
    pub fn plan(&self, batch: &Batch) -> Result<Plan, Emptied> {
        let mut written = HashMap::new();
        if batch.repeated {
            let ids = batch.request_ids();
            for row in self.log.iter().filter(|row| ids.contains(&row.request)) {
                written.insert((row.request, row.item), row.record.clone());
            }
        }
        let of = |id: Uuid| Some((id, self.ads.get(&id)?.clone()));
        let kept = |scope: [u8; 32]| Some((scope, self.kept.get(&scope)?.clone()));
        batch.plan(Current {
            head: self.head,
            now: self.now,
            ads: batch.ads().into_iter().filter_map(of).collect(),
            records: batch.named().map(|named| self.touched(&named)).unwrap_or_default(),
            pools_of_ads: self.pools_of_ads(),
            registered: Some(self.members.keys().copied().collect()),
            kept: batch.scopes().into_iter().filter_map(kept).collect(),
            written,
        })
    }

    /// Writes a plan down. Nothing was written since it was made.
    pub fn write(&mut self, plan: &Plan) {
        self.writes += u64::from(!plan.log.is_empty() || !plan.kept.is_empty());
        self.head = plan.head;
        self.log.extend(plan.log.iter().cloned());
        for (id, ad) in &plan.ads {
            match ad {
                Some((_, encoded)) => self.ads.insert(*id, encoded.clone()),
                None => self.ads.remove(id),
            };
        }
        for (key, row) in &plan.records {
            match row {
                Some(row) => self.records.insert(*key, row.clone()),
                None => self.records.remove(key),
            };
        }
        self.level = self.level.max(plan.level());
        self.kept.extend(plan.kept.iter().map(|kept| (kept.scope, kept.clone())));
    }

    /// The pools that ads name.
    fn pools_of_ads(&self) -> HashSet<Uuid> {
        let ads = self.ads.values().filter_map(|ad| ad.view().ok());
        ads.filter_map(|ad| ad.spec.delivery.pool).collect()
    }

    /// The records that commands touch.
    fn touched(&self, named: &Named) -> Vec<(Uuid, EncodedRecord)> {
        let row = |kind: Kind| move |id: &Uuid| self.records.get(&Key { kind, id: *id });
        let holds = named.holds.iter().filter_map(row(Kind::Hold));
        let of_holds = holds.clone().filter_map(|hold| hold.parent);
        let pools: BTreeSet<_> = named.pools.iter().copied().chain(of_holds).collect();
        let graves = named.holds.iter().filter_map(row(Kind::Tombstone));
        let mut rows: Vec<_> =
            holds.chain(graves).chain(pools.iter().filter_map(row(Kind::Pool))).collect();
        for pool in &pools {
            let of_it = self.records.values().filter(|row| row.parent == Some(*pool));
            let mut lapsed: Vec<_> =
                of_it.filter(|row| row.due.is_some_and(|due| due <= self.now)).collect();
            lapsed.sort_by_key(|row| row.due);
            rows.extend(lapsed.into_iter().take(Batch::lapsed_max(named)));
        }
        rows.into_iter().map(|row| (row.key.id, row.encoded.clone())).collect()
    }

    /// Registers a replica; the head, the register, and the chain at a version.
    pub fn poll(&mut self, heartbeat: Heartbeat, at: Version) -> Head {
        let Heartbeat { identity, mut status, lease, known, forgotten } = heartbeat;
        // What the journal does not know may be of a history that it has lost.
        if self.chain_at(status.published.version) != Some(status.published.chain) {
            status.published = Position::START;
        }
        let still = |member: &Member| (member.identity.replica, member.seen_at);
        self.members.retain(|_, member| !forgotten.contains(&still(member)));
        let lease_until = self.now.saturating_add_micros(lease.as_micros() as i64);
        if !self.left.contains(&identity.replica) {
            let member = Member { identity, status, seen_at: self.now, lease_until };
            self.members.insert(member.identity.replica, member);
        }
        let members = self.members.values().cloned().collect();
        let (position, chain_at, now) = (self.head, self.chain_at(at), self.now);
        let left = known.into_iter().filter(|replica| self.left.contains(replica)).collect();
        let (incarnation, level, moment) = (self.incarnation, self.level, Uptime::now());
        let (asked, answered) = (moment, moment);
        Head { position, chain_at, now, asked, answered, members, left, incarnation, level }
    }

    /// The ads and records at the head.
    pub fn contents(&self) -> Vec<Encoded> {
        let ads = self.ads.values().cloned().map(Encoded::from);
        ads.chain(self.records.values().map(|row| row.encoded.clone().into())).collect()
    }

    /// The ads, decoded.
    fn decoded(&self) -> impl Iterator<Item = Ad> {
        self.ads.values().map(|ad| ad.decode().expect("an ad that was encoded here"))
    }

    fn chain_at(&self, version: Version) -> Option<Chain> {
        let at = usize::try_from(version).ok()?.checked_sub(1)?;
        self.log.get(at).map(|row| row.record.chain)
    }

    /// Records after a version.
    pub fn log(&self, after: Version, max: usize) -> Vec<Record> {
        let newer = self.log.iter().skip(after as usize).map(|row| &row.record);
        page(newer, max)
    }
}

/// The first of the records: at most `max`, and as many as a page's bytes allow beside the first.
fn page<'r>(records: impl Iterator<Item = &'r Record>, max: usize) -> Vec<Record> {
    let (mut page, mut bytes) = (Vec::new(), 0);
    for record in records.take(max) {
        bytes += record.bytes.len();
        if !page.is_empty() && bytes > limits::READ_BYTES_MAX {
            break;
        }
        page.push(record.clone());
    }
    page
}

/// The journal's port over a [`JournalState`].
#[derive(Debug, Clone)]
pub struct ModelJournal(Arc<Mutex<JournalState>>);

impl ModelJournal {
    /// An empty journal at a time.
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(JournalState::new(now))))
    }

    /// What it holds.
    pub fn state(&self) -> MutexGuard<'_, JournalState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns its clock, and what has ended by it: at most `max` ads and records, in the order in which they expire.
    pub fn ended(&self, max: usize) -> (Timestamp, Vec<(Uuid, Version)>, Vec<EncodedRecord>) {
        let state = self.state();
        let mut ads: Vec<_> = state.decoded().filter(|ad| ad.spec.end_at <= state.now).collect();
        ads.sort_by_key(|ad| ad.spec.end_at);
        let ads: Vec<_> = ads.iter().take(max).map(|ad| (ad.id, ad.version)).collect();
        let is_due = |row: &&Row| row.due.is_some_and(|due| due <= state.now);
        let mut due: Vec<_> = state.records.values().filter(is_due).collect();
        due.sort_by_key(|row| (row.key.kind, row.due));
        let due = due.into_iter().take(max - ads.len()).map(|row| row.encoded.clone());
        (state.now, ads, due.collect())
    }
}

impl Expirations for ModelJournal {
    async fn expired(&self, max: usize) -> Result<Expired, Unavailable> {
        let (now, ads, due) = self.ended(max);
        let mut expired = Expired::of_ads(now, ads);
        due.iter().for_each(|record| expired.push(record));
        Ok(expired)
    }

    async fn upcoming(&self, ahead: Duration, max: usize) -> Result<Vec<u64>, Unavailable> {
        let state = self.state();
        let until = state.now.saturating_add_micros(ahead.as_micros() as i64);
        let reservations = state.records.values().filter(|row| row.key.kind == Kind::Hold);
        let lapses = reservations.filter_map(|row| row.due);
        let seconds: BTreeSet<_> = state
            .decoded()
            .map(|ad| ad.spec.end_at)
            .chain(lapses)
            .filter(|end| *end > state.now)
            .map(|end| (end.micros() as u64).div_ceil(1_000_000))
            .filter(|second| second * 1_000_000 <= until.micros() as u64)
            .collect();
        Ok(seconds.into_iter().take(max).collect())
    }
}

/// It keeps everything.
impl Chores for ModelJournal {
    async fn trim_log(&self, _keep: Duration) -> Result<u64, Unavailable> {
        Ok(0)
    }

    async fn forget_answers(&self) -> Result<u64, Unavailable> {
        Ok(0)
    }

    async fn forget_tasks(&self, _keep: Duration) -> Result<u64, Unavailable> {
        Ok(0)
    }
}

impl Journal for ModelJournal {
    async fn commit(&self, batch: Arc<Batch>) -> Result<Plan, CommitError> {
        Ok(self.state().commit(&batch)?)
    }

    async fn poll(&self, heartbeat: Heartbeat, at: Version) -> Result<Head, PollError> {
        Ok(self.state().poll(heartbeat, at))
    }

    async fn leave(&self, replica: Uuid) -> Result<(), Unavailable> {
        let mut state = self.state();
        state.members.remove(&replica);
        state.left.insert(replica);
        Ok(())
    }

    async fn log(&self, after: Version, max: usize) -> Result<Vec<Record>, Unavailable> {
        Ok(self.state().log(after, max))
    }

    async fn snapshot(&self, chunks: mpsc::Sender<Vec<Encoded>>) -> Result<Position, Unavailable> {
        let (position, ads) = {
            let state = self.state();
            (state.head, state.contents())
        };
        for chunk in ads.chunks(7) {
            // A builder that has gone needs no further ads.
            let _ = chunks.send(chunk.to_vec()).await;
        }
        Ok(position)
    }

    async fn exclusively(
        &self,
        work: impl Future<Output = ()> + Send,
    ) -> Result<bool, Unavailable> {
        work.await;
        Ok(true)
    }
}

/// What a stream holds.
#[derive(Debug, Clone, Default)]
pub struct StreamState {
    /// The records that it still has.
    pub records: Vec<Record>,
    /// The newest version and chain it ever had, unless it has forgotten those too.
    pub top: Option<(Version, Chain)>,
}

impl StreamState {
    /// Compare-and-append.
    pub fn append(&mut self, new: &[Record]) -> Appended {
        for record in new {
            match self.top {
                Some((top, _)) if record.version > top + 1 => return Appended::Behind { top },
                Some((top, chain)) if record.version == top + 1 => {
                    let follows = chain.next(record.version, &record.bytes) == record.chain;
                    if !follows {
                        return Appended::Fork;
                    }
                }
                Some(_) => {
                    let known = self.records.iter().find(|old| old.version == record.version);
                    if known.is_some_and(|known| known.chain != record.chain) {
                        return Appended::Fork;
                    }
                    continue;
                }
                None => {}
            }
            self.records.push(record.clone());
            self.top = Some((record.version, record.chain));
        }
        Appended::Done
    }

    /// Its top and its length.
    pub fn status(&self) -> StreamStatus {
        StreamStatus { top: self.top, entries: self.records.len() as u64 }
    }

    /// Compare-and-forget.
    pub fn reset(&mut self, top: Version, chain: Chain) {
        if self.top == Some((top, chain)) {
            *self = Self::default();
        }
    }

    /// Forgets all but the top of what is old or too much.
    pub fn trim(&mut self, keep: Version, max: usize) {
        let surplus = self.records.len().saturating_sub(max);
        self.records.drain(..surplus);
        self.records.retain(|record| record.version >= keep);
    }

    /// Records after a version.
    pub fn read(&self, after: Version, max: usize) -> Vec<Record> {
        let newer = self.records.iter().filter(|record| record.version > after);
        page(newer, max)
    }
}

/// The stream's port over a [`StreamState`].
#[derive(Debug, Clone, Default)]
pub struct ModelStream {
    state: Arc<Mutex<StreamState>>,
    appended: Arc<Notify>,
}

impl ModelStream {
    /// What it holds.
    pub fn state(&self) -> MutexGuard<'_, StreamState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream for ModelStream {
    /// There is one journal.
    fn of(&self, _: Incarnation) -> Self {
        self.clone()
    }

    async fn append(&self, records: Arc<[Record]>) -> Result<Appended, Unavailable> {
        let appended = self.state().append(&records);
        self.appended.notify_waiters();
        Ok(appended)
    }

    async fn read(&self, after: Version, max: usize) -> Result<Vec<Record>, Unavailable> {
        let appended = self.appended.notified();
        tokio::pin!(appended);
        appended.as_mut().enable();
        let records = self.state().read(after, max);
        if records.is_empty() {
            let _ = tokio::time::timeout(Duration::from_secs(1), appended).await;
            return Ok(self.state().read(after, max));
        }
        Ok(records)
    }

    async fn status(&self) -> Result<StreamStatus, Unavailable> {
        Ok(self.state().status())
    }

    async fn reset(&self, top: Version, chain: Chain) -> Result<(), Unavailable> {
        self.state().reset(top, chain);
        Ok(())
    }

    async fn trim(&self, keep: Version, max: usize, _: Version) -> Result<(), Unavailable> {
        self.state().trim(keep, max);
        Ok(())
    }
}
