//! Parts that all workloads share: prepared input, skipped paths, and the digest of the answers.

use std::fmt;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::error::{ItemError, Skipped};

/// Input that is ready for tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared<I> {
    /// One argument per task.
    pub items: Vec<I>,
    /// The paths that were left out, and why.
    pub skipped: Vec<Skipped>,
    /// The input in words.
    pub description: String,
    /// Fingerprint: equal for equal input.
    pub fingerprint: String,
}

impl<I> Prepared<I> {
    /// Input whose description is also its fingerprint.
    #[must_use]
    pub fn described(items: Vec<I>, description: String) -> Self {
        let fingerprint = digest_of(&[&description]);
        Self { items, skipped: Vec::new(), description, fingerprint }
    }
}

/// The output of a task of any workload: an answer, or the reason why its item has none.
pub trait Outcome {
    /// Why there is no answer. Such an outcome counts as a failure everywhere, however fast it was.
    fn error(&self) -> Option<&ItemError> {
        None
    }
}

impl<T> Outcome for Result<T, ItemError> {
    fn error(&self) -> Option<&ItemError> {
        self.as_ref().err()
    }
}

impl Outcome for u64 {}

/// Digest of answers in the order of their items: where it is not equal on all executors, one of them is wrong.
#[derive(Debug, Clone, Default)]
pub struct Digest(Sha256);

impl Digest {
    /// The digest of no answers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next answer.
    pub fn add<A: Serialize>(&mut self, answer: &A) {
        // An answer came out of a task by serde, so it can be written; a failure would show as a digest of its own.
        let bytes = serde_json::to_vec(answer).unwrap_or_else(|error| error.to_string().into_bytes());
        self.add_bytes(&bytes);
    }

    /// Adds the next answer as bytes.
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        // The length is part of the digest, so that the border between two answers counts.
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// SHA-256 in hexadecimal.
    #[must_use]
    pub fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

/// The digest of all of `answers`.
pub fn digest_of<'a, A: Serialize + 'a>(answers: impl IntoIterator<Item = &'a A>) -> String {
    let mut digest = Digest::new();
    answers.into_iter().for_each(|answer| digest.add(answer));
    digest.finish()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        use fmt::Write as _;
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_borders_count() {
        assert_ne!(digest_of(&["ab", "c"]), digest_of(&["a", "bc"]));
        assert_ne!(digest_of(&[1, 2]), digest_of(&[2, 1]));
        assert_eq!(digest_of(&[1, 2]), digest_of(&[1, 2]));
    }
}
