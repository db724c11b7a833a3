//! The encoding of entries and answers: protobuf, after a byte for the format's level. `encoded` encodes the ads in
//! them. These messages are separate from the domain's types so that either can change without the other;
//! `tests/golden` holds them to the byte. Fields are only ever added.

use bytes::{BufMut, Bytes, BytesMut};
use prost::{Message, Oneof};
use uuid::Uuid;

use crate::capacity::{After, Balance, CloseReason, Closed, Counted, Moves, Refusal};
use crate::command::{Answer, KeptAnswer, Outcome, Sums};
use crate::entry::{Change, Digest, Entry, Reason};
use crate::format::{
    CAPACITY_LEVEL, FORMAT_LEVEL_MIN, Undecodable, format_level, id_bytes, stamp, uuid,
};
use crate::records::{EncodedRecord, Kind};
use crate::{EncodedAd, Timestamp, TraceContext, Violation};

#[derive(Clone, PartialEq, Message)]
struct EntryMessage {
    #[prost(sfixed64, tag = "1")]
    at: i64,
    #[prost(bytes = "bytes", tag = "2")]
    request: Bytes,
    #[prost(uint32, tag = "3")]
    item: u32,
    #[prost(string, tag = "4")]
    principal: String,
    /// 0: a client, 1: expired, 2: a replica.
    #[prost(uint32, tag = "5")]
    reason: u32,
    /// 16 bytes, big-endian.
    #[prost(bytes = "bytes", tag = "6")]
    digest: Bytes,
    #[prost(oneof = "ChangeMessage", tags = "7, 8, 10, 11, 12")]
    change: Option<ChangeMessage>,
    /// A `TraceContext`, 24 bytes; empty without a trace. It needs no format level, since a reader that does not know
    /// it loses nothing by skipping it.
    #[prost(bytes = "bytes", tag = "9")]
    trace: Bytes,
}

#[derive(Clone, PartialEq, Oneof)]
enum ChangeMessage {
    /// An `AdMessage`, kept as bytes.
    #[prost(bytes = "bytes", tag = "7")]
    Put(Bytes),
    /// An ad's id, 16 bytes.
    #[prost(bytes = "bytes", tag = "8")]
    Delete(Bytes),
    /// The stored form of a pool.
    #[prost(bytes = "bytes", tag = "10")]
    PutPool(Bytes),
    /// A pool's id, 16 bytes.
    #[prost(bytes = "bytes", tag = "11")]
    DeletePool(Bytes),
    #[prost(message, tag = "12")]
    Move(MovesMessage),
}

/// 4 is kept free for tallies.
#[derive(Clone, PartialEq, Message)]
struct MovesMessage {
    /// The stored forms of holds.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    given: Vec<Bytes>,
    #[prost(message, repeated, tag = "2")]
    closed: Vec<ClosedMessage>,
    #[prost(message, repeated, tag = "3")]
    counted: Vec<CountedMessage>,
    #[prost(message, repeated, tag = "5")]
    after: Vec<AfterMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct ClosedMessage {
    #[prost(bytes = "bytes", tag = "1")]
    hold: Bytes,
    #[prost(uint64, tag = "2")]
    used: u64,
    #[prost(uint64, tag = "3")]
    lost: u64,
    /// See `CloseReason`.
    #[prost(uint32, tag = "4")]
    reason: u32,
    /// Until when the tombstone is kept; absent if none is left.
    #[prost(sfixed64, optional, tag = "5")]
    until: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct CountedMessage {
    #[prost(bytes = "bytes", tag = "1")]
    ad: Bytes,
    #[prost(uint64, tag = "2")]
    decisions: u64,
    #[prost(uint64, tag = "3")]
    impressions: u64,
    #[prost(uint64, tag = "4")]
    clicks: u64,
}

#[derive(Clone, PartialEq, Message)]
struct AfterMessage {
    #[prost(bytes = "bytes", tag = "1")]
    pool: Bytes,
    #[prost(uint64, tag = "2")]
    reserved: u64,
    #[prost(uint64, tag = "3")]
    allotted: u64,
    #[prost(uint64, tag = "4")]
    used: u64,
    #[prost(uint64, tag = "5")]
    lost: u64,
}

impl Entry {
    /// Encodes the entry, after a byte for the format level that reading it needs.
    pub fn encode(&self) -> Bytes {
        let message = EntryMessage {
            at: self.at.micros(),
            request: id_bytes(self.request),
            item: self.item,
            principal: self.principal.clone(),
            reason: match self.reason {
                Reason::Client => 0,
                Reason::Expired => 1,
                Reason::Replica => 2,
            },
            digest: Bytes::copy_from_slice(&self.digest.0.to_be_bytes()),
            change: Some(match &self.change {
                Change::Put(ad) => ChangeMessage::Put(ad.bytes().clone()),
                Change::Delete(id) => ChangeMessage::Delete(id_bytes(*id)),
                Change::PutPool(pool) => {
                    ChangeMessage::PutPool(EncodedRecord::of_pool(pool).into_bytes())
                }
                Change::DeletePool(id) => ChangeMessage::DeletePool(id_bytes(*id)),
                Change::Move(moves) => ChangeMessage::Move(moves.into()),
            }),
            trace: self
                .trace
                .map_or_else(Bytes::new, |trace| Bytes::copy_from_slice(&trace.to_bytes())),
        };
        leveled(self.change.level(), &message)
    }

    /// Reads an entry back. The ad in it, if any, stays encoded.
    ///
    /// # Errors
    /// The bytes are not an entry, or one that only a newer build understands.
    pub fn decode(bytes: &Bytes) -> Result<Self, Undecodable> {
        let message: EntryMessage = from_leveled(bytes)?;
        let change = change(message.change.ok_or(Undecodable::Field("change"))?)?;
        if bytes.first().is_some_and(|level| *level < change.level()) {
            return Err(Undecodable::Field("format level"));
        }
        let digest = <[u8; 16]>::try_from(message.digest.as_ref())
            .map_err(|_| Undecodable::Field("digest"))?;
        Ok(Self {
            at: stamp(message.at, "at")?,
            request: uuid(&message.request, "request")?,
            item: message.item,
            principal: message.principal,
            reason: match message.reason {
                0 => Reason::Client,
                1 => Reason::Expired,
                2 => Reason::Replica,
                _ => return Err(Undecodable::Field("reason")),
            },
            digest: Digest(u128::from_be_bytes(digest)),
            trace: TraceContext::from_bytes(&message.trace),
            change,
        })
    }
}

fn change(message: ChangeMessage) -> Result<Change, Undecodable> {
    Ok(match message {
        ChangeMessage::Put(ad) => Change::Put(EncodedAd::from_bytes(ad)),
        ChangeMessage::Delete(id) => Change::Delete(uuid(&id, "delete")?),
        ChangeMessage::PutPool(pool) => {
            Change::PutPool(EncodedRecord::from_bytes(Kind::Pool, pool).pool()?)
        }
        ChangeMessage::DeletePool(id) => Change::DeletePool(uuid(&id, "pool_deleted")?),
        ChangeMessage::Move(moves) => Change::Move(moves.try_into()?),
    })
}

impl From<&Moves> for MovesMessage {
    fn from(moves: &Moves) -> Self {
        let given = |hold| EncodedRecord::of_hold(hold).into_bytes();
        Self {
            given: moves.given.iter().map(given).collect(),
            closed: moves.closed.iter().map(closed_message).collect(),
            counted: moves.counted.iter().map(counted_message).collect(),
            after: moves.after.iter().map(after_message).collect(),
        }
    }
}

impl TryFrom<MovesMessage> for Moves {
    type Error = Undecodable;

    fn try_from(message: MovesMessage) -> Result<Self, Undecodable> {
        let given = |bytes| EncodedRecord::from_bytes(Kind::Hold, bytes).hold();
        Ok(Self {
            given: message.given.into_iter().map(given).collect::<Result<_, _>>()?,
            closed: message.closed.into_iter().map(closed).collect::<Result<_, _>>()?,
            counted: message.counted.into_iter().map(counted).collect::<Result<_, _>>()?,
            after: message.after.into_iter().map(after).collect::<Result<_, _>>()?,
        })
    }
}

fn closed_message(closed: &Closed) -> ClosedMessage {
    let (hold, reason) = (id_bytes(closed.hold), closed.reason.number());
    let until = closed.until.map(Timestamp::micros);
    ClosedMessage { hold, used: closed.used, lost: closed.lost, reason, until }
}

fn closed(message: ClosedMessage) -> Result<Closed, Undecodable> {
    let ClosedMessage { hold, used, lost, reason, until } = message;
    let hold = uuid(&hold, "hold")?;
    let reason = CloseReason::from_number(reason).ok_or(Undecodable::Field("reason"))?;
    let until = until.map(|until| stamp(until, "until")).transpose()?;
    Ok(Closed { hold, used, lost, reason, until })
}

fn counted_message(counted: &Counted) -> CountedMessage {
    let Counted { ad, decisions, impressions, clicks } = *counted;
    CountedMessage { ad: id_bytes(ad), decisions, impressions, clicks }
}

fn counted(message: CountedMessage) -> Result<Counted, Undecodable> {
    let CountedMessage { ad, decisions, impressions, clicks } = message;
    Ok(Counted { ad: uuid(&ad, "ad")?, decisions, impressions, clicks })
}

fn after_message(after: &After) -> AfterMessage {
    let Balance { reserved, allotted, used, lost } = after.balance;
    AfterMessage { pool: id_bytes(after.pool), reserved, allotted, used, lost }
}

fn after(message: AfterMessage) -> Result<After, Undecodable> {
    let AfterMessage { pool, reserved, allotted, used, lost } = message;
    let balance = Balance { reserved, allotted, used, lost };
    Ok(After { pool: uuid(&pool, "pool")?, balance })
}

fn leveled(level: u8, message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::with_capacity(1 + message.encoded_len());
    bytes.put_u8(level);
    message.encode(&mut bytes).expect("the buffer grows");
    bytes.freeze()
}

fn from_leveled<M: Message + Default>(bytes: &Bytes) -> Result<M, Undecodable> {
    match bytes.first() {
        None | Some(0) => Err(Undecodable::Field("format level")),
        Some(&level) if level > format_level() => Err(Undecodable::TooNew(level)),
        Some(_) => Ok(M::decode(bytes.slice(1..))?),
    }
}

#[derive(Clone, PartialEq, Message)]
struct AnswerMessage {
    #[prost(uint64, tag = "1")]
    version: u64,
    #[prost(message, repeated, tag = "2")]
    outcomes: Vec<OutcomeMessage>,
    /// One of the request's `Sums`, 32 bytes each, in the answer that is kept for a key. They need no format level: a
    /// reader that does not know them compares the sum of the body, as before.
    #[prost(bytes = "bytes", tag = "3")]
    conditions: Bytes,
    #[prost(bytes = "bytes", tag = "4")]
    meaning: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct OutcomeMessage {
    #[prost(bytes = "bytes", tag = "1")]
    id: Bytes,
    #[prost(uint64, tag = "2")]
    version: u64,
    #[prost(uint32, tag = "3")]
    kind: u32,
    /// The created or updated ad.
    #[prost(bytes = "bytes", optional, tag = "4")]
    ad: Option<Bytes>,
    #[prost(message, repeated, tag = "5")]
    violations: Vec<ViolationMessage>,
    /// The record that there is now.
    #[prost(message, optional, tag = "6")]
    record: Option<RecordMessage>,
    /// How many units there are to be had.
    #[prost(uint64, tag = "7")]
    available: u64,
    /// See `Refusal`.
    #[prost(uint32, tag = "8")]
    refusal: u32,
}

#[derive(Clone, PartialEq, Message)]
struct RecordMessage {
    /// See `Kind`.
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(bytes = "bytes", tag = "2")]
    bytes: Bytes,
    #[prost(bool, tag = "3")]
    is_new: bool,
}

#[derive(Clone, PartialEq, Message)]
struct ViolationMessage {
    #[prost(string, tag = "1")]
    pointer: String,
    #[prost(string, tag = "2")]
    detail: String,
}

impl Answer {
    /// Encodes the answer, after a byte for the format level that reading it needs.
    pub fn encode(&self) -> Bytes {
        leveled(self.level(), &self.message())
    }

    fn level(&self) -> u8 {
        let level = |outcome: &Outcome| match outcome {
            Outcome::Created { ad, .. } | Outcome::Updated { ad, .. } => ad.level(),
            Outcome::Recorded { record, .. } => record.level(),
            Outcome::Exhausted { .. } | Outcome::Refused { .. } => CAPACITY_LEVEL,
            _ => FORMAT_LEVEL_MIN,
        };
        self.outcomes.iter().map(level).max().unwrap_or(FORMAT_LEVEL_MIN)
    }

    /// Reads an answer back.
    ///
    /// # Errors
    /// The bytes are no answer, or one that only a newer build understands.
    pub fn decode(bytes: &Bytes) -> Result<Self, Undecodable> {
        Self::of(from_leveled(bytes)?)
    }

    fn message(&self) -> AnswerMessage {
        let outcomes = self.outcomes.iter().map(outcome_message).collect();
        AnswerMessage { version: self.version, outcomes, ..Default::default() }
    }

    fn of(message: AnswerMessage) -> Result<Self, Undecodable> {
        let outcomes = message.outcomes.into_iter().map(outcome).collect::<Result<_, _>>()?;
        Ok(Self { version: message.version, outcomes, replayed: false })
    }
}

impl KeptAnswer {
    /// Encodes the answer, with the sums that identify a repetition of the request.
    pub fn new(scope: [u8; 32], body: [u8; 32], sums: &Sums, answer: &Answer) -> Self {
        let sum = |sum: &[u8; 32]| Bytes::copy_from_slice(sum);
        let (conditions, meaning) = (sum(&sums.conditions), sum(&sums.meaning));
        let message = AnswerMessage { conditions, meaning, ..answer.message() };
        Self { scope, body, answer: leveled(answer.level(), &message) }
    }

    /// Reads the answer back, and the sums, which an older build has not kept.
    ///
    /// # Errors
    /// The bytes are no answer, or one that only a newer build understands.
    pub fn decode(&self) -> Result<(Answer, Option<Sums>), Undecodable> {
        let message: AnswerMessage = from_leveled(&self.answer)?;
        let sum = |bytes: &Bytes| <[u8; 32]>::try_from(bytes.as_ref()).ok();
        let sums = sum(&message.conditions).zip(sum(&message.meaning));
        let sums = sums.map(|(conditions, meaning)| Sums { conditions, meaning });
        Ok((Answer::of(message)?, sums))
    }
}

fn outcome_message(outcome: &Outcome) -> OutcomeMessage {
    let nil = Uuid::nil();
    let (kind, id, version) = match outcome {
        Outcome::Created { id, version, .. } => (1, id, version),
        Outcome::Updated { id, version, .. } => (2, id, version),
        Outcome::Deleted { id, version } => (3, id, version),
        Outcome::NotFound { id } => (4, id, &0),
        Outcome::Exists { id, version } => (5, id, version),
        Outcome::VersionMismatch { id, version } => (6, id, version),
        Outcome::Invalid { id, .. } => (7, id, &0),
        // A build that does not know this kind answers that all commands have failed, and writes none of them again.
        Outcome::Failed => (8, &nil, &0),
        Outcome::Recorded { id, version, .. } => (9, id, version),
        Outcome::Exhausted { pool, .. } => (10, pool, &0),
        Outcome::Refused { id, .. } => (11, id, &0),
        Outcome::Reported { .. } => unreachable!("a replica's report has no key"),
        Outcome::KeyReused => unreachable!("it concerns the whole request, and is never stored"),
    };
    let record = match outcome {
        Outcome::Recorded { record, is_new, .. } => Some(RecordMessage {
            kind: record.kind().number().into(),
            bytes: record.bytes().clone(),
            is_new: *is_new,
        }),
        _ => None,
    };
    let available = match outcome {
        Outcome::Exhausted { available, .. } => *available,
        _ => 0,
    };
    let refusal = match outcome {
        Outcome::Refused { refusal, .. } => refusal.number(),
        _ => 0,
    };
    let ad = match outcome {
        Outcome::Created { ad, .. } | Outcome::Updated { ad, .. } => Some(ad.bytes().clone()),
        _ => None,
    };
    let violations = match outcome {
        Outcome::Invalid { violations, .. } => violations.as_slice(),
        _ => &[],
    };
    OutcomeMessage {
        id: id_bytes(*id),
        version: *version,
        kind,
        ad,
        record,
        available,
        refusal,
        violations: violations
            .iter()
            .map(|violation| ViolationMessage {
                pointer: match &violation.place {
                    crate::Place::Pointer(pointer) => pointer.clone(),
                    other => unreachable!("{other:?} is not decided by the committer"),
                },
                detail: violation.detail.clone(),
            })
            .collect(),
    }
}

fn outcome(message: OutcomeMessage) -> Result<Outcome, Undecodable> {
    let id = uuid(&message.id, "id")?;
    let version = message.version;
    let ad = || message.ad.clone().map(EncodedAd::from_bytes).ok_or(Undecodable::Field("ad"));
    Ok(match message.kind {
        1 => Outcome::Created { id, version, ad: ad()? },
        2 => Outcome::Updated { id, version, ad: ad()? },
        3 => Outcome::Deleted { id, version },
        4 => Outcome::NotFound { id },
        5 => Outcome::Exists { id, version },
        6 => Outcome::VersionMismatch { id, version },
        7 => Outcome::Invalid {
            id,
            violations: message
                .violations
                .into_iter()
                .map(|violation| Violation::pointer(violation.pointer, violation.detail))
                .collect(),
        },
        8 => Outcome::Failed,
        9 => {
            let message = message.record.ok_or(Undecodable::Field("record"))?;
            let kind = u8::try_from(message.kind).ok().and_then(Kind::from_number);
            let kind = kind.ok_or(Undecodable::Field("record"))?;
            let record = EncodedRecord::from_bytes(kind, message.bytes);
            Outcome::Recorded { id, version, record, is_new: message.is_new }
        }
        10 => Outcome::Exhausted { pool: id, available: message.available },
        11 => {
            let refusal = Refusal::from_number(message.refusal);
            Outcome::Refused { id, refusal: refusal.ok_or(Undecodable::Field("refusal"))? }
        }
        _ => return Err(Undecodable::Field("kind")),
    })
}
