//! Where the chunks of a map go, and the way around them.

use std::{fmt, time::Instant};

use super::chunk::{ChunkInput, ChunkOutput};
use crate::{
    error::{SubmitError, TaskError},
    future::TaskFuture,
    submit::Submit,
    task::{Payload, Task, TaskOptions},
};

/// What a [`Map`] hands its chunks to: the core of any executor for portable tasks, and that of a thread pool for closures.
#[doc(hidden)]
pub trait Chunks<F, A, M>: Clone {
    /// What the task gives for an item.
    type Output: Send + 'static;

    /// Submits the items as one task.
    ///
    /// # Errors
    ///
    /// [`SubmitError`] when they are not taken.
    fn submit_chunk(
        &self,
        task: &F,
        input: ChunkInput<A, Self::Output>,
        options: TaskOptions,
    ) -> Result<TaskFuture<ChunkOutput<Self::Output>>, SubmitError>;

    /// As [`Submit::gather`].
    ///
    /// # Errors
    ///
    /// As there.
    fn gather<'a>(
        &self,
        task: &F,
        gather: Gather<'a, A>,
    ) -> Result<Result<Vec<Self::Output>, TaskError>, Gather<'a, A>>;

    /// How many run at the same time.
    fn workers(&self) -> usize;
}

impl<C, F, A, M> Chunks<F, A, M> for C
where
    C: Submit,
    F: Task<A, M>,
    A: Payload,
    F::Output: Payload,
    M: 'static,
{
    type Output = F::Output;

    fn submit_chunk(
        &self,
        task: &F,
        input: ChunkInput<A, F::Output>,
        options: TaskOptions,
    ) -> Result<TaskFuture<ChunkOutput<F::Output>>, SubmitError> {
        Submit::submit_chunk(self, task.clone(), input, options)
    }

    fn gather<'a>(&self, task: &F, gather: Gather<'a, A>) -> Result<Result<Vec<F::Output>, TaskError>, Gather<'a, A>> {
        Submit::gather(self, task, gather)
    }

    fn workers(&self) -> usize {
        self.max_workers()
    }
}

/// What moves items from the input into a vector.
pub(crate) type Source<'a, A> = Box<dyn FnMut(usize, &mut Vec<A>) + Send + 'a>;

/// A map that is computed all at once.
#[doc(hidden)]
pub struct Gather<'a, A> {
    /// Moves so many items, or all that are left, into an empty vector.
    pub(crate) source: Source<'a, A>,
    /// At least so many items.
    pub(crate) hint: usize,
    /// And no more than these, if the input says so.
    pub(crate) most: Option<usize>,
    pub(crate) chunk_size: Option<usize>,
    pub(crate) deadline: Option<Instant>,
}

impl<A> fmt::Debug for Gather<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gather").field("hint", &self.hint).finish_non_exhaustive()
    }
}
