//! What a process of its own is asked to do for a claim.

use serde::{Deserialize, Serialize};

use crate::executors::Kind;

/// As it is sent to that process.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClaimProbe {
    /// The scenario of the claim with this number.
    Scenario(u32),
    /// The 99th percentile of the time that `submit` takes with so many workers, in nanoseconds.
    Submit(Kind, u32),
    /// A program that forgets its pool.
    Forget(Forgets),
}

/// How a program that does not shut its pool down ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Forgets {
    /// By itself.
    AndEnds,
    /// It is killed.
    AndIsKilled,
}
