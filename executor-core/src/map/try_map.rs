//! [`TryMap`]: a map that ends at the first error of either kind.

use std::fmt;

use super::{Map, MapBackend};
use crate::error::TryMapError;

/// A [`Map`] over a task that returns `Result`, which ends at the first error; see
/// [`Executor::try_map`](crate::Executor::try_map).
#[must_use = "a map does nothing until it is iterated or started"]
pub struct TryMap<C, F, M, I>
where
    C: MapBackend<F, I::Item, M>,
    I: Iterator,
{
    map: Option<Map<C, F, M, I>>,
}

impl<C, F, M, I> TryMap<C, F, M, I>
where
    C: MapBackend<F, I::Item, M>,
    I: Iterator,
{
    pub(crate) fn new(map: Map<C, F, M, I>) -> Self {
        Self { map: Some(map) }
    }

    /// Changes the options of the underlying map: `try_map(..).configure(|map| map.chunk_size(10).unordered())`.
    pub fn configure(mut self, change: impl FnOnce(Map<C, F, M, I>) -> Map<C, F, M, I>) -> Self {
        self.map = self.map.take().map(change);
        self
    }
}

impl<C, F, M, I, T, E> Iterator for TryMap<C, F, M, I>
where
    C: MapBackend<F, I::Item, M, Output = Result<T, E>>,
    I: Iterator,
{
    type Item = Result<T, TryMapError<E>>;

    fn next(&mut self) -> Option<Self::Item> {
        let error = match self.map.as_mut()?.next()? {
            Ok(Ok(value)) => return Some(Ok(value)),
            Ok(Err(error)) => TryMapError::Output(error),
            Err(error) => TryMapError::Task(error),
        };
        // Dropping the map cancels tasks that have not started.
        self.map = None;
        Some(Err(error))
    }
}

impl<C, F, M, I> fmt::Debug for TryMap<C, F, M, I>
where
    C: MapBackend<F, I::Item, M>,
    I: Iterator,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryMap").field("map", &self.map).finish()
    }
}
