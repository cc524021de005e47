//! Errors: of one item ([`ItemError`]), of a path that is left out ([`Skipped`]), and of the input as a whole
//! ([`PrepareError`]).

use std::{fmt, io, path::PathBuf};

use serde::{Deserialize, Serialize};

/// Why one item has no answer. Plain text, so that it can come back from a worker process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{item}: {reason}")]
pub struct ItemError {
    /// The item: a path or a URL.
    pub item: String,
    /// What happened, and the remedy where one is known.
    pub reason: String,
}

/// A path that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The path.
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
        /// The action that failed.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        #[source]
        cause: io::Error,
    },
    /// A database could not be made.
    #[error("failed to make the database {}", crate::shown(path))]
    Database {
        /// The database.
        path: PathBuf,
        /// SQLite's error.
        #[source]
        cause: rusqlite::Error,
    },
    /// There is no input.
    #[error("{what} has nothing to work on")]
    Empty {
        /// The argument that was given.
        what: String,
    },
    /// Every path was left out.
    #[error("nothing is left to work on: all of it was skipped ({})", skipped.len())]
    AllSkipped {
        /// The paths that were left out, and why.
        skipped: Vec<Skipped>,
    },
    /// Certificates of authorities cannot be used.
    #[error("failed to read the certificates in {}: {reason}", crate::shown(path))]
    Certificates {
        /// The file that should hold them.
        path: PathBuf,
        /// Why they cannot be used.
        reason: String,
    },
    /// The local server did not start.
    #[error("the local server did not start: {reason}")]
    Server {
        /// The output of the server, or the manner of its end.
        reason: String,
    },
    /// Options that are valid by themselves and not together.
    #[error("{reason}")]
    Usage {
        /// The mistake, with the remedy.
        reason: String,
    },
    /// A value is invalid.
    #[error("{name} must be {rule}")]
    Value {
        /// The setting.
        name: &'static str,
        /// The rule for its value.
        rule: &'static str,
    },
}

impl PrepareError {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::File { action, path, cause }
    }
}
