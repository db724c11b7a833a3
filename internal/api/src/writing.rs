//! What every write has beside its body: who asks, for what, and in which header fields. Read in steps, so that what is
//! wrong is told in the same order whichever write it is.

use axum::body::Body;
use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, Method, Uri};
use placard_model::command::{Answer, Command, Idempotency, IfMatch, Request};
use placard_replica::Reply;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::access::Principal;
use crate::body::Whole;
use crate::params::Ack;
use crate::problem::Problem;
use crate::{App, headers, params};

/// A write whose body was not read yet, of somebody who may write.
#[derive(Debug)]
pub(crate) struct Writing {
    principal: Principal,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl FromRequestParts<App> for Writing {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let principal = Principal::from_request_parts(parts, app).await?;
        let Parts { method, uri, headers, .. } = parts;
        let (method, uri, headers) = (method.clone(), uri.clone(), headers.clone());
        Ok(Self { principal, method, uri, headers })
    }
}

/// What the committer says, and whether readers of this replica see it already.
pub(crate) struct Decided {
    pub(crate) answer: Answer,
    pub(crate) visible: bool,
    /// The replica's history from before it was asked.
    pub(crate) history: u64,
}

impl Writing {
    /// Checks what all writes with a body have in common, and reads the body.
    pub(crate) async fn read_json(
        &self,
        app: &App,
        body: Body,
        accepted: &[&str],
        bytes_max: usize,
    ) -> Result<Whole, Problem> {
        self.ack()?;
        headers::require_json(&self.headers, accepted)?;
        app.room.read(&self.headers, body, bytes_max).await
    }

    /// Whom the answer waits for.
    pub(crate) fn ack(&self) -> Result<Ack, Problem> {
        params::ack(self.uri.query()).map_err(Problem::invalid)
    }

    /// The version that the ad must have, if the client names one.
    pub(crate) fn precondition(&self) -> Result<Option<IfMatch>, Problem> {
        headers::if_match(&self.headers).map_err(|broken| Problem::invalid(vec![broken]))
    }

    /// By what the request is known if it is sent again.
    pub(crate) fn idempotency(&self, raw: &[u8]) -> Result<Option<Idempotency>, Problem> {
        let key = headers::idempotency_key(&self.headers);
        let key = key.map_err(|broken| Problem::invalid(vec![broken]))?;
        let (principal, method, path) = (self.principal.name(), &self.method, self.uri.path());
        Ok(key.map(|key| idempotency([principal, method.as_str(), path, key], raw)))
    }

    /// Puts a request on the committer's queue and waits for its answer.
    pub(crate) async fn decided(
        &self,
        app: &App,
        idempotency: Option<Idempotency>,
        commands: Vec<Command>,
    ) -> Result<Decided, Problem> {
        let request = Request {
            id: Uuid::now_v7(),
            principal: self.principal.name().to_owned(),
            idempotency,
            trace: self.principal.trace(),
            commands,
        };
        // The entry names this id; it stands beside the one that the client knows.
        tracing::debug!(entry = %request.id, principal = request.principal, "queueing a write");
        let history = app.replica.state().history;
        match app.replica.write(request).await.map_err(|_| Problem::overloaded())? {
            Reply::Applied(answer) => Ok(Decided { answer, visible: true, history }),
            Reply::Committed(answer) => Ok(Decided { answer, visible: false, history }),
            Reply::Unavailable => Err(Problem::unavailable()),
            Reply::Overloaded => Err(Problem::overloaded()),
            Reply::Unknown => Err(Problem::outcome_unknown()),
        }
    }
}

fn idempotency(parts: [&str; 4], body: &[u8]) -> Idempotency {
    let mut scope = Sha256::new();
    for part in parts {
        // Each part behind its length, so that no two lists of parts run together to the same bytes.
        scope.update((part.len() as u64).to_be_bytes());
        scope.update(part);
    }
    Idempotency { scope: scope.finalize().into(), body: Sha256::digest(body).into() }
}
