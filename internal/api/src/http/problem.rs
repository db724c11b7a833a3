//! Everything that can go wrong for a client, as one envelope: RFC 9457 `application/problem+json`.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use placard_model::capacity::Refusal;
use placard_model::command::{Conditions, Outcome};
use placard_model::limits::{CAPACITY_MAX, TOLD_BYTES_MAX, VIOLATIONS_MAX};
use placard_model::{Place, Undecodable, Version, Violation, limits};
use serde::Serialize;
use serde_json::json;

use crate::http::render::{self, with_replayed, with_version};
use crate::http::subject::Subject;
use crate::openapi::schema::{object, shown_as, text, version, whole};
use crate::openapi::shape::shape;

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Seconds after which a client may try again what was not possible now.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// An error answer.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    /// The last part of the problem's `type`, which is what a program may compare.
    kind: &'static str,
    detail: String,
    errors: Vec<Violation>,
    version: Option<Version>,
    /// How many units of a pool can be had, if that is why.
    available: Option<u64>,
    /// Whether it was given before, to the same idempotency key.
    replayed: bool,
    field: Option<Box<(HeaderName, HeaderValue)>>,
}

/// The envelope.
#[derive(Debug, Serialize)]
pub(crate) struct Details {
    r#type: String,
    status: u16,
    title: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Error>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Version>,
    #[serde(skip_serializing_if = "Option::is_none")]
    available: Option<u64>,
}

shape! {
    /// What went wrong (RFC 9457).
    Details as "Problem" = |shapes| object(&["errors", "version", "available"], vec![
        ("type", json!({
            "type": "string", "format": "uri-reference", "pattern": "^/problems/[a-z-]+$", "maxLength": 64,
            "description": "What a program may compare.", "examples": ["/problems/invalid-request"],
        })),
        ("title", text(1, 64, "The status in words.", "Bad Request")),
        ("status", whole(400, 599, "The HTTP status.", 400)),
        ("detail", text(1, 10_000, "What is wrong, for people.", "age: must be a whole number from 1 to 100, or unknown")),
        ("errors", json!({
            "type": "array", "minItems": 1, "maxItems": VIOLATIONS_MAX, "items": shapes.reference::<Error>(),
            "description": "Every rule that the request breaks, or the first of them.",
            "examples": [[shapes.example::<Error>()]],
        })),
        ("version", version("The version that the answer depends on, if it does.", 42)),
        ("available", whole(0, CAPACITY_MAX, "Only of a pool that has too few: how many units there are to be had.", 2)),
    ])
}

#[derive(Debug, Serialize)]
struct Error {
    #[serde(flatten)]
    place: PlaceBody,
    detail: String,
}

/// Longest name that a broken rule tells: one that was cut ends with an ellipsis.
const NAME_CHARS_MAX: usize = TOLD_BYTES_MAX + 1;
/// Longest pointer: a name in which every character is escaped, after its slash.
const POINTER_CHARS_MAX: usize = 1 + 2 * TOLD_BYTES_MAX + 1;

shape! {
    /// A rule that is broken, and where: one of pointer, parameter and header.
    Error as "ProblemError" = |_| shown_as(
        object(&["pointer", "parameter", "header"], vec![
            ("pointer", text(0, POINTER_CHARS_MAX, "A JSON pointer (RFC 6901) into the body; empty for all of it.", "/title")),
            ("parameter", text(0, NAME_CHARS_MAX, "A parameter of the query or the path.", "age")),
            ("header", text(1, NAME_CHARS_MAX, "A header field.", "idempotency-key")),
            ("detail", text(1, 10_000, "The rule.", "must be a whole number from 1 to 100, or unknown")),
        ]),
        json!({"parameter": "age", "detail": "must be a whole number from 1 to 100, or unknown"}),
    )
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum PlaceBody {
    Pointer(String),
    Parameter(String),
    Header(String),
}

/// What there is too much of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Overload {
    /// Writes that wait to be committed.
    Writes,
    /// Bodies that are being received.
    Bodies,
    /// Connections: the request came on one beyond the maximum.
    Connections,
    /// Clients that follow the log.
    Feed,
    /// Looks through many pools.
    Looks,
    /// Time that the process was paused for, while the request waited.
    Pause,
}

impl Problem {
    /// Returns the problem of a command about a thing that was not accepted, or the outcome of one that was.
    pub(crate) fn unless_accepted(
        outcome: Outcome,
        decided_at: Version,
        subject: Subject,
        only_if: &Conditions,
    ) -> Result<Outcome, Self> {
        let problem = match outcome {
            Outcome::NotFound { .. } => Self::not_found(subject),
            Outcome::Exists { version, .. } => {
                return Err(Self::exists(subject).at(decided_at.max(version)));
            }
            Outcome::VersionMismatch { version, .. } => {
                let problem = Self::version_mismatch(subject, only_if, version);
                return Err(problem.at(decided_at.max(version)));
            }
            Outcome::Invalid { violations, .. } => Self::invalid(violations),
            Outcome::KeyReused => Self::key_reused(),
            Outcome::Exhausted { available, .. } => Self::capacity_exhausted(available),
            Outcome::Refused { refusal, .. } => Self::refused(refusal, subject),
            // A replica's report is no request of a client.
            Outcome::Failed | Outcome::Reported { .. } => return Err(Self::failed()),
            accepted => return Ok(accepted),
        };
        Err(problem.at(decided_at))
    }

    fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        let (detail, errors) = (detail.into(), Vec::new());
        let (version, available, field) = (None, None, None);
        Self { status, kind, detail, errors, version, available, replayed: false, field }
    }

    pub(crate) fn invalid(mut errors: Vec<Violation>) -> Self {
        let detail = match errors.as_slice() {
            [one] => one.to_string(),
            many => format!("{} rules are broken; see errors", many.len()),
        };
        errors.truncate(limits::VIOLATIONS_MAX);
        Self { errors, ..Self::new(StatusCode::BAD_REQUEST, "invalid-request", detail) }
    }

    pub(crate) fn route_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "route-not-found", "there is nothing at this path")
    }

    pub(crate) fn method_not_allowed() -> Self {
        let detail = "the path does not take this method; the Allow header lists those it takes";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
    }

    pub(crate) fn unauthorized(detail: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    pub(crate) fn foreign_page() -> Self {
        let detail = "pages of other origins may not do this where nobody needs a token";
        Self::new(StatusCode::FORBIDDEN, "foreign-page", detail)
    }

    pub(crate) fn not_found(subject: Subject) -> Self {
        let kind = match subject {
            Subject::Ad => "ad-not-found",
            Subject::Pool => "pool-not-found",
            Subject::Reservation => "reservation-not-found",
        };
        let detail = format!("there is no {} with this id", subject.noun());
        Self::new(StatusCode::NOT_FOUND, kind, detail)
    }

    fn exists(subject: Subject) -> Self {
        let kind = match subject {
            Subject::Ad => "ad-exists",
            Subject::Pool => "pool-exists",
            Subject::Reservation => "reservation-exists",
        };
        let detail = format!("there is {} with this id already", subject.one());
        Self::new(StatusCode::CONFLICT, kind, detail)
    }

    /// These preconditions do not hold for a thing at this version; 0 if it does not exist.
    pub(crate) fn version_mismatch(
        subject: Subject,
        only_if: &Conditions,
        version: Version,
    ) -> Self {
        let noun = subject.noun();
        // If-Match comes first (RFC 9110, section 13.2.2).
        let detail = match &only_if.if_match {
            Some(_) if version == 0 => {
                format!("there is no {noun} with this id, and If-Match asks for one")
            }
            Some(tags) if !tags.name(version) => {
                format!("the {noun} is at another version than If-Match names")
            }
            _ => format!("the {noun} is at a version that If-None-Match names"),
        };
        Self::new(StatusCode::PRECONDITION_FAILED, "version-mismatch", detail)
    }

    fn capacity_exhausted(available: u64) -> Self {
        let detail = format!("the pool has fewer units than that available: {available}");
        let problem = Self::new(StatusCode::CONFLICT, "capacity-exhausted", detail);
        Self { available: Some(available), ..problem }
    }

    fn refused(refusal: Refusal, subject: Subject) -> Self {
        let (kind, detail) = match refusal {
            Refusal::Paused => ("pool-paused", "the pool is paused: nothing is given from it"),
            Refusal::Ended => ("pool-ended", "the pool's window is over"),
            Refusal::Scheduled => ("pool-scheduled", "the pool's window has not begun"),
            Refusal::NotPaused => ("pool-not-paused", "only a paused pool can be deleted"),
            Refusal::Held => ("pool-held", "units of the pool are reserved or allotted"),
            Refusal::Named => ("pool-named", "ads name the pool"),
            Refusal::Closed => ("reservation-closed", "the reservation is closed"),
            Refusal::Lapsed => ("reservation-lapsed", "the reservation has lapsed"),
            Refusal::NotYet => return Self::not_yet(),
            // It is a replica's, which no client can name rightly.
            Refusal::Foreign => return Self::not_found(subject),
            // Only replicas ask for what is refused with one of these.
            Refusal::NotLapsed | Refusal::Registered => return Self::failed(),
        };
        Self::new(StatusCode::CONFLICT, kind, detail)
    }

    fn not_yet() -> Self {
        let detail =
            "a replica of the cluster is of a build that could not read it; nothing was done";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not-yet", detail)
    }

    pub(crate) fn body_too_large(bytes_max: usize) -> Self {
        let detail = format!("the body must not exceed {bytes_max} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail)
    }

    pub(crate) fn body_too_slow() -> Self {
        let detail = "the body did not arrive in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", detail)
    }

    pub(crate) fn body_broken() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "body-broken", "the body did not arrive whole")
    }

    pub(crate) fn media_type(accepted: &str) -> Self {
        let detail = format!("the Content-Type must be {accepted}");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail)
    }

    pub(crate) fn charset() -> Self {
        let detail = "JSON must be in UTF-8";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail)
    }

    pub(crate) fn content_coding() -> Self {
        let detail = "the body must not have a Content-Encoding";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail)
    }

    pub(crate) fn head_too_large(bytes_max: usize) -> Self {
        let detail =
            format!("the request's first line and its fields must not exceed {bytes_max} bytes");
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", detail)
    }

    pub(crate) fn invalid_host() -> Self {
        let detail =
            "there must be one Host field, with a host's name or address and at most a port";
        Self::new(StatusCode::BAD_REQUEST, "invalid-host", detail)
    }

    pub(crate) fn invalid_target() -> Self {
        let detail = "the request's target must be a path, or a URL of http or https";
        Self::new(StatusCode::BAD_REQUEST, "invalid-target", detail)
    }

    pub(crate) fn ambiguous_length() -> Self {
        let detail = "there must not be a Content-Length beside a Transfer-Encoding";
        Self::new(StatusCode::BAD_REQUEST, "ambiguous-length", detail)
    }

    pub(crate) fn not_implemented(detail: &'static str) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "not-implemented", detail)
    }

    pub(crate) fn key_reused() -> Self {
        let detail = "this Idempotency-Key was used before, for another request";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", detail)
    }

    pub(crate) fn failed() -> Self {
        let detail = "the write was refused by the journal; the server's log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "write-failed", detail)
    }

    pub(crate) fn overloaded(by: Overload) -> Self {
        let detail = match by {
            Overload::Writes => "too many writes are queued; nothing was done",
            Overload::Bodies => "too many request bodies are being received; nothing was done",
            Overload::Connections => {
                "there are as many connections as there may be; nothing was done"
            }
            Overload::Feed => "too many clients follow the log on this replica",
            Overload::Looks => "too many lists of pools are being made; nothing was done",
            Overload::Pause => {
                "the server was paused, and the client may have given the request up; nothing was done"
            }
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
    }

    pub(crate) fn unavailable() -> Self {
        let detail = "the journal took no writes in time; nothing was written";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "journal-unavailable", detail)
    }

    pub(crate) fn log_unavailable() -> Self {
        let detail = "the journal's log could not be read in time";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "journal-unavailable", detail)
    }

    /// The log begins behind what a client has; `None` if it has no published entry at all.
    pub(crate) fn log_trimmed(first: Option<Version>) -> Self {
        let detail = match first {
            Some(first) => format!(
                "the log begins with entry {first}: what came before is not kept any longer, and has to be read elsewhere"
            ),
            None => {
                "the log's entries are not kept any longer: what they did has to be read elsewhere"
                    .to_owned()
            }
        };
        Self::new(StatusCode::GONE, "log-trimmed", detail)
    }

    pub(crate) fn not_in_history() -> Self {
        let detail = "the journal's history has no such entry: it was restored to an older state, or is another journal";
        Self::new(StatusCode::CONFLICT, "not-in-history", detail)
    }

    pub(crate) fn newer_format(entry: Version, level: u8) -> Self {
        let detail = format!(
            "entry {entry} has format level {level}, which this replica's build cannot read: ask a newer one"
        );
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "newer-format", detail)
    }

    pub(crate) fn unreadable(entry: Version, error: &Undecodable) -> Self {
        let detail = format!("entry {entry} cannot be read: {error}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "entry-unreadable", detail)
    }

    pub(crate) fn outcome_unknown() -> Self {
        let detail =
            "the write may or may not have happened; repeat it with the same Idempotency-Key";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "outcome-unknown", detail)
    }

    pub(crate) fn not_ready() -> Self {
        let detail = "this replica has no state to answer from yet";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", detail)
    }

    pub(crate) fn board_too_slow() -> Self {
        let detail = "the queue of tasks did not answer in time";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "board-too-slow", detail)
    }

    pub(crate) fn misdirected() -> Self {
        let detail = "without a token, the Host must be an IP address or localhost";
        Self::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", detail)
    }

    pub(crate) fn stale() -> Self {
        let detail =
            "what this replica has may be too old to be shown: it has to catch up with the journal";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stale", detail)
    }

    pub(crate) fn version_not_reached() -> Self {
        let detail = "this replica has not published the asked-for version in time";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "version-not-reached", detail)
    }

    /// Says that what is wrong with a field is wrong with a parameter of this name: the committer knows bodies only.
    pub(crate) fn in_query(self, name: &str) -> Self {
        let pointer = Place::Pointer(format!("/{name}"));
        if self.errors.iter().all(|error| error.place != pointer) {
            return self;
        }
        let errors = self.errors.into_iter().map(|error| match error.place == pointer {
            true => Violation::parameter(name, error.detail),
            false => error,
        });
        Self { version: self.version, replayed: self.replayed, ..Self::invalid(errors.collect()) }
    }

    /// Says which version the answer depends on.
    pub(crate) fn at(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }

    /// Says whether it was given before, to the same idempotency key.
    pub(crate) fn replayed(mut self, replayed: bool) -> Self {
        self.replayed = replayed;
        self
    }

    /// Says this in a header field too.
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.field = Some(Box::new((name, value)));
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The envelope, as it also stands inside a batch's answer.
    pub(crate) fn into_details(self) -> Details {
        let error = |violation: Violation| Error {
            place: match violation.place {
                Place::Pointer(pointer) => PlaceBody::Pointer(pointer),
                Place::Parameter(name) => PlaceBody::Parameter(name),
                Place::Header(name) => PlaceBody::Header(name),
            },
            detail: violation.detail,
        };
        Details {
            r#type: format!("/problems/{}", self.kind),
            status: self.status.as_u16(),
            title: self.status.canonical_reason().unwrap_or_default(),
            detail: self.detail,
            errors: self.errors.into_iter().map(error).collect(),
            version: self.version,
            available: self.available,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let (status, version, replayed) = (self.status, self.version, self.replayed);
        let field = self.field.take();
        let mut response = render::serialised(status, &self.into_details());
        response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
        if let Some((name, value)) = field.map(|field| *field) {
            response.headers_mut().insert(name, value);
        }
        if replayed {
            with_replayed(&mut response);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(version) = version {
            with_version(&mut response, version);
        }
        response
    }
}
