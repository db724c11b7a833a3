//! The connections of one journal, for each kind of work a set.

use super::commit::Committer;
use super::connection_set::{ConnectionSet, Opened};
use super::failure::Failure;
use super::server::Server;
use super::session::{Durability, Session, Setting};
use super::{chores, commit, poll, snapshot};
use crate::page::PageBytes;

const LOG_READ: &[Setting] = &[
    ("lock_timeout", "1s"),
    ("statement_timeout", "1500ms"),
    ("tcp_user_timeout", "2s"),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
];

/// Each connects when it is needed first, and again after an error.
pub(super) struct ConnectionSets {
    pub(super) server: Server,
    pub(super) committer: Committer,
    pub(super) poll: ConnectionSet,
    /// Of the log, and of what ends; and for the lock of the stream's trimming, every few seconds.
    pub(super) reads: ConnectionSet,
    /// Of the log.
    pub(super) page: PageBytes,
    pub(super) snapshot: ConnectionSet,
    pub(super) chores: ConnectionSet,
}

impl ConnectionSets {
    pub(super) fn new(server: Server, accept_unsafe: bool) -> Self {
        let durable = if accept_unsafe { Durability::Accepted } else { Durability::Checked };
        let session = Session::new;
        let chore = session(&[chores::SETTINGS, &chores::SILENCE], Durability::Any);
        Self {
            committer: Committer::new(&server, session(&[commit::SETTINGS], durable)),
            poll: ConnectionSet::new(&server, 1, 1, session(&[poll::SETTINGS], durable))
                .of_any_run(),
            reads: ConnectionSet::new(&server, 2, 1, session(&[LOG_READ], Durability::Any)),
            page: PageBytes::default(),
            snapshot: ConnectionSet::new(
                &server,
                1,
                0,
                session(&[snapshot::SETTINGS], Durability::Any),
            ),
            // Housekeeping gives back what it borrows.
            chores: ConnectionSet::new(&server, 1, 0, chore),
            server,
        }
    }

    /// A commit's connection comes first: while commits have no connection, housekeeping takes none that they could
    /// have.
    pub(super) fn to_spare(
        &self,
        set: impl FnOnce(&Self) -> &ConnectionSet,
    ) -> Result<&ConnectionSet, Failure> {
        match self.committer.opened() {
            Opened::NotYet | Opened::NoLonger => Err(Failure::NoneToSpare),
            Opened::Untried | Opened::Yes => Ok(set(self)),
        }
    }
}
