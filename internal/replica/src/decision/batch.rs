//! Decides one transaction: the requests that go into it, what it reads, and the plan that it writes down. Pure, so
//! that every journal decides alike and a model journal can be three lines long.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use placard_engine::dry_run;
use placard_model::capacity::{self, Named, Refusal};
use placard_model::command::{Answer, Command, Idempotency, KeptAnswer, Outcome, Request};
use placard_model::entry::{Chain, Change, Digest, Entry, FORMAT_LEVEL_MIN, Position, Record};
use placard_model::records::{EncodedRecord, Key, Row};
use placard_model::{Ad, EncodedAd, Timestamp, Version, Violation, limits};
use uuid::Uuid;

use super::capacity::Clocks;
use super::decide::{Decision, decide};
use super::records::{self, Records};

/// Requests that are decided together, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The requests.
    pub requests: Vec<Arc<Request>>,
    /// Whether an earlier try may have committed. The log is then asked for what it wrote.
    pub repeated: bool,
    /// The format that every registered replica reads.
    pub format_level: u8,
    /// Whether an empty journal is refused. A replica that has entries asks for that: the journal that they come from
    /// was lost, or another one is in its place.
    pub refuses_empty: bool,
}

/// Why a batch that refuses an empty journal has no plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the journal is empty, and this replica has entries of one that is not: restore that one, or start a replica with \
     --new-journal"
)]
pub struct Emptied;

/// The state that a batch is decided on. It is read from the journal, and still holds when the plan is written: the
/// adapter ensures that, with the head's lock or with a statement that writes nothing if the head has moved.
#[derive(Debug, Clone)]
pub struct Current {
    /// The head.
    pub head: Position,
    /// The journal's clock.
    pub now: Timestamp,
    /// Those ads of [`Batch::ads`] that there are.
    pub ads: HashMap<Uuid, EncodedAd>,
    /// The records that [`Batch::named`] asks for, each with its id.
    pub records: Vec<(Uuid, EncodedRecord)>,
    /// Those of the pools of [`Batch::named`] that ads name.
    pub pools_of_ads: HashSet<Uuid>,
    /// The replicas that are registered; `None` if that was not read.
    pub registered: Option<HashSet<Uuid>>,
    /// The answers kept under [`Batch::scopes`].
    pub kept: HashMap<[u8; 32], KeptAnswer>,
    /// If the batch is repeated, the records that an earlier try has written, by request and item.
    pub written: HashMap<(Uuid, u32), Record>,
}

/// A record and the names under which the log holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    /// The record.
    pub record: Record,
    /// The request that it answers.
    pub request: Uuid,
    /// Which of the request's commands it answers.
    pub item: u32,
    /// When it was decided.
    pub at: Timestamp,
}

/// The result of a batch: what its transaction writes down, and the answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The new head.
    pub head: Position,
    /// New rows of the log, in order.
    pub log: Vec<LogRow>,
    /// Ads that are different now: their new state, or `None` for a deleted one.
    pub ads: Vec<(Uuid, Option<(Ad, EncodedAd)>)>,
    /// Whether one of those ads names a pool, or did.
    pub names_pools: bool,
    /// Records that are different now, by key: their new state, or `None` for one that is gone.
    pub records: Vec<(Key, Option<Row>)>,
    /// Answers to keep.
    pub kept: Vec<KeptAnswer>,
    /// The time of the decision.
    pub now: Timestamp,
    /// The answer to each request, in order.
    pub answers: Vec<Answer>,
}

impl Plan {
    /// Returns the version that must be published for `version` to be visible, and the log's chain at it: `version`
    /// itself if the plan has written it, and otherwise the plan's head.
    pub(crate) fn awaited(&self, version: Version) -> (Version, Chain) {
        let first = self.log.first().map(|row| row.record.version);
        let nth = first.and_then(|first| usize::try_from(version.checked_sub(first)?).ok());
        let written = nth.and_then(|nth| self.log.get(nth)).map(|row| &row.record);
        written
            .map_or((self.head.version, self.head.chain), |record| (record.version, record.chain))
    }

    /// Returns the format level that a reader needs for what the plan writes. The log does not count: a reader that
    /// cannot read an entry takes a snapshot instead.
    pub fn level(&self) -> u8 {
        let ads = self.ads.iter().filter_map(|(_, ad)| Some(ad.as_ref()?.1.level()));
        let records =
            self.records.iter().filter_map(|(_, row)| Some(row.as_ref()?.encoded.level()));
        ads.chain(records).max().unwrap_or(FORMAT_LEVEL_MIN)
    }
}

impl Batch {
    /// The ads that the batch touches.
    pub fn ads(&self) -> Vec<Uuid> {
        let ads = self.commands().filter_map(Command::ad);
        sorted(ads.chain(self.named().into_iter().flat_map(|named| named.ads)).collect())
    }

    /// The records that the batch touches, if it touches any: these pools, those that its ads are to name among them, and the
    /// pools of these holds; these holds and tombstones; and of each of those pools the first reservations that have lapsed
    /// by the journal's clock, as many as [`Batch::lapsed_max`].
    pub fn named(&self) -> Option<Named> {
        let mut named = None;
        for command in self.commands() {
            if let Command::Capacity { command, .. } = command {
                command.names(named.get_or_insert_default());
            }
            if let Some(pool) = command.pool() {
                named.get_or_insert_default().pools.push(pool);
            }
        }
        let Named { pools, holds, ads, takes, parents } = named?;
        let (pools, holds, ads) = (sorted(pools), sorted(holds), sorted(ads));
        Some(Named { pools, holds, ads, takes, parents })
    }

    /// Most lapsed reservations of a pool that are read: as many as the batch may close, and of many pools fewer each.
    pub fn lapsed_max(named: &Named) -> usize {
        let share = limits::LAPSED_READ_MAX / (named.pools.len() + named.parents).max(1);
        limits::LAPSED_MAX.saturating_mul(named.takes).min(share.max(limits::LAPSED_MAX))
    }

    fn commands(&self) -> impl Iterator<Item = &Command> {
        self.requests.iter().flat_map(|request| &request.commands)
    }

    /// The idempotency scopes that the batch names.
    pub fn scopes(&self) -> Vec<[u8; 32]> {
        let keys = self.requests.iter().filter_map(|request| request.idempotency);
        keys.flat_map(|key| key.scopes().collect::<Vec<_>>()).collect()
    }

    /// The ids under which an earlier try may have written to the log.
    pub fn request_ids(&self) -> Vec<Uuid> {
        self.requests.iter().map(|request| request.id).collect()
    }

    /// Decides every command in turn, each on what the ones before it have left.
    ///
    /// # Errors
    /// The journal is empty, and the batch refuses that.
    pub fn plan(&self, current: Current) -> Result<Plan, Emptied> {
        if self.refuses_empty && current.head.version == 0 {
            return Err(Emptied);
        }
        let mut planning = Planning {
            head: current.head,
            now: current.now,
            ads: current
                .ads
                .into_iter()
                .map(|(id, encoded)| (id, Slot { old: Some(encoded), new: None }))
                .collect(),
            records: Records::read(current.records, current.registered),
            pools_of_ads: current.pools_of_ads,
            kept: current.kept,
            written: current.written,
            format_level: self.format_level,
            log: Vec::new(),
            newly_kept: Vec::new(),
        };
        let answers = self.requests.iter().map(|request| planning.answer(request)).collect();
        let changed = || planning.ads.values().filter(|slot| slot.new.is_some());
        let names_pools = changed().any(|slot| slot.old_pool().or(slot.new_pool()).is_some());
        let mut ads: Vec<_> =
            planning.ads.into_iter().filter_map(|(id, slot)| Some((id, slot.new?))).collect();
        ads.sort_unstable_by_key(|(id, _)| *id);
        Ok(Plan {
            head: planning.head,
            log: planning.log,
            ads,
            names_pools,
            records: planning.records.changed(),
            kept: planning.newly_kept,
            now: planning.now,
            answers,
        })
    }
}

/// Each of the ids once, in order.
fn sorted(mut ids: Vec<Uuid>) -> Vec<Uuid> {
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// An ad as the transaction found it, and as it leaves it.
struct Slot {
    old: Option<EncodedAd>,
    new: Option<Option<(Ad, EncodedAd)>>,
}

impl Slot {
    /// The pool that the ad named.
    fn old_pool(&self) -> Option<Uuid> {
        self.old.as_ref()?.view().ok()?.spec.delivery.pool
    }

    /// The pool that the ad names now, if it has changed.
    fn new_pool(&self) -> Option<Uuid> {
        self.new.as_ref()?.as_ref()?.0.spec.delivery.pool
    }
}

/// The state of a plan in the making.
struct Planning {
    head: Position,
    now: Timestamp,
    ads: HashMap<Uuid, Slot>,
    records: Records,
    pools_of_ads: HashSet<Uuid>,
    kept: HashMap<[u8; 32], KeptAnswer>,
    written: HashMap<(Uuid, u32), Record>,
    format_level: u8,
    log: Vec<LogRow>,
    newly_kept: Vec<KeptAnswer>,
}

impl Planning {
    fn answer(&mut self, request: &Request) -> Answer {
        let decided_before = (0u32..)
            .zip(&request.commands)
            .any(|(item, _)| self.written.contains_key(&(request.id, item)));
        if let Some(key) = request.idempotency
            && let Some(kept) = key.scopes().find_map(|scope| self.kept.get(&scope))
        {
            let mut answer = self.replay(request.commands.len(), key, kept);
            // An earlier try of this request's own has kept it: its client has had no answer yet.
            answer.replayed &= !decided_before;
            return answer;
        }
        // Before anything is written: what the other commands do would be kept with it under the request's key.
        let needed = request.commands.iter().map(Command::level).max();
        if !decided_before && needed.is_some_and(|needed| needed > self.format_level) {
            let refused = |command| not_yet(command);
            let outcomes = request.commands.iter().map(refused).collect();
            return Answer { version: self.head.version, outcomes, replayed: false };
        }
        let outcomes: Vec<_> = (0u32..)
            .zip(&request.commands)
            .map(|(item, command)| self.outcome(request, item, command, decided_before))
            .collect();
        let version = outcomes.iter().filter_map(Outcome::entry).max().unwrap_or(self.head.version);
        let answer = Answer { version, outcomes, replayed: false };
        if let Some(key) = request.idempotency
            && answer.is_final()
        {
            for scope in key.scopes() {
                let kept = KeptAnswer::new(scope, key.body, &key.sums, &answer);
                self.kept.insert(scope, kept.clone());
                self.newly_kept.push(kept);
            }
        }
        answer
    }

    fn replay(&self, commands: usize, key: Idempotency, kept: &KeptAnswer) -> Answer {
        let version = self.head.version;
        let only = |outcome| Answer { version, outcomes: vec![outcome; commands], replayed: false };
        let decoded = kept.decode();
        let sums = decoded.as_ref().ok().and_then(|(_, sums)| sums.as_ref());
        if !key.repeats(&kept.body, sums) {
            return only(Outcome::KeyReused);
        }
        match decoded {
            // A build that takes other items for well-formed has decided others: none of its answers is any of these.
            Ok((answer, _)) if answer.outcomes.len() != commands => only(Outcome::KeyReused),
            Ok((answer, _)) => Answer { replayed: true, ..answer },
            // Kept by a newer build: this one cannot say what it was, and must not do it again.
            Err(_) => only(Outcome::Failed),
        }
    }

    fn outcome(
        &mut self,
        request: &Request,
        item: u32,
        command: &Command,
        decided_before: bool,
    ) -> Outcome {
        if let Some(record) = self.written.remove(&(request.id, item)) {
            return outcome_of(command, &record);
        }
        let id = match command {
            Command::Capacity { command: of_capacity, own_clock } => {
                let clocks = Clocks { journal: self.now, own: *own_clock };
                return self.of_capacity(
                    request,
                    item,
                    (command, of_capacity),
                    clocks,
                    decided_before,
                );
            }
            of_an_ad => of_an_ad.ad().unwrap_or_default(),
        };
        let Ok((old, ad)) = self.current(id) else {
            return Outcome::Failed;
        };
        let change = match decide(command, ad.as_ref(), self.now) {
            Decision::Reject(outcome) => return outcome,
            Decision::Keep => return kept_as_it_is(ad.zip(old)),
            Decision::Put { spec, created_at } => {
                let version = self.head.version + 1;
                let ad = Ad { id, version, created_at, spec };
                let encoded = EncodedAd::encode_for(&ad, self.format_level);
                if encoded.level() > self.format_level {
                    return not_yet(command);
                }
                if let Some(refused) = self.unfit_pool(command) {
                    return refused;
                }
                Some((ad, encoded))
            }
            Decision::Delete => None,
        };
        if decided_before {
            return rejected_then(command);
        }
        let minus = old.map_or(Digest::default(), |old| Digest::of(&old));
        let plus = change.as_ref().map_or(Digest::default(), |(_, new)| Digest::of(new));
        let digest = self.head.digest.minus(minus).plus(plus);
        let written = match &change {
            Some((_, encoded)) => Change::Put(encoded.clone()),
            None => Change::Delete(id),
        };
        let Some(record) = self.write(request, item, digest, command, written) else {
            return Outcome::Failed;
        };
        if let Some(slot) = self.ads.get_mut(&id) {
            slot.new = Some(change);
        } else {
            self.ads.insert(id, Slot { old: None, new: Some(change) });
        }
        outcome_of(command, &record)
    }

    /// Returns why an ad cannot name the pool that a command says.
    fn unfit_pool(&self, command: &Command) -> Option<Outcome> {
        let (id, pool) = (command.ad().unwrap_or_default(), command.pool()?);
        let unknown = || vec![Violation::field("pool", "is no pool's id")];
        match self.records.pool_exists(pool) {
            Some(true) => None,
            Some(false) => Some(Outcome::Invalid { id, violations: unknown() }),
            None => Some(Outcome::Failed),
        }
    }

    /// Decides a command on pools and holds, and writes what it changes.
    fn of_capacity(
        &mut self,
        request: &Request,
        item: u32,
        (command, asked): (&Command, &capacity::Command),
        clocks: Clocks,
        decided_before: bool,
    ) -> Outcome {
        if command.level() > self.format_level {
            return not_yet(command);
        }
        let is_there = |id: &&Uuid| {
            self.ads.get(id).is_some_and(|slot| match &slot.new {
                Some(new) => new.is_some(),
                None => slot.old.is_some(),
            })
        };
        let mut about = Named::default();
        asked.names(&mut about);
        let ads = about.ads.iter().filter(is_there).copied().collect();
        // Of the batch's ads only a deletion looks at all. One that gives its pool up in this batch still counts.
        let named = match asked {
            capacity::Command::DeletePool { .. } => {
                let newly = self.ads.values().filter_map(Slot::new_pool);
                newly.chain(self.pools_of_ads.iter().copied()).collect()
            }
            _ => HashSet::new(),
        };
        let version = self.head.version + 1;
        let decision = self.records.decide(asked, clocks, version, (&ads, &named));
        let Some(change) = decision.change else { return decision.outcome };
        if decided_before {
            return records::rejected_then(asked);
        }
        let entered = self.records.entered(&change, version);
        let (minus, plus) = entered.sums;
        let digest = self.head.digest.minus(minus).plus(plus);
        if self.write(request, item, digest, command, change).is_none() {
            return Outcome::Failed;
        }
        self.records.keep(entered);
        decision.outcome
    }

    /// The ad as the commands so far leave it.
    fn current(&self, id: Uuid) -> Result<(Option<EncodedAd>, Option<Ad>), ()> {
        let Some(slot) = self.ads.get(&id) else { return Ok((None, None)) };
        match (&slot.new, &slot.old) {
            (Some(Some((ad, encoded))), _) => Ok((Some(encoded.clone()), Some(ad.clone()))),
            (Some(None), _) | (None, None) => Ok((None, None)),
            (None, Some(encoded)) => {
                let ad = encoded.decode().map_err(drop)?;
                Ok((Some(encoded.clone()), Some(ad)))
            }
        }
    }

    /// Gives the change the next version, unless no replica could apply it.
    fn write(
        &mut self,
        request: &Request,
        item: u32,
        digest: Digest,
        command: &Command,
        change: Change,
    ) -> Option<Record> {
        let entry = Entry {
            at: self.now,
            request: request.id,
            item,
            principal: request.principal.clone(),
            reason: command.reason(),
            trace: request.trace,
            digest,
            change,
        };
        let bytes = entry.encode();
        let version: Version = self.head.version + 1;
        let record = Record { version, chain: self.head.chain.next(version, &bytes), bytes };
        dry_run(&record).ok()?;
        self.head = Position { version, chain: record.chain, digest };
        self.log.push(LogRow { record: record.clone(), request: request.id, item, at: self.now });
        Some(record)
    }
}

/// The outcome of a command for which a replica's build is too old.
fn not_yet(command: &Command) -> Outcome {
    let id = match command {
        Command::Capacity { command, .. } => records::first_of(command),
        of_an_ad => of_an_ad.ad().unwrap_or_default(),
    };
    Outcome::Refused { id, refusal: Refusal::NotYet }
}

/// Why a command was not written when an earlier try decided its request, if it would be accepted now: to
/// accept it would decide the request's commands out of their order.
fn rejected_then(command: &Command) -> Outcome {
    let id = command.ad().unwrap_or_default();
    match (command, command.only_if()) {
        (Command::Capacity { command, .. }, _) => records::rejected_then(command),
        (Command::Create { .. }, _) => Outcome::Exists { id, version: 0 },
        (_, Some(only_if)) if only_if.is_empty() => Outcome::NotFound { id },
        _ => Outcome::VersionMismatch { id, version: 0 },
    }
}

/// Returns the outcome for an ad that already is as the command wants it, so that no entry was written.
fn kept_as_it_is(ad: Option<(Ad, EncodedAd)>) -> Outcome {
    match ad {
        Some((Ad { id, version, .. }, ad)) => Outcome::Updated { id, version, ad },
        None => Outcome::Failed,
    }
}

/// Returns the outcome for a command that was written as `record`.
fn outcome_of(command: &Command, record: &Record) -> Outcome {
    let (id, version) = (command.ad().unwrap_or_default(), record.version);
    let Ok(entry) = Entry::decode(&record.bytes) else { return Outcome::Failed };
    match (entry.change, command) {
        (change, Command::Capacity { command, .. }) => {
            records::outcome_of(command, &change, version).unwrap_or(Outcome::Failed)
        }
        (Change::Put(ad), Command::Create { .. }) => Outcome::Created { id, version, ad },
        (Change::Put(ad), _) => Outcome::Updated { id, version, ad },
        (Change::Delete(_), _) => Outcome::Deleted { id, version },
        // No command of an ad is written as one.
        (Change::PutPool(_) | Change::DeletePool(_) | Change::Move(_), _) => Outcome::Failed,
    }
}

#[cfg(test)]
mod tests;
