//! What can go wrong: with one item ([`ItemError`]), with a path that is left out ([`Skipped`]), and with the input as a whole
//! ([`PrepareError`]).

use std::{fmt, io, path::PathBuf};

use serde::{Deserialize, Serialize};

/// Why one item has no answer. Plain text, so that it can come back from a worker process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{item}: {reason}")]
pub struct ItemError {
    /// Which item: a path or a URL.
    pub item: String,
    /// What happened, and where it can be told, what helps.
    pub reason: String,
}

/// A path that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Which one.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", crate::shown(&self.path), self.reason)
    }
}

/// Why the input could not be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// A file or folder cannot be used.
    #[error("failed to {action} {}", crate::shown(path))]
    File {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// A database could not be made.
    #[error("failed to make the database {}", crate::shown(path))]
    Database {
        /// Which one.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        cause: rusqlite::Error,
    },
    /// Nothing to work on.
    #[error("{what} has nothing to work on")]
    Empty {
        /// What was given.
        what: String,
    },
    /// Every path was left out.
    #[error("nothing is left to work on: all of it was skipped ({})", skipped.len())]
    AllSkipped {
        /// What was left out, and why.
        skipped: Vec<Skipped>,
    },
    /// Certificates of authorities cannot be used.
    #[error("failed to read the certificates in {}: {reason}", crate::shown(path))]
    Certificates {
        /// Where they should be.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The local server did not start.
    #[error("the local server did not start: {reason}")]
    Server {
        /// What it said or did.
        reason: String,
    },
    /// Options that are good by themselves and make no sense together.
    #[error("{reason}")]
    Usage {
        /// What is wrong, with the cure.
        reason: String,
    },
    /// A value makes no sense.
    #[error("{name} must be {rule}")]
    Value {
        /// The setting.
        name: &'static str,
        /// What it must be.
        rule: &'static str,
    },
}

impl PrepareError {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::File { action, path, cause }
    }
}
