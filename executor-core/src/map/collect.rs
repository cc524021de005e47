//! A map that is computed all at once.

use std::{fmt, time::Instant};

/// Moves items from the input into a vector.
pub(crate) type Source<'a, A> = Box<dyn FnMut(usize, &mut Vec<A>) + Send + 'a>;

/// A map that is computed all at once.
#[doc(hidden)]
pub struct Collect<'a, A> {
    /// Moves so many items, or all that are left, into an empty vector.
    pub(crate) source: Source<'a, A>,
    /// The least number of items that the input has.
    pub(crate) hint: usize,
    /// The largest number of items that the input has, if it says so.
    pub(crate) most: Option<usize>,
    pub(crate) chunk_size: Option<usize>,
    pub(crate) deadline: Option<Instant>,
}

impl<A> fmt::Debug for Collect<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collect").field("hint", &self.hint).finish_non_exhaustive()
    }
}
