//! The error of a command that cannot work until an operator changes its options or a file that they name. The program ends
//! with another code then, so that a service manager does not keep starting it.

use std::error::Error;
use std::fmt;

use placard_node::{StartError, VerifyError};

/// What is wrong with the configuration. It reads as the error inside.
#[derive(Debug)]
pub(crate) struct Misconfigured(anyhow::Error);

impl Misconfigured {
    /// Marks an error.
    pub(crate) fn new(error: anyhow::Error) -> Self {
        Self(error)
    }

    /// Returns true if an error is about the configuration: it is marked, or a node says so.
    pub(crate) fn is(error: &anyhow::Error) -> bool {
        let start = error.downcast_ref::<StartError>().or_else(|| {
            error.downcast_ref::<VerifyError>().and_then(|error| match error {
                VerifyError::Open(error) => Some(error),
                _ => None,
            })
        });
        error.is::<Self>() || start.is_some_and(StartError::is_of_the_configuration)
    }
}

impl fmt::Display for Misconfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Misconfigured {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}
