//! The argument and the result of one task of this workload.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::address;
use crate::paths;

/// One URL to get, and its limits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Item {
    /// The URL as it was given, with its password if it has one.
    pub url: String,
    pub(super) limits: Limits,
    /// Whether it is on the lab's own server, which is asked without a proxy.
    pub(super) direct: bool,
    #[serde(with = "paths::maybe")]
    pub(super) roots: Option<PathBuf>,
}

impl Item {
    /// The URL without its password.
    #[must_use]
    pub fn shown(&self) -> String {
        address::redacted(&self.url)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Limits {
    pub(super) timeout_ms: u64,
    pub(super) max_redirects: u32,
    pub(super) max_body: u64,
}

/// The answer to a URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Length of the body.
    pub bytes: u64,
    /// SHA-256 of the body in hexadecimal.
    pub sha256: String,
}
