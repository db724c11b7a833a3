//! The client that writes. A handler that changes something takes a [`Principal`]. Only this file makes one, and only
//! for clients that may write; so no such route can be added without authentication.

use axum::extract::FromRequestParts;
use http::request::Parts;
use placard_model::TraceContext;

use crate::app::App;
use crate::http::problem::Problem;

/// A client that may write, in the current request.
#[derive(Debug)]
pub(crate) struct Principal {
    name: String,
    trace: Option<TraceContext>,
}

impl Principal {
    /// The name of the token, or its fingerprint if it has none; empty where anyone may write.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the trace that the write belongs to, if it is traced.
    pub(crate) fn trace(&self) -> Option<TraceContext> {
        self.trace
    }
}

impl FromRequestParts<App> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let access = &app.config.access;
        if app.on_loopback {
            access.refuse_names(&parts.headers, &parts.uri)?;
        }
        let name = access.principal(&parts.headers)?;
        Ok(Self { name, trace: parts.extensions.get().copied() })
    }
}
