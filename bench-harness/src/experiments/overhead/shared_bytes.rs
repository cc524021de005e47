//! The place for `SharedBytes`: 64 MiB by reference against an argument of 64 bytes.
//!
//! executor-core has no such type yet. When it has, [`measure`] builds a process pool of one worker and alternates, round by
//! round,
//!
//! 1. the round trip of a `Vec<u8>` of 64 bytes,
//! 2. that of a *new* `SharedBytes` of 64 MiB whose task reads one byte: [`FIRST`] is its time less that of (1),
//! 3. the same value again: [`AGAIN`] is its time divided by that of (1).
//!
//! The claims already stand in [`targets`](super::targets); until then their rows say why they are empty.

use super::measurement::{Probe, Reading};

pub(super) const FIRST: &str = "64 MiB, first delivery, beyond 64 bytes";
pub(super) const AGAIN: &str = "64 MiB, already there / 64 bytes";

pub(super) fn measure(_: &Probe) -> Result<Vec<Reading>, String> {
    Err("this executor-core has no SharedBytes yet".to_owned())
}
