//! Requests as clients send them, for tests that talk to a committer directly.

use placard_model::command::{Command, Conditions, Idempotency, Request, Sums};
use placard_model::{Delivery, Said, Spec, Targeting, Timestamp};
use uuid::Uuid;

/// An open ad with this title, served from 2020 to 2099.
pub fn spec(title: &str) -> Spec {
    let stamp = |text| Timestamp::parse(text).expect("a constant");
    Spec {
        title: title.to_owned(),
        content: "content".to_owned(),
        start_at: stamp("2020-01-01T00:00:00Z"),
        end_at: stamp("2099-01-01T00:00:00Z"),
        targeting: Targeting::default(),
        delivery: Delivery::default(),
    }
}

/// A request for these commands, without an idempotency key.
pub fn request(id: u128, commands: Vec<Command>) -> Request {
    let id = Uuid::from_u128(id);
    Request { id, principal: String::new(), idempotency: None, trace: None, commands }
}

/// The creation of ad `id`.
pub fn create(id: u128, title: &str) -> Command {
    Command::Create { id: Uuid::from_u128(id), spec: spec(title) }
}

/// The replacement of ad `id`.
pub fn replace(id: u128, title: &str) -> Command {
    let (only_if, said) = (Conditions::default(), Said::default());
    Command::Replace { id: Uuid::from_u128(id), only_if, said, spec: spec(title) }
}

/// The deletion of ad `id`.
pub fn delete(id: u128) -> Command {
    Command::Delete { id: Uuid::from_u128(id), only_if: Conditions::default() }
}

/// The request under an idempotency key, for a body.
#[must_use]
pub fn keyed(request: Request, key: u8, body: u8) -> Request {
    let sums = Sums { conditions: [0; 32], meaning: [body; 32] };
    let key = Idempotency { scope: [key; 32], spelt: None, body: [body; 32], sums };
    Request { idempotency: Some(key), ..request }
}
