//! Who writes. A handler that changes something takes a [`Principal`], which only this file makes, and only for those who
//! may; so no such route can be added without asking.

use axum::extract::FromRequestParts;
use http::request::Parts;
use placard_model::TraceContext;

use crate::app::App;
use crate::problem::Problem;

/// Somebody who may write, in the request at hand.
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

    /// The trace that follows what they write, if one does.
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
