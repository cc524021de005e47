//! One chunk of a map: its items, the task that runs them, and its answers.

use std::{
    fmt,
    marker::PhantomData,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::buffer_pool::BufferPool;
use crate::{
    configuration::Bound,
    error::TaskError,
    future::{current_pool, end_if_elsewhere},
    panic,
    task::Task,
};

/// The items of one chunk of a map; made [from](From) a vector.
pub struct ChunkInput<A, R> {
    pub(super) items: Vec<A>,
    /// Takes the items' vector afterwards, and has one for the answers.
    pub(super) spare: Option<Arc<BufferPool<A, R>>>,
}

impl<A, R> ChunkInput<A, R> {
    /// Returns the items, for an executor that sends them elsewhere.
    #[must_use]
    pub fn into_items(self) -> Vec<A> {
        self.into_parts().0
    }

    fn into_parts(mut self) -> (Vec<A>, Option<Arc<BufferPool<A, R>>>) {
        (std::mem::take(&mut self.items), self.spare.take())
    }
}

impl<A, R> Drop for ChunkInput<A, R> {
    fn drop(&mut self) {
        panic::drop_each(std::mem::take(&mut self.items));
    }
}

impl<A, R> From<Vec<A>> for ChunkInput<A, R> {
    fn from(items: Vec<A>) -> Self {
        Self { items, spare: None }
    }
}

impl<A, R> fmt::Debug for ChunkInput<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkInput").field("items", &self.items.len()).finish_non_exhaustive()
    }
}

/// The items of a chunk as a task's argument. The task may be dropped before it runs, and each item's destructor may panic then.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Items<A>(Vec<A>);

impl<A> Drop for Items<A> {
    fn drop(&mut self) {
        panic::drop_each(std::mem::take(&mut self.0));
    }
}

/// The answers of one chunk of a map: for each item either a value or an error.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChunkOutput<R> {
    /// The values of the items that have one, in order.
    pub values: Vec<R>,
    /// The other items: the position of each in the chunk, counted from 0 and in order, and why it has no answer. Errors are rare
    /// and large, so they are kept apart.
    pub errors: Vec<(usize, TaskError)>,
    /// How long the items ran, in total. The map adapts the size of its next chunks to it.
    pub ran_for: Duration,
}

impl<R> ChunkOutput<R> {
    /// Makes the answers from one result for each item, in order.
    pub fn from_results(results: impl IntoIterator<Item = Result<R, TaskError>>, ran_for: Duration) -> Self {
        let results = results.into_iter();
        let mut output = Self { values: Vec::with_capacity(results.size_hint().0), errors: Vec::new(), ran_for };
        for (place, result) in results.enumerate() {
            match result {
                Ok(value) => output.values.push(value),
                Err(error) => output.errors.push((place, error)),
            }
        }
        output
    }

    /// Calls `call` with each item. A panic costs its item. Items that do not panic run together in one call that catches panics.
    pub(crate) fn compute<A>(input: ChunkInput<A, R>, call: impl Fn(A) -> R) -> Self {
        let start = Instant::now();
        let (mut items, spare) = input.into_parts();
        let mut values = spare.as_ref().map_or_else(Vec::new, |spare| spare.for_answers());
        values.reserve(items.len());
        let mut errors = Vec::new();
        let mut left = items.drain(..);
        while let Err(error) = panic::catch(|| left.by_ref().for_each(|item| values.push(call(item)))) {
            errors.push((values.len() + errors.len(), error));
        }
        // Checked before a lock that a thread may have held when a copy of the process was made.
        end_if_elsewhere(current_pool());
        drop(left);
        if let Some(spare) = spare {
            spare.give_items(items);
        }
        Self { values, errors, ran_for: start.elapsed() }
    }
}

/// A task that runs another one over many items. A panic of one item affects no other item.
pub(crate) struct Chunk<F, A, R, M> {
    task: F,
    spare: Option<Arc<BufferPool<A, R>>>,
    marker: PhantomData<fn() -> M>,
}

impl<F, A, R, M> Chunk<F, A, R, M> {
    /// Returns the task for the items, and the items.
    pub(crate) fn new(task: F, input: ChunkInput<A, R>) -> (Self, Items<A>) {
        let (items, spare) = input.into_parts();
        (Self { task, spare, marker: PhantomData }, Items(items))
    }
}

impl<F: Clone, A, R, M> Clone for Chunk<F, A, R, M> {
    fn clone(&self) -> Self {
        Self { task: self.task.clone(), spare: self.spare.clone(), marker: PhantomData }
    }
}

/// Marks the implementation of [`Task`] for chunks.
pub(crate) struct ChunkMarker;

impl<F, A, R, M> Task<Items<A>, ChunkMarker> for Chunk<F, A, R, M>
where
    F: Task<A, M, Output = R>,
    A: Send + 'static,
    R: Send + 'static,
    M: 'static,
{
    type Output = ChunkOutput<R>;

    const PORTABLE: () = F::PORTABLE;

    fn call(&self, mut items: Items<A>) -> Self::Output {
        let items = std::mem::take(&mut items.0);
        ChunkOutput::compute(ChunkInput { items, spare: self.spare.clone() }, |item| self.task.call(item))
    }

    fn bound(&self) -> Option<Result<Arc<Bound>, TaskError>> {
        self.task.bound()
    }

    fn bound_plain(&self) -> Option<Result<Vec<u8>, TaskError>> {
        self.task.bound_plain()
    }

    fn restore(bound: &[u8]) -> Result<Self, TaskError> {
        Ok(Self { task: F::restore(bound)?, spare: None, marker: PhantomData })
    }
}
