//! [`ChunkIter`]: yields the answers of one chunk.

use std::{ptr, time::Duration, vec};

use super::chunk::ChunkOutput;
use crate::error::TaskError;

/// Yields values and errors in the order of their items. Like `vec::IntoIter`, but the vector is left to be used again, and an
/// error costs the values before it nothing: `next_value` compares one number.
pub(super) struct ChunkIter<R> {
    /// Of length 0: the values from `next` to `total` in its memory belong to this struct and not to the vector.
    vector: Vec<R>,
    next: usize,
    /// The values before this position come before the next error. Never more than `total`.
    until: usize,
    total: usize,
    errors: vec::IntoIter<(usize, TaskError)>,
    /// The number of errors that were yielded.
    failed: usize,
}

impl<R> ChunkIter<R> {
    pub(super) fn new(chunk: ChunkOutput<R>) -> Self {
        let ChunkOutput { values: mut vector, errors, .. } = chunk;
        let total = vector.len();
        // SAFETY: 0 is not above the capacity. The values are dropped by `drop`, or moved out by `next_value`.
        unsafe { vector.set_len(0) };
        let mut ready = Self { vector, next: 0, until: 0, total, errors: errors.into_iter(), failed: 0 };
        ready.find_error();
        ready
    }

    pub(super) fn empty() -> Self {
        Self::new(ChunkOutput { values: Vec::new(), errors: Vec::new(), ran_for: Duration::ZERO })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.next == self.total && self.errors.len() == 0
    }

    fn find_error(&mut self) {
        let place = self.errors.as_slice().first().map(|(place, _)| *place);
        self.until = place.map_or(self.total, |place| place.saturating_sub(self.failed).min(self.total));
    }

    /// The next value; `None` if an error is next or the chunk is at its end.
    #[inline]
    pub(super) fn next_value(&mut self) -> Option<R> {
        if self.next >= self.until {
            return None;
        }
        // SAFETY: `next` is below `until` and so below `total`: inside the vector's memory.
        let place = unsafe { self.vector.as_ptr().add(self.next) };
        // SAFETY: the value was not moved out before, because `next` only grows.
        let value = unsafe { place.read() };
        self.next += 1;
        Some(value)
    }

    pub(super) fn next(&mut self) -> Option<Result<R, TaskError>> {
        if let Some(value) = self.next_value() {
            return Some(Ok(value));
        }
        let (_, error) = self.errors.next()?;
        self.failed += 1;
        self.find_error();
        Some(Err(error))
    }

    /// Drops the values that were not yielded, and returns the vector.
    pub(super) fn take_vector(&mut self) -> Vec<R> {
        self.drop_values();
        (self.until, self.next, self.total) = (0, 0, 0);
        std::mem::take(&mut self.vector)
    }

    fn drop_values(&mut self) {
        let from = std::mem::replace(&mut self.next, self.total);
        let left = ptr::slice_from_raw_parts_mut(self.vector.as_mut_ptr().wrapping_add(from), self.total - from);
        // SAFETY: these values were not moved out, and are not touched again: `next` is at the end, even if one's drop panics.
        unsafe { ptr::drop_in_place(left) };
    }
}

impl<R> Drop for ChunkIter<R> {
    fn drop(&mut self) {
        self.drop_values();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn chunk<R>(values: Vec<R>, errors: &[usize]) -> ChunkIter<R> {
        let errors = errors.iter().map(|place| (*place, TaskError::Cancelled)).collect();
        ChunkIter::new(ChunkOutput { values, errors, ran_for: Duration::ZERO })
    }

    fn all(mut ready: ChunkIter<u8>) -> Vec<Option<u8>> {
        std::iter::from_fn(|| ready.next()).map(Result::ok).collect()
    }

    #[test]
    fn values_and_errors_come_in_the_order_of_their_items() {
        assert_eq!(all(chunk(vec![1, 2, 3], &[])), [Some(1), Some(2), Some(3)]);
        assert_eq!(all(chunk(vec![1, 2], &[0, 1, 4])), [None, None, Some(1), Some(2), None]);
        assert_eq!(all(chunk(vec![], &[0, 1])), [None, None]);
        assert_eq!(all(ChunkIter::empty()), []);
    }

    #[test]
    fn places_that_cannot_be_lose_no_value_and_read_none_twice() {
        for errors in [&[9, 9][..], &[2, 0], &[0, 0, 0], &[usize::MAX, 1]] {
            let all = all(chunk(vec![1, 2, 3], errors));
            assert_eq!(all.iter().flatten().copied().collect::<Vec<_>>(), [1, 2, 3], "{errors:?}");
            assert_eq!(all.len(), 3 + errors.len());
        }
    }

    #[test]
    fn each_value_is_dropped_once_and_the_vector_stays() {
        let value = Arc::new(());
        let mut ready = chunk(vec![Arc::clone(&value); 5], &[2]);
        assert!(ready.next().unwrap().is_ok());
        assert_eq!(Arc::strong_count(&value), 5);
        let vector = ready.take_vector();
        assert_eq!((Arc::strong_count(&value), vector.len(), vector.capacity()), (1, 0, 5));
        assert!(ready.next().unwrap().is_err() && ready.next().is_none());
        drop(chunk(vec![Arc::clone(&value); 5], &[]));
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
