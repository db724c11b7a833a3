//! The encoding of entries and answers: protobuf, after a byte for the format's level. `encoded` encodes the ads in
//! them. These messages are separate from the domain's types so that either can change without the other;
//! `tests/golden` holds them to the byte. Fields are only ever added.

use bytes::{BufMut, Bytes, BytesMut};
use prost::{Message, Oneof};
use uuid::Uuid;

use crate::command::{Answer, KeptAnswer, Outcome, Sums};
use crate::entry::{Change, Digest, Entry, Reason};
use crate::format::{Undecodable, format_level, stamp, uuid};
use crate::{EncodedAd, TraceContext, Violation};

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
    /// 0: a client, 1: expired.
    #[prost(uint32, tag = "5")]
    reason: u32,
    /// 16 bytes, big-endian.
    #[prost(bytes = "bytes", tag = "6")]
    digest: Bytes,
    #[prost(oneof = "ChangeMessage", tags = "7, 8")]
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
}

impl Entry {
    /// Encodes the entry for readers of `level`, after a byte for that level.
    pub fn encode(&self, level: u8) -> Bytes {
        let message = EntryMessage {
            at: self.at.micros(),
            request: Bytes::copy_from_slice(self.request.as_bytes()),
            item: self.item,
            principal: self.principal.clone(),
            reason: match self.reason {
                Reason::Client => 0,
                Reason::Expired => 1,
            },
            digest: Bytes::copy_from_slice(&self.digest.0.to_be_bytes()),
            change: Some(match &self.change {
                Change::Put(ad) => ChangeMessage::Put(ad.bytes().clone()),
                Change::Delete(id) => ChangeMessage::Delete(Bytes::copy_from_slice(id.as_bytes())),
            }),
            trace: self
                .trace
                .map_or_else(Bytes::new, |trace| Bytes::copy_from_slice(&trace.to_bytes())),
        };
        leveled(level, &message)
    }

    /// Reads an entry back. The ad in it, if any, stays encoded.
    ///
    /// # Errors
    /// The bytes are not an entry, or one that only a newer build understands.
    pub fn decode(bytes: &Bytes) -> Result<Self, Undecodable> {
        let message: EntryMessage = from_leveled(bytes)?;
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
                _ => return Err(Undecodable::Field("reason")),
            },
            digest: Digest(u128::from_be_bytes(digest)),
            trace: TraceContext::from_bytes(&message.trace),
            change: match message.change.ok_or(Undecodable::Field("change"))? {
                ChangeMessage::Put(ad) => Change::Put(EncodedAd::from_bytes(ad)),
                ChangeMessage::Delete(id) => Change::Delete(uuid(&id, "delete")?),
            },
        })
    }
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
}

#[derive(Clone, PartialEq, Message)]
struct ViolationMessage {
    #[prost(string, tag = "1")]
    pointer: String,
    #[prost(string, tag = "2")]
    detail: String,
}

impl Answer {
    /// Encodes the answer for readers of `level`.
    pub fn encode(&self, level: u8) -> Bytes {
        leveled(level, &self.message())
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
    /// Encodes the answer for readers of `level`, with the sums that identify a repetition of the request.
    pub fn new(scope: [u8; 32], body: [u8; 32], sums: &Sums, answer: &Answer, level: u8) -> Self {
        let sum = |sum: &[u8; 32]| Bytes::copy_from_slice(sum);
        let (conditions, meaning) = (sum(&sums.conditions), sum(&sums.meaning));
        let message = AnswerMessage { conditions, meaning, ..answer.message() };
        Self { scope, body, answer: leveled(level, &message) }
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
        Outcome::KeyReused => unreachable!("it concerns the whole request, and is never stored"),
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
        id: Bytes::copy_from_slice(id.as_bytes()),
        version: *version,
        kind,
        ad,
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
        _ => return Err(Undecodable::Field("kind")),
    })
}
