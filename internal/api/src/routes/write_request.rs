//! What every write has beside its body: who asks, for what, and in which header fields. It is read in steps, so that
//! errors are reported in the same order for every write.

use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use placard_model::Violation;
use placard_model::capacity;
use placard_model::command::{Answer, Command, Conditions, Idempotency, Request, Sums};
use placard_replica::{Expiry, Handle, Reply};
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::app::App;
use crate::http::body::{BodyBudget, BufferedBody};
use crate::http::headers;
use crate::http::params::{self, Ack};
use crate::http::problem::{Overload, Problem};
use crate::http::subject::Subject;
use crate::metrics::Metrics;
use crate::principal::Principal;

/// The media types of a form.
pub(super) const JSON: &[&str] = &["application/json"];
/// The media types of a merge patch.
pub(super) const MERGE_PATCH: &[&str] = &["application/merge-patch+json", "application/json"];

const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// A write whose body was not read yet, of a client that may write.
#[derive(Debug)]
pub(crate) struct WriteRequest {
    principal: Principal,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    replica: Handle,
    expiry: Expiry,
    body_budget: BodyBudget,
    metrics: Arc<Metrics>,
}

impl FromRequestParts<App> for WriteRequest {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let principal = Principal::from_request_parts(parts, app).await?;
        let Parts { method, uri, headers, .. } = parts;
        let (method, uri, headers) = (method.clone(), uri.clone(), headers.clone());
        let (replica, expiry) = (app.replica.clone(), app.expiry.clone());
        let (body_budget, metrics) = (app.body_budget.clone(), Arc::clone(&app.metrics));
        Ok(Self { principal, method, uri, headers, replica, expiry, body_budget, metrics })
    }
}

/// The committer's answer, and whether readers of this replica see it already.
pub(super) struct CommittedWrite {
    pub(super) answer: Answer,
    pub(super) visible: bool,
    /// The replica's history from before it was asked.
    pub(super) history: u64,
}

impl WriteRequest {
    /// Checks what all writes with a body have in common, and reads the query and the body.
    pub(super) async fn read_json(
        &self,
        body: Body,
        accepted: &[&str],
        bytes_max: usize,
    ) -> Result<(Ack, BufferedBody), Problem> {
        let ack = self.ack()?;
        headers::require_json(&self.headers, accepted).map_err(|problem| {
            // RFC 5789, section 2.2.
            let taken = HeaderValue::from_str(&accepted.join(", "));
            match taken {
                Ok(taken) if self.method == Method::PATCH => problem.with(ACCEPT_PATCH, taken),
                _ => problem,
            }
        })?;
        headers::require_uncoded(&self.headers)?;
        Ok((ack, self.body_budget.read(&self.headers, body, bytes_max).await?))
    }

    /// Reads the query: which replicas the answer waits for.
    pub(super) fn ack(&self) -> Result<Ack, Problem> {
        params::ack(self.uri.query()).map_err(Problem::invalid)
    }

    /// Refuses a body, where one could be taken for something that is said in the query.
    pub(super) fn without_body(&self, body: &Body) -> Result<(), Problem> {
        if body.is_end_stream() {
            return Ok(());
        }
        Err(Problem::invalid(vec![Violation::pointer("", "must be empty: used is in the query")]))
    }

    /// Reads the query of a release: which replicas the answer waits for, and how many units were used.
    pub(super) fn release(&self) -> Result<(Ack, u64), Problem> {
        params::release(self.uri.query()).map_err(Problem::invalid)
    }

    /// Returns a command on pools and holds, with this replica's own estimate of the journal's time.
    pub(super) fn of_capacity(&self, command: capacity::Command) -> Command {
        let own_clock = self.expiry.own_clock();
        Command::Capacity { command: Box::new(command), own_clock }
    }

    /// Returns the preconditions for what the request is about.
    pub(super) fn conditions(&self) -> Result<Conditions, Problem> {
        headers::conditions(&self.headers).map_err(|broken| Problem::invalid(vec![broken]))
    }

    /// As [`WriteRequest::conditions`], for what has no status in its tag.
    pub(super) fn conditions_by_version(&self) -> Result<Conditions, Problem> {
        let read = headers::conditions_by_version(&self.headers);
        read.map_err(|broken| Problem::invalid(vec![broken]))
    }

    /// Returns what identifies the request if it is sent again: what its path names, if it names something, its
    /// preconditions, and its body, as it came and as it is meant.
    pub(super) fn idempotency(
        &self,
        named: Option<(Subject, Uuid)>,
        only_if: &Conditions,
        raw: &[u8],
        meaning: impl FnOnce() -> Value,
    ) -> Result<Option<Idempotency>, Problem> {
        let key = headers::idempotency_key(&self.headers);
        let key = key.map_err(|broken| Problem::invalid(vec![broken]))?;
        let Some(key) = key else { return Ok(None) };
        let scope = |path| sum([self.principal.name(), self.method.as_str(), path, key]);
        let spelt = self.uri.path();
        let path = named.map_or_else(|| spelt.to_owned(), |(subject, id)| subject.path(id));
        Ok(Some(Idempotency {
            scope: scope(&path),
            spelt: (path != spelt).then(|| scope(spelt)),
            body: Sha256::digest(raw).into(),
            sums: Sums {
                conditions: Sha256::digest(only_if.to_bytes()).into(),
                meaning: Sha256::digest(meaning().to_string()).into(),
            },
        }))
    }

    /// Returns the replica that the write goes to.
    pub(super) fn replica(&self) -> &Handle {
        &self.replica
    }

    /// Puts a request on the committer's queue and waits for its answer.
    pub(super) async fn commit(
        &self,
        idempotency: Option<Idempotency>,
        commands: Vec<Command>,
    ) -> Result<CommittedWrite, Problem> {
        let request = Request {
            id: new_id(),
            principal: self.principal.name().to_owned(),
            idempotency,
            trace: self.principal.trace(),
            commands,
        };
        // The entry names this id; the log line has it beside the one that the client knows.
        tracing::debug!(entry = %request.id, principal = request.principal, "queueing a write");
        let history = self.replica.state().history;
        let reply = self.replica.write(request).await;
        let reply = reply.map_err(|_| Problem::overloaded(Overload::Writes))?;
        if let Reply::Applied(answer) | Reply::Committed(answer) = &reply {
            self.metrics.refused_not_yet(&answer.outcomes);
        }
        match reply {
            Reply::Applied(answer) => Ok(CommittedWrite { answer, visible: true, history }),
            Reply::Committed(answer) => Ok(CommittedWrite { answer, visible: false, history }),
            Reply::Unavailable => Err(Problem::unavailable()),
            Reply::Overloaded => Err(Problem::overloaded(Overload::Writes)),
            Reply::Unknown => Err(Problem::outcome_unknown()),
        }
    }
}

/// SHA-256 over several texts.
fn sum(parts: [&str; 4]) -> [u8; 32] {
    let mut sum = Sha256::new();
    for part in parts {
        // Each part follows its length, so that no two lists of parts give the same bytes.
        sum.update((part.len() as u64).to_be_bytes());
        sum.update(part);
    }
    sum.finalize().into()
}

/// Returns the id of a new ad, pool, reservation or request.
#[expect(clippy::disallowed_methods, reason = "the core takes ids as inputs")]
pub(crate) fn new_id() -> Uuid {
    Uuid::now_v7()
}
