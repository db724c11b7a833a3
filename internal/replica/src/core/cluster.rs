//! A replica's knowledge of the other replicas.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use placard_model::entry::{Incarnation, Position};
use placard_model::{Timestamp, Version, limits};
use uuid::Uuid;

use super::io::Moment;
use super::read_gate::Terms;
use crate::ports::{Head, Member, StreamStatus};

/// The replica's knowledge of the others, as of its last poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The head.
    pub head: Position,
    /// The journal's clock.
    pub now: Timestamp,
    /// The register, and the replicas whose row was there and is gone, though they have not left.
    pub members: Vec<Member>,
    /// The format level that reading the journal needs.
    pub level: u8,
    /// The journal that was asked.
    incarnation: Incarnation,
    /// The stream.
    pub stream: StreamStatus,
    /// The number of this replica's poll, counted from one.
    pub poll: u64,
    /// Which of this replica's states the poll has found to be of the journal's history ([`Core::history`]); `None` if
    /// it has found no such state.
    ///
    /// [`Core::history`]: super::Core::history
    pub history: Option<u64>,
    /// When that poll was sent.
    sent: Moment,
    /// When each member was last seen, by the journal's clock, and since when, by the clock here, its row is known to
    /// be unchanged or missing.
    seen: BTreeMap<Uuid, (Timestamp, Moment)>,
    /// Heads that were seen, and when first by the journal's clock; oldest first.
    heads: VecDeque<(Version, Timestamp)>,
}

/// A write that all replicas are to show, and that this one shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Awaited {
    /// Its version.
    pub version: Version,
    /// The replica's [`Core::history`](super::Core::history) from before the write was begun: only what it has published
    /// since then, and has found to be the journal's own history still, is confirmed.
    pub history: u64,
    /// [`Core::polls`](super::Core::polls) since the write is committed. Only a poll that was sent after that tells which
    /// replicas must have it: what was known before may be of another history, and a replica that joins later shows
    /// nothing older.
    pub polls: u64,
}

/// A poll that has come back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) poll: u64,
    pub(super) sent: Moment,
    pub(super) returned: Moment,
}

/// Heads that are remembered, so that a replica's lag can be told in time, and how far apart, in microseconds: two of
/// three are never nearer. However often the journal is polled, that is the last minute's at least; a lag of more may be
/// told as a minute.
const HEADS: usize = 480;
const HEADS_APART: i64 = 250_000;

/// The state of a member whose row is gone; no replica says that of itself.
const MISSING: &str = "missing";

impl Cluster {
    /// As a head poll finds it; what is known of the stream stays.
    pub(super) fn polled(known: Option<&Self>, head: Head, asked: Asked) -> Self {
        let Asked { poll, sent, returned } = asked;
        let Head { position: head, now, members, left, level, incarnation, .. } = head;
        let (stream, heads) =
            known.map_or_else(Default::default, |known| (known.stream, known.heads.clone()));
        // In another journal an unchanged row says nothing: it may be a backup's, and the replica may have renewed it since
        // in the one that is gone.
        let same_journal = known.filter(|known| known.incarnation == incarnation);
        let seen = members.iter().map(|member| {
            let replica = member.identity.replica;
            let before = same_journal.and_then(|known| known.seen.get(&replica));
            let same = before.filter(|(seen_at, _)| *seen_at == member.seen_at);
            (replica, same.copied().unwrap_or((member.seen_at, returned)))
        });
        let seen = seen.collect();
        let mut cluster = Self {
            head,
            now,
            members,
            level,
            incarnation,
            stream,
            poll,
            history: None,
            sent,
            seen,
            heads,
        };
        cluster.remember_head();
        if let Some(known) = known {
            cluster.keep_missing(known, &left, returned);
        }
        cluster
    }

    /// Remembers the head and when it was seen. Of heads that are closer together than `HEADS_APART` only the newest is
    /// kept, so that a reported lag is too short by a moment at most.
    fn remember_head(&mut self) {
        let (version, now) = (self.head.version, self.now);
        // Heads above it are lost.
        self.heads.retain(|(head, _)| *head <= version);
        if self.heads.back().is_some_and(|(newest, _)| *newest == version) {
            return;
        }
        let before = self.heads.len().checked_sub(2).and_then(|nth| self.heads.get(nth));
        let apart = before.map(|(_, at)| now.micros() - at.micros());
        if apart.is_some_and(|apart| (0..HEADS_APART).contains(&apart)) {
            self.heads.pop_back();
        } else if self.heads.len() == HEADS {
            self.heads.pop_front();
        }
        self.heads.push_back((version, now));
    }

    /// A member whose row is gone counts as before: a jump of the journal's clock, a failover or a restore may have
    /// lost the row, while the replica answers. It ends when the row is back, when the replica has left, or when so
    /// long has passed, by the clock here, since the row was first missed that the replica answers no reads or is
    /// forgotten. When its row was last seen before that does not count: no poll looked meanwhile, and the row may have
    /// been renewed until it was lost. Builds that leave no mark are taken to have left.
    fn keep_missing(&mut self, known: &Self, left: &[Uuid], returned: Moment) {
        for member in &known.members {
            let replica = member.identity.replica;
            let is_missing = !self.seen.contains_key(&replica) && !left.contains(&replica);
            let Some((seen_at, since)) = known.seen.get(&replica) else { continue };
            if is_missing && member.identity.marks_leaving {
                let was_missing = member.status.state == MISSING;
                self.seen.insert(replica, (*seen_at, if was_missing { *since } else { returned }));
                if self.is_silent(member) || self.is_forgotten(member, self.sent) {
                    self.seen.remove(&replica);
                } else {
                    let mut member = member.clone();
                    member.status.state = MISSING.to_owned();
                    // The version that it had published may be of a history that went with the row.
                    member.status.published = Position::START;
                    self.members.push(member);
                }
            }
        }
        self.members.sort_by_key(|member| member.identity.replica);
    }

    /// Returns every member but this one.
    pub(super) fn others(&self, own: Uuid) -> Vec<Uuid> {
        let names = self.members.iter().map(|member| member.identity.replica);
        names.filter(|replica| *replica != own).collect()
    }

    /// Returns the replicas whose rows have not changed for so long that no replica counts on them any more, and when
    /// each was last seen, by the journal's clock.
    pub(super) fn gone_by(&self, now: Moment) -> Vec<(Uuid, Timestamp)> {
        let gone = self.members.iter().filter(|member| self.is_forgotten(member, now));
        gone.map(|member| (member.identity.replica, member.seen_at)).collect()
    }

    fn is_forgotten(&self, member: &Member, now: Moment) -> bool {
        let seen = self.seen.get(&member.identity.replica);
        seen.is_some_and(|(_, since)| now > *since + lease(member) + limits::MEMBER_KEPT)
    }

    /// Returns true if every member shows what is awaited, or shows nothing.
    pub fn is_on_all(&self, awaited: Awaited) -> bool {
        let mut members = self.members.iter();
        self.tells_of(awaited) && members.all(|member| self.confirms(member, awaited.version))
    }

    /// Returns true if a member shows what is awaited, or shows nothing.
    pub fn is_on(&self, member: &Member, awaited: Awaited) -> bool {
        self.tells_of(awaited) && self.confirms(member, awaited.version)
    }

    /// Returns true if the poll can tell which members show it.
    fn tells_of(&self, awaited: Awaited) -> bool {
        self.poll > awaited.polls
            && self.history == Some(awaited.history)
            && self.head.version >= awaited.version
    }

    /// Returns true if a member shows no client anything older than `version`: it has published it, or refuses reads.
    fn confirms(&self, member: &Member, version: Version) -> bool {
        member.status.published.version >= version || self.is_silent(member)
    }

    /// Returns true if a member has not been heard of for so long that it answers no reads. That is judged by how long
    /// this replica has seen its row unchanged, rather than by the journal's clock, which may be set, and by rows,
    /// which may be a backup's. The member counts from before it has sent what the row says, by a clock that runs at
    /// most a hundredth slower, and cannot have sent anything since without being seen in the row.
    fn is_silent(&self, member: &Member) -> bool {
        let terms = Terms { lease: lease(member), refuses_after: member.identity.refuses_after };
        let Some(answers) = terms.answers_for() else { return false };
        let Some((_, since)) = self.seen.get(&member.identity.replica) else { return false };
        self.sent > *since + answers + answers / 100
    }

    /// Returns a copy with the stream's latest status.
    pub(super) fn inspected(&self, stream: StreamStatus) -> Self {
        Self { stream, ..self.clone() }
    }

    /// Returns when a head beyond `version` was first seen; `None` if no such head was seen.
    pub fn first_seen_after(&self, version: Version) -> Option<Timestamp> {
        self.heads.iter().find(|(head, _)| *head > version).map(|(_, at)| *at)
    }
}

/// How long a member's lease lasts from when it was seen.
fn lease(member: &Member) -> Duration {
    let lease = member.lease_until.micros().saturating_sub(member.seen_at.micros());
    Duration::from_micros(u64::try_from(lease).unwrap_or(0))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests use clocks as they like")]
mod tests {
    use super::*;
    use crate::Uptime;
    use crate::ports::{Identity, ReplicaStatus};

    fn at(ms: u64) -> Moment {
        Moment(Duration::from_millis(ms))
    }

    const SECOND: i64 = 1_000_000;

    fn second(second: i64) -> Timestamp {
        Timestamp::EPOCH.saturating_add_micros(second * SECOND)
    }

    /// Another replica, which was seen then and has published nothing.
    fn member(seen_at: i64, refuses_after: Option<Duration>) -> Member {
        Member {
            identity: Identity {
                replica: Uuid::from_u128(2),
                address: "localhost:2".to_owned(),
                build: "test".to_owned(),
                format_level: 1,
                refuses_after,
                marks_leaving: true,
            },
            status: ReplicaStatus {
                state: "ready".to_owned(),
                published: Position::START,
                clock_ahead: 0,
                tails_journal: false,
            },
            seen_at: second(seen_at),
            lease_until: second(seen_at + 2),
        }
    }

    /// What a poll that was sent then finds 10 ms later.
    fn found(known: Option<&Cluster>, sent: u64, members: Vec<Member>, left: &[u128]) -> Cluster {
        found_at(known, sent, (Position::START, second(0)), members, left)
    }

    /// The same, with the head, and the journal's clock.
    fn found_at(
        known: Option<&Cluster>,
        sent: u64,
        (position, now): (Position, Timestamp),
        members: Vec<Member>,
        left: &[u128],
    ) -> Cluster {
        found_in(known, sent, Timestamp::EPOCH, (position, now), members, left)
    }

    /// The same, of a journal that was started then.
    fn found_in(
        known: Option<&Cluster>,
        sent: u64,
        started: Timestamp,
        (position, now): (Position, Timestamp),
        members: Vec<Member>,
        left: &[u128],
    ) -> Cluster {
        let head = Head {
            position,
            chain_at: None,
            now,
            asked: Uptime::now(),
            answered: Uptime::now(),
            members,
            left: left.iter().copied().map(Uuid::from_u128).collect(),
            incarnation: Incarnation { journal: Uuid::nil(), database: 0, started },
            level: 1,
        };
        Cluster::polled(known, head, Asked { poll: 1, sent: at(sent), returned: at(sent + 10) })
    }

    /// The same, if it finds one other replica, seen when the journal's clock said so.
    fn poll(known: Option<&Cluster>, sent: u64, seen_at: i64, now: i64) -> Cluster {
        let member = member(seen_at, Some(Duration::from_secs(3)));
        Cluster { now: second(now), ..found(known, sent, vec![member], &[]) }
    }

    #[test]
    fn missing_member_counts_until_it_must_be_silent() {
        let confirms =
            |cluster: &Cluster| cluster.members.iter().all(|member| cluster.confirms(member, 1));
        let mut first = poll(None, 0, 100, 100);
        first.members[0].status.published.version = 7;
        assert!(confirms(&first));
        let gone = found(Some(&first), 250, Vec::new(), &[]);
        assert_eq!((gone.members.len(), confirms(&gone)), (1, false));
        assert_eq!(gone.members[0].status.state, "missing");
        let gone = found(Some(&gone), 5_309, Vec::new(), &[]);
        assert_eq!((gone.members.len(), confirms(&gone)), (1, false));
        // A missing row counts for as long as one that is not renewed, from when it was missed.
        assert!(confirms(&found(Some(&gone), 5_311, Vec::new(), &[])));
        // It is back, and has said something: from the beginning.
        let back = poll(Some(&gone), 5_311, 105, 105);
        assert_eq!(back.members[0].status.state, "ready");
        let gone = found(Some(&back), 10_000, Vec::new(), &[]);
        assert_eq!((gone.members.len(), confirms(&gone)), (1, false));
        // It has left, or may have silently.
        assert_eq!(found(Some(&gone), 10_001, Vec::new(), &[2]).members, []);
        let mut older = back;
        older.members[0].identity.marks_leaving = false;
        assert_eq!(found(Some(&older), 10_000, Vec::new(), &[]).members, []);
    }

    /// No poll looked for longer than it takes until a replica refuses; meanwhile it may have renewed its row until
    /// that was lost.
    #[test]
    fn row_lost_between_polls_counts_from_when_missed() {
        let first = poll(None, 0, 100, 100);
        let gone = found(Some(&first), 60_000, Vec::new(), &[]);
        assert_eq!(gone.members.len(), 1);
        assert!(!gone.confirms(&gone.members[0], 1));
        let gone = found(Some(&gone), 65_059, Vec::new(), &[]);
        assert!(!gone.confirms(&gone.members[0], 1));
        assert_eq!(found(Some(&gone), 65_061, Vec::new(), &[]).members, []);
    }

    /// A backup that was restored had the row as it was seen last; the replica had renewed it since, and still answered.
    #[test]
    fn restored_row_counts_from_when_it_was_found() {
        let row = || vec![member(100, Some(Duration::from_secs(3)))];
        let start = (Position::START, second(0));
        let first = found_in(None, 0, second(1), start, row(), &[]);
        let confirms = |cluster: &Cluster| cluster.confirms(&cluster.members[0], 1);
        assert!(confirms(&found_in(Some(&first), 5_061, second(1), start, row(), &[])));
        let restored = found_in(Some(&first), 5_061, second(2), start, row(), &[]);
        assert!(!confirms(&restored));
        let later = found_in(Some(&restored), 10_111, second(2), start, row(), &[]);
        assert!(!confirms(&later));
        assert!(confirms(&found_in(Some(&later), 10_122, second(2), start, row(), &[])));
    }

    #[test]
    fn serving_member_is_unconfirmed_for_a_local_hour() {
        const HOUR: u64 = 3_602_010;
        let member = || vec![member(100, None)];
        for row_is_gone in [false, true] {
            let rows = || if row_is_gone { Vec::new() } else { member() };
            let seen = found(None, 0, member(), &[]);
            let first = found(Some(&seen), 0, rows(), &[]);
            let later = found(Some(&first), HOUR, rows(), &[]);
            assert_eq!(later.members.len(), 1);
            assert!(!later.confirms(&later.members[0], 1));
            assert_eq!(later.gone_by(at(HOUR)), []);
            assert_eq!(later.gone_by(at(HOUR + 1)), [(Uuid::from_u128(2), second(100))]);
            assert_eq!(found(Some(&later), HOUR + 1, rows(), &[]).members, rows());
        }
    }

    #[test]
    fn lag_is_measured_in_time_at_any_polling_rate() {
        let mut known: Option<Cluster> = None;
        // For two minutes there is a new version every 25 ms, and a poll that sees it.
        for version in 1..=4_800 {
            let position = Position { version, ..Position::START };
            let now = Timestamp::EPOCH.saturating_add_micros(version as i64 * SECOND / 40);
            known = Some(found_at(known.as_ref(), version * 25, (position, now), Vec::new(), &[]));
        }
        let known = known.expect("it has polled");
        let lag = |published| {
            known.first_seen_after(published).map(|at| known.now.micros() - at.micros())
        };
        assert_eq!(lag(4_800), None);
        // Who has what was new at first, and a second, half a minute and almost a minute ago.
        assert!(lag(1).is_some_and(|lag| lag >= 60 * SECOND));
        for (published, expected) in [(4_760, 1), (3_600, 30), (2_440, 59)] {
            let lag = lag(published).expect("it is behind");
            let off = (lag - expected * SECOND).abs();
            assert!(off <= 2 * HEADS_APART, "{lag} µs behind instead of {expected} s");
        }
    }

    #[test]
    fn silence_is_judged_by_local_observation() {
        let confirms = |cluster: &Cluster| cluster.confirms(&cluster.members[0], 1);
        // The row of a backup, or a clock that has jumped: its lease ended an hour ago.
        let first = poll(None, 0, 100, 4_000);
        assert!(!confirms(&first));
        let later = poll(Some(&first), 5_059, 100, 4_005);
        assert!(!confirms(&later));
        assert!(confirms(&poll(Some(&later), 5_061, 100, 4_005)));
        // A clock that was set back does not make it last.
        assert!(confirms(&poll(Some(&later), 5_061, 100, 50)));
        let renewed = poll(Some(&later), 5_061, 101, 4_005);
        assert!(!confirms(&renewed) && !confirms(&poll(Some(&renewed), 10_000, 101, 4_010)));
        assert!(renewed.confirms(&renewed.members[0], 0));
    }
}
