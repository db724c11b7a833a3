//! The place of a journal: a name that is the same for whatever journal is there, and tells nothing else.

use std::sync::{Arc, OnceLock};

use placard_model::entry::Chain;

/// A place. Its clones share its name, which is known once a connection was made: the schema is the server's to tell.
#[derive(Debug, Clone, Default)]
pub struct Place(Arc<OnceLock<String>>);

impl Place {
    /// The name, if it is known.
    pub fn name(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    /// Names it by the sum of what tells it from others. The first that is said stays.
    pub fn is_at(&self, parts: &str) {
        self.0.get_or_init(|| Chain::GENESIS.next(0, parts.as_bytes()).to_string());
    }
}
