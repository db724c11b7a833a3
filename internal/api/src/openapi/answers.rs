//! How a handler declares what it answers: every status, its body and its headers. For the document only; tests compare it
//! with real answers.

use std::collections::BTreeMap;

use placard_model::limits::REQUEST_ID_BYTES_MAX;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Response};

use super::schema::{code, reference, version, whole};
use super::shape::{Schemas, Shapes};
use crate::http::problem::Details;
use crate::http::render::STALE_MAX_MS;

/// Declares what a handler answers, as `Answers` beside it.
macro_rules! answers {
    ($answers:expr) => {
        /// What the route answers.
        #[derive(Debug)]
        pub(crate) struct Answers;

        impl ::utoipa::IntoResponses for Answers {
            fn responses() -> $crate::openapi::answers::Responses {
                $crate::openapi::answers::responses($answers)
            }
        }

        impl Answers {
            /// Adds the schemas of the answers' bodies.
            pub(crate) fn schemas(schemas: &mut $crate::openapi::shape::Schemas) {
                $crate::openapi::answers::schemas($answers, schemas);
            }
        }
    };
}

pub(crate) use answers;

/// Answers by their status.
pub(crate) type Responses = BTreeMap<String, RefOr<Response>>;

/// Returns answers as utoipa has them.
pub(crate) fn responses(answers: impl IntoIterator<Item = Answer>) -> Responses {
    answers.into_iter().map(Answer::finished).collect()
}

/// Adds the schemas of answers' bodies.
pub(crate) fn schemas(answers: impl IntoIterator<Item = Answer>, schemas: &mut Schemas) {
    let mut shapes = Shapes::default();
    for answer in answers {
        (answer.refer)(&mut shapes);
    }
    schemas.extend(shapes.into_schemas());
}

/// A header field that answers may have.
pub(crate) type Header = (&'static str, fn() -> Value);

/// The version that answered.
pub(crate) const VERSION: Header = ("Placard-Version", || {
    version("The version that the answer depends on: it holds all that is in it.", 42)
});
/// How old the answer may be.
pub(crate) const STALE: Header = ("Placard-Stale", || {
    let text = "Only if the answer may be older than the replica's lease: how old at most, in milliseconds. The largest \
                value if that is not known, because the replica has not had the journal's newest version since its start.";
    whole(0, STALE_MAX_MS, text, 2_500)
});
/// Whose clock it was judged by.
pub(crate) const CLOCK: Header = ("Placard-Clock", || {
    code(
        &["machine"],
        "Only if windows were judged by the replica's own clock, because the journal has not told its time since the \
         replica was started.",
        "machine",
    )
});
/// The ad's tag.
pub(crate) const ETAG: Header = ("ETag", || {
    let text = "The ad's version in quotes, for If-Match; with its status, once that is not the one at its creation.";
    json!({
        "type": "string", "pattern": "^\"[0-9]{1,20}(-(scheduled|active|paused|ended))?\"$", "minLength": 3, "maxLength": 32,
        "description": text, "examples": ["\"42\""],
    })
});
/// The tag of a pool or a reservation.
pub(crate) const VERSION_ETAG: Header = ("ETag", || {
    json!({
        "type": "string", "pattern": "^\"[0-9]{1,20}\"$", "minLength": 3, "maxLength": 32,
        "description": "Its version in quotes, for If-Match.", "examples": ["\"42\""],
    })
});
/// The path of what was created.
pub(crate) const LOCATION: Header = ("Location", || {
    json!({
        "type": "string", "format": "uri-reference", "maxLength": 64, "description": "Where it is: its path.",
        "examples": ["/api/v1/ad/6f9619ff-8b86-4d01-b42d-00c04fc964ff"],
    })
});
/// That it was given before.
pub(crate) const REPLAYED: Header = ("Idempotency-Replayed", || {
    let text = "Only if the key was used before, and this is the answer of then. What it says may have changed since.";
    json!({"type": "string", "enum": ["true"], "description": text, "examples": ["true"]})
});
/// The content codings that are taken.
pub(crate) const ACCEPT_ENCODING: Header = ("Accept-Encoding", || {
    let text = "Only if the body has a Content-Encoding: that it must not have one.";
    json!({"type": "string", "enum": ["identity"], "description": text, "examples": ["identity"]})
});
/// The types of patches that are taken.
pub(crate) const ACCEPT_PATCH: Header = ("Accept-Patch", || {
    let text = "Only to a patch of another type: the types that are taken.";
    json!({
        "type": "string", "maxLength": 255, "description": text,
        "examples": ["application/merge-patch+json, application/json"],
    })
});
/// When to try again.
pub(crate) const RETRY_AFTER: Header =
    ("Retry-After", || whole(0, 3_600, "When to try again, in seconds.", 1));
/// How to say who asks.
pub(crate) const AUTHENTICATE: Header = (
    "WWW-Authenticate",
    || json!({"type": "string", "maxLength": 255, "description": "How to say who asks.", "examples": ["Bearer"]}),
);

/// What every answer has.
const NAMED: Header = ("X-Request-Id", || {
    let text = "The request's own, if that is visible ASCII and not too long, else a UUID: the log names it too.";
    json!({
        "type": "string", "minLength": 1, "maxLength": REQUEST_ID_BYTES_MAX, "pattern": "^[!-~]+$",
        "description": text, "examples": ["6f9619ff-8b86-4d01-b42d-00c04fc964ff"],
    })
});

/// One status, and what comes with it.
#[derive(Clone)]
pub(crate) struct Answer {
    status: u16,
    media: &'static str,
    schema: Value,
    /// Its body in another form, if the client asks for that: the type, and the schema.
    other: Option<(&'static str, Value)>,
    /// Adds the schemas that it refers to.
    refer: fn(&mut Shapes),
    description: String,
    headers: Vec<Header>,
}

impl Answer {
    /// An answer with a body of a type.
    pub(crate) fn json<T: ToSchema>(status: u16, description: impl Into<String>) -> Self {
        let refer = |shapes: &mut Shapes| drop(shapes.reference::<T>());
        let (media, schema) = ("application/json", reference(&T::name()));
        Self { media, schema, refer, ..Self::empty(status, description) }
    }

    /// An answer with a value of a type in each line.
    pub(crate) fn lines<T: ToSchema>(description: impl Into<String>) -> Self {
        Self { media: "application/x-ndjson", ..Self::json::<T>(200, description) }
    }

    /// An answer that shares its schema with no other.
    pub(crate) fn page(media: &'static str, schema: Value, description: &str) -> Self {
        Self { media, schema, ..Self::empty(200, description) }
    }

    /// An answer without a body.
    pub(crate) fn empty(status: u16, description: impl Into<String>) -> Self {
        let (description, headers) = (description.into(), Vec::new());
        let (media, schema, other) = ("", Value::Null, None);
        Self { status, media, schema, other, refer: |_| (), description, headers }
    }

    /// An answer that says what is wrong.
    pub(crate) fn problem(status: u16, description: impl Into<String>) -> Self {
        Self { media: "application/problem+json", ..Self::json::<Details>(status, description) }
    }

    /// Adds header fields.
    pub(crate) fn with(mut self, headers: &[Header]) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Says in which other form it is given.
    pub(crate) fn or(self, media: &'static str, schema: Value) -> Self {
        Self { other: Some((media, schema)), ..self }
    }

    fn finished(self) -> (String, RefOr<Response>) {
        let header = |(name, schema): &Header| {
            let mut schema = schema();
            let description = schema["description"].take();
            schema.as_object_mut().expect("a schema is an object").remove("description");
            ((*name).to_owned(), json!({"description": description, "schema": schema}))
        };
        let headers: Map<_, _> = self.headers.iter().chain([&NAMED]).map(header).collect();
        let mut response = json!({"description": self.description, "headers": headers});
        if !self.media.is_empty() {
            response["content"] = json!({self.media: {"schema": self.schema}});
        }
        if let Some((media, schema)) = self.other {
            response["content"][media] = json!({"schema": schema});
        }
        let response =
            serde_json::from_value(response).expect("what is written here is a response");
        (self.status.to_string(), RefOr::T(response))
    }
}

/// The request is refused for what it says.
pub(crate) fn invalid() -> Answer {
    Answer::problem(400, "The request breaks rules; errors names each.").with(&[VERSION])
}

/// The request says not, or not rightly, who asks.
pub(crate) fn unauthorised() -> Answer {
    Answer::problem(401, "The server wants a bearer token that it knows.").with(&[AUTHENTICATE])
}

/// The request is for a name that may not be this server's.
pub(crate) fn renamed() -> Answer {
    Answer::problem(
        421,
        "Anyone on the server's machine may write, and a browser asks for a page at a name other than localhost.",
    )
}
